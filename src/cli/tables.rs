//! How the reading commands look to people: tables and short texts made of the same JSON that `--json` prints.

use std::io::{self, Write};

use serde_json::Value;

use super::output::{Out, counted, text};

/// The items of a list, none where it is no list.
pub fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A list of entries.
pub fn entries(value: &Value, out: &mut Out) -> io::Result<()> {
    let rows: Vec<Vec<String>> = value.as_array().into_iter().flatten().map(entry_row).collect();
    out.table(&["msg", "arrived", "source", "type", "control id", "standing", "reason"], &rows)
}

fn entry_row(entry: &Value) -> Vec<String> {
    ["seq", "arrived", "source", "kind", "control_id", "standing", "reason"].iter().map(|key| text(entry, key)).collect()
}

fn entry_head(entry: &Value, out: &mut Out) -> io::Result<()> {
    writeln!(
        out,
        "message   {}  {} from {}, {}, {}",
        text(entry, "seq"),
        text(entry, "kind"),
        text(entry, "source"),
        text(entry, "format"),
        counted(entry.get("bytes").and_then(Value::as_u64).unwrap_or_default() as usize, "byte")
    )?;
    writeln!(out, "control   {}", text(entry, "control_id"))?;
    writeln!(out, "arrived   {}", text(entry, "arrived"))?;
    let reason = text(entry, "reason");
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    writeln!(out, "standing  {}{reason}", text(entry, "standing"))
}

/// One entry as it was received: HL7 v2 a segment a line.
pub fn entry(value: &Value, out: &mut Out) -> io::Result<()> {
    entry_head(value.get("entry").unwrap_or(&Value::Null), out)?;
    let body = text(value, "body");
    if body == crate::console::mask::HIDDEN {
        return writeln!(out, "\nthe message itself is hidden; --reveal REASON shows it");
    }
    if body == crate::console::views::RESTRICTED {
        return writeln!(out, "\nrestricted: --safeguarding --reveal REASON shows it, which is written down");
    }
    writeln!(out, "\n{}", body.replace('\r', "\n").trim_end())
}

/// What became of one entry.
pub fn trace(value: &Value, out: &mut Out) -> io::Result<()> {
    entry_head(value.get("entry").unwrap_or(&Value::Null), out)?;
    restricted(value, out)?;
    if value.get("mapping").is_some_and(Value::is_string) {
        let bundle: String = text(value, "bundle").chars().take(12).collect();
        writeln!(out, "mapping   {}  (bundle {bundle})", text(value, "mapping"))?;
    }
    let original = text(value, "copy_of");
    if !original.is_empty() {
        writeln!(out, "copy of   message {original}, which a person mended")?;
    }
    for copy in items(value, "copies") {
        writeln!(out, "mended    its copy is message {copy}")?;
    }
    findings(value, out)?;
    for event in items(value, "events") {
        event_lines(event, true, out)?;
    }
    for debt in items(value, "debts") {
        let why = text(debt, "why");
        let why = if why.is_empty() { String::new() } else { format!(", {why}") };
        let settled = text(debt, "settled");
        let settled = if settled.is_empty() { String::new() } else { format!(" at {settled}") };
        let attempts = counted(debt.get("attempts").and_then(Value::as_u64).unwrap_or_default() as usize, "attempt");
        writeln!(
            out,
            "debt      {}  {}: {}{settled}, {attempts}{why}",
            text(debt, "debt"),
            text(debt, "destination"),
            text(debt, "state")
        )?;
        if let Some(again) = debt.get("again").filter(|again| again.is_object()) {
            let before = text(again, "of_debt");
            let before = if before.is_empty() { String::new() } else { format!(", after debt {before}") };
            writeln!(out, "  again   by job {}{before}", text(again, "job"))?;
            for renamed in items(again, "renamed") {
                writeln!(out, "  again   as {} in place of {}", text(renamed, "control_id"), text(renamed, "before"))?;
            }
        }
        for tried in items(debt, "tried") {
            let why = text(tried, "why");
            let why = if why.is_empty() { String::new() } else { format!(", {why}") };
            writeln!(out, "  tried   {} at {}: {}{why}", text(tried, "number"), text(tried, "at"), text(tried, "outcome"))?;
        }
    }
    for withheld in items(value, "withheld") {
        let part = |index: usize| withheld.get(index).and_then(Value::as_str).unwrap_or_default();
        writeln!(out, "withheld  {}: {}", part(0), part(1))?;
    }
    Ok(())
}

/// Says why nothing more is shown.
fn restricted(value: &Value, out: &mut Out) -> io::Result<()> {
    if value.get("restricted") == Some(&Value::Bool(true)) {
        writeln!(out, "restricted: what it says is shown by --safeguarding --reveal REASON, which is written down")?;
    }
    if value.get("sealed") == Some(&Value::Bool(true)) {
        writeln!(out, "sealed: what it says is shown by --sealed --reveal REASON, which is written down")?;
    }
    Ok(())
}

fn findings(value: &Value, out: &mut Out) -> io::Result<()> {
    for finding in items(value, "findings") {
        writeln!(
            out,
            "finding   {} {} {} at {}  {}  [{}]",
            text(finding, "level"),
            text(finding, "code"),
            text(finding, "field"),
            text(finding, "at"),
            text(finding, "text"),
            text(finding, "rule")
        )?;
        if let Some(miss) = finding.get("miss").filter(|miss| miss.is_object()) {
            let code = text(miss, "code");
            let hidden = if code == crate::console::mask::HIDDEN { " (--reveal REASON shows it; so does `table misses`)" } else { "" };
            writeln!(out, "  table   {} does not know the code {code}{hidden}", text(miss, "table"))?;
        }
        let help = text(finding, "help");
        if !help.is_empty() && help != crate::console::mask::HIDDEN {
            writeln!(out, "  fix     {help}")?;
        }
    }
    Ok(())
}

fn event_lines(event: &Value, with_evidence: bool, out: &mut Out) -> io::Result<()> {
    let late = if event.get("superseded").and_then(Value::as_bool) == Some(true) {
        ", kept without effect: something later was known"
    } else {
        ""
    };
    writeln!(out, "event     {}  {} at {}{late}", text(event, "event"), text(event, "kind"), text(event, "at"))?;
    writeln!(out, "  child   {}", text(event, "child"))?;
    writeln!(out, "  hub     {} ({})", text(event, "hub"), text(event, "basis"))?;
    for step in items(event, "evidence").iter().filter(|_| with_evidence) {
        writeln!(out, "  match   {}: {}", text(step, "step"), text(step, "text"))?;
    }
    Ok(())
}

/// Where values came from.
pub fn explain(value: &Value, out: &mut Out) -> io::Result<()> {
    restricted(value, out)?;
    for one in items(value, "values") {
        writeln!(out, "{}", way(one))?;
    }
    findings(value, out)
}

/// Why each field of a record says what it says.
pub fn why(value: &Value, out: &mut Out) -> io::Result<()> {
    for field in items(value, "why") {
        let stands = field.get("stands").unwrap_or(&Value::Null);
        writeln!(out, "{}", text(field, "field"))?;
        word("stands", stands, out)?;
        for other in items(field, "others") {
            word("said", other, out)?;
        }
    }
    Ok(())
}

fn word(verb: &str, word: &Value, out: &mut Out) -> io::Result<()> {
    let value = match word.get("value") {
        None | Some(Value::Null) => "there is none".to_owned(),
        Some(value) => value.to_string(),
    };
    let by = (text(word, "source"), text(word, "rank"), text(word, "seq"), text(word, "at"));
    writeln!(out, "  {verb:<7} {value}  by {} (rank {}), message {} at {}", by.0, by.1, by.2, by.3)?;
    for one in items(word, "from") {
        writeln!(out, "          {}", way(one))?;
    }
    let unknown = text(word, "unknown");
    if unknown.is_empty() { Ok(()) } else { writeln!(out, "          where it stood is not known: {unknown}") }
}

/// One value and its way: `child.sex = "2" <- PID-8 'F' -> table tables/sex.csv:7   [adt-person.toml:40]`.
fn way(one: &Value) -> String {
    let bytes = one
        .get("bytes")
        .filter(|bytes| bytes.is_object())
        .map(|bytes| format!(" bytes {}..{}", text(bytes, "start"), text(bytes, "end")))
        .unwrap_or_default();
    let from = text(one, "from");
    let from = if from.is_empty() { String::new() } else { format!(" <- {from}{bytes} '{}'", text(one, "raw")) };
    let steps: String = items(one, "steps").iter().filter_map(Value::as_str).map(|step| format!(" -> {step}")).collect();
    format!("{} = \"{}\"{from}{steps}   [{}]", text(one, "field"), text(one, "value"), text(one, "rule"))
}

/// One child.
pub fn child(value: &Value, with_evidence: bool, out: &mut Out) -> io::Result<()> {
    if value.get("sealed").is_some() {
        return writeln!(out, "child     {}  sealed; --sealed with --reveal REASON shows the record", text(value, "child"));
    }
    writeln!(out, "child     {}  version {}", text(value, "child"), text(value, "version"))?;
    if let Some(record) = value.get("record") {
        writeln!(out, "{}", serde_json::to_string_pretty(record)?)?;
    }
    if with_evidence {
        super::hubs::periods(items(value, "hubs"), out)?;
    }
    for (condition, current) in value.get("outcomes").and_then(Value::as_object).into_iter().flatten() {
        outcome(condition, current, out)?;
    }
    for aggregate in items(value, "aggregates") {
        self::aggregate(aggregate, out)?;
    }
    for review in items(value, "reviews") {
        let [number, code, kind, seq] = ["review", "code", "kind", "seq"].map(|key| text(review, key));
        writeln!(out, "review    {number}  {code} ({kind}), message {seq}: a person must look")?;
    }
    for event in items(value, "events") {
        writeln!(out, "message   {}", text(event, "seq"))?;
        event_lines(event, with_evidence, out)?;
    }
    Ok(())
}

/// The blood spot outcome that counts, and what later samples said beside it.
fn outcome(condition: &str, current: &Value, out: &mut Out) -> io::Result<()> {
    let said = |outcome: &Value| {
        let words = [text(outcome, "nbs_status"), text(outcome, "nbs_substatus"), text(outcome, "outcome_text")];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let later: String = items(current, "later").iter().map(|later| format!("; a later sample said {}", said(later))).collect();
    let open = if current.get("is_final") == Some(&Value::Bool(false)) { ", not final" } else { "" };
    let outcome = current.get("outcome").map(said).unwrap_or_default();
    writeln!(out, "outcome   {condition}: {outcome}{open} (sample {} taken {}){later}", text(current, "key"), text(current, "taken"))
}

/// What stands under one key of a publisher.
fn aggregate(aggregate: &Value, out: &mut Out) -> io::Result<()> {
    let seqs: Vec<String> = items(aggregate, "seqs").iter().map(Value::to_string).collect();
    let taken_back = if aggregate.get("deleted") == Some(&Value::Bool(true)) { ", taken back" } else { "" };
    let (kind, key, publisher) = (text(aggregate, "kind"), text(aggregate, "key"), text(aggregate, "publisher"));
    writeln!(out, "{kind:<9} {key} of {publisher}  message {} at {}{taken_back}", seqs.join(", "), text(aggregate, "at"))?;
    for (list, facts) in aggregate.get("content").and_then(Value::as_object).into_iter().flatten() {
        for fact in facts.as_array().into_iter().flatten() {
            writeln!(out, "  {list} {fact}")?;
        }
    }
    Ok(())
}

/// Child protection facts.
pub fn safeguarding(value: &Value, out: &mut Out) -> io::Result<()> {
    if value.get("sealed").is_some() {
        return writeln!(out, "child     {}  sealed", text(value, "child"));
    }
    writeln!(out, "child     {}", text(value, "child"))?;
    let rows = items(value, "safeguarding");
    if rows.is_empty() {
        writeln!(out, "no child protection fact is on record")?;
    }
    for row in rows {
        let taken_back = if row.get("deleted") == Some(&Value::Bool(true)) { ", taken back" } else { "" };
        let of = (text(row, "key"), text(row, "publisher"));
        writeln!(out, "fact      {} of {}  message {} at {}{taken_back}", of.0, of.1, text(row, "seq"), text(row, "at"))?;
        for fact in items(row, "facts") {
            writeln!(out, "  {fact}")?;
        }
    }
    Ok(())
}

/// What waits for a person.
pub fn held(value: &Value, out: &mut Out) -> io::Result<()> {
    let rows: Vec<Vec<String>> = items(value, "entries").iter().map(held_row).collect();
    out.table(&["msg", "arrived", "source", "type", "control id", "reason", "where"], &rows)?;
    let groups = items(value, "groups");
    if !groups.is_empty() {
        writeln!(out, "\nheld debts; `held release --destination NAME --why CAUSE` puts a group back, `held discard` withdraws it")?;
        let keys = ["destination", "why", "debts", "since"];
        let rows: Vec<Vec<String>> = groups.iter().map(|group| keys.iter().map(|key| text(group, key)).collect()).collect();
        out.table(&keys, &rows)?;
    }
    let debts = items(value, "debts");
    if !debts.is_empty() {
        writeln!(out)?;
        let rows: Vec<Vec<String>> = debts
            .iter()
            .map(|debt| ["debt", "destination", "event", "attempts", "why"].iter().map(|key| text(debt, key)).collect())
            .collect();
        out.table(&["debt", "destination", "event", "attempts", "why"], &rows)?;
    }
    let reviews = items(value, "reviews");
    if !reviews.is_empty() {
        writeln!(out, "\nfiled, and a person must look; `held show MSG` says why, `held release --review REVIEW` closes it")?;
        let keys = ["review", "msg", "child", "kind", "publisher", "key", "why"];
        let fields = ["review", "seq", "child", "kind", "publisher", "key", "code"];
        let rows: Vec<Vec<String>> = reviews.iter().map(|review| fields.iter().map(|field| text(review, field)).collect()).collect();
        out.table(&keys, &rows)?;
    }
    Ok(())
}

fn held_row(held: &Value) -> Vec<String> {
    let entry = held.get("entry").unwrap_or(&Value::Null);
    let place = |finding: &Value| format!("{} {}", text(finding, "code"), text(finding, "at")).trim().to_owned();
    let places: std::collections::BTreeSet<String> =
        items(held, "findings").iter().filter(|finding| text(finding, "level") == "hold").map(place).collect();
    let mut row: Vec<String> = ["seq", "arrived", "source", "kind", "control_id", "reason"].iter().map(|key| text(entry, key)).collect();
    row.push(places.into_iter().collect::<Vec<_>>().join(", "));
    row
}

/// The account.
pub fn reconcile(value: &Value, out: &mut Out) -> io::Result<()> {
    let keys = [
        "day",
        "source",
        "received",
        "filed",
        "held",
        "refused",
        "duplicate",
        "ignored",
        "waiting",
        "owed",
        "delivered",
        "superseded",
        "withdrawn",
        "pending",
    ];
    let rows: Vec<Vec<String>> = items(value, "lines").iter().map(|line| keys.iter().map(|key| text(line, key)).collect()).collect();
    out.table(&keys, &rows)?;
    let verdict = if is_balanced(value) { "the sums agree" } else { "the sums do NOT agree" };
    writeln!(
        out,
        "\n{verdict}: {} unaccounted, {} unaccounted debts; {} undelivered",
        text(value, "unaccounted"),
        text(value, "unaccounted_debts"),
        text(value, "undelivered")
    )
}

/// The law of conservation, for entries and for debts.
pub fn is_balanced(value: &Value) -> bool {
    ["unaccounted", "unaccounted_debts"].iter().all(|key| value.get(*key).and_then(Value::as_i64) == Some(0))
}
