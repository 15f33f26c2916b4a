//! NHS numbers: ten digits, the last a check digit (modulus 11).

use std::fmt;

use serde::{Deserialize, Serialize};

/// An NHS number whose check digit is right. To hold one is to have checked it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct NhsNumber([u8; 10]);

/// Why a text is not an NHS number. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NhsNumberError {
    /// Not ten digits after spaces and hyphens were taken out.
    #[error("an NHS number has ten digits")]
    NotTenDigits,
    /// The check digit does not fit (or would have to be 10).
    #[error("the check digit does not fit; one of the digits is wrong")]
    CheckDigit,
    /// `0000000000` or one digit ten times: a placeholder.
    #[error("a placeholder, not an NHS number")]
    Placeholder,
}

impl NhsNumber {
    /// Reads `999 000 0018`, `999-000-0018` or `9990000018` (identity rules, section 1).
    pub fn parse(text: &str) -> Result<Self, NhsNumberError> {
        let mut digits = [0_u8; 10];
        let mut count = 0;
        for character in text.chars().filter(|c| !matches!(c, ' ' | '-')) {
            let digit = character.to_digit(10).and_then(|d| u8::try_from(d).ok()).ok_or(NhsNumberError::NotTenDigits)?;
            *digits.get_mut(count).ok_or(NhsNumberError::NotTenDigits)? = digit;
            count += 1;
        }
        if count != digits.len() {
            return Err(NhsNumberError::NotTenDigits);
        }
        let [first, rest @ ..] = &digits;
        if rest.iter().all(|digit| digit == first) {
            return Err(NhsNumberError::Placeholder);
        }
        let sum: u32 = digits.iter().zip((2..=10).rev()).map(|(digit, weight)| u32::from(*digit) * weight).sum();
        let check = match 11 - sum % 11 {
            11 => 0,
            other => other,
        };
        let [.., last] = digits;
        if check != u32::from(last) {
            return Err(NhsNumberError::CheckDigit);
        }
        Ok(Self(digits))
    }

    /// True in the range 999 000 0000 to 999 999 9999, which is never issued.
    pub fn is_test(&self) -> bool {
        self.0.starts_with(&[9, 9, 9])
    }
}

impl fmt::Display for NhsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ten digits are written as one text, not as ten numbers: every number of every message passes here.
        let digits = self.0.map(|digit| b'0' + digit);
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// A number that identifies a person is not shown by accident.
impl fmt::Debug for NhsNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NhsNumber(..)")
    }
}

impl TryFrom<String> for NhsNumber {
    type Error = NhsNumberError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<NhsNumber> for String {
    fn from(number: NhsNumber) -> Self {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_a_right_check_digit_are_taken_and_all_others_refused() {
        for good in ["9990000018", "999 000 0026", "999-000-0085", "5900005879", "9912003888"] {
            assert!(NhsNumber::parse(good).is_ok(), "{good}");
        }
        use NhsNumberError::*;
        let bad = [
            ("9990000019", CheckDigit),
            ("1112223330", CheckDigit),
            ("999000001", NotTenDigits),
            ("99900000180", NotTenDigits),
            ("1111111111", Placeholder),
            ("0000000000", Placeholder),
            ("", NotTenDigits),
            ("999000001X", NotTenDigits),
            ("٩990000018", NotTenDigits),
        ];
        for (text, why) in bad {
            assert_eq!(NhsNumber::parse(text), Err(why), "{text}");
        }
    }
}
