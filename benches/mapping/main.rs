//! How long a message takes to be read: index, fields, rules, tables, findings, and where every value came from.
//!
//! The yardsticks run beside it, on the same bytes and in the same process: hl7-parser's parse of the whole message, which gives a
//! tree and nothing canonical; for the XML of the national events quick-xml's pass over all events and attributes, and serde_json's
//! parse of the same tree written as JSON.
//!
//!     cargo bench --bench mapping
//!
//! Criterion's figures come first, a table of the best runs last: on a machine that others use too, the best of many short runs is
//! the figure that can be repeated. Memory is counted by `allocations`, so that counting costs nothing here.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a bench stops at what it did not expect, and prints")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

mod cases;

use std::time::{Duration, Instant};

use cases::{Case, cases};
use chis_broker::mapping::Bundle;
use criterion::Criterion;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Short runs, and how often each is repeated in one.
const RUNS: u32 = 4_000;
const REPEATED: u32 = 4;

/// The best of many short runs, in microseconds.
fn best(case: &mut Case<'_>) -> f64 {
    let mut shortest = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        for _ in 0..REPEATED {
            (case.run)();
        }
        shortest = shortest.min(start.elapsed() / REPEATED);
    }
    shortest.as_secs_f64() * 1e6
}

fn main() {
    let bundle = Bundle::compile(&Bundle::shipped(), "mappings/").expect("the shipped files compile");
    let mut cases = cases(&bundle);
    let mut criterion = Criterion::default().configure_from_args();
    for case in &mut cases {
        criterion.bench_function(&format!("{} {}", case.message, case.what), |bencher| bencher.iter(|| (case.run)()));
    }
    criterion.final_summary();
    let measured: Vec<f64> = cases.iter_mut().map(best).collect();
    println!("\n| message | what | best, µs | of the yardstick |\n|---|---|---:|---:|");
    for (case, micros) in cases.iter().zip(&measured) {
        let yardsticks = cases.iter().zip(&measured).filter(|(other, _)| other.message == case.message && other.is_yardstick);
        let yardstick: f64 = yardsticks.map(|(_, micros)| micros).sum();
        println!("| {} | {} | {micros:.1} | {:.2} |", case.message, case.what, micros / yardstick);
    }
}
