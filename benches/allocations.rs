//! What reading a message asks of the allocator: how often, and how many bytes in all. The same whatever allocator there is.
//!
//!     cargo bench --bench allocations

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench stops at what it did not expect, and prints")]

#[path = "mapping/cases.rs"]
mod cases;

use std::alloc::System;

use chis_broker::mapping::Bundle;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let bundle = Bundle::compile(&Bundle::shipped(), "mappings/").expect("the shipped files compile");
    println!("| message | what | allocations | bytes |\n|---|---|---:|---:|");
    for mut case in cases::cases(&bundle) {
        // What is made once is made before.
        (case.run)();
        let region = Region::new(ALLOCATOR);
        (case.run)();
        let asked = region.change();
        let what = if case.is_yardstick { format!("{} (yardstick)", case.what) } else { case.what.to_owned() };
        println!("| {} | {what} | {} | {} |", case.message, asked.allocations + asked.reallocations, asked.bytes_allocated);
    }
}
