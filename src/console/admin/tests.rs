//! The admin door over a fake broker, without a ledger: what it answers, and to whom.

use std::sync::Mutex;

use tower::ServiceExt;

use super::*;

/// A broker that can be told to be unwell.
#[derive(Default)]
struct Fake {
    broken: Option<String>,
    acts: Mutex<Vec<String>>,
}

impl Operations for Fake {
    fn ready(&self) -> Vec<(String, Result<(), String>)> {
        vec![("ledger".into(), Ok(())), ("disk".into(), self.broken.clone().map_or(Ok(()), Err))]
    }
    fn reader(&self) -> Result<LedgerReader, StoreError> {
        Err(StoreError { text: "locked by another instance".into(), exit: 75 })
    }
    fn release(&self, seq: Seq, reason: &str) -> Result<(), StoreError> {
        self.acts.lock().unwrap().push(format!("release {seq} {reason}"));
        Ok(())
    }
    fn release_debt(&self, debt: i64, reason: &str) -> Result<(), StoreError> {
        self.acts.lock().unwrap().push(format!("release-debt {debt} {reason}"));
        Ok(())
    }
    fn reload(&self) -> Result<String, String> {
        self.broken.clone().map_or(Ok("abc".into()), Err)
    }
    fn audit(&self, act: &str, what: &str, reason: &str) -> Result<(), StoreError> {
        self.acts.lock().unwrap().push(format!("{act} {what} {reason}"));
        Ok(())
    }
}

async fn ask(fake: &Arc<Fake>, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:9464");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router(Arc::clone(fake)).oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1_000_000).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn ready_is_when_every_check_is_good() {
    let well = Arc::new(Fake::default());
    assert_eq!(ask(&well, "GET", "/readyz", &[], "").await, (200, "ready\n".into()));
    assert_eq!(ask(&well, "GET", "/readyz?verbose", &[], "").await, (200, "[+] ledger\n[+] disk\nready\n".into()));
    let unwell = Arc::new(Fake { broken: Some("3 MiB left".into()), ..Fake::default() });
    assert_eq!(ask(&unwell, "GET", "/readyz", &[], "").await, (503, "[-] disk: 3 MiB left\nnot ready\n".into()));
    assert_eq!(ask(&unwell, "GET", "/healthz", &[], "").await, (200, "ok\n".into()));
}

#[tokio::test]
async fn a_foreign_page_in_a_browser_gets_nothing() {
    let fake = Arc::new(Fake::default());
    let because = r#"{"reason":"mended"}"#;
    for headers in
        [&[("host", "evil.example")][..], &[("host", "evil.example:9464")], &[("origin", "https://evil.example")], &[("host", "")]]
    {
        assert_eq!(ask(&fake, "POST", "/api/v1/held/7/release", headers, because).await.0, 403, "{headers:?}");
    }
    assert!(fake.acts.lock().unwrap().is_empty());
    for host in ["localhost", "localhost:9464", "[::1]:9464", "127.0.0.2"] {
        assert_eq!(ask(&fake, "GET", "/healthz", &[("host", host)], "").await.0, 200, "{host}");
    }
}

#[tokio::test]
async fn releasing_needs_a_reason() {
    let fake = Arc::new(Fake::default());
    for body in ["", "{}", r#"{"reason":" "}"#, r#"{"reason":"x","more":1}"#] {
        assert_eq!(ask(&fake, "POST", "/api/v1/held/7/release", &[], body).await.0, 400, "{body}");
    }
    assert_eq!(ask(&fake, "POST", "/api/v1/held/7/release", &[], r#"{"reason":"table mended"}"#).await, (200, r#"{"released":7}"#.into()));
    assert_eq!(ask(&fake, "POST", "/api/v1/debts/9/release", &[], r#"{"reason":"they mended it"}"#).await.0, 200);
    assert_eq!(*fake.acts.lock().unwrap(), ["release 7 table mended", "release-debt 9 they mended it"]);
}

#[tokio::test]
async fn a_reveal_is_in_the_audit_before_anything_is_read() {
    let fake = Arc::new(Fake::default());
    let (status, text) = ask(&fake, "GET", "/api/v1/entries/7/trace", &[(REVEAL_HEADER, "mother rang")], "").await;
    assert_eq!((status, text.contains("locked by another instance")), (503, true), "{text}");
    assert_eq!(*fake.acts.lock().unwrap(), ["reveal message 7 mother rang"]);
    assert_eq!(ask(&fake, "GET", "/api/v1/entries/7/trace", &[(REVEAL_HEADER, " ")], "").await.0, 400);
    assert_eq!(ask(&fake, "GET", "/api/v1/entries/7/trace", &[], "").await.0, 503);
    assert_eq!(fake.acts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn of_several_rights_each_is_in_the_audit_and_none_without_a_reason() {
    let fake = Arc::new(Fake::default());
    let [facts, sealed] = ["x-reveal-safeguarding", "x-reveal-sealed"].map(|header| (header, "yes"));
    assert_eq!(ask(&fake, "GET", "/api/v1/entries/7", &[facts, sealed], "").await.0, 503);
    assert!(fake.acts.lock().unwrap().is_empty());
    assert_eq!(ask(&fake, "GET", "/api/v1/entries/7", &[facts, sealed, (REVEAL_HEADER, "court")], "").await.0, 503);
    assert_eq!(*fake.acts.lock().unwrap(), ["reveal-safeguarding message 7 court", "reveal-sealed message 7 court"]);
}

#[tokio::test]
async fn a_refused_reload_says_every_mistake() {
    let fake = Arc::new(Fake { broken: Some("a.toml:1:1: x\nb.toml:2:1: y".into()), ..Fake::default() });
    let (status, text) = ask(&fake, "POST", "/api/v1/reload", &[], "").await;
    assert_eq!((status, text.contains("b.toml:2:1: y")), (409, true));
    assert_eq!(ask(&Arc::new(Fake::default()), "POST", "/api/v1/reload", &[], "").await, (200, r#"{"active":"abc","folder":null}"#.into()));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_answered_with_what_would_be_right() {
    let fake = Arc::new(Fake::default());
    let (status, text) = ask(&fake, "GET", "/api/v1/entries?colour=red", &[], "").await;
    assert_eq!((status, text.contains("known here")), (400, true));
    assert_eq!(ask(&fake, "GET", "/api/v1/entries?limit=many", &[], "").await.0, 400);
    assert_eq!(ask(&fake, "POST", "/api/v1/children/find", &[], "9990000018").await.0, 400);
    assert_eq!(ask(&fake, "GET", "/api/v1/identity/12?with=nobody", &[], "").await.0, 400);
    assert_eq!(ask(&fake, "GET", "/nowhere", &[], "").await.0, 404);
    assert_eq!(ask(&fake, "GET", "/metrics", &[], "").await.0, 200);
}
