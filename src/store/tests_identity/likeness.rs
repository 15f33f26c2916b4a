//! Who is found by date of birth, family name, sex and postcode (identity rules, section 2, step 4).

use super::Site;
use crate::names::Seq;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_alone_find_a_child_only_for_sources_that_know_children_first_and_only_when_one_agrees() {
    let known = "pas: person may-create mrn=B1 born=2026-01-05 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ";
    for (before, message, expected) in [
        ("", "practice: person other=X1 given=AMARA", "a"),
        ("", "spine: person national nhs=9990000026/01 given=AMARA", "a"),
        ("", "pas: person other=X1 given=AMARA", "b"),
        ("", "lab: person other=X1 given=AMARA", "b"),
        ("", "practice: person other=X1 given=NORA", "b"),
        ("", "practice: person other=X1 postcode=SE1_9ZX", "b"),
        ("", "practice: person other=X1 sex=1", "b"),
        ("", "practice: person other=X1 family=OTHER", "b"),
        ("", "practice: person other=X1 mrn=B2 given=AMARA", "b"),
        ("", "practice: person other=X1 order=2 given=AMARA", "b"),
        // Her family name counts for her baby.
        ("", "practice: person other=X1 family=FATHER given=AMARA mother=M9 her=SAMPLE", "a"),
        // Two agree: none is taken.
        (
            "pas: person may-create mrn=B3 born=2026-01-05 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ",
            "practice: person other=X1 given=AMARA",
            "c",
        ),
    ] {
        let mut site = Site::new().await;
        let fill =
            |word: &str, value: &str| if message.contains(&format!(" {word}=")) { String::new() } else { format!(" {word}={value}") };
        let message =
            format!("{message} may-create born=2026-01-05{}{}{}", fill("sex", "2"), fill("family", "SAMPLE"), fill("postcode", "SE1_9ZZ"));
        let messages: Vec<&str> = [known, before, &message].into_iter().filter(|words| !words.is_empty()).collect();
        let told = site.told(&messages).await;
        assert_eq!(told.split(' ').next_back(), Some(expected), "{message}: {}", site.evidence(Seq(messages.len() as i64)));
    }
}

/// Two families of one name at one postcode had a girl each on one day: the mothers tell the babies apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn babies_of_two_mothers_are_two_whatever_else_agrees() {
    for (hers, other, expected) in [
        ("mother=nhs/9990000018", "mother=nhs/9990000034", "a b"),
        ("mother=nhs/9990000034", "mother=nhs/9990000018", "a b"),
        // Two numbers of one hospital.
        ("mother=M1", "mother=M2", "a b"),
        // One of them says nothing of her, or what it says cannot be compared.
        ("", "mother=nhs/9990000034", "a a"),
        ("mother=nhs/9990000018", "", "a a"),
        ("mother=M1", "mother=nhs/9990000034", "a a"),
        // Her day of birth tells where her numbers do not.
        ("mother=M1 hers=1990-03-28", "mother=nhs/9990000034 hers=1998-11-05", "a b"),
        ("mother=M1 hers=1990-03-28", "mother=nhs/9990000034 hers=1990-03-28", "a a"),
        ("mother=M1 hers=1990-03-28", "mother=nhs/9990000034", "a a"),
        // Her number says two women and that day one: one number may be wrong, and a person is asked.
        ("mother=nhs/9990000018 hers=1990-03-28", "mother=nhs/9990000034 hers=1990-03-28", "a b"),
        ("mother=nhs/9990000018 hers=1990-03-28", "mother=nhs/9990000034 hers=1998-11-05", "a b"),
    ] {
        let mut site = Site::new().await;
        let at = "may-create born=2026-01-05 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ";
        let unit = format!("maternity: birth {at} mrn=B1 {hers}");
        let notice = format!("spine: birth national {at} nhs=9990000026/01 {other}");
        assert_eq!(site.told(&[&unit, &notice]).await, expected, "{hers} / {other}: {}", site.evidence(Seq(2)));
        let days: Vec<&str> = [hers, other].iter().filter_map(|words| words.split_once("hers=")).map(|(_, day)| day).collect();
        let is_sure = hers.contains("nhs/") == other.contains("nhs/") && days.first().is_none_or(|day| Some(day) != days.get(1));
        let told = match (expected, is_sure) {
            ("a b", true) => "has another mother: not matched",
            ("a b", false) => "seems to have another mother",
            _ => "agree with exactly one child",
        };
        assert!(site.evidence(Seq(2)).contains(told), "{hers} / {other}: {}", site.evidence(Seq(2)));
        assert_eq!(site.items().iter().any(|item| item.starts_with("possible-match")), expected == "a b" && !is_sure, "{hers} / {other}");
    }
}

/// The hospital's first word names no mother, so that the notice of another baby finds its record. Her name, when it comes, gives it away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_comes_to_name_two_mothers_is_shown_to_a_person() {
    for (hers, expected) in [("9990000018", 1), ("9990000034", 0)] {
        let mut site = Site::new().await;
        let at = "may-create born=2026-01-05 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ";
        let pas = format!("pas: person {at} mrn=B1");
        let notice = format!("spine: birth national {at} nhs=9990000026/01 mother=nhs/9990000034");
        let unit = format!("maternity: birth {at} mrn=B1 mother=nhs/{hers}");
        assert_eq!(site.told(&[&pas, &notice, &unit, &unit]).await, "a a a a");
        assert_eq!(site.items().iter().filter(|item| item.starts_with("two-mothers")).count(), expected, "{:?}", site.items());
    }
}
