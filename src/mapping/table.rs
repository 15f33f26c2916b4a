//! Code tables: what a sender's code means here, one CSV file each.
//!
//! ```text
//! # safety = true                      (optional comments before the header)
//! from,to,display,note,substatus       `from`, `to`, then any further columns
//! 0303,03,Insufficient sample,,0303    a rule takes another column with `column = "substatus"`
//! ```
//!
//! Comments before the header may say `safety = true` (no rule may guess a code of this table with `use:`) and
//! `width = 2` (every all-digit code in `from` has at least so many digits).
//! A row with `valid_from` or `valid_to` holds only for messages of that time.
//!
//! # Invariants
//!
//! - A table that lost its leading zeros in a spreadsheet is refused, never repaired by guessing.
//! - Rows of a site's table are asked before those of the common table of the same name.
//!
//! # Not here
//!
//! What happens to a code that no row knows is the rule's policy (`rule.rs`).

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;

use super::diagnostic::{Mistake, Report, Source, TABLE_COLUMNS, TABLE_TEXT, TABLE_TWICE, TABLE_ZEROS};
use crate::fhir::NameHash;

/// Rows of one file at most; a table that is longer is no code table.
const ROWS_MAX: usize = 100_000;

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// Line from 1.
    pub line: usize,
    /// Bytes of the line.
    pub span: Range<usize>,
    /// All cells.
    cells: Vec<String>,
    /// From and until when, ISO days; empty: open.
    valid: (String, String),
}

impl Row {
    /// A cell, empty where the row has none.
    pub fn cell(&self, column: usize) -> &str {
        self.cells.get(column).map_or("", String::as_str)
    }

    /// True on `day`; without a day, where no end is written.
    fn holds(&self, day: Option<&str>) -> bool {
        let (from, to) = (&self.valid.0, &self.valid.1);
        match day {
            Some(day) => (from.is_empty() || from.as_str() <= day) && (to.is_empty() || day <= to.as_str()),
            None => to.is_empty(),
        }
    }
}

/// One CSV file.
#[derive(Debug)]
pub(super) struct Sheet {
    /// `tables/sex.csv`.
    pub file: String,
    /// No rule may guess a code of it.
    pub safety: bool,
    columns: Vec<String>,
    rows: Vec<Row>,
    by_code: HashMap<String, Vec<usize>, BuildHasherDefault<NameHash>>,
}

impl Sheet {
    /// The number of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }
    /// Names of all columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> + Clone {
        self.columns.iter().map(String::as_str)
    }
    /// All rows in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
    fn find(&self, code: &str, day: Option<&str>) -> Option<&Row> {
        let mut rows = self.by_code.get(code)?.iter().filter_map(|index| self.rows.get(*index));
        rows.clone().find(|row| row.holds(day)).or_else(|| rows.next_back().filter(|_| day.is_none()))
    }
}

/// A table as a mapping sees it: the site's rows first, then the common ones.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// `sex`.
    pub name: String,
    /// The site's sheet, then the common one; at least one.
    pub sheets: Vec<std::sync::Arc<Sheet>>,
}

impl Table {
    /// The row of a code on a day, with the number of its sheet.
    pub fn find(&self, code: &str, day: Option<&str>) -> Option<(usize, &Row)> {
        self.sheets.iter().enumerate().find_map(|(number, sheet)| Some((number, sheet.find(code, day)?)))
    }
    /// True where one of the sheets says so.
    pub fn safety(&self) -> bool {
        self.sheets.iter().any(|sheet| sheet.safety)
    }
}

/// Reads a CSV file and reports everything that is wrong with it.
pub(super) fn load(source: &Source, report: &Report) -> Sheet {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let bom = source.text.len() - text.len();
    if bom > 0 {
        let mistake = Mistake::new(TABLE_TEXT, 0..bom, "the file begins with a byte order mark");
        report.error(source, mistake.help("save it as plain CSV in UTF-8, not as \"CSV UTF-8\" of a spreadsheet"));
    }
    let (safety, width) = comments(text);
    let mut sheet = Sheet { file: source.name.clone(), safety, columns: Vec::new(), rows: Vec::new(), by_code: HashMap::default() };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).comment(Some(b'#')).from_reader(text.as_bytes());
    for record in reader.records() {
        let Ok(record) = record else {
            report.error(source, Mistake::new(TABLE_TEXT, 0..0, "the file is no CSV"));
            return sheet;
        };
        let start = bom + record.position().map_or(0, |place| usize::try_from(place.byte()).unwrap_or(0));
        let start = start + source.text.get(start..).map_or(0, |rest| rest.len() - rest.trim_start_matches(['\r', '\n']).len());
        let length = source.text.get(start..).map_or(0, |rest| rest.find(['\r', '\n']).unwrap_or(rest.len()));
        let span = start..start + length;
        let cells: Vec<String> = record.iter().map(str::to_owned).collect();
        if sheet.columns.is_empty() {
            if !header(&cells, &span, source, report) {
                return sheet;
            }
            sheet.columns = cells;
        } else if sheet.rows.len() < ROWS_MAX {
            row(&mut sheet, cells, span, (source, report));
        }
    }
    if sheet.columns.is_empty() {
        report.error(source, Mistake::new(TABLE_COLUMNS, 0..0, "the table is empty").help("begin with: from,to,display,note"));
    }
    zeros(&sheet, width, source, report);
    sheet
}

/// `# safety = true`, `# width = 2` before the header.
fn comments(text: &str) -> (bool, usize) {
    let head = text.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty());
    let said: String = head
        .map(|line| line.replace(['#', ' ', ',', ';'], " ").replace(" = ", "=").replace("= ", "=").replace(" =", "="))
        .collect::<Vec<_>>()
        .join(" ");
    let value = |key: &str| said.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    (value("safety") == Some("true"), value("width").and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

fn header(cells: &[String], span: &Range<usize>, source: &Source, report: &Report) -> bool {
    if cells.first().map(String::as_str) == Some("from") && cells.get(1).map(String::as_str) == Some("to") {
        return true;
    }
    let help = if cells.iter().any(|cell| cell.contains(';')) {
        "separate the columns by commas, not semicolons"
    } else {
        "begin with: from,to,display,note"
    };
    report
        .error(source, Mistake::new(TABLE_COLUMNS, span.clone(), "the first line must name the columns, `from` and `to` first").help(help));
    false
}

fn row(sheet: &mut Sheet, cells: Vec<String>, span: Range<usize>, (source, report): (&Source, &Report)) {
    let error = |code, message: String, help: &str| report.error(source, Mistake::new(code, span.clone(), message).help(help));
    if cells.iter().all(String::is_empty) {
        return;
    }
    if cells.len() > sheet.columns.len() {
        let many = format!("this row has {} cells, the header names {}", cells.len(), sheet.columns.len());
        error(TABLE_COLUMNS, many, "put a text with a comma between quotation marks");
    }
    let named = |cells: &[String], name: &str| sheet.column(name).and_then(|column| cells.get(column)).cloned().unwrap_or_default();
    let valid = (named(&cells, "valid_from"), named(&cells, "valid_to"));
    for day in [&valid.0, &valid.1] {
        if !day.is_empty() && day.parse::<jiff::civil::Date>().is_err() {
            error(TABLE_TEXT, format!("{day:?} is no day"), "write it as 2026-04-01");
        }
    }
    for (name, cell) in sheet.columns.iter().zip(&cells) {
        let spaced = cell.trim() != cell && name != "note" && name != "display";
        let quoted = cell.contains(['"', '\u{201c}', '\u{201d}', '\u{2018}']) && (name == "from" || name == "to");
        if spaced {
            error(
                TABLE_TEXT,
                format!("{cell:?} in column `{name}` has a space before or after it"),
                "remove it: codes are compared letter by letter",
            );
        } else if quoted {
            error(
                TABLE_TEXT,
                format!("{cell:?} in column `{name}` has a quotation mark in it"),
                "remove it: codes are written without quotation marks",
            );
        }
    }
    for (column, name) in ["from", "to"].into_iter().enumerate() {
        if cells.get(column).is_none_or(String::is_empty) {
            error(TABLE_COLUMNS, format!("`{name}` is empty"), "give every row a code on both sides, or remove the row");
        }
    }
    let index = sheet.rows.len();
    let code = cells.first().cloned().unwrap_or_default();
    let line = source.line(span.start);
    let before = sheet.by_code.entry(code.clone()).or_default();
    let first = before.iter().filter_map(|index| sheet.rows.get(*index)).find(|row| overlap(&row.valid, &valid));
    if let Some(first) = first {
        let mistake = Mistake::new(TABLE_TWICE, span.clone(), format!("code {code:?} stands here a second time"));
        report.error(source, mistake.help(format!("it is already in line {}; keep one of the two", first.line)));
    } else {
        before.push(index);
    }
    sheet.rows.push(Row { line, span, cells, valid });
}

fn overlap(a: &(String, String), b: &(String, String)) -> bool {
    let ends_before = |to: &str, from: &str| !to.is_empty() && !from.is_empty() && to < from;
    !(ends_before(&a.1, &b.0) || ends_before(&b.1, &a.0))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A spreadsheet writes `4` for `04`. Told by `width`, or by rows of the same column that kept their zeros.
fn zeros(sheet: &Sheet, width: usize, source: &Source, report: &Report) {
    let zeroed: Vec<usize> = sheet
        .rows
        .iter()
        .map(|row| row.cell(0))
        .filter(|code| is_digits(code) && code.starts_with('0') && code.len() > 1)
        .map(str::len)
        .collect();
    for row in &sheet.rows {
        let code = row.cell(0);
        if !is_digits(code) || code.starts_with('0') {
            continue;
        }
        let padded = zeroed.iter().find(|width| code.len() + 1 == **width && !sheet.by_code.contains_key(&format!("0{code}")));
        if code.len() < width || padded.is_some() {
            let wanted = if code.len() < width { width } else { code.len() + 1 };
            let mistake = Mistake::new(TABLE_ZEROS, row.span.clone(), format!("code {code:?} has probably lost its leading zero"));
            report.error(
                source,
                mistake
                    .label("a spreadsheet does this on saving")
                    .help(format!("write it as {code:0>wanted$}, and mark the column as text")),
            );
        }
    }
}

/// A site's table whose codes are the common ones without their zeros.
pub(super) fn zeros_against(site: &Sheet, common: &Sheet, source: &Source, report: &Report) {
    for row in site.rows() {
        let code = row.cell(0);
        if !is_digits(code) || common.by_code.contains_key(code) {
            continue;
        }
        let lost = (1..=2).map(|zeros| format!("{}{code}", "0".repeat(zeros))).find(|padded| common.by_code.contains_key(padded));
        if let Some(padded) = lost {
            let mistake = Mistake::new(TABLE_ZEROS, row.span.clone(), format!("code {code:?} has probably lost its leading zero"));
            report.error(source, mistake.help(format!("{} has {padded}; a spreadsheet takes the zero away on saving", common.file)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> (Sheet, Vec<String>) {
        let report = Report::default();
        let source = Source::new("tables/t.csv", "", text.to_owned());
        let sheet = load(&source, &report);
        (sheet, report.into_diagnostics().into_iter().map(|said| format!("{}:{} {}", said.code, said.line, said.message)).collect())
    }

    #[test]
    fn a_good_table_says_nothing_and_finds_its_rows() {
        let (sheet, said) = codes("# safety=true, width = 2\nfrom,to,display,note,sub\n04,04,\"not, suspected\",,\n0303,03,,,0303\n");
        assert_eq!(said, Vec::<String>::new());
        assert!(sheet.safety);
        let row = sheet.find("0303", None).unwrap();
        assert_eq!((row.cell(1), row.cell(sheet.column("sub").unwrap()), row.line), ("03", "0303", 4));
        assert!(sheet.find("303", None).is_none());
    }

    #[test]
    fn what_spreadsheets_do_to_a_table_is_refused() {
        assert_eq!(codes("\u{feff}from,to\n1,1\n").1, ["M053:1 the file begins with a byte order mark"]);
        assert_eq!(codes("from,to\n04,a\n3,b\n").1, ["M052:3 code \"3\" has probably lost its leading zero"]);
        assert_eq!(codes("# width=2\nfrom,to\n4,a\n").1, ["M052:3 code \"4\" has probably lost its leading zero"]);
        assert_eq!(codes("from;to\n4;a\n").1, ["M054:1 the first line must name the columns, `from` and `to` first"]);
        assert_eq!(codes("from,to\nA ,b\n").1, ["M053:2 \"A \" in column `from` has a space before or after it"]);
        assert_eq!(codes("from,to\nA,\n").1, ["M054:2 `to` is empty"]);
        assert_eq!(codes("from,to\nA,b\nA,c\n").1, ["M051:3 code \"A\" stands here a second time"]);
        assert_eq!(codes("from,to\nA,b,c\n").1, ["M054:2 this row has 3 cells, the header names 2"]);
    }

    #[test]
    fn padded_and_bare_digits_may_stand_side_by_side() {
        assert_eq!(codes("from,to\n03,03\n3,03\n12,12\n").1, Vec::<String>::new());
    }

    #[test]
    fn a_row_holds_only_in_its_time() {
        let (sheet, said) = codes("from,to,display,note,valid_from,valid_to\nA,old,,,,2025-12-31\nA,new,,,2026-01-01,\n");
        assert_eq!(said, Vec::<String>::new());
        let to = |day| sheet.find("A", day).map(|row| row.cell(1).to_owned());
        assert_eq!(to(Some("2025-06-01")).as_deref(), Some("old"));
        assert_eq!(to(Some("2026-06-01")).as_deref(), Some("new"));
        assert_eq!(to(None).as_deref(), Some("new"));
    }

    #[test]
    fn a_site_table_that_lost_zeros_of_the_common_one_is_refused() {
        let report = Report::default();
        let (common, _) = codes("from,to\n01,a\n02,b\n");
        let source = Source::new("sites/x/tables/t.csv", "", "from,to\n1,a\n".to_owned());
        let site = load(&source, &report);
        zeros_against(&site, &common, &source, &report);
        assert_eq!(report.into_diagnostics().len(), 1);
    }
}
