//! How long runs take: how long each is looked on, when one is given up, and what many of them come to together.
//!
//! In compressed time a case says how long it is looked on, in its file. In real time a part that waits for the kernel to
//! give up is looked on for as long as the law says, and a quarter more; one in which nothing is given up takes no longer
//! than ever.

use super::{Cast, Plan};
use crate::formula::DEFAULT;
use crate::scenario::{Must, Part, Scenario, When};
use std::time::Duration;

/// How long the kernel's answers are waited for on a busy machine.
const BUSY: Duration = Duration::from_secs(12);
/// How long is looked on at least for what must not happen.
const SURE: Duration = Duration::from_secs(3);
/// How many times as long the lab looks on where something still moves.
const MOST_WATCHES: u32 = 3;
/// A conversation that has an end is given at least so long to come to it.
const WHOLE: Duration = Duration::from_secs(30);
/// What hosts, a wire and a program take to be there and to be cleared away.
const STARTING: Duration = Duration::from_secs(2);
/// The same on a machine that does other things, and whatever else may come between: then a run is stopped.
const STUCK: Duration = Duration::from_secs(40);

/// How long a plan's part is looked on after its last step, unless all was seen before.
pub(super) fn watch(part: &Part, scenario: &Scenario, plan: &Plan) -> Duration {
    let mut watch = part.watch;
    if plan.cast == Cast::Kernel {
        // It ends as soon as everything was seen; a busy machine takes longer until then. Only what must not happen is
        // waited for to the end.
        let never = part.expect.iter().any(|pattern| pattern.never);
        watch = watch.max(if never { SURE } else { BUSY });
    }
    let limit = if plan.real { limit_of_kernel(part, scenario) } else { Duration::ZERO };
    watch.max(limit + limit / 4)
}

/// After which time the kernel gives up what this part waits for, with the settings that Linux comes with.
fn limit_of_kernel(part: &Part, scenario: &Scenario) -> Duration {
    let law = part.real.unwrap_or({
        // The fault ends before the kernel would, or is none that it gives up for.
        let goes_on = part.must == Must::Recover || part.whole;
        if goes_on { When::AtOnce } else { scenario.default }
    });
    let limit = law.under(&DEFAULT).unwrap_or_default();
    // All addresses but the last are dead, and may be tried one after another.
    if part.several { limit * super::ground::DEAD } else { limit }
}

/// The longest that is looked on after the last step.
pub(super) fn longest_watch(part: &Part) -> Duration {
    if part.whole { longest(part).max(WHOLE) } else { longest(part) }
}

/// The same for a conversation without an end.
pub(super) fn longest(part: &Part) -> Duration {
    part.watch * MOST_WATCHES
}

/// The longest that a run of this scenario may take: its steps, its watch, and what starting takes on a busy machine.
/// After that it is stopped.
pub fn limit(scenario: &Scenario, plan: &Plan) -> Duration {
    plan.part(scenario).map_or(Duration::ZERO, |part| longest_watch(&part) + outages(&part) + STUCK)
}

/// What a run of this plan takes if the program waits for all that it may wait for, on a machine with nothing else to do.
pub fn expected(plan: &Plan) -> Duration {
    let part = Scenario::exactly(&plan.scenario).and_then(|scenario| plan.part(&scenario));
    part.map_or(Duration::ZERO, |part| part.watch + outages(&part) + STARTING)
}

fn outages(part: &Part) -> Duration {
    part.steps.iter().filter_map(|step| step.when.as_ref()?.time()).sum()
}

/// What runs of these lengths take together, `jobs` at the same time and the longest first.
pub fn together(lengths: &[Duration], jobs: usize) -> Duration {
    let mut lengths = lengths.to_vec();
    lengths.sort_unstable_by(|one, other| other.cmp(one));
    let mut busy_until = vec![Duration::ZERO; jobs.max(1)];
    for length in lengths {
        if let Some(first_free) = busy_until.iter_mut().min() {
            *first_free += length;
        }
    }
    busy_until.into_iter().max().unwrap_or_default()
}

/// `947 s`, `20 min`.
pub fn in_words(time: Duration) -> String {
    const MOST_SECONDS: u64 = 1000;
    match time.as_secs() {
        seconds if seconds < MOST_SECONDS => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(scenario: &str, cast: Cast, real: bool) -> Plan {
        Plan {
            scenario: scenario.to_owned(),
            cast,
            program: None,
            seed: 1,
            real,
            ipv6: false,
            loopback: false,
            baseline: None,
        }
    }

    #[test]
    fn in_real_time_a_part_that_waits_for_the_kernel_is_looked_on_longer_than_the_kernel_takes() {
        for (scenario, cast, least, most) in [
            ("05-active-host-crash", Cast::Client, 947, 1250),
            ("05-active-host-crash", Cast::Kernel, 947, 1250),
            // The in-flight connection is the last of them; nobody waits for tcp_keepalive_time.
            ("08-keepalive", Cast::Kernel, 947, 1250),
            ("02-host-down", Cast::Client, 131, 175),
            ("27-several-addresses", Cast::Client, 262, 350),
            // The outage is over after seconds, whatever the kernel would have borne.
            ("07-routers-down", Cast::Client, 0, 20),
            ("31-bad-line", Cast::Server, 0, 20),
            ("06-idle-host-crash", Cast::Client, 0, 20),
            ("01-no-server", Cast::Client, 0, 20),
        ] {
            let takes = expected(&plan(scenario, cast, true)).as_secs();
            assert!((least..most).contains(&takes), "{scenario} {cast:?}: {takes} s");
        }
    }

    #[test]
    fn no_case_takes_longer_than_it_is_given() {
        for scenario in Scenario::all() {
            for cast in [Cast::Kernel, Cast::Client, Cast::Server] {
                for real in [false, true] {
                    let plan = plan(&scenario.id, cast, real);
                    assert!(
                        plan.part(&scenario).is_none() || limit(&scenario, &plan) > expected(&plan),
                        "{plan:?}"
                    );
                    let least = plan.part(&scenario).map(|part| part.watch);
                    let compressed = cast.of(&scenario).map(|part| part.watch);
                    assert!(least >= compressed, "{plan:?}");
                }
            }
        }
    }

    #[test]
    fn lengths_are_laid_side_by_side() {
        let s = |seconds: &[u64]| seconds.iter().copied().map(Duration::from_secs).collect::<Vec<_>>();
        assert_eq!(together(&s(&[]), 6), Duration::ZERO);
        assert_eq!(together(&s(&[1, 2, 9, 3]), 2).as_secs(), 9);
        assert_eq!(together(&s(&[4, 4, 4]), 2).as_secs(), 8);
        assert_eq!(together(&s(&[5, 5]), 0).as_secs(), 10);
    }
}
