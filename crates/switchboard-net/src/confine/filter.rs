//! Filters for system calls (seccomp(2)), as programs of the classic packet filter.
//!
//! A filter here names what is forbidden, with `EPERM` as the answer: a list of what is permitted would have to know
//! every program. System calls of another architecture of the same machine (32-bit ones) are forbidden altogether,
//! since their numbers mean something else.

use super::Seccomp;
use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, c_long, sock_filter,
};

/// They change the machine, look into other processes, or have been a way out of confinement before.
const MACHINE: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_open_by_handle_at,
    libc::SYS_vhangup,
];

/// Besides: what opens sockets.
const SOCKETS: &[c_long] = &[libc::SYS_socket, libc::SYS_bind, libc::SYS_connect, libc::SYS_listen];

/// Besides: what makes processes the old way. clone(2) may still make threads, see [`program`].
#[cfg(target_arch = "x86_64")]
const PROCESSES: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const PROCESSES: &[c_long] = &[];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xc000_00f3;

/// Offsets in `struct seccomp_data`; the low half of the first argument.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// The filter; empty if there is none. execve(2) stays possible in all of them, since a program is started by it
/// after the filter is in place; but under [`Seccomp::Strict`] it can only replace the process itself.
pub(super) fn program(kind: Seccomp) -> Vec<sock_filter> {
    if kind == Seccomp::None {
        return Vec::new();
    }
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut code = vec![
        load(ARCH),
        jump(BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        // The numbers of the x32 interface, which would get past a list of the others.
        const X32: u32 = 0x4000_0000;
        code.extend([jump(BPF_JGE, X32, 0, 1), answer(refuse)]);
    }
    let forbid = |code: &mut Vec<sock_filter>, list: &[c_long]| {
        for number in list {
            code.extend([jump(BPF_JEQ, *number as u32, 0, 1), answer(refuse)]);
        }
    };
    forbid(&mut code, MACHINE);
    if kind == Seccomp::Strict {
        forbid(&mut code, SOCKETS);
        forbid(&mut code, PROCESSES);
        // clone3 keeps its flags in memory, which a filter cannot read: ENOSYS makes C libraries use clone.
        let no_such_call = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        code.extend([jump(BPF_JEQ, libc::SYS_clone3 as u32, 0, 1), answer(no_such_call)]);
        code.extend([
            jump(BPF_JEQ, libc::SYS_clone as u32, 0, 3),
            load(FIRST_ARGUMENT),
            jump(BPF_JSET, libc::CLONE_THREAD as u32, 1, 0),
            answer(refuse),
        ]);
    }
    code.push(answer(libc::SECCOMP_RET_ALLOW));
    code
}

fn load(offset: u32) -> sock_filter {
    sock_filter { code: (BPF_LD | BPF_W | BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump(test: u32, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt: if_so, jf: if_not, k: value }
}

fn answer(value: u32) -> sock_filter {
    sock_filter { code: (BPF_RET | BPF_K) as u16, jt: 0, jf: 0, k: value }
}
