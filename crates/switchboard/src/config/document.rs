//! [`Document`]: the configuration file as written: every key that it may have, and nothing decided yet.
//!
//! The tables below are the one description of the format. From them come the reader with its errors
//! (`read.rs`), the writer ([`Document::to_toml`]), the commented example, and docs/configuration.md. A key's
//! comment is what users read about it; after `=` stands its default in words, after `;` an example.

use super::effective::Line;
use super::read::{Key, Node, Reader, Table, Value, over};
use super::source::{At, Span};
use super::value::{
    Bytes, Count, Frequency, Goodbye, Logging, Many, Masking, Mode, Number, Octal, Otherwise, Pairs, Percent,
    Pins, Profile, ProxyOthers, ProxyOut, ProxyVersions, Real, Resources, Shape, Showing, Speed,
    StandardError, Time, TlsVersion, Words,
};
use serde::{Serialize, Serializer};
use std::path::PathBuf;

/// Makes a struct of optional keys, with the table of what they are. A table with a `short` key may be written as the
/// value of that key alone.
macro_rules! table {
    ($(#[doc = $about:literal])* $name:ident, $title:literal $(, short = $short:ident)? {
        $( $(#[doc = $doc:literal])* $key:ident: $type:ty = $default:literal; $example:literal, )*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name {
            $( $(#[doc = $doc])* pub(crate) $key: Option<At<$type>>, )*
            /// Remarks that are written before the table.
            pub(crate) remarks: Vec<String>,
            /// Where the table stands.
            pub(crate) span: Option<Span>,
            /// Keys that are there, but could not be read.
            pub(crate) broken: Vec<&'static str>,
        }

        /// By what is set, wherever that stands.
        impl PartialEq for $name {
            fn eq(&self, other: &$name) -> bool {
                true $( && self.$key == other.$key )*
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let set = [$( self.$key.is_some() ),*].into_iter().filter(|set| *set).count();
                $( if let (Some(short), 1) = (&self.$short, set) { return short.serialize(serializer); } )?
                let mut map = serializer.serialize_map(Some(set))?;
                $( if let Some(value) = &self.$key { map.serialize_entry(stringify!($key), value)?; } )*
                map.end()
            }
        }

        impl Table for $name {
            const TITLE: &'static str = $title;
            $( const SHORT: Option<&'static str> = Some(stringify!($short)); )?
            const KEYS: &'static [Key] = &[$(
                Key {
                    name: stringify!($key),
                    about: &[$($doc),*],
                    values: <$type as Value>::VALUES,
                    default: $default,
                    example: $example,
                    keys: <$type as Value>::KEYS,
                    short: <$type as Value>::SHORT,
                },
            )*];

            fn put(&mut self, key: &str, node: &Node<'_>, reader: &mut Reader<'_>) {
                match key {
                    $( stringify!($key) => {
                        self.$key = reader.value(node);
                        if self.$key.is_none() {
                            self.broken.push(stringify!($key));
                        }
                    } )*
                    _ => {}
                }
            }

            fn remarks(&self) -> &[String] {
                &self.remarks
            }

            fn begins(&mut self, span: Span) {
                self.span = Some(span);
            }

            fn has(&self, key: &str) -> bool {
                match key {
                    $( stringify!($key) => self.$key.is_some(), )*
                    _ => false,
                }
            }

            fn said(&self, key: &str) -> bool {
                self.has(key) || self.broken.contains(&key)
            }

            fn span_of(&self, key: &str) -> Option<Span> {
                match key {
                    $( stringify!($key) => self.$key.as_ref()?.span, )*
                    _ => None,
                }
            }

            fn lines(&self, prefix: &str, lines: &mut Vec<Line>) {
                $( Line::add(prefix, stringify!($key), self.$key.as_ref(), $default, lines); )*
            }

            fn over(mut self, base: &$name) -> $name {
                $( self.$key = over(self.$key, base.$key.as_ref()); )*
                self
            }
        }
    };
}

/// A whole file: what holds for everything, and the services.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Document {
    /// What holds for everything.
    pub(crate) global: GlobalTable,
    /// What services are if they say nothing else.
    pub(crate) defaults: Option<ServiceTable>,
    /// The services.
    pub(crate) service: Vec<ServiceTable>,
}

table! {
    /// What holds for everything.
    GlobalTable, "the file" {
        /// The version of this format.
        version: Number = ""; "1",
        /// Files and directories that are read too, from the place of this file. Of a directory, all files whose names end in
        /// `.toml` and do not begin with a dot are read, in the order of their names.
        include: Many<PathBuf> = "none"; "[\"conf.d\"]",
        /// Connections of all services at once; more wait in the kernel's queues.
        max_connections: Count = "as many as there are descriptors"; "10_000",
        /// After a request to stop, conversations may go on for this long.
        drain_timeout: Time = "5s"; "\"30s\"",
        /// After a request to upgrade, the new program has this long to say that it is ready.
        upgrade_timeout: Time = "30s"; "\"10s\"",
        /// A Unix socket, mode 0600, for `status`, `reload`, `drain`, `stop` and `terminate`.
        control: PathBuf = "none"; "\"/run/switchboard/control\"",
        /// Where Prometheus may scrape; a Unix socket or a loopback address.
        metrics: String = "none"; "\"tcp:127.0.0.1:9464\"",
        /// Reload when one of the files changes (inotify(7)).
        watch: bool = "false"; "true",
        /// What the log says, and where it goes.
        log: LogTable = "for people, to standard error"; "{ format = \"json\", to = \"/var/log/switchboard.log\" }",
    }
}

table! {
    /// What the log says, and where it goes.
    LogTable, "log" {
        /// How records are written.
        format: Shape = "human"; "\"json\"",
        /// Where they go: standard error, a file (opened again at SIGUSR1), syslog(3) with a facility, or systemd's journal.
        to: Logging = "stderr"; "\"syslog:daemon\"",
        /// Also the names of the peers, looked up after the fact.
        names: bool = "false"; "true",
        /// What of the peers' addresses is hidden: nothing, the host (an IPv4 /24 or an IPv6 /48 is left), or all.
        mask: Masking = "nothing"; "\"host\"",
    }
}

table! {
    /// One service. All but `id`, `listen`, what is done with a connection, and `disabled` may stand under `[defaults]` too.
    ServiceTable, "service" {
        /// What `status`, the log and tcpmux call it; a reload compares services by it.
        id: String = "the built-in service's or program's name, with the port if that is taken"; "\"git\"",
        /// Where clients come in: `PORT` (on loopback), `HOST:PORT`, `tcp:HOST:PORT`, `udp:HOST:PORT`, `unix:PATH`, `unix:@NAME`,
        /// `unix-dgram:PATH`, `unix-seqpacket:PATH`, `vsock:CID:PORT`, `tls:HOST:PORT`, `tls:unix:PATH`, `*` being every address; `,NAME=VALUE`
        /// adds options of that socket alone.
        listen: Many<String> = "the built-in service's own ports on loopback"; "[\"tcp:*:9418\", \"unix:/run/git.sock\"]",
        /// Leave this service out.
        disabled: bool = "false"; "true",
        /// An address that cannot be bound is said and left out; otherwise nothing is served.
        optional: bool = "false"; "true",

        /// A built-in service answers; see `switchboard list services`. `tcpmux` is one too (RFC 1078).
        builtin: String = "none"; "\"echo\"",
        /// A program is started for clients: words as in a shell, without its expansions, or a list.
        exec: Words = "none"; "\"git daemon --inetd --export-all /srv/git\"",
        /// Everything is relayed to this address, each half closed by itself.
        forward: ForwardTable = "none"; "{ to = \"tcp:10.0.0.2:80\", source = \"10.0.0.1\", connect_timeout = \"10s\" }",
        /// Programs, forward: offer it by tcpmux, under its id; then it needs no `listen`.
        tcpmux: bool = "false"; "true",

        /// Built-in: the concurrency model; see `switchboard list engines`.
        engine: String = "epoll"; "\"uring\"",
        /// Built-in: processes, children or threads, as the engine's row says.
        workers: Count = "1; prefork 8; pool 64; with `pin` one for each processor"; "2",
        /// Built-in, the engines whose workers have listeners of their own: pin worker after worker to one of these processors, in
        /// turn (`0,2-3`, or `all` that the server may use), and give each the connections and datagrams that arrive on its own
        /// (`SO_INCOMING_CPU`; Linux 6.2), so that none is handed from one processor to another.
        pin: Pins = "unpinned"; "\"all\"",
        /// Built-in: options of the service; see `switchboard list options`.
        options: Pairs = "none"; "{ format = \"ctime\" }",

        /// Program: `nowait` (a process for each connection, which is its standard input and output), `wait` (one process gets
        /// the listening socket, as 0 and as LISTEN_FDS), or `per-datagram` (one process each; what it writes is the answer).
        mode: Mode = "nowait for streams, wait for datagrams"; "\"wait\"",
        /// Program: this many processes share the listening socket; one that ends is started again.
        pool: Count = "none"; "4",
        /// Program: `argv[0]`, if it is not the first word of `exec`.
        argv0: String = "the first word of exec"; "\"-git\"",
        /// Program: where its standard error goes: to the log, each line with the connection's number, to the client, or nowhere.
        stderr: StandardError = "log"; "\"client\"",
        /// Program: variables of its environment. Besides, it is told who its client is in the variables of UCSPI, CGI, ncat and
        /// socat; on a Unix socket in those of UCSPI alone (`UNIXREMOTEEUID`, …), since there is no address to tell.
        env: Pairs = "none"; "{ LANG = \"C.UTF-8\" }",
        /// Program: variables that it takes over from our own environment.
        pass_env: Many<String> = "PATH, TZ"; "[\"PATH\", \"LANG\"]",
        /// Program: look the names of both ends up for its environment (`TCPREMOTEHOST`, `REMOTE_HOST`, `TCPLOCALHOST`); a name
        /// counts if it leads back to its address and is a host name, and the program is started without after 5 s. For `nowait`.
        resolve_names: bool = "false"; "true",
        /// Program: its working directory.
        directory: PathBuf = "/"; "\"/srv/git\"",
        /// Program: what becomes of its processes when the client has gone: `leave` them alone; `terminate` them when the
        /// connection is broken (reset, timed out, closed by a Unix client), and not when the client has only finished sending,
        /// which may mean that it waits for the answer; `terminate-at-end`: then too, unless they end by themselves within `grace`.
        when_gone: Goodbye = "leave"; "\"terminate\"",
        /// Program: from SIGTERM to its process group until it is killed; with `terminate-at-end` also from the end of the
        /// client's input to SIGTERM.
        grace: Time = "5s"; "\"10s\"",

        /// Who may come in.
        access: AccessTable = "everybody"; "{ allow = [\"10.0.0.0/8\", \"::1\"] }",
        /// Connections at once, and what happens to more: `queue` (they wait in the kernel's queue), `reset`, `close`
        /// (after the `message`), or `delay:5s` (they wait inside, then are refused).
        max_connections: BoundTable = "programs 1024, forward 4096; otherwise queue"; "{ most = 100, otherwise = \"queue\" }",
        /// Connections of one source at once: an IPv4 address, an IPv6 prefix, a user on a Unix socket. It cannot queue.
        per_source: BoundTable = "none; otherwise reset"; "10",
        /// New connections: a token bucket, `N/s`, `N/m`, `N/h` or `N/d`, and how many at once after a colon if that is not N.
        rate: BucketTable = "none; otherwise queue"; "{ most = \"50/s:100\", otherwise = \"queue\" }",
        /// New connections of one source. It cannot queue.
        rate_per_source: BucketTable = "none; otherwise reset"; "\"10/s:20\"",
        /// Load average of one minute from which on nobody is let in.
        max_load: LoadTable = "none; otherwise queue"; "8.0",
        /// Free memory below which nobody is let in.
        min_memory: LeastTable = "none; otherwise queue"; "\"64MiB\"",
        /// Length of the prefix by which IPv6 sources are told apart.
        ipv6_prefix: Count = "64"; "56",
        /// Clients come through proxies, which introduce them by a PROXY header of this version, before TLS and all else: the
        /// log, the rules of access, the limits and a program's environment then speak of the client.
        proxy_in: ProxyVersions = "off"; "\"any\"",
        /// The proxies: addresses, prefixes, and `unix` for whoever connects to a Unix socket. Their header is required; nobody
        /// else's bytes are looked at.
        proxy_from: Many<String> = "none; proxy_in needs it"; "[\"10.0.0.0/8\", \"unix\"]",
        /// Those who are none of the proxies: `serve` (as clients of their own) or `refuse`.
        proxy_others: ProxyOthers = "serve"; "\"refuse\"",
        /// Time for the header.
        proxy_timeout: Time = "3s"; "\"5s\"",
        /// What a client is sent who is denied or closed; without it, those are reset whom a limit of one source refuses.
        message: String = "none"; "\"too many connections, please come again\\r\\n\"",

        /// Built-in, forward: end a conversation in which nothing moves for this long; 0 is never.
        idle_timeout: Time = "never"; "\"5m\"",
        /// Built-in, forward: end a conversation that lasts longer than this; 0 is never.
        lifetime: Time = "never"; "\"1h\"",
        /// Built-in, the engines poll, epoll and uring: before it sleeps, a worker looks for events for up to this long, as
        /// long as they keep coming as quickly: sooner answers for few clients, for a processor that is busy meanwhile.
        busy_poll: Time = "never"; "\"200us\"",
        /// Built-in: datagrams that are answered to one source (IPv4 address, IPv6 /64), by all workers of the
        /// service together; or `off`.
        udp_source_rate: Speed = "100/s:2000"; "\"10/s:50\"",
        /// Datagrams that are answered to all sources together, by all workers of the service; or `off`.
        udp_total_rate: Speed = "20000/s:40000"; "\"off\"",

        /// How TLS is spoken where `listen` says `tls:HOST:PORT` or `tls:unix:PATH`: for built-in services, relays, and programs
        /// of the mode `nowait`.
        tls: TlsTable = "none"; "{ cert = \"/etc/ssl/host.pem\", key = \"/etc/ssl/private/host.key\" }",

        /// Options of its sockets; see `switchboard list options`.
        socket_options: Pairs = "backlog 4096, keepalive, nodelay; otherwise the kernel's"; "{ backlog = 128, nodelay = false, sndbuf = \"64KiB\" }",
        /// Permissions of the files of its Unix sockets.
        socket_mode: Octal = "0666 less the umask"; "\"0660\"",
        /// Owner of those files: a name or a number. Needs CAP_CHOWN.
        socket_owner: String = "unchanged"; "\"git\"",
        /// Group of those files: a name or a number.
        socket_group: String = "unchanged"; "\"git\"",

        /// Whose its processes are: a name or a number. Needs CAP_SETUID and CAP_SETGID.
        user: String = "unchanged"; "\"nobody\"",
        /// Their group.
        group: String = "the user's own"; "\"nogroup\"",
        /// Their supplementary groups: names and numbers, or `all` that the user database gives the user.
        groups: Many<String> = "none"; "[\"adm\"]",
        /// Their root directory (chroot(2)). Needs CAP_SYS_CHROOT.
        chroot: PathBuf = "unchanged"; "\"/srv/jail\"",
        /// Their file mode creation mask.
        umask: Octal = "unchanged"; "\"027\"",
        /// Their nice value, -20 to 19; less than ours needs CAP_SYS_NICE.
        nice: Number = "unchanged"; "5",
        /// Their resource limits, by their names in ulimit(1) or setrlimit(2): a number, a size, `unlimited`, or `[soft, hard]`.
        rlimits: Resources = "unchanged"; "{ nofile = 256, as = \"1GiB\", core = 0, nproc = [64, 128] }",
        /// Capabilities that they keep (capabilities(7)), or `all`; all others are dropped.
        capabilities: Many<String> = "none"; "[\"net_raw\"]",
        /// No set-user-ID programs from here on.
        no_new_privs: bool = "true"; "false",
        /// What of the file system and the net they may use (landlock(7)).
        landlock: LandlockTable = "everything"; "{ read = [\"/usr\", \"/srv/git\"], write = [\"/var/cache/git\"], connect = [] }",
        /// System calls: all, all but those that change the machine, or besides nothing that opens sockets or starts programs.
        seccomp: Profile = "none"; "\"service\"",
        /// A cgroup of their own (cgroups(7), version 2) with these bounds or none (`{}`), where one is delegated and the server is
        /// alone in it or in a cgroup `supervisor` below it (systemd: `Delegate=`, `DelegateSubgroup=supervisor`). Each
        /// program has one in that: whoever it forks is asked to end, and killed, with it.
        cgroup: CgroupTable = "none"; "{ memory = \"256MiB\", processes = 64, cpu = \"50%\" }",
    }
}

table! {
    /// Who may come in. The longest matching prefix decides; deny wins among equals.
    AccessTable, "access" {
        /// Let in: `all`, addresses, prefixes, host names, `.domain`, and on Unix sockets `uid:NUMBER`, `gid:NUMBER`, `user:NAME`,
        /// `group:NAME`. If it is given, nobody else comes in.
        allow: Many<String> = "everybody"; "[\"10.0.0.0/8\", \"::1\", \".example.org\", \"user:alice\"]",
        /// Kept out.
        deny: Many<String> = "nobody"; "[\"10.0.13.0/24\"]",
        /// Times of day at which clients are let in, local time; `22:00-06:00` goes past midnight.
        times: Many<String> = "always"; "[\"08:00-12:00\", \"13:00-18:00\"]",
        /// hosts.allow and hosts.deny (hosts_access(5)), read again when they change; `daemon` is the service's name in them.
        hosts_files: HostsTable = "none"; "{ allow = \"/etc/hosts.allow\", deny = \"/etc/hosts.deny\", daemon = \"git-daemon\" }",
        /// Rules of tcprules(1), as a database (`.cdb`) or as text; read again when they change.
        tcprules: PathBuf = "none"; "\"/etc/tcp.smtp.cdb\"",
        /// As xinetd does it: who is matched by both `allow` and `deny` is kept out, however long the prefixes.
        both_deny: bool = "false"; "true",
    }
}

table! {
    /// How TLS is spoken. The files are read at start and at a reload, before rights are given up.
    TlsTable, "tls" {
        /// Certificates as PEM, each file with those that lead to the authority behind the first. Of several the first that fits
        /// the name a client asks for is used, and the first of all for all other names.
        cert: Many<PathBuf> = ""; "[\"/etc/ssl/host.pem\", \"/etc/ssl/other.pem\"]",
        /// Their keys as PEM, in the same order.
        key: Many<PathBuf> = "in the files of the certificates"; "[\"/etc/ssl/private/host.key\", \"/etc/ssl/private/other.key\"]",
        /// Application protocols that are spoken (RFC 7301), the best first; a client that offers only others is refused.
        alpn: Many<String> = "whatever the client likes"; "[\"imap\"]",
        /// Whether clients must show a certificate; one that they show must be good.
        client: Showing = "none"; "\"required\"",
        /// Who may have issued clients' certificates, as PEM.
        client_roots: PathBuf = "the system's authorities"; "\"/etc/ssl/clients.pem\"",
        /// The oldest version.
        min_version: TlsVersion = "1.2"; "\"1.3\"",
        /// The newest version.
        max_version: TlsVersion = "1.3"; "\"1.3\"",
        /// Time for a handshake.
        handshake_timeout: Time = "10s"; "\"3s\"",
        /// Bytes that a client may send before the handshake is done.
        handshake_bytes: Bytes = "64KiB"; "\"16KiB\"",
    }
}

table! {
    /// A relay's far side.
    ForwardTable, "forward", short = to {
        /// Where to: an endpoint as for `listen`.
        to: String = ""; "\"tcp:10.0.0.2:80\"",
        /// Address to connect from.
        source: String = "the kernel's choice"; "\"10.0.0.1\"",
        /// Time for connecting.
        connect_timeout: Time = "10s"; "\"3s\"",
        /// Introduce clients to the far side by a PROXY header of this version; over UDP before each datagram.
        proxy_out: ProxyOut = "off"; "\"v2\"",
        /// With a checksum; version 2.
        proxy_crc32c: bool = "false"; "true",
        /// With a name for the connection, which the log has too; version 2. One that came with the client is passed on.
        proxy_unique_id: bool = "false"; "true",
    }
}

table! {
    /// At most so many, and what happens beyond it.
    BoundTable, "limit", short = most {
        /// At most.
        most: Count = ""; "100",
        /// Beyond it.
        otherwise: Otherwise = "queue, or reset for one source"; "\"delay:5s\"",
    }
}

table! {
    /// A token bucket, and what happens when it is empty.
    BucketTable, "rate", short = most {
        /// New connections in a second, minute or hour, and how many at once.
        most: Frequency = ""; "\"50/s:100\"",
        /// When the bucket is empty.
        otherwise: Otherwise = "queue, or reset for one source"; "\"close\"",
    }
}

table! {
    /// A load average, and what happens above it.
    LoadTable, "max_load", short = most {
        /// Load average of one minute (proc_loadavg(5)).
        most: Real = ""; "8.0",
        /// Above it.
        otherwise: Otherwise = "queue"; "\"close\"",
    }
}

table! {
    /// Free memory, and what happens below it.
    LeastTable, "min_memory", short = least {
        /// `MemAvailable` of proc_meminfo(5).
        least: Bytes = ""; "\"64MiB\"",
        /// Below it.
        otherwise: Otherwise = "queue"; "\"close\"",
    }
}

table! {
    /// The files of hosts_access(5).
    HostsTable, "hosts_files", short = daemon {
        /// The service's name in them.
        daemon: String = "the service's id"; "\"git-daemon\"",
        /// Who is let in.
        allow: PathBuf = "/etc/hosts.allow"; "\"/etc/hosts.allow\"",
        /// Who is kept out.
        deny: PathBuf = "/etc/hosts.deny"; "\"/etc/hosts.deny\"",
    }
}

table! {
    /// What may be used; everything else is forbidden.
    LandlockTable, "landlock" {
        /// Files and directories, with all below, that may be read and executed.
        read: Many<PathBuf> = "none"; "[\"/usr\", \"/etc\"]",
        /// Those that may be written too.
        write: Many<PathBuf> = "none"; "[\"/var/tmp\"]",
        /// TCP ports that may be bound.
        bind: Many<Count> = "all"; "[]",
        /// TCP ports that may be connected to.
        connect: Many<Count> = "all"; "[443]",
    }
}

table! {
    /// Bounds of a service's cgroup. The log says when one was reached.
    CgroupTable, "cgroup" {
        /// `memory.max`.
        memory: Bytes = "none"; "\"256MiB\"",
        /// `pids.max`.
        processes: Count = "none"; "64",
        /// `cpu.max`, of one processor.
        cpu: Percent = "none"; "\"50%\"",
    }
}

impl Document {
    /// The text of the file: only what is set, each table after its remarks.
    pub(crate) fn to_toml(&self) -> Result<String, toml::ser::Error> {
        #[derive(Serialize)]
        struct Defaults<'a> {
            defaults: &'a ServiceTable,
        }
        #[derive(Serialize)]
        struct Service<'a> {
            service: [&'a ServiceTable; 1],
        }
        let remark = |text: &mut String, remarks: &[String]| {
            for line in remarks.iter().flat_map(|remark| remark.lines()) {
                text.push_str(format!("# {line}").trim_end());
                text.push('\n');
            }
        };
        let mut text = String::new();
        remark(&mut text, self.global.remarks());
        text.push_str(&toml::to_string(&self.global)?);
        if let Some(defaults) = &self.defaults {
            text.push('\n');
            remark(&mut text, defaults.remarks());
            text.push_str(&toml::to_string(&Defaults { defaults })?);
        }
        for service in &self.service {
            text.push('\n');
            remark(&mut text, service.remarks());
            text.push_str(&toml::to_string(&Service { service: [service] })?);
        }
        Ok(text)
    }
}
