//! Directory files: CSV by header name, packed small.
//!
//! # What always holds
//!
//! - Columns are found by their name, in any order; a file that lacks one it needs is refused with the names it may have. A practice file
//!   without a header, as the Organisation Data Service publishes it, is read by the positions that hubs.toml may give.
//! - A postcode stands once; where a file has it twice, the one still in use wins. Terminated postcodes are kept, because
//!   children live on at them.
//!
//! # Not here
//!
//! Which hub a place belongs to: [`super::load`] says it while it reads.

use std::collections::HashMap;
use std::io::Read;

use super::RoutingError;
use super::postcode::Postcode;
use super::rows::{FileReport, Rows};

/// All postcodes of a directory file: eight bytes each.
#[derive(Debug, Default)]
pub(super) struct Postcodes {
    /// Packed postcode and index into `authorities`, sorted.
    sorted: Vec<u64>,
    /// Local authorities, GSS codes.
    authorities: Vec<String>,
    /// What became of the rows.
    pub(super) report: FileReport,
}

/// Bits of an index into the local authorities.
const PLACE_BITS: u32 = 16;

const WRONG_CELLS: &str = "not as many cells as the header, or an open quote";
const NO_POSTCODE: &str = "no postcode that can be read";
const NO_AUTHORITY: &str = "no local authority";
const TWICE: &str = "the postcode stands there already";
const NO_PRACTICE: &str = "no practice code";
const NO_SUB_ICB: &str = "no sub-ICB";

impl Postcodes {
    /// Reads ONSPD, NSPL or any file with such columns.
    pub(super) fn read(reader: Box<dyn Read + '_>, file: &str) -> Result<Self, RoutingError> {
        let mut rows = Rows::new(reader, file);
        let header = header(&mut rows)?;
        let is_postcode = |name: &str| matches!(name, "pcds" | "pcd7" | "pcd8" | "pcd" | "pcd2" | "postcode");
        // The form with one space reads best; the others do as well.
        let best = header.iter().position(|name| name == "pcds");
        let postcode = best.map_or_else(|| column(&rows, &header, "postcode", &is_postcode), Ok)?;
        let is_authority = |name: &str| matches!(name, "oslaua" | "laua" | "la" | "la_gss") || is_dated(name, "lad");
        let la = column(&rows, &header, "local authority", &is_authority)?;
        let ended = header.iter().position(|name| name == "doterm");

        let mut postcodes = Self { report: FileReport { file: file.to_owned(), ..FileReport::default() }, ..Self::default() };
        let mut known: HashMap<String, u64> = HashMap::new();
        while rows.next()? {
            postcodes.report.rows += 1;
            if rows.count() != header.len() {
                postcodes.report.skip(WRONG_CELLS, rows.number());
                continue;
            }
            let authority = rows.cell(la);
            let Some(packed) = Postcode::read(&rows.cell(postcode)).map(Postcode::packed) else {
                postcodes.report.skip(NO_POSTCODE, rows.number());
                continue;
            };
            if authority.is_empty() {
                postcodes.report.skip(NO_AUTHORITY, rows.number());
                continue;
            }
            let index = match known.get(authority.as_ref()) {
                Some(index) => *index,
                None => {
                    let index = postcodes.authorities.len() as u64;
                    if index >> PLACE_BITS != 0 {
                        return Err(rows.error("too many different places; is the local authority column the right one?"));
                    }
                    postcodes.authorities.push(authority.to_ascii_uppercase());
                    known.insert(authority.into_owned(), index);
                    index
                }
            };
            // In use sorts before terminated.
            let terminated = u64::from(ended.is_some_and(|ended| !rows.cell(ended).is_empty()));
            postcodes.sorted.push((packed << 1 | terminated) << PLACE_BITS | index);
        }
        postcodes.pack();
        Ok(postcodes)
    }

    /// Sorts, keeps each postcode once, and gives up the bit that said which of two is in use.
    fn pack(&mut self) {
        let postcode = |row: u64| row >> (PLACE_BITS + 1);
        let read = self.sorted.len();
        self.sorted.sort_unstable();
        self.sorted.dedup_by_key(|row| postcode(*row));
        for row in &mut self.sorted {
            *row = postcode(*row) << PLACE_BITS | (*row & ((1 << PLACE_BITS) - 1));
        }
        self.sorted.shrink_to_fit();
        self.report.used = self.sorted.len();
        if self.report.used < read {
            self.report.skipped.push(super::rows::Skipped { reason: TWICE, rows: read - self.report.used, lines: Vec::new() });
        }
    }

    /// The local authority in which it lies.
    pub(super) fn find(&self, postcode: Postcode) -> Option<&str> {
        let at = self.sorted.binary_search_by_key(&postcode.packed(), |row| row >> PLACE_BITS).ok()?;
        self.authority(*self.sorted.get(at)?)
    }

    /// Every postcode with its local authority, in order: those of an outcode together.
    pub(super) fn all(&self) -> impl Iterator<Item = (Postcode, &str)> {
        self.sorted.iter().filter_map(|row| Some((Postcode::from_packed(row >> PLACE_BITS), self.authority(*row)?)))
    }

    /// The local authorities that have a postcode.
    pub(super) fn authorities(&self) -> &[String] {
        &self.authorities
    }

    fn authority(&self, row: u64) -> Option<&str> {
        self.authorities.get(usize::try_from(row & ((1 << PLACE_BITS) - 1)).ok()?).map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

/// Practice code to sub-ICB, both in capitals. `positions`: columns of code and sub-ICB, from 1, in a file without a header.
pub(super) fn practices(
    reader: Box<dyn Read + '_>,
    file: &str,
    positions: (usize, usize),
) -> Result<(HashMap<String, String>, FileReport), RoutingError> {
    let mut rows = Rows::new(reader, file);
    let header = header(&mut rows)?;
    let mut report = FileReport { file: file.to_owned(), ..FileReport::default() };
    let mut practices = HashMap::new();
    let has_header = !header.first().is_some_and(|cell| is_practice_code(cell));
    let (practice, sub_icb) = if has_header {
        let is_practice = |name: &str| {
            matches!(name, "practice_ods" | "practice" | "practice_code" | "ods" | "ods_code" | "organisation_code" | "code" | "org_code")
        };
        let is_sub_icb = |name: &str| {
            matches!(name, "sub_icb" | "sub_icb_ods" | "sub_icb_location" | "sub_icb_code" | "ccg" | "ccg_code" | "commissioner")
                || is_dated(name, "sicbl")
        };
        (column(&rows, &header, "practice", &is_practice)?, column(&rows, &header, "sub-ICB", &is_sub_icb)?)
    } else {
        let (practice, sub_icb) = (positions.0.saturating_sub(1), positions.1.saturating_sub(1));
        if header.len() <= practice.max(sub_icb) {
            let message = format!(
                "the file has no header, and {} columns: code and sub-ICB are looked for in columns {} and {}; give it a header, or correct practice_columns in hubs.toml",
                header.len(),
                positions.0,
                positions.1
            );
            return Err(rows.error(&message));
        }
        (practice, sub_icb)
    };
    let mut has_row = if has_header { rows.next()? } else { true };
    while has_row {
        report.rows += 1;
        let (code, area) = (rows.cell(practice).to_ascii_uppercase(), rows.cell(sub_icb).to_ascii_uppercase());
        match (rows.count() == header.len(), code.is_empty(), area.is_empty()) {
            (false, ..) => report.skip(WRONG_CELLS, rows.number()),
            (_, true, _) => report.skip(NO_PRACTICE, rows.number()),
            (_, _, true) => report.skip(NO_SUB_ICB, rows.number()),
            _ => drop(practices.insert(code, area)),
        }
        has_row = rows.next()?;
    }
    report.used = practices.len();
    Ok((practices, report))
}

/// `a83001`: a letter and five digits or letters, as no name of a column is.
fn is_practice_code(cell: &str) -> bool {
    let (letter, rest) = cell.split_at_checked(1).unwrap_or_default();
    letter.bytes().all(|b| b.is_ascii_alphabetic()) && rest.len() == 5 && rest.bytes().all(|b| b.is_ascii_digit())
}

/// `lad25cd`, `sicbl24cd`: the year moves with each edition.
fn is_dated(name: &str, stem: &str) -> bool {
    let year = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix("cd"));
    year.is_some_and(|year| year.len() == 2 && year.bytes().all(|b| b.is_ascii_digit()))
}

fn header(rows: &mut Rows<'_>) -> Result<Vec<String>, RoutingError> {
    if rows.next()? { Ok(rows.header()) } else { Err(rows.error("the file is empty; it may be being written")) }
}

fn column(rows: &Rows<'_>, header: &[String], what: &str, is_it: &dyn Fn(&str) -> bool) -> Result<usize, RoutingError> {
    let known =
        ["pcds", "pcd7", "postcode", "oslaua", "laua", "lad25cd", "practice_ods", "organisation_code", "sub_icb", "ccg", "sicbl24cd"];
    let names: Vec<&str> = known.into_iter().filter(|name| is_it(name)).collect();
    let missing = || {
        let error = rows.error(&format!("no column for the {what}; name one of the columns {}", names.join(", ")));
        RoutingError { span: 0..header.join(",").len(), ..error }
    };
    header.iter().position(|name| is_it(name)).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Postcodes, RoutingError> {
        Postcodes::read(Box::new(text.as_bytes()), "postcodes.csv")
    }

    fn by_practice(text: &str) -> Result<(HashMap<String, String>, FileReport), RoutingError> {
        practices(Box::new(text.as_bytes()), "practices.csv", (1, 15))
    }

    fn la(postcodes: &Postcodes, postcode: &str) -> Option<String> {
        postcodes.find(Postcode::read(postcode).unwrap()).map(str::to_owned)
    }

    #[test]
    fn columns_are_found_by_name_wherever_they_stand() {
        for file in [
            "pcds,doterm,oslaua,ccg\nSE1 9ZZ,,E09000028,E38000244\n",
            "\u{FEFF}CCG,LAUA,PCDS\nE38000244,E09000028,SE1 9ZZ\n",
            "lad25cd,x,pcds\r\nE09000028,y,se19zz\r\n",
            "\"pcds\",\"doterm\",\"oslaua\"\n\"SE1 9ZZ\",\"\",\"E09000028\"\n",
        ] {
            let postcodes = read(file).unwrap();
            assert_eq!(la(&postcodes, "SE1 9ZZ").as_deref(), Some("E09000028"), "{file}");
            assert_eq!(la(&postcodes, "SE1 9ZY"), None);
        }
    }

    #[test]
    fn a_file_without_a_needed_column_says_which_names_it_may_have() {
        let error = read("pcds,doterm\nSE1 9ZZ,\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "postcodes.csv:1:1: no column for the local authority; name one of the columns oslaua, laua, lad25cd"
        );
        let error = by_practice("practice_ods,name\n").unwrap_err();
        assert!(error.message.starts_with("no column for the sub-ICB"), "{error}");
        assert!(read("").is_err());
    }

    #[test]
    fn a_terminated_postcode_is_kept_and_gives_way_to_one_in_use() {
        let file = "pcds,doterm,oslaua\nSE1 9ZZ,199806,E09000001\nSE1 9ZZ,,E09000028\nW5 9ZZ,200101,E09000009\n";
        let postcodes = read(file).unwrap();
        assert_eq!(la(&postcodes, "SE1 9ZZ").as_deref(), Some("E09000028"));
        assert_eq!(la(&postcodes, "W5 9ZZ").as_deref(), Some("E09000009"));
    }

    #[test]
    fn rows_that_cannot_be_used_are_told_by_reason_with_their_lines_and_the_others_are_read() {
        let file =
            "pcds,oslaua\nGIR 0AA,E08000011\nSE1 9ZZ,\nshort\nW5 9ZZ,E09000009\nSE1,E09000028\nw59zz,E09000009\n\"W5 9ZY,E09000009\n";
        let report = read(file).unwrap().report;
        let told: Vec<String> =
            report.skipped.iter().map(|skipped| format!("{} {} {:?}", skipped.rows, skipped.reason, skipped.lines)).collect();
        let expected = [
            "2 no postcode that can be read [2, 6]",
            "1 no local authority [3]",
            "2 not as many cells as the header, or an open quote [4, 8]",
            "1 the postcode stands there already []",
        ];
        assert_eq!(told, expected);
        assert_eq!((report.rows, report.used), (7, 1));
    }

    #[test]
    fn a_half_written_file_is_refused_with_its_line() {
        let whole = "pcds,oslaua\nSE1 9ZZ,E09000028\nW5 9ZZ,E09000009\n";
        assert!(read(whole).is_ok());
        for cut in ["pcds,oslaua\nSE1 9ZZ,E09000028\nW5 9ZZ,E0900", "pcds,oslaua\nSE1 9ZZ,E09000028\nW5"] {
            let error = read(cut).unwrap_err();
            assert!(error.to_string().starts_with("postcodes.csv:3:1: the file ends in the middle"), "{error}");
        }
        assert_eq!(by_practice("practice_ods,sub_icb\nF84001,A3A8R\nG85").unwrap_err().line, 3);
    }

    #[test]
    fn practices_are_read_by_header_and_without_one_by_position() {
        let (known, report) = by_practice("name,Organisation Code,Commissioner\nx,f84001,a3a8r\nx,F84002,\nx,,72Q\n").unwrap();
        assert_eq!(known, HashMap::from([("F84001".to_owned(), "A3A8R".to_owned())]));
        assert_eq!((report.rows, report.used, report.skipped_rows()), (3, 1, 2));
        let row = |code: &str, area: &str| {
            format!(
                "\"{code}\",\"TEST SURGERY\",\"Y56\",\"QMF\",\"1 TEST STREET\",\"\",\"\",\"LONDON\",\"\",\"E8 4RP\",\"19740401\",\"\",\"A\",\"B\",\"{area}\",\"20130401\",\"\",\"\",\"\",\"\",\"\",\"0\",\"\",\"\",\"\",\"4\",\"\"\n"
            )
        };
        let (known, report) = by_practice(&[row("F84001", "A3A8R"), row("G85001", "72Q")].concat()).unwrap();
        assert_eq!((known.len(), report.rows, known.get("G85001").map(String::as_str)), (2, 2, Some("72Q")), "the first line is a row");
        let error = by_practice("F84001,A3A8R\n").unwrap_err();
        assert!(error.message.contains("columns 1 and 15") && error.message.contains("practice_columns"), "{error}");
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
        let postcodes = read(&file).unwrap();
        assert_eq!(postcodes.report.skipped_rows(), 0);
        for n in 0..6_760 {
            assert!(la(&postcodes, &postcode(n)).is_some(), "{}", postcode(n));
        }
        assert_eq!(postcodes.all().count(), postcodes.sorted.len());
    }
}
