//! Children of tests: a girl born at noon on 5 January 2026, at home with the hub NE, about whom nothing came.

use std::sync::LazyLock;

use jiff::Timestamp;

use super::{BirthTold, Clock, ClockState, Facts, Rules, Said, Stay, Texts, Watched, clocks};
use crate::canon::*;
use crate::identity::Record;
use crate::names::{HubName, Seq};

/// The rules inside the program.
pub(super) static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let texts = Texts {
        failsafe: include_str!("../../mappings/failsafe.toml"),
        schedule: include_str!("../../mappings/schedule.toml"),
        holidays: include_str!("../../mappings/holidays.toml"),
    };
    Rules::load(texts).unwrap_or_else(|errors| panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
});

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

pub(super) fn instant(text: &str) -> Instant {
    let precision = if text.len() == 10 { Precision::Day } else { Precision::Second };
    Instant { value: text.to_owned(), precision, raw: None }
}

pub(super) fn code(code: &str) -> Code {
    Code { code: code.to_owned(), ..Code::default() }
}

pub(super) fn said<T>(seq: i64, when: &str, item: T) -> Said<T> {
    Said { seq: Seq(seq), at: at(when), item }
}

/// A girl born at this moment (`2026-01-05T12:00:00+00:00`) or on this day, known to the broker from the first day.
pub(super) fn born(when: &str) -> Facts {
    let date = instant(when).date().expect("a day");
    let birth = BirthFacts {
        date: Some(Date { value: date.to_string(), precision: Precision::Day }),
        time: (10 < when.len()).then(|| instant(when)),
        ..BirthFacts::default()
    };
    let first_known = instant(when).timestamp().expect("a moment");
    let hub = HubAssignment { hub: "NE".into(), basis: HubBasis::Gp, interested: Vec::new(), left: None };
    let child = Child { birth, sex: Some(Sex::Female), hub: Some(hub), status: Some(ChildStatus::Active), ..Child::default() };
    Facts {
        record: Record { child, ..Record::default() },
        first_known,
        births: vec![BirthTold { seq: Seq(1), at: first_known, is_national: true }],
        stays: vec![Stay { hub: "NE".into(), from: first_known }],
        acting: Some(HubName::new("NE")),
        acknowledged: Vec::new(),
        blood_spots: Vec::new(),
        hearing: Vec::new(),
        nipe: Vec::new(),
        immunisations: Vec::new(),
        reviews: Vec::new(),
        appointments: Vec::new(),
        episodes: Vec::new(),
        observations: Vec::new(),
        closings: Vec::new(),
    }
}

/// A sample with outcomes, `PKU 04`, `SCD 0312`.
pub(super) fn spot(seq: i64, taken: &str, outcomes: &[&str]) -> Said<BloodSpotResult> {
    let outcome = |text: &&str| {
        let (condition, status) = text.split_once(' ').expect("condition and status");
        ConditionOutcome {
            condition: condition.to_owned(),
            nbs_status: status.get(..2).map(str::to_owned),
            nbs_substatus: (status.len() == 4).then(|| status.to_owned()),
            ..ConditionOutcome::default()
        }
    };
    let item = BloodSpotResult {
        key: Some(format!("K{seq}")),
        sample: Sample { taken: Some(instant(taken)), ..Sample::default() },
        outcomes: outcomes.iter().map(outcome).collect(),
        ..BloodSpotResult::default()
    };
    let at = instant(taken).timestamp().expect("a moment");
    Said { seq: Seq(seq), at, item }
}

pub(super) const CORE: [&str; 9] = ["PKU", "SCD", "CF", "CHT", "MCADD", "MSUD", "IVA", "GA1", "HCU"];

/// A sample with the same outcome of every condition of the core.
pub(super) fn all(seq: i64, taken: &str, status: &str) -> Said<BloodSpotResult> {
    let outcomes: Vec<String> = CORE.iter().map(|condition| format!("{condition} {status}")).collect();
    spot(seq, taken, &outcomes.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(super) fn heard(seq: i64, on: &str, summary: &str) -> Said<HearingScreen> {
    let item = HearingScreen { at: Some(instant(on)), summary_status: Some(summary.to_owned()), ..HearingScreen::default() };
    said(seq, "2026-01-20T12:00:00Z", item)
}

pub(super) fn examined(seq: i64, kind: &str, parts: [&str; 3], testes: Option<&str>) -> Said<NipeExam> {
    let part = |word: &str| Some(NipeFinding { status: Some(word.to_owned()), ..NipeFinding::default() });
    let [eyes, heart, hips] = parts;
    let (eyes, heart, hips, testes) = (part(eyes), part(heart), part(hips), testes.and_then(part));
    said(seq, "2026-01-06T12:00:00Z", NipeExam { kind: Some(kind.to_owned()), eyes, heart, hips, testes, ..NipeExam::default() })
}

pub(super) fn visit(seq: i64, kind: &str, attended: &str) -> Said<Review> {
    said(seq, "2026-01-18T12:00:00Z", Review { kind: Some(kind.to_owned()), attended: Some(attended.to_owned()), ..Review::default() })
}

/// Words of `schedule.toml` as the codes that messages have.
pub(super) fn antigen(word: &str) -> String {
    let codes = [
        ("diphtheria", "397430003"),
        ("tetanus", "76902006"),
        ("pertussis", "27836007"),
        ("polio", "398102009"),
        ("hib", "709410003"),
        ("hepatitis_b", "66071002"),
        ("tuberculosis", "56717001"),
        ("influenza", "6142004"),
        ("meningococcal", "23511006"),
        ("hpv", "240532009"),
        ("menb", "1354584007"),
        ("measles", "14189004"),
        ("mumps", "36989005"),
        ("rubella", "36653000"),
        ("varicella", "38907003"),
        ("pneumococcal", "16814004"),
        ("rotavirus", "186150001"),
    ];
    codes.iter().find(|(known, _)| *known == word).map(|(_, code)| (*code).to_owned()).unwrap_or_else(|| panic!("{word}"))
}

/// Products by their group.
pub(super) fn given(seq: i64, on: &str, product: &str) -> Said<Immunisation> {
    let words: &[&str] = match product {
        "6in1" => &["diphtheria", "tetanus", "pertussis", "polio", "hib", "hepatitis_b"],
        "4in1" => &["diphtheria", "tetanus", "pertussis", "polio"],
        "td" => &["diphtheria", "tetanus", "polio"],
        "mmr" => &["measles", "mumps", "rubella"],
        "mmrv" => &["measles", "mumps", "rubella", "varicella"],
        "hibmenc" => &["hib", "meningococcal"],
        "menacwy" => &["meningococcal"],
        "pcv" => &["pneumococcal"],
        "rota" => &["rotavirus"],
        "hepb" => &["hepatitis_b"],
        "bcg" => &["tuberculosis"],
        "flu" => &["influenza"],
        "unknown" => &[],
        one => &[one],
    };
    let item = Immunisation {
        key: Some(format!("V{seq}")),
        occurrence: (!on.is_empty()).then(|| Instant {
            value: on.to_owned(),
            precision: if on.len() == 10 { Precision::Day } else { Precision::Month },
            raw: None,
        }),
        antigens: words.iter().map(|word| antigen(word)).collect(),
        ..Immunisation::default()
    };
    said(seq, "2026-01-06T12:00:00Z", item)
}

/// Where a clock stands at a moment; none: it is not kept.
pub(super) fn clock(facts: &Facts, kind: &str, now: &str) -> Option<Clock> {
    watched(facts, now).clocks.into_iter().find(|clock| clock.kind == kind)
}

pub(super) fn watched(facts: &Facts, now: &str) -> Watched {
    clocks(facts, &RULES, at(now))
}

/// `pending`, `satisfied by 7`, …; `-` where the clock is not kept.
pub(super) fn stands(facts: &Facts, kind: &str, now: &str) -> String {
    let Some(clock) = clock(facts, kind, now) else { return "-".to_owned() };
    let by = clock.satisfied_by.map(|seq| format!(" by {seq}")).unwrap_or_default();
    let near = if clock.state == ClockState::Pending && clock.is_listed(at(now)) { ", listed" } else { "" };
    format!("{}{by}{near}", clock.state.word())
}
