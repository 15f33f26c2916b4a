//! The whole broker, from real sockets to the hubs' stores: one module for each promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::print_stderr, reason = "what did not run is said aloud")]
#![allow(missing_docs, reason = "helpers of tests say what they are by their names")]

#[path = "../support/authority.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod authority;
#[path = "../support/folders.rs"]
mod folders;
#[path = "../support/postgres.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod postgres_server;

mod console;
mod corpus;
mod deliveries;
mod documents;
mod failsafe;
mod fhir;
mod files;
mod hub_door;
mod hubs;
mod identity;
mod import;
mod kill;
mod leaks;
mod merges;
mod parents;
mod resources;
mod store_on_server;
mod vaccination_files;
mod viewer;
mod whole;
mod world;
