//! Names of the kernel's numbers: errnos, signals, families, flags.

/// The name of a number in a table.
pub(super) fn of(table: &'static [(i64, &'static str)], number: i64) -> Option<&'static str> {
    table.iter().find(|(value, _)| *value == number).map(|(_, name)| *name)
}

/// The number of a name in a table.
fn number(table: &'static [(i64, &'static str)], name: &str) -> Option<i32> {
    table.iter().find(|(_, known)| *known == name).and_then(|(value, _)| i32::try_from(*value).ok())
}

/// The name, or the number in decimal.
pub(super) fn or_number(table: &'static [(i64, &'static str)], value: i64) -> String {
    of(table, value).map_or_else(|| value.to_string(), str::to_owned)
}

/// Names of the bits that are set, with `|` between; what has no name in hexadecimal; 0 if there is none.
pub(super) fn flags(table: &'static [(i64, &'static str)], value: i64) -> String {
    let mut rest = value;
    let mut names = Vec::new();
    for (bits, name) in table {
        if *bits != 0 && rest & bits == *bits {
            rest &= !bits;
            names.push((*name).to_owned());
        }
    }
    if rest != 0 || names.is_empty() {
        names.push(if rest == 0 { "0".to_owned() } else { format!("{rest:#x}") });
    }
    names.join("|")
}

/// The name of an errno, such as `ECONNRESET`.
pub fn errno(number: i32) -> Option<&'static str> {
    of(ERRNOS, number.into())
}

/// The errno of a name, such as `ECONNRESET`.
pub fn errno_number(name: &str) -> Option<i32> {
    number(ERRNOS, name)
}

/// The name of a signal, such as `SIGPIPE`; real-time ones as `SIGRT_n`, as strace(1) writes them.
pub fn signal(number: i32) -> String {
    match of(SIGNALS, number.into()) {
        Some(name) => name.to_owned(),
        None if (32..=64).contains(&number) => format!("SIGRT_{}", number - 32),
        None => number.to_string(),
    }
}

macro_rules! names {
    ($($table:ident: $($name:ident)+;)+) => { $(
        pub(super) static $table: &[(i64, &str)] = &[$((libc::$name as i64, stringify!($name))),+];
    )+ };
}

names! {
    ERRNOS: EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY
        EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE
        EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ENOSTR ENODATA ETIME ENONET
        ENOLINK EPROTO EBADMSG EOVERFLOW EILSEQ EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT
        EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN
        ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT
        ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT ECANCELED EOWNERDEAD
        ENOTRECOVERABLE;
    SIGNALS: SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE
        SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM
        SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS;
    FAMILIES: AF_UNSPEC AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_VSOCK AF_ALG AF_BLUETOOTH AF_XDP;
    SOCKET_TYPES: SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET;
    SOCKET_FLAGS: SOCK_CLOEXEC SOCK_NONBLOCK;
    PROTOCOLS: IPPROTO_IP IPPROTO_ICMP IPPROTO_TCP IPPROTO_UDP IPPROTO_ICMPV6 IPPROTO_SCTP IPPROTO_UDPLITE
        IPPROTO_MPTCP IPPROTO_RAW;
    MESSAGE_FLAGS: MSG_OOB MSG_PEEK MSG_DONTROUTE MSG_CTRUNC MSG_TRUNC MSG_DONTWAIT MSG_EOR MSG_WAITALL MSG_FIN
        MSG_SYN MSG_CONFIRM MSG_RST MSG_ERRQUEUE MSG_NOSIGNAL MSG_MORE MSG_WAITFORONE MSG_ZEROCOPY MSG_FASTOPEN
        MSG_CMSG_CLOEXEC;
    OPEN_FLAGS: O_RDWR O_WRONLY O_APPEND O_NONBLOCK O_ASYNC O_CLOEXEC;
    EPOLL_FLAGS: EPOLL_CLOEXEC;
    SPLICE_FLAGS: SPLICE_F_MOVE SPLICE_F_NONBLOCK SPLICE_F_MORE SPLICE_F_GIFT;
    HOWS: SHUT_RD SHUT_WR SHUT_RDWR;
    FCNTLS: F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_SETOWN F_GETOWN F_DUPFD_CLOEXEC;
    IOCTLS: FIONREAD FIONBIO FIOASYNC TIOCOUTQ TCGETS TIOCGWINSZ;
    POLLS: POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDBAND POLLWRNORM POLLWRBAND POLLRDHUP;
    EPOLLS: EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDNORM EPOLLRDBAND EPOLLWRNORM EPOLLWRBAND EPOLLRDHUP
        EPOLLEXCLUSIVE EPOLLWAKEUP EPOLLONESHOT EPOLLET;
    EPOLL_OPERATIONS: EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD;
    ACTION_FLAGS: SA_NOCLDSTOP SA_NOCLDWAIT SA_SIGINFO SA_ONSTACK SA_RESTART SA_NODEFER SA_RESETHAND;
    WAIT_OPTIONS: WNOHANG WUNTRACED WEXITED WCONTINUED WNOWAIT __WNOTHREAD __WALL __WCLONE;
    ID_KINDS: P_ALL P_PID P_PGID P_PIDFD;
    CHILD_CODES: CLD_EXITED CLD_KILLED CLD_DUMPED CLD_TRAPPED CLD_STOPPED CLD_CONTINUED;
    CLOCKS: CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_BOOTTIME;
    CLONES: CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_PTRACE CLONE_VFORK CLONE_PARENT CLONE_THREAD
        CLONE_NEWNS CLONE_SYSVSEM CLONE_SETTLS CLONE_PARENT_SETTID CLONE_CHILD_CLEARTID CLONE_UNTRACED
        CLONE_CHILD_SETTID CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET CLONE_IO
        CLONE_PIDFD;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_every_bit() {
        assert_eq!(flags(MESSAGE_FLAGS, 0), "0");
        assert_eq!(flags(MESSAGE_FLAGS, 0x4040), "MSG_DONTWAIT|MSG_NOSIGNAL");
        assert_eq!(flags(POLLS, 0x8001), "POLLIN|0x8000");
        assert_eq!((errno(104), errno_number("EMFILE"), errno(9999)), (Some("ECONNRESET"), Some(24), None));
        assert_eq!((&*signal(13), &*signal(34)), ("SIGPIPE", "SIGRT_2"));
    }
}
