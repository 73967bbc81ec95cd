//! One function per fuzz target: it takes any bytes, and panics when a promise is broken.
//!
//! The functions are pure and run on a stable compiler as well (`tests/smoke.rs`). A new target is a function
//! here (in a file of its own if it needs more than one), a row in [`TARGETS`], a file in `fuzz_targets/` and a
//! `[[bin]]` in `Cargo.toml`.

#![forbid(unsafe_code)]

mod headers;
mod legacy;
mod preludes;
mod sessions;
mod telnet;
mod texts;

pub use headers::{proxy_v1, proxy_v2};
pub use legacy::{inetd_conf, xinetd_conf};
pub use preludes::{starttls_answer, tunnel_answer};
pub use sessions::{service_options, session_splits, sum_binary, sum_line};
pub use telnet::telnet;
pub use texts::{config_toml, endpoint, quantity, socket_option};

/// A fuzz target: its name, its function, and inputs to start from.
pub struct Target {
    /// Name of the function and of its file in `fuzz_targets/`.
    pub name: &'static str,
    /// Takes any bytes; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs that lead to interesting places.
    pub seeds: &'static [&'static [u8]],
}

/// Every target.
pub static TARGETS: &[Target] = &[
    // Sessions (switchboard-proto).
    Target {
        name: "sum_line",
        run: sum_line,
        seeds: &[
            b"1 2\n",
            b" -1\t+22 \r\n",
            b"9223372036854775807 1",
            b"-9223372036854775808 -1\n",
            b"9223372036854775808 0",
            b"1 2 3\n4 5\r\r\n\n\r\n \x00",
            &[b'7'; 5_000],
        ],
    },
    // Preludes (switchboard-proto).
    Target {
        name: "starttls_answer",
        run: starttls_answer,
        seeds: &[
            b"\x07220-mx\r\n220 mx\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n",
            b"\x01* OK\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\na OK\r\nb OK\r\n",
            b"\x04+OK\r\n+OK\r\nSTLS\r\n.\r\n+OK\r\n",
            b"\x00220-Welcome\r\n to this\r\n220 FTP\r\n234 ok.\r\nmore",
            b"\x03200 news\r\n101 can:\r\nSTARTTLS\r\n.\r\n382 go\r\n",
            b"\x06\"STARTTLS\"\r\nOK\r\nOK\r\n",
            b"\x05SS",
        ],
    },
    Target {
        name: "tunnel_answer",
        run: tunnel_answer,
        seeds: &[
            b"\x00HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n220 hello",
            b"\x00HTTP/1.0 102 \r\n\r\nHTTP/1.1 407 who?\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
            b"\x01\0\x5a\x12\x34\x7f\0\0\x01+rest",
            b"\x02\0\x5b\0\0\0\0\0\0",
            b"\x03\x05\x00\x05\x00\x00\x01\x7f\0\0\x01\x12\x34+rest",
            b"\x07\x05\x02\x01\x00\x05\x00\x00\x03\x04host\x12\x34+rest",
            b"\x07\x05\x00\x05\x05\x00\x04",
        ],
    },
    Target {
        name: "sum_binary",
        run: sum_binary,
        seeds: &[
            b"\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02",
            b"\x01\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x01",
            b"\x03\xff\xff\xff\x7f\x01\0\0\0\x01",
        ],
    },
    Target {
        name: "session_splits",
        run: session_splits,
        seeds: &[
            b"\0\x01\x02\x03hello\nworld",
            b"\x07\x05\x10\x01\x031 2\n3 4\n5 x\n",
            b"\x06\x01\0\x20hello\r\nmore",
            b"\x04\x02\x01\x01stop!",
        ],
    },
    Target {
        name: "service_options",
        run: service_options,
        seeds: &[
            b"\x03quote=Mind the gap.",
            b"\x07syntax=lenient\0amplify=on",
            b"\x08abi=lp64-le",
            b"\x02format=ctime\0format=iso",
            b"\x03quote=\xc3\xa9",
        ],
    },
    // What a proxy says of its client (switchboard-proto).
    Target {
        name: "proxy_v1",
        run: proxy_v1,
        seeds: &[
            b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 7\r\nhello",
            b"PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 0 65535\r\n",
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN what \r ever\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        ],
    },
    Target {
        name: "proxy_v2",
        run: proxy_v2,
        seeds: &[
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0x",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x16\x7f\0\0\x01\x7f\0\0\x01\xe5\xbe\x43\xf8\x03\0\x04\x42\xd7\xcb\x17\x05\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x14\x7f\0\0\x01\x7f\0\0\x01\xe5\xbe\x43\xf8\x01\0\x02h2\x04\0\0",
            b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x15\x20\0\x0c\x01\0\0\0\0\x21\0\x04TLSv\x02\0\x03a.b",
        ],
    },
    Target {
        name: "telnet",
        run: telnet,
        seeds: &[
            b"\x03a\r\nb\r\0c\xff\xff",
            b"\x01\xff\xfb\x01\xff\xfd\x18login: ",
            b"\x02\xff\xfa\x18\x01\xff\xff\xff\xf0x\xff\xf2\r",
        ],
    },
    // Texts that users write (switchboard-net).
    Target {
        name: "endpoint",
        run: endpoint,
        seeds: &[
            b"tcp:127.0.0.1:7",
            b"udp:[::1]:0",
            b"tcp:[fe80::1%eth0]:80",
            b"localhost:echo",
            b"tcp:*:7007",
            b"7007",
            b":7",
            b"[::ffff:127.0.0.1]:daytime",
            b"unix:/run/echo.sock",
            b"unix-dgram:relative/path",
            b"unix-seqpacket:@name",
        ],
    },
    Target {
        name: "quantity",
        run: quantity,
        seeds: &[
            b"500ms",
            b"1.5m",
            b"10000d",
            b"2 \xc2\xb5s",
            b"64KiB",
            b"1.5MB",
            b"4G",
            b"10k",
            b"100Mbit/s",
            b"1Gbps",
            b"999999999999999999999999999999999999999999999",
            b"0.000000000000000000001ns",
        ],
    },
    Target {
        name: "socket_option",
        run: socket_option,
        seeds: &[
            b"backlog=4096",
            b"nodelay=off",
            b"sndbuf=bdp:100Mbit/s,80ms",
            b"rcvbuf=1.5MiB",
            b"keepalive-idle=2m",
            b"user-timeout=1.5s",
            b"mark=0x1f",
            b"ttl=64",
            b"congestion=reno",
            b"device=lo",
        ],
    },
    Target {
        name: "config_toml",
        run: config_toml,
        seeds: &[
            b"version = 1\n[[service]]\nbuiltin = \"echo\"\n",
            b"version = 1\nwatch = true\nlog = { to = \"syslog:ftp\", mask = \"host\" }\n[defaults]\nper_source = 3\n\
              [[service]]\nid = \"x\"\nbuiltin = \"daytime\"\nlisten = [\"0\", \"udp:*:0,ttl=3\"]\noptions.format = \"ctime\"\n",
            b"version = 1\n[[service]]\nexec = \"sh -c 'cat; exit'\"\nlisten = \"unix:/tmp/x\"\nsocket_mode = \"0600\"\n\
              env = { A = \"b\" }\nrlimits = { core = 0, as = [\"1MiB\", \"unlimited\"] }\ngrace = 1.5\n",
            b"version = 1\n[[service]]\nforward = { to = \"tcp:[::1]:5\", connect_timeout = \"250ms\" }\nlisten = \"0\"\n\
              rate_per_source = { most = \"3/m:4\", otherwise = \"delay:2s\" }\naccess.times = \"22:00-06:00\"\n\
              access.deny = [\"10.0.0.0/8\", \".example.org\"]\nmin_memory = \"1.5MB\"\nmax_load = 2\n",
            b"version = 1\nnot toml\n[[service]\nid = \xc3\xa4 \"\\u0000\"\n",
        ],
    },
    // Files of old daemons (switchboard).
    Target {
        name: "inetd_conf",
        run: inetd_conf,
        seeds: &[
            b"\x00daytime stream tcp nowait root internal\n127.0.0.1:\n9 dgram udp wait.5 u:g /bin/a a -x\n\t-y\n",
            b"\x00[::1]:79 stream tcp46,sndbuf=64k,rcvbuf=1m nowait u.g /usr/sbin/tcpd in.a # b\n",
            b"\x01:u:g:660:/run/a seqpacket unix nowait/1/2/3 u:g/class /bin/a 'a b' \"c\n",
            b"\x01tcpmux/+a stream tcp nowait root /bin/a\n#@ in\nr/1-3 dgram rpc/udp wait u /bin/r",
            b"\x02a,b on socktype = stream, exec = \"/bin/\\x41\\n\", args = a 'b';b off ipsec = x;c stream,5:f,g tcp6 wait:0 u /bin/c",
            b"\x02a on service_max = 0, ip_max = 99999999999, user = u u\n= , ;;; on",
            b"\x03a,b:c stream tcp6only nowait u /bin/\\a \"x\\\"y\"\n # x\na:",
            b"\x04discard stream tcp wait.1 root internal\nx",
        ],
    },
    Target {
        name: "xinetd_conf",
        run: xinetd_conf,
        seeds: &[
            b"defaults\n{\n only_from = 10.0.0.0\n cps = 25 30\n log_type = FILE /x 1 2\n disabled = a b\n}\nincludedir /x\n",
            b"service echo\n{\n type = INTERNAL\n socket_type = dgram\n wait = yes\n only_from += .a 10.1.{2,3}\n only_from -= .a\n}\n",
            b"service a\n{\n type = UNLISTED\n port = 5\n socket_type = stream\n protocol = tcp\n wait = no\n user = 0\n server = /bin/a\n server_args = \"a b\"\n env = A=1 A=2\n rlimit_as = 8M\n access_times = 22:00-24:00\n nice=5\n}\n",
            b"service r\n{\n type = UNLISTED\n port = 6\n socket_type = stream\n protocol = tcp\n wait = no\n user = u\n redirect = ::1 http\n bind = \xff\n flags = IPv6 NODELAY SENSOR\n max_load = 1e308\n}\n",
            b"service x {\n}\nservice\n{\n disable = yes\n}\n}\n{",
        ],
    },
];
