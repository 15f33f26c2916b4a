//! Directory files: CSV by header name, packed small.
//!
//! # What always holds
//!
//! - Columns are found by their name, in any order; a file that lacks one it needs is refused with the names it may have.
//! - A postcode stands once; where a file has it twice, the one still in use wins. Terminated postcodes are kept, because
//!   children live on at them.
//!
//! # Not here
//!
//! Which hub a place belongs to: [`super::load`] says it while it reads.

use std::collections::HashMap;
use std::ops::Range;

use csv::ByteRecord;

use super::RoutingError;
use super::postcode::Postcode;

/// Where a postcode lies, as its directory says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Local authority, GSS code.
    pub(super) la: String,
    /// Sub-ICB, as the file has it.
    pub(super) sub_icb: String,
}

/// All postcodes of a directory file: eight bytes each.
#[derive(Debug, Default)]
pub(super) struct Postcodes {
    /// Packed postcode and index into `places`, sorted.
    sorted: Vec<u64>,
    places: Vec<Place>,
    /// Rows that could not be used.
    pub(super) skipped: usize,
}

/// Bits of an index into the places.
const PLACE_BITS: u32 = 16;

impl Postcodes {
    /// Reads ONSPD, NSPL or any file with such columns.
    pub(super) fn read(bytes: &[u8], file: &str) -> Result<Self, RoutingError> {
        let mut table = Table::open(bytes, file)?;
        let postcode = table.column("postcode", &|name| matches!(name, "pcds" | "pcd7" | "pcd8" | "pcd" | "pcd2" | "postcode"))?;
        let la = table.column("local authority", &|name| matches!(name, "oslaua" | "laua" | "la" | "la_gss") || is_dated(name, "lad"))?;
        let sub_icb = table.find(&|name| matches!(name, "ccg" | "sub_icb" | "sicbl") || is_dated(name, "sicbl"));
        let ended = table.find(&|name| name == "doterm");

        let mut postcodes = Self::default();
        let mut known: HashMap<Place, u64> = HashMap::new();
        while let Some(row) = table.next()? {
            let cell = |column: Option<usize>| column.and_then(|column| row.get(column)).map(text).unwrap_or_default();
            let place = Place { la: cell(Some(la)).to_ascii_uppercase(), sub_icb: cell(sub_icb).to_ascii_uppercase() };
            let Some(packed) = Postcode::read(&cell(Some(postcode))).filter(|_| !place.la.is_empty()).map(Postcode::packed) else {
                postcodes.skipped += 1;
                continue;
            };
            let index = match known.get(&place) {
                Some(index) => *index,
                None => {
                    let index = postcodes.places.len() as u64;
                    if index >> PLACE_BITS != 0 {
                        return Err(table.error("too many different places; is the local authority column the right one?"));
                    }
                    postcodes.places.push(place.clone());
                    known.insert(place, index);
                    index
                }
            };
            // In use sorts before terminated.
            let terminated = u64::from(!cell(ended).is_empty());
            postcodes.sorted.push((packed << 1 | terminated) << PLACE_BITS | index);
        }
        postcodes.pack();
        Ok(postcodes)
    }

    /// Sorts, keeps each postcode once, and gives up the bit that said which of two is in use.
    fn pack(&mut self) {
        let postcode = |row: u64| row >> (PLACE_BITS + 1);
        self.sorted.sort_unstable();
        self.sorted.dedup_by_key(|row| postcode(*row));
        for row in &mut self.sorted {
            *row = postcode(*row) << PLACE_BITS | (*row & ((1 << PLACE_BITS) - 1));
        }
        self.sorted.shrink_to_fit();
    }

    /// Where it lies.
    pub(super) fn find(&self, postcode: Postcode) -> Option<&Place> {
        let at = self.sorted.binary_search_by_key(&postcode.packed(), |row| row >> PLACE_BITS).ok()?;
        self.place(*self.sorted.get(at)?)
    }

    /// Every postcode with its place, in order: those of an outcode together.
    pub(super) fn all(&self) -> impl Iterator<Item = (Postcode, &Place)> {
        self.sorted.iter().filter_map(|row| Some((Postcode::from_packed(row >> PLACE_BITS), self.place(*row)?)))
    }

    fn place(&self, row: u64) -> Option<&Place> {
        self.places.get(usize::try_from(row & ((1 << PLACE_BITS) - 1)).ok()?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

/// Practice code to sub-ICB, both in capitals.
pub(super) fn practices(bytes: &[u8], file: &str) -> Result<HashMap<String, String>, RoutingError> {
    let mut table = Table::open(bytes, file)?;
    let practice = table
        .column("practice", &|name| matches!(name, "practice_ods" | "practice" | "ods" | "ods_code" | "organisation_code" | "code"))?;
    let sub_icb =
        table.column("sub-ICB", &|name| matches!(name, "sub_icb" | "sub_icb_ods" | "ccg" | "commissioner") || is_dated(name, "sicbl"))?;
    let mut practices = HashMap::new();
    while let Some(row) = table.next()? {
        let cell = |column: usize| row.get(column).map(text).unwrap_or_default().to_ascii_uppercase();
        let (practice, sub_icb) = (cell(practice), cell(sub_icb));
        if !practice.is_empty() && !sub_icb.is_empty() {
            practices.insert(practice, sub_icb);
        }
    }
    Ok(practices)
}

fn text(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).trim().to_owned()
}

/// `lad25cd`, `sicbl24cd`: the year moves with each edition.
fn is_dated(name: &str, stem: &str) -> bool {
    let year = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix("cd"));
    year.is_some_and(|year| year.len() == 2 && year.bytes().all(|b| b.is_ascii_digit()))
}

/// A CSV file whose first line names the columns.
struct Table<'a> {
    reader: csv::Reader<&'a [u8]>,
    header: Vec<String>,
    row: ByteRecord,
    file: &'a str,
    bytes: usize,
}

impl<'a> Table<'a> {
    fn open(bytes: &'a [u8], file: &'a str) -> Result<Self, RoutingError> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
        let header = match reader.byte_headers() {
            Ok(header) => header.iter().map(|name| text(name).to_ascii_lowercase()).collect(),
            Err(_) => Vec::new(),
        };
        Ok(Self { reader, header, row: ByteRecord::new(), file, bytes: bytes.len() })
    }

    fn find(&self, is_it: &dyn Fn(&str) -> bool) -> Option<usize> {
        self.header.iter().position(|name| is_it(name))
    }

    fn column(&self, what: &str, is_it: &dyn Fn(&str) -> bool) -> Result<usize, RoutingError> {
        let known =
            ["pcds", "pcd7", "postcode", "oslaua", "laua", "lad25cd", "practice_ods", "organisation_code", "sub_icb", "ccg", "sicbl24cd"];
        let names: Vec<&str> = known.into_iter().filter(|name| is_it(name)).collect();
        self.find(is_it).ok_or_else(|| RoutingError {
            file: self.file.to_owned(),
            line: 1,
            column: 1,
            span: 0..self.header.join(",").len().min(self.bytes),
            message: format!("no column for the {what}; name one of the columns {}", names.join(", ")),
        })
    }

    fn next(&mut self) -> Result<Option<&ByteRecord>, RoutingError> {
        match self.reader.read_byte_record(&mut self.row) {
            Ok(true) => Ok(Some(&self.row)),
            Ok(false) => Ok(None),
            Err(_) => Err(self.error("this line cannot be read as CSV")),
        }
    }

    fn error(&self, message: &str) -> RoutingError {
        let position = self.row.position().unwrap_or(self.reader.position());
        let start = usize::try_from(position.byte()).unwrap_or_default();
        let span: Range<usize> = start..start;
        let line = usize::try_from(position.line()).unwrap_or_default();
        RoutingError { file: self.file.to_owned(), line, column: 1, span, message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn la(postcodes: &Postcodes, postcode: &str) -> Option<String> {
        postcodes.find(Postcode::read(postcode).unwrap()).map(|place| place.la.clone())
    }

    #[test]
    fn columns_are_found_by_name_wherever_they_stand() {
        for file in [
            "pcds,doterm,oslaua,ccg\nSE1 9ZZ,,E09000028,E38000244\n",
            "\u{FEFF}CCG,LAUA,PCDS\nE38000244,E09000028,SE1 9ZZ\n",
            "lad25cd,x,pcds\r\nE09000028,y,se19zz\r\n",
            "\"pcds\",\"doterm\",\"oslaua\"\n\"SE1 9ZZ\",\"\",\"E09000028\"\n",
        ] {
            let postcodes = Postcodes::read(file.as_bytes(), "postcodes.csv").unwrap();
            assert_eq!(la(&postcodes, "SE1 9ZZ").as_deref(), Some("E09000028"), "{file}");
            assert_eq!(la(&postcodes, "SE1 9ZY"), None);
        }
    }

    #[test]
    fn a_file_without_a_needed_column_says_which_names_it_may_have() {
        let error = Postcodes::read(b"pcds,doterm\nSE1 9ZZ,\n", "postcodes.csv").unwrap_err();
        assert_eq!(
            error.to_string(),
            "postcodes.csv:1:1: no column for the local authority; name one of the columns oslaua, laua, lad25cd"
        );
        let error = practices(b"practice_ods,name\n", "practices.csv").unwrap_err();
        assert!(error.message.starts_with("no column for the sub-ICB"), "{error}");
        assert!(Postcodes::read(b"", "postcodes.csv").is_err());
    }

    #[test]
    fn a_terminated_postcode_is_kept_and_gives_way_to_one_in_use() {
        let file = "pcds,doterm,oslaua\nSE1 9ZZ,199806,E09000001\nSE1 9ZZ,,E09000028\nW5 9ZZ,200101,E09000009\n";
        let postcodes = Postcodes::read(file.as_bytes(), "postcodes.csv").unwrap();
        assert_eq!(la(&postcodes, "SE1 9ZZ").as_deref(), Some("E09000028"));
        assert_eq!(la(&postcodes, "W5 9ZZ").as_deref(), Some("E09000009"));
    }

    #[test]
    fn rows_that_cannot_be_used_are_counted_and_the_others_are_read() {
        let file = "pcds,oslaua\nGIR 0AA,E08000011\nSE1 9ZZ,\nshort\nW5 9ZZ,E09000009\n";
        let postcodes = Postcodes::read(file.as_bytes(), "postcodes.csv").unwrap();
        assert_eq!((postcodes.skipped, postcodes.sorted.len()), (3, 1));
    }

    #[test]
    fn every_postcode_of_a_large_file_is_found_again() {
        let mut file = "pcds,oslaua\n".to_owned();
        let postcode = |n: usize| {
            format!("SE{} {}{}{}", n % 29 + 1, n % 10, char::from(b'A' + (n / 10 % 26) as u8), char::from(b'A' + (n / 260 % 26) as u8))
        };
        for n in 0..6_760 {
            file.push_str(&format!("{},E{:08}\n", postcode(n), n % 400));
        }
        let postcodes = Postcodes::read(file.as_bytes(), "postcodes.csv").unwrap();
        assert_eq!(postcodes.skipped, 0);
        for n in 0..6_760 {
            assert!(la(&postcodes, &postcode(n)).is_some(), "{}", postcode(n));
        }
        assert_eq!(postcodes.all().count(), postcodes.sorted.len());
    }
}
