//! What concerns processes and signals: statuses of wait(2), signal sets and actions, clone's flags, command lines.

use super::{bytes, name};
use crate::watch::memory::{Memory, word};

/// Strings of a command line that are shown.
const STRINGS: usize = 16;

/// The status of wait4(2).
pub(super) fn wait_status(status: i32) -> String {
    if libc::WIFEXITED(status) {
        format!("exited {}", libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        let core = if libc::WCOREDUMP(status) { ", core dumped" } else { "" };
        format!("killed by {}{core}", name::signal(libc::WTERMSIG(status)))
    } else if libc::WIFSTOPPED(status) {
        format!("stopped by {}", name::signal(libc::WSTOPSIG(status)))
    } else if libc::WIFCONTINUED(status) {
        "continued".to_owned()
    } else {
        format!("{status:#x}")
    }
}

/// The `siginfo_t` of waitid(2): code at 8, child at 16, status at 24 (bits of the 64-bit layout).
pub(super) fn wait_info(memory: Memory, address: u64) -> Option<String> {
    let info = memory.array::<28>(address)?;
    let int =
        |at: usize| info.get(at..at + 4).and_then(|at| at.try_into().ok()).map_or(0, i32::from_ne_bytes);
    let (code, child, status) = (int(8), int(16), int(24));
    if child == 0 && code == 0 {
        return Some("nothing".to_owned());
    }
    let status = if code == libc::CLD_EXITED { status.to_string() } else { name::signal(status) };
    Some(format!("{} {status}", name::or_number(name::CHILD_CODES, code.into())))
}

/// A set of signals, as the kernel's 64 bits.
pub(super) fn signal_set(memory: Memory, address: u64) -> Option<String> {
    let set = memory.long(address)?;
    let names = |set: u64| {
        let names: Vec<String> =
            (1..=64).filter(|number| set >> (number - 1) & 1 == 1).map(name::signal).collect();
        names.join(" ")
    };
    Some(if set.count_ones() > 32 { format!("~[{}]", names(!set)) } else { format!("[{}]", names(set)) })
}

/// The kernel's `struct sigaction`: handler, flags, restorer, mask.
pub(super) fn signal_action(memory: Memory, address: u64) -> Option<String> {
    let handler = match memory.long(address)? {
        0 => "SIG_DFL",
        1 => "SIG_IGN",
        _ => "handler",
    };
    let flags = memory.long(address + 8)? & !0x0400_0000;
    Some(match flags {
        0 => handler.to_owned(),
        _ => format!("{handler} {}", name::flags(name::ACTION_FLAGS, flags as i64)),
    })
}

/// Flags of clone(2) and the signal that tells of the child's end.
pub(super) fn clone_flags(flags: u64, signal: i32) -> String {
    let bits = (flags & !0xff) as i64;
    let signal = (signal != 0).then(|| name::signal(signal));
    match (bits, signal) {
        (0, Some(signal)) => signal,
        (_, Some(signal)) => format!("{}|{signal}", name::flags(name::CLONES, bits)),
        (_, None) => name::flags(name::CLONES, bits),
    }
}

/// `struct clone_args` of clone3(2): flags first, the signal fifth.
pub(super) fn clone_arguments(memory: Memory, address: u64) -> Option<String> {
    let fields = memory.array::<40>(address)?;
    Some(clone_flags(word(&fields, 0)?, word(&fields, 4)? as i32))
}

/// A list of strings that ends with a null pointer.
pub(super) fn strings(memory: Memory, address: u64) -> Option<String> {
    let mut shown = Vec::new();
    for index in 0.. {
        let at = memory.long(address + 8 * index)?;
        if at == 0 {
            break;
        }
        if shown.len() == STRINGS {
            shown.push("…".to_owned());
            break;
        }
        let text = memory.string(at)?;
        shown.push(bytes::quoted(&text, text.len()));
    }
    Some(format!("[{}]", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_sets() {
        assert_eq!(wait_status(3 << 8), "exited 3");
        assert_eq!(wait_status(libc::SIGPIPE), "killed by SIGPIPE");
        assert_eq!(wait_status(0xffff), "continued");
        let memory = Memory(std::process::id() as i32);
        let set = 1_u64 << (libc::SIGPIPE - 1) | 1;
        assert_eq!(signal_set(memory, &raw const set as u64).as_deref(), Some("[SIGHUP SIGPIPE]"));
        let all_but = !set;
        assert_eq!(signal_set(memory, &raw const all_but as u64).as_deref(), Some("~[SIGHUP SIGPIPE]"));
        let action = [1_u64, 0x0400_0000 | libc::SA_RESTART as u64];
        assert_eq!(signal_action(memory, action.as_ptr() as u64).as_deref(), Some("SIG_IGN SA_RESTART"));
        assert_eq!(clone_flags(libc::SIGCHLD as u64, libc::SIGCHLD), "SIGCHLD");
        let arguments = [c"echo".as_ptr() as u64, c"a b".as_ptr() as u64, 0];
        assert_eq!(strings(memory, arguments.as_ptr() as u64).as_deref(), Some("[\"echo\", \"a b\"]"));
    }
}
