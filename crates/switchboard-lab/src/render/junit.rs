//! Findings as JUnit XML: a test suite for the run, a test case for each scenario and subject.
//!
//! The dialect is that of the Jenkins and GitLab readers: `failure` for what is bad, `skipped` for what could not be
//! tested, so that nobody counts it as passed.

use super::finding::{Chapter, Class, Finding};
use super::wording::{self, escaped};
use crate::scenario::Scenario;
use std::fmt::Write;

/// The document; `suite` names the run.
pub fn document(suite: &str, chapters: &[Chapter<'_>]) -> String {
    let mut cases = String::new();
    let (mut total, mut failures, mut skipped) = (0, 0, 0);
    let mut run_ns = 0;
    for chapter in chapters {
        let header = &chapter.recording.header;
        let last = chapter.recording.events.iter().map(|event| event.at_ns).max().unwrap_or(0);
        let took_ns = last.saturating_sub(header.began_at_ns);
        run_ns += took_ns;
        let none = Finding {
            word: "INCONCLUSIVE".to_owned(),
            subject: "run".to_owned(),
            sentence: "nothing was found".to_owned(),
            cites: Vec::new(),
            remedy: None,
            class: Class::Unknown,
        };
        let none = std::slice::from_ref(&none);
        let id = header.scenario.split(':').next().unwrap_or_default();
        let gives_up = Scenario::exactly(id).map_or(String::new(), |scenario| {
            let time = escaped(&scenario.default.by_default());
            format!("      <property name=\"gives up by default\" value=\"{time}\"/>\n")
        });
        for finding in if chapter.findings.is_empty() { none } else { chapter.findings } {
            total += 1;
            failures += usize::from(finding.class == Class::Bad);
            skipped += usize::from(finding.class == Class::Unknown);
            let _ = write!(
                cases,
                "  <testcase classname=\"{}\" name=\"{}: {}\" time=\"{}\">\n    <properties>\n      \
                 <property name=\"seed\" value=\"{}\"/>\n      <property name=\"kernel\" value=\"{}\"/>\n      \
                 <property name=\"verdict\" value=\"{}\"/>\n{gives_up}    </properties>\n",
                escaped(&header.scenario),
                escaped(&finding.subject),
                escaped(&header.title),
                wording::moment(took_ns),
                header.seed,
                escaped(&header.kernel),
                escaped(&finding.word),
            );
            cases.push_str(&outcome(finding));
            cases.push_str("  </testcase>\n");
        }
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{total}\" \
         failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{}\">\n{cases}</testsuite>\n",
        escaped(suite),
        wording::moment(run_ns),
    )
}

fn outcome(finding: &Finding) -> String {
    let (word, sentence) = (escaped(&finding.word), escaped(&finding.sentence));
    let remedy =
        finding.remedy.as_deref().map_or(String::new(), |text| format!("\nremedy: {}", escaped(text)));
    match finding.class {
        Class::Good => format!("    <system-out>{word}: {sentence}</system-out>\n"),
        Class::Unknown => format!("    <skipped message=\"{word}: {sentence}\"/>\n"),
        Class::Bad => {
            format!("    <failure type=\"{word}\" message=\"{sentence}\">{sentence}{remedy}</failure>\n")
        }
    }
}
