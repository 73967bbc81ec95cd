//! Clients who come all the time, and notice everything: each connects, says something, ends its input, and must hear
//! exactly that and the end.

use crate::harness::{Over, Stream, ask, datagram_socket};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two conversations of one client: enough of them, without taking the machine from the server.
const PACE: Duration = Duration::from_millis(1);

/// What the clients of one service have seen.
#[derive(Default, Debug)]
pub struct Seen {
    /// Conversations that went as they should.
    pub good: u64,
    /// Those that did not, and how.
    pub bad: Vec<String>,
}

/// Sends clients to `endpoints` as long as `work` takes.
pub fn under_load(endpoints: &BTreeMap<String, String>, work: impl FnOnce()) -> BTreeMap<String, Seen> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let start = |(name, endpoint): (&String, &String)| {
            let (name, endpoint, over) = (name.clone(), endpoint.clone(), &over);
            (name.clone(), scope.spawn(move || clients(&name, &endpoint, over)))
        };
        let threads: Vec<_> = endpoints.iter().map(start).collect();
        let end = Over(&over);
        work();
        drop(end);
        threads.into_iter().map(|(name, thread)| (name, thread.join().expect("no panic"))).collect()
    })
}

fn clients(name: &str, endpoint: &str, over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut number = 0_u32;
    let datagrams = endpoint.starts_with("udp:");
    let socket = datagrams.then(|| datagram_socket(endpoint));
    while !over.load(Ordering::SeqCst) && seen.bad.len() < 20 {
        std::thread::sleep(PACE);
        number += 1;
        let text = format!("{name} {number} {}", "x".repeat(number as usize % 400));
        let done = match &socket {
            Some(socket) => ask(socket, text.as_bytes()),
            None => stream(endpoint, text.as_bytes()),
        };
        match done {
            Ok(answer) if answer == text.as_bytes() => seen.good += 1,
            Ok(answer) => seen.bad.push(format!("{number}: {} of {} bytes", answer.len(), text.len())),
            Err(error) => seen.bad.push(format!("{number}: {error}")),
        }
    }
    seen
}

fn stream(endpoint: &str, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = Stream::connect(endpoint)?;
    stream.set_timeout(Duration::from_secs(15));
    stream.write_all(text)?;
    stream.finish();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// A conversation that is held open, and asked now and then whether it still goes on.
pub struct Held {
    name: String,
    stream: Stream,
    said: u32,
}

impl Held {
    pub fn open(name: &str, endpoint: &str) -> Held {
        let stream = Stream::connect(endpoint).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut held = Held { name: name.to_owned(), stream, said: 0 };
        held.check();
        held
    }

    /// Says something and hears it.
    pub fn check(&mut self) {
        self.said += 1;
        let text = format!("still there {}?", self.said);
        let mut answer = vec![0; text.len()];
        let done = self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.read_exact(&mut answer));
        if let Err(error) = done {
            panic!("the conversation held open with {}: {error}", self.name);
        }
        assert_eq!(answer, text.as_bytes(), "{}", self.name);
    }

    /// Ends the input; nothing more may come but the end.
    pub fn finish(mut self) {
        self.stream.finish();
        let mut rest = Vec::new();
        let done = self.stream.read_to_end(&mut rest);
        assert!(done.is_ok() && rest.is_empty(), "{}: {done:?}, {} bytes", self.name, rest.len());
    }

    /// Hears the end that the server makes.
    pub fn ended(mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{}: {rest:?}", self.name);
    }
}
