//! The words of a list: `in ("F", "C", "U")`.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use crate::fhir::NameHash;

/// Words that are compared one by one; where there are more, they are hashed.
const COMPARED_MAX: usize = 8;

/// Words of a mapping file, ready to be asked for one.
#[derive(Clone, Debug)]
pub(in crate::mapping) struct Words {
    /// Which lengths they have, as bits of [`length_bit`]: most texts have another.
    lengths: u64,
    compared: Vec<String>,
    hashed: HashSet<String, BuildHasherDefault<NameHash>>,
}

impl Words {
    /// Of a list.
    pub(super) fn of(words: Vec<String>) -> Self {
        let lengths = words.iter().fold(0, |bits, word| bits | length_bit(word));
        if words.len() <= COMPARED_MAX {
            Self { lengths, compared: words, hashed: HashSet::default() }
        } else {
            Self { lengths, compared: Vec::new(), hashed: words.into_iter().collect() }
        }
    }

    /// Is a text one of them.
    #[inline]
    pub(super) fn contain(&self, text: &str) -> bool {
        if self.lengths & length_bit(text) == 0 {
            return false;
        }
        // No bytes are compared where there are none: see the namespaces of `fhir/xml.rs`.
        text.is_empty() || self.compared.iter().any(|word| word == text) || (!self.hashed.is_empty() && self.hashed.contains(text))
    }
}

/// The bit of a text's length; those of 63 bytes and more share the last.
#[inline]
fn length_bit(text: &str) -> u64 {
    1 << text.len().min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_its_words_and_no_others_however_many_they_are() {
        let long = ["x".repeat(63), "x".repeat(64), "x".repeat(200)];
        for count in [0, 1, COMPARED_MAX, COMPARED_MAX + 1, 40] {
            let many: Vec<String> = (0..count).map(|n| format!("word {n}")).collect();
            for with in [vec![], vec![String::new()], long.iter().skip(1).cloned().collect()] {
                let all: Vec<String> = many.iter().cloned().chain(with).collect();
                let words = Words::of(all.clone());
                let asked = all.iter().chain(&long).map(String::as_str).chain(["", "word", "word 40", "Word 0", "F"]);
                for text in asked {
                    assert_eq!(words.contain(text), all.iter().any(|word| word == text), "{text:?} in {all:?}");
                }
            }
        }
    }
}
