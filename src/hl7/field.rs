//! The inside of a field: repetitions, components, sub-components. The only file that names hl7-parser.
//!
//! The crate is asked for one field at a time, and its answer is taken only where it read the whole field; the
//! delimiters must be five different ones, since it knows no others. Otherwise the field is split here. Both ways give
//! the same pieces, those of a plain split at the delimiters (the tests compare them). Of the crate's other parts none
//! is used: its escapes, its queries and its dates panic or lose text, and its message parser stops in silence.

use std::ops::Range;

use hl7_parser::message::Separators;
use hl7_parser::parser::parse_field_with_separators;

use super::header::Delimiters;

/// The pieces of one field, each a range of the message text. Flat, so that a field costs three allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    repetitions: Vec<Node>,
    components: Vec<Node>,
    subs: Vec<Range<usize>>,
}

/// A piece, and which of the next level are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    text: Range<usize>,
    children: Range<usize>,
}

impl Tree {
    /// Splits the field `text` that starts at byte `start` of the message.
    pub(super) fn of(text: &str, start: usize, delimiters: &Delimiters) -> Self {
        Self::parsed(text, start, delimiters).unwrap_or_else(|| Self::split(text, start, delimiters))
    }

    /// By hl7-parser, where it reads the whole field.
    fn parsed(text: &str, start: usize, delimiters: &Delimiters) -> Option<Self> {
        let field = parse_field_with_separators(text, separators(delimiters)?).ok()?;
        if field.raw_value().len() != text.len() {
            return None;
        }
        let shift = |range: &Range<usize>| start + range.start..start + range.end;
        let mut tree = Self::default();
        for repetition in field.repeats() {
            let components = tree.components.len();
            for component in repetition.components() {
                let subs = tree.subs.len();
                tree.subs.extend(component.subcomponents.iter().map(|sub| shift(&sub.range)));
                tree.components.push(Node { text: shift(&component.range), children: subs..tree.subs.len() });
            }
            tree.repetitions.push(Node { text: shift(&repetition.range), children: components..tree.components.len() });
        }
        Some(tree)
    }

    /// By hand, for any delimiters.
    fn split(text: &str, start: usize, delimiters: &Delimiters) -> Self {
        let mut tree = Self::default();
        for (at, repetition) in split(text, start, delimiters.repetition) {
            let components = tree.components.len();
            for (at, component) in split(repetition, at, delimiters.component) {
                let subs = tree.subs.len();
                tree.subs.extend(split(component, at, delimiters.sub).map(|(at, sub)| at..at + sub.len()));
                tree.components.push(Node { text: at..at + component.len(), children: subs..tree.subs.len() });
            }
            tree.repetitions.push(Node { text: at..at + repetition.len(), children: components..tree.components.len() });
        }
        tree
    }

    /// The repetitions, in order.
    pub(super) fn repetitions(&self) -> impl Iterator<Item = Range<usize>> {
        self.repetitions.iter().map(|node| node.text.clone())
    }

    /// Component `component` (from 1) of the repetition that is exactly `repetition`, or of it sub-component `sub` (from 1).
    /// The outer `None`: that is no repetition of this field.
    #[expect(clippy::option_option, reason = "`no such repetition` and `no such component` are different answers")]
    pub(super) fn component(&self, repetition: &Range<usize>, component: usize, sub: Option<usize>) -> Option<Option<Range<usize>>> {
        let place = self.repetitions.binary_search_by_key(&repetition.start, |node| node.text.start).ok()?;
        let node = self.repetitions.get(place).filter(|node| node.text == *repetition)?;
        Some(self.part(node, component, sub))
    }

    fn part(&self, repetition: &Node, component: usize, sub: Option<usize>) -> Option<Range<usize>> {
        let component = self.components.get(repetition.children.clone())?.get(component.checked_sub(1)?)?;
        let Some(sub) = sub else { return Some(component.text.clone()) };
        self.subs.get(component.children.clone())?.get(sub.checked_sub(1)?).cloned()
    }
}

/// hl7-parser's form of the delimiters, where all five are there. They are ASCII and different from each other by construction.
fn separators(delimiters: &Delimiters) -> Option<Separators> {
    Some(Separators {
        field: char::from(delimiters.field),
        component: char::from(delimiters.component?),
        subcomponent: char::from(delimiters.sub?),
        repetition: char::from(delimiters.repetition?),
        escape: char::from(delimiters.escape?),
        lenient_newlines: false,
    })
}

/// The parts of `text`, each with its first byte.
pub(super) fn split(text: &str, start: usize, delimiter: Option<u8>) -> impl Iterator<Item = (usize, &str)> {
    let mut at = start;
    text.split(move |letter| delimiter.is_some_and(|delimiter| letter == char::from(delimiter))).map(move |part| {
        let here = at;
        at += part.len() + 1;
        (here, part)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn say(tree: &Tree, text: &str) -> String {
        let component = |node: &Node| tree.subs[node.children.clone()].iter().map(|sub| &text[sub.clone()]).collect::<Vec<_>>().join(" & ");
        let repetition = |node: &Node| tree.components[node.children.clone()].iter().map(component).collect::<Vec<_>>().join(" ^ ");
        tree.repetitions.iter().map(repetition).collect::<Vec<_>>().join(" ~ ")
    }

    #[test]
    fn a_field_is_taken_apart_by_its_delimiters_and_escapes_are_no_delimiters() {
        for (field, expected) in [
            ("", ""),
            ("2", "2"),
            ("9990000026^^^NHS&x^NH~B1", "9990000026 ^  ^  ^ NHS & x ^ NH ~ B1"),
            (r"a\S\b~\R\^c", r"a\S\b ~ \R\ ^ c"),
            ("~", " ~ "),
            ("é^日本~語", "é ^ 日本 ~ 語"),
        ] {
            let tree = Tree::of(field, 0, &Delimiters::default());
            assert_eq!(say(&tree, field), expected);
            assert!(Tree::parsed(field, 0, &Delimiters::default()).is_some(), "{field}: hl7-parser reads it");
        }
    }

    #[test]
    fn what_the_crate_would_not_read_to_its_end_is_split_here() {
        for field in ["a|b~c", "a\rb~c"] {
            assert_eq!(Tree::parsed(field, 0, &Delimiters::default()), None, "{field:?}");
            assert_eq!(Tree::of(field, 0, &Delimiters::default()).repetitions.len(), 2, "{field:?}");
        }
        let short = Delimiters::read(b'|', b"^~").unwrap();
        assert_eq!(say(&Tree::of("a^b&c~d", 0, &short), "a^b&c~d"), "a ^ b&c ~ d");
    }

    proptest! {
        #[test]
        fn the_crate_and_a_plain_split_give_the_same_pieces(text in r"[a-cé日 ^~&\\|#\r\n]{0,40}", encoding in prop::sample::select(vec![r"^~\&", r"^~\&#", r"^&~\", "%*@!"]), start in 0usize..1000) {
            let delimiters = Delimiters::read(b'|', encoding.as_bytes()).unwrap();
            let split = Tree::split(&text, start, &delimiters);
            prop_assert_eq!(&Tree::of(&text, start, &delimiters), &split);
            if !text.contains(['|', '\r']) {
                prop_assert_eq!(Tree::parsed(&text, start, &delimiters), Some(split));
            }
        }
    }
}
