//! Faults on request, in debug builds only: the errors of accept(2), recv(2) and send(2) that a healthy kernel
//! rarely gives, so that tests of real processes can provoke them (curl's `CURL_DBG_SOCK_*` knobs).
//!
//! `SWITCHBOARD_FAULT=seed=7,eintr=50,again=80,short=1,accept=ECONNABORTED/3`
//!
//! | key | effect |
//! |---|---|
//! | `seed=N` | makes the random ones repeatable (default 1) |
//! | `eintr=P` | P % of calls are interrupted once before they are made |
//! | `again=P` | P % of calls on non-blocking sockets say `EAGAIN` |
//! | `short=N` | a call moves at most N bytes |
//! | `accept=ERRNO/N` | every N-th accept fails: ECONNABORTED, EPROTO, EMFILE, ENFILE, ENOBUFS, EPERM |
//!
//! Release builds contain none of this.

use rustix::io::Errno;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use switchboard_proto::Random;

#[derive(Debug, Default)]
struct Plan {
    seed: u64,
    eintr_percent: usize,
    again_percent: usize,
    short: Option<usize>,
    accept: Option<(Errno, u64)>,
}

static CALLS: AtomicU64 = AtomicU64::new(0);
static ACCEPTS: AtomicU64 = AtomicU64::new(0);

/// Whether faults can be asked for in this build.
pub const POSSIBLE: bool = cfg!(debug_assertions);

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    if !POSSIBLE {
        return None;
    }
    PLAN.get_or_init(|| std::env::var("SWITCHBOARD_FAULT").ok().map(|text| parse(&text))).as_ref()
}

fn parse(text: &str) -> Plan {
    let mut plan = Plan { seed: 1, ..Plan::default() };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let known = (|| {
            let (key, value) = part.split_once('=')?;
            match key {
                "seed" => plan.seed = value.parse().ok()?,
                "eintr" => plan.eintr_percent = value.parse().ok()?,
                "again" => plan.again_percent = value.parse().ok()?,
                "short" => plan.short = Some(value.parse().ok().filter(|n| *n > 0)?),
                "accept" => {
                    let (errno, every) = value.split_once('/')?;
                    plan.accept = Some((errno_named(errno)?, every.parse().ok().filter(|n| *n > 0)?));
                }
                _ => return None,
            }
            Some(())
        })();
        assert!(known.is_some(), "SWITCHBOARD_FAULT: `{part}` is not a fault this build knows");
    }
    plan
}

fn errno_named(name: &str) -> Option<Errno> {
    Some(match name {
        "ECONNABORTED" => Errno::CONNABORTED,
        "EPROTO" => Errno::PROTO,
        "EMFILE" => Errno::MFILE,
        "ENFILE" => Errno::NFILE,
        "ENOBUFS" => Errno::NOBUFS,
        "EPERM" => Errno::PERM,
        _ => return None,
    })
}

fn drawn(percent: usize, plan: &Plan) -> bool {
    let nth = CALLS.fetch_add(1, Ordering::Relaxed);
    percent > 0 && Random::new(plan.seed ^ nth.wrapping_mul(0x2545_f491_4f6c_dd1d)).below(100) < percent
}

/// Whether this call is to be interrupted before it is made.
#[inline]
pub fn interrupted() -> bool {
    POSSIBLE && plan().is_some_and(|plan| drawn(plan.eintr_percent, plan))
}

/// Whether this non-blocking call is to say `EAGAIN`.
#[inline]
pub fn again() -> bool {
    POSSIBLE && plan().is_some_and(|plan| drawn(plan.again_percent, plan))
}

/// How many of `len` bytes this call may move.
#[inline]
pub fn short(len: usize) -> usize {
    if !POSSIBLE {
        return len;
    }
    plan().and_then(|plan| plan.short).map_or(len, |limit| len.min(limit))
}

/// The error that this accept is to give.
#[inline]
pub fn accept() -> Option<Errno> {
    if !POSSIBLE {
        return None;
    }
    let (errno, every) = plan()?.accept?;
    (ACCEPTS.fetch_add(1, Ordering::Relaxed) % every == every - 1).then_some(errno)
}
