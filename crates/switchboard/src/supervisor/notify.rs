//! What a service manager is told (sd_notify(3)), if there is one that listens.

use sd_notify::NotifyState;
use std::time::Duration;
use switchboard_net::sys::clock;
use switchboard_proto::Instant;

/// Tells the service manager how it goes.
pub(super) struct Notify {
    watchdog: Option<Duration>,
    next: Instant,
    listening: bool,
}

impl Notify {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub(super) fn from_environment() -> Notify {
        let listening = std::env::var_os("NOTIFY_SOCKET").is_some();
        // Twice in each period, as sd_watchdog_enabled(3) recommends.
        let watchdog = sd_notify::watchdog_enabled().filter(|_| listening).map(|period| period / 2);
        let next = watchdog.map_or(Instant::NEVER, |period| clock::now() + period);
        Notify { watchdog, next, listening }
    }

    /// When the watchdog wants to hear of us.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Pats the watchdog if it is time.
    pub(super) fn alive(&mut self) {
        let now = clock::now();
        if let Some(period) = self.watchdog.filter(|_| now >= self.next) {
            self.next = now + period;
            self.say(&[NotifyState::Watchdog]);
        }
    }

    pub(super) fn ready(&self, status: &str) {
        self.say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub(super) fn reloading(&self) {
        if self.listening
            && let Ok(now) = NotifyState::monotonic_usec_now()
        {
            self.say(&[NotifyState::Reloading, now]);
        }
    }

    pub(super) fn stopping(&self) {
        self.say(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// Another process is the main one from now on.
    pub(super) fn successor(&self, pid: u32) {
        self.say(&[NotifyState::MainPid(pid)]);
    }

    fn say(&self, state: &[NotifyState<'_>]) {
        if self.listening {
            // A service manager that does not listen is no reason to stop.
            let _ = sd_notify::notify(state);
        }
    }
}
