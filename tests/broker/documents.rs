//! A document's bytes come in once, can be read back by who says why, and stand in no event and no delivery.

use chis_broker::journal::Standing;
use chis_broker::names::Seq;
use chis_broker::store::{LedgerReader, hub_export};

use crate::world::{Line, broker, sample, settled};

const PDF: &str = "%PDF-1.4\n% Sample document of an invented child: BABY EXAMPLE went home well.\n%%EOF\n";
const BASE64: &str = "JVBERi0xLjQ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_a_document_are_read_back_and_no_event_holds_them() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for name in
        ["02-term-baby-a01-birth.hl7", "47-term-baby-mdm-summary.hl7", "48-term-baby-mdm-text.hl7", "49-term-baby-mdm-cancelled.hl7"]
    {
        assert_eq!(line.exchange(sample(name).as_bytes()).await.code, "AA", "{name}");
    }
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    for seq in 1..=4 {
        assert_eq!(reader.standing(Seq(seq)).unwrap(), Some(Standing::Filed), "{:?}", reader.trace(Seq(seq)));
    }

    let file = reader.document(Seq(2), 1).unwrap().unwrap();
    assert_eq!((file.count, file.document.mime.as_deref()), (1, Some("application/pdf")));
    assert_eq!(String::from_utf8(file.content.unwrap()).unwrap(), PDF);
    let text = reader.document(Seq(3), 1).unwrap().unwrap();
    let said = "Addendum to the discharge summary:\nhips to be seen again at 6 weeks & by ultrasound.";
    assert_eq!(String::from_utf8(text.content.unwrap()).unwrap(), said);
    assert_eq!(reader.document(Seq(4), 1).unwrap().unwrap().content, None, "a cancellation brings no content");
    assert!(reader.document(Seq(2), 2).unwrap().is_none() && reader.document(Seq(2), 0).unwrap().is_none());
    assert!(reader.document(Seq(1), 1).unwrap().is_none(), "a birth is no document");

    let mut events = 0;
    hub_export(data.path().join("hub-se.db"), &mut |child| {
        events = child["events"].as_array().unwrap().len();
        let delivered = child.to_string();
        assert!(delivered.contains("D000047") && delivered.contains(&file.document.sha256.clone().unwrap()), "{delivered}");
        for content in ["went home well", "ultrasound", BASE64] {
            assert!(!delivered.contains(content), "the hub was sent {content}");
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(events, 4);
    let trace = format!("{:?}", reader.trace(Seq(2)).unwrap());
    assert!(!trace.contains(BASE64), "{trace}");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_cannot_be_decoded_is_held_and_nothing_of_it_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let running = broker(data.path()).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    line.exchange(sample("02-term-baby-a01-birth.hl7").as_bytes()).await;
    let broken = sample("47-term-baby-mdm-summary.hl7").replace(BASE64, "*VBERi0xLjQ");
    assert_eq!(line.exchange(broken.as_bytes()).await.code, "AA");
    settled(data.path()).await;
    let reader = LedgerReader::open(data.path()).unwrap();
    let trace = reader.trace(Seq(2)).unwrap().unwrap();
    assert_eq!((trace.entry.standing.as_str(), trace.entry.reason.as_str()), ("held", "bad-value"), "{trace:?}");
    assert!(reader.document(Seq(2), 1).unwrap().is_none());
    assert_eq!(running.stop().await, 0);
}
