//! The ledger's side of what people decide of identity: an act becomes an entry where it leaves events, and is done by the one writer.

use bytes::Bytes;
use jiff::Timestamp;

use super::StoreError;
use super::desk::{DESK, DeskAct, Effect, refused};
use super::filing::{Asked, perform};
use super::own;
use super::writer::Ledger;
use crate::journal::{Admission, Entry, Journal};
use crate::names::{Format, SourceName};

impl Ledger {
    /// Does what a person decided, or with `is_trial` tells what it would do and leaves everything as it is. In the audit under `reason`.
    ///
    /// # Errors
    ///
    /// 64 where it cannot be done as asked, 66 where what was named is not there, 77 where the record is sealed; else the ledger's.
    pub async fn decide(&self, act: DeskAct, reason: &str, is_trial: bool, now: Timestamp) -> Result<Effect, StoreError> {
        let noted = if act.is_an_entry() && !is_trial { Some(self.note_act(&act, now).await?) } else { None };
        let read = self.reads_again();
        let reason = reason.to_owned();
        let effect = self
            .act_quietly(move |connection, rules| {
                // What makes no entry of its own takes the next number as it is in this turn: since it was asked others may have come.
                let seq = match noted {
                    Some(seq) => seq,
                    None => own::last(connection)? + 1,
                };
                perform(connection, rules, read.as_ref(), &Asked { act, reason, is_trial, seq })
            })
            .await??;
        if effect.done {
            // An un-merge moves debts between lanes.
            self.debts_were_put_back();
        }
        Ok(effect)
    }

    /// Keeps the act in the journal. Until it is done it is nobody's; an act that was cut short stays so and can be asked for again.
    async fn note_act(&self, act: &DeskAct, now: Timestamp) -> Result<i64, StoreError> {
        let body = serde_json::to_vec(act).map_err(|error| refused(70, error.to_string()))?;
        let entry = Entry {
            source: SourceName::new(DESK),
            format: Format::CanonicalJson,
            kind: act.word().to_owned(),
            control_id: uuid::Uuid::now_v7().to_string(),
            body: Bytes::from(body),
            arrived: now,
            admission: Admission::Ignored("not-done".to_owned()),
        };
        let receipt = self.append(entry).await.map_err(|error| refused(74, error.to_string()))?;
        Ok(receipt.seq().0)
    }
}
