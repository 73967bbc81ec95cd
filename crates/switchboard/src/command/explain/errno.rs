//! Errors of socket calls on Linux: who meets them, when, and what to do.
//!
//! Times are those of default settings; what is said of Linux was seen on Linux 6.18 and differs here and there from
//! the BSD-derived systems that textbooks describe. The manual pages: connect(2), accept(2), send(2), recv(2),
//! tcp(7), udp(7), ip(7).

use crate::report::{Fact, Row, Sheet};
use std::io;
use switchboard_net::Error;

/// An error that socket calls return.
struct Errno {
    name: &'static str,
    number: i32,
    /// (call, when).
    met: &'static [(&'static str, &'static str)],
    /// What a program or its user can do.
    then: &'static str,
}

#[rustfmt::skip] // One error a paragraph, one call a line.
const ERRNOS: [Errno; 26] = [
    Errno { name: "ECONNREFUSED", number: libc::ECONNREFUSED, met: &[
        ("connect", "a RST answered the SYN, one round trip later: the host is up and nobody listens on that port"),
        ("connect", "at once, when a firewall or router sends ICMP port unreachable"),
        ("connect", "Unix: the socket's file is there, and nobody listens"),
        ("send, recv", "connected UDP: an earlier datagram met a closed port; said once, by the next call. Unconnected UDP is never told"),
    ], then: "is the server running, and is that its port? The socket may be used to try again" },
    Errno { name: "ECONNRESET", number: libc::ECONNRESET, met: &[
        ("recv", "a RST came: the peer closed with input unread or with SO_LINGER 0, or rebooted and knows nothing of us. The next recv returns 0, which looks like a clean end"),
        ("recv", "on a connection that accept returned although it was reset in the queue"),
        ("send", "seldom: after FIN and RST send says EPIPE"),
    ], then: "what was sent last may be lost; only an answer of the peer's program proves that it arrived" },
    Errno { name: "EPIPE", number: libc::EPIPE, met: &[
        ("send", "on a connection that a RST has ended. The first send after the peer has closed succeeds and provokes the RST, the second fails"),
        ("send", "after one's own shutdown(SHUT_WR), or on a stream socket that was never connected"),
    ], then: "SIGPIPE comes first and kills a program that does not ignore it: send with MSG_NOSIGNAL. What earlier sends took may be lost" },
    Errno { name: "ETIMEDOUT", number: libc::ETIMEDOUT, met: &[
        ("connect", "no SYN was answered: after 131 s or a little more (net.ipv4.tcp_syn_retries)"),
        ("recv, send", "data stayed unacknowledged: after 15 minutes or more (net.ipv4.tcp_retries2), or TCP_USER_TIMEOUT"),
        ("recv", "keepalive probes stayed unanswered: 2 h 11 min by default, with SO_KEEPALIVE only. Without it an idle connection to a dead host stays for ever"),
    ], then: "set a time limit of your own: --connect-timeout; options keepalive and user-timeout" },
    Errno { name: "EHOSTUNREACH", number: libc::EHOSTUNREACH, met: &[
        ("connect", "nobody on the local network answers for that address: after 3 s"),
        ("connect", "at once, when a router sends ICMP host unreachable or prohibited"),
        ("recv, send", "of an established connection, only when it gives up for want of acknowledgements"),
    ], then: "is the address right, and is the host up? Try its next address" },
    Errno { name: "ENETUNREACH", number: libc::ENETUNREACH, met: &[
        ("connect, sendto", "at once: this machine has no route there (an IPv6 address without IPv6 connectivity), or a router sends ICMP network unreachable"),
    ], then: "look at the routes, or try an address of the other family" },
    Errno { name: "EADDRINUSE", number: libc::EADDRINUSE, met: &[
        ("bind", "another socket has the port; with SO_REUSEADDR only if it listens, and a wildcard conflicts with a specific address"),
        ("bind", "a connection of an earlier server is in TIME_WAIT for 60 s; SO_REUSEADDR is wanted on the old socket and on the new one"),
        ("bind", "Unix: the file is there, left behind or in use"),
        ("listen", "two sockets were bound with SO_REUSEADDR, and the other one listened first"),
        ("connect", "a connection with the same two addresses and ports exists already"),
    ], then: "find the other one, take another port (0 for any free one), or set SO_REUSEADDR before bind" },
    Errno { name: "EADDRNOTAVAIL", number: libc::EADDRNOTAVAIL, met: &[
        ("bind", "no interface of this machine has that address (yet)"),
        ("connect", "every port of net.ipv4.ip_local_port_range is in use towards that server"),
    ], then: "option freebind to bind before the address is there; more source addresses or a wider range for a client" },
    Errno { name: "EACCES", number: libc::EACCES, met: &[
        ("bind", "the port is below net.ipv4.ip_unprivileged_port_start, and the process has no CAP_NET_BIND_SERVICE"),
        ("connect, sendto", "to a broadcast address without SO_BROADCAST, or over a route that prohibits it"),
        ("connect, bind", "Unix: no permission to write to the socket's file, or to search or write its folder"),
    ], then: "for a port: take a higher one, or setcap cap_net_bind_service+ep PROGRAM" },
    Errno { name: "EAGAIN", number: libc::EAGAIN, met: &[
        ("recv", "nothing is there: the socket does not block, or SO_RCVTIMEO has run out"),
        ("send", "the send buffer is full because the peer does not read: the socket does not block, or SO_SNDTIMEO has run out"),
        ("accept", "no client waits any more: another process was faster, or it does not block"),
        ("connect", "Unix: the listener's queue is full"),
    ], then: "not an error: wait with poll or epoll and call again. EWOULDBLOCK is the same number on Linux" },
    Errno { name: "EINPROGRESS", number: libc::EINPROGRESS, met: &[
        ("connect", "the socket does not block, and the SYN is on its way"),
        ("connect", "SO_SNDTIMEO has run out; the attempt goes on"),
    ], then: "wait until it is writable, then read SO_ERROR: 0 means connected" },
    Errno { name: "EALREADY", number: libc::EALREADY, met: &[
        ("connect", "again on a socket that does not block, or whose SO_SNDTIMEO has run out, while its first attempt is under way"),
    ], then: "wait as after EINPROGRESS" },
    Errno { name: "EISCONN", number: libc::EISCONN, met: &[
        ("connect", "again, after an earlier attempt has succeeded and said so"),
        ("sendto", "Unix streams: with an address although the socket is connected"),
    ], then: "it is connected: go on" },
    Errno { name: "ENOTCONN", number: libc::ENOTCONN, met: &[
        ("recv, shutdown", "on a stream socket that is not connected, or not any more"),
        ("getpeername", "right after accept: the client's RST was there first, and it no longer has a peer"),
    ], then: "take the peer's address from accept, not from getpeername" },
    Errno { name: "ECONNABORTED", number: libc::ECONNABORTED, met: &[
        ("accept", "POSIX: the client's RST came before accept. Linux returns the connection, and recv says ECONNRESET"),
        ("recv", "an administrator destroyed the connection here (ss -K); the next recv returns 0"),
    ], then: "a server goes on accepting" },
    Errno { name: "EINTR", number: libc::EINTR, met: &[
        ("accept, recv, send, connect", "a signal's handler ran that was installed without SA_RESTART"),
        ("poll, epoll_wait, select", "the same, and with SA_RESTART too; so is recv with SO_RCVTIMEO"),
    ], then: "call again. An interrupted connect goes on by itself; on Linux the second call waits for it" },
    Errno { name: "EMFILE", number: libc::EMFILE, met: &[
        ("accept, socket", "this process has as many descriptors as RLIMIT_NOFILE allows. Clients connect all the same, and wait in the queue"),
    ], then: "stop accepting until one is closed, or the loop spins; raise `ulimit -n`; look for descriptors that nobody closes" },
    Errno { name: "ENFILE", number: libc::ENFILE, met: &[
        ("accept, socket", "the machine has as many open files as fs.file-max allows"),
    ], then: "as for EMFILE; the culprit may be another program" },
    Errno { name: "ENOBUFS", number: libc::ENOBUFS, met: &[
        ("send", "a queue of the kernel is full or memory is short; for plain UDP Linux drops the datagram instead and says nothing"),
        ("recv", "netlink: messages were lost because nobody read them in time"),
    ], then: "wait a little and try again; for netlink ask for the whole state anew" },
    Errno { name: "EMSGSIZE", number: libc::EMSGSIZE, met: &[
        ("send", "UDP: more than 65,507 bytes over IPv4, or more than the path's MTU takes with fragmentation forbidden (1,472 over Ethernet)"),
        ("send", "Unix datagram or seqpacket: more than the send buffer takes"),
    ], then: "send less in one message. A datagram too long for the reader's buffer is no error there: its rest is gone, and MSG_TRUNC is set" },
    Errno { name: "ENOPROTOOPT", number: libc::ENOPROTOOPT, met: &[
        ("setsockopt, getsockopt", "no such option at that level, or not for this kind of socket, or not in this kernel"),
        ("connect", "ICMP protocol unreachable: the host does not speak TCP"),
    ], then: "`switchboard explain options` tells what there is here" },
    Errno { name: "EHOSTDOWN", number: libc::EHOSTDOWN, met: &[
        ("connect", "ICMP destination host unknown (code 7), at once; rare"),
    ], then: "as for EHOSTUNREACH" },
    Errno { name: "EPROTO", number: libc::EPROTO, met: &[
        ("accept", "System V: the client's RST came before accept. Linux TCP never says so"),
    ], then: "a portable server goes on accepting" },
    Errno { name: "EPERM", number: libc::EPERM, met: &[
        ("send, connect", "a firewall rule of this machine drops what would go out"),
        ("setsockopt, socket", "an option or kind of socket for administrators: SO_RCVBUFFORCE, SO_MARK (CAP_NET_ADMIN), raw sockets (CAP_NET_RAW)"),
    ], then: "look at the rules of this machine, or at what the process may do" },
    Errno { name: "EAFNOSUPPORT", number: libc::EAFNOSUPPORT, met: &[
        ("socket", "the kernel has no such family: IPv6 is switched off"),
        ("connect, bind, sendto", "the address is of another family than the socket"),
    ], then: "try the next address" },
    Errno { name: "EDESTADDRREQ", number: libc::EDESTADDRREQ, met: &[
        ("send", "UDP and Unix datagrams: the socket is not connected and no address is given"),
    ], then: "connect it, or use sendto" },
];

/// The largest number that Linux uses for an errno.
const LAST: u64 = 4_095;

pub(super) fn explain(text: &str) -> Result<Vec<Sheet>, Error> {
    let number = super::number::read(text).filter(|number| (1..=LAST).contains(number));
    let plain = |number: u64| {
        let mut sheet = Sheet::new("errno", format!("{number}: an errno"));
        sheet.add("number", number);
        sheet.add("text", message(number as i32));
        sheet.add("met", "by no socket call in particular (errno(3))");
        sheet
    };
    let sheet = named(text).or_else(|| numbered(number?)).or_else(|| number.map(plain));
    sheet.map(|sheet| vec![sheet]).ok_or_else(|| {
        let names: Vec<&str> = ERRNOS.iter().map(|errno| errno.name).collect();
        Error::Config(format!(
            "`{}` is not an errno of socket calls; known are {}, and any by its number",
            text.escape_default(),
            names.join(", ")
        ))
    })
}

/// The error with this name.
pub(super) fn named(text: &str) -> Option<Sheet> {
    let name = if text.eq_ignore_ascii_case("EWOULDBLOCK") { "EAGAIN" } else { text };
    ERRNOS.iter().find(|errno| errno.name.eq_ignore_ascii_case(name)).map(sheet)
}

/// The error of socket calls with this number.
pub(super) fn numbered(number: u64) -> Option<Sheet> {
    ERRNOS.iter().find(|errno| u64::try_from(errno.number) == Ok(number)).map(sheet)
}

fn sheet(errno: &Errno) -> Sheet {
    let mut sheet = Sheet::new("errno", format!("{}: an errno", errno.name));
    sheet.add("name", errno.name);
    sheet.add("number", errno.number.unsigned_abs() as u64);
    sheet.add("text", message(errno.number));
    sheet.add("advice", errno.then);
    let row =
        |(call, when): &(&str, &str)| -> Row { vec![("call", Fact::from(*call)), ("when", (*when).into())] };
    sheet.add("met_by", errno.met.iter().map(row).collect::<Vec<Row>>());
    sheet
}

/// The C library's text.
fn message(number: i32) -> String {
    let text = io::Error::from_raw_os_error(number).to_string();
    text.rsplit_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_whole_and_there_once() {
        for errno in &ERRNOS {
            assert!(!errno.met.is_empty() && !errno.then.is_empty(), "{}", errno.name);
            let same = |other: &&Errno| other.name == errno.name || other.number == errno.number;
            assert_eq!(ERRNOS.iter().filter(same).count(), 1, "{}", errno.name);
        }
    }

    #[test]
    fn the_text_is_without_the_number() {
        assert_eq!(message(libc::ECONNREFUSED), "Connection refused");
    }
}
