//! MLLP: framing, order, refusals, limits and the end of the day.

use std::io::Read;
use std::time::Duration;

use chis_broker::intake::{OpenedSocket, Patience};
use chis_broker::journal::{JournalError, Standing};
use tokio::net::TcpStream;

use crate::doors::{Sender, Wishes, a28, frame, message, open, short, try_open};
use crate::journal::MemoryJournal;

const PLAIN: &str = r#"
    [[intake.mllp]]
    listen = "127.0.0.1:0"

    [[source]]
    name = "pas"
    peers = ["127.0.0.1"]
"#;

/// One message on a fresh connection: its answer, and what the journal holds then.
async fn check(settings: &str, message: &str, answer: &str, kept: &[&str]) {
    let journal = MemoryJournal::default();
    let doors = open(settings, &journal).await;
    assert_eq!(doors.mllp().await.ask(message).await, answer, "{message}");
    assert_eq!(journal.admissions(), kept, "{message}");
    doors.close().await;
}

#[tokio::test]
async fn a_good_message_is_kept_as_it_came_and_accepted() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    sender.say(&a28("1")).await;
    let answer = sender.hear().await;
    assert_eq!(short(&answer), "AA 1");
    assert!(answer.starts_with("MSH|^~\\&|CHIS-BROKER|LONDON|PAS|RJ1|"), "{answer}");
    let kept = journal.kept();
    assert_eq!(kept[0].body, a28("1"));
    assert_eq!((kept[0].source.as_str(), kept[0].kind.as_str()), ("pas", "ADT^A28"));
    doors.close().await;
}

#[tokio::test]
async fn what_is_wrong_is_kept_and_refused_with_its_code() {
    let a28 = a28("7");
    check(
        PLAIN,
        &a28.replace("ADT^A28^ADT_A05", ""),
        "AR 7 101",
        &["7 refused AR 101 MSH-9 is empty; it must say the type of the message"],
    )
    .await;
    check(PLAIN, &a28.replace("|7|P|", "||P|"), "AR  101", &[" refused AR 101 MSH-10 is empty; each message needs its own control id"])
        .await;
    check(PLAIN, &message("ADT^A45", "7"), "AR 7 201", &["7 refused AR 201 event not taken from this sender"]).await;
    check(PLAIN, &message("QRY^A19", "7"), "AR 7 200", &["7 refused AR 200 message type not taken from this sender"]).await;
    check(PLAIN, &a28.replace("|P|2.4", "|T|2.4"), "AR 7 202", &["7 refused AR 202 processing id not taken at this door"]).await;
    check(PLAIN, "not HL7 at all", "AR  100", &[" refused AR 100 the message does not begin with MSH"]).await;
    for (wrong, answer) in [(a28.replace("|P|2.4", "|P|2.9"), "AR 7 203"), (a28.replace("UNICODE UTF-8", "UNICODE UTF-16"), "AR 7 102")] {
        let journal = MemoryJournal::default();
        let doors = open(PLAIN, &journal).await;
        assert_eq!(doors.mllp().await.ask(&wrong).await, answer);
        assert!(journal.admissions()[0].starts_with("7 refused AR"));
        doors.close().await;
    }
}

#[tokio::test]
async fn a_sender_that_is_not_listed_is_refused_and_what_it_sent_is_kept() {
    let listed = PLAIN.to_owned() + r#"senders = ["PAS|RJ2"]"#;
    let refused = "7 refused AR 204 unknown sender; ask for it to be added to the sources";
    check(&listed, &a28("7"), "AR 7 204", &[refused]).await;
    let other = PLAIN.replace("127.0.0.1\"]", "10.0.0.7\"]");
    check(&other, &a28("7"), "AR 7 204", &[refused]).await;
    let warned = listed + "\nmismatch = \"warn\"";
    check(&warned, &a28("7"), "AA 7", &["7 accepted"]).await;
}

#[tokio::test]
async fn a_type_that_the_source_ignores_is_accepted_and_never_filed() {
    let settings = PLAIN.to_owned() + "ignores = [\"ADT^A28\"]";
    check(&settings, &a28("7"), "AA 7", &["7 ignored type ignored for this source"]).await;
}

#[tokio::test]
async fn an_event_that_is_not_taken_is_refused_or_ignored_as_the_source_says() {
    let refused = "7 refused AR 201 event not taken from this sender";
    for event in ["ADT^A43", "ADT^A44", "ADT^A45", "ADT^A50"] {
        check(PLAIN, &message(event, "7"), "AR 7 201", &[refused]).await;
    }
    let ignoring = PLAIN.to_owned() + "unknown_event = \"ignore\"";
    check(&ignoring, &message("ADT^A45", "7"), "AA 7", &["7 ignored type ignored for this source"]).await;
    check(&ignoring, &message("QRY^A19", "7"), "AR 7 200", &["7 refused AR 200 message type not taken from this sender"]).await;
    let enabled = PLAIN.to_owned() + "accepts = [\"ADT^A45\"]";
    check(&enabled, &message("ADT^A45", "7"), "AA 7", &["7 accepted"]).await;
}

#[tokio::test]
async fn an_acknowledgement_of_a_sender_that_nobody_knows_is_kept_and_not_answered() {
    let journal = MemoryJournal::default();
    let doors = open(&(PLAIN.to_owned() + r#"senders = ["PAS|RJ1"]"#), &journal).await;
    let mut sender = doors.mllp().await;
    sender.say("MSH|^~\\&|OTHER|RJ2|||20260105101500||ACK^A28^ACK|1|P|2.4\rMSA|AR|7\r").await;
    assert_eq!(sender.ask(&a28("2")).await, "AA 2", "the first answer heard is that of the second message");
    assert_eq!(journal.admissions(), ["1 ignored an acknowledgement", "2 accepted"]);
    doors.close().await;
}

#[tokio::test]
async fn nothing_is_answered_before_the_journal_holds_it_not_even_a_refusal() {
    let journal = MemoryJournal::gated();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    for (message, answer) in [(a28("1"), "AA 1"), (message("QRY^A19", "2"), "AR 2 200")] {
        sender.say(&message).await;
        journal.begun(answer[3..4].parse().unwrap()).await;
        let mut byte = [0];
        let nothing = sender.stream.try_read(&mut byte).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "an answer without a receipt");
        journal.let_through(1);
        assert_eq!(short(&sender.hear().await), answer);
    }
    doors.close().await;
}

#[tokio::test]
async fn a_journal_that_cannot_keep_says_send_again_and_then_all_is_well() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    for trouble in [JournalError::Full, JournalError::Draining, JournalError::Broken] {
        journal.fail_with(Some(trouble));
        assert_eq!(sender.ask(&a28("1")).await, "AE 1 207");
        assert_eq!(sender.ask(&message("QRY^A19", "2")).await, "AE 2 207", "what cannot be kept is not refused for ever");
    }
    let enhanced = a28("3").replace("|2.4||||", "|2.4|||AL|NE");
    assert_eq!(sender.ask(&enhanced).await, "CE 3 207");
    journal.fail_with(None);
    assert_eq!(sender.ask(&a28("1")).await, "AA 1");
    assert_eq!(journal.admissions(), ["1 accepted"]);
    doors.close().await;
}

#[tokio::test]
async fn the_same_message_again_hears_the_same_answer() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    assert_eq!(sender.ask(&a28("1")).await, "AA 1");
    assert_eq!(sender.ask(&a28("1")).await, "AA 1");
    doors.close().await;
}

#[tokio::test]
async fn the_base_profile_swaps_what_base_hl7_means_otherwise() {
    let journal = MemoryJournal::default();
    let doors = open(&(PLAIN.to_owned() + "ack_profile = \"base\""), &journal).await;
    let mut sender = doors.mllp().await;
    assert_eq!(sender.ask(&a28("7").replace("ADT^A28^ADT_A05", "")).await, "AE 7 101");
    assert_eq!(sender.ask(&message("QRY^A19", "7")).await, "AR 7 200");
    journal.fail_with(Some(JournalError::Full));
    assert_eq!(sender.ask(&a28("7")).await, "AR 7 207");
    doors.close().await;
}

#[tokio::test]
async fn a_source_that_waits_for_filing_hears_what_became_of_its_message() {
    let journal = MemoryJournal::default();
    let doors = open(&(PLAIN.to_owned() + "answer = \"filed\""), &journal).await;
    let mut sender = doors.mllp().await;
    for (standing, answer) in
        [(Standing::Filed, "AA 1"), (Standing::Held, "AR 1 207"), (Standing::Waiting, "AE 1 207"), (Standing::Filed, "AA 1")]
    {
        journal.file_as(standing);
        assert_eq!(sender.ask(&a28("1")).await, answer, "{standing:?}");
    }
    doors.close().await;
}

#[tokio::test]
async fn acknowledgements_and_messages_that_want_no_answer_get_none() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    sender.say("MSH|^~\\&|PAS|RJ1|||20260105101500||ACK^A28^ACK|1|P|2.4\rMSA|AA|7\r").await;
    sender.say(&a28("2").replace("|2.4||||", "|2.4|||NE|NE")).await;
    assert_eq!(sender.ask(&a28("3")).await, "AA 3", "the first answer heard is that of the third message");
    assert_eq!(journal.admissions(), ["1 ignored an acknowledgement", "2 accepted", "3 accepted"], "kept all the same");
    doors.close().await;
}

#[tokio::test]
async fn pipelined_messages_are_begun_and_answered_in_order_sixteen_at_a_time() {
    let journal = MemoryJournal::gated();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    let ids: Vec<String> = (1..=100).map(|id| id.to_string()).collect();
    sender.send(&ids.iter().flat_map(|id| frame(&a28(id))).collect::<Vec<u8>>()).await;
    assert_eq!(journal.begun(16).await, ids[..16], "no seventeenth while none is answered");
    journal.let_through(1);
    assert_eq!(short(&sender.hear().await), "AA 1");
    assert_eq!(journal.begun(17).await, ids[..17]);
    journal.let_through(99);
    for id in &ids[1..] {
        assert_eq!(short(&sender.hear().await), format!("AA {id}"));
    }
    assert_eq!(journal.begun(100).await, ids);
    doors.close().await;
}

#[tokio::test]
async fn noise_between_frames_is_skipped() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    sender.send(b"\r\n\r\nGET / HTTP/1.1\r\n\xFF\xFE\x00").await;
    assert_eq!(sender.ask(&a28("1")).await, "AA 1");
    assert_eq!(sender.ask("\u{1}\u{2}\u{3}").await, "AR  100");
    assert_eq!(sender.ask(&a28("2")).await, "AA 2", "the connection stays");
    doors.close().await;
}

#[tokio::test]
async fn half_a_frame_is_never_answered_kept_or_joined() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let whole = frame(&a28("1"));
    let mut cut = doors.mllp().await;
    cut.send(&whole[..40]).await;
    tokio::io::AsyncWriteExt::shutdown(&mut cut.stream).await.unwrap();
    assert_eq!(cut.hear_the_end().await, b"", "the end of the stream");

    let mut restarted = doors.mllp().await;
    restarted.send(&whole[..40]).await;
    assert_eq!(restarted.ask(&a28("2")).await, "AA 2", "cut short by the next start block");
    assert_eq!(journal.admissions(), ["2 accepted"]);
    assert_eq!(journal.kept()[0].body, a28("2"));
    doors.close().await;
}

#[tokio::test]
async fn an_end_block_without_its_carriage_return_ends_the_frame_after_silence() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    let whole = frame(&a28("1"));
    sender.send(&whole[..whole.len() - 1]).await;
    assert_eq!(short(&sender.hear().await), "AA 1");
    assert_eq!(sender.ask(&a28("2")).await, "AA 2");

    sender.send(&whole[..whole.len() - 1]).await;
    tokio::io::AsyncWriteExt::shutdown(&mut sender.stream).await.unwrap();
    assert_eq!(short(&sender.hear().await), "AA 1", "or at the end of the stream");
    doors.close().await;
}

/// Resident memory of this process, bytes.
fn resident_bytes() -> u64 {
    let mut statm = String::new();
    std::fs::File::open("/proc/self/statm").unwrap().read_to_string(&mut statm).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_without_being_held() {
    let journal = MemoryJournal::default();
    let doors = open(&PLAIN.replace("listen", "frame_bytes_max = 1048576\nlisten"), &journal).await;
    let mut sender = doors.mllp().await;
    sender.send(&[b"\x0B", a28("1").as_bytes(), b"OBX|1|ED|||"].concat()).await;
    let before = resident_bytes();
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..100 {
        sender.send(&piece).await;
    }
    let grown = resident_bytes().saturating_sub(before);
    sender.send(b"\r\x1C\r").await;
    assert_eq!(short(&sender.hear().await), "AR 1 207");
    // Other tests run in this process too; held, it would be 100 MiB or, in a growing buffer, twice that.
    assert!(grown < 64 * 1024 * 1024, "grew by {grown} bytes");
    assert_eq!(journal.admissions(), ["1 refused AR 207 message too long; at most 1048576 bytes are taken"]);
    assert!(journal.kept()[0].body.len() <= 4096, "only its head is kept");
    assert_eq!(sender.ask(&a28("2")).await, "AA 2", "the connection goes on");
    doors.close().await;
}

#[tokio::test]
async fn an_oversize_frame_that_nobody_can_be_answered_for_ends_the_connection() {
    let journal = MemoryJournal::default();
    let doors = open(&PLAIN.replace("listen", "frame_bytes_max = 1000\nlisten"), &journal).await;
    let mut sender = doors.mllp().await;
    sender.say(&a28("1")).await;
    sender.say(&"x".repeat(5000)).await;
    assert_eq!(short(&sender.hear().await), "AA 1", "what came before is answered");
    assert_eq!(sender.hear_the_end().await, b"");
    doors.close().await;
}

#[tokio::test]
async fn a_frame_that_does_not_end_in_time_ends_the_connection() {
    let journal = MemoryJournal::default();
    let doors = open(&PLAIN.replace("listen", "frame_seconds_max = 1\nlisten"), &journal).await;
    let mut slow = doors.mllp().await;
    slow.send(b"\x0BMSH|^~\\&|PAS").await;
    assert_eq!(slow.hear_the_end().await, b"");
    assert!(journal.kept().is_empty());
    doors.close().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_only_where_the_site_says_so() {
    let journal = MemoryJournal::default();
    let doors = open(&PLAIN.replace("listen", "idle_seconds_max = 1\nlisten"), &journal).await;
    let mut silent = doors.mllp().await;
    assert_eq!(silent.ask(&a28("1")).await, "AA 1");
    assert_eq!(silent.hear_the_end().await, b"");
    doors.close().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let journal = MemoryJournal::default();
    let doors = open(&PLAIN.replace("[[intake.mllp]]", "[intake]\nconnections_max = 2\n[[intake.mllp]]"), &journal).await;
    let mut first = doors.mllp().await;
    let mut second = doors.mllp().await;
    assert_eq!(first.ask(&a28("1")).await, "AA 1");
    assert_eq!(second.ask(&a28("2")).await, "AA 2");
    assert_eq!(doors.mllp().await.hear_the_end().await, b"");
    drop(first);
    loop {
        // The place is free as soon as the broker has seen the first one go.
        let mut third = doors.mllp().await;
        third.say(&a28("3")).await;
        if third.hear_the_answer_or_end().await {
            break;
        }
    }
    doors.close().await;
}

impl Sender<TcpStream> {
    async fn hear_the_answer_or_end(&mut self) -> bool {
        let mut byte = [0];
        matches!(tokio::io::AsyncReadExt::read(&mut self.stream, &mut byte).await, Ok(1))
    }
}

#[tokio::test]
async fn at_the_end_of_the_day_what_is_in_hand_is_answered_and_nobody_comes_in() {
    let journal = MemoryJournal::gated();
    let doors = open(PLAIN, &journal).await;
    let address = doors.addresses.mllp[0];
    let mut idle = doors.mllp().await;
    let mut busy = doors.mllp().await;
    let mut halfway = doors.mllp().await;
    busy.say(&a28("1")).await;
    journal.begun(1).await;
    let whole = frame(&a28("2"));
    halfway.send(&whole[..60]).await;
    // The first half must have been read, else it would be a frame that was never begun.
    let mut settled = doors.mllp().await;
    settled.say(&a28("0")).await;
    journal.begun(2).await;

    doors.drain.cancel();
    assert_eq!(idle.hear_the_end().await, b"");
    while TcpStream::connect(address).await.is_ok() {}
    halfway.send(&whole[60..]).await;
    journal.let_through(3);
    assert_eq!(short(&busy.hear().await), "AA 1");
    assert_eq!(short(&halfway.hear().await), "AA 2");
    assert_eq!(busy.hear_the_end().await, b"");
    doors.close().await;
}

#[tokio::test]
async fn a_journal_that_never_answers_does_not_hold_up_the_end_of_the_day() {
    let journal = MemoryJournal::gated();
    let patience = Patience { drain: Duration::from_millis(50), ..Patience::default() };
    let doors = try_open(PLAIN, &journal, Wishes { patience, ..Wishes::default() }).await.unwrap();
    let mut sender = doors.mllp().await;
    sender.say(&a28("1")).await;
    journal.begun(1).await;
    doors.close().await;
    assert_eq!(sender.hear_the_end().await, b"", "unanswered: the sender has it still");
}

#[tokio::test]
async fn a_socket_that_was_open_before_the_start_is_used() {
    let early = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = early.local_addr().unwrap();
    let mut waiting = Sender::new(TcpStream::connect(address).await.unwrap());
    let journal = MemoryJournal::default();
    let opened = vec![OpenedSocket { name: "mllp".into(), listener: early }];
    let doors = try_open(PLAIN, &journal, Wishes { opened, ..Wishes::default() }).await.unwrap();
    assert_eq!(doors.addresses.mllp, [address]);
    assert_eq!(waiting.ask(&a28("1")).await, "AA 1", "it waited in the backlog");
    doors.close().await;
}

#[tokio::test]
async fn an_open_connection_follows_a_reload_of_the_sources() {
    let journal = MemoryJournal::default();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    assert_eq!(sender.ask(&a28("1")).await, "AA 1");
    doors.controls.reload_sources(&[]).unwrap();
    assert_eq!(sender.ask(&a28("2")).await, "AR 2 204");
    doors.close().await;
}

#[tokio::test]
async fn a_door_that_would_be_open_to_all_is_not_opened() {
    let journal = MemoryJournal::default();
    let wrong = |settings: &str| {
        let settings = settings.to_owned();
        let journal = journal.clone();
        async move { try_open(&settings, &journal, Wishes::default()).await.err().unwrap().to_string() }
    };
    let error = wrong(&PLAIN.replace("127.0.0.1:0", "0.0.0.0:0")).await;
    assert!(error.contains("open to the whole network") && error.contains("plain_peers") && error.contains("0.0.0.0:0"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = wrong(&PLAIN.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string())).await;
    assert!(error.contains("cannot listen") && error.contains("listen elsewhere"), "{error}");
}

#[tokio::test]
async fn a_batch_in_a_frame_is_answered_by_a_batch_and_what_comes_after_it_waits() {
    let journal = MemoryJournal::gated();
    let doors = open(PLAIN, &journal).await;
    let mut sender = doors.mllp().await;
    let ids: Vec<String> = (1..=20).map(|id| id.to_string()).collect();
    let messages: String = ids.iter().map(|id| a28(id)).collect();
    let batch = format!("FHS|^~\\&|PAS|RJ1|||||||F1\rBHS|^~\\&|PAS|RJ1|||||||B1\r{messages}{}BTS|21\rFTS|1\r", message("QRY^A19", "21"));
    sender.send(&[frame(&batch), frame(&a28("after"))].concat()).await;
    assert_eq!(journal.begun(16).await, ids[..16]);
    journal.let_through(23);
    let answer = sender.hear().await;
    assert!(answer.starts_with("FHS|") && answer.contains("BTS|21"), "{answer}");
    let codes: Vec<&str> = answer.split('\r').filter(|line| line.starts_with("MSA|")).filter_map(|line| line.split('|').nth(1)).collect();
    assert_eq!(codes, [["AA"; 20].as_slice(), &["AR"]].concat());
    assert_eq!(short(&sender.hear().await), "AA after");
    assert_eq!(journal.begun(22).await[20..], ["21", "after"]);
    assert_eq!(sender.ask("BHS|^~\\&|PAS|RJ1\rBTS|0\r").await, "AR  100", "a batch of nothing");
    doors.close().await;
}
