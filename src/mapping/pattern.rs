//! The small patterns of `pattern = "…"`: the whole value must fit.
//!
//! ```text
//! A      that character              [A-Z0-9]  one of these        [^0]  none of these
//! \d     a digit                     \w        a letter or digit   .     anything
//! ?  *  +  {3}  {2,4}                how often the thing before it
//! ```
//!
//! # Invariants
//!
//! - Matching costs at most pattern length times text length: no pattern can hang the broker.
//!
//! # Not here
//!
//! No groups, no alternatives: two shapes of a value are two rules, or a table.

use std::ops::Range;

/// The longest pattern.
const PATTERN_MAX: usize = 200;
/// The most repetitions that can be asked for.
const TIMES_MAX: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    ranges: Vec<(char, char)>,
    negated: bool,
    least: usize,
    most: usize,
}

impl Piece {
    fn takes(&self, character: char) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&character)) != self.negated
    }
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    /// As written.
    pub text: String,
}

impl Pattern {
    /// Compiles a pattern; the error names the place in it.
    pub fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        if text.len() > PATTERN_MAX {
            return Err((0..text.len(), format!("a pattern has at most {PATTERN_MAX} characters")));
        }
        let mut rest = text.char_indices().peekable();
        let mut pieces: Vec<Piece> = Vec::new();
        while let Some((at, character)) = rest.next() {
            let one = |ranges| Piece { ranges, negated: false, least: 1, most: 1 };
            let piece = match character {
                '.' => Piece { ranges: Vec::new(), negated: true, least: 1, most: 1 },
                '\\' => match rest.next() {
                    Some((_, 'd')) => one(vec![('0', '9')]),
                    Some((_, 'w')) => one(vec![('0', '9'), ('A', 'Z'), ('a', 'z')]),
                    Some((_, other)) if !other.is_alphanumeric() => one(vec![(other, other)]),
                    _ => return Err((at..at + 1, "after \\ stands d, w or a sign".to_owned())),
                },
                '[' => set(&mut rest, at)?,
                '?' | '*' | '+' | '{' => {
                    let (least, most) = times(character, &mut rest, at)?;
                    let last = pieces.last_mut().filter(|piece| (piece.least, piece.most) == (1, 1));
                    let last = last.ok_or((at..at + 1, "there is nothing here to repeat".to_owned()))?;
                    (last.least, last.most) = (least, most);
                    continue;
                }
                '(' | ')' | '|' | '^' | '$' => {
                    return Err((at..at + 1, format!("{character:?} is not part of a pattern; write \\{character} for the sign itself")));
                }
                other => one(vec![(other, other)]),
            };
            pieces.push(piece);
        }
        Ok(Self { pieces, text: text.to_owned() })
    }

    /// True where the whole text fits.
    pub fn fits(&self, text: &str) -> bool {
        let letters: Vec<char> = text.chars().take(2_000).collect();
        // Which numbers of letters the pieces so far can have taken.
        let mut reach = vec![false; letters.len() + 1];
        if let Some(start) = reach.first_mut() {
            *start = true;
        }
        for piece in &self.pieces {
            let mut next = vec![false; letters.len() + 1];
            // The nearest start still in reach serves best: scan once, keeping how long the current run is.
            for (from, _) in reach.iter().enumerate().filter(|(_, open)| **open) {
                let run = letters.iter().skip(from).take(piece.most).take_while(|letter| piece.takes(**letter)).count();
                next.iter_mut().skip(from + piece.least).take((run + 1).saturating_sub(piece.least)).for_each(|open| *open = true);
            }
            reach = next;
        }
        text.chars().nth(2_000).is_none() && reach.last() == Some(&true)
    }
}

type Characters<'t> = std::iter::Peekable<std::str::CharIndices<'t>>;

fn set(rest: &mut Characters<'_>, at: usize) -> Result<Piece, (Range<usize>, String)> {
    let negated = rest.next_if(|(_, c)| *c == '^').is_some();
    let mut ranges = Vec::new();
    loop {
        let (_, first) = rest.next().ok_or((at..at + 1, "this [ has no ]".to_owned()))?;
        if first == ']' {
            break;
        }
        let last = if rest.next_if(|(_, c)| *c == '-').is_some() { rest.next().map_or(first, |(_, c)| c) } else { first };
        if last == ']' || last < first {
            return Err((at..at + 1, "a range like A-Z is expected between [ and ]".to_owned()));
        }
        ranges.push((first, last));
    }
    if ranges.is_empty() {
        return Err((at..at + 1, "nothing stands between [ and ]".to_owned()));
    }
    Ok(Piece { ranges, negated, least: 1, most: 1 })
}

fn times(sign: char, rest: &mut Characters<'_>, at: usize) -> Result<(usize, usize), (Range<usize>, String)> {
    match sign {
        '?' => return Ok((0, 1)),
        '*' => return Ok((0, TIMES_MAX)),
        '+' => return Ok((1, TIMES_MAX)),
        _ => {}
    }
    let mut inside = String::new();
    for (_, character) in rest.by_ref() {
        if character == '}' {
            let (least, most) = inside.split_once(',').unwrap_or((&inside, &inside));
            let bounds = (least.trim().parse().ok(), most.trim().parse().ok());
            return match bounds {
                (Some(least), Some(most)) if least <= most && most <= TIMES_MAX => Ok((least, most)),
                _ => Err((at..at + 1, "{3} or {2,4} is expected".to_owned())),
            };
        }
        inside.push(character);
    }
    Err((at..at + 1, "this { has no }".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_value_or_not_at_all() {
        let cases = [
            (r"[A-Z]\d{5}", "F84003", true),
            (r"[A-Z]\d{5}", "F840031", false),
            (r"\d+", "12", true),
            (r"\d+", "", false),
            (r"A?B*", "", true),
            (r"a.c", "abc", true),
            (r"[^0]\d*", "01", false),
            (r"\d{2,4}", "123", true),
            (r"\d{2,4}", "12345", false),
            (r"\w*x", "xxx", true),
        ];
        for (pattern, text, fits) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().fits(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_says_where() {
        for (pattern, at) in [("(a)", 0), ("a|b", 1), ("*a", 0), ("[a", 0), ("a{x}", 1), ("a{2", 1), (r"a\q", 1), ("a**", 2)] {
            assert_eq!(Pattern::parse(pattern).unwrap_err().0.start, at, "{pattern}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = Pattern::parse(&"a*".repeat(60)).unwrap();
        assert!(!pattern.fits(&format!("{}b", "a".repeat(1_900))));
    }
}
