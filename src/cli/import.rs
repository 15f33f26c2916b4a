//! `import`: extracts of old systems, with progress and a report of what was held and why.
//!
//! # Invariants
//!
//! - The report names codes, tables and lines. No value out of a record is in it but a sender's code that looks like one ([`shown`]).
//! - stdout has the report; progress goes to stderr: a bar on a terminal, elsewhere a line each ten seconds.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::arguments::Import;
use super::output::Out;
use super::{Failure, Outcome, exit, source as settings_of};
use crate::broker::extract::ExtractFormat;
use crate::broker::import::{Importer, Order, Progress, REFUSED, Rehearsal};
use crate::canon::NhsNumber;
use crate::clock;
use crate::config::{Arguments, Settings};
use crate::names::SourceName;

/// First lines of each cause that the report names.
const LINES_MAX: usize = 10;
/// Causes that the report tells apart; a column of free text taken for codes would have as many as rows.
const CAUSES_MAX: usize = 1_000;
/// Off a terminal, a line of progress comes so often.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// On a terminal it is drawn so often.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Imports files, one after the other.
pub fn import(import: &Import, out: &mut Out) -> Outcome {
    let settings = settings(import)?;
    let source = source(import, &settings)?;
    let orders = import.files.iter().map(|file| order(import, file, &source)).collect::<Result<Vec<_>, _>>()?;
    let failed = |error: crate::broker::StartError| Failure::new(error.exit, error.text);
    let mut report = Report::default();
    if import.dry_run {
        let rehearsal = Rehearsal::new(&settings, &source).map_err(failed)?;
        for order in &orders {
            let mut show = Show::new(&order.file);
            rehearsal.import(order, &mut |progress| show.tell(progress), &mut |outcome| report.take(&outcome)).map_err(failed)?;
            show.end();
        }
    } else {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(exit::SYSTEM, format!("no threads: {error}")))?;
        runtime.block_on(async {
            let importer = Importer::start(&settings, &source).await.map_err(failed)?;
            let done = run(&importer, &orders, &mut report).await;
            importer.stop().await;
            done
        })?;
    }
    finish(import, &report, out)
}

async fn run(importer: &Importer, orders: &[Order], report: &mut Report) -> Result<(), Failure> {
    let failed = |error: crate::broker::StartError| Failure::new(error.exit, error.text);
    for order in orders {
        let mut show = Show::new(&order.file);
        let mark = importer.import(order, &mut |progress| show.tell(progress)).await.map_err(failed)?;
        show.end();
        importer.outcomes(&mark, &mut |outcome| report.take(&outcome)).map_err(failed)?;
    }
    Ok(())
}

fn settings(import: &Import) -> Result<Settings, Failure> {
    let arguments = Arguments { data: import.data.clone(), ..Arguments::default() };
    let (settings, _warnings) = settings_of::usable(import.config.as_deref(), &arguments)?;
    super::run::follow_test_clock(&settings)?;
    Ok(settings)
}

/// With a configuration the source must be in it: its rank decides what its words count.
fn source(import: &Import, settings: &Settings) -> Result<SourceName, Failure> {
    let is_known = settings.sources.iter().any(|source| source.name == import.source);
    if import.config.is_some() && !is_known {
        let known = settings.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
        let text = format!("no source is called {:?}; there are: {known} (for an extract: [[source]] with import = true)", import.source);
        return Err(Failure::new(exit::CONFIG, text));
    }
    Ok(SourceName::new(&import.source))
}

fn order(import: &Import, file: &Path, source: &SourceName) -> Result<Order, Failure> {
    let format = import
        .format
        .map(Into::into)
        .or_else(|| ExtractFormat::of_name(file))
        .ok_or_else(|| Failure::new(exit::USAGE, format!("what is {}? Say --format ndjson, csv or hl7", file.display())))?;
    if format != ExtractFormat::Csv && import.mapping.is_some() {
        return Err(Failure::new(exit::USAGE, "--mapping is for CSV: messages find their mapping themselves, canonical records need none"));
    }
    Ok(Order { file: file.to_owned(), format, source: source.clone(), mapping: import.mapping.clone(), rate: import.rate })
}

/// What became of the records, counted by cause.
#[derive(Debug, Default)]
struct Report {
    standings: BTreeMap<String, u64>,
    causes: BTreeMap<Cause, Tally>,
    more_causes: u64,
}

/// Why records were held or refused, or what was warned of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Cause {
    /// `held`, `refused`, `warning`.
    what: String,
    /// Stable code of the finding.
    code: String,
    /// The table that does not know the sender's code; else empty.
    table: String,
    /// The sender's code, where it looks like one.
    sender_code: String,
}

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    lines: Vec<i64>,
}

impl Report {
    fn take(&mut self, outcome: &crate::store::Outcome) {
        *self.standings.entry(outcome.standing.clone()).or_default() += 1;
        if outcome.standing == "refused" {
            let cause = Cause::of("refused", &refusal_code(&outcome.reason));
            self.count(cause, outcome.place);
        }
        let findings: Vec<Value> = serde_json::from_str(&outcome.findings).unwrap_or_default();
        let mut causes: Vec<Cause> = findings.iter().filter_map(|finding| cause(finding, &outcome.standing)).collect();
        if outcome.standing == "held" && !causes.iter().any(|cause| cause.what == "held") {
            causes.push(Cause::of("held", &outcome.reason));
        }
        causes.sort();
        causes.dedup();
        for cause in causes {
            self.count(cause, outcome.place);
        }
    }

    fn count(&mut self, cause: Cause, line: i64) {
        if CAUSES_MAX <= self.causes.len() && !self.causes.contains_key(&cause) {
            self.more_causes += 1;
            return;
        }
        let tally = self.causes.entry(cause).or_default();
        tally.count += 1;
        if tally.lines.len() < LINES_MAX {
            tally.lines.push(line);
        }
    }

    fn standing(&self, word: &str) -> u64 {
        self.standings.get(word).copied().unwrap_or(0)
    }

    /// Causes, the most frequent first.
    fn sorted(&self) -> Vec<(&Cause, &Tally)> {
        let mut all: Vec<_> = self.causes.iter().collect();
        all.sort_by(|(a, left), (b, right)| (&a.what, right.count, a).cmp(&(&b.what, left.count, b)));
        all
    }

    fn json(&self) -> Value {
        let causes: Vec<Value> = self
            .sorted()
            .into_iter()
            .map(|(cause, tally)| {
                json!({ "what": cause.what, "code": cause.code, "table": cause.table, "sender_code": cause.sender_code,
                    "count": tally.count, "first_lines": tally.lines })
            })
            .collect();
        json!({ "records": self.standings.values().sum::<u64>(), "standings": self.standings, "causes": causes, "more_causes": self.more_causes })
    }

    fn csv(&self) -> Result<Vec<u8>, Failure> {
        let failed = |error: csv::Error| Failure::new(exit::IO, format!("the report could not be written: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["what", "code", "table", "sender_code", "count", "first_lines"]).map_err(failed)?;
        for (cause, tally) in self.sorted() {
            let Cause { what, code, table, sender_code } = cause;
            writer.write_record([what, code, table, sender_code, &tally.count.to_string(), &lines(tally)]).map_err(failed)?;
        }
        writer.into_inner().map_err(|error| Failure::new(exit::IO, format!("the report could not be written: {error}")))
    }
}

impl Cause {
    fn of(what: &str, code: &str) -> Self {
        Self { what: what.to_owned(), code: code.to_owned(), table: String::new(), sender_code: String::new() }
    }
}

fn lines(tally: &Tally) -> String {
    tally.lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// `import bad-value: …` is ours; `AR 201 event not taken …` is the door's, fixed words too.
fn refusal_code(reason: &str) -> String {
    match reason.strip_prefix(REFUSED) {
        Some(ours) => ours.split(':').next().unwrap_or_default().to_owned(),
        None => reason.split(' ').take(2).collect::<Vec<_>>().join(" "),
    }
}

/// The cause that a finding names; warnings of a held record are not why it is held.
fn cause(finding: &Value, standing: &str) -> Option<Cause> {
    let text = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
    let what = match (text("level"), standing) {
        ("hold", _) => "held",
        ("warning", _) => "warning",
        _ => return None,
    };
    let mut cause = Cause::of(what, text("code"));
    // `code "Q" at SEX is not in table sex`
    if cause.code.ends_with("unmapped-code")
        && let Some((before, table)) = text("text").rsplit_once(" is not in table ")
        && let Some((quoted, _)) = before.rsplit_once("\" at ")
    {
        table.clone_into(&mut cause.table);
        cause.sender_code = shown(quoted.trim_start_matches("code \""));
    }
    Some(cause)
}

/// A sender's code as the report may show it: short, or with digits as codes have; never what could be a name, a date or an NHS number.
fn shown(code: &str) -> String {
    let (length, digits) = (code.chars().count(), code.chars().filter(char::is_ascii_digit).count());
    let is_plain = code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let is_short = length <= 3;
    let is_code = 0 < digits && length <= 18 && !matches!(digits, 8..=10) && NhsNumber::parse(code).is_err();
    if is_plain && (is_short || is_code) { code.to_owned() } else { "(not shown)".to_owned() }
}

fn finish(import: &Import, report: &Report, out: &mut Out) -> Outcome {
    if let Some(file) = &import.report {
        let is_json = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let bytes = if is_json { format!("{:#}\n", report.json()).into_bytes() } else { report.csv()? };
        std::fs::write(file, bytes)
            .map_err(|error| Failure::new(exit::CANNOT_CREATE, format!("{} cannot be written: {error}", file.display())))?;
    }
    if import.json {
        out.json(&report.json())?;
    } else {
        table(import, report, out)?;
    }
    let is_clean = report.standing("held") + report.standing("refused") == 0;
    Ok(if is_clean { exit::OK } else { exit::FOUND })
}

fn table(import: &Import, report: &Report, out: &mut Out) -> Result<(), Failure> {
    let standings: Vec<String> = report.standings.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let verb = if import.dry_run { "would be, as far as identity is not asked" } else { "records" };
    writeln!(out, "{verb}: {}", if standings.is_empty() { "none".to_owned() } else { standings.join(", ") })?;
    if report.causes.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let row = |(cause, tally): (&Cause, &Tally)| {
        vec![cause.what.clone(), cause.code.clone(), cause.table.clone(), cause.sender_code.clone(), tally.count.to_string(), lines(tally)]
    };
    let rows: Vec<Vec<String>> = report.sorted().into_iter().map(row).collect();
    out.table(&["what", "code", "table", "sender code", "count", "first lines"], &rows)?;
    if 0 < report.more_causes {
        writeln!(out, "and {} more, of causes that are not told apart", report.more_causes)?;
    }
    Ok(())
}

/// Progress for the person who waits.
struct Show {
    name: String,
    is_bar: bool,
    began: Instant,
    last: Option<Instant>,
    progress: Progress,
}

impl Show {
    fn new(file: &Path) -> Self {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self { name, is_bar: std::io::stderr().is_terminal(), began: clock::tick(), last: None, progress: Progress::default() }
    }

    fn tell(&mut self, progress: Progress) {
        self.progress = progress;
        let now = clock::tick();
        let every = if self.is_bar { DRAW_EVERY } else { LINE_EVERY };
        if now.duration_since(self.last.unwrap_or(self.began)) < every {
            return;
        }
        self.last = Some(now);
        let line = line(&self.name, &progress, now.duration_since(self.began));
        super::say(&if self.is_bar { format!("\r\x1b[K{line}") } else { format!("{line}\n") });
    }

    fn end(&self) {
        let line = line(&self.name, &self.progress, clock::tick().duration_since(self.began));
        super::say(&if self.is_bar { format!("\r\x1b[K{line}\n") } else { format!("{line}\n") });
    }
}

/// `children.csv  [######----]  61,000 of about 100,000  4,200/s  9 s left`
fn line(name: &str, progress: &Progress, took: Duration) -> String {
    const WIDTH: u64 = 20;
    let Progress { bytes, read, appended, filed, resumed } = *progress;
    let fresh = appended.saturating_sub(resumed);
    // As many records again as there are bytes left.
    let total =
        if read == 0 || fresh == 0 { appended } else { (u128::from(appended) * u128::from(bytes.max(read)) / u128::from(read)) as u64 };
    let done = resumed + filed;
    let full = done * WIDTH / total.max(1);
    let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '-' }).collect();
    let rate = filed as f64 / took.as_secs_f64().max(0.001);
    let left = if filed == 0 { String::new() } else { format!("  {:.0} s left", total.saturating_sub(done) as f64 / rate) };
    let about = if read < bytes { "about " } else { "" };
    let skipped = if resumed == 0 { String::new() } else { format!(" ({resumed} of an earlier run)") };
    format!("{name}  [{bar}]  {done} of {about}{total}{skipped}  {rate:.0}/s{left}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Seq;

    fn outcome(place: i64, standing: &str, reason: &str, findings: &str) -> crate::store::Outcome {
        crate::store::Outcome { place, seq: Seq(place), standing: standing.into(), reason: reason.into(), findings: findings.into() }
    }

    #[test]
    fn the_report_counts_causes_with_their_first_lines_and_shows_codes_but_no_person() {
        let mut report = Report::default();
        let unmapped =
            |code: &str| format!(r#"[{{"level":"hold","code":"unmapped-code","text":"code \"{code}\" at SEX is not in table sex"}}]"#);
        for line in 2..14 {
            report.take(&outcome(line, "held", "unmapped-code", &unmapped("Q")));
        }
        for person in ["EXAMPLE", "9990000018", "05/01/2026", "20260105", "O'NEIL"] {
            report.take(&outcome(20, "held", "unmapped-code", &unmapped(person)));
        }
        report.take(&outcome(
            30,
            "held",
            "identity-mismatch",
            r#"[{"level":"hold","code":"identity-mismatch","text":"born on another day"}]"#,
        ));
        report.take(&outcome(31, "refused", "import unknown-field: the statement has …", ""));
        report.take(&outcome(32, "filed", "", r#"[{"level":"warning","code":"bad-value","text":"\"AMY\" at X is no date"}]"#));
        let text = String::from_utf8(report.csv().unwrap()).unwrap();
        assert_eq!(
            text,
            "what,code,table,sender_code,count,first_lines\n\
             held,unmapped-code,sex,Q,12,2 3 4 5 6 7 8 9 10 11\n\
             held,unmapped-code,sex,(not shown),5,20 20 20 20 20\n\
             held,identity-mismatch,,,1,30\n\
             refused,unknown-field,,,1,31\n\
             warning,bad-value,,,1,32\n"
        );
        assert_eq!(report.json()["standings"], json!({ "filed": 1, "held": 18, "refused": 1 }));
    }

    #[test]
    fn codes_are_shown_where_they_cannot_be_anything_else() {
        for code in ["Q", "MMR", "6IN1", "947311000000109", "A1B2", "04"] {
            assert_eq!(shown(code), code);
        }
        for person in ["ROSE", "9990000018", "999 000 0018", "05012026", "05.01.2026", "2026-01-05", "A B", "O'N"] {
            assert_eq!(shown(person), "(not shown)", "{person}");
        }
    }

    #[test]
    fn progress_says_how_far_how_fast_and_how_long() {
        let progress = Progress { bytes: 1_000, read: 500, appended: 60, filed: 30, resumed: 0 };
        let told = line("x.csv", &progress, Duration::from_secs(10));
        assert_eq!(told, "x.csv  [#####---------------]  30 of about 120  3/s  30 s left");
        let whole = Progress { bytes: 1_000, read: 1_000, appended: 120, filed: 60, resumed: 60 };
        assert_eq!(
            line("x.csv", &whole, Duration::from_secs(10)),
            "x.csv  [####################]  120 of 120 (60 of an earlier run)  6/s  0 s left"
        );
    }
}
