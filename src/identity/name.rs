//! Names: what is compared of them, and which of them are none.
//!
//! # Not here
//!
//! A plain name is for comparison only. It is never stored, shown or sent.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Words that stand where a newborn has no name yet (identity rules, section 4).
const PLACEHOLDER_WORDS: [&str; 19] = [
    "BABY", "INFANT", "BABE", "BOY", "GIRL", "MALE", "FEMALE", "TWIN", "TRIPLET", "ONE", "TWO", "THREE", "A", "B", "1", "2", "3",
    "UNKNOWN", "NK",
];

/// For comparison only: NFKD, no diacritics, upper case, letters only (identity rules, section 2).
pub fn plain_name(name: &str) -> String {
    name.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_uppercase).filter(|c| c.is_alphabetic()).collect()
}

/// True for `BABY`, `TWIN ONE`, `B/O SMITH`, and where no given name is there (identity rules, section 4).
pub fn is_placeholder(family: Option<&str>, given: &[String]) -> bool {
    let given = given.join(" ");
    if given.trim().is_empty() {
        return true;
    }
    [family.unwrap_or_default(), &given].into_iter().any(stands_in)
}

/// True for a text that says "a baby" and not who.
fn stands_in(text: &str) -> bool {
    let text = text.trim().to_uppercase();
    if text.starts_with("B/O") {
        return true;
    }
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [] => false,
        ["NOT", "KNOWN"] | ["BABY" | "BABE" | "INFANT" | "TWIN" | "BOY" | "GIRL", "OF", ..] => true,
        words => words.iter().all(|word| PLACEHOLDER_WORDS.contains(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_only_in_accents_case_and_marks_are_the_same_name() {
        let same = [
            ("O'Connor", "OCONNOR"),
            ("Núñez-Ruiz", "nunez ruiz"),
            ("Žižek", "ZIZEK"),
            ("Weiß", "WEISS"),
            ("ﬁsher", "Fisher"),
            ("de la Cruz", "DELACRUZ"),
        ];
        for (a, b) in same {
            assert_eq!(plain_name(a), plain_name(b), "{a} {b}");
        }
        assert_ne!(plain_name("Ann"), plain_name("Anna"));
        assert_eq!(plain_name("12 - '"), "", "nothing to compare");
        assert_eq!(plain_name("李"), "李", "letters of every script count");
    }

    #[test]
    fn names_given_to_babies_without_a_name_are_placeholders() {
        let placeholders: [(&str, &[&str]); 16] = [
            ("SMITH", &["BABY"]),
            ("SMITH", &["Baby", "Boy"]),
            ("SMITH", &["Twin One"]),
            ("SMITH", &["TWIN", "2"]),
            ("SMITH", &["infant"]),
            ("SMITH", &["MALE"]),
            ("SMITH", &["A"]),
            ("SMITH", &["B/O ROSE"]),
            ("SMITH", &["Baby of Rose"]),
            ("B/O SMITH", &["ROSE"]),
            ("BABY", &["ROSE"]),
            ("BABY OF SMITH", &["ROSE"]),
            ("NOT KNOWN", &["ROSE"]),
            ("SMITH", &["NK"]),
            ("SMITH", &[]),
            ("SMITH", &[" "]),
        ];
        for (family, given) in placeholders {
            let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
            assert!(is_placeholder(Some(family), &given), "{family} {given:?}");
        }
        let names: [(&str, &[&str]); 8] = [
            ("SMITH", &["ROSE"]),
            ("SMITH", &["Amara", "B"]),
            ("BOYD", &["ROSE"]),
            ("SMITH", &["Malea"]),
            ("SMITH", &["Baby", "Rose"]),
            ("ONE-JONES", &["ROSE"]),
            ("KNOWN", &["ROSE"]),
            ("TWINING", &["ABE"]),
        ];
        for (family, given) in names {
            let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
            assert!(!is_placeholder(Some(family), &given), "{family} {given:?}");
        }
        assert!(!is_placeholder(None, &["ROSE".to_owned()]), "no family name is still a name");
    }
}
