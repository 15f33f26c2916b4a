//! Tables and views of a hub's store, and how an older store is brought up to date.
//!
//! # Versions
//!
//!     1   child, event, transfer, births_list, births_day, work_item: before the store had a number
//!     2   what is read out of records and events stands in columns of its own; views (`v_…`); who read what
//!
//! A store remembers its versions in `store_version`. One that a newer program wrote is refused.

use super::super::StoreError;
use super::db::{Db, within};

/// The version that this program writes.
pub(super) const VERSION: i64 = 2;

/// What version 1 had.
const FIRST: &str = "
CREATE TABLE IF NOT EXISTS child(
    child_id TEXT PRIMARY KEY, nhs_number TEXT, family TEXT, given TEXT, birth_date TEXT, sex TEXT, postcode TEXT, gp_practice TEXT,
    status TEXT, hub TEXT, version INTEGER NOT NULL, updated TEXT NOT NULL, record TEXT NOT NULL, role TEXT) STRICT;
CREATE INDEX IF NOT EXISTS child_nhs_number ON child(nhs_number);
CREATE INDEX IF NOT EXISTS child_birth_date ON child(birth_date);
CREATE TABLE IF NOT EXISTS event(
    id INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, child_id TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,
    action TEXT NOT NULL, at TEXT, source TEXT NOT NULL, control_id TEXT NOT NULL, seq INTEGER NOT NULL, filed TEXT NOT NULL,
    superseded INTEGER NOT NULL, statement TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS event_child ON event(child_id, id);
CREATE TABLE IF NOT EXISTS transfer(
    id INTEGER PRIMARY KEY, way TEXT NOT NULL, child_id TEXT NOT NULL, event_id TEXT NOT NULL, from_hub TEXT NOT NULL, to_hub TEXT NOT NULL,
    basis TEXT NOT NULL, at TEXT NOT NULL, filed TEXT NOT NULL, snapshot TEXT NOT NULL, UNIQUE(event_id, way)) STRICT;
CREATE INDEX IF NOT EXISTS transfer_child ON transfer(child_id, id);
CREATE TABLE IF NOT EXISTS births_day(day TEXT PRIMARY KEY, made TEXT NOT NULL, here INTEGER NOT NULL, elsewhere INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS births_list(
    day TEXT NOT NULL, section TEXT NOT NULL, child_id TEXT NOT NULL, nhs_number TEXT NOT NULL, family TEXT NOT NULL, given TEXT NOT NULL,
    birth_date TEXT NOT NULL, sex TEXT NOT NULL, weight_g TEXT NOT NULL, gestation_weeks TEXT NOT NULL, place TEXT NOT NULL, postcode TEXT NOT NULL,
    gp_practice TEXT NOT NULL, hub TEXT NOT NULL, basis TEXT NOT NULL, status TEXT NOT NULL, recognised TEXT NOT NULL,
    PRIMARY KEY(day, section, child_id)) STRICT;
CREATE TABLE IF NOT EXISTS work_item(
    day TEXT NOT NULL, kind TEXT NOT NULL, child_id TEXT NOT NULL, since TEXT NOT NULL, PRIMARY KEY(day, kind, child_id)) STRICT;
CREATE TABLE IF NOT EXISTS store_version(version INTEGER PRIMARY KEY) STRICT;
";

/// What version 2 added.
const SECOND: &str = "
ALTER TABLE child ADD COLUMN family_key TEXT;
ALTER TABLE child ADD COLUMN basis TEXT;
ALTER TABLE child ADD COLUMN merged_into TEXT;
ALTER TABLE child ADD COLUMN restricted INTEGER;
CREATE INDEX child_family_key ON child(family_key, birth_date);
CREATE INDEX child_merged_into ON child(merged_into) WHERE merged_into IS NOT NULL;
CREATE TABLE identifier(
    child_id TEXT NOT NULL, place INTEGER NOT NULL, system TEXT NOT NULL, type TEXT, value TEXT NOT NULL, status TEXT, usage TEXT NOT NULL,
    assigner TEXT, PRIMARY KEY(child_id, place)) STRICT;
CREATE INDEX identifier_value ON identifier(value, system);
CREATE TABLE name(
    child_id TEXT NOT NULL, place INTEGER NOT NULL, usage TEXT, family TEXT, given TEXT, placeholder INTEGER NOT NULL,
    PRIMARY KEY(child_id, place)) STRICT;
CREATE TABLE address(
    child_id TEXT NOT NULL, place INTEGER NOT NULL, usage TEXT, lines TEXT NOT NULL, postcode TEXT, local_authority TEXT, since TEXT, until TEXT,
    PRIMARY KEY(child_id, place)) STRICT;
CREATE TABLE relation(
    child_id TEXT NOT NULL, place INTEGER NOT NULL, kind TEXT NOT NULL, family TEXT, given TEXT, birth_date TEXT, nhs_number TEXT, postcode TEXT,
    gp_practice TEXT, parental_responsibility INTEGER, link_status TEXT, PRIMARY KEY(child_id, place)) STRICT;
CREATE TABLE item(
    item_key TEXT PRIMARY KEY, id INTEGER NOT NULL UNIQUE, child_id TEXT NOT NULL, kind TEXT NOT NULL, publisher TEXT NOT NULL, key TEXT NOT NULL,
    within TEXT, at TEXT NOT NULL, deleted INTEGER NOT NULL, says INTEGER NOT NULL, versions INTEGER NOT NULL, parts TEXT NOT NULL) STRICT;
CREATE INDEX item_child ON item(child_id, kind);
CREATE INDEX item_within ON item(publisher, within) WHERE within IS NOT NULL;
CREATE TABLE blood_spot(
    item INTEGER NOT NULL, place INTEGER NOT NULL, card_no TEXT, accession TEXT, laboratory TEXT, taken TEXT, received TEXT, condition TEXT NOT NULL,
    status TEXT, substatus TEXT, outcome TEXT, result_status TEXT NOT NULL, at TEXT, PRIMARY KEY(item, place)) STRICT;
CREATE TABLE hearing(
    item INTEGER NOT NULL, place INTEGER NOT NULL, at TEXT, site TEXT, summary TEXT, left_ear TEXT, right_ear TEXT, PRIMARY KEY(item, place)) STRICT;
CREATE TABLE physical_exam(
    item INTEGER NOT NULL, place INTEGER NOT NULL, exam TEXT, at TEXT, site TEXT, eyes TEXT, heart TEXT, hips TEXT, testes TEXT,
    PRIMARY KEY(item, place)) STRICT;
CREATE TABLE immunisation(
    item INTEGER NOT NULL, place INTEGER NOT NULL, status TEXT NOT NULL, given TEXT, vaccine_code TEXT, vaccine TEXT, procedure_code TEXT,
    antigens TEXT NOT NULL, dose INTEGER, batch TEXT, manufacturer TEXT, site TEXT, location TEXT, reason_not_given TEXT, PRIMARY KEY(item, place)) STRICT;
CREATE TABLE review(
    item INTEGER NOT NULL, place INTEGER NOT NULL, kind TEXT, at TEXT, site TEXT, mode TEXT, attended TEXT, feeding TEXT, PRIMARY KEY(item, place)) STRICT;
CREATE TABLE measurement(
    item INTEGER NOT NULL, place INTEGER NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, unit TEXT NOT NULL, at TEXT, PRIMARY KEY(item, place)) STRICT;
CREATE TABLE appointment(
    item INTEGER NOT NULL, place INTEGER NOT NULL, service TEXT, starts TEXT, site TEXT, status TEXT, PRIMARY KEY(item, place)) STRICT;
CREATE TABLE document(
    item INTEGER NOT NULL, place INTEGER NOT NULL, type_code TEXT, type TEXT, at TEXT, author TEXT, mime TEXT, sha256 TEXT, status TEXT,
    PRIMARY KEY(item, place)) STRICT;
CREATE TABLE episode(
    item INTEGER NOT NULL, place INTEGER NOT NULL, service TEXT, organisation TEXT, since TEXT, until TEXT, status TEXT, PRIMARY KEY(item, place)) STRICT;
CREATE TABLE task(
    item INTEGER NOT NULL, place INTEGER NOT NULL, clock TEXT, service TEXT, severity TEXT, reason TEXT, due TEXT, owner TEXT, status TEXT, closed TEXT,
    PRIMARY KEY(item, place)) STRICT;
CREATE TABLE read_log(
    id TEXT PRIMARY KEY, at TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, child_id TEXT, reason TEXT NOT NULL) STRICT;
CREATE INDEX read_log_child ON read_log(child_id, at);
";

/// Views, made anew at each start: they hold nothing. Of a sealed record none of them shows anything; what was filed under a record that was
/// merged since is shown under the one that goes on. Each later view may use those before it.
const VIEWS: [(&str, &str); 22] = [
    (
        "v_goes_on",
        "WITH RECURSIVE way(child_id, goes_on, steps) AS (
            SELECT child_id, child_id, 0 FROM child
            UNION ALL
            SELECT w.child_id, c.merged_into, w.steps + 1 FROM way w JOIN child c ON c.child_id = w.goes_on
                WHERE c.merged_into IS NOT NULL AND w.steps < 16)
        SELECT w.child_id, w.goes_on FROM way w LEFT JOIN child c ON c.child_id = w.goes_on
        WHERE c.merged_into IS NULL AND coalesce(c.status, '') <> 'sealed'
            AND NOT EXISTS (SELECT 1 FROM child s WHERE s.child_id = w.child_id AND s.status = 'sealed')",
    ),
    (
        "v_children",
        "SELECT child_id, nhs_number, family, given, birth_date, sex, postcode, gp_practice, status, role, hub, basis, restricted, merged_into,
            version, updated FROM child WHERE coalesce(status, '') <> 'sealed'",
    ),
    (
        "v_identifiers",
        "SELECT i.child_id, i.system, i.type, i.value, i.usage, i.status, i.assigner FROM identifier i JOIN v_children c ON c.child_id = i.child_id",
    ),
    ("v_names", "SELECT n.child_id, n.usage, n.family, n.given, n.placeholder FROM name n JOIN v_children c ON c.child_id = n.child_id"),
    (
        "v_addresses",
        "SELECT a.child_id, a.usage, a.lines, a.postcode, a.local_authority, a.since, a.until FROM address a JOIN v_children c ON c.child_id = a.child_id",
    ),
    (
        "v_relations",
        "SELECT r.child_id, r.kind, r.family, r.given, r.birth_date, r.nhs_number, r.postcode, r.gp_practice, r.parental_responsibility, r.link_status
            FROM relation r JOIN v_children c ON c.child_id = r.child_id",
    ),
    (
        "v_items",
        "SELECT i.id, g.goes_on AS child_id, i.kind, i.publisher, i.key, i.at, i.versions FROM item i JOIN v_goes_on g ON g.child_id = i.child_id
            WHERE i.says = 1",
    ),
    (
        "v_blood_spot",
        "SELECT i.child_id, i.publisher, b.card_no, b.accession, b.laboratory, b.taken, b.received, b.condition, b.status, b.substatus, b.outcome,
            b.result_status, coalesce(b.at, i.at) AS at FROM blood_spot b JOIN v_items i ON i.id = b.item",
    ),
    (
        "v_hearing",
        "SELECT i.child_id, i.publisher, coalesce(h.at, i.at) AS at, h.site, h.summary, h.left_ear, h.right_ear FROM hearing h JOIN v_items i ON i.id = h.item",
    ),
    (
        "v_physical_exams",
        "SELECT i.child_id, i.publisher, p.exam, coalesce(p.at, i.at) AS at, p.site, p.eyes, p.heart, p.hips, p.testes
            FROM physical_exam p JOIN v_items i ON i.id = p.item",
    ),
    (
        "v_immunisations",
        "SELECT i.child_id, i.publisher, m.status, m.given, m.vaccine_code, m.vaccine, m.procedure_code, m.antigens, m.dose, m.batch, m.manufacturer,
            m.site, m.location, m.reason_not_given FROM immunisation m JOIN v_items i ON i.id = m.item",
    ),
    (
        "v_reviews",
        "SELECT i.child_id, i.publisher, i.id AS review, r.kind, coalesce(r.at, i.at) AS at, r.site, r.mode, r.attended, r.feeding
            FROM review r JOIN v_items i ON i.id = r.item",
    ),
    (
        "v_measurements",
        "SELECT i.child_id, i.id AS review, m.kind, m.value, m.unit, coalesce(m.at, i.at) AS at FROM measurement m JOIN v_items i ON i.id = m.item",
    ),
    (
        "v_tasks",
        "SELECT i.child_id, i.publisher, t.clock, t.service, t.severity, t.reason, t.due, t.owner, t.status, t.closed, i.at
            FROM task t JOIN v_items i ON i.id = t.item",
    ),
    (
        "v_events",
        "SELECT g.goes_on AS child_id, e.child_id AS filed_under, e.id, e.event_id, e.kind, e.action, e.at, e.source, e.control_id, e.version, e.filed,
            e.superseded FROM event e JOIN v_goes_on g ON g.child_id = e.child_id",
    ),
    (
        "v_transfers",
        "SELECT g.goes_on AS child_id, t.way, t.from_hub, t.to_hub, t.basis, t.at, t.filed, t.event_id FROM transfer t JOIN v_goes_on g ON g.child_id = t.child_id",
    ),
    (
        "v_births",
        "SELECT b.day, b.section, b.child_id, b.nhs_number, b.family, b.given, b.birth_date, b.sex, b.weight_g, b.gestation_weeks, b.place, b.postcode,
            b.gp_practice, b.hub, b.basis, b.status, b.recognised FROM births_list b
            WHERE NOT EXISTS (SELECT 1 FROM child s WHERE s.child_id = b.child_id AND s.status = 'sealed')",
    ),
    (
        "v_appointments",
        "SELECT i.child_id, i.publisher, i.key, a.service, a.starts, a.site, a.status FROM appointment a JOIN v_items i ON i.id = a.item",
    ),
    (
        "v_documents",
        "SELECT i.child_id, i.publisher, d.type_code, d.type, coalesce(d.at, i.at) AS at, d.author, d.mime, d.sha256, d.status
            FROM document d JOIN v_items i ON i.id = d.item",
    ),
    (
        "v_episodes",
        "SELECT i.child_id, i.publisher, e.service, e.organisation, e.since, e.until, e.status FROM episode e JOIN v_items i ON i.id = e.item",
    ),
    (
        "v_work_items",
        "SELECT w.day, w.kind, w.child_id, w.since FROM work_item w
            WHERE NOT EXISTS (SELECT 1 FROM child s WHERE s.child_id = w.child_id AND s.status = 'sealed')",
    ),
    ("v_reads", "SELECT at, who, what, child_id, reason FROM read_log"),
];

/// Every view with what it selects.
pub(super) fn views() -> impl DoubleEndedIterator<Item = (&'static str, &'static str)> {
    VIEWS.into_iter()
}

/// The version of a store; 0 where there is none, 1 where it has no number.
pub(super) fn version(db: &mut dyn Db) -> Result<i64, StoreError> {
    if !db.has("store_version")? {
        return Ok(i64::from(db.has("child")?));
    }
    Ok(db.rows("SELECT max(version) FROM store_version", &[])?.first().map_or(0, |row| row.int(0)))
}

/// Refuses a store that a newer program wrote.
pub(super) fn refuse_newer(db: &dyn Db, version: i64) -> Result<(), StoreError> {
    if version <= VERSION {
        return Ok(());
    }
    let text = format!("{} has version {version}, this program knows {VERSION}: use the program that wrote it", db.name());
    Err(StoreError { text, exit: 65 })
}

/// Makes what is missing, all or nothing. `fill` reads out of records and events what version 2 has in columns.
pub(super) fn bring_up(db: &mut dyn Db, fill: impl FnOnce(&mut dyn Db) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let known = version(db)?;
    refuse_newer(db, known)?;
    let wanted: Vec<String> = views().map(|(name, select)| format!("CREATE VIEW {name} AS {select}")).collect();
    if known == VERSION
        && db.rows("SELECT value FROM store_note WHERE name = 'views'", &[])?.first().map(|row| row.text(0)) == Some(mark(&wanted))
    {
        return Ok(());
    }
    within(db, |db| {
        let first = db.tables(FIRST);
        db.script(&first)?;
        if known < 2 {
            if known == 1 && !has_role(db)? {
                db.script("ALTER TABLE child ADD COLUMN role TEXT")?;
            }
            let second = db.tables(SECOND);
            db.script(&second)?;
            let notes = db.tables("CREATE TABLE store_note(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT");
            db.script(&notes)?;
            fill(db)?;
            db.run("INSERT INTO store_version(version) VALUES(?1) ON CONFLICT DO NOTHING", vec![VERSION.into()])?;
        }
        for (name, _) in views().rev() {
            db.script(&format!("DROP VIEW IF EXISTS {name}"))?;
        }
        for view in &wanted {
            db.script(view)?;
        }
        let sql = "INSERT INTO store_note(name, value) VALUES('views', ?1) ON CONFLICT(name) DO UPDATE SET value = excluded.value";
        db.run(sql, vec![mark(&wanted).into()])
    })
}

/// Tells other views from these.
fn mark(views: &[String]) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, views.join(";").as_bytes()).to_string()
}

/// A store that was made before moves were known has no such column; only SQLite files are so old.
fn has_role(db: &mut dyn Db) -> Result<bool, StoreError> {
    Ok(!db.rows("SELECT 1 FROM pragma_table_info('child') WHERE name = 'role'", &[])?.is_empty())
}
