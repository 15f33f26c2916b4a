//! What a child health service needs of a message beyond what its mappings ask for: things that do not hold a message
//! and make the next one hard to match, order or route.
//!
//! Sources: HL7 messages, section 3 (fields of MSH, EVN, PID, PD1), sections 4 and 5.1; identity rules, sections 1, 4
//! and 5; protocol rules, section 8.

use super::lint::{Issue, Kind, Severity};
use super::standard::shown;
use crate::hl7::Message;

/// One thing to look at: code, place, severity, what is wrong, what to change.
struct Habit {
    code: &'static str,
    place: &'static str,
    severity: Severity,
    what: &'static str,
    change: &'static str,
    /// True where the message has the habit.
    is_so: fn(&Seen<'_>) -> bool,
}

/// A message as habits look at it.
struct Seen<'m> {
    message: &'m Message,
    kind: String,
}

impl Seen<'_> {
    /// Values of a component of all repetitions in the first such segment; empty ones left out.
    fn all(&self, segment: &str, field: usize, component: usize) -> Vec<String> {
        let first = self.message.segments_named(segment).next().and_then(|at| self.message.field(at, field));
        let repetitions = first.map_or_else(Vec::new, |field| self.message.repetitions(field));
        let value = |repetition| Some(self.message.component(repetition, component, None)?.text.trim().to_owned());
        repetitions.into_iter().filter_map(value).filter(|text| !text.is_empty() && text != "\"\"").collect()
    }

    fn has(&self, segment: &str, field: usize) -> bool {
        let mut segments = self.message.segments_named(segment);
        segments.any(|at| self.message.field(at, field).is_some_and(|whole| !whole.text.trim().is_empty()))
    }

    fn is(&self, code: &str) -> bool {
        self.kind.starts_with(code)
    }

    /// Repetitions of PID-3 that are an NHS number.
    fn has_nhs_number(&self) -> bool {
        let by_authority = self.all("PID", 3, 4).iter().any(|authority| authority == "NHS");
        by_authority || self.all("PID", 3, 5).iter().any(|kind| kind == "NH" || kind == "NHS")
    }
}

const HABITS: &[Habit] = &[
    Habit {
        code: "no-event-time",
        place: "EVN-6",
        severity: Severity::Should,
        what: "does not say when the event happened",
        change: "fill it: late and repeated messages are put in order by it; without it the time of sending counts",
        is_so: |seen| seen.is("ADT") && !seen.has("EVN", 6),
    },
    Habit {
        code: "no-nhs-number",
        place: "PID-3",
        severity: Severity::Should,
        what: "has no NHS number",
        change: "send it as soon as it is known, as number^^^NHS^NH; until then the child is known by the local identifier only",
        is_so: |seen| !seen.is("SIU") && seen.has("PID", 3) && !seen.has_nhs_number(),
    },
    Habit {
        code: "no-number-status",
        place: "PID-32",
        severity: Severity::Should,
        what: "does not say whether the NHS number was traced",
        change: "send NSTS01 to NSTS08; a number without status proves nothing by itself",
        is_so: |seen| seen.has_nhs_number() && !seen.has("PID", 32),
    },
    Habit {
        code: "no-authority",
        place: "PID-3.4",
        severity: Severity::Should,
        what: "has an identifier without its assigning authority",
        change: "send the ODS code of who gave the identifier; two hospitals use the same numbers",
        is_so: |seen| seen.all("PID", 3, 1).len() > seen.all("PID", 3, 4).len(),
    },
    Habit {
        code: "no-birth-date",
        place: "PID-7",
        severity: Severity::Should,
        what: "is empty",
        change: "send the date of birth with every message about a person",
        is_so: |seen| seen.has("PID", 3) && !seen.has("PID", 7),
    },
    Habit {
        code: "no-postcode",
        place: "PID-11.5",
        severity: Severity::Should,
        what: "has an address without its postcode",
        change: "send the postcode: it decides which hub is responsible",
        is_so: |seen| seen.has("PID", 11) && seen.all("PID", 11, 5).is_empty(),
    },
    Habit {
        code: "no-address-use",
        place: "PID-11.7",
        severity: Severity::May,
        what: "does not say what the address is for",
        change: "send H for the home address, TMP for a temporary one",
        is_so: |seen| seen.has("PID", 11) && seen.all("PID", 11, 7).is_empty(),
    },
    Habit {
        code: "no-name-type",
        place: "PID-5.7",
        severity: Severity::May,
        what: "does not say which name it is",
        change: "send L for the legal name, PREFERRED for the other",
        is_so: |seen| seen.has("PID", 5) && seen.all("PID", 5, 7).is_empty(),
    },
    Habit {
        code: "no-practice",
        place: "PD1-3.3",
        severity: Severity::Should,
        what: "does not name the registered practice",
        change: "send its ODS code: it decides which hub is responsible",
        is_so: |seen| ["ADT^A28", "ADT^A31"].contains(&seen.kind.as_str()) && seen.all("PD1", 3, 3).is_empty(),
    },
    Habit {
        code: "protection-in-pd1",
        place: "PD1-12",
        severity: Severity::Should,
        what: "is filled",
        change: "say protection in ZU8-4; PD1-12 is not for use in the United Kingdom, and is read as hidden to be safe",
        is_so: |seen| seen.has("PD1", 12),
    },
    Habit {
        code: "no-mother",
        place: "PID-21",
        severity: Severity::Should,
        what: "does not say who the mother of the newborn is",
        change: "send her identifier, id^^^authority^type: twins and babies without a number are told apart by it",
        is_so: |seen| seen.is("ADT") && seen.has("ZU7", 2) && !seen.has("PID", 21),
    },
    Habit {
        code: "no-birth-order",
        place: "PID-25",
        severity: Severity::Should,
        what: "does not say the birth order of a baby of a multiple birth",
        change: "send it: of two babies of one birth nothing else tells who is who",
        is_so: |seen| seen.all("PID", 24, 1).iter().any(|word| word == "Y") && !seen.has("PID", 25) && !seen.has("ZU7", 9),
    },
    Habit {
        code: "no-accession",
        place: "OBR-3",
        severity: Severity::Should,
        what: "has no accession number of the laboratory or service",
        change: "send it in each OBR: a correction replaces the result that has the same number",
        is_so: |seen| seen.is("ORU") && !seen.has("OBR", 3),
    },
    Habit {
        code: "no-structure",
        place: "MSH-9.3",
        severity: Severity::May,
        what: "does not name the structure of the message",
        change: "send all three parts, ADT^A28^ADT_A05",
        is_so: |seen| seen.all("MSH", 9, 3).is_empty(),
    },
];

/// What this message shows of the habits.
pub(super) fn of(message: &Message) -> impl Iterator<Item = Issue> {
    let seen = Seen { message, kind: message.header().message_type() };
    HABITS.iter().filter(move |habit| (habit.is_so)(&seen)).map(|habit| Issue {
        severity: habit.severity,
        kind: Kind::Habit,
        code: habit.code.to_owned(),
        place: habit.place.to_owned(),
        what: format!("{} {}", shown(habit.place), habit.what),
        change: habit.change.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::ReadOptions;

    fn codes(text: &str) -> Vec<String> {
        let message = Message::read(text.as_bytes(), &ReadOptions::default()).unwrap();
        of(&message).map(|issue| issue.code).collect()
    }

    /// A message that nothing is said about; each case takes one thing away.
    const GOOD: &str = "MSH|^~\\&|PAS|RJ1|X|Y|20260105101500||ADT^A28^ADT_A05|1|P|2.4\rEVN||20260105||||20260105\r\
        PID|||9990000026^^^NHS^NH~B1^^^RJ122^MR||EXAMPLE^A^^^^^L||20260105|2|||1 A^^LONDON^^SE1 9ZZ^GBR^H||||||||||9990000018^^^NHS^NH|A||Y|1|||||||NSTS01\r\
        PD1|||S^^G85001\rZU7||1\r";

    #[test]
    fn each_habit_is_seen_by_itself() {
        assert_eq!(codes(GOOD), Vec::<String>::new());
        for (from, to, code) in [
            ("||||20260105\rPID", "\rPID", "no-event-time"),
            ("9990000026^^^NHS^NH~", "", "no-nhs-number"),
            ("|NSTS01", "|", "no-number-status"),
            ("^^^RJ122", "^^^", "no-authority"),
            ("|20260105|2", "||2", "no-birth-date"),
            ("SE1 9ZZ", "", "no-postcode"),
            ("^GBR^H", "", "no-address-use"),
            ("^^^^^L", "", "no-name-type"),
            ("^^G85001", "", "no-practice"),
            ("^^G85001", "^^G85001|||||||||Y", "protection-in-pd1"),
            ("9990000018^^^NHS^NH", "", "no-mother"),
            ("|Y|1", "|Y|", "no-birth-order"),
            ("^ADT_A05", "", "no-structure"),
        ] {
            assert!(GOOD.contains(from), "{code}");
            assert_eq!(codes(&GOOD.replacen(from, to, 1)), [code]);
        }
        assert!(
            codes("MSH|^~\\&|L|RJ1|X|Y|20260105||ORU^R01^ORU_R01|1|P|2.4\rPID|||9990000026^^^NHS^NH\rOBR|1\r")
                .contains(&"no-accession".to_owned())
        );
    }
}
