//! What a [`Path`] finds in a [`Message`].
//!
//! # The rules
//!
//! - A path looks at the segments of its [`Scope`] and at no others; numbers count among those that it may see.
//! - Without a selector a segment is the scope's current one if it has that name, otherwise the first that is visible;
//!   a repetition is the first. A path that is only a segment's name means all of them. [`Path::find_all`] is the other
//!   way round: what has no selector means all.
//! - `[*]`, and a condition that several fulfil, give several pieces, in the order of the message.
//! - What the segment or the repetition is too short for is not found. What is there and empty is found, empty.
//! - HL7 null is null in all its parts: where PD1-3 is `""`, PD1-3.3 finds that `""`.
//! - A condition compares the unescaped element, blanks at its ends aside; an element that is not there is an empty
//!   text. Of a field the condition sees the first repetition.

use std::fmt;
use std::ops::Range;

use super::message::{Message, Piece};
use super::path::{Condition, Path, Root, Selector};

/// What a path may see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'s, 'm> {
    /// Visible segments by index (from 0), ascending; `None`: all of the message.
    pub segments: Option<&'s [usize]>,
    /// The segment that a record stands on (`over`): meant by a path that names it without a selector.
    pub current: Option<usize>,
    /// What the path's `$name` stands for: a repetition found before. `None`: the name stands for nothing here.
    pub repetition: Option<Found<'m>>,
}

/// A piece and its place in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'m> {
    /// The text as sent, with its bytes.
    pub piece: Piece<'m>,
    /// `PID-3[2].1`
    pub place: Place,
}

impl Found<'_> {
    /// Its bytes in [`Message::text`].
    pub fn bytes(&self) -> Range<usize> {
        self.piece.range()
    }
}

/// Where a piece is, shown as `OBX[3]-5.1`. Segments and repetitions are numbered only where there are several; their
/// numbers are those in the message, whatever the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the segment in the message, from 0.
    pub segment: usize,
    id: [u8; 3],
    occurrence: Option<usize>,
    field: Option<usize>,
    repetition: Option<usize>,
    component: Option<usize>,
    sub: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.id).unwrap_or_default())?;
        if let Some(occurrence) = self.occurrence {
            write!(f, "[{occurrence}]")?;
        }
        if let Some(field) = self.field {
            write!(f, "-{field}")?;
        }
        if let Some(repetition) = self.repetition {
            write!(f, "[{repetition}]")?;
        }
        for part in [self.component, self.sub].into_iter().flatten() {
            write!(f, ".{part}")?;
        }
        Ok(())
    }
}

/// What a missing selector means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    First,
    All,
}

impl Path {
    /// The pieces that this path means, in order; none where the message does not have them.
    ///
    /// A `$name` is looked up by the caller (its name is in [`Path::root`]) and given as [`Scope::repetition`].
    pub fn find<'m>(&self, message: &'m Message, scope: &Scope<'_, 'm>) -> Vec<Found<'m>> {
        self.collect(message, scope, Missing::First)
    }

    /// As [`Path::find`], but segments and repetitions without a selector are all meant: for counting.
    pub fn find_all<'m>(&self, message: &'m Message, scope: &Scope<'_, 'm>) -> Vec<Found<'m>> {
        self.collect(message, scope, Missing::All)
    }

    /// The first piece of [`Path::find`].
    pub fn find_first<'m>(&self, message: &'m Message, scope: &Scope<'_, 'm>) -> Option<Found<'m>> {
        self.find(message, scope).into_iter().next()
    }

    fn collect<'m>(&self, message: &'m Message, scope: &Scope<'_, 'm>, missing: Missing) -> Vec<Found<'m>> {
        let (id, selector) = match &self.root {
            Root::Let(_) => return scope.repetition.and_then(|base| self.part(message, base)).into_iter().collect(),
            Root::Segment { id, selector } => (id, selector.as_ref()),
        };
        let missing_segment = if self.field.is_none() { Missing::All } else { missing };
        let mut found = vec![];
        for segment in segments(message, scope, id, selector, missing_segment) {
            match &self.field {
                None => found.extend(whole_segment(message, segment)),
                Some((field, selector)) => self.collect_field(message, segment, *field, selector.as_ref(), missing, &mut found),
            }
        }
        found
    }

    fn collect_field<'m>(
        &self,
        message: &'m Message,
        segment: usize,
        field: usize,
        selector: Option<&Selector>,
        missing: Missing,
        found: &mut Vec<Found<'m>>,
    ) {
        let Some(piece) = message.field(segment, field) else { return };
        let repetitions = message.repetitions(piece);
        let is_repeated = 1 < repetitions.len();
        let matches =
            |repetition: &Piece<'m>, condition: &Condition| fulfils(message, condition, part_of(message, *repetition, &condition.element));
        for (index, repetition) in select(repetitions, selector, missing, matches) {
            let Some(mut place) = place(message, segment) else { return };
            place.field = Some(field);
            place.repetition = is_repeated.then_some(index + 1);
            found.extend(self.part(message, Found { piece: repetition, place }));
        }
    }

    /// The component and sub-component of a repetition that this path names.
    fn part<'m>(&self, message: &'m Message, base: Found<'m>) -> Option<Found<'m>> {
        let Some(component) = self.component else { return Some(base) };
        if base.piece.is_null() {
            return Some(base);
        }
        let mut place = Place { component: Some(component), ..base.place };
        let piece = message.component(base.piece, component, None)?;
        let (Some(sub), false) = (self.sub, piece.is_null()) else { return Some(Found { piece, place }) };
        place.sub = Some(sub);
        message.component(base.piece, component, Some(sub)).map(|piece| Found { piece, place })
    }
}

fn place(message: &Message, segment: usize) -> Option<Place> {
    let id = message.segment_id(segment).as_bytes().try_into().ok()?;
    let (occurrence, count) = message.segment_occurrence(segment);
    let occurrence = (1 < count).then_some(occurrence);
    Some(Place { segment, id, occurrence, field: None, repetition: None, component: None, sub: None })
}

fn whole_segment(message: &Message, segment: usize) -> Option<Found<'_>> {
    Some(Found { piece: message.segment(segment)?, place: place(message, segment)? })
}

/// The segments that a root means, by index.
fn segments(message: &Message, scope: &Scope<'_, '_>, id: &str, selector: Option<&Selector>, missing: Missing) -> Vec<usize> {
    if let (None, Missing::First, Some(current)) = (selector, missing, scope.current)
        && message.segment_id(current) == id
    {
        return vec![current];
    }
    let visible: Vec<usize> = match scope.segments {
        None => message.segments_named(id).collect(),
        Some(indices) => indices.iter().copied().filter(|index| message.segment_id(*index) == id).collect(),
    };
    let matches = |segment: &usize, condition: &Condition| {
        let (field, rest) = condition.element.split_first().map_or((0, &[][..]), |(field, rest)| (*field, rest));
        let first = message.field(*segment, field).and_then(|piece| message.repetitions(piece).into_iter().next());
        fulfils(message, condition, first.and_then(|repetition| part_of(message, repetition, rest)))
    };
    select(visible, selector, missing, matches).into_iter().map(|(_, segment)| segment).collect()
}

/// Those of `candidates` that the selector means, each with its index among them.
fn select<T>(
    candidates: Vec<T>,
    selector: Option<&Selector>,
    missing: Missing,
    matches: impl Fn(&T, &Condition) -> bool,
) -> Vec<(usize, T)> {
    let count = candidates.len();
    let numbered = candidates.into_iter().enumerate();
    match (selector, missing) {
        (None, Missing::All) | (Some(Selector::All), _) => numbered.collect(),
        (None, Missing::First) => numbered.take(1).collect(),
        (Some(Selector::Number(number)), _) => numbered.skip(number.saturating_sub(1)).take(1).collect(),
        (Some(Selector::Last), _) => numbered.skip(count.saturating_sub(1)).collect(),
        (Some(Selector::Where(condition)), _) => numbered.filter(|(_, candidate)| matches(candidate, condition)).collect(),
    }
}

/// `[component, sub]` of a repetition; `[]` is the repetition.
fn part_of<'m>(message: &'m Message, repetition: Piece<'m>, element: &[usize]) -> Option<Piece<'m>> {
    match element {
        [] => Some(repetition),
        [component] => message.component(repetition, *component, None),
        [component, sub, ..] => message.component(repetition, *component, Some(*sub)),
    }
}

fn fulfils(message: &Message, condition: &Condition, piece: Option<Piece<'_>>) -> bool {
    let value = piece.map(|piece| message.unescape(piece)).unwrap_or_default();
    (value.trim_matches(' ') == condition.text) == condition.equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7::ReadOptions;

    const RAW: &str = "MSH|^~\\&|LAB|RP4|||20260114||ORU^R01|N1|P|2.5.1\r\
        PID|1||9990000026^^^NHS&x^NH~B1^^^RJ1^PI~B2^^^RJ2^PI||EXAMPLE^GIRL\r\
        PD1|||\"\"\r\
        OBR|1|CARD1\r\
        OBX|1|CE|STATUS^s|PKU|04^not suspected\r\
        OBX|2|CE|SUBCODE|PKU|602\r\
        NTE|1||first\r\
        OBR|2|CARD2\r\
        OBX|1|CE|STATUS^s|CF|O\\T\\K^x\r\
        NTE|1||second\r";

    fn say(found: &[Found<'_>]) -> String {
        found.iter().map(|found| format!("{}={}", found.place, found.piece.text)).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check_in(scope: &Scope<'_, '_>, path: &str, expected: &str) {
        let message = Message::read(RAW.as_bytes(), &ReadOptions::default()).unwrap();
        let scope = Scope { segments: scope.segments, current: scope.current, repetition: None };
        let found = Path::parse(path).unwrap().find(&message, &scope);
        assert_eq!(say(&found), expected, "{path}");
        for found in &found {
            assert_eq!(&message.text()[found.bytes()], found.piece.text);
        }
    }

    #[track_caller]
    fn check(path: &str, expected: &str) {
        check_in(&Scope::default(), path, expected);
    }

    #[test]
    fn without_selectors_the_first_is_meant() {
        check("PID-3.1", "PID-3[1].1=9990000026");
        check("PID-5.1", "PID-5.1=EXAMPLE");
        check("PID-5", "PID-5=EXAMPLE^GIRL");
        check("OBX-5.1", "OBX[1]-5.1=04");
        check("MSH-9.2", "MSH-9.2=R01");
        check("MSH-1", "MSH-1=|");
        check("PID-3.4.2", "PID-3[1].4.2=x");
    }

    #[test]
    fn repetitions_are_chosen_by_number_last_all_or_condition() {
        check("PID-3[2].1", "PID-3[2].1=B1");
        check("PID-3[last].1", "PID-3[3].1=B2");
        check("PID-3[*].1", "PID-3[1].1=9990000026 PID-3[2].1=B1 PID-3[3].1=B2");
        check(r#"PID-3[4.1 = "NHS"].1"#, "PID-3[1].1=9990000026");
        check(r#"PID-3[5 = "PI"].1"#, "PID-3[2].1=B1 PID-3[3].1=B2");
        check(r#"PID-3[5 != "PI"].1"#, "PID-3[1].1=9990000026");
        check("PID-5[1].2", "PID-5.2=GIRL");
        check("PID-3[4]", "");
    }

    #[test]
    fn segments_are_chosen_so_too() {
        check("OBX[2]-5", "OBX[2]-5=602");
        check("OBX[last]-4", "OBX[3]-4=CF");
        check("NTE[*]-3", "NTE[1]-3=first NTE[2]-3=second");
        check(r#"OBX[3.1 = "STATUS"]-5.1"#, "OBX[1]-5.1=04 OBX[3]-5.1=O\\T\\K");
        check(r#"OBX[3 = "SUBCODE"]-5"#, "OBX[2]-5=602");
        check(r#"OBX[5.1 = "O&K"]-4"#, "OBX[3]-4=CF");
        check(r#"OBX[19 = ""]-1"#, "OBX[1]-1=1 OBX[2]-1=2 OBX[3]-1=1");
        check("PD1", "PD1=PD1|||\"\"");
        check("OBR", "OBR[1]=OBR|1|CARD1 OBR[2]=OBR|2|CARD2");
    }

    #[test]
    fn a_scope_hides_and_renumbers_segments_and_places_keep_the_numbers_of_the_message() {
        let second_sample = Scope { segments: Some(&[0, 1, 7, 8, 9]), ..Scope::default() };
        check_in(&second_sample, "OBR-2", "OBR[2]-2=CARD2");
        check_in(&second_sample, "OBX[1]-4", "OBX[3]-4=CF");
        check_in(&second_sample, "OBX[2]-4", "");
        check_in(&second_sample, "NTE[*]-3", "NTE[2]-3=second");
        check_in(&second_sample, "PID-5.1", "PID-5.1=EXAMPLE");
        check_in(&second_sample, "PD1-3", "");
    }

    #[test]
    fn a_record_stands_on_its_current_segment() {
        let on_second_obx = Scope { current: Some(5), ..Scope::default() };
        check_in(&on_second_obx, "OBX-5", "OBX[2]-5=602");
        check_in(&on_second_obx, "OBX[1]-5.1", "OBX[1]-5.1=04");
        check_in(&on_second_obx, "OBR-2", "OBR[1]-2=CARD1");
    }

    #[test]
    fn absent_empty_and_null_are_three_things() {
        check("PID-2", "PID-2=");
        check("PID-30", "");
        check("PID-5.7", "");
        check("ZZZ-1", "");
        check("PD1-3", "PD1-3=\"\"");
        check("PD1-3.3", "PD1-3=\"\"");
        check("PD1-3.3.1", "PD1-3=\"\"");
    }

    #[test]
    fn a_let_name_is_a_repetition_found_before() {
        let message = Message::read(RAW.as_bytes(), &ReadOptions::default()).unwrap();
        let local = Path::parse(r#"PID-3[5 = "PI"]"#).unwrap().find_first(&message, &Scope::default());
        let scope = Scope { repetition: local, ..Scope::default() };
        let find = |path: &str| say(&Path::parse(path).unwrap().find(&message, &scope));
        assert_eq!(
            [find("$local"), find("$local.1"), find("$local.4.1"), find("$local.9")],
            ["PID-3[2]=B1^^^RJ1^PI", "PID-3[2].1=B1", "PID-3[2].4.1=RJ1", ""]
        );
        assert_eq!(say(&Path::parse("$other.1").unwrap().find(&message, &Scope::default())), "");
    }

    #[test]
    fn for_counting_what_has_no_selector_means_all() {
        let message = Message::read(RAW.as_bytes(), &ReadOptions::default()).unwrap();
        let count = |path: &str| Path::parse(path).unwrap().find_all(&message, &Scope::default()).len();
        assert_eq!([count("OBX"), count("OBX-5"), count("PID-3"), count("PID-3.1"), count("PID-3[2]"), count("ZZZ")], [3, 3, 3, 3, 1, 0]);
    }
}
