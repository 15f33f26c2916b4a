//! The clocks one by one: begun, near, late at the exact second, satisfied, excluded; also over both nights the clocks change.

use super::fixture::*;
use super::*;
use crate::canon::*;

/// `(moment, where the clock stands)`, in the order of time.
#[track_caller]
fn check(facts: &Facts, kind: &str, expected: &[(&str, &str)]) {
    for (now, state) in expected {
        assert_eq!(stands(facts, kind, now), *state, "{kind} at {now}: {:?}", clock(facts, kind, now));
    }
}

const NOON: &str = "2026-01-05T12:00:00+00:00";

#[test]
fn every_clock_that_is_counted_from_birth_is_near_late_and_over_at_its_local_second() {
    let baby = born(NOON);
    for (kind, warn, late, over) in [
        ("NBS_SAMPLE", "2026-01-11T00:00:00Z", "2026-01-14T00:00:00Z", "2027-01-06T00:00:00Z"),
        ("NBS_RESULT", "2026-01-19T00:00:00Z", "2026-01-23T00:00:00Z", "2027-01-06T00:00:00Z"),
        ("NBS_ALL", "2026-01-22T00:00:00Z", "2026-01-27T00:00:00Z", "2027-01-06T00:00:00Z"),
        ("HEAR", "2026-01-26T00:00:00Z", "2026-02-03T00:00:00Z", "2026-04-05T23:00:00Z"),
        ("NIPE_72", "2026-01-08T00:00:00Z", "2026-01-08T12:00:00Z", "2026-02-17T00:00:00Z"),
        ("NIPE_68", "2026-03-02T00:00:00Z", "2026-03-17T00:00:00Z", "2026-07-05T23:00:00Z"),
        ("HV_NBV", "2026-01-15T00:00:00Z", "2026-01-20T00:00:00Z", "2026-03-03T00:00:00Z"),
        ("HV_68", "2026-02-23T00:00:00Z", "2026-03-03T00:00:00Z", "2026-10-05T23:00:00Z"),
        ("HV_12M", "2026-12-05T00:00:00Z", "2027-01-06T00:00:00Z", "2028-01-06T00:00:00Z"),
        ("HV_2Y", "2028-04-04T23:00:00Z", "2028-07-05T23:00:00Z", "2031-01-06T00:00:00Z"),
        ("HV_ALLOC", "2026-01-10T00:00:00Z", "2026-01-16T00:00:00Z", "2031-01-06T00:00:00Z"),
    ] {
        let second_before = |moment: &str| (at(moment) - SignedDuration::from_secs(1)).to_string();
        check(
            &baby,
            kind,
            &[
                (&second_before(warn), "pending"),
                (warn, "pending, listed"),
                (&second_before(late), "pending, listed"),
                (late, "breached"),
                (&second_before(over), "breached"),
                (over, "excluded"),
            ],
        );
        let started = clock(&baby, kind, NOON).unwrap();
        assert_eq!((started.started, started.state), (at(NOON), ClockState::Pending), "{kind}");
    }
}

#[test]
fn clocks_without_an_end_stay_late_until_somebody_acts() {
    let mut baby = born(NOON);
    for (kind, late) in [("GP_REG", "2026-02-17T00:00:00Z"), ("NHSNO", "2026-01-11T00:00:00Z"), ("CHO_ALLOC", "2026-01-08T00:00:00Z")] {
        let before = (at(late) - SignedDuration::from_secs(1)).to_string();
        check(&baby, kind, &[(&before, "pending, listed"), (late, "breached"), ("2040-01-01T00:00:00Z", "breached")]);
    }
    // No local birth was told: the Spine's word is not waited for.
    assert_eq!(stands(&baby, "BIRTH_NOTIF", NOON), "-");
    baby.births = vec![BirthTold { seq: Seq(1), at: at(NOON), is_national: false }];
    check(
        &baby,
        "BIRTH_NOTIF",
        &[
            ("2026-01-06T23:59:59Z", "pending"),
            ("2026-01-07T00:00:00Z", "pending, listed"),
            ("2026-01-08T11:59:59Z", "pending, listed"),
            ("2026-01-08T12:00:00Z", "breached"),
        ],
    );
    baby.births.push(BirthTold { seq: Seq(9), at: at(NOON), is_national: true });
    check(&baby, "BIRTH_NOTIF", &[("2026-02-01T00:00:00Z", "satisfied by 9")]);
}

#[test]
fn a_day_ends_at_local_midnight_and_hours_pass_also_when_the_clocks_change() {
    // Born on 15 March: day 14 (new birth visit) is 29 March, which has 23 hours.
    let spring = born("2026-03-15T12:00:00+00:00");
    check(&spring, "HV_NBV", &[("2026-03-29T22:59:59Z", "pending, listed"), ("2026-03-29T23:00:00Z", "breached")]);
    // Born on 11 October: day 14 is 25 October, which has 25 hours.
    let autumn = born("2026-10-11T12:00:00+01:00");
    check(&autumn, "HV_NBV", &[("2026-10-25T23:59:59Z", "pending, listed"), ("2026-10-26T00:00:00Z", "breached")]);
    // 72 hours are 72 hours; on the wall it is an hour later in spring, and an hour earlier in autumn.
    let spring = born("2026-03-27T12:00:00+00:00");
    check(&spring, "NIPE_72", &[("2026-03-30T11:59:59Z", "pending, listed"), ("2026-03-30T12:00:00Z", "breached")]);
    let autumn = born("2026-10-23T12:00:00+01:00");
    check(&autumn, "NIPE_72", &[("2026-10-26T10:59:59Z", "pending, listed"), ("2026-10-26T11:00:00Z", "breached")]);
    // Born in the hour that comes twice: day 17 is counted by the date.
    let twice = born("2026-10-25T01:30:00+00:00");
    check(&twice, "NBS_RESULT", &[("2026-11-11T23:59:59Z", "pending, listed"), ("2026-11-12T00:00:00Z", "breached")]);
}

#[test]
fn without_an_hour_of_birth_hours_are_counted_from_the_last_moment_of_the_day() {
    check(&born("2026-01-05"), "NIPE_72", &[("2026-01-08T23:59:59Z", "pending, listed"), ("2026-01-09T00:00:00Z", "breached")]);
}

#[test]
fn a_sample_or_an_outcome_or_a_decline_stops_the_wait_for_a_sample_and_nothing_else_does() {
    for status in ["01", "03", "04", "02", "0904"] {
        let mut baby = born(NOON);
        baby.blood_spots.push(spot(7, "2026-01-10", &[&format!("PKU {status}")]));
        check(&baby, "NBS_SAMPLE", &[("2026-01-20T00:00:00Z", "satisfied by 7")]);
    }
    let mut told = born(NOON);
    let set = ObservationSet { kind: Some("blood-spot-sample-taken".into()), ..ObservationSet::default() };
    told.observations.push(said(8, "2026-01-10T12:00:00Z", set));
    check(&told, "NBS_SAMPLE", &[("2026-01-20T00:00:00Z", "satisfied by 8")]);
}

#[test]
fn a_card_that_was_taken_back_altogether_is_no_sample_of_this_baby() {
    for status in [ResultStatus::Deleted, ResultStatus::WrongPatient] {
        let mut baby = born(NOON);
        let mut wrong = all(7, "2026-01-10", "04");
        wrong.item.outcomes.iter_mut().for_each(|outcome| outcome.result_status = status);
        baby.blood_spots = vec![wrong];
        check(&baby, "NBS_SAMPLE", &[("2026-01-20T00:00:00Z", "breached")]);
        check(&baby, "NBS_RECEIPT", &[("2026-01-20T00:00:00Z", "-")]);
        // Its own first sample was taken after eight weeks: CF is not asked of it.
        let mut own = all(9, "2026-03-03", "04");
        own.item.outcomes.retain(|outcome| outcome.condition != "CF");
        baby.blood_spots.push(own);
        check(&baby, "NBS_ALL", &[("2026-04-01T00:00:00Z", "satisfied by 9")]);
        // One outcome that stands, and the card is its own.
        baby.blood_spots.truncate(1);
        baby.blood_spots[0].item.outcomes[0].result_status = ResultStatus::Final;
        check(&baby, "NBS_SAMPLE", &[("2026-01-20T00:00:00Z", "satisfied by 7")]);
        check(&baby, "NBS_RECEIPT", &[("2026-01-20T00:00:00Z", "satisfied by 7")]);
    }
}

#[test]
fn a_sample_is_received_within_four_working_days() {
    let mut baby = born("2026-03-28");
    // Taken on Thursday, 2 April; Good Friday and Easter Monday are no working days, so the fourth is Friday, 10 April.
    baby.blood_spots.push(spot(7, "2026-04-02", &[]));
    check(&baby, "NBS_RECEIPT", &[("2026-04-10T22:59:59Z", "pending"), ("2026-04-10T23:00:00Z", "breached")]);
    baby.blood_spots[0].item.sample.received = Some(instant("2026-04-08"));
    check(&baby, "NBS_RECEIPT", &[("2026-05-01T00:00:00Z", "satisfied by 7")]);
    assert_eq!(stands(&born(NOON), "NBS_RECEIPT", "2026-02-01T00:00:00Z"), "-", "without a sample there is nothing to receive");
    // Told by the midwife, before any laboratory did.
    let card = |kind: &str, on: &str| {
        let at = Some(instant(on));
        said(8, &format!("{on}T12:00:00Z"), ObservationSet { kind: Some(kind.into()), at, ..ObservationSet::default() })
    };
    let mut told = born("2026-03-28");
    told.observations = vec![card("blood-spot-sample-taken", "2026-04-02")];
    check(&told, "NBS_RECEIPT", &[("2026-04-10T22:59:59Z", "pending"), ("2026-04-10T23:00:00Z", "breached")]);
    told.observations.push(card("blood-spot-card-received", "2026-04-08"));
    check(&told, "NBS_RECEIPT", &[("2026-04-10T23:00:00Z", "satisfied by 8")]);
}

#[test]
fn only_a_conclusive_outcome_of_pku_is_a_result() {
    for (status, state) in [
        ("01", "breached"),
        ("02", "satisfied by 7"),
        ("0201", "breached"),
        ("0203", "satisfied by 7"),
        ("0303", "breached"),
        ("04", "satisfied by 7"),
        ("05", "satisfied by 7"),
        ("07", "satisfied by 7"),
        ("08", "satisfied by 7"),
        ("0901", "breached"),
        ("0902", "satisfied by 7"),
        ("0903", "breached"),
        ("0904", "breached"),
        ("0905", "satisfied by 7"),
        ("0906", "satisfied by 7"),
        ("10", "satisfied by 7"),
        ("un", "breached"),
    ] {
        let mut baby = born(NOON);
        baby.blood_spots.push(spot(7, "2026-01-10", &[&format!("PKU {status}")]));
        check(&baby, "NBS_RESULT", &[("2026-01-23T00:00:00Z", state)]);
        // Another condition's outcome is none of PKU.
        baby.blood_spots[0].item.outcomes[0].condition = "CF".into();
        check(&baby, "NBS_RESULT", &[("2026-01-23T00:00:00Z", "breached")]);
    }
}

#[test]
fn a_result_stands_though_a_later_sample_says_less_and_a_decline_does_not() {
    let mut baby = born(NOON);
    baby.blood_spots = vec![spot(7, "2026-01-10", &["PKU 04"]), spot(9, "2026-01-20", &["PKU 0303"])];
    check(&baby, "NBS_RESULT", &[("2026-02-01T00:00:00Z", "satisfied by 7")]);
    baby.blood_spots = vec![spot(7, "2026-01-10", &["PKU 02"]), spot(9, "2026-01-20", &["PKU 0303"])];
    check(&baby, "NBS_RESULT", &[("2026-02-01T00:00:00Z", "breached")]);
    // What was taken back, or not final, is no result.
    for status in [ResultStatus::Deleted, ResultStatus::WrongPatient, ResultStatus::Prelim] {
        baby.blood_spots = vec![spot(7, "2026-01-10", &["PKU 04"])];
        baby.blood_spots[0].item.outcomes[0].result_status = status;
        check(&baby, "NBS_RESULT", &[("2026-02-01T00:00:00Z", "breached")]);
    }
}

#[test]
fn every_condition_has_a_final_outcome_or_the_missing_ones_are_named() {
    let mut baby = born(NOON);
    baby.blood_spots = vec![all(7, "2026-01-10", "04")];
    check(&baby, "NBS_ALL", &[("2026-02-01T00:00:00Z", "satisfied by 7")]);
    baby.blood_spots[0].item.outcomes.retain(|outcome| outcome.condition != "GA1" && outcome.condition != "IVA");
    check(&baby, "NBS_ALL", &[("2026-02-01T00:00:00Z", "breached")]);
    assert_eq!(clock(&baby, "NBS_ALL", "2026-02-01T00:00:00Z").unwrap().reason, "no final outcome of IVA, GA1");
}

#[test]
fn cf_is_not_asked_of_a_baby_whose_first_sample_was_taken_after_eight_weeks() {
    let mut baby = born(NOON);
    let without_cf = |taken: &str| {
        let mut spot = all(7, taken, "04");
        spot.item.outcomes.retain(|outcome| outcome.condition != "CF");
        spot
    };
    // Eight weeks of age: 2 March.
    baby.blood_spots = vec![without_cf("2026-03-02")];
    check(&baby, "NBS_ALL", &[("2026-04-01T00:00:00Z", "breached")]);
    baby.blood_spots = vec![without_cf("2026-03-03")];
    check(&baby, "NBS_ALL", &[("2026-04-01T00:00:00Z", "satisfied by 7")]);
    // The laboratory's own word for it counts for CF, and for no other condition.
    baby.blood_spots = vec![without_cf("2026-01-10"), spot(8, "2026-01-10", &["CF 0901"])];
    check(&baby, "NBS_ALL", &[("2026-04-01T00:00:00Z", "satisfied by 8")]);
    baby.blood_spots = vec![all(7, "2026-01-10", "0901")];
    check(&baby, "NBS_ALL", &[("2026-04-01T00:00:00Z", "breached")]);
    assert_eq!(
        clock(&baby, "NBS_ALL", "2026-04-01T00:00:00Z").unwrap().reason,
        "no final outcome of PKU, SCD, CHT, MCADD, MSUD, IVA, GA1, HCU"
    );
}

#[test]
fn a_condition_that_is_not_offered_where_and_when_the_baby_was_born_is_not_waited_for() {
    let text = include_str!("../../mappings/failsafe.toml").replace(
        "names = [\"PKU\"",
        "names = [\"SCID\"]\ndob_from = 2026-01-05\ndob_to = 2026-01-31\nhubs = [\"NE\"]\n[[nbs.conditions]]\nnames = [\"PKU\"",
    );
    let texts = Texts {
        failsafe: &text,
        schedule: include_str!("../../mappings/schedule.toml"),
        holidays: include_str!("../../mappings/holidays.toml"),
    };
    let rules = Rules::load(texts).unwrap();
    for (born_on, hub, state) in [
        ("2026-01-04", "NE", ClockState::Satisfied),
        ("2026-01-05", "NE", ClockState::Breached),
        ("2026-01-31", "NE", ClockState::Breached),
        ("2026-02-01", "NE", ClockState::Satisfied),
        ("2026-01-05", "SE", ClockState::Satisfied),
    ] {
        let mut baby = born(born_on);
        baby.acting = Some(hub.into());
        baby.blood_spots = vec![all(7, "2026-02-06", "04")];
        let found = clocks(&baby, &rules, at("2026-04-01T00:00:00Z")).clocks.into_iter().find(|clock| clock.kind == "NBS_ALL").unwrap();
        assert_eq!(found.state, state, "{born_on} {hub}: {}", found.reason);
    }
}

#[test]
fn a_repeat_is_asked_for_in_the_time_of_its_reason_and_answered_by_a_newer_sample_only() {
    let with = |outcome: &str| {
        let mut baby = born(NOON);
        baby.blood_spots = vec![spot(7, "2026-01-12", &[outcome])];
        baby
    };
    // Asked for on 12 January: ten days. CF inconclusive waits for day 24, an early baby for day 28.
    for (outcome, late) in [
        ("PKU 0303", "2026-01-23T00:00:00Z"),
        ("CHT 0316", "2026-01-23T00:00:00Z"),
        ("CF 0317", "2026-01-30T00:00:00Z"),
        ("CHT 0315", "2026-02-03T00:00:00Z"),
    ] {
        let before = (at(late) - SignedDuration::from_secs(1)).to_string();
        check(
            &with(outcome),
            "NBS_REPEAT",
            &[("2026-01-12T12:00:00Z", "pending, listed"), (&before, "pending, listed"), (late, "breached")],
        );
    }
    assert_eq!(stands(&with("SCID 0301"), "NBS_REPEAT", "2026-02-01T00:00:00Z"), "-", "no action until the laboratory asks");
    assert_eq!(stands(&with("PKU 04"), "NBS_REPEAT", "2026-02-01T00:00:00Z"), "-");
    let mut baby = with("PKU 0303");
    for (newer, state) in [
        (spot(9, "2026-01-20", &["PKU 04"]), "satisfied by 9"),
        (spot(9, "2026-01-20", &["PKU 01"]), "satisfied by 9"),
        (spot(9, "2026-01-20", &["CF 04"]), "breached"),
        (spot(9, "2026-01-11", &["PKU 04"]), "breached"),
        (spot(9, "2026-01-20", &["PKU un"]), "breached"),
    ] {
        baby.blood_spots.truncate(1);
        baby.blood_spots.push(newer);
        check(&baby, "NBS_REPEAT", &[("2026-02-01T00:00:00Z", state)]);
    }
    // A newer sample that asks again begins anew.
    baby.blood_spots.truncate(1);
    baby.blood_spots.push(spot(9, "2026-01-20", &["PKU 0303"]));
    check(&baby, "NBS_REPEAT", &[("2026-01-30T23:59:59Z", "pending, listed"), ("2026-01-31T00:00:00Z", "breached")]);
}

#[test]
fn a_baby_who_moves_in_has_three_weeks_from_the_notification() {
    let mut baby = born(NOON);
    baby.stays = vec![Stay { hub: "OUT".into(), from: at(NOON) }, Stay { hub: "NE".into(), from: at("2026-03-10T09:00:00Z") }];
    check(
        &baby,
        "NBS_MOVER",
        &[("2026-03-10T09:00:00Z", "pending, listed"), ("2026-03-31T22:59:59Z", "pending, listed"), ("2026-03-31T23:00:00Z", "breached")],
    );
    for kind in ["NBS_RESULT", "NBS_SAMPLE", "NBS_ALL"] {
        check(&baby, kind, &[("2026-04-10T00:00:00Z", "excluded")]);
    }
    baby.blood_spots = vec![spot(7, "2026-02-10", &["PKU 0906"])];
    check(&baby, "NBS_MOVER", &[("2026-04-10T00:00:00Z", "satisfied by 7")]);
    // From another of our hubs the old clocks go on as well: nothing begins anew (identity rules, section 10).
    baby.blood_spots.clear();
    baby.stays[0].hub = "SE".into();
    check(&baby, "NBS_MOVER", &[("2026-04-10T00:00:00Z", "breached")]);
    check(&baby, "NBS_RESULT", &[("2026-04-10T00:00:00Z", "breached")]);
    // Up to but not including the first birthday.
    baby.stays[1].from = at("2027-01-05T00:00:00Z");
    assert_eq!(
        clock(&baby, "NBS_MOVER", "2027-01-05T12:00:00Z").map(|clock| clock.state),
        Some(ClockState::Pending),
        "the day is not over"
    );
    baby.stays[1].from = at("2027-01-06T00:00:00Z");
    assert_eq!(stands(&baby, "NBS_MOVER", "2027-01-06T12:00:00Z"), "-");
    // From "nobody knows where" to a hub is no move.
    baby.stays = vec![Stay { hub: "UNKNOWN".into(), from: at(NOON) }, Stay { hub: "NE".into(), from: at("2026-03-10T09:00:00Z") }];
    assert_eq!(stands(&baby, "NBS_MOVER", "2026-04-10T00:00:00Z"), "-");
}

#[test]
fn a_newborn_who_was_outside_for_a_day_keeps_the_clocks_of_its_birth() {
    let stays = |stays: &[(&str, &str)]| {
        let mut baby = born(NOON);
        baby.stays = stays.iter().map(|(hub, from)| Stay { hub: (*hub).into(), from: at(from) }).collect();
        baby
    };
    // Day 17 ends with 22 January; who was with a hub before stays one of ours whenever it comes back.
    for (baby, result) in [
        (stays(&[("NE", NOON), ("OUT", "2026-01-07T09:00:00Z"), ("NE", "2026-01-08T09:00:00Z")]), "breached"),
        (stays(&[("OUT", NOON), ("NE", "2026-01-08T09:00:00Z")]), "breached"),
        (stays(&[("OUT", NOON), ("NE", "2026-01-22T23:59:59Z")]), "breached"),
        (stays(&[("OUT", NOON), ("NE", "2026-01-23T00:00:00Z")]), "excluded"),
        (stays(&[("NE", NOON), ("OUT", "2026-02-10T09:00:00Z"), ("NE", "2026-02-11T09:00:00Z")]), "breached"),
        (stays(&[("UNKNOWN", NOON), ("OUT", "2026-02-10T09:00:00Z"), ("NE", "2026-02-11T09:00:00Z")]), "breached"),
    ] {
        for kind in ["NBS_SAMPLE", "NBS_RESULT", "NBS_ALL"] {
            check(&baby, kind, &[("2026-03-20T00:00:00Z", result)]);
        }
    }
    // Moved in, and then from hub to hub: what is waited for does not begin anew.
    let moved = stays(&[("OUT", NOON), ("NE", "2026-03-10T09:00:00Z"), ("SE", "2026-03-20T09:00:00Z")]);
    check(&moved, "NBS_RESULT", &[("2026-04-01T00:00:00Z", "excluded")]);
    check(&moved, "NBS_MOVER", &[("2026-03-31T22:59:59Z", "pending, listed"), ("2026-03-31T23:00:00Z", "breached")]);
}

#[test]
fn a_baby_whom_nobody_here_knew_moved_in_but_a_birth_that_came_late_is_late() {
    let mut baby = born(NOON);
    baby.first_known = at("2026-02-10T09:00:00Z");
    baby.stays[0].from = baby.first_known;
    check(&baby, "NBS_RESULT", &[("2026-02-10T09:00:00Z", "breached")]);
    baby.births.clear();
    check(&baby, "NBS_RESULT", &[("2026-02-10T09:00:00Z", "excluded")]);
    check(&baby, "NBS_MOVER", &[("2026-03-03T23:59:59Z", "pending, listed"), ("2026-03-04T00:00:00Z", "breached")]);
    // Known on day 17: still one of ours.
    baby.first_known = at("2026-01-22T23:59:59Z");
    assert_eq!(stands(&baby, "NBS_MOVER", "2026-03-04T00:00:00Z"), "-");
}

#[test]
fn a_decline_waits_for_the_letters_until_a_person_says_that_they_went() {
    let mut baby = born(NOON);
    baby.blood_spots = vec![all(7, "2026-01-12", "02")];
    check(
        &baby,
        "NBS_DECLINE",
        &[("2026-01-12T00:00:00Z", "pending, listed"), ("2026-01-26T23:59:59Z", "pending, listed"), ("2026-01-27T00:00:00Z", "breached")],
    );
    let started = clock(&baby, "NBS_DECLINE", "2026-01-27T00:00:00Z").unwrap().started;
    baby.closings.push(Closing { kind: "NBS_DECLINE".into(), started, at: at("2026-01-28T09:00:00Z") });
    check(&baby, "NBS_DECLINE", &[("2026-01-28T09:00:00Z", "satisfied")]);
    // Declined once more, later: that is another letter.
    baby.blood_spots.push(all(9, "2026-02-12", "02"));
    check(&baby, "NBS_DECLINE", &[("2026-03-28T09:00:00Z", "breached")]);
}

#[test]
fn a_decline_is_over_when_what_was_declined_was_screened_after_all_and_not_another_condition() {
    let mut baby = born(NOON);
    baby.blood_spots = vec![spot(7, "2026-01-12", &["PKU 04", "SCD 02"])];
    check(&baby, "NBS_DECLINE", &[("2026-01-27T00:00:00Z", "breached")]);
    baby.blood_spots.push(spot(9, "2026-01-20", &["SCD 04"]));
    check(&baby, "NBS_DECLINE", &[("2026-01-27T00:00:00Z", "satisfied by 9")]);
    // Of several that were declined one is still open.
    baby.blood_spots[0] = spot(7, "2026-01-12", &["PKU 02", "SCD 02"]);
    check(&baby, "NBS_DECLINE", &[("2026-01-27T00:00:00Z", "breached")]);
}

#[test]
fn hearing_is_counted_by_corrected_age_and_a_week_longer_in_the_community() {
    let mut baby = born(NOON);
    baby.record.child.birth.gestation_weeks = Some(36);
    baby.record.child.birth.gestation_days = Some(2);
    // 26 days early: day 28 of corrected age is 28 February.
    check(&baby, "HEAR", &[("2026-02-28T23:59:59Z", "pending, listed"), ("2026-03-01T00:00:00Z", "breached")]);
    baby.record.child.birth.gestation_weeks = Some(41);
    check(&baby, "HEAR", &[("2026-02-02T23:59:59Z", "pending, listed"), ("2026-02-03T00:00:00Z", "breached")]);
    let text = include_str!("../../mappings/failsafe.toml").replace("community_sites = []", "community_sites = [\"RQX\"]");
    let rules = Rules::load(Texts {
        failsafe: &text,
        schedule: include_str!("../../mappings/schedule.toml"),
        holidays: include_str!("../../mappings/holidays.toml"),
    })
    .unwrap();
    baby.record.child.birth.place_ods = Some("RQX".into());
    let state = |now: &str| clocks(&baby, &rules, at(now)).clocks.into_iter().find(|clock| clock.kind == "HEAR").unwrap().state;
    assert_eq!((state("2026-02-09T23:59:59Z"), state("2026-02-10T00:00:00Z")), (ClockState::Pending, ClockState::Breached));
}

#[test]
fn a_hearing_screen_is_complete_only_by_a_summary_of_the_complete_set() {
    for (summary, state) in [
        ("clear_no_followup", "satisfied by 7"),
        ("clear_targeted_followup", "satisfied by 7"),
        ("no_clear_both", "satisfied by 7"),
        ("no_clear_one", "satisfied by 7"),
        ("contraindicated", "satisfied by 7"),
        ("unsettled", "satisfied by 7"),
        ("equipment_malfunction", "satisfied by 7"),
        ("equipment_not_available", "satisfied by 7"),
        ("declined", "excluded by 7"),
        ("withdrew_consent", "excluded by 7"),
        ("deceased", "excluded by 7"),
        ("outside_age", "excluded by 7"),
        ("dna", "breached"),
        ("capacity", "breached"),
        ("lost_contact", "breached"),
        ("out_of_area", "breached"),
        ("unclassified", "breached"),
    ] {
        let mut baby = born(NOON);
        baby.hearing.push(heard(7, "2026-01-20", summary));
        check(&baby, "HEAR", &[("2026-02-10T00:00:00Z", state)]);
    }
}

#[test]
fn no_clear_response_waits_four_weeks_for_audiology() {
    let mut baby = born(NOON);
    baby.hearing.push(heard(7, "2026-01-20", "no_clear_one"));
    check(&baby, "HEAR_REFER", &[("2026-02-17T23:59:59Z", "pending, listed"), ("2026-02-18T00:00:00Z", "breached")]);
    let appointment = |service: &str, status: &str| {
        let item = Appointment {
            service: Some(service.into()),
            status: Some(status.into()),
            start: Some(instant("2026-02-03T09:30:00+00:00")),
            ..Appointment::default()
        };
        vec![said(9, "2026-01-21T12:00:00Z", item)]
    };
    for (service, status, state) in [
        ("Diagnostic audiology", "booked", "satisfied by 9"),
        ("Diagnostic audiology", "cancelled", "breached"),
        ("Diagnostic audiology", "dna", "breached"),
        ("Hip clinic", "booked", "breached"),
    ] {
        baby.appointments = appointment(service, status);
        check(&baby, "HEAR_REFER", &[("2026-02-18T00:00:00Z", state)]);
    }
    baby.hearing = vec![heard(7, "2026-01-20", "clear_no_followup")];
    assert_eq!(stands(&baby, "HEAR_REFER", "2026-02-18T00:00:00Z"), "-");
}

#[test]
fn an_examination_is_whole_when_every_part_was_examined_and_a_boy_has_one_more() {
    let now = "2026-01-20T00:00:00Z";
    let none = "no_abnormality";
    for (parts, testes, girl, boy) in [
        ([none, none, none], None, "satisfied by 7", "breached"),
        ([none, none, "abnormality_suspected"], Some(none), "satisfied by 7", "satisfied by 7"),
        ([none, none, "not_done"], Some(none), "breached", "breached"),
        ([none, "incomplete", none], Some(none), "breached", "breached"),
        (["unclassified", none, none], Some(none), "breached", "breached"),
        ([none, none, "declined"], Some(none), "excluded by 7", "excluded by 7"),
        (["declined", "declined", "declined"], Some("declined"), "excluded by 7", "excluded by 7"),
        // One part was declined, and another is still to be done.
        ([none, "not_done", "declined"], Some(none), "breached", "breached"),
        ([none, none, "declined"], None, "excluded by 7", "breached"),
        ([none, none, none], Some("not_done"), "satisfied by 7", "breached"),
    ] {
        let mut baby = born(NOON);
        baby.nipe.push(examined(7, "newborn_72h", parts, testes));
        check(&baby, "NIPE_72", &[(now, girl)]);
        check(&baby, "NIPE_68", &[("2026-03-17T00:00:00Z", "breached")]);
        baby.record.child.sex = Some(Sex::Male);
        check(&baby, "NIPE_72", &[(now, boy)]);
    }
    let mut baby = born(NOON);
    baby.nipe.push(examined(8, "infant_6_8w", [none, none, none], None));
    check(&baby, "NIPE_68", &[("2026-03-17T00:00:00Z", "satisfied by 8")]);
    check(&baby, "NIPE_72", &[(now, "breached")]);
}

#[test]
fn a_baby_in_neonatal_care_is_waited_for_until_day_28_and_no_longer() {
    for (level, state) in [("0", "breached"), ("1", "suspended"), ("3", "suspended"), ("8", "breached")] {
        let mut baby = born(NOON);
        baby.record.child.birth.neonatal_care_level = Some(level.into());
        check(&baby, "NIPE_72", &[("2026-02-02T23:59:59Z", state), ("2026-02-03T00:00:00Z", "breached")]);
        check(&baby, "HV_NBV", &[("2026-02-02T23:59:59Z", state), ("2026-02-03T00:00:00Z", "breached")]);
        check(&baby, "NBS_SAMPLE", &[("2026-02-02T23:59:59Z", "breached")]);
        baby.reviews.push(visit(9, "0023", "attended"));
        check(&baby, "HV_NBV", &[("2026-02-01T00:00:00Z", "satisfied by 9")]);
    }
}

#[test]
fn each_review_satisfies_its_own_clock_and_only_where_the_child_was_seen() {
    for (kind, review, late) in
        [("HV_NBV", "0023", "2026-01-20T00:00:00Z"), ("HV_68", "0022", "2026-03-03T00:00:00Z"), ("HV_12M", "0021", "2027-01-06T00:00:00Z")]
    {
        let mut baby = born(NOON);
        for (said, state) in [
            (visit(9, review, "attended"), "satisfied by 9"),
            (visit(9, review, "dna"), "breached"),
            (visit(9, review, "cancelled"), "breached"),
            (visit(9, "0026", "attended"), "breached"),
        ] {
            baby.reviews = vec![said];
            check(&baby, kind, &[(late, state)]);
        }
    }
    let late = clock(&born(NOON), "HV_NBV", "2026-02-05T00:00:00Z").unwrap();
    assert_eq!((late.state, late.reason.as_str()), (ClockState::Breached, "missed: no review of this kind"), "after day 30");
}

#[test]
fn the_two_year_review_counts_with_a_whole_set_of_asq3() {
    let domains = ["communication", "gross_motor", "fine_motor", "problem_solving", "personal_social"];
    let review = |seq, kind: &str, months, count: usize| {
        let score = |domain: &&str| Score { instrument: "ASQ-3".into(), months: Some(months), domain: Some((*domain).into()), value: 50 };
        let mut review = visit(seq, kind, "attended");
        review.item.scores = domains.iter().take(count).map(score).collect();
        review
    };
    let late = "2028-07-05T23:00:00Z";
    for (reviews, state) in [
        (vec![review(9, "0020", 24, 5)], "satisfied by 9"),
        (vec![review(9, "0019", 30, 5)], "satisfied by 9"),
        (vec![review(9, "0020", 24, 4)], "breached"),
        (vec![review(9, "0020", 12, 5)], "breached"),
        (vec![review(9, "0021", 24, 5)], "breached"),
        (vec![review(8, "0020", 24, 0), review(9, "0026", 27, 5)], "satisfied by 8"),
    ] {
        let mut child = born(NOON);
        child.reviews = reviews;
        check(&child, "HV_2Y", &[(late, state)]);
    }
}

#[test]
fn the_antenatal_visit_is_kept_only_where_a_due_date_is_known() {
    assert_eq!(stands(&born(NOON), "HV_ANTENATAL", NOON), "-");
    let text = include_str!("../../mappings/failsafe.toml").replace("due_date_codes = []", "due_date_codes = [\"EDD\"]");
    let texts = Texts {
        failsafe: &text,
        schedule: include_str!("../../mappings/schedule.toml"),
        holidays: include_str!("../../mappings/holidays.toml"),
    };
    let rules = Rules::load(texts).unwrap();
    let mut baby = born(NOON);
    let item = Observation { code: Some(code("EDD")), text: Some("2026-01-12".into()), ..Observation::default() };
    baby.observations.push(said(3, "2025-10-01T12:00:00Z", ObservationSet { items: vec![item], ..ObservationSet::default() }));
    let at_birth = |baby: &Facts| clocks(baby, &rules, at(NOON)).clocks.into_iter().find(|clock| clock.kind == "HV_ANTENATAL").unwrap();
    let late = at_birth(&baby);
    assert_eq!((late.state, late.started), (ClockState::Breached, at("2025-10-19T23:00:00Z")), "28 weeks: 84 days before");
    let mut visit = visit(5, "L001", "attended");
    visit.item.at = Some(instant("2025-11-03"));
    baby.reviews.push(visit);
    assert_eq!(at_birth(&baby).state, ClockState::Satisfied);
}

#[test]
fn a_practice_is_waited_for_from_birth_or_from_the_day_it_ended() {
    let mut baby = born(NOON);
    check(&baby, "GP_REG", &[(NOON, "pending, listed"), ("2026-02-16T23:59:59Z", "pending, listed"), ("2026-02-17T00:00:00Z", "breached")]);
    let word = |when: &str| crate::identity::Said { at_us: at(when).as_microsecond(), seq: 12, ..Default::default() };
    baby.record.child.gp = Some(GpRegistration { practice_ods: Some("G85001".into()), ..GpRegistration::default() });
    baby.record.said.insert("gp.practice_ods".into(), word("2026-02-01T00:00:00Z"));
    check(&baby, "GP_REG", &[("2030-01-01T00:00:00Z", "satisfied by 12")]);
    // De-registered on 1 June: six weeks from then.
    baby.record.child.gp = None;
    baby.record.said.insert("gp.practice_ods".into(), word("2026-06-01T09:00:00Z"));
    check(&baby, "GP_REG", &[("2026-07-13T22:59:59Z", "pending, listed"), ("2026-07-13T23:00:00Z", "breached")]);
}

#[test]
fn a_code_that_stands_for_no_practice_is_no_registration_however_often_it_is_said() {
    for none in ["V81997", "V81998", "V81999", " v81999"] {
        let mut baby = born(NOON);
        baby.record.child.gp = Some(GpRegistration { practice_ods: Some(none.into()), ..GpRegistration::default() });
        let word = crate::identity::Said { at_us: at("2026-02-10T00:00:00Z").as_microsecond(), seq: 12, ..Default::default() };
        baby.record.said.insert("gp.practice_ods".into(), word);
        check(&baby, "GP_REG", &[("2026-02-16T23:59:59Z", "pending, listed"), ("2026-02-17T00:00:00Z", "breached")]);
        // Where its start is told, from then on.
        baby.record.child.gp.as_mut().unwrap().from = Some(instant("2026-06-01"));
        check(&baby, "GP_REG", &[("2026-07-13T22:59:59Z", "pending, listed"), ("2026-07-13T23:00:00Z", "breached")]);
    }
}

#[test]
fn a_team_and_a_hub_are_waited_for_again_after_a_move() {
    let mut child = born(NOON);
    let team = |from: &str, to: Option<&str>| {
        let item = EpisodeOfCare { service: Some("HV".into()), from: Some(instant(from)), to: to.map(instant), ..EpisodeOfCare::default() };
        said(9, "2026-01-08T12:00:00Z", item)
    };
    child.episodes = vec![team("2026-01-08", None)];
    child.acknowledged = vec![("NE".into(), at("2026-01-05T12:01:00Z"))];
    check(&child, "HV_ALLOC", &[("2026-02-01T00:00:00Z", "satisfied by 9")]);
    check(&child, "CHO_ALLOC", &[("2026-02-01T00:00:00Z", "satisfied")]);
    child.episodes = vec![team("2026-01-08", Some("2026-01-20"))];
    check(&child, "HV_ALLOC", &[("2026-01-20T12:00:00Z", "satisfied by 9"), ("2026-01-21T00:00:00Z", "breached")]);
    child.episodes = vec![team("2026-01-08", None)];
    child.stays.push(Stay { hub: "SE".into(), from: at("2026-03-10T09:00:00Z") });
    child.acting = Some("SE".into());
    check(&child, "HV_ALLOC", &[("2026-03-20T23:59:59Z", "pending, listed"), ("2026-03-21T00:00:00Z", "breached")]);
    check(&child, "CHO_ALLOC", &[("2026-03-12T23:59:59Z", "pending, listed"), ("2026-03-13T00:00:00Z", "breached")]);
    child.episodes.push(team("2026-03-12", None));
    child.acknowledged.push(("SE".into(), at("2026-03-10T09:00:01Z")));
    check(&child, "HV_ALLOC", &[("2026-03-21T00:00:00Z", "satisfied by 9")]);
    check(&child, "CHO_ALLOC", &[("2026-03-21T00:00:00Z", "satisfied")]);
}

#[test]
fn an_nhs_number_counts_when_it_is_verified() {
    for (status, state) in [(None, "breached"), (Some("02"), "breached"), (Some("08"), "breached"), (Some("01"), "satisfied")] {
        let mut baby = born(NOON);
        let status = status.map(str::to_owned);
        let number = Identifier { value: "9990000018".into(), system: NHS_NUMBER_SYSTEM.into(), status, ..Identifier::default() };
        baby.record.child.identifiers.push(number);
        check(&baby, "NHSNO", &[("2026-01-11T00:00:00Z", state)]);
    }
}

#[test]
fn a_death_stops_all_clocks_at_once_and_when_it_is_taken_back_they_go_on_with_the_same_dates() {
    let baby = born(NOON);
    let now = "2026-02-10T00:00:00Z";
    let running = watched(&baby, now);
    for (status, stillbirth, state) in
        [("informal", false, ClockState::Suspended), ("formal", false, ClockState::Excluded), ("formal", true, ClockState::Excluded)]
    {
        let mut dead = baby.clone();
        dead.record.child.death = Some(Death { status: Some(status.into()), stillbirth, ..Death::default() });
        let stopped = watched(&dead, now);
        assert!(stopped.clocks.iter().all(|clock| clock.state == state), "{status}: {stopped:?}");
        assert_eq!(stopped.clocks.len(), running.clocks.len());
        assert!(stopped.clocks.iter().all(|clock| task_of(clock, &dead, &RULES, at(now)).is_none()));
        dead.record.child.death = Some(Death { status: Some("removed".into()), ..Death::default() });
        assert_eq!(watched(&dead, now), running, "{status}, removed");
    }
    for status in [ChildStatus::Stillborn, ChildStatus::Invalidated, ChildStatus::Sealed, ChildStatus::Merged] {
        let mut child = baby.clone();
        child.record.child.status = Some(status);
        assert!(
            watched(&child, now).clocks.iter().all(|clock| !clock.state.needs_somebody() && clock.state != ClockState::Pending),
            "{status:?}"
        );
    }
    let mut still = baby.clone();
    still.record.child.birth.live_still = Some("3".into());
    assert!(watched(&still, now).clocks.iter().all(|clock| clock.state == ClockState::Excluded));
    let mut away = baby.clone();
    away.acting = None;
    assert!(watched(&away, now).clocks.iter().all(|clock| clock.state == ClockState::Suspended), "outside all hubs");
}

#[test]
fn a_death_of_which_only_the_date_was_told_stops_all_clocks_as_well() {
    let mut dead = born(NOON);
    dead.record.child.death = Some(Death { date_time: Some(instant("2026-01-20T10:00:00+00:00")), ..Death::default() });
    let now = "2026-02-10T00:00:00Z";
    assert!(watched(&dead, now).clocks.iter().all(|clock| clock.state == ClockState::Suspended && clock.reason == "a death was told"));
    // A time of effect alone, or a ground, is no death.
    dead.record.child.death = Some(Death { effective_at: Some(instant("2026-01-20T10:00:00+00:00")), ..Death::default() });
    check(&dead, "NBS_RESULT", &[(now, "breached")]);
}

#[test]
fn for_a_restricted_child_silence_is_looked_at_by_a_person_and_is_no_breach() {
    let mut baby = born(NOON);
    baby.record.child.flags.sensitivity = Some("restricted".into());
    check(&baby, "NBS_RESULT", &[("2026-01-22T23:59:59Z", "pending, listed"), ("2026-01-23T00:00:00Z", "unobservable")]);
    baby.blood_spots.push(all(7, "2026-01-10", "04"));
    check(&baby, "NBS_RESULT", &[("2026-01-23T00:00:00Z", "satisfied by 7")]);
    // Hiding that a hospital asked for does not silence the Spine.
    baby.record.child.flags.sensitivity = None;
    baby.record.child.flags.local_hiding = Some(true);
    check(&baby, "HV_NBV", &[("2026-01-23T00:00:00Z", "breached")]);
}

#[test]
fn a_child_without_a_whole_date_of_birth_is_not_forgotten() {
    let mut child = born(NOON);
    child.record.child.birth.date = Some(crate::canon::Date { value: "2026-01".into(), precision: Precision::Month });
    let found = watched(&child, "2026-02-01T00:00:00Z").clocks;
    assert_eq!(
        found.iter().map(|clock| (clock.kind.as_str(), clock.state)).collect::<Vec<_>>(),
        [("BIRTH_DATE", ClockState::Unobservable)]
    );
    let task = |child: &Facts, now: &str| task_of(&watched(child, now).clocks[0], child, &RULES, at(now)).map(|task| task.escalation);
    assert_eq!(task(&child, "2026-02-01T00:00:00Z"), Some("003"));
    let next = watched(&child, NOON).next_change;
    assert_eq!(next, Some(at("2026-01-08T12:00:00Z")), "the next escalation");
    // A person ends it as any other clock.
    child.closings = vec![Closing { kind: "BIRTH_DATE".into(), started: found[0].started, at: at("2026-02-01T09:00:00Z") }];
    check(&child, "BIRTH_DATE", &[("2026-02-02T00:00:00Z", "satisfied")]);
    child.acting = None;
    child.closings.clear();
    check(&child, "BIRTH_DATE", &[("2026-02-02T00:00:00Z", "suspended")]);
}

#[test]
fn a_task_belongs_to_maternity_then_to_health_visiting_and_grows_more_urgent() {
    let baby = born(NOON);
    let task = |kind: &str, now: &str| {
        let clock = clock(&baby, kind, now).unwrap();
        task_of(&clock, &baby, &RULES, at(now)).map(|task| format!("{} {}", task.owner, task.escalation))
    };
    assert_eq!(task("NBS_RESULT", "2026-01-22T23:59:59Z"), None);
    for (now, expected) in [
        ("2026-01-23T00:00:00Z", "maternity 001"),
        ("2026-01-25T23:59:59Z", "maternity 001"),
        ("2026-01-26T00:00:00Z", "maternity 002"),
        ("2026-01-30T00:00:00Z", "maternity 003"),
        ("2026-02-02T23:59:59Z", "maternity 003"),
        ("2026-02-03T00:00:00Z", "HV 003"),
    ] {
        assert_eq!(task("NBS_RESULT", now).as_deref(), Some(expected), "{now}");
    }
    assert_eq!(task("HV_NBV", "2026-01-20T00:00:00Z").as_deref(), Some("HV 001"));
    assert_eq!(task("IMM_6IN1_1", "2026-03-31T00:00:00Z").as_deref(), Some("CHO 001"));
    let late = clock(&baby, "GP_REG", "2026-02-17T00:00:00Z").unwrap();
    let gp = task_of(&late, &baby, &RULES, at("2026-02-17T00:00:00Z")).unwrap();
    assert_eq!(
        (gp.owner, gp.reason.as_deref(), gp.action.as_deref()),
        ("HV", Some("003"), Some("002")),
        "contact parent about the practice"
    );
    let mut rules = RULES.clone();
    rules.tasks_from = Some(jiff::civil::date(2026, 2, 17));
    assert!(task_of(&late, &baby, &rules, at("2026-02-17T00:00:00Z")).is_some());
    rules.tasks_from = Some(jiff::civil::date(2026, 2, 18));
    assert_eq!(task_of(&late, &baby, &rules, at("2026-02-17T00:00:00Z")), None, "late before the site went live");
}

/// At every moment at which something changes: it does not change before, and is asked for then.
#[track_caller]
fn nothing_changes_unannounced(facts: &Facts, from: &str, until: &str) -> usize {
    let shown = |now: Timestamp| {
        let watched = clocks(facts, &RULES, now);
        let task = |clock: &Clock| task_of(clock, facts, &RULES, now);
        watched
            .clocks
            .iter()
            .map(|clock| (clock.kind.clone(), clock.state, clock.reason.clone(), clock.is_listed(now), task(clock)))
            .collect::<Vec<_>>()
    };
    let (mut now, mut steps) = (at(from), 0);
    while let Some(next) = clocks(facts, &RULES, now).next_change.filter(|next| *next < at(until)) {
        assert!(now < next);
        assert_eq!(shown(next - SignedDuration::from_micros(1)), shown(now), "between {now} and {next}");
        (now, steps) = (next, steps + 1);
    }
    assert_eq!(shown(at(until) - SignedDuration::from_micros(1)), shown(now), "to the end");
    steps
}

#[test]
fn between_two_changes_that_were_announced_nothing_changes() {
    let mut early = born("2026-03-25T01:30:00+00:00");
    early.record.child.birth.gestation_weeks = Some(30);
    early.record.child.birth.neonatal_care_level = Some("3".into());
    early.births = vec![BirthTold { seq: Seq(1), at: at(NOON), is_national: false }];
    early.blood_spots = vec![spot(7, "2026-03-30", &["PKU 0303", "CF 0317", "CHT 0315"])];
    early.hearing = vec![heard(8, "2026-04-20", "no_clear_both")];
    let mut moved = born(NOON);
    moved.stays.push(Stay { hub: "SE".into(), from: at("2026-03-10T09:00:00Z") });
    moved.record.child.flags.sensitivity = Some("restricted".into());
    moved.record.child.flags.bcg_eligible = Some(true);
    let flag = Observation { code: Some(code("HBVEXP")), ..Observation::default() };
    moved.observations.push(said(3, NOON, ObservationSet { items: vec![flag], ..ObservationSet::default() }));
    for facts in [born(NOON), early, moved, born("2024-02-29"), born("2023-06-15"), born("2012-09-01")] {
        let steps = nothing_changes_unannounced(&facts, "2026-01-05T12:00:00Z", "2032-01-01T00:00:00Z");
        assert!(20 < steps, "{steps} changes");
    }
}

proptest::proptest! {
    /// Late data, and messages in another order, give the same clocks: nothing is counted, everything is looked at.
    #[test]
    fn the_order_in_which_facts_came_cannot_be_seen_in_the_clocks(seed in 0_u64..u64::MAX, days in 0_i64..400) {
        let mut facts = born(NOON);
        facts.blood_spots = vec![
            spot(2, "2026-01-10", &["PKU 0303", "CF 04"]),
            spot(3, "2026-01-20", &["PKU 04", "CF 0317"]),
            spot(4, "2026-01-25", &["PKU 02"]),
            all(5, "2026-01-15", "01"),
        ];
        facts.hearing = vec![heard(6, "2026-01-08", "dna"), heard(7, "2026-01-30", "no_clear_one"), heard(8, "2026-01-20", "capacity")];
        facts.nipe = vec![
            examined(9, "newborn_72h", ["no_abnormality", "no_abnormality", "not_done"], None),
            examined(10, "newborn_72h", ["no_abnormality", "no_abnormality", "no_abnormality"], None),
        ];
        facts.reviews = vec![visit(11, "0023", "dna"), visit(12, "0023", "attended"), visit(13, "0022", "attended")];
        facts.immunisations = vec![
            given(14, "2026-03-02", "6in1"), given(15, "2026-03-02", "rota"), given(16, "2026-04-01", "6in1"), given(17, "2026-03-20", "6in1"),
            given(18, "2027-01-05", "mmrv"), given(19, "2027-01-20", "mmr"), given(20, "", "menb"), given(21, "2026-04-01", "unknown"),
        ];
        let mut state = seed;
        let mut turn = || { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407); (state >> 33) as usize };
        let mut mixed = facts.clone();
        macro_rules! mix { ($($list:ident),*) => { $( for at in (1..mixed.$list.len()).rev() { mixed.$list.swap(at, turn() % (at + 1)); } )* } }
        mix!(blood_spots, hearing, nipe, reviews, immunisations);
        let now = at(NOON) + SignedDuration::from_hours(24 * days);
        proptest::prop_assert_eq!(clocks(&mixed, &RULES, now), clocks(&facts, &RULES, now));
    }
}

#[test]
fn every_mistake_in_a_file_of_rules_is_named_with_its_place() {
    let (failsafe, schedule, holidays) = (
        include_str!("../../mappings/failsafe.toml"),
        include_str!("../../mappings/schedule.toml"),
        include_str!("../../mappings/holidays.toml"),
    );
    #[track_caller]
    fn refused(failsafe: &str, schedule: &str, holidays: &str, expected: &[&str]) {
        let errors = Rules::load(Texts { failsafe, schedule, holidays }).map(drop).unwrap_err();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.contains(expected), "{error} does not say {expected}");
        }
    }
    let line = |text: &str, of: &str| text.lines().position(|line| line.contains(of)).unwrap() + 1;
    let sample = line(failsafe, "id = \"NBS_SAMPLE\"");
    refused(
        &failsafe.replacen("id = \"NBS_SAMPLE\"", "id = \"NBS_SMPLE\"", 1).replacen("warn = \"14 d\"", "warn = \"fourteen\"", 1),
        schedule,
        holidays,
        &[
            &format!("failsafe.toml:{sample}:6: there is no clock `NBS_SMPLE`"),
            ":8: `fourteen` is no length; write 72 h, 17 d",
            "the clock `NBS_SAMPLE` is missing",
        ],
    );
    refused(&failsafe.replacen("[asq3]", "[asq4]", 1), schedule, holidays, &["failsafe.toml"]);
    refused(
        failsafe,
        &schedule.replacen("antigens = [\"menb\"]\ndose = 1", "antigens = [\"menbe\"]\ndose = 1", 1),
        &holidays.replacen("2026-01-01", "2027-01-01", 1),
        &["[antigens] has no `menbe`; it has: ", "2027-01-01 is no day of 2026"],
    );
    refused(failsafe, &schedule.replacen("due_age = \"8 wk\"", "", 1), holidays, &["`6IN1_1` needs exactly one of due_age"]);
    refused(failsafe, schedule, "year = 3", &["holidays.toml:1:8"]);
    refused(failsafe, schedule, "= 3", &["holidays.toml:1:1"]);
}
