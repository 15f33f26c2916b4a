//! Wiring: opens the ledger, starts the doors, the filing and the paying, reloads, drains.

pub mod filer;
pub mod payer;
