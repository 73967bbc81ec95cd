//! [`Rule`]: calls that are made to fail or to fall short, the n-th of them or every one.

use super::name;
use std::fmt;
use std::str::FromStr;
use switchboard_net::Kind;

/// What to change, and when: `recv:short=1:nth=2`, `accept:errno=ECONNABORTED:nth=1`, `send:short=3:on=tcp`.
///
/// The grammar is `CALL:ACTION[:WHEN][:on=KIND]`:
///
/// * `CALL` is the name of a system call, or one of `recv`, `send` and `accept`, which stand for all calls that
///   receive from, send to or accept from a socket.
/// * `ACTION` is `short=BYTES` (at most so many bytes move, as on a slow wire; datagrams are left alone) or
///   `errno=NAME` (the call is not made and fails).
/// * `WHEN` is `nth=N`, `nth=M..N`, `nth=M..` or `every=N`; without it, always. Calls are counted from 1 over the whole
///   program, and only those that the rule is about.
/// * `KIND` is a kind of socket as endpoints are written: `tcp`, `udp`, `unix`, ….
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    calls: Vec<&'static str>,
    text: String,
    action: Action,
    when: When,
    on: Option<Kind>,
}

/// What is done to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// At most so many bytes move.
    Short(u64),
    /// It fails.
    Errno(i32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    Between(u64, u64),
    Every(u64),
}

/// Calls whose bytes can be capped: by the number that names their length, or by their vectors.
const RECV: [&str; 5] = ["read", "readv", "recvfrom", "recvmsg", "recvmmsg"];
const SEND: [&str; 7] = ["write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice"];
const KINDS: [Kind; 5] = [Kind::Tcp, Kind::Udp, Kind::Unix, Kind::UnixDatagram, Kind::UnixSeqpacket];

/// Why a rule is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("injection `{rule}`: {reason}")]
pub struct RuleError {
    rule: String,
    reason: String,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Rule, RuleError> {
        let bad = |reason: String| RuleError { rule: text.escape_default().to_string(), reason };
        let mut parts = text.split(':');
        let call = parts.next().unwrap_or_default();
        let calls = match call {
            "recv" => RECV.to_vec(),
            "send" => SEND.to_vec(),
            "accept" => vec!["accept", "accept4"],
            _ => match super::call::CALLS.iter().find(|row| row.name == call && can_fail(row.name)) {
                Some(row) => vec![row.name],
                None => {
                    let reason = "begin with `recv`, `send`, `accept`, or a system call that is watched";
                    return Err(bad(reason.to_owned()));
                }
            },
        };
        let (mut action, mut when, mut on) = (None, When::Between(1, u64::MAX), None);
        for part in parts {
            let (key, value) =
                part.split_once('=').ok_or_else(|| bad(format!("`{part}` is not KEY=VALUE")))?;
            let number = |text: &str| {
                let number = text.parse().ok().filter(|number| *number > 0_u64);
                number.ok_or_else(|| bad(format!("{key}: `{text}` is not a number from 1")))
            };
            match key {
                "short" => action = Some(Action::Short(number(value)?)),
                "errno" => {
                    let errno = name::errno_number(value)
                        .ok_or_else(|| bad(format!("`{value}` is not an errno such as ECONNABORTED")))?;
                    action = Some(Action::Errno(errno));
                }
                "nth" => {
                    when = match value.split_once("..") {
                        None => When::Between(number(value)?, number(value)?),
                        Some((from, "")) => When::Between(number(from)?, u64::MAX),
                        Some((from, to)) => When::Between(number(from)?, number(to)?),
                    }
                }
                "every" => when = When::Every(number(value)?),
                "on" => {
                    let kind = KINDS.into_iter().find(|kind| kind.name() == value);
                    let names = || KINDS.map(Kind::name).join(", ");
                    on = Some(kind.ok_or_else(|| bad(format!("on: use one of {}", names())))?);
                }
                _ => return Err(bad(format!("there is no `{key}`; use short, errno, nth, every, on"))),
            }
        }
        let action = action.ok_or_else(|| bad("say what to do: `short=BYTES` or `errno=NAME`".to_owned()))?;
        if matches!(action, Action::Short(_))
            && !calls.iter().all(|call| RECV.contains(call) || SEND.contains(call))
        {
            return Err(bad(format!("{call} moves no bytes that could fall short")));
        }
        Ok(Rule { calls, text: text.to_owned(), action, when, on })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Calls that never return, or whose failure would leave the watcher with a wrong idea of the program.
fn can_fail(call: &str) -> bool {
    !matches!(call, "exit_group" | "restart_syscall")
}

/// The rules in force, with how many calls each has seen.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<(Rule, u64)>);

impl Rules {
    pub(super) fn new(rules: Vec<Rule>) -> Rules {
        Rules(rules.into_iter().map(|rule| (rule, 0)).collect())
    }

    /// What is to be done to this call. Every rule counts it; the first that is due acts.
    pub(super) fn due(&mut self, call: &str, on: Option<Kind>) -> Option<Action> {
        let mut action = None;
        for (rule, seen) in &mut self.0 {
            let about = rule.calls.contains(&call) && rule.on.is_none_or(|kind| on == Some(kind));
            // A datagram that falls short is not short but broken: no kernel does that.
            let whole = matches!(rule.action, Action::Short(_)) && on.is_none_or(Kind::is_datagram);
            if !about || whole {
                continue;
            }
            *seen += 1;
            let due = match rule.when {
                When::Between(from, to) => (from..=to).contains(seen),
                When::Every(n) => seen.is_multiple_of(n),
            };
            if due && action.is_none() {
                action = Some(rule.action);
            }
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_second_of_all_receiving_calls() {
        let mut rules = Rules::new(vec![rule("recv:short=1:nth=2")]);
        assert_eq!(rules.due("recvfrom", Some(Kind::Tcp)), None);
        assert_eq!(rules.due("write", Some(Kind::Tcp)), None);
        assert_eq!(rules.due("recvmsg", Some(Kind::Udp)), None, "datagrams do not count");
        assert_eq!(rules.due("read", Some(Kind::Tcp)), Some(Action::Short(1)));
        assert_eq!(rules.due("read", Some(Kind::Tcp)), None);
    }

    #[test]
    fn ranges_and_kinds() {
        let mut rules =
            Rules::new(vec![rule("accept:errno=EMFILE:nth=2..3:on=tcp"), rule("poll:errno=EINTR:every=2")]);
        let mut accept = |kind| rules.due("accept4", Some(kind));
        assert_eq!(accept(Kind::Unix), None);
        let got: Vec<_> = (0..4).map(|_| accept(Kind::Tcp)).collect();
        assert_eq!(got, [None, Some(Action::Errno(libc::EMFILE)), Some(Action::Errno(libc::EMFILE)), None]);
        let polls: Vec<_> = (0..4).map(|_| rules.due("poll", None).is_some()).collect();
        assert_eq!(polls, [false, true, false, true]);
    }

    #[test]
    fn what_is_no_rule_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "begin with"),
            ("getpid:errno=EINTR", "begin with"),
            ("recv", "say what to do"),
            ("recv:short=0", "not a number from 1"),
            ("recv:short", "not KEY=VALUE"),
            ("recv:errno=EWHAT", "not an errno"),
            ("accept:short=1", "moves no bytes"),
            ("recv:short=1:on=sctp", "use one of tcp"),
            ("recv:short=1:when=2", "there is no `when`"),
        ] {
            let error = text.parse::<Rule>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
