//! How fast a receiver is paid, and for how long it is tried.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock;
use crate::destinations::{Kind, Profile};
use crate::outbox::Settlement;

/// The parents' copy is not the record: what they could not be told for a week a person looks at (destination rules, section 3).
const PARENTS_MAX_AGE_DAYS: u32 = 7;

/// What was agreed with a receiver.
#[derive(Debug)]
pub struct Terms {
    /// Requests in a second at most.
    pub pace: Pace,
    /// Older debts that cannot be delivered are held.
    pub max_age: Option<Duration>,
}

impl Terms {
    /// What the settings say, or what the contract does.
    pub fn of(kind: &Kind) -> Self {
        let (rate, days) = match kind {
            Kind::Fhir { rate_per_s, max_age_days, profile, .. } => {
                let default = (*profile == Profile::ParentRecord).then_some(PARENTS_MAX_AGE_DAYS);
                (*rate_per_s, max_age_days.or(default))
            }
            _ => (None, None),
        };
        let max_age = days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3_600));
        Self { pace: Pace::new(rate), max_age }
    }

    /// What an attempt means for a debt made at `made_us`: what would be tried again and is too old is held, which is an alarm.
    pub fn too_old(&self, settlement: Settlement, made_us: i64, now: Timestamp) -> Settlement {
        let age = u64::try_from(now.as_microsecond().saturating_sub(made_us)).map(Duration::from_micros).unwrap_or_default();
        match (settlement, self.max_age) {
            (Settlement::Retry { why, .. }, Some(max)) if max <= age => {
                Settlement::Held { why: format!("not delivered for {} days: {why}", max.as_secs() / (24 * 3_600)) }
            }
            (settlement, _) => settlement,
        }
    }
}

/// Lets requests go one after the other, so many in a second.
#[derive(Debug)]
pub struct Pace {
    every: Option<Duration>,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(rate_per_s: Option<u32>) -> Self {
        let every = rate_per_s.filter(|rate| 0 < *rate).map(|rate| Duration::from_secs(1) / rate);
        Self { every, next: Mutex::new(None) }
    }

    /// Resolves when the next request may go.
    pub async fn turn(&self) {
        let turn = self.reserve(clock::beat()).await;
        if let Some(turn) = turn {
            tokio::time::sleep_until(turn).await;
        }
    }

    /// When a request that is ready at `now` may go; nothing where there is no limit.
    async fn reserve(&self, now: Instant) -> Option<Instant> {
        let every = self.every?;
        let mut next = self.next.lock().await;
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + every);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_requests_go_in_a_second_and_not_more_and_a_pause_is_not_saved_up() {
        let (pace, begun) = (Pace::new(Some(4)), clock::beat());
        let mut turns = Vec::new();
        for _ in 0..5 {
            turns.push(pace.reserve(begun).await.unwrap().duration_since(begun).as_millis());
        }
        assert_eq!(turns, [0, 250, 500, 750, 1000]);
        let later = begun + Duration::from_secs(60);
        assert_eq!([pace.reserve(later).await.unwrap(), pace.reserve(later).await.unwrap()], [later, later + Duration::from_millis(250)]);
        assert_eq!(Pace::new(None).reserve(begun).await, None);
    }

    #[test]
    fn what_cannot_be_told_to_parents_for_a_week_is_held_and_what_is_refused_keeps_its_reason() {
        let parents = "name = 'x'\nkind = 'fhir'\nbase = 'http://127.0.0.1:1'\nprofile = 'parent-record'";
        let config: crate::destinations::Config = toml::from_str(parents).unwrap();
        let terms = Terms::of(&config.kind);
        let (made, day) = (1_770_000_000_000_000, 24 * 3_600 * 1_000_000_i64);
        let after =
            |days: i64, settlement: Settlement| terms.too_old(settlement, made, Timestamp::from_microsecond(made + days * day).unwrap());
        let retry = || Settlement::Retry { after_ms: 1, why: "HTTP 503".to_owned() };
        assert_eq!(after(6, retry()), retry());
        assert_eq!(after(7, retry()), Settlement::Held { why: "not delivered for 7 days: HTTP 503".to_owned() });
        assert_eq!(after(9, Settlement::Delivered), Settlement::Delivered);
        let config: crate::destinations::Config = toml::from_str(&parents.replace("parent-record", "record")).unwrap();
        assert_eq!(Terms::of(&config.kind).max_age, None, "a record is tried until it is taken");
    }
}
