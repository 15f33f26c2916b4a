//! Why a record says what it says, long after the mapping that read it was changed.

use serde_json::Value;

use crate::site::Site;
use crate::{ran, sample};

fn json_of(arguments: &[&str]) -> Value {
    let (code, text) = ran(arguments);
    assert_eq!(code, Some(0), "{arguments:?} {text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_field_says_who_said_it_where_it_stood_and_by_which_rule_of_that_time() {
    let site = Site::new();
    let broker = site.broker();
    // Named, and called BABY once more by a later message: the real name stands, the other is kept.
    let named = std::fs::read_to_string(sample("04-term-baby-a31-named.hl7")).unwrap();
    let again: Vec<String> = named
        .lines()
        .map(|line| match line.split_once('|').unwrap().0 {
            "PID" => {
                let mut fields: Vec<&str> = line.split('|').collect();
                fields[5] = "EXAMPLE^BABY^^^^^L";
                fields.join("|")
            }
            _ => line.replace("202601", "202602").replace("PAS0000004", "PAS0000104"),
        })
        .collect();
    let again = site.message("again.hl7", &again.join("\r"));
    site.send(&broker, &[&sample("02-term-baby-a01-birth.hl7"), &sample("04-term-baby-a31-named.hl7"), &again]);
    let trace = json_of(&["msg", "trace", "1", "--json", "--admin", &broker.admin]);
    let child = trace["events"][0]["child"].as_str().unwrap().to_owned();
    let why =
        |field: &str| json_of(&["child", &child, "--why", field, "--json", "--admin", &broker.admin, "--reveal", "test"])["why"].clone();

    let weight = why("birth.weight_g");
    let stands = &weight[0]["stands"];
    assert_eq!((&stands["value"], &stands["seq"], &stands["source"]), (&3420.into(), &1.into(), &"loopback".into()), "{weight}");
    let from = &stands["from"][0];
    assert_eq!((&from["from"], &from["raw"]), (&"ZU7-3".into(), &"3420".into()), "{weight}");
    let rule = from["rule"].as_str().unwrap().to_owned();

    // The rules move down by three lines, and another bundle becomes active.
    let file = rule.rsplit_once(':').unwrap().0.rsplit('/').next().unwrap().to_owned();
    for file in std::fs::read_dir(site.path("mappings")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|kind| kind == "toml") && !file.ends_with("hubs.toml") {
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, format!("# one\n# two\n# three\n{text}")).unwrap();
        }
    }
    assert_eq!(ran(&["reload", "--admin", &broker.admin]).0, Some(0));
    assert_eq!(why("birth.weight_g")[0]["stands"]["from"][0]["rule"], rule, "the bundle of then explains it, in {file}");
    let explained = json_of(&["msg", "explain", "1", "child.birth.weight_g", "--json", "--admin", &broker.admin]);
    assert_eq!(explained["values"][0]["rule"], rule);

    let names = why("names");
    let words = |word: &Value| (word["seq"].as_i64().unwrap(), word["value"][0]["given"][0].as_str().unwrap_or_default().to_owned());
    let all: Vec<_> = names.as_array().unwrap().iter().map(|field| (field["field"].as_str().unwrap(), words(&field["stands"]))).collect();
    assert!(all.contains(&("names.usual", (2, "AMARA".to_owned()))), "{names}");
    let usual = names.as_array().unwrap().iter().find(|field| field["field"] == "names.usual").unwrap();
    assert_eq!(words(&usual["others"][0]), (3, "BABY".to_owned()), "what does not stand is told too: {usual}");
    assert_eq!(usual["others"][0]["from"].as_array().unwrap().iter().filter(|one| one["raw"] == "BABY").count(), 1, "{usual}");

    // Masked: the way, not the value; for people, one line each.
    let (code, text) = ran(&["child", &child, "--why", "birth", "--admin", &broker.admin]);
    assert!(
        code == Some(0) && text.contains("ZU7-3") && text.contains(&rule) && !text.contains("3420") && !text.contains("20260105"),
        "{text}"
    );
    let (_, text) = ran(&["child", &child, "--why", "identifiers", "--admin", &broker.admin]);
    assert!(text.contains("PID-3") && !text.contains("9990000026") && !text.contains("B100002"), "{text}");
    // Nothing of another field, and nothing that nobody said.
    assert!(!ran(&["child", &child, "--why", "sex", "--admin", &broker.admin]).1.contains("ZU7"));
    assert_eq!(ran(&["child", &child, "--why", "religion", "--admin", &broker.admin]).0, Some(66));
    // Every value of the record has a place in a message.
    for field in why("").as_array().unwrap().iter().filter(|field| !field["stands"]["value"].is_null()) {
        assert!(!field["stands"]["from"].as_array().unwrap().is_empty(), "{field}");
    }
}
