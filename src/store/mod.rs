//! The ledger and the hub stores: the only place that knows SQL.

mod rows;
pub use rows::*;
