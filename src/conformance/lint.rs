//! Messages of a sender, one after the other, and what they have in common that does not fit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::standard::{name_of, plain_place};
use super::{habits, words};
use crate::canon::{Child, Statement};
use crate::hl7::{self, Header, Limits, Message, ReadOptions};
use crate::mapping::{Bundle, Coverage, Input, Outcome};
use crate::names::Format;

/// Examples kept of each issue.
const EXAMPLES_MAX: usize = 3;
/// Control ids remembered; a longer run says nothing of reuse beyond them.
const CONTROL_IDS_MAX: usize = 500_000;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The message is refused or waits for a person.
    Must,
    /// The message is filed, and something of it is lost or cannot be relied on.
    Should,
    /// Worth knowing.
    May,
}

/// Who found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The form of the message: what intake refuses or warns about.
    Form,
    /// What the mapping could not use.
    Content,
    /// What is missing for matching, ordering and routing.
    Habit,
}

/// One thing that does not fit, wherever it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Issue {
    /// How much it matters.
    pub severity: Severity,
    /// Who found it.
    pub kind: Kind,
    /// Stable code, `unmapped-code`.
    pub code: String,
    /// `PID-8`, without numbers of repetitions.
    pub place: String,
    /// What is wrong; quotes nothing but codes.
    pub what: String,
    /// What the sender should change.
    pub change: String,
}

/// How often an issue was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// What.
    #[serde(flatten)]
    pub issue: Issue,
    /// In how many messages.
    pub messages: usize,
    /// How often altogether.
    pub times: usize,
    /// Of which types those messages are.
    pub types: BTreeSet<String>,
    /// Where to look: the first few messages, as the caller calls them.
    pub examples: Vec<String>,
}

/// What became of messages of one type.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OfType {
    /// Read.
    pub messages: usize,
    /// The mapping read them and nothing holds them.
    pub mapped: usize,
    /// They would wait for a person.
    pub held: usize,
    /// A rule says that they have nothing for a child's record.
    pub ignored: usize,
    /// They would not be accepted.
    pub refused: usize,
}

/// A field that is sent and that no rule reads.
#[derive(Clone, Debug, Serialize)]
pub struct Unread {
    /// Message type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `PID-40`.
    pub place: String,
    /// The standard's name of it.
    pub name: String,
    /// In how many messages it is filled.
    pub messages: usize,
}

/// All that was found, most important first.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages looked at.
    pub messages: usize,
    /// By type.
    pub types: BTreeMap<String, OfType>,
    /// What does not fit.
    pub issues: Vec<Seen>,
    /// What is sent and not read.
    pub unread: Vec<Unread>,
}

/// See the file.
pub struct Lint<'b> {
    bundle: &'b Bundle,
    messages: usize,
    types: BTreeMap<String, OfType>,
    issues: HashMap<Issue, Seen>,
    unread: BTreeMap<(String, String), usize>,
    control_ids: HashMap<String, [u8; 8]>,
}

impl<'b> Lint<'b> {
    /// Nothing seen yet.
    pub fn new(bundle: &'b Bundle) -> Self {
        Self { bundle, messages: 0, types: BTreeMap::new(), issues: HashMap::new(), unread: BTreeMap::new(), control_ids: HashMap::new() }
    }

    /// Looks at a message; `name` is how the caller finds it again (`file.hl7`, `message 17`).
    pub fn take(&mut self, input: &Input<'_>, name: &str) {
        self.take_from(None, input, name);
    }

    /// As [`Self::take`], of a source of the configuration.
    pub fn take_from(&mut self, source: Option<&str>, input: &Input<'_>, name: &str) {
        self.messages += 1;
        let mut issues = Vec::new();
        let (kind, refused) = match input.format {
            Format::Hl7v2 => self.form(input, &mut issues),
            _ => (String::new(), false),
        };
        let reading = self.bundle.read_from(source, input, false);
        let kind = if kind.is_empty() { self.bundle.kind(input).unwrap_or_else(|| "unreadable".to_owned()) } else { kind };
        let count = self.types.entry(kind.clone()).or_default();
        count.messages += 1;
        match (&reading.outcome, refused) {
            (_, true) => count.refused += 1,
            (Outcome::Mapped, _) => count.mapped += 1,
            (Outcome::Held, _) => count.held += 1,
            (Outcome::Ignored(_), _) => count.ignored += 1,
        }
        let is_read = !refused && !matches!(reading.outcome, Outcome::Ignored(_));
        if is_read {
            let form = if input.format == Format::Hl7v2 { words::Form::Hl7v2 } else { words::Form::Fhir };
            let findings = match form {
                words::Form::Hl7v2 => reading.findings.clone(),
                words::Form::Fhir => self.bundle.findings_for_sender(input, &reading),
            };
            issues.extend(findings.iter().filter_map(|finding| words::of_finding(finding, form)));
        }
        if is_read && reading.mapping.is_some() {
            if input.format == Format::Hl7v2 {
                self.habits(input, &reading.statements, &mut issues);
            }
            self.note_unread(source, input, &kind);
        }
        self.count(issues, &kind, name);
    }

    /// What intake would say of the form. True where it would refuse.
    fn form(&mut self, input: &Input<'_>, issues: &mut Vec<Issue>) -> (String, bool) {
        let form = |severity, fault: &hl7::Fault| {
            let place = if fault.field == 0 { fault.segment.clone() } else { format!("{}-{}", fault.segment, fault.field) };
            let change = "see the rules for the form of messages in docs/senders.md".to_owned();
            Issue { severity, kind: Kind::Form, code: fault.code.to_string(), place, what: fault.text.clone(), change }
        };
        let header = match Header::read(input.body) {
            Ok(header) => header,
            Err(why) => {
                issues.push(form(Severity::Must, &hl7::Fault::new(100, "MSH", 0, why.to_string())));
                return ("unreadable".to_owned(), true);
            }
        };
        let refused = match hl7::check(input.body, &header, &Limits::default()) {
            Ok(warnings) => {
                issues.extend(warnings.iter().map(|fault| form(Severity::May, fault)));
                false
            }
            Err(fault) => {
                issues.push(form(Severity::Must, &fault));
                true
            }
        };
        if self.is_reused(&header, input.body) {
            let text = "the same control id came with another content; a repeated message is then not known as one";
            issues.push(form(Severity::Should, &hl7::Fault::new(205, "MSH", 10, text)));
        }
        (header.message_type(), refused)
    }

    /// The same control id with other bytes (protocol rules, section 3).
    fn is_reused(&mut self, header: &Header, body: &[u8]) -> bool {
        let id = format!("{}\u{1F}{}\u{1F}{}", header.sending_application, header.sending_facility, header.control_id);
        let hash: [u8; 8] = Sha256::digest(body).first_chunk().copied().unwrap_or_default();
        if self.control_ids.len() >= CONTROL_IDS_MAX {
            return self.control_ids.get(&id).is_some_and(|known| *known != hash);
        }
        *self.control_ids.entry(id).or_insert(hash) != hash
    }

    /// What a child health service needs and this message does not say.
    fn habits(&mut self, input: &Input<'_>, said: &[Statement], issues: &mut Vec<Issue>) {
        let options = ReadOptions { default_charset: input.default_charset.map(str::to_owned), ..ReadOptions::default() };
        if let Ok(message) = Message::read(input.body, &options) {
            issues.extend(habits::of(&message).filter(|issue| !is_said_elsewhere(&issue.code, said)));
        }
    }

    /// The fields that nobody reads.
    fn note_unread(&mut self, source: Option<&str>, input: &Input<'_>, kind: &str) {
        let unread: BTreeSet<String> = self
            .bundle
            .coverage_from(source, input)
            .into_iter()
            .filter(|(_, coverage)| *coverage == Coverage::Unmapped)
            .map(|(place, _)| plain_place(&place))
            .collect();
        for place in unread {
            *self.unread.entry((kind.to_owned(), place)).or_default() += 1;
        }
    }

    fn count(&mut self, issues: Vec<Issue>, kind: &str, name: &str) {
        let mut of_this_message = BTreeSet::new();
        for issue in issues {
            let is_first = of_this_message.insert(issue.clone());
            let new = || Seen { issue: issue.clone(), messages: 0, times: 0, types: BTreeSet::new(), examples: Vec::new() };
            let seen = self.issues.entry(issue.clone()).or_insert_with(new);
            seen.times += 1;
            if is_first {
                seen.messages += 1;
                seen.types.insert(kind.to_owned());
                if seen.examples.len() < EXAMPLES_MAX {
                    seen.examples.push(name.to_owned());
                }
            }
        }
    }

    /// What was found so far.
    pub fn report(&self) -> Report {
        let mut issues: Vec<Seen> = self.issues.values().cloned().collect();
        issues.sort_by(|a, b| (a.issue.severity, b.messages, &a.issue).cmp(&(b.issue.severity, a.messages, &b.issue)));
        let unread = self.unread.iter().map(|((kind, place), messages)| Unread {
            kind: kind.clone(),
            place: place.clone(),
            name: name_of(place),
            messages: *messages,
        });
        let mut unread: Vec<Unread> = unread.collect();
        unread.sort_by(|a, b| (&a.kind, b.messages, &a.place).cmp(&(&b.kind, a.messages, &b.place)));
        Report { messages: self.messages, types: self.types.clone(), issues, unread }
    }
}

/// True where the mapping found elsewhere what a habit misses: a sender's own file may read the practice out of a Z segment.
fn is_said_elsewhere(code: &str, said: &[Statement]) -> bool {
    let all = |has: fn(&Child) -> bool| !said.is_empty() && said.iter().all(|statement| has(&statement.child));
    match code {
        "no-practice" => all(|child| child.gp.as_ref().is_some_and(|gp| gp.practice_ods.is_some())),
        "no-nhs-number" => all(|child| child.nhs_number().is_some()),
        "no-number-status" => all(|child| child.nhs_number().is_some_and(|(_, status)| status.is_some())),
        "no-birth-date" => all(|child| child.birth.date.is_some()),
        "no-birth-order" => all(|child| child.birth.birth_order.is_some()),
        "no-postcode" => all(|child| child.home().is_some_and(|home| home.postcode.is_some())),
        "no-mother" => all(|child| child.mother().is_some_and(|mother| !mother.identifiers.is_empty())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle::compile(&Bundle::shipped(), "mappings/").unwrap()
    }

    fn input(body: &str) -> Input<'_> {
        Input { format: Format::Hl7v2, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None }
    }

    fn a28(control: &str, sex: &str) -> String {
        format!(
            "MSH|^~\\&|PAS|RJ1|X|Y|20260105101500||ADT^A28^ADT_A05|{control}|P|2.4\rEVN||20260105||||20260105\r\
             PID|||9990000026^^^NHS^NH||EXAMPLE^A^^^^^L||20260105|{sex}|||1 A^^LONDON^^SE1 9ZZ^GBR^H|||||||||||||||||||||NSTS01|||||||X\r\
             PD1|||S^^G85001\r"
        )
    }

    #[test]
    fn an_issue_is_counted_by_messages_and_named_in_the_words_of_the_standard() {
        let bundle = bundle();
        let mut lint = Lint::new(&bundle);
        for (control, sex) in [("1", "2"), ("2", "Q"), ("3", "Q"), ("4", "7")] {
            lint.take(&input(&a28(control, sex)), control);
        }
        let report = lint.report();
        assert_eq!(report.messages, 4);
        let counted = report.types.get("ADT^A28").unwrap();
        assert_eq!((counted.messages, counted.mapped, counted.held), (4, 1, 3), "{report:#?}");
        let worst = report.issues.first().unwrap();
        assert_eq!((worst.messages, worst.examples.as_slice()), (2, ["2".to_owned(), "3".to_owned()].as_slice()));
        assert_eq!(worst.issue.what, "PID-8 (Administrative Sex) has the code Q, which table sex does not know");
        assert!(report.unread.iter().any(|unread| unread.place == "PID-39" && unread.messages == 4), "{report:#?}");
    }

    #[test]
    fn what_a_senders_own_file_reads_elsewhere_is_not_missed() {
        let mut files = Bundle::shipped();
        let site = "[mapping]\nid = \"rj1/adt-person\"\nversion = \"1\"\nschema = 1\nextends = \"adt-person\"\nsender = { facility = \"RJ1\" }\n\
            [override.child]\ngp.practice_ods = { from = 'ZPR-2', as = \"ods-code\", on_error = \"warn\" }\n";
        let without = a28("1", "2").replace("PD1|||S^^G85001\r", "ZPR||G85001\r");
        let missed = |files: &crate::mapping::Files| {
            let bundle = Bundle::compile(files, "mappings/").unwrap();
            let mut lint = Lint::new(&bundle);
            lint.take(&input(&without), "m");
            lint.report().issues.iter().any(|seen| seen.issue.code == "no-practice")
        };
        assert!(missed(&files));
        files.insert("sites/rj1/adt-person.toml".to_owned(), site.as_bytes().to_vec());
        assert!(!missed(&files));
    }

    #[test]
    fn what_would_be_refused_is_said_with_its_place() {
        let bundle = bundle();
        let mut lint = Lint::new(&bundle);
        lint.take(&input("MSH|^~\\&|PAS|RJ1|X|Y|20260105||ADT^A28|1|P|2.9\rPID|||1\r"), "new");
        lint.take(&input("not a message"), "letter");
        let report = lint.report();
        let whats: Vec<(&str, &str)> =
            report.issues.iter().map(|seen| (seen.issue.place.as_str(), seen.examples.first().unwrap().as_str())).collect();
        assert!(whats.contains(&("MSH-12", "new")) && whats.contains(&("MSH", "letter")), "{whats:?}");
        assert!(report.types.values().all(|count| count.refused == count.messages));
    }

    #[test]
    fn a_fhir_sender_is_told_of_resources_and_elements_and_of_what_nobody_reads() {
        let bundle = bundle();
        let mut lint = Lint::new(&bundle);
        let sample = include_str!("../../samples/54-nems-contacts.xml");
        let body = sample.replace("value=\"male\"", "value=\"Q\"").replace("<name value=\"INVENTED TEAM\"/>", "");
        let body = body
            .replace("<gender", "<contact><name><text value=\"x\"/></name></contact><gender")
            .replace("value=\"EC-0001\"", "value=\"\"");
        lint.take(
            &Input { format: Format::Stu3Xml, body: body.as_bytes(), default_charset: None, allow_test_numbers: true, received: None },
            "m",
        );
        let report = lint.report();
        assert_eq!(report.types.keys().collect::<Vec<_>>(), ["professional-contacts-1"]);
        let whats: Vec<&str> = report.issues.iter().map(|seen| seen.issue.what.as_str()).collect();
        assert!(whats.contains(&"Patient.gender has the code Q, which table sex does not know"), "{whats:?}");
        assert!(whats.contains(&"EpisodeOfCare.identifier.value is empty"), "{whats:?}");
        let told: String = report.issues.iter().map(|seen| format!("{} {} ", seen.issue.what, seen.issue.change)).collect();
        assert!(!told.contains(['$', '[']) && !told.contains("PID") && !told.contains("Bundle.entry"), "{told}");
        let unread: Vec<&str> = report.unread.iter().map(|unread| unread.place.as_str()).collect();
        assert!(unread.contains(&"Patient.contact.name.text") && !unread.contains(&"Patient.gender"), "{unread:?}");
    }

    #[test]
    fn a_control_id_with_another_content_is_said_and_a_repeat_is_not() {
        let bundle = bundle();
        let mut lint = Lint::new(&bundle);
        for message in [a28("1", "2"), a28("1", "2"), a28("1", "1")] {
            lint.take(&input(&message), "m");
        }
        let report = lint.report();
        let reused: Vec<usize> = report.issues.iter().filter(|seen| seen.issue.place == "MSH-10").map(|seen| seen.messages).collect();
        assert_eq!(reused, [1]);
    }
}
