//! What a person asks for while the broker writes entries of its own.

use std::sync::mpsc;

use super::*;
use crate::store::filing::{Asked, perform};
use crate::store::own;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_act_would_do_is_told_also_where_the_broker_made_an_entry_since_it_was_asked() {
    let mut site = Site::new().await;
    let mut seqs = Vec::new();
    for id in ["A", "B", "C", "D"] {
        seqs.push(site.file(&format!("pas: person may-create mrn={id} born=2026-01-05")).await);
    }
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| site.child_of(seqs[at]));
    let link = |survivor, other| DeskAct::Link { survivor, other, although_numbers_differ: false };
    let (go, gone) = mpsc::channel();
    let (has_begun, began) = tokio::sync::oneshot::channel();
    let ledger = site.ledger.clone();
    let (act, reason) = (link(a, b), "an act of the broker's own".to_owned());
    // The writer stands in its turn until the trial was asked for, and only then makes an entry with events.
    let writing = tokio::spawn(async move {
        let own = move |connection: &rusqlite::Connection, rules: &FilingRules| {
            let _heard = has_begun.send(());
            let _said = gone.recv();
            let seq = own::entry(connection, clock::now(), "chis-broker", ("identity-link", "own-1"), b"{}")?.0;
            perform(connection, rules, None, &Asked { act, reason, is_trial: false, seq })
        };
        ledger.act_quietly(own).await
    });
    began.await.unwrap();
    let (trial, ()) =
        tokio::join!(biased; site.ledger.decide(link(c, d), "only looking", true, clock::now()), async { go.send(()).unwrap() });
    assert!(writing.await.unwrap().unwrap().unwrap().done);
    let trial = trial.unwrap();
    assert!(!trial.done && trial.text[0].contains("goes on"), "{trial:?}");
}
