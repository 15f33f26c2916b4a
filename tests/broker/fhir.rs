//! A receiver of FHIR that fails now and then: order is kept for each child, and nothing has a second effect.

use std::collections::HashMap;

use chis_broker::broker::Running;
use chis_broker::destinations::Profile;
use chis_broker::destinations::fake::{Answer, Fake};

use crate::world::{Line, person, receiver, settings, settled};

const CHILDREN: usize = 6;
const EACH: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_gets_every_event_once_and_each_childs_in_order() {
    let data = tempfile::tempdir().unwrap();
    let fake = Fake::start().await.unwrap();
    let mut settings = settings(data.path());
    settings.destinations.push(receiver("region", &fake, Profile::Record));
    for answer in [Answer::Status(503), Answer::Dropped, Answer::Garbage, Answer::Status(429)] {
        fake.next(answer);
    }
    let running = Running::start(settings, Vec::new()).await.unwrap();
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for turn in 0..EACH {
        for child in 0..CHILDREN {
            let at = format!("202601061015{turn:02}");
            let answer = line
                .exchange(person(&format!("C{child}N{turn}"), child, &at, &format!("NAME{}", ["A", "B", "C", "D", "E"][turn])).as_bytes())
                .await;
            assert_eq!(answer.code, "AA");
        }
    }
    let account = settled(data.path()).await;
    assert_eq!((account.undelivered, account.unaccounted), (0, 0), "{account:?}");
    assert_eq!(running.stop().await, 0);

    let effects = fake.effects();
    assert_eq!(effects.len(), CHILDREN * EACH, "each event has one effect");
    assert!(effects.len() < fake.received().len(), "some were asked for again");
    let mut order: HashMap<String, Vec<usize>> = HashMap::new();
    for effect in effects {
        let (child, turn) = effect.control_id.split_once('N').unwrap();
        order.entry(child.to_owned()).or_default().push(turn.parse().unwrap());
    }
    assert_eq!(order.len(), CHILDREN);
    for (child, turns) in order {
        assert_eq!(turns, (0..EACH).collect::<Vec<_>>(), "{child}");
    }
}
