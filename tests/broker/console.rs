//! The page of receivers in a real browser (Chromium, which `tests/all` installs): what a person sees of a receiver that is paused, one with
//! a held debt, and one that is away.

use std::process::Command;

use chis_broker::broker::Running;
use chis_broker::console;
use chis_broker::destinations::fake::{Answer, Fake};
use chis_broker::destinations::{Config, Kind, Profile};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::corpus::client;
use crate::world::{FREE, Line, PATIENCE, free_port, nhs_number, person, receiver, settings};

/// What stands on a page once its scripts have run. `seconds`: of the page's own clock, which does not wait.
fn shown(url: &str, seconds: u32) -> String {
    let profile = tempfile::tempdir().unwrap();
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(|name| {
        let mut command = Command::new(name);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server", "--dump-dom"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.args([&format!("--virtual-time-budget={}", 1_000 * seconds), url]);
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            output => Some(output.unwrap()),
        }
    });
    let output = browser.expect("Chromium is missing: tests/all installs it (apt-get install chromium)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The cells of the row of a receiver, as they are read.
fn row(page: &str, name: &str) -> Vec<String> {
    let body = page.split("<tbody").nth(1).unwrap().split("</tbody>").next().unwrap();
    let rows = body.split("<tr>").skip(1).map(|row| row.split("<td").skip(1).map(|cell| cell.split_once('>').unwrap().1));
    let text = |cell: &str| {
        let mut text = String::new();
        cell.split('<')
            .enumerate()
            .for_each(|(place, part)| text.push_str(if place == 0 { part } else { part.split_once('>').map_or("", |(_, text)| text) }));
        text.trim().to_owned()
    };
    rows.map(|cells| cells.map(text).collect::<Vec<_>>())
        .find(|cells| cells[0] == name)
        .unwrap_or_else(|| panic!("no row of {name} in {page}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_receivers_shows_in_a_browser_who_is_paused_what_is_held_and_who_is_away_and_nothing_of_a_message() {
    let data = tempfile::tempdir().unwrap();
    let (region, quiet) = (Fake::start().await.unwrap(), Fake::start().await.unwrap());
    let mut settings = settings(data.path());
    settings.destinations.push(receiver("region", &region, Profile::Record));
    settings.destinations.push(receiver("quiet", &quiet, Profile::Record));
    let mut away = receiver("away", &quiet, Profile::Record);
    if let Kind::Fhir { base, .. } = &mut away.kind {
        *base = format!("http://localhost:{}", free_port().port());
    }
    settings.destinations.push(Config { ..away });
    let running = Running::start(settings, Vec::new()).await.unwrap();
    let closing = CancellationToken::new();
    let (admin, door) = console::open(FREE, running.operations(), closing.clone()).await.unwrap();
    let api = format!("http://{admin}/api/v1/destinations");
    let pause = client().post(format!("{api}/quiet/pause")).body(json!({ "reason": "their <b>upgrade</b>" }).to_string());
    assert!(pause.send().await.unwrap().status().is_success());
    region.next(Answer::Status(422));
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for child in 1..=6 {
        assert_eq!(line.exchange(person(&format!("C{child}"), child, "20260106101500", "EXAMPLE").as_bytes()).await.code, "AA");
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let list: Vec<Value> = serde_json::from_str(&client().get(&api).send().await.unwrap().text().await.unwrap()).unwrap();
        let of = |name: &str| list.iter().find(|one| one["destination"] == name).unwrap();
        let region = of("region");
        if of("away")["state"] == "resting"
            && region["held"].as_array().is_some_and(|held| !held.is_empty())
            && region["pending"] == 0
            && of("quiet")["pending"] == 6
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{list:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    let url = format!("http://{admin}/console/receivers");
    let page = tokio::task::spawn_blocking(move || shown(&url, 3)).await.unwrap();
    let (quiet, held, away) = (row(&page, "quiet"), row(&page, "region"), row(&page, "away"));
    assert_eq!(
        (quiet[1].as_str(), quiet[2].as_str(), quiet[3].as_str()),
        ("paused: their &lt;b&gt;upgrade&lt;/b&gt;", "6", "6"),
        "{quiet:?}"
    );
    assert_eq!(quiet[9], "resume");
    assert_eq!((held[1].as_str(), held[6].as_str(), held[9].as_str()), ("running", "1 × HTTP 422", "pause"), "{held:?}");
    assert_eq!((away[1].as_str(), away[2].as_str()), ("resting", "6"), "{away:?}");
    assert!(away[8].contains("connection refused") && !away[4].is_empty(), "{away:?}");
    assert!(row(&page, "hub-se").len() == 10, "the hubs' stores stand there, too");
    for never in ["EXAMPLE", "GIVEN", "TEST STREET", "SE1 9ZZ", "G85001", "2026-01-05", &nhs_number(1), &nhs_number(6)] {
        assert!(!page.contains(never), "{never} in {page}");
    }
    closing.cancel();
    drop(door);
    assert_eq!(running.stop().await, 0);
}
