//! TLS: who may come in, who they are then, and what happens when certificates change.

use chis_broker::intake::Patience;
use std::time::Duration;
use tokio::net::TcpStream;

use crate::authority::{Authority, Identity, display};
use crate::doors::{Doors, Sender, Wishes, a28, open, request, try_open};
use crate::journal::MemoryJournal;

/// A CA with a server certificate, and doors that ask for certificates of that CA. `rj1` and `rp4` are sources with a facility each.
struct House {
    authority: Authority,
    rj1: Identity,
    journal: MemoryJournal,
    doors: Doors,
}

fn settings(authority: &Authority) -> String {
    let tls = authority.mutual();
    format!(
        r#"
        [[intake.mllp]]
        listen = "127.0.0.1:0"
        {tls}
        [[intake.http]]
        listen = "127.0.0.1:0"
        {tls}
        [[source]]
        name = "rj1"
        certificates = ["urn:nhs:ods:RJ1"]
        senders = ["PAS|RJ1"]
        [[source]]
        name = "rp4"
        certificates = ["lims.rp4.example"]
        senders = ["PAS|RP4"]
        [[source]]
        name = "by-address"
        peers = ["127.0.0.1"]
        "#
    )
}

fn prepared() -> (Authority, Identity) {
    let authority = Authority::new("test CA");
    authority.write("server", &authority.sign(1, &["broker.example"]));
    authority.revoke(&[], 2099);
    let rj1 = authority.sign(2, &["urn:nhs:ods:RJ1"]);
    (authority, rj1)
}

async fn house() -> House {
    let (authority, rj1) = prepared();
    let journal = MemoryJournal::default();
    let doors = open(&settings(&authority), &journal).await;
    House { authority, rj1, journal, doors }
}

impl House {
    /// What a message gets for an answer, or how it ended.
    async fn ask(&self, identity: Option<&Identity>, message: &str) -> String {
        let Ok(stream) = self.authority.connect(self.doors.addresses.mllp[0], identity).await else { return "refused".into() };
        let mut sender = Sender::new(stream);
        // With TLS 1.3 the client learns only afterwards that its certificate was refused.
        let mut bytes = crate::doors::frame(message);
        if tokio::io::AsyncWriteExt::write_all(&mut sender.stream, &bytes).await.is_err() {
            return "refused".into();
        }
        bytes.clear();
        tokio::io::AsyncWriteExt::shutdown(&mut sender.stream).await.ok();
        let answer = sender.hear_the_end().await;
        if answer.is_empty() { "refused".into() } else { crate::doors::short(&String::from_utf8(answer).unwrap()) }
    }
}

#[tokio::test]
async fn a_certificate_opens_the_door_for_its_own_facility_and_no_other() {
    let house = house().await;
    let rp4 = house.authority.sign(3, &["LIMS.rp4.example"]);
    assert_eq!(house.ask(Some(&house.rj1), &a28("1")).await, "AA 1");
    assert_eq!(house.ask(Some(&rp4), &a28("2").replace("RJ1", "RP4")).await, "AA 2");
    assert_eq!(house.ask(Some(&rp4), &a28("3")).await, "AR 3 204", "another source's facility");
    let stranger = house.authority.sign(4, &["urn:nhs:ods:RXX"]);
    assert_eq!(house.ask(Some(&stranger), &a28("4")).await, "AR 4 204", "neither its common name nor its address helps");
    let sources: Vec<String> = house.journal.kept().iter().map(|entry| format!("{} {}", entry.source, entry.control_id)).collect();
    assert_eq!(sources, ["rj1 1", "rp4 2", "rp4 3", "unknown 4"]);
    house.doors.close().await;
}

#[tokio::test]
async fn nobody_comes_in_without_a_good_certificate() {
    let house = house().await;
    assert_eq!(house.ask(None, &a28("1")).await, "refused", "no certificate");
    let wrong = Authority::new("another CA").sign(2, &["urn:nhs:ods:RJ1"]);
    assert_eq!(house.ask(Some(&wrong), &a28("1")).await, "refused", "another CA");
    let mut plain = Sender::new(TcpStream::connect(house.doors.addresses.mllp[0]).await.unwrap());
    plain.say(&a28("1")).await;
    let answer = plain.hear_the_end().await;
    assert!(!answer.contains(&0x0B), "no TLS, no answer");
    assert!(house.journal.kept().is_empty());
    house.doors.close().await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_so_is_every_one_when_the_list_ran_out() {
    let house = house().await;
    assert_eq!(house.ask(Some(&house.rj1), &a28("1")).await, "AA 1");
    house.authority.revoke(&[&house.rj1], 2099);
    house.doors.controls.reload_tls().unwrap();
    assert_eq!(house.ask(Some(&house.rj1), &a28("2")).await, "refused");
    let other = house.authority.sign(3, &["lims.rp4.example"]);
    assert_eq!(house.ask(Some(&other), &a28("3").replace("RJ1", "RP4")).await, "AA 3", "others are not touched");
    house.authority.revoke(&[], 2021);
    house.doors.controls.reload_tls().unwrap();
    assert_eq!(house.ask(Some(&other), &a28("4")).await, "refused", "the list ran out in 2021");
    house.doors.close().await;
}

#[tokio::test]
async fn an_open_connection_ends_at_its_first_message_after_its_certificate_was_revoked() {
    let house = house().await;
    let mut open = Sender::new(house.authority.connect(house.doors.addresses.mllp[0], Some(&house.rj1)).await.unwrap());
    assert_eq!(open.ask(&a28("1")).await, "AA 1");
    house.doors.controls.reload_tls().unwrap();
    assert_eq!(open.ask(&a28("2")).await, "AA 2", "nothing changed");
    house.authority.revoke(&[&house.rj1], 2099);
    house.doors.controls.reload_tls().unwrap();
    open.say(&a28("3")).await;
    assert_eq!(open.hear_the_end().await, b"");
    assert_eq!(house.journal.kept().len(), 2);
    house.doors.close().await;
}

#[tokio::test]
async fn what_cannot_be_loaded_leaves_the_old_certificates_in_place() {
    let house = house().await;
    std::fs::write(house.authority.path("server.key"), "no key").unwrap();
    let error = house.doors.controls.reload_tls().unwrap_err().to_string();
    assert!(error.contains("server.key") && error.contains("put the PEM key there"), "{error}");
    assert_eq!(house.ask(Some(&house.rj1), &a28("1")).await, "AA 1");
    house.authority.write("server", &house.authority.sign(9, &["broker.example"]));
    house.doors.controls.reload_tls().unwrap();
    assert_eq!(house.ask(Some(&house.rj1), &a28("2")).await, "AA 2");
    house.doors.close().await;
}

#[tokio::test]
async fn https_knows_its_callers_by_the_same_certificates() {
    let house = house().await;
    let post = async |identity: Option<&Identity>, body: &str| {
        let stream = house.authority.connect(house.doors.http(), identity).await.unwrap();
        request(stream, "POST /hl7v2", &[("content-type", "application/hl7-v2")], body.as_bytes()).await.status
    };
    assert_eq!(post(Some(&house.rj1), &a28("1")).await, 200);
    assert_eq!(post(Some(&house.rj1), &a28("2").replace("RJ1", "RP4")).await, 403);
    let stranger = house.authority.sign(4, &["urn:nhs:ods:RXX"]);
    assert_eq!(post(Some(&stranger), &a28("3")).await, 403);
    assert_eq!(post(None, &a28("4")).await, 0, "no HTTP without a certificate");
    assert_eq!(house.journal.kept().len(), 2, "the stranger's body was not read");
    house.doors.close().await;
}

#[tokio::test]
async fn a_stranger_that_never_shakes_hands_is_sent_away() {
    let (authority, _) = prepared();
    let journal = MemoryJournal::default();
    let patience = Patience { handshake: Duration::from_millis(50), ..Patience::default() };
    let doors = try_open(&settings(&authority), &journal, Wishes { patience, ..Wishes::default() }).await.unwrap();
    let mut silent = doors.mllp().await;
    assert_eq!(silent.hear_the_end().await, b"");
    doors.close().await;
}

#[tokio::test]
async fn every_mistake_in_the_material_names_the_file_and_the_remedy() {
    let (authority, _) = prepared();
    let good = settings(&authority);
    let path = |name: &str| display(&authority.path(name));
    let wrong = async |settings: String| {
        let journal = MemoryJournal::default();
        try_open(&settings, &journal, Wishes::default()).await.err().expect("an error").to_string()
    };
    let error = wrong(good.replace("server.pem", "absent.pem")).await;
    assert!(error.contains(&path("absent.pem")) && error.contains("put the PEM certificate there"), "{error}");
    let error = wrong(good.replace("server.pem", "server.key")).await;
    assert!(error.contains("no certificate"), "{error}");
    let other = authority.sign(5, &["broker.example"]);
    authority.write("other", &other);
    let error = wrong(good.replace("server.key", "other.key")).await;
    assert!(error.contains("do not fit") && error.contains(&path("other.key")) && error.contains("renew both"), "{error}");
    let error = wrong(good.replace("crl.pem", "ca.pem")).await;
    assert!(error.contains("no revocation list"), "{error}");
    let crl = format!("crl_files = [\"{}\"]", path("crl.pem"));
    let error = wrong(good.replace(&crl, "crl_files = []")).await;
    assert!(error.contains("no revocation list is kept") && error.contains("revocation = \"none\""), "{error}");
    let error = wrong(good.replace(&crl, &format!("{crl}, revocation = \"none\""))).await;
    assert!(error.contains("revocation is \"none\" and crl_files"), "{error}");

    let on_purpose = good.replace(&crl, "revocation = \"none\"");
    let journal = MemoryJournal::default();
    open(&on_purpose, &journal).await.close().await;
}
