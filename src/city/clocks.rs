//! Failsafe clocks that run out, by the failsafe page, section 2, of those whose rule is settled there: who has not heard what by which day.
//!
//! A clock counts what has come, not what was done: a screen whose message was lost is not known to anybody. A day ends at 23:59:59
//! in London; the first day that is late is the breach.

use jiff::ToSpan;
use jiff::civil::Date;

use super::life::Person;
use super::message::{Planned, Second, What, day_of, zone};
use super::truth::TruthClock;

/// The rule of one clock: how old the child may be, in days, before it is a breach; and what meets it.
struct Rule {
    clock: &'static str,
    /// The last day of grace, counted from the day of birth as day 0.
    days: i32,
    met_by: fn(&Planned) -> bool,
}

fn is_card(message: &Planned) -> bool {
    matches!(message.what, What::BloodSpot { .. })
}

/// A conclusive outcome for PKU, or a screen that was declined.
fn ends_pku(message: &Planned) -> bool {
    let What::BloodSpot { spots, .. } = &message.what else { return false };
    spots.iter().any(|spot| {
        spot.condition == "PKU"
            && matches!(spot.standing, "F" | "C")
            && ["02", "04", "07", "08", "09"].iter().any(|end| spot.status.starts_with(end))
    })
}

fn is_review(message: &Planned, wanted: &str) -> bool {
    matches!(&message.what, What::Review { code, .. } if *code == wanted)
}

/// The clocks that are judged.
pub(super) fn judged() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.clock)
}

const RULES: [Rule; 6] = [
    // By the end of day 8 without evidence of a sample.
    Rule { clock: "NBS_SAMPLE", days: 8, met_by: is_card },
    // A conclusive PKU outcome by the end of day 17.
    Rule { clock: "NBS_RESULT", days: 17, met_by: ends_pku },
    Rule { clock: "NIPE_68", days: 70, met_by: |message| matches!(message.what, What::Examination { is_infant: true, .. }) },
    Rule { clock: "HV_NBV", days: 14, met_by: |message| is_review(message, "0023") },
    Rule { clock: "HV_68", days: 56, met_by: |message| is_review(message, "0022") },
    Rule { clock: "GP_REG", days: 42, met_by: |message| message.is_about_the_person() && message.said.practice.is_some() },
];

/// The clocks of a child that run out before `end`; `filed` are its messages in the order of the network.
pub(super) fn of(person: &Person, filed: &[&Planned], end: Second) -> Vec<TruthClock> {
    let zone = zone();
    // The clock of the city comes to stand at its end: what runs out with that second is seen.
    let ends = day_of(end, &zone);
    let death = filed
        .iter()
        .find(|message| matches!(message.what, What::NationalDeath { .. } | What::Discharge { is_dead: true }))
        .map(|message| message.at);
    // Nobody waits for a child that died.
    let stops = death.map(|at| day_of(at, &zone));
    let known = filed.first().map(|message| day_of(message.at, &zone)).unwrap_or(ends);
    let clock = |rule: &Rule| {
        let due = person.born.checked_add(rule.days.days()).ok()?;
        // A child that comes on record late is late at once.
        let breach: Date = due.checked_add(1.day()).ok()?.max(known);
        let met = filed.iter().filter(|message| (rule.met_by)(message)).map(|message| day_of(message.at, &zone)).min();
        let is_late = met.is_none_or(|met| due < met) && breach <= ends && stops.is_none_or(|stops| breach <= stops);
        is_late.then(|| TruthClock {
            clock: rule.clock.to_owned(),
            breach: breach.to_string(),
            closed: met.filter(|met| *met <= ends).map(|met| met.to_string()),
        })
    };
    RULES.iter().filter_map(clock).collect()
}
