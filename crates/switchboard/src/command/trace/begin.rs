//! How a trace begins, and why it may not.

use crate::exit::Exit;
use std::ffi::OsString;
use std::io;
use std::process::Command;
use switchboard_lab::watch::{Watched, Watcher};

/// Starts a program; or says why not, and what would help.
pub(super) fn start(watcher: Watcher, program: &[OsString]) -> Result<Watched, (String, Exit)> {
    let Some((name, arguments)) = program.split_first() else {
        return Err(("there is no program to trace".to_owned(), Exit::Usage));
    };
    let mut command = Command::new(name);
    command.args(arguments);
    watcher.spawn(command).map_err(|error| {
        let shown = name.to_string_lossy();
        match error.raw_os_error() {
            Some(libc::ENOENT) => (format!("cannot run {shown}: there is no such program"), Exit::Passed(127)),
            Some(libc::EPERM) => {
                let reason = format!(
                    "cannot trace {shown}: {error}. Something forbids ptrace(2) or seccomp(2): the settings of a \
                     container (--cap-add SYS_PTRACE), or kernel.yama.ptrace_scope=3"
                );
                (reason, Exit::Permission)
            }
            _ => (format!("cannot run {shown}: {error}"), Exit::Passed(126)),
        }
    })
}

/// Why a process cannot be attached to, and what would help.
pub(super) fn why_not(pid: i32, error: &io::Error) -> (String, Exit) {
    match error.raw_os_error() {
        Some(libc::ESRCH) => (format!("there is no process {pid}"), Exit::Failed),
        Some(libc::EPERM) => {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map(str::trim);
            let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
            let reason = match (tracer, scope.trim()) {
                (Some(tracer), _) if tracer != "0" => format!("process {tracer} traces it already"),
                (_, "1" | "2") => {
                    "Yama lets nobody but root attach (kernel.yama.ptrace_scope): run as root, set that \
                                   sysctl to 0, or start the program with `switchboard trace -- PROGRAM`"
                        .to_owned()
                }
                (_, "3") => "kernel.yama.ptrace_scope=3 forbids tracing until the next boot".to_owned(),
                _ => "it is not yours or has more rights than you: run as root, or with CAP_SYS_PTRACE"
                    .to_owned(),
            };
            (format!("cannot attach to process {pid}: {error}. {reason}"), Exit::Permission)
        }
        _ => (format!("cannot attach to process {pid}: {error}"), Exit::Failed),
    }
}
