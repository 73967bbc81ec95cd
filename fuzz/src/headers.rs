//! What a proxy says of its client: any bytes are a header, the beginning of one, or malformed; and never two of these.

use switchboard_proto::proxy_header::{Decoded, MAX_V1, MAX_V2, Versions, decode};

/// Any bytes as a PROXY header of version 1.
pub fn proxy_v1(data: &[u8]) {
    header(data, Versions::V1, MAX_V1);
}

/// Any bytes as a PROXY header of version 2.
pub fn proxy_v2(data: &[u8]) {
    header(data, Versions::V2, MAX_V2);
}

fn header(data: &[u8], versions: Versions, most: usize) {
    let found = decode(data, versions);
    match &found {
        Ok(Decoded::More) => {
            assert!(data.len() < most, "more than {most} bytes are asked for");
            return;
        }
        Ok(Decoded::Header(header, length)) => {
            assert!(*length <= data.len().min(most));
            // Beginnings are beginnings; what follows changes nothing; what was understood can be said again.
            for cut in [0, 1, 8, 12, 13, 14, 15, length / 2, length - 1] {
                if cut < *length {
                    assert_eq!(decode(&data[..cut], versions), Ok(Decoded::More), "{cut} bytes");
                }
            }
            assert_eq!(decode(&data[..*length], versions), found);
            let again = header.encode().expect("what was read can be written");
            let Ok(Decoded::Header(second, _)) = decode(&again, versions) else { panic!("{header:?}") };
            assert_eq!(second, *header);
        }
        Err(malformed) => assert!(!malformed.to_string().contains(|c: char| c.is_control())),
    }
    // Once something is wrong it stays wrong, with whatever follows.
    for cut in (1..data.len().min(120)).step_by(7) {
        if let Err(early) = decode(&data[..cut], versions) {
            assert!(found.is_err(), "{early} at {cut}, then {found:?}");
        }
    }
}
