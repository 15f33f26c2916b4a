//! A viewer that is slow, refuses, mixes up, closes, never answers and answers twice: on real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;
use crate::destinations::pki::Pki;

/// What the receiver does with the next message.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(&'static str),
    /// An answer for another message.
    Mistakes,
    /// The same answer twice.
    AnswersTwice,
    /// Keeps the message and closes without a word.
    Closes,
    /// Half an answer, then closed.
    Breaks,
    /// Bytes that are no frame, then closed.
    Babbles,
    /// A frame that is no acknowledgement.
    Chats,
    Waits,
    /// Answers; of what comes afterwards on this connection nothing arrives, as behind a firewall that forgot it.
    AnswersAndIsForgotten,
    /// Half an answer, and nothing more.
    Stammers,
    /// Answers, and then closes.
    AnswersAndCloses,
}

/// A receiver with a plan; it accepts whatever comes after the plan.
struct Receiver {
    address: String,
    received: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start(plan: &[Does]) -> Self {
        Self::start_tls(plan, None).await
    }

    async fn start_tls(plan: &[Does], tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let plan = Arc::new(Mutex::new(VecDeque::from(plan.to_vec())));
        let (received, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let this = Self { address, received: Arc::clone(&received), connections: Arc::clone(&connections) };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::AcqRel);
                let (plan, received, tls) = (Arc::clone(&plan), Arc::clone(&received), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(Box::new(socket), &plan, &received).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(Box::new(socket), &plan, &received).await;
                            }
                        }
                    }
                });
            }
        });
        this
    }

    fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }

    fn destination(&self) -> MllpDestination {
        MllpDestination { address: self.address.clone(), tls: None, timeout: Duration::from_secs(20), idle: Arc::default() }
    }
}

async fn serve(socket: Box<dyn Wire>, plan: &Mutex<VecDeque<Does>>, received: &Mutex<Vec<String>>) {
    use tokio::io::AsyncWriteExt;
    let mut framed = Framed::new(socket, MllpCodec::new(1_000_000));
    while let Some(Ok(Frame::Message(message))) = framed.next().await {
        let id = control_id(&message);
        received.lock().unwrap().push(id.clone());
        let does = plan.lock().unwrap().pop_front().unwrap_or(Does::Answers("AA"));
        let ack = |code: &str, id: &str| {
            format!("MSH|^~\\&|V|L|C|L|20260401||ACK|X1|P|2.4\rMSA|{code}|{id}|words of the receiver\r").into_bytes()
        };
        match does {
            Does::Answers(code) => framed.send(ack(code, &id).as_slice()).await.unwrap(),
            Does::Mistakes => framed.send(ack("AA", "SOMEBODY-ELSES").as_slice()).await.unwrap(),
            Does::AnswersTwice => {
                framed.send(ack("AA", &id).as_slice()).await.unwrap();
                framed.send(ack("AA", &id).as_slice()).await.unwrap();
            }
            Does::Closes => return,
            Does::Breaks => drop(framed.get_mut().write_all(b"\x0bMSH|^~\\&|V|L").await),
            Does::Babbles => drop(framed.get_mut().write_all(b"HTTP/1.1 400 no\r\n\r\n").await),
            Does::Chats => framed.send(b"hello".as_slice()).await.unwrap(),
            Does::Waits => std::future::pending().await,
            Does::AnswersAndIsForgotten => {
                framed.send(ack("AA", &id).as_slice()).await.unwrap();
                std::future::pending().await
            }
            Does::Stammers => {
                framed.get_mut().write_all(b"\x0bMSH|^~\\&|V|L").await.unwrap();
                std::future::pending().await
            }
            Does::AnswersAndCloses => {
                framed.send(ack("AA", &id).as_slice()).await.unwrap();
                return;
            }
        }
        if matches!(does, Does::Breaks | Does::Babbles) {
            return;
        }
    }
}

fn message(id: &str) -> String {
    format!("MSH|^~\\&|CHIS|LONDON|VIEWER|LONDON|20260401||ADT^A31^ADT_A05|{id}|P|2.4\rEVN||20260401\rPID|1||x^^^CHIS^PI\r")
}

async fn pay(destination: &MllpDestination, ids: &[&str]) -> Settlement {
    let body: String = ids.iter().map(|id| message(id)).collect();
    destination
        .pay(Payment { key: "e1/3", control_id: "MSG00007", body: body.as_bytes(), attempts: 0, now: jiff::Timestamp::UNIX_EPOCH })
        .await
}

fn why(settlement: Settlement) -> String {
    match settlement {
        Settlement::Retry { after_ms, why } => {
            assert!((500..=1000).contains(&after_ms), "the first wait is about a second: {after_ms}");
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_answer_has_its_settlement_and_nothing_of_its_text_is_kept() {
    let receiver = Receiver::start(&["AA", "CA", "AE", "CE", "AR", "CR"].map(Does::Answers)).await;
    let destination = receiver.destination();
    assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered);
    assert_eq!(pay(&destination, &["M2"]).await, Settlement::Delivered);
    assert_eq!(why(pay(&destination, &["M3"]).await), "AE");
    assert_eq!(why(pay(&destination, &["M3"]).await), "CE");
    assert_eq!(pay(&destination, &["M3"]).await, Settlement::Held { why: "AR".into() });
    assert_eq!(pay(&destination, &["M3"]).await, Settlement::Held { why: "CR".into() });
    assert_eq!(receiver.received(), ["M1", "M2", "M3", "M3", "M3", "M3"]);
    assert_eq!(receiver.connections.load(Ordering::Acquire), 1, "the connection stays open over all of them");
    assert_eq!(pay(&destination, &[]).await, Settlement::Held { why: "nothing to send".into() });
}

#[tokio::test]
async fn a_debt_of_several_messages_is_delivered_when_each_was_accepted_in_order() {
    let receiver = Receiver::start(&[Does::Answers("AA"), Does::Answers("AE"), Does::Answers("AA"), Does::Answers("AR")]).await;
    let destination = receiver.destination();
    assert_eq!(why(pay(&destination, &["M1", "M2"]).await), "AE to message 2 of 2");
    assert_eq!(pay(&destination, &["M1", "M2"]).await, Settlement::Held { why: "AR to message 2 of 2".into() });
    assert_eq!(pay(&destination, &["M1", "M2"]).await, Settlement::Delivered);
    assert_eq!(receiver.received(), ["M1", "M2", "M1", "M2", "M1", "M2"], "all again, under the same control ids");
}

#[tokio::test]
async fn whatever_is_no_answer_is_a_reason_to_come_back_on_a_new_connection() {
    for (does, said) in [
        (Does::Mistakes, "an answer to another message"),
        (Does::Closes, "the connection was closed without an answer"),
        (Does::Breaks, "the answer was cut short or too long"),
        (Does::Babbles, "the connection was closed without an answer"),
        (Does::Chats, "the answer is no acknowledgement"),
        (Does::Answers("XX"), "the answer is no acknowledgement"),
    ] {
        let receiver = Receiver::start(&[does]).await;
        let destination = receiver.destination();
        assert_eq!(why(pay(&destination, &["M1"]).await), said, "{does:?}");
        assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered, "{does:?}");
        assert_eq!(receiver.connections.load(Ordering::Acquire), 2, "{does:?}: the first connection is given up");
        assert_eq!(receiver.received(), ["M1", "M1"], "{does:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_given_up_in_time() {
    let receiver = Receiver::start(&[Does::Waits]).await;
    let destination = MllpDestination { timeout: Duration::from_secs(3), ..receiver.destination() };
    assert_eq!(why(pay(&destination, &["M1"]).await), "no answer in time");
    let patient = receiver.destination();
    assert_eq!(pay(&patient, &["M1"]).await, Settlement::Delivered);
}

#[tokio::test]
async fn an_answer_that_comes_twice_is_not_taken_for_the_next_message() {
    let receiver = Receiver::start(&[Does::AnswersTwice, Does::Answers("AR")]).await;
    let destination = receiver.destination();
    assert_eq!(pay(&destination, &["M1", "M2"]).await, Settlement::Held { why: "AR to message 2 of 2".into() });
    assert_eq!(receiver.received(), ["M1", "M2"]);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_opened_anew_without_a_failure() {
    let receiver = Receiver::start(&[Does::AnswersAndCloses, Does::AnswersAndCloses]).await;
    let destination = receiver.destination();
    assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered);
    assert_eq!(pay(&destination, &["M2"]).await, Settlement::Delivered);
    assert_eq!(pay(&destination, &["M3"]).await, Settlement::Delivered);
    assert_eq!(receiver.received(), ["M1", "M2", "M3"]);
}

/// Every payment of a test is at the same moment: so long before it the connection was used.
fn idle_for(destination: &MllpDestination, idle: jiff::SignedDuration) {
    destination.idle.lock().unwrap()[0].idle_since = Some(jiff::Timestamp::UNIX_EPOCH - idle);
}

#[tokio::test]
async fn a_connection_that_was_forgotten_while_idle_costs_no_attempt_and_the_message_keeps_its_id() {
    let receiver = Receiver::start(&[Does::AnswersAndIsForgotten, Does::Answers("AA")]).await;
    let destination = MllpDestination { timeout: Duration::from_secs(1), ..receiver.destination() };
    assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered);
    idle_for(&destination, IDLE_MIN);
    assert_eq!(pay(&destination, &["M2", "M3"]).await, Settlement::Delivered, "on a new connection, in the same attempt");
    assert_eq!((receiver.received(), receiver.connections.load(Ordering::Acquire)), (["M1", "M2", "M3"].map(str::to_owned).to_vec(), 2));
}

#[tokio::test]
async fn closed_while_idle_after_it_took_the_message_it_is_told_the_same_id_once_more_at_once() {
    let receiver = Receiver::start(&[Does::Answers("AA"), Does::Closes, Does::Answers("AA")]).await;
    let destination = receiver.destination();
    assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered);
    assert_eq!(pay(&destination, &["M2"]).await, Settlement::Delivered);
    assert_eq!(receiver.received(), ["M1", "M2", "M2"], "a receiver that keeps ids knows the second for a double");
    // Where the new connection is no better, that is a failure, and no third is tried.
    let receiver = Receiver::start(&[Does::Answers("AA"), Does::Closes, Does::Closes]).await;
    let destination = receiver.destination();
    assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered);
    assert_eq!(why(pay(&destination, &["M2"]).await), "the connection was closed without an answer");
    assert_eq!(receiver.received(), ["M1", "M2", "M2"]);
}

#[tokio::test]
async fn silence_counts_where_the_connection_was_in_use_or_an_answer_had_begun() {
    // A second message of a debt, right behind the first: nobody forgot this connection.
    let receiver = Receiver::start(&[Does::Answers("AA"), Does::Waits]).await;
    let destination = MllpDestination { timeout: Duration::from_secs(1), ..receiver.destination() };
    assert_eq!(why(pay(&destination, &["M1", "M2"]).await), "no answer in time to message 2 of 2");
    assert_eq!(receiver.received(), ["M1", "M2"]);
    // The next debt, a moment later: the receiver is slow, and would take everything twice.
    let receiver = Receiver::start(&[Does::Answers("AA"), Does::Waits]).await;
    let destination = MllpDestination { timeout: Duration::from_secs(1), ..receiver.destination() };
    assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered);
    idle_for(&destination, IDLE_MIN - jiff::SignedDuration::from_secs(1));
    assert_eq!(why(pay(&destination, &["M2"]).await), "no answer in time");
    assert_eq!(receiver.received(), ["M1", "M2"]);
    // Half an answer may have been an AA.
    let receiver = Receiver::start(&[Does::Answers("AA"), Does::Stammers]).await;
    let destination = MllpDestination { timeout: Duration::from_secs(1), ..receiver.destination() };
    assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered);
    idle_for(&destination, IDLE_MIN);
    assert_eq!(why(pay(&destination, &["M2"]).await), "no answer in time");
    assert_eq!(receiver.received(), ["M1", "M2"]);
}

#[tokio::test]
async fn a_connection_that_was_idle_for_minutes_is_not_used_again() {
    let receiver = Receiver::start(&[]).await;
    let destination = receiver.destination();
    assert_eq!(pay(&destination, &["M1"]).await, Settlement::Delivered);
    idle_for(&destination, IDLE_MAX);
    assert_eq!(pay(&destination, &["M2"]).await, Settlement::Delivered);
    assert_eq!((receiver.received().len(), receiver.connections.load(Ordering::Acquire)), (2, 2));
}

#[tokio::test]
async fn nobody_there_is_a_reason_to_come_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    drop(listener);
    let destination = MllpDestination { address, tls: None, timeout: Duration::from_secs(20), idle: Arc::default() };
    assert_eq!(why(pay(&destination, &["M1"]).await), "connection refused");
}

fn config(text: &str) -> MllpConfig {
    toml::from_str(text).unwrap()
}

#[tokio::test]
async fn both_sides_show_certificates_and_only_this_destinations_authority_is_trusted() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let receiver = Receiver::start_tls(&[], Some(pki.server("localhost").into())).await;
    let secure = |receiver: &Receiver, ca: &Pki, ours: &Pki| {
        let (certificate, key) = ours.our_certificate();
        let [ca, certificate, key] = [ca.file("ca.pem"), certificate, key].map(|file| file.display().to_string());
        let text = format!("address = '{}'\nca_file = '{ca}'\ncertificate_file = '{certificate}'\nkey_file = '{key}'", receiver.address);
        MllpDestination::new(&config(&text)).unwrap()
    };
    assert_eq!(pay(&secure(&receiver, &pki, &pki), &["M1"]).await, Settlement::Delivered);
    assert_eq!(why(pay(&secure(&receiver, &stranger, &pki), &["M2"]).await), "TLS: the receiver's certificate is not trusted");
    let other = Receiver::start_tls(&[], Some(pki.server("other.example").into())).await;
    assert_eq!(why(pay(&secure(&other, &pki, &pki), &["M3"]).await), "TLS: the receiver's certificate is not trusted");
    // TLS 1.3 tells us of a certificate that is not taken after our handshake has ended.
    let refused = pay(&secure(&receiver, &pki, &stranger), &["M4"]).await;
    assert!(matches!(refused, Settlement::Retry { .. }), "{refused:?}");
    assert_eq!(
        (receiver.received(), other.received().len()),
        (vec!["M1".to_owned()], 0),
        "nothing of a child was sent to or by a stranger"
    );
}

#[test]
fn what_cannot_be_paid_over_is_refused_with_its_remedy() {
    let problems = |text: &str| config(text).check().join(" | ");
    assert_eq!(problems("address = '127.0.0.1:2575'"), "");
    assert_eq!(problems("address = '[::1]:2575'"), "");
    assert_eq!(problems("address = 'viewer.example:2575'\nplain = true"), "");
    assert!(problems("address = 'viewer.example:2575'").contains("`ca_file` is missing"));
    assert!(problems("address = 'viewer.example'").contains("no host with a port; write it like"));
    assert!(problems("address = 'viewer.example:2575'\nca_file = 'a'\nplain = true").contains("`plain`"));
    assert!(problems("address = '127.0.0.1:1'\ncertificate_file = 'a'").contains("belong together"));
    for (text, said) in [("window = 0", "`window = 0`"), ("ack_timeout_s = 601", "from 1 to 600"), ("sender = 'CHIS'", "`CHIS|LONDON`")] {
        assert!(problems(&format!("address = '127.0.0.1:1'\n{text}")).contains(said), "{text}");
    }
    assert!(toml::from_str::<MllpConfig>("address = 'a:1'\nwindows = 3").is_err(), "a misspelt key is not ignored");
    let missing = config("address = '127.0.0.1:1'\ntemplates = '/nowhere/at/all'").viewer().unwrap_err();
    assert!(missing[0].message.contains("cannot be read"), "{missing:?}");
}
