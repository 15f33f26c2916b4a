//! Which outcome of a condition counts, of all blood spot samples of a child (HL7 v2 page, section 5.1).
//!
//! # What always holds
//!
//! - The outcome that counts is that of the latest *sample*, not of the latest message, and only a final one counts
//!   while there is one: a repeat that was insufficient does not take back what an earlier sample proved.
//! - A later sample that said something else is named beside it, so that nobody reads an old "not suspected" alone.
//!
//! # Not here
//!
//! Corrections inside one sample: who keeps the samples has applied them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BloodSpotResult, ConditionOutcome, ResultStatus};

/// NBS status codes that end the screening of a condition.
const FINAL: [&str; 6] = ["04", "05", "06", "07", "08", "10"];

/// What counts of one condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentOutcome {
    /// The outcome.
    pub outcome: ConditionOutcome,
    /// The publisher's key of its sample.
    pub key: Option<String>,
    /// When that sample was taken, as it was said.
    pub taken: Option<String>,
    /// True where it is final; otherwise nothing final is known of this condition.
    pub is_final: bool,
    /// Outcomes of samples after it, none of them final: a repeat that is asked for, one that no table knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<ConditionOutcome>,
}

/// The outcome that counts of each condition; the order of `results` does not matter. Outcomes that were taken back or
/// belong to somebody else count for nothing.
pub fn current_outcomes<'r>(results: impl IntoIterator<Item = &'r BloodSpotResult>) -> BTreeMap<String, CurrentOutcome> {
    let mut results: Vec<&BloodSpotResult> = results.into_iter().collect();
    results.sort_by_key(|result| sampled(result));
    let mut said: BTreeMap<&str, Vec<(&BloodSpotResult, &ConditionOutcome)>> = BTreeMap::new();
    for result in results {
        for outcome in result.outcomes.iter().filter(|outcome| !outcome.result_status.takes_back()) {
            said.entry(&outcome.condition).or_default().push((result, outcome));
        }
    }
    let counts = said.into_iter().filter_map(|(condition, said)| {
        let at = said.iter().rposition(|(_, outcome)| is_final(outcome)).or(said.len().checked_sub(1))?;
        let (result, outcome) = said.get(at)?;
        let later = said.get(at + 1..).unwrap_or_default().iter().map(|(_, outcome)| (*outcome).clone()).collect();
        let current = CurrentOutcome {
            outcome: (*outcome).clone(),
            key: result.key.clone(),
            taken: result.sample.taken.as_ref().map(|taken| taken.value.clone()),
            is_final: is_final(outcome),
            later,
        };
        Some((condition.to_owned(), current))
    });
    counts.collect()
}

/// True for an outcome that ends the screening of its condition: final or corrected, and one of the codes for it.
pub fn is_final(outcome: &ConditionOutcome) -> bool {
    matches!(outcome.result_status, ResultStatus::Final | ResultStatus::Corrected)
        && outcome.nbs_status.as_deref().is_some_and(|status| FINAL.contains(&status))
}

/// When the sample was taken, else received, else reported; then the key, so that no order of arrival shows.
fn sampled(result: &BloodSpotResult) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>, Option<String>) {
    let at = |moment: &Option<super::Instant>| moment.as_ref().and_then(super::Instant::timestamp);
    let received = at(&result.sample.received).or_else(|| at(&result.received_at));
    (at(&result.sample.taken).or(received), received, result.key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{Instant, Precision, Sample};

    fn sample(key: &str, taken: &str, outcomes: &[(&str, &str, ResultStatus)]) -> BloodSpotResult {
        let taken = Instant { value: taken.to_owned(), precision: Precision::Day, raw: None };
        let outcome = |(condition, status, result_status): &(&str, &str, ResultStatus)| ConditionOutcome {
            condition: (*condition).to_owned(),
            nbs_status: Some((*status).to_owned()),
            result_status: *result_status,
            ..ConditionOutcome::default()
        };
        BloodSpotResult {
            key: Some(key.to_owned()),
            sample: Sample { taken: Some(taken), ..Sample::default() },
            outcomes: outcomes.iter().map(outcome).collect(),
            ..BloodSpotResult::default()
        }
    }

    /// `PKU 04 of A, later 03`, in both orders of arrival.
    #[track_caller]
    fn check(mut results: Vec<BloodSpotResult>, expected: &[&str]) {
        for _order in 0..2 {
            let words: Vec<String> = current_outcomes(&results)
                .iter()
                .map(|(condition, current)| {
                    let status = current.outcome.nbs_status.as_deref().unwrap_or_default();
                    let later: String =
                        current.later.iter().map(|later| format!(", later {}", later.nbs_status.as_deref().unwrap_or_default())).collect();
                    let open = if current.is_final { "" } else { " open" };
                    format!("{condition} {status}{open} of {}{later}", current.key.as_deref().unwrap_or_default())
                })
                .collect();
            assert_eq!(words, expected);
            results.reverse();
        }
    }

    use ResultStatus::{CannotObtain, Corrected, Deleted, Final, Prelim, WrongPatient};

    #[test]
    fn a_later_repeat_request_does_not_overwrite_a_final_outcome_and_is_told() {
        check(
            vec![sample("A", "2026-01-10", &[("PKU", "04", Final)]), sample("B", "2026-01-20", &[("PKU", "03", Final)])],
            &["PKU 04 of A, later 03"],
        );
        // The repeat sample gave the answer that the first one could not.
        check(
            vec![sample("A", "2026-01-10", &[("PKU", "03", Final)]), sample("B", "2026-01-20", &[("PKU", "08", Final)])],
            &["PKU 08 of B"],
        );
    }

    #[test]
    fn of_two_final_outcomes_the_later_sample_counts_whatever_the_codes() {
        check(vec![sample("A", "2026-01-10", &[("CF", "08", Final)]), sample("B", "2026-01-20", &[("CF", "04", Final)])], &["CF 04 of B"]);
    }

    #[test]
    fn what_was_taken_back_or_is_not_final_yet_is_no_final_outcome() {
        for status in [Deleted, WrongPatient] {
            check(
                vec![sample("A", "2026-01-10", &[("PKU", "04", Final)]), sample("B", "2026-01-20", &[("PKU", "08", status)])],
                &["PKU 04 of A"],
            );
            check(vec![sample("A", "2026-01-10", &[("PKU", "04", status)])], &[]);
        }
        for status in [Prelim, CannotObtain] {
            check(vec![sample("A", "2026-01-10", &[("PKU", "04", status)])], &["PKU 04 open of A"]);
        }
        check(vec![sample("A", "2026-01-10", &[("PKU", "08", Corrected)])], &["PKU 08 of A"]);
    }

    #[test]
    fn conditions_are_counted_each_by_itself_and_an_outcome_no_table_knows_stays_in_sight() {
        check(
            vec![
                sample("A", "2026-01-10", &[("PKU", "04", Final), ("SCD", "03", Final)]),
                sample("B", "2026-01-20", &[("PKU", "unclassified", Final), ("SCD", "06", Final)]),
                sample("C", "2026-01-05", &[("SCD", "02", Final)]),
            ],
            &["PKU 04 of A, later unclassified", "SCD 06 of B"],
        );
    }

    #[test]
    fn every_final_code_of_the_programme_is_one() {
        for code in ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "unclassified"] {
            let current = current_outcomes(&[sample("A", "2026-01-10", &[("PKU", code, Final)])]);
            assert_eq!(current["PKU"].is_final, ["04", "05", "06", "07", "08", "10"].contains(&code), "{code}");
        }
    }
}
