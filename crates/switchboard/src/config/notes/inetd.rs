//! What files of inetd say.

use super::{Note, Severity};

notes! {
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
}
