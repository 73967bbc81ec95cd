//! Distinguished names as text (RFC 4514): the last part first, parts that are special escaped.

use super::der::{self, Der};
use std::fmt::Write as _;

/// Object identifiers of attributes that have a short name, in DER.
const ATTRIBUTES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 42], "GN"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

/// The text of a name (the content of its outer sequence).
pub(super) fn text(mut name: Der<'_>) -> Option<String> {
    let mut parts = Vec::new();
    while !name.is_empty() {
        let mut set = Der(name.take(der::SET)?);
        let mut joined = String::new();
        while !set.is_empty() {
            let mut pair = set.sequence()?;
            let id = pair.take(der::OBJECT_ID)?;
            let (tag, value) = pair.next()?;
            if !joined.is_empty() {
                joined.push('+');
            }
            match ATTRIBUTES.iter().find(|(known, _)| *known == id) {
                Some((_, short)) => joined.push_str(short),
                None => dotted(id, &mut joined),
            }
            joined.push('=');
            match decoded(tag, value) {
                Some(text) => escape(&text, &mut joined),
                None => {
                    joined.push('#');
                    for byte in value {
                        let _ = write!(joined, "{byte:02x}");
                    }
                }
            }
        }
        parts.push(joined);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// The text of a string type: UTF8String, PrintableString, IA5String; TeletexString as Latin-1; BMPString.
fn decoded(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        0x0c | 0x12 | 0x13 | 0x16 => std::str::from_utf8(value).ok().map(str::to_owned),
        0x14 => Some(value.iter().map(|byte| char::from(*byte)).collect()),
        0x1e => {
            let units =
                value.chunks(2).map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte)));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

fn escape(text: &str, into: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || at == 0 && matches!(c, ' ' | '#')
            || at == last && c == ' ';
        if special {
            into.push('\\');
            into.push(c);
        } else if c.is_control() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(into, "\\{byte:02X}");
            }
        } else {
            into.push(c);
        }
    }
}

/// `2.5.4.97`: the first byte holds two numbers, the others seven bits each of one.
fn dotted(id: &[u8], into: &mut String) {
    let mut number = 0_u64;
    let mut first = true;
    for byte in id {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if first {
            let top = (number / 40).min(2);
            let _ = write!(into, "{top}.{}", number - top * 40);
            first = false;
        } else {
            let _ = write!(into, ".{number}");
        }
        number = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(parts: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let wrap = |tag: u8, body: Vec<u8>| [vec![tag, body.len() as u8], body].concat();
        let part = |(id, tag, value): &(&[u8], u8, &[u8])| {
            let pair = [wrap(der::OBJECT_ID, id.to_vec()), wrap(*tag, value.to_vec())].concat();
            wrap(der::SET, wrap(der::SEQUENCE, pair))
        };
        parts.iter().flat_map(part).collect()
    }

    #[test]
    fn a_name_is_written_as_the_rfc_says() {
        let der = name(&[
            (&[0x55, 4, 6], 0x13, b"DE"),
            (&[0x55, 4, 10], 0x0c, "Müller, Söhne".as_bytes()),
            (&[0x55, 4, 3], 0x0c, b"#1 \n"),
            (&[0x55, 4, 97], 0x0c, b"x "),
            (&[0x55, 4, 3], 0x1e, &[0, b'h', 0, b'i']),
            (&[0x55, 4, 3], 0x02, &[1, 0xff]),
        ]);
        assert_eq!(
            text(Der(&der)).unwrap(),
            "CN=#01ff,CN=hi,2.5.4.97=x\\ ,CN=\\#1 \\0A,O=Müller\\, Söhne,C=DE"
        );
    }
}
