//! `check`: the whole configuration, every mistake at once.

use std::io::Write;

use serde_json::json;

use super::arguments::Check;
use super::output::{Out, counted};
use super::{Failure, Outcome, diagnostics, exit};
use crate::config::{self, Arguments, Settings};

/// Checks and tells. Mistakes go to stderr as people read them, or with --json to stdout.
pub fn check(check: &Check, out: &mut Out) -> Outcome {
    let loaded = Settings::load(check.config.as_deref(), &config::environment(), &Arguments::default());
    let config_exit = loaded.exit;
    let checked = config::check(&loaded.settings);
    let mut found = loaded.diagnostics;
    let mut texts = loaded.texts;
    found.extend(checked.diagnostics.iter().cloned());
    texts.extend(checked.texts.iter().map(|(name, text)| (name.clone(), text.clone())));

    let failed: Vec<_> = checked.tests.iter().filter(|test| !test.failures.is_empty()).collect();
    let errors = found.iter().filter(|one| one.is_error).count() + failed.len();
    let warnings = found.iter().filter(|one| !one.is_error).count() + checked.degraded.len();
    let is_good = errors == 0 && !(check.strict && 0 < warnings);
    if check.json {
        let value = json!({ "good": is_good, "diagnostics": found, "tests": checked.tests, "degraded": checked.degraded, "mappings": checked.mappings, "hubs": checked.hubs, "bundle": checked.bundle });
        out.json(&value)?;
    } else {
        // Where all is well, a quiet check says nothing at all, warnings included.
        if !(check.quiet && is_good) {
            super::say(&diagnostics::render(&found, &texts, super::output::is_stderr_coloured()));
            for test in failed {
                super::say(&diagnostics::failed_test(test));
            }
            for what in &checked.degraded {
                super::say(&format!("warning: {what}\n\n"));
            }
        }
        if is_good && !check.quiet {
            let (mappings, tests, hubs) =
                (counted(checked.mappings, "mapping"), counted(checked.tests.len(), "test"), counted(checked.hubs, "hub"));
            let bundle: String = checked.bundle.unwrap_or_default().chars().take(12).collect();
            writeln!(out, "good: {mappings}, {tests} passed, {hubs}, {}; bundle {bundle}", counted(warnings, "warning"))?;
        }
    }
    if is_good {
        return Ok(exit::OK);
    }
    if check.json {
        return Ok(config_exit);
    }
    Err(Failure::new(config_exit, format!("{}, {}", counted(errors, "mistake"), counted(warnings, "warning"))))
}
