//! Rows and files.

use super::super::fixture::{event, moment};
use super::*;
use crate::canon::*;

fn config(folder: &Path) -> CareplusConfig {
    toml::from_str(&format!("folder = '{}'\nstaff_type = 'N'\nstaff_code = 'N01'", folder.display())).unwrap()
}

fn given(key: &str, product: &str) -> Immunisation {
    Immunisation {
        key: Some(key.to_owned()),
        occurrence: Some(moment("2026-06-01T09:30:00Z")),
        vaccine: Some(Code { code: product.to_owned(), ..Code::default() }),
        dose_number: Some(1),
        batch: Some("B,1".into()),
        site: Some(Code { code: "368208006".into(), ..Code::default() }),
        location_ods: Some("G85001".into()),
        ..Immunisation::default()
    }
}

const MMR: &str = "34925111000001104";
const FLU: &str = "43208811000001106";

fn vaccinated(given: &[Immunisation]) -> FiledEvent {
    let mut event = event(EventKind::Immunisation);
    event.record.addresses = vec![Address { lines: vec!["10 TEST STREET".into()], usage: Some("home".into()), ..Address::default() }];
    event.statement.immunisations = given.to_vec();
    event
}

struct Site {
    folder: tempfile::TempDir,
    config: CareplusConfig,
}

impl Site {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = toml::from_str(&format!("folder = '{}'\n{more}", folder.path().display())).unwrap();
        Self { folder, config }
    }

    fn open(&self) -> CareplusDestination {
        CareplusDestination::new(&self.config).unwrap()
    }

    async fn pay(&self, files: &CareplusDestination, key: &str, event: &FiledEvent) -> Settlement {
        let body = match self.config.rules().unwrap().body(0, event) {
            Ok(body) => body,
            Err(why) => return Settlement::Held { why },
        };
        files.pay(Payment { key, control_id: "M", body: &body, attempts: 0, now: jiff::Timestamp::UNIX_EPOCH }).await
    }

    /// Each file with its rows, without the header.
    fn files(&self) -> Vec<Vec<Vec<String>>> {
        let mut names: Vec<PathBuf> = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
        names.sort();
        let rows = |path: &PathBuf| {
            let mut reader = csv::Reader::from_path(path).unwrap();
            assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), COLUMNS);
            reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
        };
        names.iter().map(rows).collect()
    }
}

#[tokio::test]
async fn a_vaccination_is_a_row_of_52_columns_as_the_importer_reads_them() {
    let site = Site::new("staff_type = 'N'\nstaff_code = 'N01'");
    let files = site.open();
    assert_eq!(site.pay(&files, "e1/3", &vaccinated(&[given("i1", MMR)])).await, Settlement::Delivered);
    assert_eq!(files.hand_over().unwrap(), HandedOver { vaccinations: 1, withheld: 0 });
    let mut expected = [
        "9990000018",
        "EXAMPLE",
        "Ada",
        "01/04/2026",
        "10 TEST STREET",
        "",
        "",
        "01/06/2026",
        "10:30",
        "CL",
        "G85001",
        "N",
        "N01",
        "Y",
        "",
        "",
        MMR,
        "MMR",
        "1P",
        "",
        "LA",
        "",
        "B,1",
    ]
    .map(str::to_owned)
    .to_vec();
    expected.resize(51, String::new());
    expected.push("F".into());
    assert_eq!(site.files(), [vec![expected]]);
    let text = std::fs::read_to_string(site.folder.path().join("careplus-000001.csv")).unwrap();
    assert!(text.ends_with("\r\n") && text.contains(",\"B,1\",") && !text.starts_with('\u{feff}'), "{text}");
    assert_eq!(files.hand_over().unwrap(), HandedOver::default(), "nothing new, no file");
}

#[tokio::test]
async fn five_vaccines_fill_a_row_and_the_sixth_begins_another_whichever_message_brings_it() {
    let site = Site::new("");
    let files = site.open();
    let many: Vec<Immunisation> = (0..4).map(|at| given(&format!("i{at}"), MMR)).collect();
    site.pay(&files, "e1/3", &vaccinated(&many)).await;
    site.pay(&files, "e2/3", &vaccinated(&[given("i4", FLU), given("i5", FLU)])).await;
    let elsewhere = Immunisation { location_ods: Some("G85002".into()), ..given("i6", FLU) };
    let later = Immunisation { occurrence: Some(moment("2026-06-02T09:30:00Z")), ..given("i7", FLU) };
    site.pay(&files, "e3/3", &vaccinated(&[elsewhere, later])).await;
    files.hand_over().unwrap();
    let counts: Vec<usize> = site.files()[0].iter().map(|row| (0..5).filter(|at| !row[16 + 7 * at].is_empty()).count()).collect();
    assert_eq!(counts, [5, 1, 1, 1]);
}

#[test]
fn a_row_that_cannot_be_said_right_is_refused_with_a_reason_that_quotes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rules = config(folder.path()).rules().unwrap();
    let refused = |change: &dyn Fn(&mut FiledEvent)| {
        let mut event = vaccinated(&[given("i1", MMR)]);
        change(&mut event);
        let why = rules.body(0, &event).unwrap_err();
        for secret in ["EXAMPLE", "9990000018", "2026", "TEST STREET", "G85001", MMR] {
            assert!(!why.contains(secret), "{secret} in {why}");
        }
        why
    };
    let vaccine = |change: fn(&mut Immunisation)| refused(&move |event: &mut FiledEvent| change(&mut event.statement.immunisations[0]));
    assert!(refused(&|e| e.record.identifiers[0].status = Some("02".into())).contains("no verified NHS number"));
    assert!(refused(&|e| e.record.identifiers.clear()).contains("no verified NHS number"));
    assert!(refused(&|e| e.record.names.clear()).contains("no family name"));
    assert!(refused(&|e| e.record.birth.date = None).contains("date of birth"));
    assert!(vaccine(|v| v.occurrence = None).contains("day of the vaccination"));
    assert!(vaccine(|v| v.occurrence.as_mut().unwrap().value = "2026-06".into()).contains("day of the vaccination"));
    assert!(vaccine(|v| v.vaccine = None).contains("no vaccine code"));
    assert!(vaccine(|v| v.vaccine.as_mut().unwrap().code = "1".into()).contains("file that `vaccines` names"));
    assert!(vaccine(|v| v.location_ods = None).contains("no code of a site"));
    assert!(vaccine(|v| v.dose_number = Some(3)).contains("dose of this number"), "MMR has two doses in the table");
    assert!(vaccine(|v| v.dose_number = Some(0)).contains("dose of this number"));
    assert!(vaccine(|v| v.site.as_mut().unwrap().code = "1".into()).contains("body site has no code"));
}

#[test]
fn the_address_of_a_restricted_child_is_blank() {
    let folder = tempfile::tempdir().unwrap();
    let rules = config(folder.path()).rules().unwrap();
    let said = |event: &FiledEvent| String::from_utf8(rules.body(0, event).unwrap()).unwrap();
    let mut event = vaccinated(&[given("i1", MMR)]);
    assert!(said(&event).contains("TEST STREET"));
    for flags in [
        Flags { local_hiding: Some(true), ..Flags::default() },
        Flags { sensitivity: Some("restricted".into()), ..Flags::default() },
        Flags { sensitivity: Some("blue".into()), ..Flags::default() },
    ] {
        event.record.flags = flags;
        assert!(!said(&event).contains("TEST STREET"));
    }
}

#[test]
fn only_vaccinations_of_the_hubs_children_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let rules = CareplusConfig { hub: Some("SE".into()), ..config(folder.path()) }.rules().unwrap();
    let hub = |hub: &str| Some(HubAssignment { hub: hub.into(), basis: HubBasis::Gp, interested: Vec::new(), left: None });
    let mut event = vaccinated(&[given("i1", MMR)]);
    assert!(!rules.wants(&event), "a child without a hub is not this hub's");
    event.record.hub = hub("SE");
    assert!(rules.wants(&event));
    assert!(!rules.wants(&FiledEvent { superseded: true, ..event.clone() }));
    event.statement.immunisations[0].status = ImmunisationStatus::NotDone;
    assert!(!rules.wants(&event), "what was not given has no row");
    event.statement.event.kind = EventKind::Review;
    assert!(!rules.wants(&event));
}

#[tokio::test]
async fn what_is_taken_back_before_the_file_is_made_is_not_in_it_and_afterwards_a_person_must_act() {
    let site = Site::new("");
    let files = site.open();
    let delete = |event: &FiledEvent| {
        let mut event = event.clone();
        event.statement.event.action = Action::Delete;
        event
    };
    let (first, second) = (vaccinated(&[given("i1", MMR)]), vaccinated(&[given("i2", FLU)]));
    site.pay(&files, "e1/3", &first).await;
    site.pay(&files, "e2/4", &second).await;
    assert_eq!(site.pay(&files, "e3/5", &delete(&first)).await, Settlement::Delivered);
    let corrected = vaccinated(&[Immunisation { batch: Some("B2".into()), ..given("i2", FLU) }]);
    assert_eq!(site.pay(&files, "e4/6", &corrected).await, Settlement::Delivered);
    files.hand_over().unwrap();
    assert_eq!(site.files()[0].len(), 1);
    assert_eq!(site.files()[0][0][22], "B2", "the correction came in time");
    assert!(matches!(site.pay(&files, "e5/7", &delete(&second)).await, Settlement::Held { why } if why.contains("taken back")));
    assert!(matches!(site.pay(&files, "e6/8", &second).await, Settlement::Held { why } if why.contains("other facts")));
    assert_eq!(site.pay(&files, "e7/9", &corrected).await, Settlement::Superseded, "said again as it was");
    assert_eq!(site.pay(&files, "e8/9", &delete(&first)).await, Settlement::Superseded, "it is in no file");
    assert_eq!(files.hand_over().unwrap(), HandedOver::default());
}

#[tokio::test]
async fn a_full_file_is_handed_over_at_once_and_the_numbers_go_on_after_a_restart() {
    let site = Site::new("vaccinations_max = 2");
    for round in 0..3 {
        let files = site.open();
        site.pay(&files, &format!("e{round}/1"), &vaccinated(&[given(&format!("a{round}"), MMR), given(&format!("b{round}"), FLU)])).await;
    }
    assert_eq!(site.files().iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    let files = site.open();
    let second = CareplusDestination::new(&site.config).unwrap_err();
    assert!(second.contains("another process"), "{second}");
    drop(files);
}

/// Every state of the folder that a kill can leave: the files as they are after each step of a hand-over.
#[tokio::test]
async fn a_kill_at_any_step_leaves_each_vaccination_in_exactly_one_file() {
    let keys = ["i1", "i2", "i3"];
    for step in 0..6 {
        let site = Site::new("");
        let below = site.folder.path().join(".chis-broker");
        let (spool, part, file) = (
            below.join("spool-000001.jsonl"),
            site.folder.path().join(".careplus-000001.csv.part"),
            site.folder.path().join("careplus-000001.csv"),
        );
        {
            let files = site.open();
            for key in &keys[..2] {
                site.pay(&files, key, &vaccinated(&[given(key, MMR)])).await;
            }
        }
        let spooled = std::fs::read(&spool).unwrap();
        if step == 0 {
            // Killed in the middle of the line of the second debt: it was never settled.
            std::fs::write(&spool, &spooled[..spooled.len() - 7]).unwrap();
        } else if step == 1 {
            std::fs::write(&part, "half a par").unwrap();
        } else if step >= 2 {
            site.open().hand_over().unwrap();
            let history = std::fs::read(below.join("handed-over.jsonl")).unwrap();
            match step {
                // The history was not written whole: the hand-over never happened.
                2 => {
                    std::fs::rename(&file, &part).unwrap();
                    std::fs::write(&spool, &spooled).unwrap();
                    std::fs::write(below.join("handed-over.jsonl"), &history[..history.len() - 1]).unwrap();
                }
                // Noted, but not renamed.
                3 => {
                    std::fs::rename(&file, &part).unwrap();
                    std::fs::write(&spool, &spooled).unwrap();
                }
                // Renamed, and the spool not removed.
                4 => std::fs::write(&spool, &spooled).unwrap(),
                // All done, and the store has taken the file away.
                _ => std::fs::rename(&file, site.folder.path().join("taken.csv")).unwrap(),
            }
        }
        let files = site.open();
        // The broker was killed too: none of the debts was noted as settled, so all are paid again.
        for key in keys {
            let settled = site.pay(&files, key, &vaccinated(&[given(key, MMR)])).await;
            assert!(matches!(settled, Settlement::Delivered | Settlement::Superseded), "step {step}, {key}: {settled:?}");
        }
        files.hand_over().unwrap();
        let given: usize = site.files().iter().flatten().map(|row| (0..5).filter(|at| !row[16 + 7 * at].is_empty()).count()).sum();
        assert_eq!(given, 3, "step {step}: {:?}", site.files());
        assert!(!part.exists() && !spool.exists(), "step {step}");
    }
}

#[tokio::test]
async fn a_value_that_a_spreadsheet_would_run_is_marked_only_where_the_site_asks() {
    for (more, said) in [("", "=1+1"), ("csv_excel_safe = true", "'=1+1")] {
        let site = Site::new(more);
        let files = site.open();
        site.pay(&files, "e1/3", &vaccinated(&[Immunisation { batch: Some("=1+1".into()), ..given("i1", MMR) }])).await;
        files.hand_over().unwrap();
        assert_eq!(site.files()[0][0][22], said);
    }
}

#[test]
fn a_wrong_setting_or_table_is_named_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.csv");
    let problems = |more: &str| {
        let config: CareplusConfig = toml::from_str(&format!("folder = '{}'\n{more}", folder.path().display())).unwrap();
        config.check().join(" | ")
    };
    assert_eq!(problems(""), "");
    assert!(problems("venue_type = 'GP'").contains("write `CL` for a clinic"));
    assert!(problems("every_minutes = 0").contains("from 1 to 1440"));
    assert!(problems("hub = 'OUT'").contains("not a hub"));
    assert!(problems("vaccines = '/nowhere'").contains("`vaccines`: /nowhere cannot be read"));
    let table = |setting: &str, text: &str| {
        std::fs::write(&file, text).unwrap();
        problems(&format!("{setting} = '{}'", file.display()))
    };
    assert!(table("vaccines", "from,to\n1,MMR\n").contains("line 1: there is no column `doses`"));
    assert!(table("vaccines", "from,to,doses\n1,MMR,\n1,HPV,\n").contains("line 3: a code is missing or stands twice"));
    assert!(table("sites", "from,to\n1,ELBOW\n").contains("line 2: \"ELBOW\" is no site"));
    assert_eq!(table("vaccines", "from,to,doses,note\n1,6IN1,1P 2P 3P,an infant code of the site's own\n"), "");
}

/// A ledger that knows of some debts that nothing may be said, and of one restricted child.
#[derive(Debug)]
struct Told {
    rules: VaccinationFile,
    events: Vec<Option<FiledEvent>>,
}

impl RowsOfNow for Told {
    fn rows_of_now(&self, debts: &[i64]) -> std::io::Result<Vec<Option<Vec<u8>>>> {
        let event = |debt: &i64| self.events[usize::try_from(*debt).unwrap()].as_ref();
        Ok(debts.iter().map(|debt| event(debt).map(|event| self.rules.body(*debt, event).unwrap())).collect())
    }
}

#[tokio::test]
async fn a_row_that_waited_is_said_as_its_child_is_when_the_file_is_made_or_not_at_all() {
    let site = Site::new("");
    let rules = site.config.rules().unwrap();
    let of = |number: &str, key: &str| {
        let mut event = vaccinated(&[given(key, MMR)]);
        event.record.identifiers[0].value = number.into();
        event
    };
    let (open, mut hidden, sealed) = (of("9990000018", "i1"), of("9990000026", "i2"), of("9990000034", "i3"));
    let pay = async |files: &CareplusDestination, debt: i64, event: &FiledEvent| {
        let body = rules.body(debt, event).unwrap();
        let key = format!("e{debt}/1");
        files.pay(Payment { key: &key, control_id: "M", body: &body, attempts: 0, now: jiff::Timestamp::UNIX_EPOCH }).await
    };
    let files = site.open();
    for (debt, event) in (0..).zip([&open, &hidden, &sealed]) {
        assert_eq!(pay(&files, debt, event).await, Settlement::Delivered);
    }
    hidden.record.flags.local_hiding = Some(true);
    let files = files.asking(Arc::new(Told { rules: rules.clone(), events: vec![Some(open), Some(hidden), None] }));
    assert_eq!(files.hand_over().unwrap(), HandedOver { vaccinations: 2, withheld: 1 });
    let rows: Vec<(String, String)> = site.files()[0].iter().map(|row| (row[0].clone(), row[4].clone())).collect();
    assert_eq!(rows, [("9990000018".into(), "10 TEST STREET".into()), ("9990000026".into(), String::new())]);

    // Where nothing is left there is no file, and the number is that of the next one. What was withheld can be said when it may be.
    let again = files.clone().asking(Arc::new(Told { rules: rules.clone(), events: vec![None, None, None] }));
    assert_eq!(pay(&again, 2, &sealed).await, Settlement::Delivered);
    assert_eq!(again.hand_over().unwrap(), HandedOver { vaccinations: 0, withheld: 1 });
    let later = files.asking(Arc::new(Told { rules: rules.clone(), events: vec![None, None, Some(sealed.clone())] }));
    assert_eq!(pay(&later, 2, &sealed).await, Settlement::Delivered);
    assert_eq!(later.hand_over().unwrap(), HandedOver { vaccinations: 1, withheld: 0 });
    assert_eq!(site.files().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert!(site.folder.path().join("careplus-000002.csv").exists());
}
