//! Arguments as people write them. What goes in is read when a call is entered, since the program may change or lose
//! it while it waits; what comes out is read when it returns.

use super::call::{Form, Row};
use super::memory::Memory;
use super::name;

mod address;
mod bytes;
mod option;
mod process;
mod time;
mod waiting;

pub(super) use bytes::{KEPT, parts};

/// What stands for a value that has not come out (yet).
const NOT_YET: &str = "…";
const NULL: &str = "NULL";

/// A call and the memory in which its arguments lie.
pub(super) struct Decoder<'a> {
    pub(super) memory: Memory,
    pub(super) row: &'a Row,
    pub(super) arguments: [u64; 6],
}

/// Arguments by name, and the first bytes of the data.
type Decoded = (Vec<(String, String)>, Vec<u8>);

impl Decoder<'_> {
    /// The arguments as they are known at the entry.
    pub(super) fn entered(&self) -> Decoded {
        let mut data = Vec::new();
        let shown = self.row.arguments.iter().enumerate().filter(|(_, (_, form))| *form != Form::Hidden);
        let arguments = shown
            .map(|(index, (name, form))| {
                let text = self.incoming(index, *form, &mut data);
                ((*name).to_owned(), text.unwrap_or_else(|| NOT_YET.to_owned()))
            })
            .collect();
        (arguments, data)
    }

    /// Adds what is known at the return, if the call succeeded.
    pub(super) fn returned(&self, result: i64, arguments: &mut [(String, String)], data: &mut Vec<u8>) {
        let forms = self.row.arguments.iter().enumerate().filter(|(_, (_, form))| *form != Form::Hidden);
        for ((index, (_, form)), (_, text)) in forms.zip(arguments) {
            if let Some(value) = self.outgoing(index, *form, result, text, data) {
                *text = value;
            }
        }
        // A part may have gone out only.
        data.truncate(usize::try_from(result).unwrap_or(0).min(KEPT));
    }

    fn int(&self, index: usize) -> i32 {
        self.arguments[index] as i32
    }

    fn size(&self, index: usize) -> usize {
        usize::try_from(self.arguments[index]).unwrap_or(usize::MAX)
    }

    /// An argument that is known at the entry; `None` for those that come out.
    fn incoming(&self, index: usize, form: Form, data: &mut Vec<u8>) -> Option<String> {
        let memory = self.memory;
        let value = self.arguments[index];
        let int = value as i32;
        let named = |table| Some(name::or_number(table, int.into()));
        let flags = |table| Some(name::flags(table, i64::from(int as u32)));
        let pointed = |text: Option<String>| match value {
            0 => NULL.to_owned(),
            _ => text.unwrap_or_else(|| format!("{value:#x}")),
        };
        match form {
            Form::Fd | Form::Int | Form::Pid => Some(int.to_string()),
            Form::Hex if int == 0 => Some("0".to_owned()),
            Form::Hex => Some(format!("{int:#x}")),
            Form::Size => Some(value.to_string()),
            Form::Pointer => Some(format!("{value:#x}")),
            Form::Offset => Some(pointed(memory.long(value).map(|offset| offset.to_string()))),
            Form::Input(length) => {
                let length = self.size(length);
                *data = memory.bytes(value, length.min(KEPT));
                Some(bytes::quoted(data, length))
            }
            Form::InputVector(count) => {
                let parts = parts(memory, value, self.size(count));
                *data = bytes::gather(memory, &parts, KEPT);
                Some(bytes::quoted(data, bytes::total(&parts)))
            }
            Form::Message => Some(pointed(bytes::message(memory, value, true, None, data))),
            Form::Messages(count) => {
                let count = self.size(count).min(1024);
                Some(pointed(bytes::messages(memory, value, count, true, data)))
            }
            Form::SocketAddress(length) => Some(pointed(address::read(memory, value, self.size(length)))),
            Form::Domain => named(name::FAMILIES),
            Form::SocketType => Some(address::socket_type(int)),
            Form::Protocol => Some(address::protocol(self.int(0), int)),
            Form::MessageFlags => flags(name::MESSAGE_FLAGS),
            Form::SocketFlags => flags(name::SOCKET_FLAGS),
            Form::DescriptorFlags => flags(name::OPEN_FLAGS),
            Form::EpollFlags => flags(name::EPOLL_FLAGS),
            Form::SpliceFlags => flags(name::SPLICE_FLAGS),
            Form::OptionLevel => Some(option::level(int)),
            Form::OptionNumber => Some(option::name(self.int(index - 1), int)),
            Form::OptionValue => {
                let (level, number) = (self.int(index - 2), self.int(index - 1));
                let bytes = memory.bytes(value, self.size(index + 1).min(bytes::KEPT));
                Some(pointed(Some(option::value(level, number, &bytes))))
            }
            Form::How => named(name::HOWS),
            Form::FcntlCommand => named(name::FCNTLS),
            Form::FcntlArgument => Some(match self.int(index - 1) {
                libc::F_SETFL => name::flags(name::OPEN_FLAGS, i64::from(int as u32)),
                libc::F_SETFD => name::flags(&[(1, "FD_CLOEXEC")], i64::from(int as u32)),
                libc::F_GETFL | libc::F_GETFD | libc::F_GETOWN => String::new(),
                _ => int.to_string(),
            }),
            Form::IoctlCommand => Some(
                name::of(name::IOCTLS, i64::from(int as u32))
                    .map_or_else(|| format!("{:#x}", int as u32), str::to_owned),
            ),
            Form::PollSet(count) => {
                Some(pointed(Some(waiting::poll_set(memory, value, self.size(count), false))))
            }
            Form::FdSet => Some(pointed(Some(waiting::fd_set(memory, value, self.int(0))))),
            Form::EpollOperation => named(name::EPOLL_OPERATIONS),
            Form::EpollEvent => Some(pointed(waiting::epoll_event(memory, value))),
            Form::TimeoutMs => Some(time::timeout_ms(int)),
            Form::Timespec => Some(pointed(time::timespec(memory, value))),
            Form::Timeval => Some(pointed(time::timeval(memory, value))),
            Form::Clock => named(name::CLOCKS),
            Form::Signal => Some(name::signal(int)),
            Form::SignalSet => Some(pointed(process::signal_set(memory, value))),
            Form::SignalAction => Some(pointed(process::signal_action(memory, value))),
            Form::IdKind => named(name::ID_KINDS),
            Form::WaitOptions => flags(name::WAIT_OPTIONS),
            Form::CloneFlags => Some(process::clone_flags(value, (value & 0xff) as i32)),
            Form::CloneArguments => Some(pointed(process::clone_arguments(memory, value))),
            Form::Path => Some(pointed(memory.string(value).map(|text| bytes::quoted(&text, text.len())))),
            Form::Strings => Some(pointed(process::strings(memory, value))),
            Form::ExitStatus => Some((int & 0xff).to_string()),
            // Nobody asks for what would come out there.
            _ if value == 0 => Some(NULL.to_owned()),
            _ => None,
        }
    }

    /// An argument that came out of a call that returned `result`.
    fn outgoing(
        &self,
        index: usize,
        form: Form,
        result: i64,
        entered: &str,
        data: &mut Vec<u8>,
    ) -> Option<String> {
        let memory = self.memory;
        let value = self.arguments[index];
        let count = usize::try_from(result).ok()?;
        if value == 0 {
            return None;
        }
        match form {
            Form::Output(length) => {
                // With MSG_TRUNC the result is longer than what is there (recv(2)).
                *data = memory.bytes(value, count.min(self.size(length)).min(KEPT));
                Some(bytes::quoted(data, count.min(self.size(length))))
            }
            Form::OutputVector(number) => {
                let parts = parts(memory, value, self.size(number));
                *data = bytes::gather(memory, &parts, count.min(KEPT));
                Some(bytes::quoted(data, count))
            }
            Form::MessageOut => bytes::message(memory, value, false, Some(count), data),
            Form::MessagesOut => bytes::messages(memory, value, count, false, data),
            Form::SocketAddressOut(length) => {
                let length = memory.int(self.arguments[length])?;
                address::read(memory, value, usize::try_from(length).ok()?)
            }
            Form::OptionValueOut => {
                let (level, number) = (self.int(index - 2), self.int(index - 1));
                let length = usize::try_from(memory.int(self.arguments[index + 1])?).ok()?;
                Some(option::value(level, number, &memory.bytes(value, length.min(256))))
            }
            Form::OptionLengthOut => memory.int(value).map(|length| length.to_string()),
            Form::IoctlArgumentOut => memory.int(value).map(|value| value.to_string()),
            Form::PollSet(number) if count > 0 => {
                Some(waiting::poll_set(memory, value, self.size(number), true))
            }
            Form::FdSet => Some(format!("{entered} → {}", waiting::fd_set(memory, value, self.int(0)))),
            Form::EpollEventsOut => Some(waiting::epoll_events(memory, value, count)),
            Form::TimespecOut => None,
            Form::SignalInfoOut => memory.int(value).map(name::signal),
            Form::WaitStatusOut if count > 0 => memory.int(value).map(process::wait_status),
            Form::WaitInfoOut => process::wait_info(memory, value),
            Form::PairOut => {
                let pair = memory.long(value)?;
                Some(format!("[{}, {}]", pair as u32, pair >> 32))
            }
            _ => None,
        }
    }
}
