//! MESH control files: what the client wrote beside a body. Pure.
//!
//! ```text
//! <DTSControl> <MessageType>Data</MessageType> <WorkflowId>…</WorkflowId> …
//!   <StatusRecord> <Event>TRANSFER</Event> <Status>SUCCESS</Status> <StatusCode>00</StatusCode> … </StatusRecord>
//! </DTSControl>
//! ```
//!
//! # Invariants
//!
//! - Only a file that says success is taken for success; one that says nothing does not.
//! - Of the rest nothing is repeated: `To_DTS` and `Subject` may hold the name and number of a person.
//!
//! # Not here
//!
//! Control files found in the wild are not always well-formed XML, so they are searched for elements and not parsed.

/// What a control file says of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    /// Whole and ours.
    Arrived,
    /// It says why not: fixed words and digits.
    Failed(String),
}

/// Reads a control file.
pub(super) fn read_control(bytes: &[u8]) -> Transfer {
    let text = String::from_utf8_lossy(bytes);
    let failed = |why: &str| Transfer::Failed(why.to_owned());
    if !text.contains("DTSControl") {
        return failed("the control file is none (no DTSControl)");
    }
    if element(&text, "MessageType").is_some_and(|kind| !kind.eq_ignore_ascii_case("data")) {
        return failed("the control file is a report about something else, not data");
    }
    // Each step of the way may have added a record; the last one counts.
    let Some((_, record)) = text.rsplit_once("<StatusRecord>") else {
        return failed("the control file does not say whether the transfer succeeded");
    };
    let code: String = element(record, "StatusCode").unwrap_or_default().chars().filter(char::is_ascii_digit).take(6).collect();
    let is_success = element(record, "Status").is_some_and(|status| status.eq_ignore_ascii_case("success"));
    if is_success && code.bytes().all(|digit| digit == b'0') {
        return Transfer::Arrived;
    }
    let code = if code.is_empty() { String::new() } else { format!(" (status code {code})") };
    Transfer::Failed(format!("the control file does not say success{code}"))
}

/// The text of the first element of this name.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split('<').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(kind: &str, records: &str) -> String {
        format!(
            "<DTSControl>\n<Version>1.0</Version><AddressType>ALL</AddressType><MessageType>{kind}</MessageType>\
             <To_DTS>GPPROVIDER_9990000018_05012026_EXAMPLE</To_DTS><Subject>broken/Subject>\n\
             <WorkflowId>BIRTHNOTIFICATION_1</WorkflowId>{records}</DTSControl>"
        )
    }

    fn record(status: &str, code: &str) -> String {
        format!("<StatusRecord><Event>TRANSFER</Event><Status>{status}</Status><StatusCode>{code}</StatusCode></StatusRecord>")
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        match read_control(text.as_bytes()) {
            Transfer::Arrived => assert_eq!("arrived", expected),
            Transfer::Failed(why) => {
                assert!(why.contains(expected), "{why}");
                assert!(!why.contains("EXAMPLE") && !why.contains("999000"), "{why}");
            }
        }
    }

    #[test]
    fn only_a_transfer_of_data_that_says_success_has_arrived() {
        check(&control("Data", &record("SUCCESS", "00")), "arrived");
        check(&control("Data", &record("Success", "")), "arrived");
        check(&control("Data", &record("ERROR", "14")), "status code 14");
        check(&control("Data", &record("SUCCESS", "14")), "status code 14");
        check(&control("Data", ""), "does not say whether");
        check(&control("Report", &record("SUCCESS", "00")), "report");
        check("", "none");
    }

    #[test]
    fn of_several_status_records_the_last_counts() {
        check(&control("Data", &(record("ERROR", "12") + &record("SUCCESS", "00"))), "arrived");
        check(&control("Data", &(record("SUCCESS", "00") + &record("ERROR", "12"))), "status code 12");
    }
}
