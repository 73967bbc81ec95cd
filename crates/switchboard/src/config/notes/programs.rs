//! Programs and services, whichever file they were named in; and what holds for every file.

use super::{Note, Severity};

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
    // What holds for every file.
    GENERAL_DESCRIPTORS: "descriptor-limit", General,
        "a large RLIMIT_NOFILE (containers)",
        old "start-up closes every possible descriptor, one by one: minutes",
        ours "close_range(2); programs get the limit as it was";
    GENERAL_RELOAD: "reload", General,
        "SIGHUP",
        old "a file with errors is half applied; NetBSD's closes and binds every listener anew, xinetd kills programs whose service changed; a UDP socket cannot be bound again under a running program",
        ours "a file with errors changes nothing; listeners that are still wanted and running programs are untouched";
    GENERAL_ADDRESS: "address-taken", General,
        "an address that cannot be bound",
        old "leaves out that service, for ten minutes (inetd) or after ten attempts (xinetd)",
        ours "is an error; nothing is served",
        compat "leaves out that service with a warning until the next reload: `optional = true`";
    GENERAL_EXEC: "exec-failure", General,
        "a program that cannot be started",
        old "counts as a success with exit status 0 (xinetd)",
        ours "is a record with the reason";
    GENERAL_TERMINATE: "termination", General,
        "SIGTERM",
        old "kills programs at once (xinetd), or leaves them alone",
        ours "no new clients; programs have until `drain_timeout`, then SIGTERM and SIGKILL to their process groups";
}
