//! Names of error numbers and signals in both directions, for scenarios and verdicts; the tables are the watcher's.

use crate::watch::name;

/// What the kernel gives to a call that a signal interrupted and that will be started again; never seen by programs.
const RESTARTS: std::ops::RangeInclusive<i32> = 512..=516;

/// The number of an errno by name; `None` for an unknown name.
pub fn errno(name: &str) -> Option<i32> {
    name::errno_number(if name == "EWOULDBLOCK" { "EAGAIN" } else { name })
}

/// The name of an errno; `errno 217` for one without a name here.
pub fn of_errno(number: i32) -> String {
    if RESTARTS.contains(&number) {
        return "ERESTART".to_owned();
    }
    name::errno(number).map_or_else(|| format!("errno {number}"), str::to_owned)
}

/// The number of a signal by name, with or without `SIG`.
pub fn signal(name: &str) -> Option<i32> {
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    (1..=31).find(|number| name::signal(*number).strip_prefix("SIG") == Some(bare))
}

/// The name of a signal.
pub fn of_signal(number: i32) -> String {
    name::signal(number)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_numbers_agree() {
        assert_eq!(super::errno("ECONNRESET"), Some(104));
        assert_eq!(super::of_errno(104), "ECONNRESET");
        assert_eq!(super::errno("EWOULDBLOCK"), super::errno("EAGAIN"));
        assert_eq!(super::errno("ECONNRESTE"), None);
        assert_eq!(super::signal("SIGPIPE"), Some(13));
        assert_eq!(super::signal("PIPE"), Some(13));
        assert_eq!(super::of_signal(13), "SIGPIPE");
    }
}
