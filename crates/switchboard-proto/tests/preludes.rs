//! Proxies and servers that answer as they should, and others; whole and byte by byte.

use switchboard_proto::prelude::{Failure, Prelude, Why};
use switchboard_proto::starttls::Protocol;
use switchboard_proto::tunnel::{Credentials, Destination, Method, tunnel};

/// Drives a prelude over what the other side says, cut into pieces of these lengths (the last one repeats): what our
/// side said, and how many bytes it took.
fn play(prelude: &mut dyn Prelude, input: &[u8], pieces: &[usize]) -> Result<(Vec<u8>, usize), Failure> {
    let mut said = Vec::new();
    let (mut taken, mut come, mut nth) = (0, 0, 0);
    loop {
        said.extend(prelude.take_output());
        if prelude.is_done() {
            return Ok((said, taken));
        }
        if taken == come {
            if come == input.len() {
                return Err(prelude.ended());
            }
            let piece = pieces[nth.min(pieces.len() - 1)];
            nth += 1;
            come = (come + piece).min(input.len());
        }
        let n = prelude.look(&input[taken..come])?;
        assert!(n > 0 && taken + n <= come, "it takes {n} of {}", come - taken);
        taken += n;
    }
}

fn name() -> Destination {
    Destination::Name("example.test".into(), 80)
}

fn address(text: &str) -> Destination {
    Destination::Address(text.parse().unwrap())
}

fn user(user: &str, password: &str) -> Credentials {
    Credentials { user: user.into(), password: password.into() }
}

/// What we say and what is left over, the same for every way to cut the answer into pieces.
fn asked(
    method: Method,
    destination: &Destination,
    who: Option<&Credentials>,
    answer: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let results = [&[usize::MAX / 2][..], &[1], &[2, 1, 3], &[7]].map(|pieces| {
        play(&mut *tunnel(method, destination, who).unwrap(), answer, pieces)
            .map(|(said, taken)| (said, answer[taken..].to_vec()))
    });
    results.iter().for_each(|other| match (&results[0], other) {
        (Err(one), Err(other)) => assert_eq!(one.why, other.why),
        (one, other) => assert_eq!(one, other),
    });
    results.into_iter().next().unwrap()
}

#[test]
fn http_proxies_are_asked_and_not_a_byte_after_the_empty_line_is_taken() {
    let request = b"CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n";
    for answer in [
        &b"HTTP/1.1 200 Connection established\r\n\r\n"[..],
        b"HTTP/1.0 200 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 fine\nX: y\n\n",
        b"HTTP/1.1 102 Processing\r\nA: b\r\n\r\nHTTP/1.1 299 at last\r\n\r\n",
    ] {
        let whole = [answer, b"\r\n220 hello"].concat();
        let (said, left) = asked(Method::HttpConnect, &name(), None, &whole).unwrap();
        assert_eq!(said, request);
        assert_eq!(left, b"\r\n220 hello");
    }
    let who = user("Aladdin", "open sesame");
    let (said, _) =
        asked(Method::HttpConnect, &address("[::1]:7"), Some(&who), b"HTTP/1.1 200 ok\r\n\r\n").unwrap();
    // The example of RFC 7617 §2.
    let wanted = "CONNECT [::1]:7 HTTP/1.1\r\nHost: [::1]:7\r\n\
                  Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
    assert_eq!(said, wanted.as_bytes());
}

#[test]
fn http_proxies_that_refuse_are_quoted() {
    for (answer, why, part) in [
        (
            &b"HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\nbody"[..],
            Why::Unreached,
            "503 Service Unavailable",
        ),
        (b"HTTP/1.1 403 \x1b[2JNo\r\n\r\n", Why::Denied, "403 \\x1b[2JNo"),
        (
            b"HTTP/1.1 407 who?\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Basic realm=\"x\"\r\n\r\n",
            Why::Denied,
            "(NTLM, Basic;",
        ),
        // It says why, and closes.
        (b"HTTP/1.1 502 Bad Gateway\r\n", Why::Unreached, "502 Bad Gateway"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", Why::Denied, "101"),
        (b"HTTP/1.1 301 Moved\r\n\r\n", Why::Denied, "301"),
        (b"SSH-2.0-OpenSSH\r\n", Why::Malformed, "no answer of an HTTP proxy"),
        (b"HTTP/2 200\r\n\r\n", Why::Malformed, "no answer of an HTTP proxy"),
        (b"HTTP/1.1 2000 ok\r\n\r\n", Why::Malformed, "no answer of an HTTP proxy"),
        (b"HTTP/1.1 999 ok\r\n\r\n", Why::Malformed, "no answer of an HTTP proxy"),
        (b"HTTP/1.1 200 ok\r\nX: y\r\n", Why::Malformed, "closed"),
        (b"", Why::Malformed, "closed"),
    ] {
        let failure = asked(Method::HttpConnect, &name(), None, answer).unwrap_err();
        assert_eq!(failure.why, why, "{failure}");
        assert!(failure.words.contains(part), "{failure}");
    }
    let endless = [b"HTTP/1.1 200 ok\r\n".to_vec(), b"X: y\r\n".repeat(10_000)].concat();
    let failure = asked(Method::HttpConnect, &name(), None, &endless).unwrap_err();
    assert!(failure.words.contains("does not come to an end"), "{failure}");
    let again = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
    assert!(asked(Method::HttpConnect, &name(), None, &again).is_err());
}

#[test]
fn socks4_proxies_are_asked_for_addresses_and_with_4a_for_names() {
    let granted = b"\0\x5a\x12\x34\x7f\0\0\x01+rest";
    let (said, left) =
        asked(Method::Socks4, &address("127.0.0.1:513"), Some(&user("root", "")), granted).unwrap();
    assert_eq!(said, b"\x04\x01\x02\x01\x7f\0\0\x01root\0");
    assert_eq!(left, b"+rest");
    let (said, left) = asked(Method::Socks4a, &name(), None, granted).unwrap();
    assert_eq!(said, b"\x04\x01\0\x50\0\0\0\x01\0example.test\0");
    assert_eq!(left, b"+rest");
    // An IPv4 address in the form of IPv6 is one.
    let (said, _) = asked(Method::Socks4, &address("[::ffff:192.0.2.1]:7"), None, granted).unwrap();
    assert_eq!(said, b"\x04\x01\0\x07\xc0\0\x02\x01\0");
    for (answer, why, part) in [
        (&b"\0\x5b\0\0\0\0\0\0"[..], Why::Unreached, "91"),
        (b"\0\x5c\0\0\0\0\0\0", Why::Denied, "identd"),
        (b"\0\x5d\0\0\0\0\0\0", Why::Denied, "another user"),
        (b"\0\0\0\0\0\0\0\0", Why::Malformed, "answer 0"),
        (b"\x05\xff", Why::Malformed, "byte 5"),
        (b"\0\x5a\0", Why::Malformed, "closed"),
    ] {
        let failure = asked(Method::Socks4a, &name(), None, answer).unwrap_err();
        assert_eq!(failure.why, why, "{failure}");
        assert!(failure.words.contains(part), "{failure}");
    }
}

#[test]
fn socks5_proxies_are_told_who_asks_if_they_want_to_know() {
    let none = b"\x05\x00\x05\x00\x00\x01\x7f\0\0\x01\x12\x34+rest";
    let (said, left) = asked(Method::Socks5, &address("192.0.2.1:80"), None, none).unwrap();
    assert_eq!(said, b"\x05\x01\x00\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50");
    assert_eq!(left, b"+rest");
    let (said, left) = asked(Method::Socks5, &name(), Some(&user("a", "bc")), none).unwrap();
    assert_eq!(said, b"\x05\x02\x00\x02\x05\x01\x00\x03\x0cexample.test\x00\x50");
    assert_eq!(left, b"+rest");
    let wanted = b"\x05\x02\x01\x00\x05\x00\x00\x03\x04host\x12\x34+rest";
    let (said, left) =
        asked(Method::Socks5, &address("[2001:db8::1]:80"), Some(&user("a", "bc")), wanted).unwrap();
    let request = b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50";
    assert_eq!(said, [&b"\x05\x02\x00\x02\x01\x01a\x02bc"[..], request].concat());
    assert_eq!(left, b"+rest");
    let sixteen = [&b"\x05\x00\x05\x00\x00\x04"[..], &[0; 18], b"+rest"].concat();
    assert_eq!(asked(Method::Socks5, &name(), None, &sixteen).unwrap().1, b"+rest");
    let nameless = b"\x05\x00\x05\x00\x00\x03\x00\0\0+rest";
    assert_eq!(asked(Method::Socks5, &name(), None, nameless).unwrap().1, b"+rest");
}

#[test]
fn socks5_proxies_that_refuse_say_why() {
    let who = user("a", "b");
    for (who, answer, why, part) in [
        (None, &b"\x05\xff"[..], Why::Denied, "name a user"),
        (Some(&who), b"\x05\xff", Why::Denied, "neither"),
        (None, b"\x05\x02", Why::Malformed, "not offered"),
        (Some(&who), b"\x05\x01", Why::Malformed, "not offered"),
        (Some(&who), b"\x05\x02\x01\x01", Why::Denied, "does not accept"),
        (Some(&who), b"\x05\x02\x05\x00", Why::Malformed, "byte 5"),
        (None, b"\x05\x00\x05\x01", Why::Denied, "general failure"),
        (None, b"\x05\x00\x05\x02", Why::Denied, "rules"),
        (None, b"\x05\x00\x05\x05\0\x01\0\0\0\0\0\0", Why::Unreached, "connection refused (5)"),
        (None, b"\x05\x00\x05\x09", Why::Malformed, "(9)"),
        (None, b"\x05\x00\x05\x00\x00\x02", Why::Malformed, "kind 2"),
        (None, b"\x05\x00\x05\x00\x00\x01\0\0", Why::Malformed, "closed"),
        (None, b"HTTP/1.1 400 Bad Request\r\n", Why::Malformed, "byte 72"),
        (None, b"", Why::Malformed, "closed"),
    ] {
        let failure = asked(Method::Socks5, &name(), who, answer).unwrap_err();
        assert_eq!(failure.why, why, "{failure}");
        assert!(failure.words.contains(part), "{failure}");
    }
}

#[test]
fn what_a_protocol_cannot_say_is_not_asked() {
    let long = "x".repeat(256);
    for (method, destination, who, part) in [
        (Method::Socks4, name(), None, "use socks4a"),
        (Method::Socks4, address("[::1]:7"), None, "no IPv6"),
        (Method::Socks4a, address("[::1]:7"), None, "no IPv6"),
        (Method::Socks4a, name(), Some(user("a", "b")), "no passwords"),
        (Method::Socks4a, name(), Some(user("a\0b", "")), "no NUL"),
        (Method::Socks5, name(), Some(user("a", "")), "a password"),
        (Method::Socks5, name(), Some(user("", "b")), "a user name"),
        (Method::Socks5, name(), Some(user("a", &long)), "up to 255"),
        (Method::HttpConnect, name(), Some(user("a:b", "c")), "no colon"),
        (Method::HttpConnect, name(), Some(user("a", "c\r\n")), "no control"),
        (Method::Socks5, Destination::Name(long.clone(), 7), None, "256"),
        (Method::Socks5, Destination::Name(String::new(), 7), None, "0"),
        (Method::HttpConnect, Destination::Name("a b\r\n".into(), 7), None, "` `"),
        (Method::HttpConnect, Destination::Name("a:1".into(), 7), None, "`:`"),
    ] {
        let problem = tunnel(method, &destination, who.as_ref()).err().unwrap();
        assert!(problem.contains(part), "{problem}");
    }
    assert_eq!(address("[fe80::1%3]:7").to_string(), "[fe80::1]:7");
}

/// What a server says, however it is cut; `>` lines are what we must have said.
fn started(protocol: Protocol, answer: &[u8]) -> Result<String, Failure> {
    let mut heard = [&[usize::MAX / 2][..], &[1], &[3, 5]].map(|pieces| {
        play(&mut *protocol.start(), answer, pieces).map(|(said, taken)| {
            assert_eq!(taken, answer.len(), "all of it was the prelude's");
            said
        })
    });
    // A byte at a time, what follows the consent has not come when it is taken.
    for other in &heard[1..] {
        if let (Ok(one), Ok(other)) = (&heard[0], other) {
            assert_eq!(one, other);
        }
    }
    core::mem::replace(&mut heard[0], Ok(Vec::new())).map(|said| said.escape_ascii().to_string())
}

#[test]
fn every_protocol_has_its_way_to_tls() {
    for (protocol, answer, said) in [
        (
            Protocol::Smtp,
            &b"220-mx.example.test\r\n220 ESMTP\r\n250-mx.example.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n\
               220 2.0.0 Ready to start TLS\r\n"[..],
            "EHLO [127.0.0.1]\\r\\nSTARTTLS\\r\\n",
        ),
        (
            Protocol::Lmtp,
            b"220 LMTP\r\n250-x\r\n250 starttls\r\n220 go\r\n",
            "LHLO [127.0.0.1]\\r\\nSTARTTLS\\r\\n",
        ),
        (
            Protocol::Imap,
            b"* OK [CAPABILITY IMAP4rev1 LITERAL+ STARTTLS] ready\r\n* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n\
              a OK done\r\nb OK Begin TLS\r\n",
            "a CAPABILITY\\r\\nb STARTTLS\\r\\n",
        ),
        (
            Protocol::Pop3,
            b"+OK POP3 ready\r\n+OK\r\nTOP\r\nSTLS\r\n.\r\n+OK Begin TLS\r\n",
            "CAPA\\r\\nSTLS\\r\\n",
        ),
        (Protocol::Ftp, b"220-Welcome\r\n to this\r\n220 FTP\r\n234 AUTH TLS ok.\r\n", "AUTH TLS\\r\\n"),
        (
            Protocol::Nntp,
            b"200 news\r\n101 capabilities:\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n382 Continue\r\n",
            "CAPABILITIES\\r\\nSTARTTLS\\r\\n",
        ),
        (
            Protocol::Sieve,
            b"\"IMPLEMENTATION\" \"x\"\r\n\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\nOK\r\n",
            "STARTTLS\\r\\n",
        ),
        (Protocol::Postgres, b"S", "\\x00\\x00\\x00\\x08\\x04\\xd2\\x16/"),
    ] {
        assert_eq!(started(protocol, answer).unwrap(), said, "{protocol:?}");
        // Whatever follows in one go was put there by somebody else.
        let injected = [answer, b"250 injected\r\n"].concat();
        let failure = play(&mut *protocol.start(), &injected, &[usize::MAX / 2]).unwrap_err();
        assert!(failure.words.contains("somebody in between"), "{protocol:?}: {failure}");
    }
}

#[test]
fn servers_without_tls_and_other_servers_are_told_apart() {
    for (protocol, answer, why, part) in [
        (Protocol::Smtp, &b"220 mx\r\n250-mx\r\n250 XXXXXXXX\r\n"[..], Why::Denied, "does not offer TLS"),
        (Protocol::Smtp, b"554 go away\r\n", Why::Denied, "refuses to talk: `554 go away`"),
        (
            Protocol::Smtp,
            b"220 mx\r\n250 STARTTLS\r\n454 not available \x1b[m\r\n",
            Why::Denied,
            "refuses to go on with TLS: `454 not available \\x1b[m`",
        ),
        (Protocol::Smtp, b"SSH-2.0-x\r\n", Why::Malformed, "no answer of smtp"),
        (Protocol::Smtp, b"220-mx\r\n221 mx\r\n", Why::Malformed, "no answer of smtp"),
        (Protocol::Smtp, b"220 mx\r\n", Why::Malformed, "closed"),
        (Protocol::Imap, b"* OK\r\n* CAPABILITY IMAP4rev1\r\na OK\r\n", Why::Denied, "does not offer TLS"),
        (Protocol::Imap, b"* PREAUTH hello\r\n", Why::Denied, "refuses"),
        (Protocol::Imap, b"* BYE full\r\n", Why::Denied, "refuses"),
        (Protocol::Imap, b"+OK POP3\r\n", Why::Malformed, "no answer of imap"),
        (Protocol::Pop3, b"+OK\r\n+OK\r\nTOP\r\n.\r\n", Why::Denied, "does not offer TLS"),
        (Protocol::Pop3, b"+OK\r\n-ERR what?\r\n", Why::Denied, "refuses to tell"),
        (Protocol::Ftp, b"220 x\r\n534 no\r\n", Why::Denied, "534 no"),
        (Protocol::Nntp, b"502 no\r\n", Why::Denied, "502 no"),
        (Protocol::Sieve, b"\"SIEVE\" \"\"\r\nOK\r\n", Why::Denied, "does not offer TLS"),
        (Protocol::Postgres, b"N", Why::Denied, "does not offer TLS"),
        (Protocol::Postgres, b"E\0\0\0", Why::Malformed, "no answer of postgres"),
    ] {
        let failure = started(protocol, answer).unwrap_err();
        assert_eq!(failure.why, why, "{failure}");
        assert!(failure.words.contains(part), "{failure}");
    }
    let endless = [b"220-".to_vec(), b"x".repeat(100_000)].concat();
    for protocol in Protocol::ALL {
        assert!(started(protocol, &endless).is_err());
        assert!(started(protocol, &b"220-x\r\n".repeat(10_000)).is_err());
        assert!(!protocol.name().is_empty());
    }
}
