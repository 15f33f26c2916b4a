//! A shared-care viewer and a vaccination file behind a whole broker: what they are sent, in which order, and what they are not sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use chis_broker::broker::{Operations, Running};
use chis_broker::config::Settings;
use chis_broker::destinations::{CAREPLUS_COLUMNS, Config};
use chis_broker::names::Seq;
use chis_broker::store::{LedgerReader, ReplayOrder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Line, PATIENCE, nhs_number, person, sample, settings, settled};

/// What a viewer does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Answers(&'static str),
    Mistakes,
    Closes,
    AnswersTwice,
    Babbles,
}

#[derive(Default)]
struct Account {
    plan: VecDeque<Does>,
    usual: Option<Does>,
    /// Every message, with what was done.
    received: Vec<(String, Does)>,
}

/// A viewer on a real socket that keeps account of control ids, as receivers must.
#[derive(Clone)]
pub struct Viewer {
    pub at: SocketAddr,
    account: Arc<Mutex<Account>>,
}

impl Viewer {
    pub async fn open(plan: &[Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let account = Arc::new(Mutex::new(Account { plan: plan.iter().copied().collect(), ..Account::default() }));
        let this = Self { at: listener.local_addr().unwrap(), account };
        let viewer = this.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(viewer.clone().serve(socket));
            }
        });
        this
    }

    async fn serve(self, mut socket: TcpStream) {
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            while let Some(end) = buffer.windows(2).position(|pair| pair == b"\x1C\r") {
                let frame: Vec<u8> = buffer.drain(..end + 2).collect();
                let message = String::from_utf8(frame[1..end].to_vec()).unwrap();
                let id = control_id(&message).to_owned();
                let does = {
                    let mut account = self.account.lock().unwrap();
                    let does = account.plan.pop_front().or(account.usual).unwrap_or(Does::Answers("AA"));
                    account.received.push((message, does));
                    does
                };
                let ack =
                    |code: &str, id: &str| format!("\x0BMSH|^~\\&|V|L|C|L|20260401||ACK|1|P|2.4\rMSA|{code}|{id}|secret words\r\x1C\r");
                let answer = match does {
                    Does::Answers(code) => ack(code, &id),
                    Does::Mistakes => ack("AA", "OTHER"),
                    Does::AnswersTwice => ack("AA", &id).repeat(2),
                    Does::Closes => return,
                    Does::Babbles => "\x0Bthis is no acknowledgement\x1C\r".to_owned(),
                };
                if socket.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            if !matches!(socket.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        }
    }

    fn usually(&self, does: Does) {
        self.account.lock().unwrap().usual = Some(does);
    }

    pub fn received(&self) -> Vec<(String, Does)> {
        self.account.lock().unwrap().received.clone()
    }

    /// Messages whose id came for the first time, as a receiver that knows its ids sees them.
    fn effects(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let messages = self.received().into_iter().map(|(message, _)| message);
        messages.filter(|message| seen.insert(control_id(message).to_owned())).collect()
    }
}

fn control_id(message: &str) -> &str {
    message.split('|').nth(9).unwrap()
}

fn kind(message: &str) -> &str {
    message.split('|').nth(8).unwrap()
}

fn pid(message: &str, field: usize) -> &str {
    message.split('\r').find(|segment| segment.starts_with("PID")).unwrap().split('|').nth(field).unwrap_or_default()
}

fn destination(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

fn with_viewer(data: &Path, viewer: &Viewer, more: &str) -> Settings {
    let mut settings = settings(data);
    settings.destinations.push(destination(&format!("name = 'viewer'\nkind = 'mllp'\naddress = '{}'\n{more}", viewer.at)));
    settings
}

async fn start(settings: Settings) -> Running {
    Running::start(settings, Vec::new()).await.expect("the broker starts")
}

/// How each debt to the viewer ended: by entry.
fn debts(data: &Path, entries: i64, destination: &str) -> Vec<String> {
    let reader = LedgerReader::open(data).unwrap();
    let of = |seq| reader.trace(Seq(seq)).unwrap().map(|trace| trace.debts).unwrap_or_default();
    let debts = (1..=entries).flat_map(|seq| of(seq).into_iter().map(move |debt| (seq, debt)));
    debts
        .filter(|(_, debt)| debt.destination == destination)
        .map(|(seq, debt)| format!("{seq} {} {}", debt.state, debt.why).trim_end().to_owned())
        .collect()
}

/// Waits for what must come. A machine with other work to do takes its time over all samples.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + 5 * PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_fails_in_every_way_gets_each_message_in_the_childs_order_and_once_by_effect() {
    let data = tempfile::tempdir().unwrap();
    let plan = [
        Does::Answers("AE"),
        Does::Answers("AA"),
        Does::Mistakes,
        Does::Answers("CE"),
        Does::Closes,
        Does::AnswersTwice,
        Does::Babbles,
        Does::Closes,
        Does::AnswersTwice,
    ];
    let viewer = Viewer::open(&plan).await;
    let running = start(with_viewer(data.path(), &viewer, "")).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    for round in 0..4 {
        for child in [1, 2] {
            let at = format!("202601061015{round:02}");
            let message = person(&format!("A{round}{child}"), child, &at, &format!("EXAMPLE{round}"));
            assert_eq!(line.exchange(message.as_bytes()).await.code, "AA");
        }
    }
    let account = settled(data.path()).await;
    assert_eq!((account.undelivered, account.unaccounted), (0, 0));
    let effects = viewer.effects();
    assert_eq!(effects.len(), 8, "nothing is lost and nothing counts twice");
    let mut families: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in &effects {
        families.entry(pid(message, 3).to_owned()).or_default().push(pid(message, 5).split('^').next().unwrap().to_owned());
    }
    assert_eq!(families.len(), 2);
    for (_, families) in families {
        assert_eq!(families, ["EXAMPLE0", "EXAMPLE1", "EXAMPLE2", "EXAMPLE3"], "a child's messages come in its order");
    }
    assert!(8 < viewer.received().len(), "it was tried again");
    assert_eq!(
        effects.iter().map(|message| kind(message)).collect::<BTreeSet<_>>(),
        BTreeSet::from(["ADT^A28^ADT_A05", "ADT^A31^ADT_A05"])
    );
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_viewer_rejects_is_held_with_the_code_alone_and_no_other_child_waits() {
    let data = tempfile::tempdir().unwrap();
    let viewer = Viewer::open(&[Does::Answers("AR")]).await;
    let running = start(with_viewer(data.path(), &viewer, "window = 4")).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    line.exchange(person("A1", 1, "20260106101500", "EXAMPLE").as_bytes()).await;
    until("the rejection", || debts(data.path(), 1, "viewer") == ["1 held AR"]).await;
    line.exchange(person("A2", 1, "20260106101600", "EXAMPLE").as_bytes()).await;
    line.exchange(person("A3", 2, "20260106101600", "EXAMPLE").as_bytes()).await;
    until("the other child's", || debts(data.path(), 3, "viewer") == ["1 held AR", "2 pending", "3 delivered"]).await;
    assert_eq!(viewer.received().len(), 2, "the first child's lane stands until a person looks");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_of_a_child_that_became_hidden_while_its_debt_waited() {
    for (flags, ends) in [("ZU8||||2\r", "restricted"), ("ZU8||2\r", "dissent")] {
        let data = tempfile::tempdir().unwrap();
        let viewer = Viewer::open(&[]).await;
        viewer.usually(Does::Answers("AE"));
        let running = start(with_viewer(data.path(), &viewer, "")).await;
        let mut line = Line::open(running.addresses.mllp[0]).await;
        line.exchange(person("A1", 1, "20260106101500", "EXAMPLE").as_bytes()).await;
        until("the first attempt", || !viewer.received().is_empty()).await;
        let hidden = format!("{}{flags}", person("A2", 1, "20260106101600", "EXAMPLE"));
        line.exchange(hidden.as_bytes()).await;
        until("the second message", || {
            LedgerReader::open(data.path()).unwrap().trace(Seq(2)).unwrap().is_some_and(|trace| !trace.events.is_empty())
        })
        .await;
        viewer.usually(Does::Answers("AA"));
        settled(data.path()).await;
        let reader = LedgerReader::open(data.path()).unwrap();
        let withheld = reader.trace(Seq(2)).unwrap().unwrap().withheld;
        assert!(withheld.contains(&("viewer".to_owned(), ends.to_owned())), "{withheld:?}");
        assert!(debts(data.path(), 2, "viewer")[0].starts_with("1 withdrawn"), "{:?}", debts(data.path(), 2, "viewer"));
        let accepted = viewer.received().into_iter().filter(|(_, does)| *does == Does::Answers("AA")).count();
        assert_eq!(accepted, 0, "{ends}");
        assert_eq!(running.stop().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_template_keeps_the_broker_from_starting_and_is_named_with_its_line() {
    let data = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("person.toml"), "[[segment]]\nid = \"PID\"\n3 = \"child.numer\"\n").unwrap();
    let viewer = Viewer::open(&[]).await;
    let settings = with_viewer(data.path(), &viewer, &format!("templates = '{}'", folder.path().display()));
    let checked = chis_broker::config::check(&settings);
    let told = checked.diagnostics.iter().find(|one| one.code == "V001").expect("the mistake is found");
    assert!(told.file.ends_with("person.toml") && (told.line, told.column) == (3, 5), "{told:?}");
    assert!(
        told.message.contains("nothing is called `child.numer`")
            && told.help.as_ref().is_some_and(|help| help.contains("child.nhs_number"))
    );
    let refused = Running::start(settings, Vec::new()).await.err().expect("it does not start");
    assert_eq!(refused.exit, 78);
    assert!(refused.text.contains("person.toml:3:5"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_mended_templates_for_what_is_held_and_keeps_the_old_ones_where_the_new_are_broken() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/viewer/adt-person.toml");
    let (shipped, file) = (std::fs::read_to_string(shipped).unwrap(), folder.path().join("adt-person.toml"));
    let broken = folder.path().join("person.toml");
    let sex = |table: &str| shipped.replace("table sex", &format!("table {table}"));
    assert_ne!(sex("own"), shipped, "the template says the sex by a table");
    std::fs::create_dir(folder.path().join("tables")).unwrap();
    let table = folder.path().join("tables/own.csv");
    // A site's table that lacks a code: what needs it is held.
    std::fs::write(&file, sex("own")).unwrap();
    std::fs::write(&table, "from,to\n1,M\n").unwrap();
    let viewer = Viewer::open(&[]).await;
    let running = start(with_viewer(data.path(), &viewer, &format!("templates = '{}'", folder.path().display()))).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    line.exchange(person("A1", 1, "20260106101500", "EXAMPLE").as_bytes()).await;
    until("it is held", || debts(data.path(), 1, "viewer").first().is_some_and(|debt| debt.starts_with("1 held"))).await;

    std::fs::write(&broken, "[[segment]]\nid = \"PID\"\n3 = \"child.numer\"\n").unwrap();
    let refused = running.reload().await.unwrap_err().to_string();
    assert!(refused.contains("destination viewer") && refused.contains("person.toml:3:5"), "{refused}");
    line.exchange(person("A2", 2, "20260106101500", "EXAMPLE").replace("|20260105|2|", "|20260105|1|").as_bytes()).await;
    until("the old templates go on", || debts(data.path(), 2, "viewer").last().is_some_and(|one| one == "2 delivered")).await;

    std::fs::remove_file(&broken).unwrap();
    std::fs::write(&table, "from,to\n1,M\n2,FEMALE\n").unwrap();
    running.reload().await.unwrap();
    let debt = LedgerReader::open(data.path()).unwrap().trace(Seq(1)).unwrap().unwrap().debts;
    let debt = debt.iter().find(|debt| debt.destination == "viewer").unwrap().debt;
    running.ledger().release_debt(debt, "the table has it now", chis_broker::clock::now()).await.unwrap();
    until("what was held goes", || debts(data.path(), 1, "viewer") == ["1 delivered"]).await;
    assert_eq!(pid(&viewer.effects()[1], 8), "FEMALE");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_again_by_force_a_message_has_a_control_id_of_its_own_and_the_trace_names_both() {
    let data = tempfile::tempdir().unwrap();
    let viewer = Viewer::open(&[]).await;
    let running = start(with_viewer(data.path(), &viewer, "")).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    line.exchange(person("A1", 1, "20260106101500", "EXAMPLE").as_bytes()).await;
    settled(data.path()).await;
    let desk = running.operations().deliveries().unwrap();
    let order = |force: bool| ReplayOrder { query: "destination=viewer".parse().unwrap(), to: None, fresh: false, force, per_second: 100 };
    let asked = desk.clone();
    let plan = tokio::task::spawn_blocking(move || asked.replay_plan(&order(false)).unwrap()).await.unwrap();
    assert_eq!((plan.destinations[0].send, plan.destinations[0].has), (0, 1), "it has it");
    // The first answer to it is lost: the second attempt has the same new id.
    viewer.account.lock().unwrap().plan.push_back(Does::Closes);
    viewer.account.lock().unwrap().plan.push_back(Does::Answers("AE"));
    let (_, job) = tokio::task::spawn_blocking(move || desk.replay(&order(true), "they lost their database").unwrap()).await.unwrap();
    until("it came again", || 3 < viewer.received().len()).await;
    settled(data.path()).await;
    let ids: Vec<String> = viewer.received().iter().map(|(message, _)| control_id(message).to_owned()).collect();
    assert_eq!(viewer.effects().len(), 2, "a viewer that knows its ids takes it as another message: {ids:?}");
    assert!(ids[1..].iter().all(|id| *id == ids[1] && *id != ids[0] && id.len() == 20), "{ids:?}");
    let bodies: Vec<String> = viewer.effects().iter().map(|message| message.replacen(control_id(message), "", 1)).collect();
    assert_eq!(bodies[0], bodies[1], "and says the same");
    let debts = LedgerReader::open(data.path()).unwrap().trace(Seq(1)).unwrap().unwrap().debts;
    let again = debts.iter().filter(|debt| debt.destination == "viewer").find_map(|debt| debt.again.clone()).unwrap();
    let first = debts.iter().find(|debt| debt.destination == "viewer").unwrap().debt;
    assert_eq!((again.job, again.of_debt, again.forced), (job, Some(first), true));
    let named: Vec<(String, String)> = again.renamed.into_iter().map(|one| (one.control_id, one.before)).collect();
    assert_eq!(named, [(ids[1].clone(), ids[0].clone())]);
    assert_eq!(running.stop().await, 0);
}

/// The interpreter with the foreign parsers, which `tests/all` makes.
fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    assert!(python.is_file(), "the foreign parsers are missing: tests/all installs them into target/venv");
    python
}

fn foreign(script: &str, arguments: &[PathBuf]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(script);
    let output = Command::new(python()).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All samples in HL7 v2, in their order.
fn samples() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".hl7"));
    names.sort();
    names.iter().map(|name| sample(name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_of_every_sample_is_read_by_parsers_that_are_not_ours() {
    let (data, sent, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let viewer = Viewer::open(&[]).await;
    let mut settings = with_viewer(data.path(), &viewer, "");
    // Codes of infants are not public: a site names its own.
    let vaccines = files.path().join("vaccines.csv");
    let table = "from,to,doses\n34765811000001105,6IN1,1P 2P 3P\n23584211000001109,MENB,\n34609911000001106,ROTA,\n16649411000001104,PCV,\n42985911000001104,COV,\n34925111000001104,MMR,1P 1B\n";
    std::fs::write(&vaccines, table).unwrap();
    let folder = files.path().join("out");
    let careplus = format!(
        "name = 'careplus'\nkind = 'careplus-csv'\nfolder = '{}'\nvaccines = '{}'\nvaccinations_max = 1",
        folder.display(),
        vaccines.display()
    );
    settings.destinations.push(destination(&careplus));
    let running = start(settings).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    let messages = samples();
    for message in &messages {
        line.exchange(message.as_bytes()).await;
    }
    let entries = i64::try_from(messages.len()).unwrap();
    let is_paid = |destination: &str| debts(data.path(), entries, destination).iter().all(|state| !state.contains(" pending"));
    let filed =
        || LedgerReader::open(data.path()).unwrap().reconcile(None, None).unwrap().lines.iter().map(|line| line.waiting).sum::<i64>();
    until("the last message", || filed() == 0).await;
    until("the last debt to the viewer", || is_paid("viewer")).await;
    let one_row = || debts(data.path(), entries, "careplus").iter().any(|state| state.contains(" delivered"));
    until("a row", one_row).await;
    let held: Vec<String> = debts(data.path(), entries, "viewer").into_iter().filter(|state| state.contains(" held")).collect();
    assert_eq!(held, Vec::<String>::new());
    let received = viewer.effects();
    for (place, message) in received.iter().enumerate() {
        std::fs::write(sent.path().join(format!("{place:04}.hl7")), message).unwrap();
    }
    let read = foreign("read_v2.py", &[sent.path().to_owned()]);
    let rows: Vec<Vec<&str>> = read.lines().map(|row| row.split('\t').collect()).collect();
    assert_eq!(rows.len(), received.len());
    for (row, message) in rows.iter().zip(&received) {
        let segments: Vec<&str> = message.split_terminator('\r').map(|segment| &segment[..3]).collect();
        assert_eq!(row[..4], [kind(message), control_id(message), &segments.join(" "), pid(message, 3).split('^').next().unwrap()]);
    }
    let kinds: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    let wanted = ["ADT^A28^ADT_A05", "ADT^A31^ADT_A05", "ADT^A40^ADT_A39", "MDM^T02^MDM_T02", "ORU^R01^ORU_R01", "VXU^V04^VXU_V04"];
    assert!(wanted.iter().all(|wanted| kinds.contains(wanted)), "{kinds:?}");

    let mut names: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|name| name.extension().is_some_and(|extension| extension == "csv"));
    names.sort();
    let delivered = debts(data.path(), entries, "careplus");
    assert!(!names.is_empty(), "{delivered:?}");
    let tables: Vec<Vec<Vec<String>>> = serde_json::from_str(&foreign("read_csv.py", &names)).unwrap();
    for table in &tables {
        assert_eq!(table[0], CAREPLUS_COLUMNS);
        assert!(1 < table.len() && table.iter().all(|row| row.len() == 52), "{table:?}");
    }
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_with_every_delimiter_is_unescaped_by_others_as_it_was_meant() {
    let (data, sent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let viewer = Viewer::open(&[]).await;
    let running = start(with_viewer(data.path(), &viewer, "")).await;
    let mut line = Line::open(running.addresses.mllp[0]).await;
    line.exchange(person("A1", 1, "20260106101500", "A\\F\\B\\S\\C\\R\\D\\T\\E\\E\\F Ǿ").as_bytes()).await;
    settled(data.path()).await;
    std::fs::write(sent.path().join("1.hl7"), &viewer.effects()[0]).unwrap();
    let read = foreign("read_v2.py", &[sent.path().to_owned()]);
    assert!(read.trim_end().ends_with("\tA|B^C~D&E\\F Ǿ"), "{read}");
    assert!(viewer.effects()[0].contains(&format!("{}^^^NHS^NH", nhs_number(1))));
    assert_eq!(running.stop().await, 0);
}
