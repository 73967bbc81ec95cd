//! What files of inetd and xinetd say that is ambiguous, was a bug, or is done otherwise here: [`NOTES`] is the table,
//! a [`Finding`] is one place in a file where a row of it applies.
//!
//! docs/migration.md is made from the table. The facts are from the manual pages and the sources of the old
//! programs, and from watching them run.

use super::source::Span;

/// A construct, what the old programs did with it, and what is done with it here.
#[derive(Debug)]
pub(crate) struct Note {
    /// Its name, which does not change: `xinetd-both-lists`.
    pub(crate) id: &'static str,
    /// What a finding of it means.
    pub(crate) severity: Severity,
    /// What stands in the file.
    pub(crate) construct: &'static str,
    /// What the old program did.
    pub(crate) old: &'static str,
    /// What is done here.
    pub(crate) ours: &'static str,
    /// What `--compat` does instead; nothing, where the old behaviour was a hole or cannot be had.
    pub(crate) compat: Option<&'static str>,
}

/// What a finding means for whoever moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Severity {
    /// It holds for every file; found nowhere in particular.
    General,
    /// For information: clients and programs see no difference.
    Remark,
    /// Something is done otherwise.
    Differs,
    /// Something is not carried over: an attribute, or a whole service.
    LeftOut,
    /// The old program refused it, or misread it: so is it here, unless `--compat` is given.
    Error,
}

impl Severity {
    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Severity::General => "general",
            Severity::Remark => "remark",
            Severity::Differs => "differs",
            Severity::LeftOut => "left out",
            Severity::Error => "error",
        }
    }
}

/// A place where a note applies.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) note: &'static Note,
    /// Where; none: in the file as a whole.
    pub(crate) span: Option<Span>,
    /// What exactly, if the note does not say all.
    pub(crate) detail: String,
}

/// All that was found, in the order of the files.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// A note applies at a place.
    pub(crate) fn note(
        &mut self,
        note: &'static Note,
        span: impl Into<Option<Span>>,
        detail: impl Into<String>,
    ) {
        self.list.push(Finding { note, span: span.into(), detail: detail.into() });
    }

    /// A note applies to the file; said once.
    pub(crate) fn once(&mut self, note: &'static Note) {
        if !self.list.iter().any(|finding| std::ptr::eq(finding.note, note)) {
            self.note(note, None, "");
        }
    }

    /// All, those of the whole file last.
    pub(crate) fn sorted(mut self) -> Vec<Finding> {
        self.list
            .sort_by_key(|finding| finding.span.map_or((true, 0, 0), |span| (false, span.file, span.start)));
        self.list
    }
}

/// docs/migration.md.
pub(crate) fn migration() -> String {
    let mut text = String::from(
        "# Moving from inetd and xinetd\n\
         <!-- Made from the table of notes in crates/switchboard/src/config/notes.rs; edit that. -->\n\n\
         `switchboard convert FILE` prints the file of an inetd or of xinetd as a configuration, with the notes below as remarks \
         where they apply; `switchboard check FILE` shows them with their places. The dialects are those of OpenBSD (and Debian), \
         FreeBSD, NetBSD with both of its forms, GNU inetutils, and `xinetd -inetd_compat`; whose a file is, is seen from what \
         is in it, and said; `--from` decides.\n\n\
         Nothing is dropped in silence. What is *left out* is named with the reason; what is an *error* keeps the whole file from \
         being served. With `--compat` the old behaviour stays where it is not a hole, and what the old daemon left out is left \
         out with a warning: so do the personalities, `switchboard inetd` and `switchboard xinetd`.\n",
    );
    let sections =
        [("Programs and services of either", ""), ("inetd.conf", "inetd-"), ("xinetd.conf", "xinetd-")];
    let others = |id: &str| !id.starts_with("inetd-") && !id.starts_with("xinetd-");
    let general = NOTES.iter().filter(|note| note.severity == Severity::General);
    let mut table = |title: &str, rows: Vec<&&Note>| {
        text.push_str(&format!(
            "\n## {title}\n\n| note | construct | then | here | with `--compat` |\n|---|---|---|---|---|\n"
        ));
        for note in rows {
            let Note { id, severity, construct, old, ours, compat } = note;
            let kept = compat.unwrap_or("the same as without");
            let severity = if *severity == Severity::General {
                String::new()
            } else {
                format!("<br>{}", severity.name())
            };
            text.push_str(&format!("| `{id}`{severity} | {construct} | {old} | {ours} | {kept} |\n"));
        }
    };
    for (title, prefix) in sections {
        let rows = NOTES.iter().filter(|note| note.severity != Severity::General);
        let fits =
            |note: &&&Note| if prefix.is_empty() { others(note.id) } else { note.id.starts_with(prefix) };
        table(title, rows.filter(fits).collect());
    }
    table("Everything else", general.collect());
    text
}

macro_rules! notes {
    ($( $name:ident: $id:literal, $severity:ident,
        $construct:literal,
        old $old:literal,
        ours $ours:literal
        $(, compat $compat:literal)?; )*) => {
        $( pub(crate) static $name: Note = Note {
            id: $id,
            severity: Severity::$severity,
            construct: $construct,
            old: $old,
            ours: $ours,
            compat: { let _compat: Option<&'static str> = None; $( let _compat = Some($compat); )? _compat },
        }; )*

        /// Every note, in the order of the document.
        pub(crate) static NOTES: &[&Note] = &[$( &$name ),*];
    };
}

notes! {
    // Programs, whichever file they were named in.
    PROGRAM_STDERR: "program-stderr", Differs,
        "standard error of a program",
        old "is the client's socket: what the program complains about goes into the conversation",
        ours "goes to the log, each line with the connection's number",
        compat "is the client's socket";
    PROGRAM_ENVIRONMENT: "program-environment", Differs,
        "environment of a program",
        old "is the daemon's own, more or less (OpenBSD's takes some variables out; xinetd adds `REMOTE_HOST`)",
        ours "is made anew: PATH and TZ, what the connection gives (PROTO, TCPREMOTEIP, REMOTE_HOST, …), what the file sets or passes";
    PROGRAM_PRIVILEGES: "program-privileges", Differs,
        "set-user-ID files started by a program that is not root",
        old "give their owner's privileges",
        ours "give none (no_new_privs), unless the service says `no_new_privs = false`",
        compat "give their owner's privileges";
    PROGRAM_ROOT: "program-root", Remark,
        "a program that runs as root",
        old "has every privilege",
        ours "keeps every capability, and says so in its service: take away what it does not need";
    PROGRAM_USER: "program-user", Differs,
        "a program of another user, and the server is not started by root",
        old "runs as whoever started the daemon",
        ours "runs as whoever started the server; `user` is left out of what is served, not of what `convert` writes";
    PROGRAM_TCPD: "program-tcpd", Remark,
        "/usr/sbin/tcpd as the program",
        old "checks hosts.allow and hosts.deny in a process of its own, and then becomes the program named by argv[0]",
        ours "is started just so; `access = { hosts_files = true }` with the program itself saves that process";
    PROGRAM_LIBWRAP: "program-libwrap", Remark,
        "hosts.allow and hosts.deny, read by the daemon",
        old "are read for each connection, in the child that was already forked for it",
        ours "are kept in memory, read again when they change, and asked before anything is started";
    LEFT_OUT: "left-out", LeftOut,
        "with `--compat`: a service that could not be served, such as one whose program or user does not exist",
        old "is left out (xinetd: no such program; all: no such user), or fails for each client (inetd: no such program)",
        ours "is left out with a warning; without `--compat`, it is an error";
    DGRAM_NOWAIT: "dgram-nowait", Differs,
        "a datagram service with a program and without `wait`",
        old "starts programs until a limit is reached, if they do not read at once (OpenBSD, NetBSD); is refused (FreeBSD, GNU, newer xinetd); closes the descriptor and spins (xinetd 2.3.15.3)",
        ours "is served as `wait`: one program gets the socket. `mode = \"per-datagram\"` is there for filters";
    DGRAM_BUILTIN: "dgram-builtin", Differs,
        "echo, chargen and the like over UDP",
        old "answer everybody, with as many bytes as the protocol gives; some drop a few kinds of sources",
        ours "never answer with more than was sent, to no source from which loops come, and to each only so many in a second";
    RPC: "rpc", LeftOut,
        "a Sun RPC service",
        old "is registered with the portmapper",
        ours "is not served: registering with rpcbind would need a port of its own for each version, and what used it (NIS, rusers, rstat) is gone";
    SOCKET_TYPE: "socket-type", LeftOut,
        "a raw or rdm socket, or a protocol that is neither TCP, UDP nor Unix",
        old "is opened, where the system has it",
        ours "is not served: there is no client to a raw socket";
    BUILTIN_UNKNOWN: "builtin-unknown", LeftOut,
        "an internal service that is not there: FreeBSD's auth, xinetd's servers and services",
        old "FreeBSD's inetd answers ident requests; of xinetd, the files are still shipped, the services are not",
        ours "is not served: it tells strangers who uses the machine, or what it serves; `switchboard status` tells you";
    MUX_HANDSHAKE: "mux-handshake", LeftOut,
        "a tcpmux service whose program sends the reply itself (`tcpmux/name`, type TCPMUX)",
        old "starts the program, which says `+…` and goes on",
        ours "is not offered by tcpmux, which always says `+` by itself: write `tcpmux/+name` (TCPMUXPLUS), and take the reply out of the program";

    // inetd.conf.
    INETD_ENTRY: "inetd-entry", Error,
        "an entry that cannot be understood",
        old "is left out with a line in the system log; FreeBSD's inetd ends",
        ours "is an error; nothing is served",
        compat "is left out with a warning";
    INETD_WAIT_WORD: "inetd-wait-word", Error,
        "neither `wait` nor `nowait` in the fourth field",
        old "is `nowait`; FreeBSD's reads the first letters and ignores the rest",
        ours "is an error",
        compat "is read as the old program did";
    INETD_OPEN_QUOTE: "inetd-open-quote", Error,
        "a quote that is not closed",
        old "ends with the line",
        ours "is an error",
        compat "ends with the line";
    INETD_INDENTED_COMMENT: "inetd-indented-comment", Differs,
        "an indented line that begins with `#`, after an entry (OpenBSD, FreeBSD, NetBSD)",
        old "goes on with the entry: the program gets `#` and the words after it as arguments",
        ours "is a comment",
        compat "goes on with the entry";
    INETD_CONTINUATION: "inetd-continuation", Differs,
        "an indented line that looks like an entry of its own (OpenBSD, FreeBSD, NetBSD)",
        old "goes on with the entry before it",
        ours "the same, but you are told";
    INETD_TRAILING_COMMENT: "inetd-trailing-comment", Differs,
        "`#` among the arguments",
        old "is an argument like others: only whole lines are comments",
        ours "the same, but you are told";
    INETD_IPSEC: "inetd-ipsec", LeftOut,
        "a line `#@ …`, or the key `ipsec` (FreeBSD, NetBSD)",
        old "sets the IPsec policy of the sockets after it",
        ours "is not carried over: Linux keeps policies outside of programs (ip-xfrm(8))";
    INETD_ARGUMENTS: "inetd-arguments", Differs,
        "more than 20 arguments",
        old "are cut off (OpenBSD, NetBSD), or the entry is refused (FreeBSD)",
        ours "are all given to the program",
        compat "are cut off; FreeBSD's: the entry is left out";
    INETD_ARGV0: "inetd-argv0", Remark,
        "no argument at all, not even argv[0]",
        old "is the last part of the program's path; an empty vector with `xinetd -inetd_compat`",
        ours "is the last part of the program's path";
    INETD_USER_DOT: "inetd-user-dot", Differs,
        "a user with a dot, such as `www.data`",
        old "is user and group, even if there is a user of that name; where `:` is known too, the dots are tried first (OpenBSD) or last",
        ours "is the user of that name if there is one, otherwise user and group",
        compat "is user and group";
    INETD_CLASS: "inetd-class", LeftOut,
        "a login class after the user (FreeBSD)",
        old "sets limits from login.conf",
        ours "is not carried over, since Linux has no login classes: see `rlimits`, `umask`, `nice`";
    INETD_RATE: "inetd-rate", Differs,
        "starts in a minute: `nowait.max`, `-R`, or the built-in 256 (OpenBSD, FreeBSD), 40 (NetBSD), 1000 (GNU)",
        old "beyond it the listener is closed for ten minutes, for everybody (OpenBSD: at ports above 1023, connections are dropped)",
        ours "beyond it clients wait in the queue, and are served at that rate; no listener is closed";
    INETD_PER_SOURCE: "inetd-per-source", Remark,
        "limits of one address: FreeBSD's `nowait/children/per-minute/per-address`, NetBSD's `ip_max`",
        old "are counted in 256 slots from which an attacker can push others (FreeBSD), or in a list without end (NetBSD)",
        ours "are counted in a table of fixed size; an IPv6 client is his /64";
    INETD_LIMIT_ZERO: "inetd-limit-zero", Remark,
        "`service_max = 0` or `ip_max = 0` (NetBSD)",
        old "lets nobody in",
        ours "lets nobody in: `access = { deny = \"all\" }`";
    INETD_WAIT_CHILDREN: "inetd-wait-children", Differs,
        "`wait/N` with N above 1 (FreeBSD)",
        old "starts up to N programs on the listener as clients come",
        ours "`pool = N`: N programs share the listener from the beginning";
    INETD_ACCEPT_FILTER: "inetd-accept-filter", Differs,
        "an accept filter, `stream:dataready` (NetBSD)",
        old "holds connections in the kernel until the client has sent something",
        ours "`defer-accept`: the same for 30 seconds, for any kind of filter";
    INETD_NAME_FAMILY: "inetd-name-family", Differs,
        "a host name before the service, and a protocol of one family only",
        old "binds the addresses of that family",
        ours "binds all of the name's addresses; write the address";
    INETD_PORT_NUMBER: "inetd-port-number", Remark,
        "an internal service by its port's number",
        old "is refused: the name is looked up as it stands",
        ours "is the service with that port";
    INETD_DUPLICATE: "inetd-duplicate", Differs,
        "two entries for one address, port and protocol",
        old "the later one replaces the earlier",
        ours "the same, but you are told";
    INETD_OFF: "inetd-off", Remark,
        "`service off …;` (NetBSD)",
        old "is read and not served",
        ours "is read and not served: `disabled = true`";
    INETD_DISCARD: "inetd-discard", Differs,
        "the internal discard service (`xinetd -inetd_compat`)",
        old "is refused as not supported",
        ours "is served";

    // xinetd.conf: the text.
    XINETD_ENTRY: "xinetd-entry", Error,
        "a service with a value that cannot be understood, or without a required attribute",
        old "is disabled, with a line in the log",
        ours "is an error; nothing is served",
        compat "is left out with a warning";
    XINETD_LINE: "xinetd-line", Error,
        "a line that is neither an entry's beginning nor an attribute: no blank before the operator (`nice=5`), `service x {` on one line",
        old "makes the rest of that entry unreadable: the service is lost",
        ours "is an error",
        compat "the service is left out with a warning";
    XINETD_DEFAULTS_VALUE: "xinetd-defaults-value", Error,
        "a value in `defaults` that cannot be understood",
        old "xinetd ends",
        ours "is an error, also with `--compat`";
    XINETD_UNKNOWN: "xinetd-unknown", Error,
        "an attribute that is not known, or not known in `defaults` (`env`, `access_times`, `deny_time`, …)",
        old "is ignored with a warning",
        ours "is an error, with the nearest known name",
        compat "is ignored with a warning";
    XINETD_WORDS: "xinetd-words", Error,
        "too many or too few words, such as `instances = 5 # five`: only whole lines are comments",
        old "the attribute is ignored, and the service is on without it",
        ours "is an error",
        compat "is ignored with a warning";
    XINETD_OPERATOR: "xinetd-operator", Error,
        "`+=` or `-=` with an attribute that has a single value",
        old "is ignored with a warning",
        ours "is an error",
        compat "is ignored with a warning";
    XINETD_TWICE: "xinetd-twice", Differs,
        "an attribute with a single value, given twice",
        old "the second is ignored with a warning",
        ours "the same, but you are told where both are";
    XINETD_REPLACED: "xinetd-replaced", Differs,
        "`=` twice with a list, such as two lines `only_from = …` in one service",
        old "the last one replaces those before (in `defaults` they add up)",
        ours "the same, but you are told";
    XINETD_QUOTES: "xinetd-quotes", Differs,
        "quotes around words, as in `server_args = \"a b\"`",
        old "belong to the words: these are `\"a` and `b\"`",
        ours "the same, but you are told; in the TOML, write the arguments as a list";
    XINETD_NAME_WORDS: "xinetd-name-words", Differs,
        "words after the service's name",
        old "are ignored",
        ours "the same, but you are told";
    XINETD_DISABLED: "xinetd-disabled", Remark,
        "`disable = yes`, or a service in `disabled`, or none in `enabled`",
        old "is not served; what stands after `disable = yes` is not even read",
        ours "the same; `convert` names it in a comment";
    XINETD_DEFAULTS_ORDER: "xinetd-defaults-order", Differs,
        "`defaults` after services that it should hold for, in a file that is included later",
        old "only_from, no_access, log_on_success, log_on_failure, passenv and banners do not reach services that were read before",
        ours "reach every service";
    XINETD_SKIPPED_FILE: "xinetd-skipped-file", Remark,
        "a file in `includedir` with a dot in its name or `~` at its end",
        old "is not read",
        ours "is not read, and named";
    XINETD_MDNS: "xinetd-mdns", Remark,
        "`mdns`",
        old "is described in the manual, and not known to the program",
        ours "is ignored; there is nothing to register with";

    // xinetd.conf: who.
    XINETD_BOTH_LISTS: "xinetd-both-lists", Differs,
        "an address that both `only_from` and `no_access` match, and `only_from` more exactly",
        old "is refused, whichever matches better; the manual says that the better match decides",
        ours "is let in: the longest prefix decides, as in the manual",
        compat "is refused: `both_deny = true`";
    XINETD_NOBODY: "xinetd-nobody", Remark,
        "`only_from` without a value",
        old "lets nobody in",
        ours "lets nobody in: `deny = \"all\"`";
    XINETD_ADDRESS: "xinetd-address", Error,
        "an address that cannot be understood",
        old "is dropped; what is left of the list holds",
        ours "is an error",
        compat "is dropped from `only_from` with a warning";
    XINETD_NO_ACCESS: "xinetd-no-access", Error,
        "an address in `no_access` that cannot be understood",
        old "is dropped, and so let in",
        ours "is an error, also with `--compat`";
    XINETD_ZERO_OCTETS: "xinetd-zero-octets", Remark,
        "zeros at the end of an IPv4 address: `10.0.0.0`",
        old "stand for any number",
        ours "are written as a prefix: `10.0.0.0/8`";
    XINETD_SHORT_ADDRESS: "xinetd-short-address", Differs,
        "an IPv4 address with fewer than four numbers: `10.1`",
        old "is read as inet_aton(3) does: 10.0.0.1, not the network 10.1",
        ours "the same, but you are told";
    XINETD_V6_ANY: "xinetd-v6-any", Differs,
        "`::` in a list",
        old "is the unspecified address, which no client has",
        ours "the same, but you are told; `::/0` is every IPv6 address";
    XINETD_V6_HOST: "xinetd-v6-host", Differs,
        "an IPv6 address with `/128`",
        old "never matches",
        ours "matches that address";
    XINETD_HOST_NAME: "xinetd-host-name", Differs,
        "a host name or `.domain` in a list",
        old "is compared with whatever name the client's own address gives (reverse look-up); a name that does not resolve at start-up is dropped",
        ours "matches only if the name leads back to the address; a look-up that fails lets nobody in";
    XINETD_NETWORK_NAME: "xinetd-network-name", Remark,
        "a name of networks(5) in a list",
        old "is looked up among hosts first",
        ours "is the network";
    XINETD_MIDNIGHT: "xinetd-midnight", Differs,
        "`access_times` with 24:00, or past midnight (`22:00-6:00`)",
        old "disables the service, although the manual has `12:00-24:00` as its example",
        ours "is read as it is meant",
        compat "the service is left out";
    XINETD_WAIT_ACCESS: "xinetd-wait-access", Differs,
        "only_from, no_access, access_times or limits with `wait = yes`",
        old "are asked for the first datagram, and not at all for a stream, since the program accepts by itself",
        ours "are asked for the first datagram; those that come while the program runs are its own business. For a stream they are an error: nobody could ask first";
    XINETD_LIBWRAP: "xinetd-libwrap", Remark,
        "a service without the flag NOLIBWRAP",
        old "also asks hosts.allow and hosts.deny, if xinetd was built so (Debian's is)",
        ours "asks them too: `access = { hosts_files = … }`";

    // xinetd.conf: how many.
    XINETD_CPS: "xinetd-cps", Differs,
        "`cps = N SECONDS`",
        old "beyond N in a second the listener is closed for so many seconds, also if those who came were not even allowed in",
        ours "beyond it clients wait in the queue, and N are let in each second; only who is allowed in counts";
    XINETD_REFUSE: "xinetd-refuse", Remark,
        "`instances`, `per_source`, `max_load`",
        old "close the connection, after a process was started to find out",
        ours "close the connection, before anything is started";

    // xinetd.conf: sockets and programs.
    XINETD_V6ONLY: "xinetd-v6only", Differs,
        "`v6only = no`",
        old "switches it on, as any value does",
        ours "switches it off",
        compat "switches it on";
    XINETD_LISTENER_OPTIONS: "xinetd-listener-options", Remark,
        "flags NODELAY and KEEPALIVE",
        old "are set on the listener after the first connection came, which goes without",
        ours "hold from the first connection on";
    XINETD_NUMERIC_USER: "xinetd-numeric-user", Remark,
        "a number as `user`",
        old "is not looked up; the group has the same number",
        ours "the same: `group` is written out";
    XINETD_PORT: "xinetd-port", Differs,
        "`port` other than services(5) has it, without type UNLISTED",
        old "the service is refused",
        ours "is served on that port",
        compat "the service is left out";
    XINETD_ARGS_ORDER: "xinetd-args-order", Differs,
        "flag NAMEINARGS after `server_args`",
        old "comes too late: the child that should become the program crashes (2.3.15.3), and nobody is served",
        ours "holds wherever it stands";
    XINETD_RLIMIT_ZERO: "xinetd-rlimit-zero", Remark,
        "a limit of 0",
        old "is no limit",
        ours "is no limit";
    XINETD_REDIRECT: "xinetd-redirect", Differs,
        "`redirect`",
        old "is a process for each connection, which closes both directions as soon as one side has ended; a name is looked up once, at start-up",
        ours "each direction ends by itself; a name is looked up for each connection, and all its addresses are tried";
    XINETD_CHARGEN: "xinetd-chargen", Remark,
        "the internal chargen",
        old "has no `~`, and its lines are those of a ring of 93 characters",
        ours "is as RFC 864 has it";
    XINETD_MUX_NUL: "xinetd-mux-nul", Differs,
        "the internal tcpmux",
        old "ends its replies with a NUL after the line, and needs the name in one piece",
        ours "ends its replies with the line, and reads the name as it comes";
    XINETD_DRAIN: "xinetd-drain", Differs,
        "datagrams that wait when a `wait` program ends, or is refused",
        old "are thrown away, whoever sent them",
        ours "start the next program";
    XINETD_DUPLICATE: "xinetd-duplicate", Error,
        "two services on one address, port and protocol",
        old "the second one is refused, or cannot be bound after ten attempts",
        ours "is an error",
        compat "the second one is left out with a warning";

    // xinetd.conf: not carried over.
    XINETD_SENSOR: "xinetd-sensor", LeftOut,
        "flag SENSOR, and `deny_time`",
        old "adds whoever connects to a list of addresses that no service lets in for a time",
        ours "the port is held and everybody is refused, which the log records; nobody is locked out, since source addresses can be forged to lock out others";
    XINETD_IDENT: "xinetd-ident", LeftOut,
        "flag IDONLY",
        old "lets in only clients whose machine runs an ident server (if USERID is logged too)",
        ours "the service is left out: its rule cannot be kept, and without it more would be let in";
    XINETD_USERID: "xinetd-userid", LeftOut,
        "USERID in log_on_success or log_on_failure",
        old "asks the client's ident server who he is, for up to 30 seconds",
        ours "is not asked: the answer is whatever the client wants";
    XINETD_LABELED: "xinetd-labeled", LeftOut,
        "flag LABELED",
        old "runs the program in the SELinux context of the connection",
        ours "the service is left out: it would run with another context than it should";
    XINETD_INTERCEPT: "xinetd-intercept", LeftOut,
        "flag INTERCEPT",
        old "puts a process between the clients and a `wait` program, which checks each packet",
        ours "is not carried over: see `xinetd-wait-access`";
    XINETD_BANNER: "xinetd-banner", LeftOut,
        "`banner`, `banner_success`",
        old "sends a file to every client, or to those let in, before the program starts",
        ours "is not carried over: let the program say it. `banner_fail` is: `message`";
    XINETD_LOG_NONE: "xinetd-log-none", Differs,
        "no `log_type`, or no `log_on_success` and `log_on_failure`",
        old "nothing is logged of services",
        ours "one record for each connection",
        compat "nothing is logged of services, if none of them would be";
    XINETD_LOG_FIELDS: "xinetd-log-fields", Remark,
        "`log_on_success`, `log_on_failure`",
        old "name what is logged",
        ours "a record has all of it: PID, HOST, EXIT, DURATION, and bytes where known. Addresses can be masked: `log = { mask = … }`";
    XINETD_LOG_SERVICE: "xinetd-log-service", LeftOut,
        "`log_type` of a service that differs from the others'",
        old "is a log of its own",
        ours "there is one log; each record has its service's id";
    XINETD_LOG_LIMIT: "xinetd-log-limit", LeftOut,
        "size limits in `log_type = FILE`",
        old "stop logging when the file is full",
        ours "is not carried over: a log that an attacker can fill should not end; rotate it (SIGUSR1 opens it again)";
    XINETD_LOG_LEVEL: "xinetd-log-level", LeftOut,
        "a level in `log_type = SYSLOG`",
        old "is the level of every record",
        ours "records are `info`, trouble is `warning` or worse";

    // What holds for every file.
    GENERAL_DESCRIPTORS: "descriptor-limit", General,
        "a large RLIMIT_NOFILE (containers)",
        old "start-up closes every possible descriptor, one by one: minutes",
        ours "close_range(2); programs get the limit as it was";
    GENERAL_RELOAD: "reload", General,
        "SIGHUP",
        old "a file with errors is half applied; NetBSD's closes and binds every listener anew, xinetd kills programs whose service changed; a UDP socket cannot be bound again under a running program",
        ours "a file with errors changes nothing; listeners that are still wanted and running programs are untouched";
    GENERAL_EXEC: "exec-failure", General,
        "a program that cannot be started",
        old "counts as a success with exit status 0 (xinetd)",
        ours "is a record with the reason";
    GENERAL_TERMINATE: "termination", General,
        "SIGTERM",
        old "kills programs at once (xinetd), or leaves them alone",
        ours "no new clients; programs have until `drain_timeout`, then SIGTERM and SIGKILL to their process groups";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique_and_texts_fit_a_table() {
        let ids: BTreeSet<&str> = NOTES.iter().map(|note| note.id).collect();
        assert_eq!(ids.len(), NOTES.len());
        for note in NOTES {
            for text in [note.construct, note.old, note.ours, note.compat.unwrap_or("-")] {
                assert!(!text.is_empty() && !text.contains(['|', '\n']), "{}: {text:?}", note.id);
            }
            assert!(note.id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
        }
    }
}
