//! The filter that makes the kernel stop a program at the calls that are watched and at no others: seccomp(2) with
//! `SECCOMP_RET_TRACE`. What it lets pass runs at full speed, since the kernel remembers which numbers always pass
//! (Linux 5.11).
#![allow(unsafe_code)]

use super::call::CALLS;
use super::ptrace::AUDIT_ARCH;
use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JUMP, BPF_K, BPF_LD, BPF_RET, BPF_STMT, BPF_W, sock_filter};
use std::io;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// The program, made before the fork: installing it in the child must not allocate.
#[derive(Clone, Debug)]
pub(super) struct Filter(Vec<sock_filter>);

impl Filter {
    /// Stops at every call of the table, and at everything that is not of this architecture.
    pub(super) fn new() -> Filter {
        let load = |offset| stmt(BPF_LD | BPF_W | BPF_ABS, offset);
        let count = CALLS.len();
        let mut program = Vec::with_capacity(count + 5);
        program.push(load(ARCH));
        // To the last instruction, the stop, unless it is ours.
        program.push(jump(AUDIT_ARCH, 0, count + 2));
        program.push(load(NUMBER));
        for (index, row) in CALLS.iter().enumerate() {
            program.push(jump(row.number as u32, count - index, 0));
        }
        program.push(stmt(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW));
        program.push(stmt(BPF_RET | BPF_K, libc::SECCOMP_RET_TRACE));
        Filter(program)
    }

    /// Puts the filter on the calling thread and all that it will start. Async-signal-safe.
    ///
    /// # Errors
    /// Those of seccomp(2); `EINVAL` from a kernel without it.
    pub(super) fn install(&self) -> io::Result<()> {
        let program = libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        let set = || {
            // SAFETY: `program` describes the instructions, which the kernel copies.
            match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) }
            {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        };
        // Who may do without it keeps programs with a set-user-id bit working.
        match set() {
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {}
            done => return done,
        }
        // SAFETY: plain numbers.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
        set()
    }
}

fn stmt(code: u32, k: u32) -> sock_filter {
    // SAFETY: BPF_STMT only makes a value of its arguments.
    unsafe { BPF_STMT(code as u16, k) }
}

/// Compares with `k`: jumps over `yes` instructions if equal, over `no` if not.
fn jump(k: u32, yes: usize, no: usize) -> sock_filter {
    const CODE: u32 = BPF_JMP | BPF_JEQ | BPF_K;
    // SAFETY: BPF_JUMP only makes a value of its arguments.
    unsafe { BPF_JUMP(CODE as u16, k, yes as u8, no as u8) }
}

// A jump is one byte long.
const _: () = assert!(CALLS.len() < 250);
