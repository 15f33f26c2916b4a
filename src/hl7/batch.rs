//! Batch files: many messages between FHS, BHS, BTS and FTS (protocol rules, section 10).
//!
//! ```text
//! [FHS] { [BHS] { MSH … } [BTS] } [FTS]
//! ```
//!
//! Splitting gives each message as the bytes that were sent. A count that is wrong is told and loses nothing: what is
//! there is there. The answer to a batch is a batch of the answers, in the same order.

use super::escape::escape;
use super::header::Delimiters;
use super::lines::{Ending, Lines, without_lead};

/// FHS or BHS. Texts are as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchHeader {
    /// FHS-1.
    pub field: u8,
    /// FHS-2.
    pub encoding: String,
    /// FHS-3 and FHS-4.
    pub sender: [String; 2],
    /// FHS-5 and FHS-6.
    pub receiver: [String; 2],
    /// FHS-9, name or type.
    pub name: String,
    /// FHS-11.
    pub control_id: String,
    /// FHS-12, in an answer: the control id of the request.
    pub reference: String,
}

/// Messages between a BHS and its BTS; either may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch<'a> {
    /// BHS.
    pub header: Option<BatchHeader>,
    /// Each message from its MSH on, in order.
    pub messages: Vec<&'a [u8]>,
    /// BTS-1.
    pub declared: Option<usize>,
}

impl Batch<'_> {
    /// BTS-1 says another number than there are. Nothing said is no mismatch.
    pub fn is_count_wrong(&self) -> bool {
        self.declared.is_some_and(|declared| declared != self.messages.len())
    }
}

/// A file, or a frame, of batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchFile<'a> {
    /// FHS.
    pub header: Option<BatchHeader>,
    /// In order.
    pub batches: Vec<Batch<'a>>,
    /// FTS-1.
    pub declared: Option<usize>,
    /// Lines that stood outside every message and are no batch segment: kept nowhere else, so they must be reported.
    pub stray_lines: usize,
}

impl BatchFile<'_> {
    /// FTS-1 or a BTS-1 says another number than there are.
    pub fn is_count_wrong(&self) -> bool {
        self.declared.is_some_and(|declared| declared != self.batches.len()) || self.batches.iter().any(Batch::is_count_wrong)
    }
}

/// Does it begin with FHS or BHS?
pub fn is_batch(raw: &[u8]) -> bool {
    matches!(without_lead(raw), [b'F' | b'B', b'H', b'S', ..])
}

/// Splits a batch file, or several messages one after the other, into messages. `line_feed` as in
/// [`ReadOptions`](super::ReadOptions). No bytes fail: without a single MSH there are no messages.
pub fn split_batch(raw: &[u8], line_feed: bool) -> BatchFile<'_> {
    let bytes = without_lead(raw);
    let mut splitter = Splitter { bytes, file: BatchFile::default(), open: None, message: None };
    for line in Lines::new(bytes, Ending::of(bytes, line_feed)) {
        splitter.take(line.start, line.bytes);
    }
    splitter.end_batch(bytes.len());
    splitter.file
}

struct Splitter<'a> {
    bytes: &'a [u8],
    file: BatchFile<'a>,
    open: Option<Batch<'a>>,
    /// Where the current message began.
    message: Option<usize>,
}

impl<'a> Splitter<'a> {
    fn take(&mut self, start: usize, line: &[u8]) {
        match line.get(..3) {
            Some(b"FHS") => {
                self.end_batch(start);
                self.file.header = Some(read_header(line));
            }
            Some(b"BHS") => {
                self.end_batch(start);
                self.open = Some(Batch { header: Some(read_header(line)), ..Batch::default() });
            }
            Some(b"MSH") => {
                self.end_message(start);
                self.message = Some(start);
            }
            Some(b"BTS") => {
                self.end_message(start);
                self.open.get_or_insert_default().declared = count(line);
                self.end_batch(start);
            }
            Some(b"FTS") => {
                self.end_batch(start);
                self.file.declared = count(line);
            }
            _ if self.message.is_none() && !line.trim_ascii().is_empty() => self.file.stray_lines += 1,
            _ => {}
        }
    }

    fn end_message(&mut self, end: usize) {
        let message = self.message.take().and_then(|start| self.bytes.get(start..end));
        if let Some(message) = message {
            self.open.get_or_insert_default().messages.push(message);
        }
    }

    fn end_batch(&mut self, end: usize) {
        self.end_message(end);
        self.file.batches.extend(self.open.take());
    }
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let separator = line.get(3).copied();
    line.split(move |byte| Some(*byte) == separator)
}

/// FHS-n and BHS-n count as MSH-n does: the separator is field 1.
fn read_header(line: &[u8]) -> BatchHeader {
    let text = |number: usize| String::from_utf8_lossy(fields(line).nth(number - 1).unwrap_or_default().trim_ascii()).into_owned();
    let field = line.get(3).copied().unwrap_or_default();
    BatchHeader {
        field,
        encoding: text(2),
        sender: [text(3), text(4)],
        receiver: [text(5), text(6)],
        name: text(9),
        control_id: text(11),
        reference: text(12),
    }
}

fn count(line: &[u8]) -> Option<usize> {
    std::str::from_utf8(fields(line).nth(1)?).ok()?.trim().parse().ok()
}

/// Who answers a batch, when, under which number.
#[derive(Clone, Debug)]
pub struct BatchAnswering<'a> {
    /// Our FHS-3 and FHS-4.
    pub sender: [&'a str; 2],
    /// `YYYYMMDDHHMMSS+ZZZZ`
    pub time: &'a str,
    /// FHS-11 of the answer; its batches are numbered `…-1`, `…-2`.
    pub control_id: &'a str,
}

/// The batch of answers to `file`: for each of its batches the answers to its messages (without frame), in order, in
/// the delimiters of the request. FHS and FTS only where the request had an FHS. A batch whose count was wrong says so
/// in BHS-10, a file with a wrong number of batches in FHS-10.
pub fn answer_batch(file: &BatchFile<'_>, answers: &[Vec<Vec<u8>>], answering: &BatchAnswering<'_>) -> Vec<u8> {
    let mut reply = vec![];
    let of_file = Reply::new(file.header.as_ref());
    if file.header.is_some() {
        let is_count_wrong = file.declared.is_some_and(|declared| declared != file.batches.len());
        reply.extend(of_file.header("FHS", answering, answering.control_id, comment(is_count_wrong)));
    }
    for (index, batch) in file.batches.iter().enumerate() {
        let of_batch = Reply::new(batch.header.as_ref());
        let control_id = format!("{}-{}", answering.control_id, index + 1);
        reply.extend(of_batch.header("BHS", answering, &control_id, comment(batch.is_count_wrong())));
        let answers = answers.get(index).map(Vec::as_slice).unwrap_or_default();
        reply.extend(answers.iter().flatten());
        reply.extend(of_batch.trailer("BTS", answers.len()));
    }
    if file.header.is_some() {
        reply.extend(of_file.trailer("FTS", file.batches.len()));
    }
    reply
}

fn comment(is_count_wrong: bool) -> &'static str {
    if is_count_wrong { "AE count_mismatch" } else { "" }
}

/// Writes the segments around answers in the delimiters of the request.
struct Reply<'a> {
    request: Option<&'a BatchHeader>,
    delimiters: Delimiters,
    encoding: &'a str,
}

impl<'a> Reply<'a> {
    fn new(request: Option<&'a BatchHeader>) -> Self {
        let standard = Self { request, delimiters: Delimiters::default(), encoding: r"^~\&" };
        let Some(header) = request else { return standard };
        match Delimiters::read(header.field, header.encoding.as_bytes()) {
            Ok(delimiters) => Self { request, delimiters, encoding: &header.encoding },
            Err(_) => standard,
        }
    }

    fn header(&self, name: &str, answering: &BatchAnswering<'_>, control_id: &str, comment: &str) -> Vec<u8> {
        let own = |text: &str| escape(text, &self.delimiters).into_owned();
        let echo = |text: &str| text.replace(char::is_control, " ");
        let [application, facility] = answering.sender.map(own);
        let [their_application, their_facility] =
            self.request.map(|header| header.sender.clone().map(|text| echo(&text))).unwrap_or_default();
        let reference = echo(self.request.map_or("", |header| &header.control_id));
        let (time, control_id, comment) = (own(answering.time), own(control_id), own(comment));
        let fields = [
            self.encoding,
            &application,
            &facility,
            &their_application,
            &their_facility,
            &time,
            "",
            "ACK",
            &comment,
            &control_id,
            &reference,
        ];
        self.segment(name, &fields)
    }

    fn trailer(&self, name: &str, count: usize) -> Vec<u8> {
        self.segment(name, &[&count.to_string()])
    }

    fn segment(&self, name: &str, fields: &[&str]) -> Vec<u8> {
        let separator = char::from(self.delimiters.field);
        let used = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        let mut segment = name.to_owned();
        for field in fields.iter().take(used) {
            segment.push(separator);
            segment.push_str(field);
        }
        segment.push('\r');
        segment.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "FHS|^~\\&|PAS|RJ1|CHIS|HUB|20260105||NIGHT||F1\r\
        BHS|^~\\&|PAS|RJ1|CHIS|HUB|20260105||ADT||B1\r\
        MSH|^~\\&|||||||ADT^A28|1|P|2.4\rPID|1\r\
        MSH|^~\\&|||||||ADT^A28|2|P|2.4\rPID|2\r\
        BTS|2\r\
        BHS|^~\\&|PAS|RJ1|CHIS|HUB|20260105||ORU||B2\r\
        MSH|^~\\&|||||||ORU^R01|3|P|2.4\rPID|3\rBTS|4\r\
        FTS|2\r";

    fn messages(raw: &str) -> Vec<Vec<String>> {
        let text = |message: &&[u8]| std::str::from_utf8(message).unwrap().trim().replace(['\r', '\n'], "/");
        split_batch(raw.as_bytes(), false).batches.iter().map(|batch| batch.messages.iter().map(text).collect()).collect()
    }

    #[test]
    fn a_file_is_split_into_batches_and_messages_in_order() {
        let file = split_batch(FILE.as_bytes(), false);
        assert!(is_batch(FILE.as_bytes()));
        assert_eq!(file.header.as_ref().map(|header| (header.name.as_str(), header.control_id.as_str())), Some(("NIGHT", "F1")));
        assert_eq!((file.declared, file.batches.len(), file.stray_lines), (Some(2), 2, 0));
        assert_eq!(messages(FILE)[0], [r"MSH|^~\&|||||||ADT^A28|1|P|2.4/PID|1", r"MSH|^~\&|||||||ADT^A28|2|P|2.4/PID|2"]);
        assert_eq!(
            file.batches.iter().map(|batch| (batch.declared, batch.is_count_wrong())).collect::<Vec<_>>(),
            [(Some(2), false), (Some(4), true)]
        );
        assert!(file.is_count_wrong());
    }

    #[test]
    fn every_batch_segment_may_be_missing() {
        assert_eq!(messages("MSH|^~\\&|1\rPID|1\rMSH|^~\\&|2\r"), [["MSH|^~\\&|1/PID|1", "MSH|^~\\&|2"]]);
        assert_eq!(messages("BHS|^~\\&|\nMSH|^~\\&|1\nPID|1\n"), [["MSH|^~\\&|1/PID|1"]]);
        assert_eq!(messages("MSH|^~\\&|1\rBTS|1\rMSH|^~\\&|2\rFTS|1"), [["MSH|^~\\&|1"], ["MSH|^~\\&|2"]]);
        assert!(!is_batch(b"MSH|^~\\&|1\rPID|1\r"));
        assert_eq!(split_batch(b"", false), BatchFile::default());
    }

    #[test]
    fn a_line_outside_every_message_is_counted() {
        assert_eq!(split_batch(b"FHS|^~\\&\rPID|1\rBHS|\rMSH|^~\\&|1\rPID|2\r", false).stray_lines, 1);
    }

    #[test]
    fn the_reply_is_a_batch_of_the_answers_and_refers_to_the_request() {
        let file = split_batch(FILE.as_bytes(), false);
        let answering = BatchAnswering { sender: ["CHIS-BROKER", "LONDON"], time: "20260105101501+0000", control_id: "CHB9" };
        let answers = vec![vec![b"MSH|1\rMSA|AA|1\r".to_vec(), b"MSH|2\rMSA|AR|2\r".to_vec()], vec![b"MSH|3\rMSA|AA|3\r".to_vec()]];
        let reply = String::from_utf8(answer_batch(&file, &answers, &answering)).unwrap();
        assert_eq!(
            reply.replace('\r', "\n"),
            "FHS|^~\\&|CHIS-BROKER|LONDON|PAS|RJ1|20260105101501+0000||ACK||CHB9|F1\n\
             BHS|^~\\&|CHIS-BROKER|LONDON|PAS|RJ1|20260105101501+0000||ACK||CHB9-1|B1\n\
             MSH|1\nMSA|AA|1\nMSH|2\nMSA|AR|2\nBTS|2\n\
             BHS|^~\\&|CHIS-BROKER|LONDON|PAS|RJ1|20260105101501+0000||ACK|AE count_mismatch|CHB9-2|B2\n\
             MSH|3\nMSA|AA|3\nBTS|1\nFTS|2\n"
        );
        assert_eq!(split_batch(reply.as_bytes(), false).batches.len(), 2);
    }

    #[test]
    fn a_file_with_fewer_batches_than_it_says_is_told_so_and_so_is_a_batch_without_an_end() {
        let answering = BatchAnswering { sender: ["A", "B"], time: "2026", control_id: "C" };
        let reply = |raw: &str, count: usize| {
            let file = split_batch(raw.as_bytes(), false);
            let answers = vec![vec![b"MSH\r".to_vec()]; count];
            String::from_utf8(answer_batch(&file, &answers, &answering)).unwrap().replace('\r', "\n")
        };
        let short = reply("FHS|^~\\&|||||||||F\rBHS|^~\\&|||||||||B\rMSH|^~\\&|1\rBTS|1\rFTS|2\r", 1);
        assert!(short.starts_with("FHS|^~\\&|A|B|||2026||ACK|AE count_mismatch|C|F\nBHS|^~\\&|A|B|||2026||ACK||C-1|B\n"), "{short}");
        let whole = reply("FHS|^~\\&|||||||||F\rBHS|^~\\&|||||||||B\rMSH|^~\\&|1\rFTS|1\r", 1);
        assert!(!whole.contains("count_mismatch"), "nothing said is no mismatch: {whole}");
    }

    #[test]
    fn the_reply_speaks_the_delimiters_of_the_request() {
        let file = split_batch(b"BHS$%*@!$LAB%1.2%ISO$RP4$$$$$$$B1\rMSH$%*@!$\rBTS$1\r", false);
        let answering = BatchAnswering { sender: ["A$B", "LONDON"], time: "2026", control_id: "CHB9" };
        let reply = answer_batch(&file, &[vec![b"MSH\r".to_vec()]], &answering);
        assert_eq!(reply, b"BHS$%*@!$A@F@B$LONDON$LAB%1.2%ISO$RP4$2026$$ACK$$CHB9-1$B1\rMSH\rBTS$1\r");
    }

    proptest! {
        #[test]
        fn every_msh_line_of_any_bytes_is_one_message(lines in prop::collection::vec(prop::sample::select(vec!["FHS|^", "BHS|^", "MSH|^", "BTS|1", "FTS|1", "PID|1", "", "text"]), 0..30), junk in prop::collection::vec(any::<u8>(), 0..60)) {
            let raw = lines.join("\r");
            let file = split_batch(raw.as_bytes(), false);
            let found: usize = file.batches.iter().map(|batch| batch.messages.len()).sum();
            prop_assert_eq!(found, lines.iter().filter(|line| line.starts_with("MSH")).count());
            split_batch(&junk, true);
        }
    }
}
