//! Postcodes: one spelling, and a number that sorts like it.
//!
//! # Not here
//!
//! Whether a postcode exists: only a directory file knows.

use std::fmt;

/// A postcode of the right shape: outcode and incode, packed six bits a character.
///
/// The outcode comes first, so that all postcodes of an outcode stand together in a sorted table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Postcode(u64);

/// Bits of one character.
const BITS: u32 = 6;
/// Characters of the incode.
const INCODE: usize = 3;
/// Characters of the longest outcode.
const OUTCODE_MAX: usize = 4;

/// Postcode `SE1 9ZZ` from any spelling; `None` where it cannot be one (routing rules, section 4).
pub fn normal_postcode(text: &str) -> Option<String> {
    Postcode::read(text).map(|postcode| postcode.to_string())
}

impl Postcode {
    /// Reads `se1 9zz`, `SE19ZZ`, `SEI 9ZZ`. The letter O and the digit 0, and I and 1, are put right where only one of
    /// them can stand.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut letters = [0_u8; OUTCODE_MAX + INCODE];
        let mut count = 0;
        for character in text.chars().filter(|c| !c.is_whitespace()) {
            let byte = u8::try_from(character).ok().filter(u8::is_ascii_alphanumeric)?;
            *letters.get_mut(count)? = byte.to_ascii_uppercase();
            count += 1;
        }
        let (outcode, incode) = letters.get_mut(..count)?.split_at_mut_checked(count.checked_sub(INCODE)?)?;
        mend(outcode, incode);
        (is_outcode(outcode) && is_incode(incode)).then(|| Self::pack(outcode, incode))
    }

    fn pack(outcode: &[u8], incode: &[u8]) -> Self {
        let pad = std::iter::repeat_n(&0_u8, OUTCODE_MAX.saturating_sub(outcode.len()));
        let code = |byte: &u8| match byte {
            b'0'..=b'9' => u64::from(byte - b'0') + 1,
            b'A'..=b'Z' => u64::from(byte - b'A') + 11,
            _ => 0,
        };
        Self(outcode.iter().chain(pad).chain(incode).fold(0, |packed, byte| packed << BITS | code(byte)))
    }

    pub(super) fn packed(self) -> u64 {
        self.0
    }

    pub(super) fn from_packed(packed: u64) -> Self {
        Self(packed)
    }

    /// The outcode by itself, packed.
    pub(super) fn outcode(self) -> u64 {
        self.0 >> (BITS * 3)
    }

    /// ZZ99: no fixed abode, not known, abroad; no place (routing rules, section 3).
    pub(super) fn is_pseudo(self) -> bool {
        self.outcode() == Self::pack(b"ZZ99", &[]).0
    }
}

/// O for 0 and I for 1, and the reverse, where the shape leaves one choice.
fn mend(outcode: &mut [u8], incode: &mut [u8]) {
    if let [digit, _, _] = incode {
        *digit = as_digit(*digit);
    }
    match outcode {
        [area, district] => (*area, *district) = (as_letter(*area), as_digit(*district)),
        [area, second, third] => {
            *area = as_letter(*area);
            // Two letters of area leave one place for a digit. Where the second itself may be either, nothing is certain.
            if second.is_ascii_alphabetic() && !matches!(second, b'O' | b'I') {
                *third = as_digit(*third);
            }
        }
        [area, second, third, _] => (*area, *second, *third) = (as_letter(*area), as_letter(*second), as_digit(*third)),
        _ => {}
    }
}

fn as_digit(byte: u8) -> u8 {
    match byte {
        b'O' => b'0',
        b'I' => b'1',
        other => other,
    }
}

fn as_letter(byte: u8) -> u8 {
    match byte {
        b'0' => b'O',
        b'1' => b'I',
        other => other,
    }
}

/// One or two letters, a digit, perhaps a letter or digit more.
fn is_outcode(outcode: &[u8]) -> bool {
    let (letter, digit, either) = (u8::is_ascii_alphabetic, u8::is_ascii_digit, u8::is_ascii_alphanumeric);
    match outcode {
        [a, b] => letter(a) && digit(b),
        [a, b, c] => letter(a) && (digit(b) && either(c) || letter(b) && digit(c)),
        [a, b, c, d] => letter(a) && letter(b) && digit(c) && either(d),
        _ => false,
    }
}

fn is_incode(incode: &[u8]) -> bool {
    matches!(incode, [a, b, c] if a.is_ascii_digit() && b.is_ascii_alphabetic() && c.is_ascii_alphabetic())
}

impl fmt::Display for Postcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..OUTCODE_MAX + INCODE).rev() {
            if place + 1 == INCODE {
                f.write_str(" ")?;
            }
            let shift = u32::try_from(place).unwrap_or_default() * BITS;
            match u8::try_from(self.0 >> shift & ((1 << BITS) - 1)).unwrap_or_default() {
                0 => {}
                code @ 1..=10 => write!(f, "{}", code - 1)?,
                code => write!(f, "{}", char::from(b'A' + (code - 11).min(25)))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_postcode_has_one_spelling_whatever_was_typed() {
        for (typed, expected) in [
            ("SE1 9ZZ", "SE1 9ZZ"),
            ("se19zz", "SE1 9ZZ"),
            (" S E 1 9 Z Z ", "SE1 9ZZ"),
            ("w5 9zz", "W5 9ZZ"),
            ("SW1A2AA", "SW1A 2AA"),
            ("M11AE", "M1 1AE"),
            ("CR26XH", "CR2 6XH"),
            ("DN551PT", "DN55 1PT"),
            ("W1A 0AX", "W1A 0AX"),
            ("ZZ993VZ", "ZZ99 3VZ"),
            // Only one of letter and digit can stand here.
            ("SEI 9ZZ", "SE1 9ZZ"),
            ("SE1 OAA", "SE1 0AA"),
            ("W5 IAA", "W5 1AA"),
            ("0X1 1AA", "OX1 1AA"),
            ("SW1A OAA", "SW1A 0AA"),
            ("BRIO 1AA", "BR1O 1AA"),
            ("CO1O 1AA", "CO1O 1AA"),
            ("E10 5NP", "E10 5NP"),
        ] {
            assert_eq!(normal_postcode(typed).as_deref(), Some(expected), "{typed}");
        }
        for not_one in [
            "",
            "SE1",
            "SE1 9Z",
            "SE1 9ZZZ",
            "SE1-9ZZ",
            "1SE 9ZZ",
            "SE1 99Z",
            "SE1 Z99",
            "SSE1 9ZZ",
            "SE111 9ZZ",
            "LONDON",
            "ＳＥ1 9ZZ",
            "GIR 0AA",
        ] {
            assert_eq!(normal_postcode(not_one), None, "{not_one}");
        }
    }

    #[test]
    fn only_zz99_is_no_place() {
        assert!(Postcode::read("zz99 3wz").unwrap().is_pseudo());
        assert!(!Postcode::read("ZZ9 3WZ").unwrap().is_pseudo());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_normal_postcode_is_normal_already(text in "[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}") {
            prop_assert_eq!(normal_postcode(&text), Some(text));
        }

        #[test]
        fn no_text_is_too_strange_to_be_asked(text in "\\PC{0,12}") {
            if let Some(normal) = normal_postcode(&text) {
                prop_assert_eq!(normal_postcode(&normal), Some(normal));
            }
        }

        #[test]
        fn different_postcodes_have_different_numbers(a in "[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}", b in "[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}") {
            prop_assert_eq!(a == b, Postcode::read(&a) == Postcode::read(&b));
        }
    }
}
