//! `gen`, `gen play`, `gen verify`: a seeded London, a broker that lives through it, and whether it did right.

use std::collections::BTreeSet;
use std::io::Write;

use super::arguments::{Gen, GenCommand, GenPlay, GenVerify};
use super::output::Out;
use super::{Failure, Outcome, diagnostics, exit, output};
use crate::city::observed::Observed;
use crate::city::truth::TruthChild;
use crate::city::{self, CityError, Plan, play, verify};
use crate::config::{self, Arguments, Settings};

impl From<CityError> for Failure {
    fn from(error: CityError) -> Self {
        Self::new(exit::IO, error.to_string())
    }
}

/// One of the three.
pub fn run(order: &Gen, out: &mut Out) -> Outcome {
    match &order.command {
        Some(GenCommand::Play(play)) => self::play(play, out),
        Some(GenCommand::Verify(verify)) => self::verify(verify, out),
        None => make(order, out),
    }
}

fn make(order: &Gen, out: &mut Out) -> Outcome {
    let Some(folder) = &order.out else { return Err(Failure::new(exit::USAGE, "name a folder for the city with --out")) };
    let plan = Plan { seed: order.seed, births: order.births, days: order.days, faults: order.faults };
    let summary = city::write(plan, folder)?;
    if order.json {
        out.json(&shown(&summary))?;
        return Ok(exit::OK);
    }
    writeln!(out, "{} children, {} messages in {} days, in {}", summary.births, summary.messages, summary.days, folder.display())?;
    for (story, count) in &summary.stories {
        writeln!(out, "{count:7} {story}")?;
    }
    writeln!(out, "next: chis-broker gen play {0}, then chis-broker gen verify {0}", folder.display())?;
    Ok(exit::OK)
}

fn play(order: &GenPlay, out: &mut Out) -> Outcome {
    let program = std::env::current_exe().map_err(|error| Failure::new(exit::SYSTEM, format!("this program cannot be found: {error}")))?;
    let play = play::Play {
        city: order.city.clone(),
        data: order.data.clone().unwrap_or_else(|| order.city.join("data")),
        program,
        config: order.config.clone().unwrap_or_else(|| order.city.join("city.toml")),
        kills: order.kill,
        seed: order.shuffle,
        without: order.without.iter().cloned().collect(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(exit::SYSTEM, format!("no threads: {error}")))?;
    let played = runtime.block_on(play::play(&play))?;
    if order.json {
        out.json(&shown(&played))?;
    } else {
        writeln!(out, "{}", figures(&played))?;
        let standings: Vec<String> = played.standings.iter().map(|(standing, count)| format!("{count} {standing}")).collect();
        writeln!(out, "{}, {} delivered, {} sent again, {} refused", standings.join(", "), played.delivered, played.again, played.refused)?;
        if 0 < played.acts {
            writeln!(out, "{} acts of people, {} of them failed", played.acts, played.acts_failed)?;
        }
    }
    Ok(if played.refused == 0 && played.acts_failed == 0 { exit::OK } else { exit::FOUND })
}

/// What a play took, in a line.
fn figures(played: &play::Played) -> String {
    let play::Played { messages, seconds, rate, kills, memory_mib, .. } = played;
    format!("{messages} messages in {seconds:.1} s: {rate} a second, {kills} kills, {memory_mib} MiB at most")
}

fn verify(order: &GenVerify, out: &mut Out) -> Outcome {
    let config = order.config.clone().unwrap_or_else(|| order.city.join("city.toml"));
    let data = order.data.clone().unwrap_or_else(|| order.city.join("data"));
    let arguments = Arguments { data: Some(data), ..Arguments::default() };
    let (settings, _warnings) = Settings::load(Some(&config), &config::environment(), &arguments).accept().map_err(|unusable| {
        super::say(&diagnostics::render(&unusable.diagnostics, &unusable.texts, output::is_stderr_coloured()));
        Failure::new(unusable.exit, "the configuration cannot be used")
    })?;
    let truth: Vec<TruthChild> = city::truth_of(&order.city)?;
    let without: BTreeSet<String> = order.without.iter().filter(|feature| !feature.is_empty()).cloned().collect();
    if let Some(unknown) = without.iter().find(|feature| !city::FEATURES.contains(&feature.as_str())) {
        let known = city::FEATURES.join(", ");
        return Err(Failure::new(exit::USAGE, format!("no feature is called {unknown:?}; there are: {known}")));
    }
    let observed = Observed::read(&settings)?;
    let mut report = verify::compare(&truth, &city::days_of(&city::summary_of(&order.city)?), &observed, &without);
    let found = report.differences.len();
    let played = play::played_of(&order.city);
    let story = |child: &str| truth.iter().find(|truth| truth.child == child).map(|truth| truth.story.join("; ")).unwrap_or_default();
    if order.json {
        report.differences.truncate(order.limit);
        let mut all = shown(&report);
        if let (Some(all), Some(played)) = (all.as_object_mut(), &played) {
            all.insert("played".to_owned(), shown(played));
        }
        out.json(&all)?;
    } else {
        if let Some(played) = &played {
            writeln!(out, "{}", figures(played))?;
        }
        writeln!(out, "{} children, {} messages compared; {} children left out", report.children, report.messages, report.left_out)?;
        writeln!(
            out,
            "{} events and {} items where they must be, {} held as they must be, {} clocks seen, {} came again",
            report.stored, report.items, report.held, report.clocks, report.again
        )?;
        writeln!(out, "{} births lists with {} births as they must be", report.lists, report.births)?;
        for (kind, count) in &report.counts {
            writeln!(out, "{count:7} {kind}")?;
        }
        for difference in report.differences.iter().take(order.limit) {
            writeln!(out, "{}: {} ({})", difference.child, difference.text, story(&difference.child))?;
        }
        writeln!(out, "{}", if found == 0 { "no difference".to_owned() } else { format!("{found} differences") })?;
    }
    Ok(if found == 0 { exit::OK } else { exit::FOUND })
}

fn shown<T: serde::Serialize>(what: &T) -> serde_json::Value {
    serde_json::to_value(what).unwrap_or_default()
}
