//! Claims about the merged record: which word stands, in whatever order they come.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::canon::{Address, Date, Death, EventHeader, Instant, Period, Precision, Sex, Telecom};

const NOTHING: [String; 0] = [];

fn said(rank: u8, at: i64) -> Said {
    let source = ["other", "pas", "maternity", "spine", "practice"][usize::from(rank)];
    Said { at_us: at, version: 0, seq: at, rank, source: source.to_owned() }
}

fn about(child: Child) -> Statement {
    Statement { child, ..Statement::default() }
}

/// Merges in the order given.
fn merged<'a>(said: impl IntoIterator<Item = &'a (Said, Statement)>) -> Record {
    said.into_iter().fold(None, |record: Option<Record>, (said, statement)| Some(merge(record.as_ref(), statement, said).0)).unwrap()
}

/// The same record in every order of arrival; gives it.
#[track_caller]
fn in_every_order(statements: &[(Said, Statement)]) -> Record {
    let forth = merged(statements);
    for order in permutations(statements.len()) {
        let record = merged(order.iter().map(|n| &statements[*n]));
        assert_eq!(record, forth, "order {order:?}");
    }
    forth
}

fn permutations(len: usize) -> Vec<Vec<usize>> {
    if len == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(len - 1);
    shorter.iter().flat_map(|order| (0..len).map(|at| [&order[..at], &[len - 1], &order[at..]].concat())).collect()
}

fn nhs(value: &str, status: &str) -> Identifier {
    Identifier { value: value.to_owned(), system: NHS_NUMBER_SYSTEM.to_owned(), status: Some(status.to_owned()), ..Identifier::default() }
}

fn local(value: &str, kind: &str) -> Identifier {
    Identifier { value: value.to_owned(), system: "urn:v2:RJ122".to_owned(), kind: Some(kind.to_owned()), ..Identifier::default() }
}

fn name(usage: &str, given: &str, family: &str) -> Name {
    Name { usage: Some(usage.to_owned()), given: vec![given.to_owned()], family: Some(family.to_owned()), ..Name::default() }
}

fn home(postcode: &str) -> Address {
    Address { usage: Some("home".to_owned()), postcode: Some(postcode.to_owned()), ..Address::default() }
}

fn gp(practice: &str) -> Child {
    Child { gp: Some(GpRegistration { practice_ods: Some(practice.to_owned()), ..GpRegistration::default() }), ..Child::default() }
}

fn cleared(path: &str) -> Statement {
    Statement { clears: vec![path.to_owned()], ..Statement::default() }
}

#[test]
fn the_newest_word_of_the_highest_rank_stands_in_whatever_order_they_come() {
    let sex = |sex| about(Child { sex: Some(sex), ..Child::default() });
    // Sex: the national record over all others (canonical model, section 4).
    let record = in_every_order(&[(said(3, 1), sex(Sex::Male)), (said(1, 9), sex(Sex::Female)), (said(2, 8), sex(Sex::NotKnown))]);
    assert_eq!(record.child.sex, Some(Sex::Male));
    assert_eq!(record.said["sex"], said(3, 1));
    // Without it, the newest event: a PAS corrects what maternity said before.
    let record = in_every_order(&[(said(1, 9), sex(Sex::Female)), (said(2, 8), sex(Sex::Male)), (said(0, 10), sex(Sex::NotKnown))]);
    assert_eq!(record.child.sex, Some(Sex::Female));
}

#[test]
fn weight_is_the_maternity_units_and_the_date_of_birth_the_national_records() {
    let birth = |weight, date: &str| {
        let mut child = Child::default();
        child.birth.weight_g = Some(weight);
        child.birth.date = Some(Date { value: date.to_owned(), precision: Precision::Day });
        about(child)
    };
    let record = in_every_order(&[
        (said(3, 5), birth(3000, "2026-01-05")),
        (said(2, 1), birth(3120, "2026-01-04")),
        (said(1, 9), birth(3, "2026-01-03")),
    ]);
    assert_eq!(record.child.birth.weight_g, Some(3120));
    assert_eq!(record.child.birth.date.unwrap().value, "2026-01-05");
}

#[test]
fn days_of_gestation_go_with_the_weeks_they_were_said_with() {
    let gestation = |weeks, days| {
        let mut child = Child::default();
        (child.birth.gestation_weeks, child.birth.gestation_days) = (Some(weeks), days);
        about(child)
    };
    let record = in_every_order(&[(said(2, 1), gestation(39, Some(4))), (said(2, 2), gestation(40, None))]);
    assert_eq!((record.child.birth.gestation_weeks, record.child.birth.gestation_days), (Some(40), None));
}

#[test]
fn an_order_of_8_or_9_is_no_order() {
    for order in [0, 8, 9, -1] {
        let mut child = Child::default();
        child.birth.birth_order = Some(order);
        assert_eq!(merged(&[(said(1, 1), about(child))]).child.birth.birth_order, None, "{order}");
    }
}

#[test]
fn a_clear_is_honoured_from_the_same_or_a_higher_rank_only() {
    let practice = |record: &Record| record.child.gp.clone().and_then(|gp| gp.practice_ods);
    let by = |rank, at| (said(rank, at), cleared("gp.practice_ods"));
    let has = |rank, at, ods: &str| (said(rank, at), about(gp(ods)));

    assert_eq!(practice(&in_every_order(&[has(3, 1, "E83001"), by(1, 2)])).as_deref(), Some("E83001"));
    assert_eq!(practice(&in_every_order(&[has(2, 1, "E83001"), by(1, 2)])).as_deref(), Some("E83001"));
    assert_eq!(practice(&in_every_order(&[has(1, 1, "E83001"), by(1, 2)])), None);
    assert_eq!(practice(&in_every_order(&[has(1, 1, "E83001"), by(3, 2)])), None);
    // The national record says "no practice": a hospital's later copy does not bring one back.
    assert_eq!(practice(&in_every_order(&[has(3, 1, "E83001"), by(3, 2), has(1, 3, "E84001")])), None);
    assert_eq!(practice(&in_every_order(&[has(1, 3, "E83001"), by(1, 2)])).as_deref(), Some("E83001"));
    // What the clear covered and what it did not, from three sources.
    let record = in_every_order(&[has(2, 1, "E83001"), has(1, 2, "E84001"), by(1, 3)]);
    assert_eq!(practice(&record).as_deref(), Some("E83001"), "the PAS has none, maternity still has one");
    // Not registered is not the same as not known.
    assert_eq!(in_every_order(&[has(1, 1, "E83001"), by(1, 2)]).child.gp, Some(GpRegistration::default()));
    assert_eq!(merged(&[has(1, 1, "E83001")]).child.death, None);
}

#[test]
fn a_new_practice_ends_what_belonged_to_the_old_one() {
    let mut with_practitioner = gp("E83001");
    with_practitioner.gp.as_mut().unwrap().practitioner_code = Some("G1234567".to_owned());
    let record = in_every_order(&[(said(1, 1), about(with_practitioner)), (said(1, 2), about(gp("E84001")))]);
    let gp = record.child.gp.unwrap();
    assert_eq!((gp.practice_ods.as_deref(), gp.practitioner_code), (Some("E84001"), None));
}

#[test]
fn a_real_name_replaces_a_placeholder_and_is_never_replaced_by_one() {
    let named = |usage, given| about(Child { names: vec![name(usage, given, "EXAMPLE")], ..Child::default() });
    let given = |record: &Record| record.child.names.iter().map(|name| name.given.join(" ")).collect::<Vec<_>>();
    let baby = merged(&[(said(3, 1), named("official", "BABY"))]);
    assert!(baby.child.names[0].placeholder);

    let record = in_every_order(&[
        (said(3, 1), named("official", "BABY")),
        (said(1, 2), named("official", "AMARA")),
        (said(1, 3), named("official", "Baby")),
    ]);
    assert_eq!(given(&record), ["AMARA"]);
    // Under another use it is hidden once there is a real one, and comes back when the real one is taken back.
    let real = [(said(1, 1), named("usual", "TWIN ONE")), (said(3, 2), named("official", "AMARA"))];
    assert_eq!(given(&in_every_order(&real)), ["AMARA"]);
    let none = Statement { clears: vec!["names.official".to_owned()], ..Statement::default() };
    let [first, second] = real;
    assert_eq!(given(&in_every_order(&[first, second, (said(3, 3), none)])), ["TWIN ONE"]);
}

#[test]
fn names_and_addresses_are_snapshots_of_their_use_and_telephones_of_their_kind() {
    let person = |names: Vec<Name>, addresses: Vec<Address>, telecoms: &[(&str, &str, &str)]| {
        let telecom = |(system, usage, value): &(&str, &str, &str)| Telecom {
            system: Some((*system).to_owned()),
            usage: Some((*usage).to_owned()),
            value: (*value).to_owned(),
            rank: None,
        };
        about(Child { names, addresses, telecoms: telecoms.iter().map(telecom).collect(), ..Child::default() })
    };
    let temp = Address { usage: Some("temp".to_owned()), ..home("E8 4RP") };
    let first = person(
        vec![name("official", "AMARA", "EXAMPLE"), name("alias", "MIMI", "EXAMPLE"), name("alias", "MARA", "EXAMPLE")],
        vec![home("SE1 9ZZ"), temp.clone()],
        &[("phone", "home", "02079460001"), ("phone", "home", "02079460002"), ("sms", "mobile", "07700900001")],
    );
    let second = person(vec![name("alias", "AMY", "EXAMPLE")], vec![home("W5 9ZZ")], &[("phone", "home", "02079460003")]);
    let record = in_every_order(&[(said(1, 1), first), (said(1, 2), second)]);
    let given: Vec<&str> = record.child.names.iter().map(|name| name.given[0].as_str()).collect();
    assert_eq!(given, ["AMARA", "AMY"]);
    assert_eq!(record.child.addresses, [home("W5 9ZZ"), temp]);
    let numbers: Vec<&str> = record.child.telecoms.iter().map(|telecom| telecom.value.as_str()).collect();
    assert_eq!(numbers, ["02079460003", "07700900001"]);
}

#[test]
fn a_results_copy_of_the_address_moves_nobody() {
    let living = |postcode: &str, kind| {
        let event = EventHeader { kind, ..EventHeader::default() };
        Statement { event, child: Child { addresses: vec![home(postcode)], ..Child::default() }, ..Statement::default() }
    };
    let moved = [(said(1, 2), living("W5 9ZZ", EventKind::Person)), (said(2, 9), living("SE1 9ZZ", EventKind::BloodSpot))];
    assert_eq!(in_every_order(&moved).child.addresses, [home("W5 9ZZ")]);
    let only = [(said(2, 9), living("SE1 9ZZ", EventKind::BloodSpot))];
    assert_eq!(in_every_order(&only).child.addresses, [home("SE1 9ZZ")]);
}

#[test]
fn a_notice_changes_nothing_and_no_number_becomes_current_by_it() {
    let has = |id: Identifier| about(Child { identifiers: vec![id], ..Child::default() });
    let superseded = [(said(3, 1), has(nhs("9990000026", "01"))), (said(3, 2), has(nhs("9990000034", "01")))];
    let record = merged(&superseded);
    let mut notice = has(nhs("9990000026", "01"));
    assert_ne!(merge(Some(&record), &notice, &said(3, 9)).0, record);
    notice.event.notice = true;
    assert_eq!(merge(Some(&record), &notice, &said(3, 9)), (record, Vec::new()));
}

#[test]
fn an_address_that_begins_later_is_not_overtaken_by_an_older_word() {
    let day = 86_400_000_000;
    let start = Instant { value: "1970-01-21".to_owned(), precision: Precision::Day, raw: None };
    let moves = Address { period: Some(Period { start: Some(start), end: None }), ..home("W5 9ZZ") };
    let at = |days: i64| said(1, days * day);
    let address = |address: &Address| about(Child { addresses: vec![address.clone()], ..Child::default() });
    let announced = (at(3), address(&moves));
    assert_eq!(in_every_order(&[announced.clone(), (at(10), address(&home("SE1 9ZZ")))]).child.addresses, [moves]);
    assert_eq!(in_every_order(&[announced, (at(21), address(&home("SE1 9ZZ")))]).child.addresses, [home("SE1 9ZZ")]);
}

#[test]
fn identifiers_stay_and_one_nhs_number_at_most_is_current() {
    let has = |ids: &[Identifier]| about(Child { identifiers: ids.to_vec(), ..Child::default() });
    let uses = |record: &Record| record.child.identifiers.iter().map(|id| (id.value.clone(), id.usage)).collect::<Vec<_>>();
    use IdentifierUse::{Current, Superseded};
    let temp = || (said(1, 1), has(&[local("B1", "MR"), local("TMP7", "TEMP")]));
    assert_eq!(uses(&merged(&[temp()])), [("B1".to_owned(), Current), ("TMP7".to_owned(), Current)]);

    let record = in_every_order(&[temp(), (said(1, 2), has(&[nhs("9990000026", "01")]))]);
    let expected = [("9990000026", Current), ("B1", Current), ("TMP7", Superseded)];
    assert_eq!(uses(&record), expected.map(|(value, usage)| (value.to_owned(), usage)));
    assert_eq!(record.child.status, Some(ChildStatus::Active));

    // An unverified number, said later, does not replace the verified one; a verified one replaces it.
    for (second, current) in [("03", "9990000026"), ("01", "9990000034")] {
        let record = in_every_order(&[(said(1, 2), has(&[nhs("9990000026", "01")])), (said(1, 3), has(&[nhs("9990000034", second)]))]);
        let (number, _) = record.child.nhs_number().unwrap();
        assert_eq!(number.to_string(), current, "status {second}");
        assert_eq!(record.child.identifiers.iter().filter(|id| id.usage == Current).count(), 1);
        assert_eq!(record.child.identifiers.len(), 2);
    }
    // The national record over a verified one.
    let national = (said(3, 1), has(&[nhs("9990000034", "01")]));
    let record = in_every_order(&[national.clone(), (said(1, 9), has(&[nhs("9990000026", "01")]))]);
    assert_eq!(record.child.nhs_number().unwrap().0.to_string(), "9990000034");
    // It withdraws its number: the other one is in force again.
    let withdrawn = Identifier { usage: IdentifierUse::Invalidated, ..nhs("9990000034", "01") };
    let record = in_every_order(&[national, (said(1, 9), has(&[nhs("9990000026", "01")])), (said(3, 11), has(&[withdrawn]))]);
    assert_eq!(record.child.nhs_number().unwrap().0.to_string(), "9990000026");
    // A status, once verified, is not lost by a message that leaves it out; a number with a wrong digit is none.
    let bare = Identifier { status: None, ..nhs("9990000026", "01") };
    let record = in_every_order(&[(said(1, 1), has(&[nhs("9990000026", "01")])), (said(1, 2), has(&[bare, nhs("9990000027", "01")]))]);
    assert_eq!(record.child.nhs_number().unwrap().1, Some("01"));
    assert_eq!(record.child.identifiers.len(), 1);
}

#[test]
fn where_a_child_stands_follows_its_number_its_birth_and_its_death() {
    let with = |ids: Vec<Identifier>, death: &str, live_still: &str| {
        let mut child = Child { identifiers: ids, ..Child::default() };
        let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        child.death = word(death).map(|status| Death { status: Some(status), ..Death::default() });
        child.birth.live_still = word(live_still);
        about(child)
    };
    let cases = [
        (3, vec![Identifier { status: None, ..nhs("9990000026", "") }], "", "", ChildStatus::Active),
        (1, vec![nhs("9990000026", "01")], "", "1", ChildStatus::Active),
        (1, vec![nhs("9990000026", "02")], "", "", ChildStatus::Provisional),
        (1, vec![local("B1", "MR")], "", "", ChildStatus::Provisional),
        (1, vec![local("B1", "MR")], "informal", "", ChildStatus::Deceased),
        (3, vec![nhs("9990000026", "01")], "formal", "1", ChildStatus::Deceased),
        (3, vec![nhs("9990000026", "01")], "formal", "2", ChildStatus::Stillborn),
        (1, vec![local("B1", "MR")], "", "4", ChildStatus::Stillborn),
        (1, vec![nhs("9990000026", "01")], "removed", "", ChildStatus::Active),
    ];
    for (rank, ids, death, live_still, expected) in cases {
        assert_eq!(merged(&[(said(rank, 1), with(ids, death, live_still))]).child.status, Some(expected), "{death} {live_still}");
    }
}

#[test]
fn a_death_is_taken_back_by_the_same_or_a_higher_source_and_never_hidden_by_a_removal_before_it() {
    let dead =
        |status: &str| about(Child { death: Some(Death { status: Some(status.to_owned()), ..Death::default() }), ..Child::default() });
    let stands = |statements: &[(Said, Statement)]| in_every_order(statements).child.status.unwrap();
    assert_eq!(stands(&[(said(1, 1), dead("informal")), (said(1, 2), dead("removed"))]), ChildStatus::Provisional);
    assert_eq!(stands(&[(said(1, 1), dead("informal")), (said(1, 2), cleared("death.status"))]), ChildStatus::Provisional);
    assert_eq!(stands(&[(said(3, 1), dead("formal")), (said(1, 2), dead("removed"))]), ChildStatus::Deceased);
    assert_eq!(stands(&[(said(3, 1), dead("formal")), (said(1, 2), cleared("death"))]), ChildStatus::Deceased);
    // An earlier-dated update does not bring anybody back to life.
    assert_eq!(stands(&[(said(1, 5), dead("informal")), (said(1, 4), dead("removed"))]), ChildStatus::Deceased);
    // The national record took one notification back; a hospital's later one is another one.
    assert_eq!(
        stands(&[(said(3, 1), dead("informal")), (said(3, 2), dead("removed")), (said(1, 3), dead("informal"))]),
        ChildStatus::Deceased
    );
}

#[test]
fn a_removal_is_shown_where_it_took_a_death_back_and_reaches_its_own_source_and_ground_only() {
    let word = |status: &str, ground: Option<&str>| {
        let death = Death { status: Some(status.to_owned()), ground: ground.map(str::to_owned), ..Death::default() };
        about(Child { death: Some(death), ..Child::default() })
    };
    let (dead, removed) = (|ground| word("informal", ground), |ground| word("removed", ground));
    let shows = |statements: &[(Said, Statement)]| in_every_order(statements).child.death.and_then(|death| death.status);
    // "Not dead" of a child who never was says nothing; of the national record it is shown.
    assert_eq!(shows(&[(said(1, 1), removed(None))]), None);
    assert_eq!(shows(&[(said(3, 1), removed(None))]).as_deref(), Some("removed"));
    assert_eq!(shows(&[(said(1, 1), dead(None)), (said(1, 2), removed(None))]).as_deref(), Some("removed"));
    // A cancelled discharge takes back what the discharge said, and what the same source says otherwise as well.
    assert_eq!(shows(&[(said(1, 1), dead(Some("discharge"))), (said(1, 2), removed(None))]).as_deref(), Some("removed"));
    // PID-30 N takes back PID-30 Y, and not the discharge.
    assert_eq!(shows(&[(said(1, 1), dead(Some("discharge"))), (said(1, 2), removed(Some("indicator")))]).as_deref(), Some("informal"));
    assert_eq!(shows(&[(said(1, 1), dead(None)), (said(1, 2), removed(Some("indicator")))]).as_deref(), Some("removed"));
    // Another source's death is not a hospital's to take back; the national record may.
    assert_eq!(shows(&[(said(2, 1), dead(None)), (said(1, 2), removed(None))]).as_deref(), Some("informal"));
    assert_eq!(shows(&[(said(1, 1), dead(None)), (said(2, 2), removed(None))]).as_deref(), Some("informal"));
    assert_eq!(shows(&[(said(1, 1), dead(Some("discharge"))), (said(3, 2), removed(None))]).as_deref(), Some("removed"));
}

#[test]
fn an_identifier_that_was_given_up_stays_so_however_late_a_message_still_names_it() {
    let id = |usage| Identifier { system: "urn:v2:RJ1".to_owned(), value: "A".to_owned(), usage, ..Identifier::default() };
    let with = |usage| about(Child { identifiers: vec![id(usage)], ..Child::default() });
    let statements = [
        (said(1, 1), with(IdentifierUse::Current)),
        (said(1, 2), with(IdentifierUse::Superseded)),
        (said(2, 3), with(IdentifierUse::Current)),
        (said(1, 4), with(IdentifierUse::Current)),
    ];
    assert_eq!(in_every_order(&statements).child.identifiers, [id(IdentifierUse::Superseded)]);
}

#[test]
fn a_restriction_is_lifted_by_its_own_source_or_the_national_record_only() {
    let flag = |sensitivity: &str, hiding: Option<bool>| {
        let flags = Flags { sensitivity: Some(sensitivity.to_owned()), local_hiding: hiding, ..Flags::default() };
        about(Child { flags, ..Child::default() })
    };
    let restricted = |statements: &[(Said, Statement)]| in_every_order(statements).child.flags.is_restricted();
    assert!(restricted(&[(said(1, 1), flag("restricted", None)), (said(2, 2), flag("unrestricted", None))]));
    assert!(restricted(&[(said(3, 1), flag("unrestricted", None)), (said(1, 2), flag("restricted", None))]));
    assert!(!restricted(&[(said(1, 1), flag("restricted", None)), (said(3, 2), flag("unrestricted", None))]));
    assert!(!restricted(&[(said(1, 1), flag("restricted", Some(true))), (said(1, 2), flag("unrestricted", Some(false)))]));
    assert!(restricted(&[(said(1, 1), flag("", Some(true))), (said(2, 2), flag("", Some(false)))]));
}

#[test]
fn each_source_says_who_is_around_the_child_and_the_same_person_stands_once() {
    let relation =
        |kind: &str, given: &str| Relation { kind: kind.to_owned(), name: Some(name("usual", given, "EXAMPLE")), ..Relation::default() };
    let with = |people: &[Relation]| about(Child { relations: people.to_vec(), ..Child::default() });
    let names = |record: &Record| {
        record
            .child
            .relations
            .iter()
            .map(|person| format!("{} {}", person.kind, person.name.as_ref().map_or("-", |name| &name.given[0])))
            .collect::<Vec<_>>()
    };
    let pas = (said(1, 1), with(&[relation("12", "ROSE"), relation("13", "SAM")]));
    assert_eq!(names(&in_every_order(&[pas.clone(), (said(1, 2), with(&[relation("12", "ROSE")]))])), ["12 ROSE"]);
    assert_eq!(names(&in_every_order(&[pas.clone(), (said(1, 2), about(Child::default()))])), ["12 ROSE", "13 SAM"]);
    assert_eq!(names(&in_every_order(&[pas.clone(), (said(1, 2), cleared("relations"))])), NOTHING);

    let spine =
        Relation { identifiers: vec![nhs("9990000018", "01")], gp_practice_ods: Some("E83001".to_owned()), ..relation("12", "ROSA") };
    let record =
        in_every_order(&[pas.clone(), (said(3, 5), with(std::slice::from_ref(&spine))), (said(1, 7), with(&[relation("13", "Sám")]))]);
    assert_eq!(names(&record), ["12 ROSA", "13 Sám"]);
    assert_eq!(record.child.mother().unwrap().gp_practice_ods.as_deref(), Some("E83001"));
    // An identifier alone (PID-21) is no snapshot of the people.
    let bare = Relation { kind: "12".to_owned(), identifiers: vec![nhs("9990000018", "01")], ..Relation::default() };
    let record = in_every_order(&[pas.clone(), (said(1, 2), with(&[bare]))]);
    assert_eq!(names(&record), ["12 ROSE", "13 SAM"]);
    assert_eq!(record.child.mother().unwrap().nhs_number().unwrap().to_string(), "9990000018");
    // Two numbers are two people, side by side.
    let other = Relation { identifiers: vec![nhs("9990000034", "01")], ..relation("12", "ANA") };
    assert_eq!(names(&in_every_order(&[(said(3, 5), with(&[spine])), (said(1, 7), with(&[other]))])), ["12 ROSA", "12 ANA"]);
}

#[test]
fn a_practice_of_before_stands_once_for_each_start_whoever_names_it() {
    let registration = |ods: &str, from: &str, to: &str| {
        let day = |value: &str| (!value.is_empty()).then(|| Instant { value: value.to_owned(), precision: Precision::Day, raw: None });
        GpRegistration { practice_ods: Some(ods.to_owned()), from: day(from), to: day(to), ..GpRegistration::default() }
    };
    let before = |registrations: &[GpRegistration]| about(Child { gp_history: registrations.to_vec(), ..Child::default() });
    let words = |record: &Record| -> Vec<String> {
        let word = |gp: &GpRegistration| {
            let day = |at: &Option<Instant>| at.as_ref().map_or("-", |at| &at.value).to_owned();
            format!("{} {} {}", gp.practice_ods.as_deref().unwrap_or_default(), day(&gp.from), day(&gp.to))
        };
        record.child.gp_history.iter().map(word).collect()
    };
    let spine = before(&[registration("E83001", "2026-01-10", "2026-03-01"), registration("E84001", "2026-03-01", "")]);
    let pas = before(&[
        registration("E83001", "2026-01-10", ""),
        registration("E85001", "2025-12-01", ""),
        registration("E83001", "2026-06-01", ""),
    ]);
    let record = in_every_order(&[(said(3, 2), spine), (said(1, 9), pas), (said(2, 5), about(gp("E86001")))]);
    assert_eq!(words(&record), ["E85001 2025-12-01 -", "E83001 2026-01-10 2026-03-01", "E84001 2026-03-01 -", "E83001 2026-06-01 -"]);
    assert_eq!(record.child.gp.unwrap().practice_ods.as_deref(), Some("E86001"), "what was before is not what is");
}

#[test]
fn absent_none_and_a_value_are_three_things() {
    let language = |word: &str| about(Child { language: Some(word.to_owned()), ..Child::default() });
    let first = (said(1, 1), language("fr"));
    let stands = |second: Statement| in_every_order(&[first.clone(), (said(1, 2), second)]).child.language;
    assert_eq!(stands(about(Child::default())).as_deref(), Some("fr"), "absent leaves it as it is");
    assert_eq!(stands(cleared("language")), None, "none clears it");
    assert_eq!(stands(language("en")).as_deref(), Some("en"));
    // Never said and said to be none are told apart.
    assert!(!merged(&[(said(1, 1), about(Child::default()))]).said.contains_key("language"));
    assert!(merged(&[(said(1, 1), cleared("language"))]).said.contains_key("language"));
}

#[test]
fn a_lower_sources_none_is_kept_as_its_own_word_and_clears_nothing_of_a_higher_one() {
    let sex = about(Child { sex: Some(Sex::Female), ..Child::default() });
    let record = in_every_order(&[(said(3, 1), sex), (said(1, 2), cleared("sex"))]);
    assert_eq!(record.child.sex, Some(Sex::Female));
    let kept: Vec<(&str, bool)> = record.kept["sex"].iter().map(|kept| (kept.said.source.as_str(), kept.value.is_null())).collect();
    assert_eq!(kept, [("pas", true)], "the source has none, and that is on record");
}

#[test]
fn all_of_a_delivery_is_the_maternity_units_then_the_national_records_then_the_hospitals() {
    let birth = |number: i64| {
        let mut child = Child::default();
        let word = || Some(number.to_string());
        child.birth.weight_g = Some(number);
        (child.birth.gestation_weeks, child.birth.gestation_days) = (Some(number), Some(number));
        (child.birth.apgar_1, child.birth.apgar_5, child.birth.apgar_10) = (Some(number), Some(number), Some(number));
        (child.birth.delivery_method, child.birth.resuscitation, child.birth.neonatal_care_level) = (word(), word(), word());
        about(child)
    };
    // What each said is its rank; the hospital and the practice spoke last.
    let all = [(said(2, 1), birth(2)), (said(3, 2), birth(3)), (said(1, 8), birth(1)), (said(4, 9), birth(4)), (said(0, 10), birth(5))];
    for (without, expected) in [(0, 2), (1, 3), (2, 1)] {
        let record = in_every_order(&all[without..]);
        let mut alone = birth(expected).child.birth;
        alone.date = record.child.birth.date.clone();
        assert_eq!(record.child.birth, alone, "without {without}");
    }
}

#[test]
fn birth_facts_are_heard_field_by_field() {
    let mut maternity = Child::default();
    maternity.birth.place_ods = Some("RJ122".to_owned());
    maternity.birth.live_still = Some("2".to_owned());
    let mut national = Child::default();
    national.birth.live_still = Some("1".to_owned());
    let mut hospital = Child::default();
    hospital.birth.place_ods = Some("RJ999".to_owned());
    hospital.birth.births_in_confinement = Some(2);
    let record = in_every_order(&[(said(2, 1), about(maternity)), (said(3, 2), about(national)), (said(1, 9), about(hospital))]);
    let birth = record.child.birth;
    assert_eq!((birth.place_ods.as_deref(), birth.live_still.as_deref(), birth.births_in_confinement), (Some("RJ122"), Some("1"), Some(2)));
}

#[test]
fn address_practice_and_death_are_the_national_records_then_the_practices_then_the_newest() {
    let person = |number: u8| {
        let mut child = gp(&format!("E8300{number}"));
        child.addresses = vec![home(&format!("SE1 {number}ZZ"))];
        child.death = Some(Death { status: Some("formal".to_owned()), stillbirth: number.is_multiple_of(2), ..Death::default() });
        about(child)
    };
    let all = [(said(3, 1), person(3)), (said(4, 2), person(4)), (said(2, 3), person(2)), (said(1, 4), person(1))];
    for (without, expected) in [(0, 3), (1, 4), (2, 1)] {
        let (record, alone) = (in_every_order(&all[without..]), person(expected).child);
        assert_eq!((&record.child.addresses, &record.child.gp), (&alone.addresses, &alone.gp), "without {without}");
        assert_eq!(record.child.death.as_ref().unwrap().stillbirth, expected.is_multiple_of(2), "without {without}");
    }
    // A practice is no better than a hospital in who the child is, and takes nothing of the national record back.
    let sex = |rank, at, sex| (said(rank, at), about(Child { sex: Some(sex), ..Child::default() }));
    assert_eq!(in_every_order(&[sex(4, 1, Sex::Male), sex(1, 2, Sex::Female)]).child.sex, Some(Sex::Female));
    let none = (said(4, 9), cleared("gp.practice_ods"));
    assert_eq!(in_every_order(&[(said(3, 1), about(gp("E83003"))), none.clone()]).child.gp, gp("E83003").gp);
    assert_eq!(in_every_order(&[(said(2, 1), about(gp("E83002"))), none]).child.gp, Some(GpRegistration::default()));
}

#[test]
fn telephone_language_religion_ethnic_category_and_consent_are_the_newest_words_whoever_says_them() {
    let person = |word: &str| {
        let telecom = Telecom { system: Some("phone".to_owned()), value: word.to_owned(), ..Telecom::default() };
        let text = || Some(word.to_owned());
        let flags = Flags { share_consent: text(), ..Flags::default() };
        let (language, religion, ethnic_category) = (text(), text(), text());
        about(Child { telecoms: vec![telecom], language, religion, ethnic_category, flags, ..Child::default() })
    };
    let record = in_every_order(&[(said(3, 1), person("national")), (said(2, 2), person("maternity")), (said(0, 3), person("other"))]);
    let expected = person("other").child;
    let child = Child { status: None, ..record.child };
    assert_eq!(child, expected);
}

#[test]
fn what_takes_back_a_result_says_nothing_of_the_person() {
    let mut statement = about(gp("E83001"));
    statement.event.action = Action::Delete;
    statement.child.flags.birth_needs_review = true;
    let record = merged(&[(said(1, 1), about(gp("E84001"))), (said(1, 2), statement)]);
    assert_eq!(record.child.gp.unwrap().practice_ods.as_deref(), Some("E84001"));
    assert!(record.child.flags.birth_needs_review);
}

#[test]
fn changed_names_the_paths_that_changed_and_no_others() {
    let first = merged(&[(said(1, 1), about(gp("E83001")))]);
    let (again, changed) = merge(Some(&first), &about(gp("E83001")), &said(1, 2));
    assert_eq!(changed, NOTHING);
    let mut child = gp("E84001");
    child.sex = Some(Sex::Female);
    child.identifiers = vec![nhs("9990000026", "01")];
    let (_, changed) = merge(Some(&again), &about(child), &said(1, 3));
    assert_eq!(changed, ["gp.practice_ods", "identifiers", "sex", "status"]);
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let statements = [(said(1, 1), about(gp("E83001"))), (said(3, 2), about(gp("E84001"))), (said(1, 3), cleared("gp"))];
    let record = merged(&statements);
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    // A record written before words were kept.
    assert_eq!(serde_json::from_str::<Record>(r#"{"child":{},"said":{}}"#).unwrap(), Record::default());
}

/// One of everything that scalars, lists and clears can do, drawn small so that words meet each other.
fn any_statement() -> impl Strategy<Value = Statement> {
    let sexes = proptest::option::of(select(vec![Sex::Male, Sex::Female]));
    let digits = || proptest::option::of(select(vec!["1", "2", "3"]));
    let names = subsequence(vec![("official", "AMARA"), ("usual", "BABY"), ("usual", "LEO"), ("alias", "MIMI")], 0..3);
    let numbers = subsequence(vec![("9990000026", "01"), ("9990000034", "03"), ("9990000034", "01")], 0..2);
    let clears = subsequence(vec!["gp", "gp.practice_ods", "sex", "death.status", "language", "birth.weight_g", "flags.sensitivity"], 0..3);
    let deaths = proptest::option::of(select(vec!["informal", "formal", "removed", "discharge informal", "indicator removed"]));
    let flags = proptest::option::of(select(vec!["unrestricted", "restricted", "very_restricted"]));
    let kinds = select(vec![EventKind::Person, EventKind::BloodSpot]);
    let postcodes = proptest::option::of(select(vec!["SE1 9ZZ", "W5 9ZZ"]));
    ((sexes, digits(), digits(), digits(), names), (numbers, clears, deaths, flags, kinds, postcodes)).prop_map(
        |((sex, practice, weight, language, names), (numbers, clears, death, sensitivity, kind, postcode))| {
            let mut child = practice.map(gp).unwrap_or_default();
            child.sex = sex;
            child.birth.weight_g = weight.and_then(|weight| weight.parse().ok());
            child.language = language.map(str::to_owned);
            child.names = names.into_iter().map(|(usage, given)| name(usage, given, "EXAMPLE")).collect();
            child.identifiers = numbers.into_iter().map(|(value, status)| nhs(value, status)).collect();
            child.death = death.map(|words| {
                let (ground, status) = words.split_once(' ').map_or((None, words), |(ground, status)| (Some(ground.to_owned()), status));
                Death { status: Some(status.to_owned()), ground, ..Death::default() }
            });
            child.flags.sensitivity = sensitivity.map(str::to_owned);
            child.addresses = postcode.map(home).into_iter().collect();
            let people = ["ROSE", "SAM"].into_iter().map(|given| Relation {
                kind: "12".to_owned(),
                name: Some(name("usual", given, "X")),
                ..Relation::default()
            });
            child.relations = if sex.is_some() { people.collect() } else { Vec::new() };
            let event = EventHeader { kind, ..EventHeader::default() };
            Statement { event, child, clears: clears.into_iter().map(str::to_owned).collect(), ..Statement::default() }
        },
    )
}

/// Ranks, sources and moments so few that ties are common.
fn any_said() -> impl Strategy<Value = Said> {
    (0..5_u8, select(vec!["a", "b"]), 0..4_i64, 0..2_i64, 0..2_i64).prop_map(|(rank, source, at_us, version, seq)| Said {
        at_us,
        version,
        seq,
        rank,
        source: source.to_owned(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_never_shows(
        statements in proptest::collection::vec((any_said(), any_statement()), 1..7).prop_shuffle(),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let forth = merged(&statements);
        let back = merged(statements.iter().rev());
        prop_assert_eq!(&back, &forth);
        let mut turned = statements.clone();
        turned.rotate_left(shuffle.index(statements.len()));
        prop_assert_eq!(&merged(&turned), &forth);
        // What was said already changes nothing when it is said again.
        let again = statements.iter().fold(forth.clone(), |record, (said, statement)| merge(Some(&record), statement, said).0);
        prop_assert_eq!(&again, &forth);
    }

    #[test]
    fn two_records_made_one_say_what_one_record_would_have_said(
        statements in proptest::collection::vec((any_said(), any_statement()), 2..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (one, other) = statements.split_at(1 + cut.index(statements.len() - 1));
        prop_assert_eq!(unite(&merged(one), &merged(other)), merged(&statements));
    }

    #[test]
    fn at_most_one_nhs_number_is_current(statements in proptest::collection::vec((any_said(), any_statement()), 1..7)) {
        let record = merged(&statements);
        let current = record.child.identifiers.iter().filter(|id| id.usage == IdentifierUse::Current && id.nhs_number().is_some());
        prop_assert!(current.count() <= 1);
    }
}
