//! Is it a message that can be kept as accepted? Structure only; never content (protocol rules, sections 3, 4, 9, 13).
//!
//! One walk over the raw bytes, nothing allocated for a good message. What a source may send (types, processing ids,
//! who it is) is intake's question; what the values mean is mapping's.

use memchr::memchr_iter;

use super::Header;
use super::charset::Charset;
use super::header::Delimiters;
use super::lines::{Ending, Line, Lines, without_lead};

/// Fields longer than this, other than OBX-5, are warned about.
const FIELD_BYTES_EXPECTED_MAX: usize = 64 * 1024;
/// A message that is nothing but warnings says so only this often.
const WARNINGS_MAX: usize = 20;

/// Bounds of one message.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Segments, 5,000.
    pub segments_max: usize,
    /// Fields of a segment, 500.
    pub fields_max: usize,
    /// Repetitions of a field, 500.
    pub repetitions_max: usize,
    /// Components of a repetition, 100.
    pub components_max: usize,
}
impl Default for Limits {
    fn default() -> Self {
        Self { segments_max: 5_000, fields_max: 500, repetitions_max: 500, components_max: 100 }
    }
}

/// What is wrong, where, as table 0357 and ERR say it. Texts never quote the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Table 0357.
    pub code: u16,
    /// Segment id, `PID`.
    pub segment: String,
    /// Which of them, from 1.
    pub occurrence: usize,
    /// Field, from 1; 0 when the whole segment is meant.
    pub field: usize,
    /// What is wrong and what would help, lower case, no personal data.
    pub text: String,
}

impl Fault {
    /// A fault of the first such segment.
    pub fn new(code: u16, segment: &str, field: usize, text: impl Into<String>) -> Self {
        Self { code, segment: segment.to_owned(), occurrence: 1, field, text: text.into() }
    }
}

/// First fault, or the warnings of a good message.
pub fn check(raw: &[u8], header: &Header, limits: &Limits) -> Result<Vec<Fault>, Fault> {
    check_as(raw, header, limits, false)
}

/// [`check`]; `line_feed` for a source that separates segments by LF whatever else there is.
pub fn check_as(raw: &[u8], header: &Header, limits: &Limits, line_feed: bool) -> Result<Vec<Fault>, Fault> {
    check_header(header)?;
    let message = without_lead(raw);
    let mut walk = Walk::new(header, limits);
    for line in Lines::new(message, Ending::of(message, line_feed)) {
        walk.take(&line)?;
    }
    walk.finish(header)
}

/// Is this an answer to somebody's message (MSH-9.1 is ACK, or an MSA is there)? An answer is never answered.
pub fn is_answer(raw: &[u8], header: &Header) -> bool {
    let message = without_lead(raw);
    header.code == "ACK" || Lines::new(message, Ending::of(message, false)).any(|line| line.id(header.field) == Some(*b"MSA"))
}

fn check_header(header: &Header) -> Result<(), Fault> {
    if header.code.is_empty() {
        return Err(Fault::new(101, "MSH", 9, "MSH-9 is empty; it must say the type of the message"));
    }
    if header.control_id.trim().is_empty() || header.control_id == "\"\"" {
        return Err(Fault::new(101, "MSH", 10, "MSH-10 is empty; each message needs its own control id"));
    }
    if !is_version_taken(&header.version) {
        return Err(Fault::new(203, "MSH", 12, "MSH-12 is none of the versions taken here, 2.1 to 2.8"));
    }
    if Charset::of_label(&header.charset).is_none() {
        return Err(Fault::new(102, "MSH", 18, "MSH-18 names a character set that is not read here; send UNICODE UTF-8 or 8859/1"));
    }
    Ok(())
}

/// 2.1 to 2.8, with their third parts (2.3.1, 2.5.1).
fn is_version_taken(version: &str) -> bool {
    let mut parts = version.split('.');
    let is_family = parts.next() == Some("2") && matches!(parts.next(), Some("1" | "2" | "3" | "4" | "5" | "6" | "7" | "8"));
    let is_patch = parts.next().is_none_or(|patch| patch.len() == 1 && patch.bytes().all(|digit| digit.is_ascii_digit()));
    is_family && is_patch && parts.next().is_none()
}

/// Types that are about somebody: without PID nobody can be found. ADT^A20 is about a bed.
fn needs_pid(header: &Header) -> bool {
    match header.code.as_str() {
        "ADT" => header.trigger != "A20",
        "ORU" | "VXU" | "MDM" => true,
        _ => false,
    }
}

/// ADT events whose structure has room for one PID only. Merges and links name several people; swaps two.
fn is_single_patient(header: &Header) -> bool {
    let names_several = matches!(header.trigger.as_str(), "A17" | "A24" | "A34" | "A37" | "A39" | "A40" | "A41" | "A42" | "A43" | "A44");
    header.code == "ADT" && !header.trigger.is_empty() && !names_several
}

/// What was seen so far.
struct Walk<'a> {
    delimiters: Delimiters,
    limits: &'a Limits,
    is_single_patient: bool,
    is_results: bool,
    segments: usize,
    headers: usize,
    pids: usize,
    obrs: usize,
    obxs: usize,
    warnings: Vec<Fault>,
}

impl<'a> Walk<'a> {
    fn new(header: &Header, limits: &'a Limits) -> Self {
        Self {
            delimiters: header.delimiters(),
            limits,
            is_single_patient: is_single_patient(header),
            is_results: header.code == "ORU",
            segments: 0,
            headers: 0,
            pids: 0,
            obrs: 0,
            obxs: 0,
            warnings: vec![],
        }
    }

    fn take(&mut self, line: &Line<'_>) -> Result<(), Fault> {
        if line.is_blank() {
            return Ok(());
        }
        self.segments += 1;
        if self.limits.segments_max < self.segments {
            return Err(Fault::new(207, "", 0, format!("more than {} segments", self.limits.segments_max)));
        }
        let Some(id) = line.id(self.delimiters.field) else {
            self.warn(|segments| Fault {
                occurrence: segments,
                ..Fault::new(100, "", 0, "a line is no segment; it was kept and not read")
            });
            return Ok(());
        };
        self.check_sizes(line, id)?;
        if line.is_empty_segment(self.delimiters.field) { Ok(()) } else { self.check_order(line, id) }
    }

    fn check_order(&mut self, line: &Line<'_>, id: [u8; 3]) -> Result<(), Fault> {
        let fault = |occurrence, text: &str| Err(Fault { occurrence, ..Fault::new(100, &name(id), 0, text) });
        match &id {
            b"MSH" => {
                self.headers += 1;
                if 1 < self.headers {
                    return fault(self.headers, "a second MSH; send one message in a frame, or a batch with FHS or BHS");
                }
            }
            b"PID" => {
                self.pids += 1;
                if self.is_single_patient && 1 < self.pids {
                    return fault(self.pids, "a second PID; this event is about one person");
                }
            }
            b"OBR" => self.obrs += 1,
            b"OBX" => {
                self.obxs += 1;
                if self.is_results && self.obrs == 0 {
                    return fault(self.obxs, "an OBX before any OBR; results must follow the order they belong to");
                }
            }
            // MSH-14 alone is not asked: senders put timestamps into it.
            b"DSC" if line.bytes.get(4..).is_some_and(|rest| rest.first().is_some_and(|byte| *byte != self.delimiters.field)) => {
                return fault(1, "the message goes on in another one (DSC); send it whole");
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts only what is long enough to break a bound.
    fn check_sizes(&mut self, line: &Line<'_>, id: [u8; 3]) -> Result<(), Fault> {
        let Limits { fields_max, repetitions_max, components_max, .. } = *self.limits;
        if line.bytes.len() <= fields_max.min(repetitions_max).min(components_max) || &id == b"MSH" {
            return Ok(());
        }
        let fault = |field, text| Err(Fault { field, ..Fault::new(207, &name(id), 0, text) });
        let count = |delimiter: Option<u8>, bytes: &[u8]| delimiter.map_or(0, |delimiter| memchr_iter(delimiter, bytes).count());
        let Delimiters { field, repetition, component, .. } = self.delimiters;
        if fields_max < count(Some(field), line.bytes) {
            return fault(0, format!("more than {fields_max} fields in a segment"));
        }
        let is_long = FIELD_BYTES_EXPECTED_MAX < line.bytes.len();
        if !is_long && count(repetition, line.bytes) < repetitions_max && count(component, line.bytes) < components_max {
            return Ok(());
        }
        for (number, bytes) in line.bytes.split(|byte| *byte == field).enumerate().skip(1) {
            if repetitions_max <= count(repetition, bytes) {
                return fault(number, format!("more than {repetitions_max} repetitions of a field"));
            }
            let mut repetitions = bytes.split(|byte| Some(*byte) == repetition);
            if repetitions.any(|bytes| components_max <= count(component, bytes)) {
                return fault(number, format!("more than {components_max} components in a field"));
            }
            if FIELD_BYTES_EXPECTED_MAX < bytes.len() && !(&id == b"OBX" && number == 5) {
                self.warn(|_| Fault::new(102, &name(id), number, "a field is longer than 64 KiB"));
            }
        }
        Ok(())
    }

    fn warn(&mut self, fault: impl FnOnce(usize) -> Fault) {
        if self.warnings.len() < WARNINGS_MAX {
            let fault = fault(self.segments);
            self.warnings.push(fault);
        }
    }

    fn finish(self, header: &Header) -> Result<Vec<Fault>, Fault> {
        if self.pids == 0 && needs_pid(header) {
            return Err(Fault::new(100, "PID", 0, "no PID; the message must say whom it is about"));
        }
        Ok(self.warnings)
    }
}

fn name(id: [u8; 3]) -> String {
    id.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(message: &str) -> Result<Vec<Fault>, Fault> {
        let raw = message.replace('\n', "\r");
        let header = Header::read(raw.as_bytes()).unwrap();
        check(raw.as_bytes(), &header, &Limits::default())
    }

    /// The fault as `code segment[occurrence]-field`.
    fn check_refused(message: &str, expected: &str) {
        let fault = run(message).unwrap_err();
        assert_eq!(format!("{} {}[{}]-{}", fault.code, fault.segment, fault.occurrence, fault.field), expected, "{message}");
        assert!(fault.text.is_ascii() && fault.text.starts_with(|letter: char| letter.is_ascii_alphanumeric()), "{}", fault.text);
    }

    #[track_caller]
    fn check_taken(message: &str) {
        assert_eq!(run(message), Ok(vec![]), "{message}");
    }

    const A28: &str = "MSH|^~\\&|MATERNITY|RJ1|||20260105||ADT^A28^ADT_A05|M1|P|2.4\nEVN||20260105\n";

    #[test]
    fn a_plain_message_has_no_fault() {
        check_taken(&format!("{A28}PID|1||9990000026^^^NHS"));
        check_taken("MSH|^~\\&|||||||ORU^R01|1|P|2.5.1\nPID|1\nOBR|1\nOBX|1|NM|\nOBX|2|NM|\n");
        check_taken("MSH|^~\\&|||||||SIU^S12|1|P|2.3.1\nSCH|1\n");
    }

    #[test]
    fn type_and_control_id_are_required() {
        check_refused("MSH|^~\\&||||||||M1|P|2.4\nPID|1", "101 MSH[1]-9");
        check_refused("MSH|^~\\&|||||||ADT^A28||P|2.4\nPID|1", "101 MSH[1]-10");
        check_refused("MSH|^~\\&|||||||ADT^A28|  |P|2.4\nPID|1", "101 MSH[1]-10");
    }

    #[test]
    fn versions_from_2_1_to_2_8_are_taken_and_no_others() {
        for version in ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8"] {
            check_taken(&format!("MSH|^~\\&|||||||ADT^A28|1|P|{version}^GBR\nPID|1"));
        }
        for version in ["2.0", "2.9", "2.10", "3.0", "2", "", "two", "2.4.1.1", "2.3.x", "2.4D"] {
            check_refused(&format!("MSH|^~\\&|||||||ADT^A28|1|P|{version}\nPID|1"), "203 MSH[1]-12");
        }
    }

    #[test]
    fn a_charset_that_is_not_read_is_refused_by_name_of_the_field() {
        check_refused("MSH|^~\\&|||||||ADT^A28|1|P|2.4||||||UNICODE UTF-16\nPID|1", "102 MSH[1]-18");
        check_taken("MSH|^~\\&|||||||ADT^A28|1|P|2.4||||||8859/1~UNICODE UTF-16\nPID|1");
    }

    #[test]
    fn what_is_about_somebody_needs_one_pid() {
        check_refused(A28, "100 PID[1]-0");
        check_refused(&format!("{A28}PID|||\n"), "100 PID[1]-0");
        check_refused("MSH|^~\\&|||||||VXU^V04|1|P|2.5.1\nRXA|1", "100 PID[1]-0");
        check_taken("MSH|^~\\&|||||||ADT^A20|1|P|2.4\nNPU|1");
    }

    #[test]
    fn a_second_pid_is_refused_where_the_event_is_about_one_person() {
        check_refused(&format!("{A28}PID|1\nPID|2"), "100 PID[2]-0");
        check_taken(&format!("{A28}PID|1\nPID||"));
        check_taken("MSH|^~\\&|||||||ADT^A40|1|P|2.4\nPID|1\nMRG|1\nPID|2\nMRG|2");
        check_taken("MSH|^~\\&|||||||ADT^A24|1|P|2.4\nPID|1\nPID|2");
        check_taken("MSH|^~\\&|||||||ADT^A34|1|P|2.4\nPID|1\nMRG|1\nPID|2\nMRG|2");
    }

    #[test]
    fn a_result_needs_the_order_it_belongs_to() {
        check_refused("MSH|^~\\&|||||||ORU^R01|1|P|2.4\nPID|1\nOBX|1|NM\nOBR|1", "100 OBX[1]-0");
        check_taken("MSH|^~\\&|||||||ADT^A28|1|P|2.4\nPID|1\nOBX|1|NM");
    }

    #[test]
    fn two_messages_in_one_frame_are_not_one_message() {
        check_refused(&format!("{A28}PID|1\n{A28}PID|1"), "100 MSH[2]-0");
    }

    #[test]
    fn a_continued_message_is_refused_and_msh_14_alone_is_no_continuation() {
        check_refused(&format!("{A28}PID|1\nDSC|next^part"), "100 DSC[1]-0");
        check_taken(&format!("{A28}PID|1\nDSC|"));
        check_taken("MSH|^~\\&|||||||ADT^A28|1|P|2.4||20260105\nPID|1");
    }

    #[test]
    fn bounds_are_kept_to_the_last_one_allowed() {
        let repeated = |unit: &str, count: usize| unit.repeat(count);
        check_taken(&format!("{A28}PID|1\n{}", repeated("NTE|1\n", 5_000 - 3)));
        check_refused(&format!("{A28}PID|1\n{}", repeated("NTE|1\n", 5_000 - 2)), "207 [1]-0");
        check_taken(&format!("{A28}PID{}x", repeated("|", 500)));
        check_refused(&format!("{A28}PID{}x", repeated("|", 501)), "207 PID[1]-0");
        check_taken(&format!("{A28}PID|1||{}", repeated("~", 499)));
        check_refused(&format!("{A28}PID|1||{}", repeated("~", 500)), "207 PID[1]-3");
        check_taken(&format!("{A28}PID|1||{0}~{0}", repeated("^", 99)));
        check_refused(&format!("{A28}PID|1||x~{}", repeated("^", 100)), "207 PID[1]-3");
    }

    #[test]
    fn a_line_that_is_no_segment_is_a_warning_with_its_number() {
        let warnings = run(&format!("{A28}PID|1\nwrapped text\n\n")).unwrap();
        assert_eq!(warnings.iter().map(|fault| (fault.code, fault.occurrence)).collect::<Vec<_>>(), [(100, 4)]);
        assert!(run(&format!("{A28}PID|1\n{}", "no segment\n".repeat(1000))).unwrap().len() <= WARNINGS_MAX);
    }

    #[test]
    fn a_long_field_is_a_warning_except_in_obx_5() {
        let long = "x".repeat(70_000);
        assert_eq!(run(&format!("{A28}PID|1||{long}")).unwrap().len(), 1);
        check_taken(&format!("{A28}PID|1\nOBX|1|ED|||{long}"));
    }

    #[test]
    fn a_source_set_to_lf_is_read_so() {
        let raw = b"MSH|^~\\&|||||||ADT^A28|1|P|2.4\nPID|1\nNTE|1||with\rCR";
        let header = Header::read_as(raw, true).unwrap();
        assert!(check_as(raw, &header, &Limits::default(), true).is_ok());
    }

    #[test]
    fn an_answer_is_known_by_its_type_or_its_msa() {
        for (message, expected) in [
            ("MSH|^~\\&|||||||ACK^A28|1|P|2.4\rMSA|AA|1", true),
            ("MSH|^~\\&|||||||RSP^K11|1|P|2.4\rMSA|AA|1", true),
            ("MSH|^~\\&|||||||ADT^A28|1|P|2.4\rPID|1", false),
        ] {
            assert_eq!(is_answer(message.as_bytes(), &Header::read(message.as_bytes()).unwrap()), expected);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(prop_oneof![Just(b'|'), Just(b'\r'), Just(b'P'), any::<u8>()], 0..300), line_feed: bool) {
            bytes.splice(0..0, *b"MSH|^~\\&|||||||ADT^A28|1|P|2.4\r");
            let header = Header::read(&bytes).unwrap();
            let _ = check_as(&bytes, &header, &Limits { components_max: 3, ..Limits::default() }, line_feed);
        }
    }
}
