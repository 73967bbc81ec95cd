//! The system calls that are watched: one row each, with its arguments in the order of the manual page.

use Form::*;

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) number: i64,
    /// Recorded only if a descriptor among its arguments is a socket.
    pub(super) sockets_only: bool,
    /// It may sleep for as long as it likes.
    pub(super) blocks: bool,
    pub(super) arguments: &'static [(&'static str, Form)],
}

/// How an argument is read. Indices name the argument that holds a length. *Out*: it is there at the return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Fd,
    Int,
    Hex,
    Size,
    Pointer,
    /// Where in a file: a pointer to it, or null.
    Offset,
    /// Bytes that go out; length at the index.
    Input(usize),
    /// Bytes that come in; as many as the result, and at most what is at the index.
    Output(usize),
    /// `struct iovec`s; how many at the index.
    InputVector(usize),
    OutputVector(usize),
    Message,
    MessageOut,
    /// `struct mmsghdr`s; how many at the index.
    Messages(usize),
    MessagesOut,
    SocketAddress(usize),
    /// The index has a pointer to the length.
    SocketAddressOut(usize),
    Domain,
    SocketType,
    Protocol,
    MessageFlags,
    SocketFlags,
    DescriptorFlags,
    EpollFlags,
    SpliceFlags,
    /// Level of a socket option; number and value follow.
    OptionLevel,
    OptionNumber,
    OptionValue,
    OptionValueOut,
    OptionLengthOut,
    How,
    FcntlCommand,
    FcntlArgument,
    IoctlCommand,
    IoctlArgumentOut,
    PollSet(usize),
    FdSet,
    EpollOperation,
    EpollEvent,
    EpollEventsOut,
    /// Milliseconds; negative is for ever.
    TimeoutMs,
    Timespec,
    TimespecOut,
    Timeval,
    Clock,
    Signal,
    SignalSet,
    SignalInfoOut,
    SignalAction,
    Pid,
    IdKind,
    WaitStatusOut,
    WaitInfoOut,
    WaitOptions,
    CloneFlags,
    CloneArguments,
    Path,
    Strings,
    PairOut,
    ExitStatus,
    /// Not shown: a length that the decoded value makes plain, a restorer, a size of a signal set.
    Hidden,
}

impl Row {
    /// Whether it may sleep with these arguments.
    pub(super) fn may_block(&self, arguments: &[u64; 6]) -> bool {
        let at_once = self.arguments.iter().zip(arguments).any(|((_, form), value)| match form {
            MessageFlags => *value as i32 & libc::MSG_DONTWAIT != 0,
            WaitOptions => *value as i32 & libc::WNOHANG != 0,
            TimeoutMs => *value as i32 == 0,
            _ => false,
        });
        self.blocks && !at_once
    }
}

/// A call that is always recorded.
const fn any(name: &'static str, number: i64, arguments: &'static [(&'static str, Form)]) -> Row {
    Row { name, number, sockets_only: false, blocks: false, arguments }
}

/// The same, and it may sleep.
const fn sleeps(name: &'static str, number: i64, arguments: &'static [(&'static str, Form)]) -> Row {
    Row { blocks: true, ..any(name, number, arguments) }
}

/// One that is recorded on sockets only, and may sleep.
const fn moves(name: &'static str, number: i64, arguments: &'static [(&'static str, Form)]) -> Row {
    Row { sockets_only: true, ..sleeps(name, number, arguments) }
}

/// One that is recorded on sockets only, and does not sleep.
const fn on_sockets(name: &'static str, number: i64, arguments: &'static [(&'static str, Form)]) -> Row {
    Row { sockets_only: true, ..any(name, number, arguments) }
}

/// The row of a number.
pub(super) fn find(number: i64) -> Option<&'static Row> {
    // In a few ranges of small numbers, so a table by number is short; io_uring_setup is 425, the last of interest.
    const SIZE: usize = 512;
    static BY_NUMBER: [u8; SIZE] = {
        let mut table = [u8::MAX; SIZE];
        let mut index = 0;
        while index < CALLS.len() {
            table[CALLS[index].number as usize] = index as u8;
            index += 1;
        }
        table
    };
    let index = BY_NUMBER.get(usize::try_from(number).ok()?)?;
    CALLS.get(usize::from(*index))
}

/// Every watched call. One that is not there is not seen, and costs nothing.
pub(super) static CALLS: &[Row] = &[
    // Sockets come into being.
    any("socket", libc::SYS_socket, &[("domain", Domain), ("type", SocketType), ("protocol", Protocol)]),
    any(
        "socketpair",
        libc::SYS_socketpair,
        &[("domain", Domain), ("type", SocketType), ("protocol", Protocol), ("fds", PairOut)],
    ),
    any("bind", libc::SYS_bind, &[("fd", Fd), ("address", SocketAddress(2)), ("length", Hidden)]),
    any("listen", libc::SYS_listen, &[("fd", Fd), ("backlog", Int)]),
    sleeps("accept", libc::SYS_accept, &[("fd", Fd), ("address", SocketAddressOut(2)), ("length", Hidden)]),
    sleeps(
        "accept4",
        libc::SYS_accept4,
        &[("fd", Fd), ("address", SocketAddressOut(2)), ("length", Hidden), ("flags", SocketFlags)],
    ),
    sleeps("connect", libc::SYS_connect, &[("fd", Fd), ("address", SocketAddress(2)), ("length", Hidden)]),
    any(
        "getsockname",
        libc::SYS_getsockname,
        &[("fd", Fd), ("address", SocketAddressOut(2)), ("length", Hidden)],
    ),
    any(
        "getpeername",
        libc::SYS_getpeername,
        &[("fd", Fd), ("address", SocketAddressOut(2)), ("length", Hidden)],
    ),
    any(
        "setsockopt",
        libc::SYS_setsockopt,
        &[
            ("fd", Fd),
            ("level", OptionLevel),
            ("option", OptionNumber),
            ("value", OptionValue),
            ("length", Hidden),
        ],
    ),
    any(
        "getsockopt",
        libc::SYS_getsockopt,
        &[
            ("fd", Fd),
            ("level", OptionLevel),
            ("option", OptionNumber),
            ("value", OptionValueOut),
            ("length", OptionLengthOut),
        ],
    ),
    any("shutdown", libc::SYS_shutdown, &[("fd", Fd), ("how", How)]),
    // Bytes move.
    moves("read", libc::SYS_read, &[("fd", Fd), ("data", Output(2)), ("size", Size)]),
    moves("write", libc::SYS_write, &[("fd", Fd), ("data", Input(2)), ("size", Size)]),
    moves("readv", libc::SYS_readv, &[("fd", Fd), ("data", OutputVector(2)), ("count", Int)]),
    moves("writev", libc::SYS_writev, &[("fd", Fd), ("data", InputVector(2)), ("count", Int)]),
    sleeps(
        "recvfrom",
        libc::SYS_recvfrom,
        &[
            ("fd", Fd),
            ("data", Output(2)),
            ("size", Size),
            ("flags", MessageFlags),
            ("address", SocketAddressOut(5)),
            ("length", Hidden),
        ],
    ),
    sleeps(
        "sendto",
        libc::SYS_sendto,
        &[
            ("fd", Fd),
            ("data", Input(2)),
            ("size", Size),
            ("flags", MessageFlags),
            ("address", SocketAddress(5)),
            ("length", Hidden),
        ],
    ),
    sleeps("recvmsg", libc::SYS_recvmsg, &[("fd", Fd), ("message", MessageOut), ("flags", MessageFlags)]),
    sleeps("sendmsg", libc::SYS_sendmsg, &[("fd", Fd), ("message", Message), ("flags", MessageFlags)]),
    sleeps(
        "recvmmsg",
        libc::SYS_recvmmsg,
        &[
            ("fd", Fd),
            ("messages", MessagesOut),
            ("count", Int),
            ("flags", MessageFlags),
            ("timeout", Timespec),
        ],
    ),
    sleeps(
        "sendmmsg",
        libc::SYS_sendmmsg,
        &[("fd", Fd), ("messages", Messages(2)), ("count", Int), ("flags", MessageFlags)],
    ),
    moves("sendfile", libc::SYS_sendfile, &[("out", Fd), ("in", Fd), ("offset", Offset), ("size", Size)]),
    moves(
        "splice",
        libc::SYS_splice,
        &[
            ("in", Fd),
            ("in_offset", Offset),
            ("out", Fd),
            ("out_offset", Offset),
            ("size", Size),
            ("flags", SpliceFlags),
        ],
    ),
    // Descriptors of sockets.
    moves("close", libc::SYS_close, &[("fd", Fd)]),
    any("close_range", libc::SYS_close_range, &[("first", Int), ("last", Int), ("flags", Hex)]),
    on_sockets("dup", libc::SYS_dup, &[("fd", Fd)]),
    #[cfg(target_arch = "x86_64")]
    on_sockets("dup2", libc::SYS_dup2, &[("fd", Fd), ("new", Int)]),
    on_sockets("dup3", libc::SYS_dup3, &[("fd", Fd), ("new", Int), ("flags", DescriptorFlags)]),
    on_sockets(
        "fcntl",
        libc::SYS_fcntl,
        &[("fd", Fd), ("command", FcntlCommand), ("argument", FcntlArgument)],
    ),
    on_sockets(
        "ioctl",
        libc::SYS_ioctl,
        &[("fd", Fd), ("command", IoctlCommand), ("argument", IoctlArgumentOut)],
    ),
    // Waiting.
    #[cfg(target_arch = "x86_64")]
    sleeps("poll", libc::SYS_poll, &[("fds", PollSet(1)), ("count", Hidden), ("timeout", TimeoutMs)]),
    sleeps(
        "ppoll",
        libc::SYS_ppoll,
        &[
            ("fds", PollSet(1)),
            ("count", Hidden),
            ("timeout", Timespec),
            ("mask", SignalSet),
            ("size", Hidden),
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    sleeps(
        "select",
        libc::SYS_select,
        &[("count", Int), ("read", FdSet), ("write", FdSet), ("except", FdSet), ("timeout", Timeval)],
    ),
    sleeps(
        "pselect6",
        libc::SYS_pselect6,
        &[
            ("count", Int),
            ("read", FdSet),
            ("write", FdSet),
            ("except", FdSet),
            ("timeout", Timespec),
            ("mask", Hidden),
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    any("epoll_create", libc::SYS_epoll_create, &[("size", Int)]),
    any("epoll_create1", libc::SYS_epoll_create1, &[("flags", EpollFlags)]),
    any(
        "epoll_ctl",
        libc::SYS_epoll_ctl,
        &[("epoll", Int), ("operation", EpollOperation), ("fd", Fd), ("event", EpollEvent)],
    ),
    #[cfg(target_arch = "x86_64")]
    sleeps(
        "epoll_wait",
        libc::SYS_epoll_wait,
        &[("epoll", Int), ("events", EpollEventsOut), ("most", Int), ("timeout", TimeoutMs)],
    ),
    sleeps(
        "epoll_pwait",
        libc::SYS_epoll_pwait,
        &[
            ("epoll", Int),
            ("events", EpollEventsOut),
            ("most", Int),
            ("timeout", TimeoutMs),
            ("mask", SignalSet),
            ("size", Hidden),
        ],
    ),
    sleeps(
        "epoll_pwait2",
        libc::SYS_epoll_pwait2,
        &[
            ("epoll", Int),
            ("events", EpollEventsOut),
            ("most", Int),
            ("timeout", Timespec),
            ("mask", SignalSet),
            ("size", Hidden),
        ],
    ),
    // Processes.
    #[cfg(target_arch = "x86_64")]
    any("fork", libc::SYS_fork, &[]),
    #[cfg(target_arch = "x86_64")]
    any("vfork", libc::SYS_vfork, &[]),
    any("clone", libc::SYS_clone, &[("flags", CloneFlags)]),
    any("clone3", libc::SYS_clone3, &[("arguments", CloneArguments), ("size", Hidden)]),
    any("execve", libc::SYS_execve, &[("path", Path), ("arguments", Strings), ("environment", Hidden)]),
    any(
        "execveat",
        libc::SYS_execveat,
        &[
            ("directory", Int),
            ("path", Path),
            ("arguments", Strings),
            ("environment", Hidden),
            ("flags", Hex),
        ],
    ),
    sleeps(
        "wait4",
        libc::SYS_wait4,
        &[("pid", Pid), ("status", WaitStatusOut), ("options", WaitOptions), ("usage", Hidden)],
    ),
    sleeps(
        "waitid",
        libc::SYS_waitid,
        &[("kind", IdKind), ("id", Int), ("info", WaitInfoOut), ("options", WaitOptions), ("usage", Hidden)],
    ),
    any("exit_group", libc::SYS_exit_group, &[("status", ExitStatus)]),
    any("kill", libc::SYS_kill, &[("pid", Pid), ("signal", Signal)]),
    any("tkill", libc::SYS_tkill, &[("tid", Pid), ("signal", Signal)]),
    any("tgkill", libc::SYS_tgkill, &[("pid", Pid), ("tid", Pid), ("signal", Signal)]),
    any(
        "pidfd_send_signal",
        libc::SYS_pidfd_send_signal,
        &[("pidfd", Int), ("signal", Signal), ("info", Hidden), ("flags", Hex)],
    ),
    // Signals.
    any(
        "rt_sigaction",
        libc::SYS_rt_sigaction,
        &[("signal", Signal), ("action", SignalAction), ("old", Hidden), ("size", Hidden)],
    ),
    sleeps("rt_sigsuspend", libc::SYS_rt_sigsuspend, &[("mask", SignalSet), ("size", Hidden)]),
    sleeps(
        "rt_sigtimedwait",
        libc::SYS_rt_sigtimedwait,
        &[("set", SignalSet), ("info", SignalInfoOut), ("timeout", Timespec), ("size", Hidden)],
    ),
    #[cfg(target_arch = "x86_64")]
    sleeps("pause", libc::SYS_pause, &[]),
    #[cfg(target_arch = "x86_64")]
    any("alarm", libc::SYS_alarm, &[("seconds", Int)]),
    // Sleeping.
    sleeps("nanosleep", libc::SYS_nanosleep, &[("time", Timespec), ("rest", TimespecOut)]),
    sleeps(
        "clock_nanosleep",
        libc::SYS_clock_nanosleep,
        &[("clock", Clock), ("flags", Hex), ("time", Timespec), ("rest", TimespecOut)],
    ),
    // What a call that was interrupted goes on as; never recorded under its own name if its beginning was seen.
    sleeps("restart_syscall", libc::SYS_restart_syscall, &[]),
    // What goes through the ring is not seen: the watcher says so.
    any("io_uring_setup", 425, &[("entries", Int), ("parameters", Pointer)]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_number_and_are_unique() {
        for row in CALLS {
            assert_eq!(find(row.number).map(|found| found.name), Some(row.name));
        }
        assert!(find(libc::SYS_getpid).is_none() && find(-1).is_none() && find(1 << 30).is_none());
    }
}
