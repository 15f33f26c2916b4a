//! Character sets: which MSH-18 is read, and bytes to text and back (protocol rules, section 6).
//!
//! Reading never loses a character and never fails on bytes: what contradicts its label is read as what it is, and
//! said so in [`Decoded`]. UTF-16 and UTF-32 are not here: their bytes cannot pass an MLLP frame.

use encoding_rs::{Encoding, WINDOWS_1252};
use unicode_normalization::UnicodeNormalization;

/// How the bytes of a message are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Nothing or ASCII was said: UTF-8 where the bytes are, else Windows-1252.
    Unsaid,
    /// UTF-8.
    Utf8,
    /// One byte for each character; ISO 8859/1 is read as its superset Windows-1252.
    SingleByte(&'static Encoding),
}

impl Charset {
    /// The character set that a label of table 0211 (or a common spelling of it) names; `None` where it is not read here.
    pub fn of_label(label: &str) -> Option<Self> {
        // Nearly every message says one of these, so that they cost nothing.
        match label {
            "" | "ASCII" => return Some(Self::Unsaid),
            "UNICODE UTF-8" => return Some(Self::Utf8),
            _ => {}
        }
        let plain: String = label.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
        let single = |name: &str| Encoding::for_label(name.as_bytes()).map(Self::SingleByte);
        match plain.as_str() {
            "" | "ASCII" | "USASCII" => Some(Self::Unsaid),
            // `UNICODE` alone should be UCS-2, which cannot be framed; senders that write it send UTF-8.
            "UNICODEUTF8" | "UTF8" | "UNICODE" => Some(Self::Utf8),
            "WINDOWS1252" | "CP1252" => Some(Self::SingleByte(WINDOWS_1252)),
            _ => match plain.strip_prefix("ISO").unwrap_or(&plain).strip_prefix("8859")? {
                "1" => single("iso-8859-1"),
                "2" => single("iso-8859-2"),
                "3" => single("iso-8859-3"),
                "4" => single("iso-8859-4"),
                "5" => single("iso-8859-5"),
                "6" => single("iso-8859-6"),
                "7" => single("iso-8859-7"),
                "8" => single("iso-8859-8"),
                "9" => single("iso-8859-9"),
                "15" => single("iso-8859-15"),
                _ => None,
            },
        }
    }

    /// Bytes to text, with the set they were really read in.
    pub(super) fn decode(self, bytes: &[u8]) -> Decoded {
        let utf8 = std::str::from_utf8(bytes);
        let (text, charset, is_doubtful) = match (self, utf8) {
            (Self::Unsaid, Ok(text)) => (text.to_owned(), Self::Utf8, !bytes.is_ascii()),
            (Self::Utf8, Ok(text)) => (text.to_owned(), Self::Utf8, false),
            (Self::Unsaid | Self::Utf8, Err(_)) => (single_byte(bytes, WINDOWS_1252), Self::SingleByte(WINDOWS_1252), true),
            (Self::SingleByte(_), Ok(text)) if bytes.is_ascii() => (text.to_owned(), self, false),
            (Self::SingleByte(encoding), utf8) => (single_byte(bytes, encoding), self, utf8.is_ok()),
        };
        Decoded { text, charset, is_doubtful }
    }

    /// Text to bytes of this set. Characters that it does not have lose their diacritics, or become `?`; the number of them
    /// comes back, so that a name is never changed in silence.
    pub fn encode(self, text: &str) -> (Vec<u8>, usize) {
        let Self::SingleByte(encoding) = self else { return (text.as_bytes().to_vec(), 0) };
        let mut bytes = Vec::with_capacity(text.len());
        let mut unmappable = 0;
        let mut buffer = [0u8; 4];
        for letter in text.chars() {
            let (encoded, _, is_bad) = encoding.encode(letter.encode_utf8(&mut buffer));
            if is_bad {
                unmappable += 1;
                let base = letter.nfkd().find(char::is_ascii).unwrap_or('?');
                bytes.extend_from_slice(base.encode_utf8(&mut [0u8; 4]).as_bytes());
            } else {
                bytes.extend_from_slice(&encoded);
            }
        }
        (bytes, unmappable)
    }
}

/// Text, and what is to be said about how it was read.
pub(super) struct Decoded {
    pub(super) text: String,
    /// Never [`Charset::Unsaid`].
    pub(super) charset: Charset,
    /// The bytes needed a guess, or contradict their label.
    pub(super) is_doubtful: bool,
}

fn single_byte(bytes: &[u8], encoding: &'static Encoding) -> String {
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_known_by_their_many_spellings_and_others_are_refused() {
        for label in ["", "\"\"", "ASCII", "8859/1", "8859/15", "ISO-8859-1", "UNICODE UTF-8", "UTF-8", "unicode", "WINDOWS-1252"] {
            assert!(Charset::of_label(label).is_some(), "{label}");
        }
        for label in ["UNICODE UTF-16", "UNICODE UTF-32", "GB 18030-2000", "ISO IR87", "8859/99", "BIG-5", "KLINGON"] {
            assert!(Charset::of_label(label).is_none(), "{label}");
        }
    }

    fn check(label: &str, bytes: &[u8], text: &str, is_doubtful: bool) {
        let decoded = Charset::of_label(label).unwrap().decode(bytes);
        assert_eq!((decoded.text.as_str(), decoded.is_doubtful), (text, is_doubtful), "{label:?} {bytes:?}");
    }

    #[test]
    fn what_the_label_does_not_say_the_bytes_do() {
        check("", b"Zoe", "Zoe", false);
        check("", b"Zo\xC3\xAB", "Zoë", true);
        check("", b"Zo\xEB", "Zoë", true);
        check("ASCII", b"Zo\xEB", "Zoë", true);
        check("8859/1", b"Zo\xEB", "Zoë", false);
        check("8859/1", b"\x93Zo\xEB\x94", "“Zoë”", false);
        check("8859/15", b"\xA4", "€", false);
        check("UNICODE UTF-8", b"Zo\xC3\xAB", "Zoë", false);
    }

    #[test]
    fn bytes_that_contradict_their_label_are_read_and_said_to_be_doubtful() {
        check("UNICODE UTF-8", b"Zo\xEB", "Zoë", true);
        check("8859/1", b"Zo\xC3\xAB", "Zo\u{c3}«", true);
    }

    #[test]
    fn a_name_is_never_changed_in_silence_on_the_way_out() {
        let latin = Charset::of_label("8859/1").unwrap();
        assert_eq!(latin.encode("Zoë"), (b"Zo\xEB".to_vec(), 0));
        assert_eq!(latin.encode("Wałęsa Dvořák 李"), (b"Wa?esa Dvor\xE1k ?".to_vec(), 4));
        assert_eq!(Charset::Utf8.encode("ł"), ("ł".as_bytes().to_vec(), 0));
    }
}
