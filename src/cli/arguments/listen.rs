//! `listen`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// `listen`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("door").args(["mllp", "fhir"]).required(true).multiple(true))]
#[command(group = clap::ArgGroup::new("fault").args(["half_close", "no_answer", "wrong_id", "answer_twice"]))]
pub struct Listen {
    /// Takes HL7 v2 on this port; 0 picks one and says which
    #[arg(long, visible_alias = "port", value_name = "PORT")]
    pub mllp: Option<u16>,
    /// Takes FHIR over HTTP on this port; 0 picks one and says which
    #[arg(long, value_name = "PORT")]
    pub fhir: Option<u16>,
    /// Address of this machine; anything but loopback can be reached by others
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// The code that answers HL7 v2
    #[arg(long, value_name = "CODE", default_value = "AA", value_parser = ["AA", "AE", "AR", "CA", "CE", "CR"])]
    pub ack: String,
    /// The status that answers FHIR
    #[arg(long, value_name = "STATUS", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: u16,
    /// Waits before it answers: 5s, 200ms, 1m
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    pub delay: Duration,
    /// Closes its half of the connection in place of an answer
    #[arg(long)]
    pub half_close: bool,
    /// Never answers
    #[arg(long)]
    pub no_answer: bool,
    /// Answers for another message (HL7 v2)
    #[arg(long)]
    pub wrong_id: bool,
    /// Answers twice
    #[arg(long)]
    pub answer_twice: bool,
    /// All of this for each Nth message only; the others are accepted at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
    /// Keeps each message as a file of this folder, named by its order
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Ends after so many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// JSON, one object a message
    #[arg(long)]
    pub json: bool,
}

/// `5s`, `200ms`, `1m`; at most an hour.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "write a number and a unit, like 5s or 200ms".to_owned())?;
    let duration = match text.get(digits.len()..) {
        Some("ms") => Duration::from_millis(number),
        Some("s" | "") => Duration::from_secs(number),
        Some("m") => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err("the units are ms, s and m".to_owned()),
    };
    if duration <= Duration::from_secs(3600) { Ok(duration) } else { Err("at most an hour".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_an_end() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("60m"), Ok(Duration::from_secs(3600)));
        for wrong in ["61m", "5h", "soon", "", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
