//! Claims about an identifier that a link attached to a record and that is another person's: what a sender's A37 takes off, what waits for a
//! person, and what a person sees of it.

use super::tests_identity::Site;
use super::*;
use crate::clock;
use crate::names::ChildId;

const AMARA: &str = "pas: person may-create nhs=9990000026/01 mrn=A born=2026-01-05 family=EXAMPLE given=AMARA sex=2";

impl Site {
    fn ids(&self, child: ChildId) -> Vec<String> {
        let record = self.record(child);
        record["identifiers"].as_array().unwrap().iter().map(|id| id["value"].as_str().unwrap().to_owned()).collect()
    }

    /// Open reviews of a child: code, kind, key, message.
    fn reviews(&self) -> Vec<String> {
        let rows = self.reader().reviews(None).unwrap();
        rows.iter().map(|row| format!("{} {} {} of {}", row.code, row.kind, row.key, row.seq)).collect()
    }

    fn detach(child: ChildId, value: &str) -> DeskAct {
        DeskAct::Detach { child, system: None, value: value.to_owned() }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_a37_takes_off_what_a_link_attached_and_names_to_a_person_what_came_under_it_alone() {
    let mut site = Site::new().await;
    let amara = site.file(AMARA).await;
    let child = site.child_of(amara);
    site.file("pas: merge mrn=A at=10:30 linked=Z").await;
    let results = [
        "lab: review mrn=Z key=K1 word=under-alias",
        "lab: review nhs=9990000026/01 born=2026-01-05 family=EXAMPLE mrn=Z key=K2 word=by-both",
    ];
    assert_eq!(site.told(&results).await, "a a");
    let address = site.file("pas: address mrn=Z postcode=E8_4RP at=11:00").await;
    assert_eq!(site.child_of(address), child);

    let unlink = site.file("pas: merge mrn=A at=12:00 unlinked=Z").await;
    assert_eq!(site.child_of(unlink), child, "{:?}", site.trace(unlink));
    assert_eq!(site.ids(child), ["9990000026", "A"]);
    // The facts stay, and a person is told which: parents hear nothing of their kind before.
    assert_eq!(site.facts(child), ["K1: under-alias", "K2: by-both"]);
    assert_eq!(site.reviews(), ["alias-unlinked review K1 of 3"]);
    assert_eq!(site.items(), ["alias-unlinked 5"]);
    assert_eq!(site.audit(), ["identity-unlink-alias unlinked by a message of pas"]);
    let findings = site.trace(unlink).findings.to_string();
    assert!(findings.contains("which message 2 had linked") && findings.contains("1 fact and 1 other message"), "{findings}");
    assert!(!findings.contains('Z'), "no value is quoted: {findings}");
    let kept: Vec<(String, i64, i64)> = {
        let sql = "SELECT value, linked, event FROM detached";
        site.reader().list(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
    };
    assert_eq!(kept, [("Z".to_owned(), 2 * 1_024, unlink.0 * 1_024)], "nothing is destroyed");

    // Who comes under it now is somebody else, also with what was said before the A37.
    let other = site.file("pas: person may-create mrn=Z born=2026-01-05 family=OTHER given=SAM sex=1 at=12:30").await;
    assert_ne!(site.child_of(other), child);
    let again = site.file("pas: person nhs=9990000026/01 mrn=A born=2026-01-05 family=EXAMPLE at=13:00").await;
    assert_eq!(site.child_of(again), child);
    assert_eq!(site.ids(child), ["9990000026", "A"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_comes_late_does_not_attach_again_what_was_unlinked_after_it_and_a_newer_one_does() {
    let mut site = Site::new().await;
    let amara = site.file(AMARA).await;
    let child = site.child_of(amara);
    site.file("pas: merge mrn=A at=10:30 linked=Z").await;
    site.file("pas: merge mrn=A at=12:00 unlinked=Z").await;
    let late = site.file("pas: merge mrn=A at=11:00 linked=Z").await;
    assert_eq!((site.child_of(late), site.ids(child)), (child, vec!["9990000026".to_owned(), "A".to_owned()]));
    let stray = site.file("lab: review mrn=Z key=K1").await;
    assert_eq!(site.outcome(stray), "unmatched");
    site.file("pas: merge mrn=A at=13:00 linked=Z").await;
    assert_eq!(site.ids(child), ["9990000026", "A", "Z"]);
    assert_eq!(site.child_of(stray), child, "what waited for it comes");
    // And it can be taken off again.
    site.file("pas: merge mrn=A at=14:00 unlinked=Z").await;
    assert_eq!(site.ids(child), ["9990000026", "A"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_person_that_keeps_the_record_may_stand_in_either_pid() {
    let mut site = Site::new().await;
    let amara = site.file(AMARA).await;
    let child = site.child_of(amara);
    site.file("pas: merge mrn=A at=10:30 linked=Z").await;
    site.file("pas: merge mrn=Z at=12:00 unlinked=A").await;
    assert_eq!(site.ids(child), ["9990000026", "A"], "the one that the link brought goes, and not the record's own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_link_made_one_waits_for_a_person_and_says_what_to_do() {
    let mut site = Site::new().await;
    let amara = site.file(&format!("{AMARA} mrn=OWN")).await;
    let child = site.child_of(amara);
    let baby = site.file("pas: person may-create mrn=B born=2026-01-05 at=10:01").await;
    let other = site.child_of(baby);
    site.file("pas: merge mrn=A at=10:02 gone=B").await;
    for linked in ["Y", "Z"] {
        site.file(&format!("pas: merge mrn=A at=10:03 linked={linked}")).await;
    }
    let ids = site.ids(child);
    let stranger = site.file("pas: person may-create mrn=S born=2026-01-06").await;
    assert_ne!(site.child_of(stranger), child);
    let by_merge = format!("`identity unlink {other}`");
    let cases: [(&str, &str); 6] = [
        ("pas: merge mrn=A at=12:00 unlinked=OWN", "no link (A24) brought one of them"),
        ("pas: merge mrn=A at=12:00 unlinked=B", by_merge.as_str()),
        ("pas: merge mrn=Y at=12:00 unlinked=Z", "neither is the record's own"),
        ("pas: merge mrn=A at=12:00 unlinked=nhs/9990000026", "an NHS number of this child"),
        ("pas: merge mrn=A at=12:00 unlinked=S", "stand on no common record"),
        ("pas: merge mrn=A at=12:00 unlinked=NOBODY", "stand on no common record"),
    ];
    for (words, why) in cases {
        let seq = site.file(words).await;
        assert_eq!(site.outcome(seq), "identity-link", "{words}");
        let findings = site.trace(seq).findings.to_string();
        assert!(findings.contains(why), "{words}: {findings}");
    }
    assert_eq!(site.ids(child), ids);
    assert!(site.reviews().is_empty() && site.audit().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_takes_one_identifier_off_after_having_seen_what_it_does() {
    let mut site = Site::new().await;
    let amara = site.file(&format!("{AMARA} mrn=WRONG other=SAME mrn=SAME")).await;
    let child = site.child_of(amara);
    site.file("lab: review mrn=WRONG key=K1 word=whose").await;
    let trial = site.ledger.decide(Site::detach(child, "WRONG"), "a slip", true, clock::now()).await.unwrap();
    assert!(!trial.done && trial.text.join(" ").contains("1 fact and 0 other messages"), "{trial:?}");
    assert_eq!((site.ids(child).len(), site.reviews().len(), site.audit().len()), (5, 0, 0), "a trial changes nothing");

    let done = site.decide(Site::detach(child, "WRONG")).await.unwrap();
    assert!(done.done && done.told.contains(&"region".to_owned()), "{done:?}");
    assert_eq!(site.ids(child), ["9990000026", "SAME", "A", "SAME"]);
    assert_eq!(
        (site.reviews(), site.audit()),
        (vec!["alias-unlinked review K1 of 2".to_owned()], vec!["identity-unlink-alias looked at both".to_owned()])
    );
    assert_eq!(site.reader().reconcile(None, None).unwrap().unaccounted, 0);

    let refused = async |site: &Site, act: DeskAct| site.decide(act).await.unwrap_err().text;
    assert!(refused(&site, Site::detach(child, "SAME")).await.contains("say --system, one of"));
    assert!(refused(&site, Site::detach(child, "WRONG")).await.contains("no such identifier"));
    assert!(refused(&site, Site::detach(child, "9990000026")).await.contains("no alias"));
    let one = DeskAct::Detach { child, system: Some("urn:v2:RAX".to_owned()), value: "SAME".to_owned() };
    assert!(site.decide(one).await.unwrap().done);
    let lone = site.file("pas: person may-create mrn=LONE born=2026-01-05").await;
    let lone = site.child_of(lone);
    assert!(refused(&site, Site::detach(lone, "LONE")).await.contains("the only identifier"));
    site.file("pas: merge mrn=A at=12:00 gone=LONE").await;
    assert!(refused(&site, Site::detach(lone, "LONE")).await.contains("is a part of"));
    assert!(refused(&site, Site::detach(child, "LONE")).await.contains(&format!("`identity unlink {lone}` takes that back")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_off_stays_off_when_a_merge_is_taken_back() {
    let mut site = Site::new().await;
    let amara = site.file(AMARA).await;
    let child = site.child_of(amara);
    let baby = site.file("pas: person may-create mrn=B born=2026-01-05 at=10:01").await;
    let other = site.child_of(baby);
    site.file("pas: merge mrn=A at=10:30 linked=Z").await;
    site.file("pas: merge mrn=A at=11:00 gone=B").await;
    site.file("pas: merge mrn=A at=12:00 unlinked=Z").await;
    assert!(site.decide(DeskAct::Unlink { other }).await.unwrap().done);
    assert_eq!((site.ids(child), site.ids(other)), (vec!["9990000026".to_owned(), "A".to_owned()], vec!["B".to_owned()]));
    let stray = site.file("lab: review mrn=Z key=K1").await;
    assert_eq!(site.outcome(stray), "unmatched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_off_and_is_another_childs_now_does_not_come_back_with_the_merge() {
    let mut site = Site::new().await;
    let amara = site.file(AMARA).await;
    let child = site.child_of(amara);
    let baby = site.file("pas: person may-create mrn=B born=2026-01-05 at=10:01").await;
    let other = site.child_of(baby);
    site.file("pas: merge mrn=A at=10:30 linked=Z").await;
    site.file("pas: merge mrn=A at=11:00 gone=B").await;
    site.file("pas: merge mrn=A at=12:00 unlinked=Z").await;
    let third = site.file("pas: person may-create mrn=Z born=2026-01-06 at=12:30").await;
    assert!(site.decide(DeskAct::Unlink { other }).await.unwrap().done);
    assert_eq!((site.ids(child), site.ids(site.child_of(third))), (vec!["9990000026".to_owned(), "A".to_owned()], vec!["Z".to_owned()]));
}

const DETAILS: &str = "born=2026-01-05 sex=2 family=SAMPLE given=AMARA postcode=SE1_9ZZ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_identifiers_are_nobodys_is_filed_when_a_child_with_its_details_comes() {
    let mut site = Site::new().await;
    let waits = [
        site.file(&format!("practice: review other=X1 key=K1 word=first {DETAILS}")).await,
        // A laboratory is not matched by details; a practice is not where one of them differs, or where several babies were born.
        site.file(&format!("lab: review other=X2 key=K2 {DETAILS}")).await,
        site.file(&format!("practice: review other=X3 key=K3 {}", DETAILS.replace("sex=2", "sex=1"))).await,
        site.file(&format!("practice: review other=X4 key=K4 {DETAILS} order=2")).await,
    ];
    assert_eq!(site.letters(&waits), "unmatched unmatched unmatched unmatched");
    let child = site.file(&format!("pas: person may-create mrn=B1 {DETAILS}")).await;
    assert_eq!(site.letters(&[child, waits[0], waits[1], waits[2], waits[3]]), "a a unmatched unmatched unmatched");
    assert_eq!(site.facts(site.child_of(child)), ["K1: first"]);
    assert!(site.audit().is_empty(), "nobody's act");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_that_are_completed_later_wake_too_and_several_children_that_agree_do_not() {
    let mut site = Site::new().await;
    let waits = site.file(&format!("practice: review other=X1 key=K1 {DETAILS}")).await;
    let child = site.file("pas: person may-create mrn=B1 born=2026-01-05 sex=2 family=SAMPLE given=AMARA").await;
    assert_eq!(site.letters(&[child, waits]), "a unmatched", "its home is not known yet");
    site.file("pas: address mrn=B1 postcode=SE1_9ZZ at=11:00").await;
    assert_eq!(site.letters(&[child, waits]), "a a");

    let mut site = Site::new().await;
    let twins = [format!("pas: person may-create mrn=T1 {DETAILS} multiple"), format!("pas: person may-create mrn=T2 {DETAILS} multiple")];
    let waits = site.file(&format!("practice: review other=X1 key=K1 {DETAILS}")).await;
    for twin in &twins {
        site.file(twin).await;
    }
    assert_eq!(site.outcome(waits), "unmatched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_whose_details_many_messages_have_wakes_the_oldest_thirty_two() {
    let mut site = Site::new().await;
    let mut waits = Vec::new();
    for number in 0..34 {
        waits.push(site.file(&format!("practice: review other=X{number} key=K{number} {DETAILS}")).await);
    }
    site.file(&format!("pas: person may-create mrn=B1 {DETAILS}")).await;
    let filed = |site: &Site| waits.iter().filter(|seq| site.outcome(**seq) != "unmatched").count();
    assert_eq!(filed(&site), 32);
    assert!(site.outcome(waits[33]) == "unmatched" && site.outcome(waits[0]) != "unmatched");
    // The next news of the child's details brings the others.
    site.file(&format!("pas: person mrn=B1 {DETAILS} mother=M1 at=12:00")).await;
    assert_eq!(filed(&site), 34);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlink_asks_nobody_about_what_the_broker_itself_wrote() {
    let mut site = Site::new().await;
    let a = site.file("pas: person may-create mrn=A born=2026-01-05").await;
    let b = site.file("pas: person may-create mrn=B born=2026-01-05").await;
    let c = site.file("pas: person may-create mrn=C born=2026-01-05").await;
    let (one, two, three) = (site.child_of(a), site.child_of(b), site.child_of(c));
    site.file("pas: merge mrn=A born=2026-01-05 gone=B").await;
    // A decision of a person is an entry of our own on the record.
    assert!(site.decide(DeskAct::Link { survivor: one, other: three, although_numbers_differ: false }).await.unwrap().done);
    assert!(site.decide(DeskAct::Unlink { other: three }).await.unwrap().done);
    let effect = site.decide(DeskAct::Unlink { other: two }).await.unwrap();
    assert!(!effect.text.iter().any(|line| line.contains("need a look") && !line.contains(" 0 need")), "{effect:?}");
    assert_eq!(site.items(), Vec::<String>::new());
}
