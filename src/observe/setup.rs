//! Sets up what the broker says aloud, once at the start of the process: log lines, metrics, and the last words of a panic.
//!
//! # Invariants
//!
//! - A panic is told by its place in the code, never by its text: the text may hold a piece of a message.
//! - Log lines go to stderr; stdout belongs to the result of a command.
//! - Under journald each line begins with its priority (`<3>`), as sd-daemon(3) describes it.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The word in settings and arguments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Text, Self::Json].into_iter().find(|format| format.as_str() == word)
    }
}

/// Why nothing could be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// `[log] level` cannot be read.
    #[error("the log level cannot be read; write error, warn, info, debug or trace, or `info,chis_broker::intake=debug`")]
    Level,
    /// Somebody else in this process was first.
    #[error("logging or metrics were set up already in this process")]
    Twice,
}

/// Begins to log. Without `format`: text on a terminal, JSON elsewhere. May be called once in a process.
pub fn start_logging(format: Option<LogFormat>, level: &str) -> Result<(), SetupError> {
    let filter = EnvFilter::try_new(level).map_err(|_| SetupError::Level)?;
    let is_terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    let writer = Lines { has_priority: std::env::var_os("JOURNAL_STREAM").is_some() };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match format {
        LogFormat::Text => builder.with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|_| SetupError::Twice)
}

/// The metrics of this process: made at the first call, the same ones at each later call.
pub fn metrics() -> Result<PrometheusHandle, SetupError> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE.get_or_init(|| recorder().and_then(|builder| builder.install_recorder()).ok()).clone().ok_or(SetupError::Twice)
}

fn recorder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
        .set_buckets_for_metric(Matcher::Full("chis_commit_batch_messages".to_owned()), &MESSAGES)
}

/// Says where it panicked and on which thread. The text of a panic is not said: it may quote a message.
pub fn hook_panics() {
    std::panic::set_hook(Box::new(|panic| {
        metrics::counter!("chis_panics_total").increment(1);
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let (file, line) = panic.location().map_or(("unknown", 0), |place| (place.file(), place.line()));
        if tracing::enabled!(Level::ERROR) {
            tracing::error!(file, line, thread, "panic");
        } else {
            let _nobody_listens = writeln!(io::stderr(), "panic at {file}:{line} on thread {thread}");
        }
    }));
}

/// A writer for whole lines on stderr, with journald's priority before each where journald reads.
struct Lines {
    has_priority: bool,
}

/// One line on its way.
struct Line {
    priority: Option<u8>,
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line { priority: self.has_priority.then_some(6) }
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Line {
        Line { priority: self.has_priority.then_some(priority(*metadata.level())) }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(priority) = self.priority else { return io::stderr().write(line) };
        // One write for both, so that lines of several threads do not mix.
        let mut whole = format!("<{priority}>").into_bytes();
        whole.extend_from_slice(line);
        io::stderr().write_all(&whole)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// syslog's numbers: 3 error, 4 warning, 6 information, 7 debugging.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

const SECONDS: [f64; 16] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
const BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 8_388_608.0];
const MESSAGES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_settings_are_read_back() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(LogFormat::from_word(format.as_str()), Some(format));
        }
        assert_eq!(LogFormat::from_word("xml"), None);
    }

    #[test]
    fn a_level_that_cannot_be_read_is_refused_before_anything_is_set_up() {
        assert_eq!(start_logging(None, "info,chis_broker=[loud"), Err(SetupError::Level));
    }

    #[test]
    fn seconds_are_histograms_with_buckets() {
        let recorder = recorder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::histogram!("chis_ack_duration_seconds").record(0.003));
        let text = recorder.handle().render();
        assert!(text.contains("chis_ack_duration_seconds_bucket{le=\"0.005\"} 1"), "{text}");
    }
}
