//! What a part becomes where there is one machine: client and server on its loopback, nothing seen of packets, nothing
//! in their way.

use super::{Lines, Part, Pattern, Step};

/// The part for one machine.
///
/// # Errors
/// Why it cannot be shown there.
pub(super) fn adapt(part: &Part) -> Result<Part, String> {
    if part.several || part.actors.values().any(|calls| calls.contains("nobody")) {
        return Err("it needs addresses that nobody answers at".to_owned());
    }
    if part.lines == Some(Lines::Flood) {
        return Err("no wire slows down what is poured".to_owned());
    }
    let pattern = |pattern: &Pattern| {
        pattern.without_wire().ok_or_else(|| format!("`{}` is seen on a wire only", pattern.text))
    };
    let step = |step: &Step| {
        if step.action.needs_host() {
            let action = step.text.split_once("->").map_or(step.text.as_str(), |(_, action)| action);
            return Err(format!("`{}` needs simulated hosts", action.trim()));
        }
        Ok(Step { when: step.when.as_ref().map(pattern).transpose()?, ..step.clone() })
    };
    Ok(Part {
        steps: part.steps.iter().map(step).collect::<Result<_, _>>()?,
        expect: part.expect.iter().map(pattern).collect::<Result<_, _>>()?,
        ..part.clone()
    })
}
