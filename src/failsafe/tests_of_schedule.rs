//! The routine schedule at every boundary of its cohorts, and how doses are counted.

use super::fixture::*;
use super::*;

/// The rows that hold for a child, with the day each is due from: `6IN1_1 2026-03-02`.
fn plan(born_on: &str, today: &str) -> Vec<String> {
    let doses = RULES.schedule.doses(&[]);
    let planned = RULES.schedule.plan(born_on.parse().unwrap(), today.parse().unwrap(), &doses);
    planned.iter().map(|one| format!("{} {}", one.row.id, one.due)).collect()
}

#[track_caller]
fn check(born_on: &str, expected: &[&str]) {
    let found: Vec<String> = plan(born_on, "2026-01-05").into_iter().filter(|row| !row.starts_with("FLU")).collect();
    assert_eq!(found, expected, "born {born_on}");
}

#[test]
fn the_whole_schedule_of_a_baby_born_under_the_orders_of_2026() {
    check(
        "2026-01-05",
        &[
            "6IN1_1 2026-03-02",
            "MENB_1 2026-03-02",
            "ROTA_1 2026-03-02",
            "6IN1_2 2026-03-30",
            "MENB_2 2026-03-30",
            "ROTA_2 2026-03-30",
            "PCV_1 2026-04-27",
            "6IN1_3 2026-04-27",
            "MMRV_1 2027-01-05",
            "PCV_2 2027-01-05",
            "MENB_3 2027-01-05",
            "MMRV_2 2027-07-05",
            "6IN1_4 2027-07-05",
            "DTAPIPV 2029-05-05",
            "HPV 2038-09-01",
            "TDIPV 2039-09-01",
            "MENACWY 2039-09-01",
        ],
    );
}

/// Which of these rows hold for a child born on a day.
#[track_caller]
fn holds(born_on: &str, rows: &[&str], expected: &[&str]) {
    let found: Vec<String> = plan(born_on, "2026-01-05").iter().filter_map(|row| Some(row.split_once(' ')?.0.to_owned())).collect();
    let found: Vec<&str> = rows.iter().copied().filter(|row| found.iter().any(|one| one == row)).collect();
    assert_eq!(found, expected, "born {born_on}");
}

const MEASLES: [&str; 6] = ["MMR_1", "MMRV_1", "MMRV_18M", "MMRV_2", "MMRV_2ND", "MMR_2"];

#[test]
fn cohort_30_june_and_1_july_2024() {
    // Hib/MenC ended, and the fourth 6-in-1 and an early second MMRV began.
    holds("2024-06-30", &["HIBMENC", "6IN1_4", "MMRV_3Y4M"], &["HIBMENC"]);
    holds("2024-07-01", &["HIBMENC", "6IN1_4", "MMRV_3Y4M"], &["6IN1_4", "MMRV_3Y4M"]);
    holds("2024-06-30", &MEASLES, &["MMR_1", "MMRV_2ND"]);
    holds("2024-07-01", &MEASLES, &["MMR_1", "MMRV_18M"]);
}

#[test]
fn cohort_31_december_2024_and_1_january_2025() {
    holds("2024-12-31", &MEASLES, &["MMR_1", "MMRV_18M"]);
    holds("2025-01-01", &MEASLES, &["MMRV_1", "MMRV_2"]);
    // Who had MMR first has a second MMRV at 3 years 4 months; who had two MMRV has none due.
    holds("2024-12-31", &["MMRV_3Y4M"], &["MMRV_3Y4M"]);
    holds("2025-01-01", &["MMRV_3Y4M"], &[]);
}

#[test]
fn cohort_31_august_and_1_september_2022() {
    holds("2022-08-31", &["MMR_2", "MMRV_2ND", "MMRV_CATCHUP"], &["MMR_2", "MMRV_CATCHUP"]);
    holds("2022-09-01", &["MMR_2", "MMRV_2ND", "MMRV_CATCHUP"], &["MMRV_2ND"]);
}

#[test]
fn the_catch_ups_have_their_days() {
    let due = |born_on: &str, row: &str| plan(born_on, "2026-01-05").into_iter().find(|one| one.starts_with(row)).unwrap_or_default();
    // 2 years 7 months old on 1 January 2026: at 3 years 4 months. A day younger: brought forward.
    assert_eq!(due("2023-06-01", "MMRV_2ND"), "MMRV_2ND 2026-10-01");
    assert_eq!(due("2023-06-02", "MMRV_2ND"), "MMRV_2ND 2026-01-01");
    assert_eq!(due("2020-01-01", "MMRV_CATCHUP"), "MMRV_CATCHUP 2026-11-01");
    assert_eq!(due("2019-12-31", "MMRV_CATCHUP"), "", "not eligible");
    let brought = born("2023-06-02");
    for (now, state) in
        [("2025-12-04T00:00:00Z", "pending, listed"), ("2026-10-31T23:59:59Z", "pending, listed"), ("2026-11-01T00:00:00Z", "breached")]
    {
        assert_eq!(stands(&brought, "IMM_MMRV_2ND", now), state, "{now}");
    }
    // Whether a child had chickenpox is not known: it is listed, and nobody is told that it is late.
    let catch_up = born("2021-05-05");
    for (now, state) in [("2026-11-02T00:00:00Z", "pending, listed"), ("2028-04-02T00:00:00Z", "pending, listed")] {
        assert_eq!(stands(&catch_up, "IMM_MMRV_CATCHUP", now), state, "{now}");
    }
    // One dose of before is not enough, two are; a dose since MMRV came in is the one that is asked for.
    for (doses, state) in [
        (vec![given(7, "2023-05-05", "varicella")], "pending, listed"),
        (vec![given(7, "2023-05-05", "varicella"), given(8, "2023-07-05", "varicella")], "excluded"),
        (vec![given(7, "2026-01-01", "mmrv")], "satisfied by 7"),
        (vec![given(7, "2025-12-31", "mmrv")], "pending, listed"),
        (vec![given(7, "2023-05-05", "varicella"), given(8, "2026-11-01", "mmrv")], "satisfied by 8"),
    ] {
        let mut child = catch_up.clone();
        child.immunisations = doses;
        assert_eq!(stands(&child, "IMM_MMRV_CATCHUP", "2026-11-02T00:00:00Z"), state, "{:?}", child.immunisations);
    }
}

#[test]
fn the_order_of_1_july_2025_holds_for_babies_who_were_not_twelve_weeks_old() {
    let due = |born_on: &str, row: &str| plan(born_on, "2026-01-05").into_iter().find(|one| one.starts_with(row)).unwrap_or_default();
    assert_eq!((due("2025-04-07", "MENB_2"), due("2025-04-07", "PCV_1")), ("MENB_2 2025-07-28".into(), "PCV_1 2025-06-30".into()));
    assert_eq!((due("2025-04-08", "MENB_2"), due("2025-04-08", "PCV_1")), ("MENB_2 2025-07-01".into(), "PCV_1 2025-07-29".into()));
}

#[test]
fn the_year_of_school_begins_in_september() {
    let due = |born_on: &str| plan(born_on, "2026-01-05").into_iter().find(|one| one.starts_with("HPV")).unwrap();
    // Year 8: twelve years old on 31 August.
    assert_eq!((due("2013-08-31"), due("2013-09-01")), ("HPV 2025-09-01".into(), "HPV 2026-09-01".into()));
}

#[test]
fn influenza_is_due_each_season_for_its_ages_and_is_never_late() {
    let child = born("2023-08-31");
    assert_eq!(stands(&child, "IMM_FLU_YOUNG", "2026-01-05T12:00:00Z"), "pending, listed", "two years old on 31 August 2025");
    let mut given_last = child.clone();
    given_last.immunisations = vec![given(7, "2025-10-10", "flu")];
    assert_eq!(stands(&given_last, "IMM_FLU_YOUNG", "2026-01-05T12:00:00Z"), "satisfied by 7");
    assert_eq!(stands(&given_last, "IMM_FLU_YOUNG", "2026-09-02T12:00:00Z"), "pending, listed", "another season");
    assert_eq!(stands(&born("2023-09-01"), "IMM_FLU_YOUNG", "2026-01-05T12:00:00Z"), "-", "one year old on 31 August 2025");
    assert_eq!(stands(&child, "IMM_FLU_YOUNG", "2027-09-02T12:00:00Z"), "-");
    assert_eq!(stands(&child, "IMM_FLU_SCHOOL", "2027-09-02T12:00:00Z"), "pending, listed", "four");
}

/// Where the doses of a course stand a year after birth: row and state.
#[track_caller]
fn course(born_on: &str, doses: &[(&str, &str)], now: &str, expected: &[(&str, &str)]) {
    let mut facts = born(born_on);
    facts.immunisations = doses.iter().enumerate().map(|(place, (on, product))| given(10 + place as i64, on, product)).collect();
    for (row, state) in expected {
        assert_eq!(stands(&facts, &format!("IMM_{row}"), now), *state, "{row} after {doses:?}");
    }
}

const BORN: &str = "2026-01-05";

#[test]
fn a_dose_is_due_from_its_day_listed_four_weeks_before_and_late_four_weeks_after() {
    let baby = born(BORN);
    for (now, state) in [
        ("2026-02-01T23:59:59Z", "pending"),
        ("2026-02-02T00:00:00Z", "pending, listed"),
        ("2026-03-30T22:59:59Z", "pending, listed"),
        ("2026-03-30T23:00:00Z", "breached"),
    ] {
        assert_eq!(stands(&baby, "IMM_6IN1_1", now), state, "{now}");
    }
}

#[test]
fn antigens_are_counted_and_not_products() {
    // A 4-in-1 has neither Hib nor hepatitis B; a monovalent hepatitis B fills one of them.
    course(BORN, &[("2026-03-02", "4in1")], "2026-06-01T00:00:00Z", &[("6IN1_1", "breached")]);
    course(
        BORN,
        &[("2026-03-02", "4in1"), ("2026-03-02", "hepb"), ("2026-03-03", "hib")],
        "2026-06-01T00:00:00Z",
        &[("6IN1_1", "satisfied by 12")],
    );
    // MMRV counts where MMR was due.
    course("2024-12-31", &[("2026-01-02", "mmrv")], "2026-03-01T00:00:00Z", &[("MMR_1", "satisfied by 10")]);
}

#[test]
fn a_dose_too_early_or_too_soon_after_the_last_one_does_not_count() {
    // Six weeks is the least; 28 days lie between.
    course(BORN, &[("2026-02-15", "6in1")], "2026-06-01T00:00:00Z", &[("6IN1_1", "breached")]);
    course(BORN, &[("2026-02-16", "6in1")], "2026-06-01T00:00:00Z", &[("6IN1_1", "satisfied by 10")]);
    let third = |on| [("2026-03-02", "6in1"), (on, "6in1")];
    course(BORN, &third("2026-03-29"), "2026-06-01T00:00:00Z", &[("6IN1_1", "satisfied by 10"), ("6IN1_2", "breached")]);
    course(BORN, &third("2026-03-30"), "2026-06-01T00:00:00Z", &[("6IN1_1", "satisfied by 10"), ("6IN1_2", "satisfied by 11")]);
    // On or after the first birthday, and not a day before.
    course(BORN, &[("2027-01-04", "mmrv")], "2027-03-01T00:00:00Z", &[("MMRV_1", "breached")]);
    course(BORN, &[("2027-01-05", "mmrv")], "2027-03-01T00:00:00Z", &[("MMRV_1", "satisfied by 10"), ("MMRV_2", "pending")]);
    // A dose that did not count does not keep the next from counting.
    course(
        BORN,
        &[("2027-01-04", "mmrv"), ("2027-01-20", "mmrv"), ("2027-02-20", "mmrv")],
        "2027-03-01T00:00:00Z",
        &[("MMRV_1", "satisfied by 12")],
    );
}

#[test]
fn live_vaccines_are_given_on_the_same_day_or_four_weeks_apart() {
    let with = |on| [("2026-01-02", "mmr"), (on, "varicella")];
    let state = |on| {
        let mut facts = born("2024-12-31");
        facts.immunisations = with(on).iter().enumerate().map(|(place, (on, product))| given(10 + place as i64, on, product)).collect();
        let doses = RULES.schedule.doses(&facts.immunisations);
        doses.given.iter().map(|dose| dose.is_too_soon).collect::<Vec<_>>()
    };
    assert_eq!(state("2026-01-02"), [false, false]);
    assert_eq!(state("2026-01-03"), [false, true]);
    assert_eq!(state("2026-01-29"), [false, true]);
    assert_eq!(state("2026-01-30"), [false, false]);
}

#[test]
fn rotavirus_is_begun_before_15_weeks_and_ended_before_24_and_never_after() {
    // 14 weeks 6 days: 19 April. 23 weeks 6 days: 21 June.
    course(BORN, &[], "2026-04-19T22:59:59Z", &[("ROTA_1", "breached"), ("ROTA_2", "pending, listed")]);
    course(BORN, &[], "2026-04-19T23:00:00Z", &[("ROTA_1", "excluded"), ("ROTA_2", "excluded")]);
    course(BORN, &[("2026-04-19", "rota")], "2026-06-21T22:59:59Z", &[("ROTA_1", "satisfied by 10"), ("ROTA_2", "breached")]);
    course(BORN, &[("2026-04-19", "rota")], "2026-06-21T23:00:00Z", &[("ROTA_1", "satisfied by 10"), ("ROTA_2", "excluded")]);
    course(BORN, &[("2026-03-02", "rota"), ("2026-06-21", "rota")], "2026-07-01T00:00:00Z", &[("ROTA_2", "satisfied by 11")]);
    let clock = clock(&born(BORN), "IMM_ROTA_1", "2026-04-20T00:00:00Z").unwrap();
    assert!(clock.reason.starts_with("not_required_age"), "{}", clock.reason);
}

#[test]
fn hib_menc_or_a_6_in_1_in_its_place_counts_at_a_year() {
    let infant = [("2024-08-26", "6in1"), ("2024-09-23", "6in1"), ("2024-10-21", "6in1")];
    for (twelve, state) in [("hibmenc", "satisfied by 13"), ("6in1", "satisfied by 13"), ("menacwy", "breached")] {
        let doses: Vec<(&str, &str)> = infant.iter().copied().chain([("2025-07-05", twelve)]).collect();
        course("2024-06-30", &doses, "2026-01-05T00:00:00Z", &[("HIBMENC", state), ("6IN1_3", "satisfied by 12")]);
    }
}

#[test]
fn a_second_mmr_counts_as_mmrv_only_where_varicella_was_in_it() {
    let first = ("2025-07-10", "mmr");
    course(
        "2024-07-01",
        &[first, ("2026-01-10", "mmrv")],
        "2026-03-01T00:00:00Z",
        &[("MMR_1", "satisfied by 10"), ("MMRV_18M", "satisfied by 11")],
    );
    course(
        "2024-07-01",
        &[first, ("2026-01-10", "mmr")],
        "2026-03-01T00:00:00Z",
        &[("MMR_1", "satisfied by 10"), ("MMRV_18M", "breached")],
    );
}

#[test]
fn boosters_of_a_child_whose_infant_doses_nobody_knows_count_by_age() {
    course(
        "2012-05-05",
        &[("2015-10-01", "4in1"), ("2025-11-01", "td")],
        "2026-12-01T00:00:00Z",
        &[("DTAPIPV", "satisfied by 10"), ("TDIPV", "satisfied by 11")],
    );
    course(
        "2012-05-05",
        &[("2025-11-01", "menacwy"), ("2024-11-01", "hpv")],
        "2026-12-01T00:00:00Z",
        &[("MENACWY", "satisfied by 10"), ("HPV", "satisfied by 11")],
    );
}

#[test]
fn undated_doses_are_listed_and_not_counted_and_an_unknown_product_is_looked_at() {
    let mut baby = born(BORN);
    baby.immunisations = vec![given(7, "", "6in1"), given(8, "2026-03", "6in1"), given(9, "2026-03-02", "unknown")];
    let now = "2026-06-01T00:00:00Z";
    assert_eq!(stands(&baby, "IMM_6IN1_1", now), "breached");
    assert_eq!(stands(&baby, "IMM_UNDATED", now), "pending, listed");
    assert_eq!(stands(&baby, "IMM_UNKNOWN", now), "unobservable by 9");
    // Looked at by a person, and then another one comes: that is another matter.
    let closing = |facts: &Facts| {
        let started = clock(facts, "IMM_UNKNOWN", now).unwrap().started;
        Closing { kind: "IMM_UNKNOWN".into(), started, at: at(now) }
    };
    let mut looked_at = baby.clone();
    looked_at.closings = vec![closing(&baby)];
    assert_eq!(stands(&looked_at, "IMM_UNKNOWN", now), "satisfied");
    let mut another = given(12, "2026-05-20", "unknown");
    another.at = at("2026-05-20T12:00:00Z");
    looked_at.immunisations.push(another);
    assert_eq!(stands(&looked_at, "IMM_UNKNOWN", now), "unobservable by 12");
    // Known by its procedure, where no product says so.
    baby.immunisations[2].item.procedure = Some(code("1082441000000108"));
    assert_eq!((stands(&baby, "IMM_6IN1_1", now), stands(&baby, "IMM_UNKNOWN", now)), ("satisfied by 9".into(), "-".into()));
    // A part of a dose, or one that was never given, counts for nothing.
    baby.immunisations[2].item.subpotent = Some(true);
    assert_eq!(stands(&baby, "IMM_6IN1_1", now), "breached");
    baby.immunisations[2].item.subpotent = None;
    baby.immunisations[2].item.status = ImmunisationStatus::EnteredInError;
    assert_eq!(stands(&baby, "IMM_6IN1_1", now), "breached");
}

#[test]
fn the_same_dose_told_twice_is_one_dose() {
    course(
        BORN,
        &[("2026-03-02", "6in1"), ("2026-03-02", "6in1")],
        "2026-06-01T00:00:00Z",
        &[("6IN1_1", "satisfied by 10"), ("6IN1_2", "breached")],
    );
}

#[test]
fn a_refusal_ends_what_was_due_and_another_reason_does_not() {
    let mut baby = born(BORN);
    for (reason, state) in
        [("310376006", "excluded by 7"), ("266758009", "excluded by 7"), ("201741000000102", "breached"), ("213257006", "breached")]
    {
        let mut said = given(7, "2026-03-02", "6in1");
        said.item.status = ImmunisationStatus::NotDone;
        said.item.reason_not_given = Some(code(reason));
        baby.immunisations = vec![said];
        assert_eq!(stands(&baby, "IMM_6IN1_1", "2026-06-01T00:00:00Z"), state, "{reason}");
        assert_eq!(stands(&baby, "IMM_MENB_1", "2026-06-01T00:00:00Z"), "breached", "another vaccine");
        assert_eq!(stands(&baby, "IMM_6IN1_4", "2027-07-06T00:00:00Z"), "pending, listed", "asked again at 18 months");
    }
    // Given after all.
    baby.immunisations.push(given(9, "2026-05-02", "6in1"));
    assert_eq!(stands(&baby, "IMM_6IN1_1", "2026-06-01T00:00:00Z"), "satisfied by 9");
}

#[test]
fn a_refusal_of_one_part_does_not_end_the_whole_vaccine() {
    let mut baby = born(BORN);
    let refused = |product: &str| {
        let mut said = given(7, "2026-03-02", product);
        said.item.status = ImmunisationStatus::NotDone;
        said.item.reason_not_given = Some(code("310376006"));
        vec![said]
    };
    for (product, state) in [("hepb", "breached"), ("4in1", "breached"), ("6in1", "excluded by 7")] {
        baby.immunisations = refused(product);
        assert_eq!(stands(&baby, "IMM_6IN1_1", "2026-06-01T00:00:00Z"), state, "{product}");
    }
}

#[test]
fn a_baby_of_a_mother_with_hepatitis_b_has_clocks_of_its_own() {
    let flag = |value: Option<&str>| {
        let item = Observation { code: Some(code("HBVEXP")), text: value.map(str::to_owned), ..Observation::default() };
        said(3, "2026-01-05T12:00:00Z", ObservationSet { items: vec![item], ..ObservationSet::default() })
    };
    let mut baby = born("2026-01-05T12:00:00+00:00");
    assert_eq!(stands(&baby, "HEPB_0", "2026-01-06T12:00:00Z"), "-");
    baby.observations = vec![flag(Some("N"))];
    assert_eq!(stands(&baby, "HEPB_0", "2026-01-06T12:00:00Z"), "-", "denied");
    baby.observations = vec![flag(None)];
    let check = |baby: &Facts, kind: &str, expected: &[(&str, &str)]| {
        expected.iter().for_each(|(now, state)| assert_eq!(stands(baby, kind, now), *state, "{kind} {now}"));
    };
    check(&baby, "HEPB_0", &[("2026-01-06T11:59:59Z", "pending, listed"), ("2026-01-06T12:00:00Z", "breached")]);
    check(
        &baby,
        "HEPB_4W",
        &[
            ("2026-02-01T23:59:59Z", "pending"),
            ("2026-02-02T00:00:00Z", "pending, listed"),
            ("2026-02-09T23:59:59Z", "pending, listed"),
            ("2026-02-10T00:00:00Z", "breached"),
        ],
    );
    check(&baby, "HEPB_TEST", &[("2027-07-05T22:59:59Z", "pending, listed"), ("2027-07-05T23:00:00Z", "breached")]);
    assert_eq!(stands(&baby, "HEPB_12M", "2027-03-01T00:00:00Z"), "-", "the new schedule has none");
    baby.immunisations = vec![given(7, "2026-01-05", "hepb"), given(8, "2026-02-02", "hepb")];
    check(&baby, "HEPB_0", &[("2026-03-01T00:00:00Z", "satisfied by 7")]);
    check(&baby, "HEPB_4W", &[("2026-03-01T00:00:00Z", "satisfied by 8")]);
    // The same dose told by two senders with a day between is no second dose.
    baby.immunisations = vec![given(7, "2026-01-05", "hepb"), given(8, "2026-01-25", "hepb")];
    check(&baby, "HEPB_4W", &[("2026-03-01T00:00:00Z", "breached")]);
    baby.immunisations = vec![given(7, "2026-01-05", "hepb"), given(9, "2026-01-06", "hepb"), given(8, "2026-01-26", "hepb")];
    check(&baby, "HEPB_4W", &[("2026-03-01T00:00:00Z", "satisfied by 8")]);
    // The routine doses are due all the same: these two were too early for them.
    check(&baby, "IMM_6IN1_1", &[("2026-03-31T00:00:00Z", "breached")]);
    let mut older = born("2024-06-30");
    older.observations = vec![flag(None)];
    check(&older, "HEPB_12M", &[("2025-06-30T12:00:00Z", "pending, listed"), ("2025-07-30T23:00:00Z", "breached")]);
}

#[test]
fn bcg_waits_for_the_scid_result_only_where_scid_is_screened_for() {
    let mut baby = born("2026-01-05");
    assert_eq!(stands(&baby, "BCG", "2026-04-06T00:00:00Z"), "-");
    let mut exam = examined(6, "newborn_72h", ["no_abnormality"; 3], None);
    exam.item.bcg_eligible = Some(true);
    baby.nipe = vec![exam];
    for (now, state) in [
        ("2026-02-01T23:59:59Z", "pending"),
        ("2026-02-02T00:00:00Z", "pending, listed"),
        ("2026-04-05T22:59:59Z", "pending, listed"),
        ("2026-04-05T23:00:00Z", "breached"),
    ] {
        assert_eq!(stands(&baby, "BCG", now), state, "{now}");
    }
    let mut rules = RULES.clone();
    rules.nbs.conditions.push(super::rules::Conditions {
        names: vec!["SCID".into()],
        dob_from: None,
        dob_to: None,
        hubs: vec!["NE".into()],
    });
    let stands = |baby: &Facts, now: &str| {
        let clock = clocks(baby, &rules, at(now)).clocks.into_iter().find(|clock| clock.kind == "BCG").unwrap();
        format!("{}: {}", clock.state.word(), clock.reason)
    };
    let (waits, late) = ("suspended: waits for the SCID result", "2026-04-06T00:00:00Z");
    // It waits as long as it is not late, and not for ever.
    assert_eq!(stands(&baby, "2026-04-05T22:59:59Z"), waits);
    assert_eq!(clocks(&baby, &rules, at("2026-04-05T22:59:59Z")).next_change, Some(at("2026-04-05T23:00:00Z")));
    assert_eq!(stands(&baby, late), "breached: no SCID result: a doctor decides");
    let (eligible, doctor) = ("pending: eligible, and not given", "pending: no SCID result: a doctor decides");
    for (outcomes, expected) in [
        (&["SCID 04"] as &[&str], eligible),
        (&["SCID 08"], "excluded: contraindicated: SCID is suspected"),
        (&["SCID 01"], waits),
        (&["SCID 0301"], waits),
        (&["PKU 04"], waits),
        (&["SCID 02"], doctor),
        (&["SCID 0905"], doctor),
        (&["SCID 07"], doctor),
        (&["SCID 02", "SCID 04"], eligible),
        (&["SCID 0301", "SCID 08"], "excluded: contraindicated: SCID is suspected"),
        (&["SCID 08", "SCID 04"], "pending: SCID was suspected and a later sample says otherwise: a doctor decides"),
        (&["SCID 04", "SCID 08"], "excluded: contraindicated: SCID is suspected"),
    ] {
        baby.blood_spots = outcomes.iter().zip(7..).map(|(one, seq)| spot(seq, &format!("2026-01-{:02}", seq + 3), &[*one])).collect();
        assert_eq!(stands(&baby, "2026-02-10T00:00:00Z"), expected, "{outcomes:?}");
    }
    // What was another baby's, or was taken back, says nothing of this one.
    for (outcome, status) in
        [("SCID 04", ResultStatus::WrongPatient), ("SCID 08", ResultStatus::Deleted), ("SCID 04", ResultStatus::Prelim)]
    {
        baby.blood_spots = vec![spot(7, "2026-01-10", &[outcome])];
        baby.blood_spots[0].item.outcomes[0].result_status = status;
        assert_eq!(stands(&baby, "2026-02-10T00:00:00Z"), waits, "{outcome} {status:?}");
    }
    baby.immunisations = vec![given(9, "2026-02-10", "bcg")];
    assert_eq!(stands(&baby, late), "satisfied: given");
}

use crate::canon::{ImmunisationStatus, Observation, ObservationSet, ResultStatus};

#[test]
fn every_row_of_the_shipped_schedule_is_reached_by_some_child() {
    let days = (2005..2027)
        .flat_map(|year| [(1, 1), (4, 8), (6, 2), (7, 1), (9, 1), (12, 31)].map(|(month, day)| jiff::civil::date(year, month, day)));
    let reached: std::collections::BTreeSet<String> =
        days.flat_map(|day| plan(&day.to_string(), "2026-10-05")).filter_map(|row| Some(row.split_once(' ')?.0.to_owned())).collect();
    let unreached: Vec<&str> = RULES.schedule.rows.iter().map(|row| row.id.as_str()).filter(|id| !reached.contains(*id)).collect();
    assert_eq!(unreached, [""; 0]);
}
