//! Converters: from what a sender wrote to a canonical value, or the reason why not.
//!
//! # Invariants
//!
//! - Nothing is padded or guessed: `202604` is a month, not its first day.
//! - A reason is a clause that can follow `"text" at PID-3.1`, lower case, without a full stop.
//!
//! # Not here
//!
//! What happens after a failure is the rule's policy (`rule.rs`). Codes are translated by tables (`table.rs`).

use std::borrow::Cow;
use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::value::{Moment, Val};
use super::view::trimmed;
use crate::canon::{Content, NhsNumber};
use crate::hl7::{TimeError, TimePrecision, read_day, read_time};

/// Base64 as documents are sent in.
const CONTENT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// A converter by its word in mapping files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Converter {
    /// As sent, outer spaces taken off.
    Text,
    /// Spaces collapsed, letters kept, NFC.
    Name,
    /// Ten digits with a right check digit.
    NhsNumber,
    /// A date with its precision.
    Date,
    /// A moment with its precision and offset.
    DateTime,
    /// A date as people write it: `05/01/2026`.
    DateDmy,
    /// A time of day.
    Time,
    /// A whole number.
    Integer,
    /// A decimal, kept as text.
    Decimal,
    /// Kilograms to whole grams: `3.25` becomes 3250.
    KgToG,
    /// `SE1 9ZZ`.
    Postcode,
    /// An ODS code.
    OdsCode,
    /// A practitioner's code.
    GmcCode,
    /// A telephone number.
    Phone,
    /// `Y`, `N`, `true`, `false`, `1`, `0`.
    Boolean,
    /// `RJ122` becomes `urn:v2:RJ122`.
    V2Authority,
    /// NBS status code with its leading zero.
    NbsCode,
    /// `NSTS01` becomes `01`.
    Nsts,
    /// A SNOMED CT identifier with a right check digit.
    SctCode,
    /// Base64 of a document: its bytes are set aside, the value is their SHA-256.
    Base64Content,
    /// The text of a document: set aside as UTF-8, the value is its SHA-256.
    TextContent,
}

/// All words of `as`.
pub(super) const CONVERTERS: &[(&str, Converter)] = &[
    ("text", Converter::Text),
    ("name", Converter::Name),
    ("nhs-number", Converter::NhsNumber),
    ("date", Converter::Date),
    ("datetime", Converter::DateTime),
    ("date-dmy", Converter::DateDmy),
    ("time", Converter::Time),
    ("integer", Converter::Integer),
    ("decimal", Converter::Decimal),
    ("kg-to-g", Converter::KgToG),
    ("postcode", Converter::Postcode),
    ("ods-code", Converter::OdsCode),
    ("gmc-code", Converter::GmcCode),
    ("phone", Converter::Phone),
    ("boolean", Converter::Boolean),
    ("v2-authority", Converter::V2Authority),
    ("nbs-code", Converter::NbsCode),
    ("nsts", Converter::Nsts),
    ("sct-code", Converter::SctCode),
    ("base64-content", Converter::Base64Content),
    ("text-content", Converter::TextContent),
];

/// What a message lends to its conversions.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// For times without an offset.
    pub zone: &'a TimeZone,
    /// Times are ISO 8601 (FHIR), not HL7.
    pub iso: bool,
    /// Times are ISO 8601 where they look so (`2026-…`), else HL7: extracts have both.
    pub by_shape: bool,
    /// 999 NHS numbers are taken.
    pub allow_test_numbers: bool,
    /// Where contents of documents are set aside: what is said of a document is its hash.
    pub contents: &'a RefCell<Vec<Content>>,
}

/// A converted value.
#[derive(Debug, PartialEq)]
pub(super) struct Converted {
    /// Text, number, boolean, or a moment.
    pub value: Val,
    /// Something that a person may want to know: a finding code and a clause.
    pub note: Option<(&'static str, String)>,
}

impl From<Val> for Converted {
    fn from(value: Val) -> Self {
        Self { value, note: None }
    }
}

impl Converter {
    /// The converter of a word.
    pub fn find(word: &str) -> Option<Self> {
        CONVERTERS.iter().find(|(name, _)| *name == word).map(|(_, converter)| *converter)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        CONVERTERS.iter().find(|(_, converter)| *converter == self).map_or("text", |(word, _)| word)
    }

    /// Converts a text that is not empty. `Ok(None)`: it says that there is no value (all zeros in a date).
    pub fn convert(self, text: &str, around: &Surroundings<'_>) -> Result<Option<Converted>, String> {
        let text = trimmed(text);
        let done = |value: String| Ok(Some(Converted::from(Val::Text(value))));
        match self {
            Self::Text => done(plain(text).into_owned()),
            Self::Name => done(name(text)),
            Self::NhsNumber => nhs_number(text, around.allow_test_numbers).and_then(done),
            Self::Date => moment(text, around, true),
            Self::DateTime => moment(text, around, false),
            Self::DateDmy => date_dmy(text).map(|value| Some(Converted::from(value))),
            Self::Time => time_of_day(text).and_then(done),
            Self::Integer => integer(text).map(|number| Some(Converted::from(Val::Integer(number)))),
            Self::Decimal => decimal(text).and_then(done),
            Self::KgToG => grams(text).map(|number| Some(Converted::from(Val::Integer(number)))),
            Self::Postcode => postcode(text).and_then(done),
            Self::OdsCode => ods_code(text).and_then(done),
            Self::GmcCode => gmc_code(text).and_then(done),
            Self::Phone => phone(text).and_then(done),
            Self::Boolean => boolean(text).map(|truth| Some(Converted::from(Val::Boolean(truth)))),
            Self::V2Authority => done(if text.contains(':') { text.to_owned() } else { format!("urn:v2:{text}") }),
            Self::NbsCode => nbs_code(text).map(Some),
            Self::Nsts => nsts(text).and_then(done),
            Self::SctCode => sct_code(text).and_then(done),
            Self::Base64Content => base64_content(text).and_then(|bytes| done(around.set_aside(bytes))),
            Self::TextContent => done(around.set_aside(text.as_bytes().to_vec())),
        }
    }

    /// A document's text is all of its field, whatever delimiters stand in it; so is plain text. Anything else is one part of it.
    pub fn takes_whole_fields(self) -> bool {
        matches!(self, Self::Text | Self::TextContent)
    }

    /// Gives the hash of a content: there is nothing in the value that a person could read.
    pub fn sets_aside(self) -> bool {
        matches!(self, Self::Base64Content | Self::TextContent)
    }
}

impl Surroundings<'_> {
    /// Keeps a content once, and gives its SHA-256 in hex.
    fn set_aside(&self, bytes: Vec<u8>) -> String {
        let sha256 = Sha256::digest(&bytes).iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"));
        let mut contents = self.contents.borrow_mut();
        if !contents.iter().any(|known| known.sha256 == sha256) {
            contents.push(Content { sha256: sha256.clone(), bytes });
        }
        sha256
    }
}

/// RFC 4648, with the line breaks and spaces that senders put in; padding may be missing.
fn base64_content(text: &str) -> Result<Vec<u8>, String> {
    let letters: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    CONTENT.decode(&letters).map_err(|_| "is no base64".to_owned())
}

/// A text without blanks at its ends, in normal form C.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let text = trimmed(text);
    if text.is_ascii() || is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

fn name(text: &str) -> String {
    let bytes = text.as_bytes();
    let single = |pair: &[u8]| pair != b"  ";
    if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) && bytes.windows(2).all(single) {
        return text.trim().to_owned();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").nfc().collect()
}

fn nhs_number(text: &str, allow_test: bool) -> Result<String, String> {
    let number = NhsNumber::parse(text).map_err(|why| format!("is no NHS number: {why}"))?;
    if number.is_test() && !allow_test {
        return Err("is a test number (999), which is not taken here".to_owned());
    }
    Ok(number.to_string())
}

/// `{value, precision[, raw]}`.
fn moment(text: &str, around: &Surroundings<'_>, date_only: bool) -> Result<Option<Converted>, String> {
    let is_iso = around.iso || (around.by_shape && text.as_bytes().get(4) == Some(&b'-'));
    let (mut iso, mut precision, odd) = if is_iso {
        let (iso, precision) = iso_moment(text)?;
        (iso, precision, None)
    } else {
        match read_time(text, around.zone) {
            Ok(time) => (time.iso, time.precision, time.note),
            Err(TimeError::Zeros) => return Ok(None),
            // The day is whole and right, its time is not: a date needs no time (protocol rules, section 11).
            Err(why) if date_only => match read_day(text) {
                Some(day) => (day.iso, day.precision, Some("time_unreadable")),
                None => return Err(format!("is no date: {why}")),
            },
            Err(why) => return Err(format!("is no date: {why}")),
        }
    };
    if date_only && precision > TimePrecision::Day {
        iso.truncate(10);
        precision = TimePrecision::Day;
    }
    let raw = odd.filter(|_| !date_only).map(|_| text.to_owned());
    let value = Val::Moment(Box::new(Moment { value: iso, precision: precision_word(precision), raw }));
    let note =
        odd.filter(|_| !date_only || matches!(odd, Some("hour_24" | "time_unreadable"))).map(|odd| ("time-adjusted", odd_words(odd)));
    Ok(Some(Converted { value, note }))
}

fn odd_words(odd: &str) -> String {
    match odd {
        "ambiguous_hour" => "happened twice that night; the first is taken".to_owned(),
        "skipped_hour" => "did not exist that night; one hour later is taken".to_owned(),
        "hour_24" => "is midnight at the end of a day; the start of the next day is taken".to_owned(),
        "second_60" => "has second 60; 59.999 is taken".to_owned(),
        "time_unreadable" => "has no such time of day; the day alone is taken".to_owned(),
        other => format!("was adjusted ({other})"),
    }
}

pub(super) fn precision_word(precision: TimePrecision) -> &'static str {
    match precision {
        TimePrecision::Year => "year",
        TimePrecision::Month => "month",
        TimePrecision::Day => "day",
        TimePrecision::Hour => "hour",
        TimePrecision::Minute => "minute",
        TimePrecision::Second => "second",
        TimePrecision::Fraction => "fraction",
    }
}

/// A FHIR date, dateTime or instant: partial dates stay partial, a time of day needs its offset.
pub(super) fn iso_moment(text: &str) -> Result<(String, TimePrecision), String> {
    let wrong = || "is no date: YYYY, YYYY-MM, YYYY-MM-DD or a time with its offset is expected".to_owned();
    let day_of = |part: &str| part.parse::<jiff::civil::Date>().map_err(|_| "is no date: no such day".to_owned());
    let shaped =
        |digits: &str| digits.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    match text.len() {
        4 if shaped(text) => Ok((text.to_owned(), TimePrecision::Year)),
        7 if shaped(text) => day_of(&format!("{text}-01")).map(|_| (text.to_owned(), TimePrecision::Month)),
        10 if shaped(text) => day_of(text).map(|_| (text.to_owned(), TimePrecision::Day)),
        _ => {
            let (day, clock) = text.split_once('T').ok_or_else(wrong)?;
            if day.len() != 10 || !shaped(day) || text.len() > 40 || !text.is_ascii() {
                return Err(wrong());
            }
            text.parse::<jiff::Timestamp>().map_err(|_| wrong())?;
            let precision = match clock {
                clock if clock.contains('.') => TimePrecision::Fraction,
                clock if clock.split(['+', '-', 'Z']).next().is_some_and(|time| time.matches(':').count() >= 2) => TimePrecision::Second,
                _ => TimePrecision::Minute,
            };
            Ok((text.strip_suffix('Z').map_or_else(|| text.to_owned(), |zulu| format!("{zulu}+00:00")), precision))
        }
    }
}

/// Day, month, year; what spreadsheets put behind it (` 00:00:00`) is dropped. A year of two digits is not guessed.
fn date_dmy(text: &str) -> Result<Val, String> {
    let wrong = || "is no date: dd/mm/yyyy is expected".to_owned();
    let day = text.split([' ', 'T']).next().unwrap_or_default();
    let parts: Vec<&str> = day.split(['/', '-', '.']).collect();
    let [day, month, year] = parts.as_slice() else { return Err(wrong()) };
    let number = |part: &str, digits: std::ops::RangeInclusive<usize>| {
        (digits.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())).then(|| part.parse::<i16>().ok()).flatten()
    };
    let (day, month, year) = (number(day, 1..=2), number(month, 1..=2), number(year, 4..=4));
    let (Some(day), Some(month), Some(year)) = (day, month, year) else { return Err(wrong()) };
    let small = |number: i16| i8::try_from(number).unwrap_or(0);
    let date = jiff::civil::Date::new(year, small(month), small(day)).map_err(|_| "is no date: no such day".to_owned())?;
    Ok(Val::Moment(Box::new(Moment { value: date.to_string(), precision: precision_word(TimePrecision::Day), raw: None })))
}

fn time_of_day(text: &str) -> Result<String, String> {
    let wrong = || "is no time of day: HH, HHMM or HHMMSS is expected".to_owned();
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(digits.len(), 2 | 4 | 6) {
        return Err(wrong());
    }
    let parts: Vec<&str> = [0..2, 2..4, 4..6].into_iter().filter_map(|range| digits.get(range)).collect();
    let fits = parts.iter().zip([24, 60, 60]).all(|(part, limit)| part.parse::<u32>().is_ok_and(|number| number < limit));
    if fits { Ok(parts.join(":")) } else { Err(wrong()) }
}

fn integer(text: &str) -> Result<i64, String> {
    let wrong = || "is no whole number".to_owned();
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return Err(wrong()),
        None => text,
    };
    whole.parse().map_err(|_| wrong())
}

fn decimal(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |part: &str| !part.is_empty() && part.len() <= 30 && part.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(whole) && is_number(fraction) {
        Ok(text.strip_prefix('+').unwrap_or(text).to_owned())
    } else {
        Err("is no number".to_owned())
    }
}

/// Kilograms as whole grams, exactly: a fourth decimal is refused, not rounded.
fn grams(text: &str) -> Result<i64, String> {
    let digits = decimal(text)?;
    let wrong = || "is no weight in kilograms to the gram".to_owned();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let (gram, rest) = fraction.split_at_checked(3).unwrap_or((fraction, ""));
    if rest.bytes().any(|byte| byte != b'0') || digits.starts_with('-') {
        return Err(wrong());
    }
    format!("{whole}{gram:0<3}").parse().map_err(|_| wrong())
}

/// The shapes of UK postcodes: outward A9, A99, AA9, AA99, A9A, AA9A, inward 9AA.
fn postcode(text: &str) -> Result<String, String> {
    let wrong = || "is no UK postcode".to_owned();
    let (mut letters, mut count) = ([b' '; 7], 0);
    for byte in text.bytes().filter(|byte| !matches!(byte, b' ' | b'-' | b'.')) {
        let free = letters.get_mut(count).filter(|_| byte.is_ascii_alphanumeric()).ok_or_else(wrong)?;
        *free = byte.to_ascii_uppercase();
        count += 1;
    }
    let letters = letters.get(..count).filter(|_| 5 <= count).ok_or_else(wrong)?;
    let (outward, inward) = letters.split_at_checked(count - 3).ok_or_else(wrong)?;
    let mut shape = [b'A'; 7];
    shape.iter_mut().zip(letters).filter(|(_, letter)| letter.is_ascii_digit()).for_each(|(shape, _)| *shape = b'9');
    let shape = shape.get(..count).unwrap_or_default();
    let known = matches!(shape, b"A99AA" | b"A999AA" | b"AA99AA" | b"AA999AA" | b"A9A9AA" | b"AA9A9AA");
    let giro = outward == b"GIR" && shape.ends_with(b"9AA");
    if !(known || giro) {
        return Err(wrong());
    }
    let mut postcode = String::with_capacity(8);
    postcode.extend(outward.iter().copied().map(char::from));
    postcode.push(' ');
    postcode.extend(inward.iter().copied().map(char::from));
    Ok(postcode)
}

/// The code itself, or the reference of the national directory that ends with it
/// (`https://directory.spineservices.nhs.uk/STU3/Organization/X26`; NEMS page, section 2).
fn ods_code(text: &str) -> Result<String, String> {
    let code = text.rsplit_once("/Organization/").map_or(text, |(_, code)| code).to_ascii_uppercase();
    let fits = (3..=12).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { Ok(code) } else { Err("is no ODS code: 3 to 12 letters and digits are expected".to_owned()) }
}

fn gmc_code(text: &str) -> Result<String, String> {
    let code = text.to_ascii_uppercase();
    let digits = code.strip_prefix(['G', 'C']).unwrap_or(&code);
    let fits = matches!(digits.len(), 7 | 8) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(code) } else { Err("is no practitioner's code: a letter and 7 digits are expected".to_owned()) }
}

fn phone(text: &str) -> Result<String, String> {
    let number = name(text);
    let digits = number.chars().filter(char::is_ascii_digit).count();
    let usual = |byte: u8| byte.is_ascii_digit() || b" +-()./#".contains(&byte);
    let odd = !number.bytes().all(usual)
        && number.to_lowercase().replace("ext", "").chars().any(|c| !(c.is_ascii_digit() || " +-()./#x".contains(c)));
    if (5..=20).contains(&digits) && !odd { Ok(number) } else { Err("is no telephone number".to_owned()) }
}

fn boolean(text: &str) -> Result<bool, String> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match (is(&["y", "yes", "true", "t", "1"]), is(&["n", "no", "false", "f", "0"])) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err("is neither yes nor no".to_owned()),
    }
}

/// Code tables, NBS blood spot status codes: spaces out, one digit gets a zero, three digits get a zero.
fn nbs_code(text: &str) -> Result<Converted, String> {
    let code: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if code.is_empty() || code.len() > 4 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is no NBS status code: 2 or 4 digits are expected".to_owned());
    }
    if code.len().is_multiple_of(2) {
        return Ok(Val::Text(code).into());
    }
    let note = Some(("zero-restored", format!("has lost its leading zero; read as 0{code}")));
    Ok(Converted { value: Val::Text(format!("0{code}")), note })
}

fn nsts(text: &str) -> Result<String, String> {
    let code = text.strip_prefix("NSTS").unwrap_or(text);
    let known = matches!(code.as_bytes(), [b'0', b'1'..=b'8']);
    if known { Ok(code.to_owned()) } else { Err("is no NHS number status: NSTS01 to NSTS08 are expected".to_owned()) }
}

/// Verhoeff's check over all digits of a SNOMED CT identifier.
fn sct_code(text: &str) -> Result<String, String> {
    if !(6..=18).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is no SNOMED CT code: 6 to 18 digits are expected".to_owned());
    }
    let sum = text.bytes().rev().enumerate().fold(0, |check, (place, digit)| dihedral(check, permuted(place, usize::from(digit - b'0'))));
    if sum == 0 { Ok(text.to_owned()) } else { Err("is no SNOMED CT code: the check digit does not fit".to_owned()) }
}

/// Multiplication in the dihedral group of ten elements.
fn dihedral(a: usize, b: usize) -> usize {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - 5 + 5 - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

/// Verhoeff's permutation, applied `place` times.
fn permuted(place: usize, digit: usize) -> usize {
    const STEP: [usize; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    (0..place % 8).fold(digit, |digit, _| STEP.get(digit).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn try_iso(converter: Converter, text: &str) -> Result<Value, String> {
        let contents = RefCell::default();
        let around = Surroundings { zone: &TimeZone::UTC, iso: true, by_shape: false, allow_test_numbers: false, contents: &contents };
        converter.convert(text, &around).map(|done| done.map_or(Value::Null, |done| done.value.json()))
    }

    #[test]
    fn texts_become_what_the_canonical_model_wants() {
        let good = [
            (Converter::Name, "  O'CONNOR   SMITH ", json!("O'CONNOR SMITH")),
            (Converter::Name, "Zoe\u{308}", json!("Zo\u{eb}")),
            (Converter::NhsNumber, "590 000 5879", json!("5900005879")),
            (Converter::Postcode, "se19zz", json!("SE1 9ZZ")),
            (Converter::Postcode, "EC1A  1BB", json!("EC1A 1BB")),
            (Converter::OdsCode, "f84003", json!("F84003")),
            (Converter::OdsCode, "https://directory.spineservices.nhs.uk/STU3/Organization/X26", json!("X26")),
            (Converter::GmcCode, "G9999981", json!("G9999981")),
            (Converter::Phone, "020 7946 0123", json!("020 7946 0123")),
            (Converter::Boolean, "Y", json!(true)),
            (Converter::Boolean, "false", json!(false)),
            (Converter::Integer, "3200.0", json!(3200)),
            (Converter::Integer, "-1", json!(-1)),
            (Converter::Decimal, "3.10", json!("3.10")),
            (Converter::KgToG, "3.25", json!(3250)),
            (Converter::KgToG, "3", json!(3000)),
            (Converter::KgToG, "0.5000", json!(500)),
            (Converter::V2Authority, "RJ122", json!("urn:v2:RJ122")),
            (Converter::NbsCode, "4", json!("04")),
            (Converter::NbsCode, "303", json!("0303")),
            (Converter::NbsCode, " 04", json!("04")),
            (Converter::Nsts, "NSTS01", json!("01")),
            (Converter::Nsts, "08", json!("08")),
            (Converter::SctCode, "314081000", json!("314081000")),
            (Converter::SctCode, "940201000000107", json!("940201000000107")),
            (Converter::DateDmy, "05/01/2026", json!({ "value": "2026-01-05", "precision": "day" })),
            (Converter::DateDmy, "5.1.2026", json!({ "value": "2026-01-05", "precision": "day" })),
            (Converter::DateDmy, "29-02-2024 00:00:00", json!({ "value": "2024-02-29", "precision": "day" })),
            (Converter::Time, "0930", json!("09:30")),
            (Converter::Date, "2026-04", json!({ "value": "2026-04", "precision": "month" })),
            (Converter::DateTime, "2026-04-01T09:30:00Z", json!({ "value": "2026-04-01T09:30:00+00:00", "precision": "second" })),
            (Converter::Date, "2026-04-01T09:30:00+01:00", json!({ "value": "2026-04-01", "precision": "day" })),
        ];
        for (converter, text, expected) in good {
            assert_eq!(try_iso(converter, text), Ok(expected), "{converter:?} {text}");
        }
    }

    #[test]
    fn what_cannot_be_converted_says_why() {
        let bad = [
            (Converter::NhsNumber, "5900005870", "is no NHS number: the check digit"),
            (Converter::NhsNumber, "9990000018", "is a test number"),
            (Converter::Postcode, "NOT KNOWN", "is no UK postcode"),
            (Converter::Postcode, "ÅE1 9ZZ", "is no UK postcode"),
            (Converter::Integer, "3.5", "is no whole number"),
            (Converter::KgToG, "3.2501", "is no weight"),
            (Converter::KgToG, "-3", "is no weight"),
            (Converter::Integer, "99999999999999999999", "is no whole number"),
            (Converter::NbsCode, "12345", "is no NBS"),
            (Converter::Nsts, "09", "is no NHS number status"),
            (Converter::SctCode, "314081001", "is no SNOMED CT code: the check"),
            (Converter::Date, "2026-13", "is no date"),
            (Converter::Date, "20260401", "is no date"),
            (Converter::DateTime, "2026-04-01T09:30:00", "is no date"),
            (Converter::DateDmy, "05/01/26", "is no date: dd/mm/yyyy"),
            (Converter::DateDmy, "2026-01-05", "is no date: dd/mm/yyyy"),
            (Converter::DateDmy, "29/02/2025", "is no date: no such day"),
            (Converter::DateDmy, "01/13/2026", "is no date: no such day"),
            (Converter::Boolean, "maybe", "is neither"),
            (Converter::Phone, "ask mother", "is no telephone"),
            (Converter::OdsCode, "urn:uuid:a324be21-5e41-4d83-9f1c-29f19ae3a2d1", "is no ODS code"),
            (Converter::Time, "2560", "is no time"),
            (Converter::Base64Content, "JVBERi*", "is no base64"),
            (Converter::Base64Content, "JVBER", "is no base64"),
        ];
        for (converter, text, why) in bad {
            let said = try_iso(converter, text).expect_err(text);
            assert!(said.starts_with(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_test_number_is_taken_where_tests_are_allowed() {
        let contents = RefCell::default();
        let around = Surroundings { zone: &TimeZone::UTC, iso: true, by_shape: false, allow_test_numbers: true, contents: &contents };
        assert_eq!(Converter::NhsNumber.convert("9990000018", &around).unwrap().unwrap().value.json(), json!("9990000018"));
    }

    #[test]
    fn a_content_is_set_aside_once_and_its_hash_is_the_value() {
        let contents = RefCell::default();
        let around = Surroundings { zone: &TimeZone::UTC, iso: false, by_shape: false, allow_test_numbers: false, contents: &contents };
        // printf '%PDF-1.4' | sha256sum
        let hash = json!("e16fa5d9b51928755db85b917f0297babaf22c7a47e97d9212adab56e61ba04e");
        let same = [
            (Converter::Base64Content, "JVBERi0xLjQ="),
            (Converter::Base64Content, "JVBE\r\nRi0xLjQ"),
            (Converter::TextContent, "%PDF-1.4"),
        ];
        for (converter, text) in same {
            assert_eq!(converter.convert(text, &around).unwrap().unwrap().value.json(), hash, "{text}");
        }
        assert_eq!(contents.into_inner().iter().map(|content| content.bytes.as_slice()).collect::<Vec<_>>(), [b"%PDF-1.4"]);
    }
}
