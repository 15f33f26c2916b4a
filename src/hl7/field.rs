//! The inside of a field: repetitions, components, sub-components. The only file that names hl7-parser.
//!
//! A message is read by [`split`]: which part is asked for is found on the spot, and nothing is kept. hl7-parser is asked where all
//! repetitions of a field are wanted at once, and its answer is taken only where it read the whole field; the delimiters must be
//! five different ones, since it knows no others. Both ways give the same pieces, those of a plain split at the delimiters (the
//! tests compare them down to the sub-components). Of the crate's other parts none is used: its escapes, its queries and its dates
//! panic or lose text, and its message parser stops in silence.

use hl7_parser::message::Separators;
use hl7_parser::parser::parse_field_with_separators;
use memchr::memchr;

use super::header::Delimiters;

/// The repetitions of the field `text` that starts at byte `start` of the message, each with its first byte.
pub(super) fn repetitions<'t>(text: &'t str, start: usize, delimiters: &Delimiters) -> Vec<(usize, &'t str)> {
    parsed(text, start, delimiters).unwrap_or_else(|| split(text, start, delimiters.repetition).collect())
}

/// By hl7-parser, where it reads the whole field.
fn parsed<'t>(text: &'t str, start: usize, delimiters: &Delimiters) -> Option<Vec<(usize, &'t str)>> {
    let field = parse_field_with_separators(text, separators(delimiters)?).ok()?;
    if field.raw_value().len() != text.len() {
        return None;
    }
    field.repeats().map(|repetition| Some((start + repetition.range.start, text.get(repetition.range.clone())?))).collect()
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

/// The parts of `text`, each with its first byte. A delimiter is ASCII, so that no character is cut.
pub(super) fn split(text: &str, start: usize, delimiter: Option<u8>) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = Some((start, text));
    std::iter::from_fn(move || {
        let (start, text) = rest.take()?;
        let Some(end) = delimiter.and_then(|delimiter| memchr(delimiter, text.as_bytes())) else { return Some((start, text)) };
        rest = text.get(end + 1..).map(|after| (start + end + 1, after));
        Some((start, text.get(..end)?))
    })
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use proptest::prelude::*;

    use super::*;

    /// The pieces of one field, each a range of the message text. Flat, so that a field costs three allocations.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct Tree {
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
        fn of(text: &str, start: usize, delimiters: &Delimiters) -> Self {
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
    }

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
            let repetitions: Vec<Range<usize>> = repetitions(&text, start, &delimiters).iter().map(|(at, part)| *at..at + part.len()).collect();
            prop_assert_eq!(repetitions, split.repetitions.iter().map(|node| node.text.clone()).collect::<Vec<_>>());
            if !text.contains(['|', '\r']) {
                prop_assert_eq!(Tree::parsed(&text, start, &delimiters), Some(split));
            }
        }
    }
}
