//! `connect SERVICE HOST`: clients that know what they talk about: the request is made, the answer understood.

use super::task::Task;
use crate::exit::Exit;
use crate::report::Output;
use rustix::io::Errno;
use std::time::Duration;
use switchboard_net::sys::clock;
use switchboard_net::{Endpoint, Error, Host, Kind};
use switchboard_proto::{Civil, Service};

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// A text: daytime, qotd.
    Text,
    /// RFC 868.
    Time,
    /// Two numbers as text.
    Sum([i64; 2]),
    /// Two numbers as binary.
    SumBinary { abi: Abi, operands: [i64; 2], show: bool },
    /// So many pseudo-random bytes, which must come back.
    Echo { amount: usize },
    /// So many bytes, which must be those of RFC 864.
    Chargen { amount: usize },
}

/// Services whose name, as the first word, asks for one of these clients.
pub(super) const NAMES: [&str; 7] = ["daytime", "qotd", "time", "sum", "sum-binary", "echo", "chargen"];

/// How long chargen may be silent, unless asked otherwise.
const SILENCE: Duration = Duration::from_secs(10);
/// From 1900-01-01, where RFC 868 begins, to 1970-01-01, in seconds.
const FROM_1900_TO_1970_S: i64 = 2_208_988_800;
/// A counter of 32 bits begins anew after so many seconds.
const ERA_S: i64 = 1 << 32;

/// How the integers of sum-binary lie in the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Abi {
    /// XDR (RFC 4506): hypers, most significant byte first; the answer begins with a status
    Xdr,
    /// C's long of 64 bits, least significant byte first
    Lp64Le,
    /// C's long of 64 bits, most significant byte first
    Lp64Be,
    /// C's long of 32 bits, least significant byte first
    Ilp32Le,
    /// C's long of 32 bits, most significant byte first
    Ilp32Be,
}

/// The endpoint of a service: a host, with the service's own port if none is named; or any endpoint.
pub(super) fn server(text: &str, service: &str) -> Result<Endpoint, Error> {
    let port = Service::find(service)
        .map_or(0, |row| if row.port == 0 { row.board.tcp.first().copied().unwrap_or(0) } else { row.port });
    let (kind, rest) = match text.split_once(':') {
        Some(("tcp", rest)) => (Kind::Tcp, rest),
        Some(("udp", rest)) => (Kind::Udp, rest),
        _ => (Kind::Tcp, text),
    };
    let is_port = rest.bytes().all(|byte| byte.is_ascii_digit());
    match rest.parse::<Host>() {
        Ok(_) if !is_port => Endpoint::from_host_port(kind, rest, &port.to_string()),
        _ => text.parse(),
    }
}

impl Question {
    /// Asks it and says what came of it.
    pub(super) fn ask(&self, task: &Task, out: &mut Output) -> Exit {
        match self.asked(task, out) {
            Ok(exit) | Err(exit) => exit,
        }
    }

    fn asked(&self, task: &Task, out: &mut Output) -> Result<Exit, Exit> {
        match self {
            Question::Text => {
                let answer = task.ask(&[], out)?;
                let answer = String::from_utf8_lossy(&answer);
                let answer = answer.trim_end();
                if answer.is_empty() {
                    return Ok(wrong("the server's answer is empty", out));
                }
                out.line(answer);
                Ok(Exit::Ok)
            }
            Question::Time => {
                let answer = task.ask(&[], out)?;
                let Ok(counter) = <[u8; 4]>::try_from(&answer[..]) else {
                    return Ok(wrong(format_args!("{} bytes came, and a time has 4", answer.len()), out));
                };
                let here = clock::realtime().0;
                let there = nearest(u32::from_be_bytes(counter), here);
                let offset = there - here;
                out.line(format_args!("{}, local clock {offset:+} s", rfc3339(there)));
                Ok(Exit::Ok)
            }
            Question::Sum([one, other]) => {
                let answer = task.ask(format!("{one} {other}\n").as_bytes(), out)?;
                let answer = String::from_utf8_lossy(&answer);
                let answer = answer.trim_end();
                out.line(answer);
                Ok(if answer.parse::<i128>().is_ok() { Exit::Ok } else { Exit::Failed })
            }
            Question::SumBinary { abi, operands, show } => sum_binary(*abi, *operands, *show, task, out),
            Question::Echo { amount } => {
                let seed = clock::seed();
                let sent = pseudo_random(seed, *amount);
                out.line(format_args!("{amount} bytes, seed {seed:#x}"));
                let came = task.ask(&sent, out)?;
                if came == sent {
                    out.line("all came back");
                    return Ok(Exit::Ok);
                }
                let at = sent.iter().zip(&came).position(|(one, other)| one != other);
                let at = at.unwrap_or(came.len().min(sent.len()));
                Ok(wrong(format_args!("{} bytes came back, different from byte {at} on", came.len()), out))
            }
            Question::Chargen { amount } => chargen(*amount, task, out),
        }
    }
}

fn wrong(problem: impl std::fmt::Display, out: &mut Output) -> Exit {
    out.talk(problem);
    Exit::Failed
}

/// The seconds since 1970 that a counter since 1900 stands for: of all its eras the one nearest to `here_s`.
fn nearest(counter: u32, here_s: i64) -> i64 {
    let first = i64::from(counter) - FROM_1900_TO_1970_S;
    let eras = (here_s - first + ERA_S / 2).div_euclid(ERA_S);
    first + eras * ERA_S
}

fn rfc3339(unix_s: i64) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::from_unix(unix_s);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Bytes that the seed decides (SplitMix64).
fn pseudo_random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The byte at `place` of RFC 864's pattern: lines of 72 characters, each beginning one character further on.
fn pattern(place: usize) -> u8 {
    match (place / 74, place % 74) {
        (_, 72) => b'\r',
        (_, 73) => b'\n',
        (line, column) => b' ' + ((line + column) % 95) as u8,
    }
}

fn chargen(amount: usize, task: &Task, out: &mut Output) -> Result<Exit, Exit> {
    let mut channel = task.call(out)?;
    let silence = task.rules.idle_timeout.unwrap_or(SILENCE);
    let mut room = vec![0; 64 * 1024];
    let mut place = 0;
    while place < amount {
        let most = room.len().min(amount - place);
        let n = match channel.recv_within(&mut room[..most], silence) {
            Ok(0) => return Ok(wrong(format_args!("the server ended after {place} bytes"), out)),
            Ok(n) => n,
            Err(Errno::TIMEDOUT) => {
                out.talk(format_args!("nothing came after {place} bytes"));
                return Ok(Exit::Timeout);
            }
            Err(errno) => {
                match channel.failure() {
                    Some(failure) => out.talk(format_args!("{failure}, after {place} bytes")),
                    None => out.talk(format_args!("{errno}, after {place} bytes")),
                }
                return Ok(if channel.failure().is_some() { Exit::Tls } else { Exit::Reset });
            }
        };
        if let Some(at) = room[..n].iter().enumerate().position(|(at, byte)| *byte != pattern(place + at)) {
            let (came, due) = (room[at], pattern(place + at));
            let at = place + at;
            return Ok(wrong(
                format_args!("byte {at} is {came:#04x} and should be {due:#04x} (RFC 864)"),
                out,
            ));
        }
        place += n;
    }
    out.line(format_args!("{place} bytes are those of RFC 864"));
    Ok(Exit::Ok)
}

impl Abi {
    fn is_big(self) -> bool {
        matches!(self, Abi::Xdr | Abi::Lp64Be | Abi::Ilp32Be)
    }

    /// Bytes of one integer.
    fn width(self) -> usize {
        if matches!(self, Abi::Ilp32Le | Abi::Ilp32Be) { 4 } else { 8 }
    }

    fn name(self) -> &'static str {
        match self {
            Abi::Xdr => "xdr",
            Abi::Lp64Le => "lp64-le",
            Abi::Lp64Be => "lp64-be",
            Abi::Ilp32Le => "ilp32-le",
            Abi::Ilp32Be => "ilp32-be",
        }
    }

    fn encode(self, number: i64) -> Option<Vec<u8>> {
        let mut bytes = match self.width() {
            4 => i32::try_from(number).ok()?.to_be_bytes().to_vec(),
            _ => number.to_be_bytes().to_vec(),
        };
        if !self.is_big() {
            bytes.reverse();
        }
        Some(bytes)
    }
}

/// The integer in `bytes`, most significant byte first or last.
fn integer(bytes: &[u8], big: bool) -> i64 {
    let ordered: Vec<u8> = if big { bytes.to_vec() } else { bytes.iter().rev().copied().collect() };
    let negative = ordered.first().is_some_and(|byte| byte & 0x80 != 0);
    ordered.iter().fold(if negative { -1 } else { 0 }, |sum, byte| (sum << 8) | i64::from(*byte))
}

fn sum_binary(abi: Abi, operands: [i64; 2], show: bool, task: &Task, out: &mut Output) -> Result<Exit, Exit> {
    let mut request = Vec::new();
    for number in operands {
        let Some(bytes) = abi.encode(number) else {
            out.talk(format_args!("{number} does not fit into the 32 bits of {}", abi.name()));
            return Ok(Exit::Usage);
        };
        request.extend(bytes);
    }
    let width = abi.width();
    if show {
        out.line(format_args!("request, {} bytes, {}:", request.len(), abi.name()));
        for (place, name) in ["first", "second"].into_iter().enumerate() {
            out.line(field(name, place * width, &request[place * width..][..width], abi));
        }
    }
    let reply = task.ask(&request, out)?;
    // XDR begins with a status of four bytes.
    let head = if abi == Abi::Xdr { 4 } else { 0 };
    if reply.len() != head + width {
        let wanted = head + width;
        return Ok(wrong(
            format_args!("{} bytes came, and an answer in {} has {wanted}", reply.len(), abi.name()),
            out,
        ));
    }
    if show {
        out.line(format_args!("answer, {} bytes:", reply.len()));
        if head > 0 {
            out.line(field("status", 0, &reply[..head], abi));
        }
        out.line(field("sum", head, &reply[head..], abi));
    }
    if head > 0 && integer(&reply[..head], true) != 0 {
        return Ok(wrong("the server says that the sum does not fit", out));
    }
    let sum = integer(&reply[head..], abi.is_big());
    out.line(if show { format!("sum = {sum}") } else { sum.to_string() });
    let due = operands[0].wrapping_add(operands[1]);
    let due = if width == 4 { i64::from(due as i32) } else { due };
    if sum == due {
        return Ok(Exit::Ok);
    }
    let mut problem = format!("that is not the sum, which is {due}");
    let swapped = |number: i64| abi.encode(number).map(|bytes| integer(&bytes, !abi.is_big()));
    let other = operands.map(swapped);
    let other = other[0].zip(other[1]).map(|(one, other)| one.wrapping_add(other));
    let other = other.map(|sum| if width == 4 { i64::from(sum as i32) } else { sum }).and_then(swapped);
    if other == Some(sum) {
        problem += ": the server reads and writes its integers in the other byte order; see --abi";
    }
    Ok(wrong(problem, out))
}

/// One field: its bytes with their places, what they mean, and what they would mean in the other byte order.
fn field(name: &str, at: usize, bytes: &[u8], abi: Abi) -> String {
    let shown: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "  {at:>2}  {:<23}  {name} = {}; the other byte order reads {}",
        shown.join(" "),
        integer(bytes, abi.is_big()),
        integer(bytes, !abi.is_big())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_era_is_the_one_nearest_to_the_local_clock() {
        let at = |text: &str, counter, here| assert_eq!(rfc3339(nearest(counter, here)), text);
        at("1970-01-01T00:00:00Z", 2_208_988_800, 0);
        at("2036-02-07T06:28:15Z", u32::MAX, 2_085_978_000);
        at("2036-02-07T06:28:16Z", 0, 2_085_978_000);
        at("1900-01-01T00:00:00Z", 0, -2_208_988_800);
        at("2172-03-15T12:56:32Z", 0, 6_380_945_792);
    }

    #[test]
    fn integers_in_either_byte_order() {
        for (abi, bytes) in [
            (Abi::Xdr, &[0, 0, 0, 0, 0, 0, 0, 3][..]),
            (Abi::Lp64Le, &[3, 0, 0, 0, 0, 0, 0, 0]),
            (Abi::Ilp32Be, &[0, 0, 0, 3]),
            (Abi::Ilp32Le, &[3, 0, 0, 0]),
        ] {
            assert_eq!(abi.encode(3).unwrap(), bytes);
            assert_eq!(integer(bytes, abi.is_big()), 3);
            assert_eq!(integer(&abi.encode(-2).unwrap(), abi.is_big()), -2);
        }
        assert_eq!(integer(&[3, 0, 0, 0], true), 50_331_648);
        assert_eq!(Abi::Ilp32Le.encode(1 << 31), None);
    }

    #[test]
    fn a_host_alone_gets_the_services_port() {
        for (text, service, wanted) in [
            ("127.0.0.1", "daytime", "tcp:127.0.0.1:13"),
            ("udp:localhost", "time", "udp:localhost:37"),
            ("::1", "sum", "tcp:[::1]:9878"),
            ("localhost:7013", "daytime", "tcp:localhost:7013"),
            ("7013", "daytime", "tcp:7013"),
            ("unix:/run/x", "echo", "unix:/run/x"),
        ] {
            assert_eq!(server(text, service).unwrap().to_string(), wanted);
        }
    }
}
