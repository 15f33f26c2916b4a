//! Code tables as people look after them: which there are, what stands in them, and a new row.
//!
//! # What always holds
//!
//! - A new row changes nothing but the end of its file: comments, columns, other rows and line ends stay as they are.
//! - A row is refused where the code is known already or its meaning is none that the table has: a slip of the pen must not
//!   invent an outcome.
//!
//! # Not here
//!
//! Writing files; and whether the bundle with the new row compiles, which whoever writes it has to ask first.

use serde::Serialize;

use super::Files;
use super::diagnostic::{Report, Source};
use super::load::is_table;
use super::table::{self, Sheet};

/// Meanings that a refusal names at most.
const NAMED_MAX: usize = 30;
/// Characters of a code; a longer one is no code.
const CODE_MAX: usize = 80;

/// A table file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableFile {
    /// `sex`.
    pub name: String,
    /// Whose own table it is, `rj1`; absent: everybody's.
    pub site: Option<String>,
    /// `tables/sex.csv`.
    pub file: String,
    /// No rule may guess a code of it.
    pub safety: bool,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Cells of all rows, as many as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// A row to be added.
#[derive(Clone, Debug, Default)]
pub struct NewRow<'a> {
    /// The table.
    pub table: &'a str,
    /// The sender's code.
    pub code: &'a str,
    /// What it means.
    pub to: &'a str,
    /// Into this site's own table.
    pub site: Option<&'a str>,
    /// The code in words.
    pub display: Option<&'a str>,
    /// Further columns by name.
    pub more: Vec<(&'a str, &'a str)>,
}

/// All table files of a bundle, by name and then by site.
pub fn tables(files: &Files) -> Vec<TableFile> {
    let mut tables: Vec<TableFile> = files.iter().filter(|(name, _)| is_table(name)).map(|(name, bytes)| table_file(name, bytes)).collect();
    tables.sort_by(|a, b| (&a.name, &a.site, &a.file).cmp(&(&b.name, &b.site, &b.file)));
    tables
}

fn table_file(file: &str, bytes: &[u8]) -> TableFile {
    let sheet = sheet(file, bytes);
    let columns: Vec<String> = sheet.columns().map(str::to_owned).collect();
    let rows = sheet.rows().iter().map(|row| (0..columns.len()).map(|column| row.cell(column).to_owned()).collect()).collect();
    let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".csv").to_owned();
    let site = file.strip_suffix(&format!("/tables/{name}.csv")).map(|folder| folder.trim_start_matches("sites/").to_owned());
    TableFile { name, site, file: file.to_owned(), safety: sheet.safety, columns, rows }
}

/// Mistakes are said by whoever compiles the bundle; here they only leave rows out.
fn sheet(file: &str, bytes: &[u8]) -> Sheet {
    table::load(&Source::new(file, "", String::from_utf8_lossy(bytes).into_owned()), &Report::default())
}

/// The file with the new row at its end: its name and its text.
///
/// # Errors
///
/// Why the row cannot be added, and what would help.
pub fn with_row(files: &Files, row: &NewRow<'_>) -> Result<(String, Vec<u8>), String> {
    let all = tables(files);
    let named: Vec<&TableFile> = all.iter().filter(|table| table.name == row.table).collect();
    if named.is_empty() {
        return Err(format!("there is no table {}; `table list` names them", row.table));
    }
    well_formed(row)?;
    let target = target(files, row, &named)?;
    let same = |table: &&&TableFile| table.site.is_none() || table.file == target;
    for table in named.iter().filter(same) {
        if let Some(known) = table.rows.iter().find(|cells| cells.first().map(String::as_str) == Some(row.code)) {
            let means = known.get(1).map_or("", String::as_str);
            return Err(format!("{} has {:?} already, as {means:?}; change the file by hand where that is wrong", table.file, row.code));
        }
    }
    let meanings: std::collections::BTreeSet<&str> =
        named.iter().flat_map(|table| &table.rows).filter_map(|cells| cells.get(1)).map(String::as_str).collect();
    if !meanings.contains(row.to) {
        let known: Vec<&str> = meanings.iter().copied().take(NAMED_MAX).collect();
        return Err(format!("{:?} is no meaning that table {} has; it has: {}", row.to, row.table, known.join(", ")));
    }
    let columns = named.iter().find(|table| table.file == target).or(named.first()).map_or(&[][..], |table| &table.columns);
    let text = match files.get(&target) {
        Some(bytes) => String::from_utf8(bytes.clone()).map_err(|_| format!("{target} is not UTF-8"))?,
        None => format!("{}\n", columns.join(",")),
    };
    Ok((target, appended(&text, &cells(row, columns)?).into_bytes()))
}

/// The file that the row belongs to.
fn target(files: &Files, row: &NewRow<'_>, named: &[&TableFile]) -> Result<String, String> {
    let Some(site) = row.site else {
        let common = named.iter().find(|table| table.site.is_none()).map(|table| table.file.clone());
        return common.ok_or_else(|| format!("table {} is of sites only; say which with --site", row.table));
    };
    let sites: std::collections::BTreeSet<&str> = files.keys().filter_map(|file| file.strip_prefix("sites/")?.split('/').next()).collect();
    if !sites.contains(site) {
        let known: Vec<&str> = sites.into_iter().collect();
        return Err(format!("there is no site {site}; there are: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") }));
    }
    Ok(format!("sites/{site}/tables/{}.csv", row.table))
}

fn well_formed(row: &NewRow<'_>) -> Result<(), String> {
    for cell in [row.code, row.to, row.display.unwrap_or_default()].into_iter().chain(row.more.iter().map(|(_, cell)| *cell)) {
        if cell.trim() != cell || cell.chars().any(char::is_control) {
            return Err(format!("{cell:?} has a space at its ends or a control character in it"));
        }
    }
    if row.code.is_empty() || row.to.is_empty() {
        return Err("code and meaning are not empty".to_owned());
    }
    if row.code.starts_with('#') || row.code.contains('"') || CODE_MAX < row.code.chars().count() {
        return Err(format!("{:?} can be no code of a table: it begins with #, has a quotation mark or is too long", row.code));
    }
    Ok(())
}

/// The cells in the order of the columns.
fn cells(row: &NewRow<'_>, columns: &[String]) -> Result<Vec<String>, String> {
    let mut given: Vec<(&str, &str)> = vec![("from", row.code), ("to", row.to)];
    given.extend(row.display.map(|display| ("display", display)));
    given.extend(&row.more);
    if let Some((unknown, _)) = given.iter().find(|(name, _)| !columns.iter().any(|column| column == name)) {
        return Err(format!("table {} has no column {unknown}; it has: {}", row.table, columns.join(", ")));
    }
    let cell = |column: &String| given.iter().rev().find(|(name, _)| name == column).map_or("", |(_, cell)| *cell).to_owned();
    Ok(columns.iter().map(cell).collect())
}

/// The text with a row more, with the line ends that it has.
fn appended(text: &str, cells: &[String]) -> String {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let quoted = |cell: &String| {
        if cell.contains([',', '"']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.clone() }
    };
    let line: Vec<String> = cells.iter().map(quoted).collect();
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { end };
    format!("{text}{gap}{}{end}", line.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let texts = [
            ("tables/sex.csv", "# who: data quality\nfrom,to,display,note\n1,1,Male,\n2,2,\"Female, or so\",x\n"),
            ("tables/status.csv", "# safety = true, width = 2\r\nfrom,to,display,note,substatus\r\n04,04,,,\r\n0303,03,,,0303"),
            ("sites/rj1/tables/sex.csv", "from,to\nF,2\n"),
            ("sites/rj1/adt.toml", ""),
            ("sites/rp4/adt.toml", ""),
        ];
        texts.into_iter().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn row<'a>(table: &'a str, code: &'a str, to: &'a str) -> NewRow<'a> {
        NewRow { table, code, to, ..NewRow::default() }
    }

    #[track_caller]
    fn check(row: &NewRow<'_>, expected: Result<(&str, &str), &str>) {
        match (with_row(&files(), row), expected) {
            (Ok((file, text)), Ok(expected)) => assert_eq!((file.as_str(), std::str::from_utf8(&text).unwrap()), expected),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_row_goes_to_the_end_and_nothing_else_changes() {
        let display = NewRow { display: Some("Woman, \"self\""), ..row("sex", "W", "2") };
        let text = "# who: data quality\nfrom,to,display,note\n1,1,Male,\n2,2,\"Female, or so\",x\nW,2,\"Woman, \"\"self\"\"\",\n";
        check(&display, Ok(("tables/sex.csv", text)));
        // The last line had no end, and lines end with CR LF here.
        let more = NewRow { more: vec![("substatus", "0304")], ..row("status", "0304", "03") };
        let text = "# safety = true, width = 2\r\nfrom,to,display,note,substatus\r\n04,04,,,\r\n0303,03,,,0303\r\n0304,03,,,0304\r\n";
        check(&more, Ok(("tables/status.csv", text)));
    }

    #[test]
    fn a_sites_row_goes_to_the_sites_own_table_which_is_made_where_there_is_none() {
        check(&NewRow { site: Some("rj1"), ..row("sex", "M", "1") }, Ok(("sites/rj1/tables/sex.csv", "from,to\nF,2\nM,1\n")));
        let made = Ok(("sites/rp4/tables/sex.csv", "from,to,display,note\nM,1,,\n"));
        check(&NewRow { site: Some("rp4"), ..row("sex", "M", "1") }, made);
        check(&NewRow { site: Some("rx9"), ..row("sex", "M", "1") }, Err("there are: rj1, rp4"));
    }

    #[test]
    fn a_code_that_is_known_or_a_meaning_that_the_table_has_not_is_refused() {
        check(&row("sex", "1", "2"), Err("has \"1\" already, as \"1\""));
        check(&NewRow { site: Some("rj1"), ..row("sex", "F", "1") }, Err("sites/rj1/tables/sex.csv has \"F\" already"));
        check(&NewRow { site: Some("rj1"), ..row("sex", "1", "2") }, Err("tables/sex.csv has \"1\" already"));
        check(&row("sex", "X", "3"), Err("it has: 1, 2"));
        check(&row("colour", "X", "3"), Err("there is no table colour"));
        check(&NewRow { more: vec![("hue", "3")], ..row("sex", "X", "1") }, Err("has no column hue"));
        for code in ["", " X", "X ", "#X", "a\"b", "a\nb"] {
            assert!(with_row(&files(), &row("sex", code, "1")).is_err(), "{code:?}");
        }
        let long = "x".repeat(81);
        assert!(with_row(&files(), &row("sex", &long, "1")).is_err());
        assert!(with_row(&files(), &row("sex", &long[1..], "1")).is_ok());
    }

    #[test]
    fn tables_are_listed_with_whose_they_are() {
        let words: Vec<String> = tables(&files())
            .iter()
            .map(|table| format!("{} {} {} {}", table.name, table.site.as_deref().unwrap_or("-"), table.safety, table.rows.len()))
            .collect();
        assert_eq!(words, ["sex - false 2", "sex rj1 false 1", "status - true 2"]);
        assert_eq!(tables(&files())[0].rows[1], ["2", "2", "Female, or so", "x"]);
    }
}
