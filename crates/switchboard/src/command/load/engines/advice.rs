//! [`Advice`]: which engine for which case, computed from the rounds.
//!
//! The best of a case is the one with the highest median; level with it is who reached 97 % of it in at least a
//! quarter of the rounds. Among those the one that costs the server least is named. Where other work disturbed the
//! machine, nothing is said but that.

use super::case::Kind;
use super::contestant::Contestant;
use super::results::{Findings, Row, number};
use serde_json::{Value, json};

/// The share of the best from which on one is level with it.
const LEVEL: f64 = 0.97;
/// Bytes for each connection that nobody would choose an engine for.
const LITTLE_BYTES: f64 = 1_024.0;

/// A sentence, and what it is about.
#[derive(Debug)]
pub(super) struct Advice {
    /// The case; none: all of them.
    case: Option<&'static str>,
    /// Whom it names.
    choice: Option<String>,
    pub(super) sentence: String,
}

impl Advice {
    pub(super) fn json(&self) -> Value {
        json!({"case": self.case, "choice": self.choice, "sentence": self.sentence})
    }
}

/// One sentence for each case, and one for all.
pub(super) fn of(findings: &[Findings], contestants: &[Contestant]) -> Vec<Advice> {
    let mut all = Vec::new();
    let mut level: Vec<Vec<usize>> = Vec::new();
    let mut concluded = 0;
    for findings in findings {
        let case = Some(findings.case.name);
        if findings.disturbance.is_too_much() {
            let sentence = format!(
                "{}: cannot tell, other work had {:.0} % of the processors",
                capital(&findings.heading()),
                (findings.disturbance.foreign + findings.disturbance.stolen) * 100.0
            );
            all.push(Advice { case, choice: None, sentence });
            continue;
        }
        let Some(found) = choice(findings, contestants) else { continue };
        concluded += 1;
        level.push(found.level);
        all.push(Advice {
            case,
            choice: Some(contestants[found.choice].title.clone()),
            sentence: found.sentence,
        });
    }
    if concluded > 1 {
        all.extend(overall(&level, contestants));
    }
    all
}

struct Found {
    choice: usize,
    /// Of ours, whoever would do as well.
    level: Vec<usize>,
    sentence: String,
}

fn choice(findings: &Findings, contestants: &[Contestant]) -> Option<Found> {
    let score = |row: &Row| match findings.case.kind {
        Kind::Hold => row.memory.map(|(_, each)| -each.max(1.0)),
        _ => row.rate().map(|rate| rate.median),
    };
    let rows = &findings.rows;
    let own = |index: &usize| contestants[*index].is_own() && rows[*index].failed == 0;
    let by_score = |a: &usize, b: &usize| score(&rows[*a]).partial_cmp(&score(&rows[*b])).expect("no NaN");
    let ranked = (0..rows.len()).filter(own).filter(|index| score(&rows[*index]).is_some());
    let best = ranked.clone().max_by(by_score)?;
    let is_level = |index: &usize| match findings.case.kind {
        Kind::Hold => rows[*index].memory.is_some_and(|(_, each)| each <= LITTLE_BYTES) || *index == best,
        _ => rows[*index].over(&rows[best], |sample| sample.rate).is_some_and(|ratio| ratio.high >= LEVEL),
    };
    let level: Vec<usize> = ranked.clone().filter(is_level).collect();
    let cost = |index: &usize| rows[*index].cpu_us().map_or(f64::INFINITY, |cpu| cpu.median);
    let choice = match findings.case.kind {
        Kind::Hold => best,
        _ => level.iter().copied().min_by(|a, b| cost(a).total_cmp(&cost(b)))?,
    };
    let title = |index: usize| contestants[index].title.as_str();
    let mut sentence = format!("{}: {}", capital(&findings.heading()), title(choice));
    let row = &rows[choice];
    match findings.case.kind {
        Kind::Hold => {
            let each = row.memory.map_or(f64::NAN, |(_, each)| each);
            sentence.push_str(&format!(" ({} bytes of memory each)", number(each)));
        }
        _ => sentence.push_str(&format!(
            " ({} a second, {} µs of the server's processor each)",
            number(row.rate()?.median),
            number(row.cpu_us()?.median)
        )),
    }
    let others: Vec<&str> =
        level.iter().filter(|index| **index != choice).map(|index| title(*index)).collect();
    if !others.is_empty() {
        sentence.push_str(&format!("; level with it: {}", others.join(", ")));
    }
    if let Some(last) = ranked.min_by(by_score).filter(|last| !level.contains(last)) {
        let times = match findings.case.kind {
            Kind::Hold => score(&rows[last])? / score(&rows[best])?,
            _ => 1.0 / rows[last].over(&rows[best], |sample| sample.rate)?.median,
        };
        let word = if findings.case.kind == Kind::Hold { "times the memory" } else { "times slower" };
        sentence.push_str(&format!("; {} {word}: {}", number(times), title(last)));
    }
    for (index, peer) in contestants.iter().enumerate().filter(|(_, contestant)| !contestant.is_own()) {
        let ratio = match findings.case.kind {
            Kind::Hold => rows[index].memory.zip(row.memory).map(|((_, a), (_, b))| a / b.max(1.0)),
            _ => rows[index].over(row, |sample| sample.rate).map(|ratio| ratio.median),
        };
        if let Some(ratio) = ratio {
            let word = if findings.case.kind == Kind::Hold { "memory" } else { "rate" };
            sentence.push_str(&format!("; {} has {ratio:.2} × its {word}", peer.title));
        }
    }
    Some(Found { choice, level, sentence: sentence + "." })
}

/// Who is level with the best most often; of equals the one that stands first in the table is the simplest.
fn overall(level: &[Vec<usize>], contestants: &[Contestant]) -> Option<Advice> {
    let times = |index: usize| level.iter().filter(|case| case.contains(&index)).count();
    let most = (0..contestants.len()).map(times).max().filter(|most| *most > 0)?;
    // Busy polling is never for everything: it keeps a processor awake.
    let choice =
        (0..contestants.len()).find(|index| times(*index) == most && !contestants[*index].is_busy())?;
    let title = &contestants[choice].title;
    let sentence = if most == level.len() {
        format!("If one is to be for everything: {title}, level with the best in all {most} cases.")
    } else {
        format!(
            "If one is to be for everything: {title}, level with the best in {most} of {} cases.",
            level.len()
        )
    };
    Some(Advice { case: None, choice: Some(title.clone()), sentence })
}

pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::super::case::CASES;
    use super::super::machine::Disturbance;
    use super::super::results::Sample;
    use super::*;
    use switchboard_net::EngineRow;

    fn contestant(name: &str) -> Contestant {
        Contestant::engine(EngineRow::find(name).expect("a row"), Some(1), false)
    }

    fn asked(rates: &[&[f64]], costs: &[f64], foreign: f64) -> Findings {
        let rows = rates.iter().zip(costs).map(|(rates, cpu_us)| {
            let mut row = Row::new(50);
            row.samples =
                rates.iter().map(|rate| Sample { rate: *rate, cpu_us: *cpu_us }).enumerate().collect();
            row
        });
        let disturbance = Disturbance { foreign, stolen: 0.0 };
        let case = CASES.iter().find(|case| case.name == "many").expect("a case");
        Findings { case, connections: 50, rows: rows.collect(), disturbance }
    }

    #[test]
    fn among_those_that_are_level_the_cheaper_one_is_named() {
        let contestants = ["fork", "epoll", "uring"].map(contestant);
        let rates: [&[f64]; 3] = [&[50.0, 50.0, 50.0], &[99.0, 100.0, 98.0], &[100.0, 99.0, 100.0]];
        let advice = of(&[asked(&rates, &[9.0, 4.0, 5.0], 0.01)], &contestants);
        assert_eq!(advice.len(), 1);
        assert_eq!(advice[0].choice.as_deref(), Some("epoll"));
        let sentence = &advice[0].sentence;
        assert!(sentence.contains("level with it: uring; 2.0 times slower: fork."), "{sentence}");
    }

    #[test]
    fn a_clear_best_stands_alone_and_one_for_all_is_found() {
        let contestants = ["epoll", "uring"].map(contestant);
        let calm = |rates: &[&[f64]]| asked(rates, &[5.0, 4.0], 0.0);
        let advice = of(&[calm(&[&[80.0, 81.0], &[100.0, 100.0]]), calm(&[&[100.0], &[99.0]])], &contestants);
        assert_eq!(advice[0].choice.as_deref(), Some("uring"));
        assert!(!advice[0].sentence.contains("level"), "{advice:?}");
        assert!(advice[2].sentence.contains("uring, level with the best in all 2 cases"), "{advice:?}");
    }

    #[test]
    fn a_disturbed_machine_proves_nothing() {
        let advice = of(&[asked(&[&[1.0], &[2.0]], &[1.0, 1.0], 0.5)], &["epoll", "uring"].map(contestant));
        assert_eq!(advice[0].choice, None);
        assert!(advice[0].sentence.contains("cannot tell, other work had 50 %"), "{advice:?}");
    }
}
