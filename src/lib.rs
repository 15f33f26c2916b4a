#![doc = include_str!("../README.md")]
//!
//! # The tour
//!
//! What everyone shares: [`names`], [`clock`]. What is pure: [`hl7`], [`fhir`], [`canon`], [`mapping`]. The way of a message:
//! [`intake`], [`journal`], [`mapping`], [`identity`], [`routing`], [`failsafe`], [`outbox`], [`destinations`]; [`store`] keeps all of it.
//! Beside it: [`conformance`]. Around it: [`config`], [`broker`], [`console`], [`door`], [`city`], [`cli`], and [`observe`] for all that is said aloud.

pub mod names;
pub mod clock;
pub mod hl7;
pub mod fhir;
pub mod canon;
pub mod observe;
pub mod journal;
pub mod mapping;
pub mod conformance;
pub mod intake;
pub mod identity;
pub mod routing;
pub mod failsafe;
pub mod outbox;
pub mod destinations;
pub mod store;
pub mod config;
pub mod broker;
pub mod console;
pub mod door;
pub mod city;
pub mod cli;
