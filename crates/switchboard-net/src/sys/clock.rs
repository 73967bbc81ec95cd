//! The clocks, read into proto's types.

use std::cell::Cell;
use switchboard_proto::{Instant, Wall, Zone};

/// Now on `CLOCK_MONOTONIC`, nanoseconds since the machine started; the same epoch in every process.
pub fn now() -> Instant {
    let (s, ns) = read(libc::CLOCK_MONOTONIC);
    Instant(s as u64 * 1_000_000_000 + u64::from(ns))
}

/// Seconds since 1970 and nanoseconds, on `CLOCK_REALTIME`.
pub fn realtime() -> (i64, u32) {
    read(libc::CLOCK_REALTIME)
}

/// The wall clock with the zone of `TZ` or /etc/localtime (tzset(3)).
pub fn wall() -> Wall {
    thread_local! { static ZONE: Cell<(i64, Wall)> = const { Cell::new((i64::MIN, Wall::utc(0))) } }
    /// Zones change their offset at multiples of a quarter of an hour, so one look-up serves that long.
    const QUARTER_S: i64 = 900;
    let (unix_s, _) = realtime();
    let slot = unix_s.div_euclid(QUARTER_S);
    let (cached, zone) = ZONE.get();
    if cached == slot {
        // Nothing is written: after a fork that would be a page copied.
        return Wall { unix_s, ..zone };
    }
    let zone = local_zone(unix_s);
    ZONE.set((slot, zone));
    zone
}

/// Nanoseconds since the machine started, with the time that it slept (`CLOCK_BOOTTIME`): what process start times
/// count in.
pub fn since_boot_ns() -> u64 {
    let (s, ns) = read(libc::CLOCK_BOOTTIME);
    s as u64 * 1_000_000_000 + u64::from(ns)
}

/// 64 unpredictable bits from getrandom(2).
pub fn seed() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: the pointer and length describe `bytes`. A short read (never for 8 bytes) leaves zeros.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u64::from_ne_bytes(bytes)
}

fn read(clock: libc::clockid_t) -> (i64, u32) {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut t) };
    (t.tv_sec, t.tv_nsec as u32)
}

fn local_zone(unix_s: i64) -> Wall {
    // SAFETY: all-zero bytes are a valid `tm`; its name pointer is only read if localtime_r set it.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; localtime_r is the thread-safe variant.
    let done = unsafe { libc::localtime_r(&unix_s, &mut tm) };
    if done.is_null() || tm.tm_zone.is_null() {
        return Wall::utc(unix_s);
    }
    // SAFETY: localtime_r points tm_zone at a NUL-terminated name that lives as long as the process.
    let name = unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) };
    Wall { unix_s, offset_s: tm.tm_gmtoff as i32, zone: Zone::new(name.to_bytes()) }
}
