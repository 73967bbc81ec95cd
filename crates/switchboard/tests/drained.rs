//! One service that is drained: balancers are told so by its agent, who comes all the same is served, and neither a reload
//! nor an upgrade takes it back. Rows S14, B2.

#![allow(unreachable_pub, dead_code)]

mod harness;
#[path = "life/house.rs"]
mod house;

use harness::{PATIENCE, text};
use house::House;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

const HOUSE: &str = "version = 1\nupgrade_timeout = \"30s\"\nlog = { to = \"SCRATCH/log\" }\n\
     [[service]]\nid = \"echo\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n\
     [[service]]\nid = \"other\"\nbuiltin = \"echo\"\nlisten = \"tcp:127.0.0.1:0\"\n\
     [[service]]\nid = \"agent\"\nbuiltin = \"agent\"\nlisten = \"tcp:127.0.0.1:0\"\noptions = { of = \"echo\" }\n";

fn connect(endpoint: &str) -> TcpStream {
    let stream = TcpStream::connect(endpoint.strip_prefix("tcp:").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What a client hears who says this and ends.
fn talk(endpoint: &str, words: &str) -> String {
    let mut stream = connect(endpoint);
    stream.write_all(words.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    heard
}

#[test]
fn a_drained_service_stays_so_over_reloads_and_upgrades_and_serves_who_comes() {
    let house = House::start(HOUSE);
    let at = house.endpoints();
    let states = || ["echo", "other"].map(|id| house.service(id)["state"].as_str().unwrap().to_owned());
    assert!(talk(&at["agent"], "").starts_with("up"), "{}", talk(&at["agent"], ""));
    for (words, said, state) in [
        (&["drain", "echo"][..], "drain", "draining"),
        (&["drain", "echo", "--maintenance"], "maint", "maintenance"),
        (&["resume", "echo"], "up", "serving"),
    ] {
        let done = house.verb(words);
        assert!(done.status.success(), "{words:?}: {}", text(&done.stderr));
        for change in ["", "reload", "upgrade", "upgrade", "reload"] {
            match change {
                "" => {}
                "upgrade" => house.upgrade(),
                verb => drop(house.must(verb)),
            }
            assert_eq!(states(), [state, "serving"], "{words:?}, {change}");
            let heard = talk(&at["agent"], "");
            assert!(heard.starts_with(said), "{words:?}, {change}: {heard}");
            assert_eq!(talk(&at["echo"], "all the same"), "all the same");
            assert_eq!(talk(&at["other"], "as ever"), "as ever");
        }
    }
}
