//! What files of xinetd say.

use super::{Note, Severity};

notes! {
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
    XINETD_RETRY: "xinetd-retry", LeftOut,
        "flag NORETRY",
        old "gives a client up at once when there is no process for him, instead of trying several times",
        ours "is not carried over: clients wait in the queue until there are processes again";
    XINETD_RPC_WORDS: "xinetd-rpc-words", Remark,
        "`rpc_version`, `rpc_number` without type RPC",
        old "have no effect",
        ours "the same, but you are told";
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
}
