//! The whole broker, from real sockets to the hubs' stores: one module for each promise.

mod corpus;
mod kill;
mod whole;
mod world;
