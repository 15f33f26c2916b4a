//! Answers: which code, whether any, and the bytes of it (protocol rules, sections 2 to 4).
//!
//! # What always holds
//!
//! - An answer is itself a message that [`Header::read`] reads, in the delimiters and the character set of the request.
//! - Nothing of the message is quoted but its header.
//! - An answer is never answered.
//!
//! # Not here
//!
//! The decision: a [`Verdict`] comes in. `Accepted` may only be said by who holds the journal's receipt.

use super::Fault;
use super::charset::Charset;
use super::escape::escape;
use super::header::{Delimiters, Header};

/// MSA-3 and texts of ERR, in characters as sent (ITK).
const TEXT_CHARACTERS_MAX: usize = 80;
/// Version of an answer to a message whose version is not known here.
const FALLBACK_VERSION: &str = "2.4";

/// What became of a message, as far as its sender is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Kept. Faults are warnings (ERR severity W, 2.5 and later).
    Accepted(Vec<Fault>),
    /// Could not be kept; send it again.
    TryAgain(Fault),
    /// Never takeable as it is.
    Rejected(Fault),
}

impl Verdict {
    /// The same verdict in the words of base HL7: mistakes in the content are AE, a receiver that is not ready is AR
    /// (protocol rules, section 3). What is unsupported (200 to 203) is AR in both.
    #[must_use]
    pub fn in_base_profile(self) -> Self {
        match self {
            Self::TryAgain(fault) => Self::Rejected(fault),
            Self::Rejected(fault) if matches!(fault.code, 100..=199) => Self::TryAgain(fault),
            other => other,
        }
    }

    fn faults(&self) -> &[Fault] {
        match self {
            Self::Accepted(warnings) => warnings,
            Self::TryAgain(fault) | Self::Rejected(fault) => std::slice::from_ref(fault),
        }
    }

    fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }

    /// The only place where a verdict becomes a code of table 0008.
    fn code(&self, level: Level) -> &'static str {
        match (level, self) {
            (Level::Application, Self::Accepted(_)) => "AA",
            (Level::Application, Self::TryAgain(_)) => "AE",
            (Level::Application, Self::Rejected(_)) => "AR",
            (Level::Accept, Self::Accepted(_)) => "CA",
            (Level::Accept, Self::TryAgain(_)) => "CE",
            (Level::Accept, Self::Rejected(_)) => "CR",
        }
    }
}

/// How a source wants to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// As MSH-15 and MSH-16 say.
    #[default]
    Auto,
    /// Always AA, AE, AR.
    Original,
    /// Always CA, CE, CR.
    Enhanced,
}

/// Who answers, when, under which number.
#[derive(Clone, Debug)]
pub struct Answering<'a> {
    /// Our MSH-3 where the request's MSH-5 is empty or ROUTE.
    pub application: &'a str,
    /// Our MSH-4 where the request's MSH-6 is empty or ROUTE.
    pub facility: &'a str,
    /// MSH-7, `YYYYMMDDHHMMSS+ZZZZ`.
    pub time: &'a str,
    /// MSH-10 of the answer.
    pub control_id: &'a str,
    /// Auto, original, enhanced.
    pub mode: AckMode,
}

/// An answer ready for the wire, and its code for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `AA`, `CR`, …
    pub code: &'static str,
    /// The message, without frame.
    pub bytes: Vec<u8>,
}

/// Which of the two answers of enhanced mode; original mode knows the second only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Accept,
    Application,
}

/// The answer owed to `header`, or none where MSH-15/16 ask for none or the message is itself an ACK.
/// `header` is `None` where MSH could not be read: AR with an empty MSA-2 and standard delimiters, version 2.4.
///
/// Where MSH-15 asks for no answer in this case and MSH-16 does, the answer is the application one: that is how
/// base HL7 writes original mode in enhanced words (NE and AL), and such a sender waits.
pub fn answer(header: Option<&Header>, verdict: &Verdict, answering: &Answering<'_>) -> Option<Answer> {
    let Some(header) = header else {
        return Some(write(&Header::default(), verdict, Level::Application, answering));
    };
    let level = level_owed(header, verdict, answering.mode)?;
    Some(write(header, verdict, level, answering))
}

/// The second answer of enhanced mode, AA, AE or AR, owed after an accept answer (CA) where MSH-16 asks for it and the
/// source is on `auto`. `verdict` says what came of processing.
pub fn application_answer(header: &Header, verdict: &Verdict, answering: &Answering<'_>) -> Option<Answer> {
    let is_owed = answering.mode == AckMode::Auto
        && level_owed(header, &Verdict::Accepted(vec![]), AckMode::Auto) == Some(Level::Accept)
        && is_asked_for(&header.application_ack, verdict);
    is_owed.then(|| write(header, verdict, Level::Application, answering))
}

fn level_owed(header: &Header, verdict: &Verdict, mode: AckMode) -> Option<Level> {
    if header.code == "ACK" {
        return None;
    }
    match mode {
        AckMode::Original => Some(Level::Application),
        AckMode::Enhanced => Some(Level::Accept),
        AckMode::Auto if header.accept_ack.is_empty() && header.application_ack.is_empty() => Some(Level::Application),
        AckMode::Auto if is_asked_for(&header.accept_ack, verdict) => Some(Level::Accept),
        AckMode::Auto => is_asked_for(&header.application_ack, verdict).then_some(Level::Application),
    }
}

/// Table 0155. Words that are not in it ask for an answer: one too many is better than a sender that waits.
fn is_asked_for(condition: &str, verdict: &Verdict) -> bool {
    match condition.to_ascii_uppercase().as_str() {
        "" | "NE" => false,
        "ER" => !verdict.is_accepted(),
        "SU" => verdict.is_accepted(),
        _ => true,
    }
}

fn write(header: &Header, verdict: &Verdict, level: Level, answering: &Answering<'_>) -> Answer {
    let code = verdict.code(level);
    let writer = Writer::new(header);
    let mut text = writer.msh(header, answering);
    text.push_str(&writer.msa(header, verdict, code));
    for segment in writer.err(verdict) {
        text.push_str(&segment);
    }
    Answer { code, bytes: writer.charset.encode(&text).0 }
}

/// Writes segments in the delimiters of the request.
struct Writer<'a> {
    delimiters: Delimiters,
    encoding: &'a str,
    charset: Charset,
    charset_label: &'a str,
    /// Major and minor, (2, 4).
    version: (u8, u8),
    version_text: &'a str,
}

impl<'a> Writer<'a> {
    fn new(header: &'a Header) -> Self {
        let is_readable = Delimiters::read(header.field, header.encoding.as_bytes()).is_ok();
        let known_version = version(&header.version);
        let charset = Charset::of_label(&header.charset);
        Self {
            delimiters: header.delimiters(),
            encoding: if is_readable { &header.encoding } else { r"^~\&" },
            // A set that we do not read is one that we do not write either.
            charset: charset.unwrap_or(Charset::Unsaid),
            charset_label: if charset.is_some() { &header.charset } else { "" },
            version: known_version.unwrap_or((2, 4)),
            version_text: if known_version.is_some() { &header.version } else { FALLBACK_VERSION },
        }
    }

    fn msh(&self, request: &Header, answering: &Answering<'_>) -> String {
        let our = |requested: &str, own: &str| match requested.trim() {
            "" | "\"\"" => self.ours(own),
            route if route.eq_ignore_ascii_case("ROUTE") => self.ours(own),
            _ => echo(requested),
        };
        let processing_id = if request.processing_id.is_empty() { "P".to_owned() } else { echo(&request.processing_id) };
        self.segment(
            // MSH-2 follows MSH-1, the separator, directly: to `segment` it is the first field.
            "MSH",
            &[
                self.encoding.to_owned(),
                our(&request.receiving_application, answering.application),
                our(&request.receiving_facility, answering.facility),
                echo(&request.sending_application),
                echo(&request.sending_facility),
                self.ours(answering.time),
                String::new(),
                self.message_type(&request.trigger),
                self.ours(answering.control_id),
                processing_id,
                echo(self.version_text),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                echo(&request.country),
                echo(self.charset_label),
                echo(&request.language),
            ],
        )
    }

    /// `ACK^A28^ACK`, before 2.4 `ACK^A28`; `ACK` where the event is none.
    fn message_type(&self, trigger: &str) -> String {
        let is_event = trigger.len() == 3 && trigger.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_event || self.delimiters.component.is_none() {
            return "ACK".to_owned();
        }
        if self.version < (2, 4) { self.join(&["ACK", trigger]) } else { self.join(&["ACK", trigger, "ACK"]) }
    }

    fn msa(&self, request: &Header, verdict: &Verdict, code: &str) -> String {
        let complaint = if verdict.is_accepted() { None } else { verdict.faults().first() };
        let mut fields = vec![code.to_owned(), echo(&request.control_id)];
        if let Some(fault) = complaint {
            fields.push(self.text(&fault.text));
            if self.version <= (2, 4) {
                fields.extend([String::new(), String::new(), self.condition(fault)]);
            }
        }
        self.segment("MSA", &fields)
    }

    /// Up to 2.4 one ERR with its ELD, for faults only; from 2.5 on one for each fault or warning.
    fn err(&self, verdict: &Verdict) -> Vec<String> {
        if (2, 4) < self.version {
            let severity = if verdict.is_accepted() { "W" } else { "E" };
            return verdict.faults().iter().map(|fault| self.err_2_5(fault, severity)).collect();
        }
        if verdict.is_accepted() {
            return vec![];
        }
        verdict.faults().iter().map(|fault| self.err_2_4(fault)).collect()
    }

    fn err_2_4(&self, fault: &Fault) -> String {
        let [segment, occurrence, field] = place(fault);
        let code = self.join_subs(&[&fault.code.to_string(), table_0357(fault.code), "HL70357"]);
        self.segment("ERR", &[self.join(&[&segment, &occurrence, &field, &code])])
    }

    fn err_2_5(&self, fault: &Fault, severity: &str) -> String {
        let place = place(fault);
        let place: Vec<&str> = place.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let ours = self.join(&[&format!("CHB-{}", fault.code)]);
        let none = String::new;
        self.segment(
            "ERR",
            &[none(), self.join(&place), self.condition(fault), severity.to_owned(), ours, none(), none(), self.text(&fault.text)],
        )
    }

    /// `101^Required field missing^HL70357`
    fn condition(&self, fault: &Fault) -> String {
        self.join(&[&fault.code.to_string(), table_0357(fault.code), "HL70357"])
    }

    fn segment(&self, name: &str, fields: &[String]) -> String {
        let used = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        let separator = char::from(self.delimiters.field);
        let mut segment = name.to_owned();
        for field in fields.iter().take(used) {
            segment.push(separator);
            segment.push_str(field);
        }
        segment.push('\r');
        segment
    }

    fn join(&self, parts: &[&str]) -> String {
        join_by(parts, self.delimiters.component)
    }

    fn join_subs(&self, parts: &[&str]) -> String {
        join_by(parts, self.delimiters.sub)
    }

    /// A text of ours, escaped.
    fn ours(&self, text: &str) -> String {
        escape(&echo(text), &self.delimiters).into_owned()
    }

    /// A text for people, escaped and short enough.
    fn text(&self, text: &str) -> String {
        let mut short = String::new();
        let mut characters = 0;
        for letter in text.chars() {
            let escaped = self.ours(letter.encode_utf8(&mut [0u8; 4]));
            characters += escaped.chars().count();
            if TEXT_CHARACTERS_MAX < characters {
                break;
            }
            short.push_str(&escaped);
        }
        short
    }
}

/// Without the delimiter only the first part can be said.
fn join_by(parts: &[&str], delimiter: Option<u8>) -> String {
    match delimiter {
        Some(delimiter) => parts.join(char::from(delimiter).encode_utf8(&mut [0u8; 4])),
        None => parts.first().copied().unwrap_or_default().to_owned(),
    }
}

/// What the sender wrote in its header, in the same delimiters. Control characters cannot be echoed: they would break the frame.
fn echo(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Segment, occurrence, field; what is not known is empty.
fn place(fault: &Fault) -> [String; 3] {
    let number = |number: usize| if number == 0 { String::new() } else { number.to_string() };
    let occurrence = if fault.segment.is_empty() { String::new() } else { number(fault.occurrence) };
    [echo(&fault.segment), occurrence, number(fault.field)]
}

fn version(text: &str) -> Option<(u8, u8)> {
    let mut parts = text.split('.');
    let version = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    ((2, 1)..=(2, 8)).contains(&version).then_some(version)
}

/// Texts of table 0357.
fn table_0357(code: u16) -> &'static str {
    match code {
        0 => "Message accepted",
        100 => "Segment sequence error",
        101 => "Required field missing",
        102 => "Data type error",
        103 => "Table value not found",
        200 => "Unsupported message type",
        201 => "Unsupported event code",
        202 => "Unsupported processing id",
        203 => "Unsupported version id",
        204 => "Unknown key identifier",
        205 => "Duplicate key identifier",
        206 => "Application record locked",
        _ => "Application internal error",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answering(mode: AckMode) -> Answering<'static> {
        Answering { application: "CHIS-BROKER", facility: "LONDON", time: "20260105101501+0000", control_id: "CHB1", mode }
    }

    fn missing_name() -> Fault {
        Fault::new(101, "PID", 5, "PID-5 is empty")
    }

    fn say(request: &str, verdict: &Verdict) -> String {
        let header = Header::read(request.as_bytes()).unwrap();
        let answer = answer(Some(&header), verdict, &answering(AckMode::Auto)).unwrap();
        String::from_utf8(answer.bytes).unwrap().replace('\r', "\n")
    }

    #[test]
    fn an_itk_sender_gets_aa_in_its_own_words() {
        let request = r"MSH|^~\&|MATERNITY|RJ1|ROUTE||20260105101500||ADT^A28^ADT_A05|MAT0000001|P|2.4|||||GBR|UNICODE UTF-8|EN||iTKv1.0";
        assert_eq!(
            say(request, &Verdict::Accepted(vec![])),
            "MSH|^~\\&|CHIS-BROKER|LONDON|MATERNITY|RJ1|20260105101501+0000||ACK^A28^ACK|CHB1|P|2.4|||||GBR|UNICODE UTF-8|EN\nMSA|AA|MAT0000001\n"
        );
    }

    #[test]
    fn a_laboratory_gets_its_errors_in_the_form_of_2_5() {
        let request = r"MSH|^~\&#|NBSLIMS|RP4|CHIS|HUB|202601141200||ORU^R01^ORU_R01|NBS000001|T|2.5.1";
        assert_eq!(
            say(request, &Verdict::Rejected(missing_name())),
            "MSH|^~\\&#|CHIS|HUB|NBSLIMS|RP4|20260105101501+0000||ACK^R01^ACK|CHB1|T|2.5.1\n\
             MSA|AR|NBS000001|PID-5 is empty\n\
             ERR||PID^1^5|101^Required field missing^HL70357|E|CHB-101|||PID-5 is empty\n"
        );
        let warned = say(request, &Verdict::Accepted(vec![missing_name(), Fault::new(100, "", 0, "a line is no segment")]));
        assert!(warned.contains("MSA|AA|NBS000001\nERR||PID^1^5|101^Required field missing^HL70357|W|"), "{warned}");
        assert!(warned.contains("\nERR|||100^Segment sequence error^HL70357|W|CHB-100|||a line is no segment\n"), "{warned}");
    }

    #[test]
    fn up_to_2_4_an_error_is_an_eld_and_warnings_are_not_said() {
        let request = r"MSH|^~\&|PAS|RJ1|CHIS|HUB|||ADT^A28|1|P|2.4";
        assert!(
            say(request, &Verdict::TryAgain(Fault { occurrence: 2, ..missing_name() })).ends_with(
                "\nMSA|AE|1|PID-5 is empty|||101^Required field missing^HL70357\nERR|PID^2^5^101&Required field missing&HL70357\n"
            )
        );
        assert!(say(request, &Verdict::Accepted(vec![missing_name()])).ends_with("\nMSA|AA|1\n"));
    }

    #[test]
    fn the_type_of_the_answer_follows_the_version_and_the_event() {
        for (kind, version, expected) in [
            ("ADT^A28^ADT_A05", "2.4", "|ACK^A28^ACK|"),
            ("ADT^A28", "2.8", "|ACK^A28^ACK|"),
            ("ADT^A28", "2.3.1", "|ACK^A28|"),
            ("ADT^A28", "2.1", "|ACK^A28|"),
            ("ADT", "2.4", "|ACK|"),
            ("ADT^see note", "2.4", "|ACK|"),
        ] {
            let said = say(&format!(r"MSH|^~\&|||||||{kind}|1|P|{version}"), &Verdict::Accepted(vec![]));
            assert!(said.contains(expected), "{kind} {version}: {said}");
            assert!(said.contains(&format!("|CHB1|P|{version}\n")));
        }
        let unknown = say(r"MSH|^~\&|||||||ADT^A28|1|P|3.9", &Verdict::Rejected(missing_name()));
        assert!(unknown.contains("|ACK^A28^ACK|CHB1|P|2.4\n"), "{unknown}");
    }

    #[test]
    fn msh_15_and_16_say_which_answer_and_whether_any() {
        let accepted = Verdict::Accepted(vec![]);
        let busy = Verdict::TryAgain(missing_name());
        let rejected = Verdict::Rejected(missing_name());
        for (asked, expected) in [
            ("|", ["AA", "AE", "AR"]),
            ("\"\"|\"\"", ["AA", "AE", "AR"]),
            ("AL|NE", ["CA", "CE", "CR"]),
            ("AL|AL", ["CA", "CE", "CR"]),
            ("AL|", ["CA", "CE", "CR"]),
            ("al|", ["CA", "CE", "CR"]),
            ("ER|NE", ["-", "CE", "CR"]),
            ("SU|NE", ["CA", "-", "-"]),
            ("NE|NE", ["-", "-", "-"]),
            ("NE|AL", ["AA", "AE", "AR"]),
            ("|AL", ["AA", "AE", "AR"]),
            ("NE|ER", ["-", "AE", "AR"]),
            ("NE|SU", ["AA", "-", "-"]),
            ("ER|AL", ["AA", "CE", "CR"]),
        ] {
            let request = format!(r"MSH|^~\&|||||||ADT^A28|1|P|2.4|||{asked}");
            let header = Header::read(request.as_bytes()).unwrap();
            let codes = |mode| {
                [&accepted, &busy, &rejected]
                    .map(|verdict| answer(Some(&header), verdict, &answering(mode)).map_or("-", |answer| answer.code))
            };
            assert_eq!(codes(AckMode::Auto), expected, "{asked}");
            assert_eq!(codes(AckMode::Original), ["AA", "AE", "AR"], "{asked}");
            assert_eq!(codes(AckMode::Enhanced), ["CA", "CE", "CR"], "{asked}");
        }
    }

    #[test]
    fn a_second_answer_is_owed_only_after_an_accept_answer_and_where_msh_16_asks() {
        for (asked, expected) in
            [("AL|AL", Some("AA")), ("AL|SU", Some("AA")), ("AL|ER", None), ("AL|NE", None), ("NE|AL", None), ("|", None)]
        {
            let header = Header::read(format!(r"MSH|^~\&|||||||ADT^A28|1|P|2.4|||{asked}").as_bytes()).unwrap();
            let second = application_answer(&header, &Verdict::Accepted(vec![]), &answering(AckMode::Auto));
            assert_eq!(second.map(|answer| answer.code), expected, "{asked}");
        }
    }

    #[test]
    fn an_answer_is_never_answered() {
        let header = Header::read(br"MSH|^~\&|||||||ACK^A28^ACK|1|P|2.4|||AL|AL").unwrap();
        for mode in [AckMode::Auto, AckMode::Original, AckMode::Enhanced] {
            assert_eq!(answer(Some(&header), &Verdict::Rejected(missing_name()), &answering(mode)), None);
        }
    }

    #[test]
    fn without_an_msh_the_answer_is_ar_to_nobody_in_standard_words() {
        let fault = Fault::new(101, "MSH", 0, "the message does not begin with MSH");
        let answer = answer(None, &Verdict::Rejected(fault), &answering(AckMode::Auto)).unwrap();
        assert_eq!(
            String::from_utf8(answer.bytes).unwrap(),
            "MSH|^~\\&|CHIS-BROKER|LONDON|||20260105101501+0000||ACK|CHB1|P|2.4\r\
             MSA|AR||the message does not begin with MSH|||101^Required field missing^HL70357\r\
             ERR|MSH^1^^101&Required field missing&HL70357\r"
        );
    }

    #[test]
    fn the_answer_speaks_the_delimiters_and_the_charset_of_the_request() {
        let header = Header::read(b"MSH$%*@!$Zo\xEB$RJ1$$$$$ADT%A28$ID-1$P$2.4$$$$$$8859/1").unwrap();
        let answer =
            answer(Some(&header), &Verdict::Rejected(Fault::new(207, "PID", 3, "costs 5$ & more")), &answering(AckMode::Auto)).unwrap();
        assert!(
            answer.bytes.starts_with(b"MSH$%*@!$CHIS-BROKER$LONDON$Zo\xEB$RJ1$20260105101501+0000$$ACK%A28%ACK$CHB1$P$2.4$$$$$$8859/1\r")
        );
        assert!(answer.bytes.ends_with(b"\rMSA$AR$ID-1$costs 5@F@ & more$$$207%Application internal error%HL70357\rERR$PID%1%3%207!Application internal error!HL70357\r"));
    }

    #[test]
    fn msa_3_is_at_most_80_characters_and_never_half_an_escape() {
        let header = Header::read(br"MSH|^~\&|||||||ADT^A28|1|P|2.5").unwrap();
        let long = Verdict::Rejected(Fault::new(207, "PID", 3, format!("{}|{}", "x".repeat(78), "y".repeat(80))));
        let bytes = answer(Some(&header), &long, &answering(AckMode::Auto)).unwrap().bytes;
        let text = String::from_utf8(bytes).unwrap();
        let msa = text.split('\r').nth(1).unwrap();
        assert_eq!(msa, format!("MSA|AR|1|{}", "x".repeat(78)));
    }

    #[test]
    fn in_the_base_profile_content_is_ae_and_not_being_ready_is_ar() {
        assert_eq!(Verdict::Rejected(missing_name()).in_base_profile(), Verdict::TryAgain(missing_name()));
        assert_eq!(Verdict::TryAgain(missing_name()).in_base_profile(), Verdict::Rejected(missing_name()));
        let version = Fault::new(203, "MSH", 12, "no");
        assert_eq!(Verdict::Rejected(version.clone()).in_base_profile(), Verdict::Rejected(version));
        assert_eq!(Verdict::Accepted(vec![]).in_base_profile(), Verdict::Accepted(vec![]));
    }

    proptest! {
        #[test]
        fn the_answer_to_anything_can_be_read(rest in prop::collection::vec(any::<u8>(), 0..200), separators in r"[!-/:-@\[-`{-~]{2,6}", text in any::<String>()) {
            let request = [b"MSH", separators.as_bytes(), separators.as_bytes().get(..1).unwrap(), &rest].concat();
            let header = Header::read(&request).ok();
            let owed = answer(header.as_ref(), &Verdict::Rejected(Fault::new(207, "PID", 3, text)), &answering(AckMode::Original));
            if let Some(owed) = owed {
                let read = Header::read(&owed.bytes).unwrap();
                prop_assert_eq!(&read.code, "ACK");
                prop_assert!(!owed.bytes.iter().any(|byte| matches!(byte, 0x0B | 0x1C | b'\n')));
                prop_assert!(owed.bytes.split(|byte| *byte == b'\r').all(|line| line.is_empty() || line.starts_with(b"MSH") || line.starts_with(b"MSA") || line.starts_with(b"ERR")));
                if let Some(header) = header {
                    prop_assert_eq!(read.delimiters(), header.delimiters());
                }
            }
        }
    }
}
