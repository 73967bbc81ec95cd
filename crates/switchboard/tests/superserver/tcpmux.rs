//! Services that are chosen by name (RFC 1078): every byte, the rules of the service, no rights for who reads names.

use super::{hear, is_root, line_of, serve};
use crate::harness::{Scratch, connect_from, end};
use std::io::{Read, Write};

#[test]
fn tcpmux_passes_every_byte_and_obeys_the_services_rules() {
    let scratch = Scratch::new();
    let text = "[[service]]\nbuiltin = \"tcpmux\"\nlisten = \"tcp:127.0.0.1:0\"\n\
                [[service]]\nid = \"mirror\"\nexec = \"/bin/cat\"\ntcpmux = true\naccess.deny = [\"127.0.0.7\"]\n";
    let server = serve(&scratch, text);
    let ask = |host: u8, said: &[u8]| {
        let mut stream = connect_from(host, &server.endpoint()).expect("connect");
        stream.write_all(said).expect("connected");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        String::from_utf8(heard).expect("UTF-8")
    };
    let payload = "pipelined\0payload\r\n".repeat(5_000);
    let heard = ask(1, format!("mirror\r\n{payload}").as_bytes());
    assert!(heard == format!("+Go\r\n{payload}"), "{} of {} bytes", heard.len(), payload.len() + 5);
    let refused = ask(7, b"mirror\r\npayload");
    assert!(refused.starts_with('-') && !refused.contains("payload"), "{refused}");
    assert!(ask(7, b"nothing\r\n").starts_with('-'));
    assert_eq!(ask(7, b"help\r\n"), "mirror\r\n");
    end(server);
}

#[test]
fn who_reads_names_for_tcpmux_has_no_privileges() {
    if !is_root("rights of tcpmux") {
        return;
    }
    let scratch = Scratch::new();
    let text = "[[service]]\nbuiltin = \"tcpmux\"\nlisten = \"tcp:127.0.0.1:0\"\n\
                [[service]]\nid = \"far\"\nforward = \"tcp:127.0.0.1:1\"\ntcpmux = true\n";
    let server = serve(&scratch, text);
    // Both have answered, and so are what they are to be.
    assert_eq!(hear(&server, b"help\r\n"), "far\r\n");
    assert_eq!(hear(&server, b"far\r\n"), "-Not reachable now\r\n");
    for pid in server.workers() {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("it runs");
        assert_eq!(line_of(&status, "CapEff"), "0000000000000000");
        assert_eq!(line_of(&status, "NoNewPrivs"), "1");
    }
    end(server);
}

// Its engine accepts by itself: `check` says so, and this way out.
#[test]
fn a_builtin_service_is_offered_by_tcpmux_through_a_relay() {
    let scratch = Scratch::new();
    let socket = scratch.path("echo");
    let server = serve(
        &scratch,
        &format!(
            "[[service]]\nid = \"mux\"\nbuiltin = \"tcpmux\"\nlisten = \"tcp:127.0.0.1:0\"\n\
             [[service]]\nid = \"inside\"\nbuiltin = \"echo\"\nlisten = \"unix:{socket}\"\n\
             [[service]]\nid = \"echo\"\nforward = \"unix:{socket}\"\ntcpmux = true\n"
        ),
    );
    assert_eq!(hear(&server, b"ECHO\r\nand more"), "+Go\r\nand more");
    end(server);
}
