//! Caseload and uptake of a hub, counted as of a day.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;

use super::super::StoreError;
use super::read::HubReader;
use crate::canon::Immunisation;
use crate::failsafe::day::{Length, date_of};
use crate::failsafe::{Said, Schedule};

/// Children of one role, standing and age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseloadLine {
    /// `responsible`, `interested`, `former`.
    pub role: String,
    /// `active`, `deceased`, …
    pub status: String,
    /// `0-27 days`, `28 days-11 months`, `1`, `2`, … years; `unborn` after the day, `unknown` without a date of birth.
    pub age: String,
    /// How many.
    pub children: u64,
    /// Of these, how many have an open failsafe task.
    pub with_open_tasks: u64,
}

/// One dose of one cohort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UptakeLine {
    /// Quarter of birth, `2026 Q1`.
    pub cohort: String,
    /// The dose, by its row in the schedule.
    pub dose: String,
    /// What it protects against.
    pub antigens: Vec<String>,
    /// Its place in the course.
    pub number: i64,
    /// Children for whom it was due on the day: the denominator.
    pub due: u64,
    /// Of these, how many have it: the numerator.
    pub given: u64,
    /// Of those who have it not, how many need it not (enough doses before).
    pub not_required: u64,
    /// Of those who have it not, for how many it was declined or contraindicated.
    pub not_given: u64,
}

/// Children read in one go.
const PAGE: i64 = 500;

/// How old, in words; a month or a day after the day is unborn.
fn age(born: Option<Date>, day: Date) -> String {
    let Some(born) = born else { return "unknown".to_owned() };
    if day < born {
        return "unborn".to_owned();
    }
    let days = crate::failsafe::day::days_between(born, day);
    let years = (0..).take_while(|years| Length::Months(12 * (years + 1)).after(born, &Default::default()) <= day).count();
    match (years, days) {
        (0, 0..28) => "0-27 days".to_owned(),
        (0, _) => "28 days-11 months".to_owned(),
        (years, _) => years.to_string(),
    }
}

impl HubReader {
    /// The children of the hub by role, standing and age in years on `day`. Roles, standings and tasks are those of now.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn caseload(&mut self, day: Date) -> Result<Vec<CaseloadLine>, StoreError> {
        let sql = "SELECT c.role, c.status, c.birth_date, count(*), CAST(sum(CASE WHEN t.child_id IS NULL THEN 0 ELSE 1 END) AS BIGINT)
            FROM v_children c LEFT JOIN (SELECT DISTINCT child_id FROM v_tasks WHERE coalesce(closed, '') = '' AND coalesce(status, '') NOT IN
                ('completed', 'cancelled', 'rejected', 'entered-in-error')) t ON t.child_id = c.child_id
            WHERE c.merged_into IS NULL GROUP BY c.role, c.status, c.birth_date";
        let mut lines: BTreeMap<(String, String, u32, String), (u64, u64)> = BTreeMap::new();
        for row in self.db().rows(sql, &[])? {
            let age = age(row.text(2).parse().ok(), day);
            let order = match age.as_str() {
                "unborn" => 0,
                "0-27 days" => 1,
                "28 days-11 months" => 2,
                years => years.parse::<u32>().map_or(u32::MAX, |years| years + 2),
            };
            let line = lines.entry((row.text(0), row.text(1), order, age)).or_default();
            line.0 += row.int(3).unsigned_abs();
            line.1 += row.int(4).unsigned_abs();
        }
        let line = |((role, status, _, age), (children, with_open_tasks))| CaseloadLine { role, status, age, children, with_open_tasks };
        Ok(lines.into_iter().map(line).collect())
    }

    /// For each quarter of birth and each dose of the schedule that was due on `day`: for how many of the children that the hub looks after now, and how
    /// many have it. A vaccination counts where it was given on or before that day, as the failsafe counts doses.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn uptake(&mut self, schedule: &Schedule, day: Date) -> Result<Vec<UptakeLine>, StoreError> {
        let mut lines: BTreeMap<(String, Date, usize), UptakeLine> = BTreeMap::new();
        let mut after = String::new();
        loop {
            let sql = "SELECT child_id, birth_date FROM v_children WHERE ?1 < child_id AND role = 'responsible' AND status = 'active'
                AND merged_into IS NULL ORDER BY child_id LIMIT ?2";
            let rows = self.db().rows(sql, &[after.as_str().into(), PAGE.into()])?;
            let Some(last) = rows.last() else { break };
            let sql = "SELECT child_id, id FROM v_items WHERE kind = 'immunisation' AND ?1 < child_id AND child_id <= ?2";
            let range = [after.as_str().into(), last.text(0).into()];
            let has: std::collections::BTreeSet<String> = self.db().rows(sql, &range)?.iter().map(|row| row.text(0)).collect();
            after = last.text(0);
            for row in &rows {
                let Ok(born) = row.text(1).parse::<Date>() else { continue };
                if day < born {
                    continue;
                }
                let child = row.text(0);
                let said = if has.contains(&child) { self.vaccinations(&child, day)? } else { Vec::new() };
                count(schedule, (born, day), &said, &mut lines);
            }
        }
        Ok(lines.into_values().collect())
    }

    fn vaccinations(&mut self, child: &str, day: Date) -> Result<Vec<Said<Immunisation>>, StoreError> {
        let Some(file) = child.parse().ok().map(crate::names::ChildId).map(|child| self.file(child)).transpose()?.flatten() else {
            return Ok(Vec::new());
        };
        let mut said = Vec::new();
        for event in file.standing {
            let (seq, at) = (event.seq, event.statement.event.at.as_ref().and_then(|at| at.timestamp()).unwrap_or(event.filed));
            let until = |given: &Immunisation| given.occurrence.as_ref().and_then(|on| on.date()).unwrap_or_else(|| date_of(at)) <= day;
            said.extend(event.statement.immunisations.into_iter().filter(until).map(|item| Said { seq, at, item }));
        }
        Ok(said)
    }
}

fn count(
    schedule: &Schedule,
    (born, day): (Date, Date),
    said: &[Said<Immunisation>],
    lines: &mut BTreeMap<(String, Date, usize), UptakeLine>,
) {
    let doses = schedule.doses(said);
    let cohort = format!("{} Q{}", born.year(), (born.month() - 1) / 3 + 1);
    for one in schedule.plan(born, day, &doses).into_iter().filter(|one| one.due <= day) {
        let place = schedule.rows.iter().position(|row| row.id == one.row.id).unwrap_or_default();
        let quarter = Date::new(born.year(), (born.month() - 1) / 3 * 3 + 1, 1).unwrap_or(born);
        let line = lines.entry((cohort.clone(), quarter, place)).or_insert_with(|| UptakeLine {
            cohort: cohort.clone(),
            dose: one.row.id.clone(),
            antigens: one.row.antigens.clone(),
            number: one.row.dose,
            due: 0,
            given: 0,
            not_required: 0,
            not_given: 0,
        });
        line.due += 1;
        match (one.given, one.is_enough, one.not_given) {
            (Some(_), _, _) => line.given += 1,
            (None, true, _) => line.not_required += 1,
            (None, false, Some(_)) => line.not_given += 1,
            (None, false, None) => {}
        }
    }
}
