//! What can be written on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::arguments_deliveries::{DestCommand, HeldDiscard, HeldEdit, Replay};
use super::arguments_hubs::{DirectoriesCommand, HubCommand, JobsCommand, ReconcileCommand};
pub use super::arguments_tables::*;
use super::identity::{ChildCommand, IdentityCommand};
use crate::observe::LogFormat;

mod due;
mod listen;
pub use due::*;
pub use listen::Listen;

/// Carries HL7 v2 and FHIR messages from hospitals, laboratories and the Spine to the child health hubs.
#[derive(Debug, Parser)]
#[command(name = "chis-broker", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the broker: the daemon
    Run(Run),
    /// Sends every sample through a whole broker in a temporary folder and says what became of each
    Demo(Demo),
    /// Checks the whole configuration and names every mistake; opens no connection
    Check(Check),
    /// About the configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Sends messages and prints each answer
    Send(Send),
    /// Takes messages and answers as it is told, well or badly: a receiver for tests
    Listen(Listen),
    /// Makes a seeded London of invented families with the truth beside it; plays it to a broker, verifies what the broker made of it
    Gen(Gen),
    /// Takes extracts of old systems into the ledger of a stopped broker, each record once, and says what was held and why
    Import(Import),
    /// Mapping files: check, test, try, show
    #[command(subcommand)]
    Map(MapCommand),
    /// Messages: list, show, trace, explain
    #[command(subcommand)]
    Msg(MsgCommand),
    /// Shows one child: the record, who said what, and its events; or seals it
    Child(Child),
    /// Who a child is, where a person must decide: list, show, link, unlink, resolve
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// What should have come and did not: what is late or near, and why
    #[command(subcommand)]
    Due(DueCommand),
    /// Hubs: what their stores hold, who is responsible for whom, movers, births
    #[command(subcommand)]
    Hub(HubCommand),
    /// Receivers: how each stands, stop one, let it go on, try its connection
    #[command(subcommand)]
    Dest(DestCommand),
    /// Sends again what was filed, as a job, and leaves out what a receiver has
    Replay(Replay),
    /// Work that goes through all children, or sends again
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Postcode and practice files
    #[command(subcommand)]
    Directories(DirectoriesCommand),
    /// What waits for a person
    #[command(subcommand)]
    Held(HeldCommand),
    /// What a sender sends that does not fit, how often, and what it should change, in plain words
    LintSender(LintSender),
    /// Code tables: list, show, the codes that none of them knows, a new row
    #[command(subcommand)]
    Table(TableCommand),
    /// Closes the account: received and owed, and whether the sums agree (exit code 1 when they do not)
    Reconcile(Reconcile),
    /// Says whether the broker is well
    Status(Status),
    /// Makes a running broker load mappings and directories anew
    Reload(Reload),
}

/// `run`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["config", "data"]).required(true).multiple(true))]
pub struct Run {
    /// The configuration file; without one the trial set-up on loopback, which needs --data
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the ledger and the hub stores
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where MLLP senders connect (without --config)
    #[arg(long, value_name = "ADDR", conflicts_with = "config")]
    pub mllp: Option<SocketAddr>,
    /// Where HTTP senders connect (without --config)
    #[arg(long, value_name = "ADDR", conflicts_with = "config")]
    pub http: Option<SocketAddr>,
    /// Where health, metrics and the reading commands are
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// How log lines look; without it text on a terminal, JSON elsewhere
    #[arg(long, value_name = "FORMAT", value_parser = log_format)]
    pub log_format: Option<LogFormat>,
}

fn log_format(word: &str) -> Result<LogFormat, String> {
    LogFormat::from_word(word).ok_or_else(|| "text or json".to_owned())
}

/// `demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// Leave the broker open until Ctrl-C
    #[arg(long)]
    pub stay: bool,
    /// JSON, one object a sample
    #[arg(long)]
    pub json: bool,
}

/// `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// The configuration file; without one what is inside the program
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say nothing where nothing is wrong
    #[arg(long)]
    pub quiet: bool,
    /// Warnings are mistakes too
    #[arg(long)]
    pub strict: bool,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Prints the defaults: the manual and the template of the configuration file
    Default,
}

/// `gen`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Gen {
    /// What to do with a city that is there
    #[command(subcommand)]
    pub command: Option<GenCommand>,
    /// The same seed makes the same city, byte for byte
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Children
    #[arg(long, value_name = "N", default_value_t = 1_200)]
    pub births: usize,
    /// Days that the city lives, from 5 January 2026
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(i64).range(1..=1_000))]
    pub days: i64,
    /// How much goes wrong on the way
    #[arg(long, value_enum, default_value_t = crate::city::Faults::Some)]
    pub faults: crate::city::Faults,
    /// The folder to write; what it holds of another city is overwritten
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `gen …`.
#[derive(Debug, Subcommand)]
pub enum GenCommand {
    /// Starts a broker and lets it live through a city: real sockets, a test clock, killed and started again if asked
    Play(GenPlay),
    /// Compares what a broker made of a city with the truth; exit 1 at any difference
    Verify(GenVerify),
}

/// `gen play`.
#[derive(Args, Debug)]
pub struct GenPlay {
    /// The folder that `gen` wrote
    #[arg(value_name = "DIR")]
    pub city: PathBuf,
    /// The broker's configuration; absent: the city's own
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A new folder for the broker's data; absent: data/ of the city
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Kill the broker (SIGKILL) so many times while it works
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub kill: usize,
    /// Draws the moments of the kills, and which source sends first
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub shuffle: u64,
    /// Features that the broker lacks: what people do with them is not done
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub without: Vec<String>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `gen verify`.
#[derive(Args, Debug)]
pub struct GenVerify {
    /// The folder that `gen` wrote
    #[arg(value_name = "DIR")]
    pub city: PathBuf,
    /// The broker's data folder; absent: data/ of the city
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The broker's configuration; absent: the city's own
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Features that the broker lacks: what hangs on them is not judged
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub without: Vec<String>,
    /// Show so many differences; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `send`.
#[derive(Args, Debug)]
pub struct Send {
    /// HL7 v2, or FHIR as XML or JSON; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// MLLP receiver of HL7 v2
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "http")]
    pub to: Option<String>,
    /// HTTP receiver of FHIR (and, without --to, of HL7 v2); the path is chosen by the message where the URL has none
    #[arg(long, value_name = "URL")]
    pub http: Option<String>,
    /// At most so many messages a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Send all files so many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub count: u32,
    /// Wait so long for each answer, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
    /// TLS to the MLLP receiver, whose certificate one of these authorities signed (PEM)
    #[arg(long, value_name = "CA_FILE", requires = "to")]
    pub tls: Option<PathBuf>,
    /// Our certificate for TLS (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["tls", "key"])]
    pub certificate: Option<PathBuf>,
    /// Our key for TLS (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// JSON, one object a message
    #[arg(long)]
    pub json: bool,
}

/// Of what an extract is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// A canonical statement a line (JSON)
    Ndjson,
    /// A row a record, read by --mapping
    Csv,
    /// HL7 v2 messages, with or without batch segments
    Hl7,
}

impl std::convert::From<ImportFormat> for crate::broker::extract::ExtractFormat {
    fn from(format: ImportFormat) -> Self {
        match format {
            ImportFormat::Ndjson => Self::Ndjson,
            ImportFormat::Csv => Self::Csv,
            ImportFormat::Hl7 => Self::Hl7,
        }
    }
}

/// `import`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("where").args(["config", "data"]).required(true))]
pub struct Import {
    /// Extracts, taken one after the other
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Whose records they are: a [[source]] of the configuration
    #[arg(long, value_name = "NAME")]
    pub source: String,
    /// What the files are made of; without it their ending says so
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<ImportFormat>,
    /// The mapping that reads the rows of a CSV
    #[arg(long, value_name = "ID")]
    pub mapping: Option<String>,
    /// The configuration file of the stopped broker
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A data folder, with the trial set-up
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// At most so many records a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Only read and map; nothing is kept, identity is not asked
    #[arg(long)]
    pub dry_run: bool,
    /// Write the report there too: JSON where the name ends so, else CSV
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `map …`.
#[derive(Debug, Subcommand)]
pub enum MapCommand {
    /// Compiles mapping files and tables and names every mistake
    Check(MapDir),
    /// Runs the tests inside the mapping files
    Test(MapDir),
    /// Reads one message and shows what it says and why
    Try(MapTry),
    /// Lists mappings and files, or shows one file
    Show(MapShow),
    /// Sends a folder of messages through a whole broker and says what became of them and of each of their fields
    Coverage(MapCoverage),
}

/// A folder of mapping files.
#[derive(Args, Debug)]
pub struct MapDir {
    /// Folder of the mapping files; without one those inside the program
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `map try`.
#[derive(Args, Debug)]
pub struct MapTry {
    /// The message; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Folder of the mapping files; without one those inside the program
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Character set where MSH-18 is empty
    #[arg(long, value_name = "NAME")]
    pub charset: Option<String>,
    /// Read it as from this source of the configuration, for files with sender = { source = "…" }
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Refuse NHS numbers of the 999 range, as a broker with a file of its own does
    #[arg(long)]
    pub no_test_numbers: bool,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// How coverage is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CoverageFormat {
    /// For a terminal
    #[default]
    Table,
    /// For a page
    Markdown,
    /// For programs
    Json,
}

/// `map coverage`.
#[derive(Args, Debug)]
pub struct MapCoverage {
    /// Folder of messages; each folder in it is a source of its own
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Folder of the mapping files; without one those inside the program
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How
    #[arg(long, value_enum, default_value_t)]
    pub format: CoverageFormat,
}

/// `lint-sender`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["paths", "source"]).required(true))]
pub struct LintSender {
    /// Files or folders of messages
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// What this source sent to the broker, out of its ledger
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// With --source: of the last so many days
    #[arg(long, value_name = "DAYS", default_value_t = 7, requires = "source", value_parser = clap::value_parser!(i64).range(1..=3650))]
    pub last: i64,
    /// Folder of the mapping files; without one those inside the program
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Character set where MSH-18 is empty
    #[arg(long, value_name = "NAME")]
    pub charset: Option<String>,
    /// Refuse NHS numbers of the 999 range, as a broker with a file of its own does
    #[arg(long)]
    pub no_test_numbers: bool,
    /// With --source: the ledger's data folder
    #[arg(long, value_name = "DIR", requires = "source")]
    pub data: Option<PathBuf>,
    /// With --source: take the data folder from this configuration file
    #[arg(long, value_name = "FILE", requires = "source", conflicts_with = "data")]
    pub config: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `map show`.
#[derive(Args, Debug)]
pub struct MapShow {
    /// A mapping's id, or a file
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Folder of the mapping files; without one those inside the program
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// Where reading commands read.
#[derive(Args, Clone, Debug, Default)]
pub struct From {
    /// Read the ledger of this data folder, live or at rest
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    pub data: Option<PathBuf>,
    /// Ask the running broker's admin door, http://127.0.0.1:9464
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Take the data folder from this configuration file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "admin"])]
    pub config: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// Whether values out of messages are shown, where no row is of a sealed record.
#[derive(Args, Clone, Debug, Default)]
pub struct Reason {
    /// Show what messages say; the reason is written down
    #[arg(long, value_name = "REASON")]
    pub reveal: Option<String>,
}

/// Whether values out of messages are shown, of a sealed record too.
#[derive(Args, Clone, Debug, Default)]
pub struct Reveal {
    /// Show what messages say; the reason is written down
    #[arg(long, value_name = "REASON")]
    pub reveal: Option<String>,
    /// Show it though the record is sealed; written down
    #[arg(long, requires = "reveal")]
    pub sealed: bool,
}

/// `msg …`.
#[derive(Debug, Subcommand)]
pub enum MsgCommand {
    /// Lists messages, newest first
    List(MsgList),
    /// Shows one message as it was received
    Show(MsgShow),
    /// What became of one message
    Trace(MsgOne),
    /// Where the values of one message came from
    Explain(MsgExplain),
    /// A document that a message brought: how large it is, and with --out its content in a file
    Document(MsgDocument),
}

/// `msg list`.
#[derive(Args, Debug)]
pub struct MsgList {
    /// Only of this source
    #[arg(long)]
    pub source: Option<String>,
    /// Only with this standing: waiting, filed, held, refused, duplicate, ignored
    #[arg(long)]
    pub standing: Option<String>,
    /// Only of this type, ADT^A28
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Only older than this message
    #[arg(long, value_name = "MSG")]
    pub before: Option<i64>,
    /// Child protection messages too; written down
    #[arg(long, requires = "reveal")]
    pub safeguarding: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reason,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// One message.
#[derive(Args, Debug)]
pub struct MsgOne {
    /// The message: its place in the journal
    #[arg(value_name = "MSG")]
    pub seq: i64,
    /// Child protection messages too; written down
    #[arg(long, requires = "reveal")]
    pub safeguarding: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `msg show`.
#[derive(Args, Debug)]
pub struct MsgShow {
    /// The message: its place in the journal
    #[arg(value_name = "MSG")]
    pub seq: i64,
    /// Show it even where it says child protection facts; written down
    #[arg(long, requires = "reveal")]
    pub safeguarding: bool,
    /// Show where a restricted child is, too; written down
    #[arg(long, requires = "reveal")]
    pub location: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `msg explain`.
#[derive(Args, Debug)]
pub struct MsgExplain {
    /// The message: its place in the journal
    #[arg(value_name = "MSG")]
    pub seq: i64,
    /// A canonical field or its beginning, child.birth; without one all
    #[arg(value_name = "FIELD", default_value = "")]
    pub field: String,
    /// Show child protection facts too; written down
    #[arg(long, requires = "reveal")]
    pub safeguarding: bool,
    /// Show where a restricted child is, too; written down
    #[arg(long, requires = "reveal")]
    pub location: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `msg document`.
#[derive(Args, Debug)]
pub struct MsgDocument {
    /// The message: its place in the journal
    #[arg(value_name = "MSG")]
    pub seq: i64,
    /// Which of its documents
    #[arg(value_name = "N", default_value_t = 1)]
    pub number: usize,
    /// Write the content to this file, which must not exist yet
    #[arg(long, value_name = "FILE", requires = "reveal")]
    pub out: Option<PathBuf>,
    /// Child protection messages too; written down
    #[arg(long, requires = "reveal")]
    pub safeguarding: bool,
    /// Show where a restricted child is, too; written down
    #[arg(long, requires = "reveal")]
    pub location: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `child`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Child {
    /// What to do with it, beside showing it.
    #[command(subcommand)]
    pub act: Option<ChildCommand>,
    /// Our id of the child
    #[arg(value_name = "ID", required_unless_present = "find")]
    pub child: Option<uuid::Uuid>,
    /// Find children by an NHS number or local identifier, read from standard input (never an argument: those are seen by others)
    #[arg(long, conflicts_with = "child")]
    pub find: bool,
    /// Show how each event was matched, and for each field who said it, where it stood in which message, by which rule, and what
    /// others said; with a FIELD (birth.weight_g, names) only that. ID comes before it
    #[arg(long, value_name = "FIELD", num_args = 0..=1, default_missing_value = "")]
    pub why: Option<String>,
    /// Show the child protection facts, which nothing else shows; written down
    #[arg(long, requires_all = ["reveal", "child"], conflicts_with = "why")]
    pub safeguarding: bool,
    /// Show where a restricted child is, too; written down
    #[arg(long, requires_all = ["reveal", "child"], conflicts_with = "safeguarding")]
    pub location: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `held …`.
#[derive(Debug, Subcommand)]
pub enum HeldCommand {
    /// Lists what waits for a person, oldest first
    List(HeldList),
    /// Shows one held message: what became of it and why
    Show(MsgOne),
    /// Files a held message anew, by a running broker and its mappings of now
    Release(HeldRelease),
    /// Takes a mended copy of a held message in its place; both stay, and each names the other
    Edit(HeldEdit),
    /// Withdraws held debts: their lanes go on without them
    Discard(HeldDiscard),
}

/// How held messages are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HeldFormat {
    /// For people
    #[default]
    Table,
    /// The sender's id of each message, a line each
    Token,
}

/// `held list`.
#[derive(Args, Debug)]
pub struct HeldList {
    /// How
    #[arg(long, value_enum, default_value_t)]
    pub format: HeldFormat,
    /// Child protection messages too; written down
    #[arg(long, requires = "reveal")]
    pub safeguarding: bool,
    /// Masked or not.
    #[command(flatten)]
    pub reveal: Reveal,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `held release`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").args(["seq", "destination"]).required(true))]
pub struct HeldRelease {
    /// The message, with --debt the debt, with --review the review
    #[arg(value_name = "SEQ", default_value_t = 0, hide_default_value = true)]
    pub seq: i64,
    /// All held debts to this destination, the oldest first
    #[arg(long, value_name = "NAME", conflicts_with_all = ["debt", "review"])]
    pub destination: Option<String>,
    /// With --destination: only those held for this cause, as `held list` names it
    #[arg(long, value_name = "CAUSE", requires = "destination")]
    pub why: Option<String>,
    /// With --destination: only show what it would do
    #[arg(long, requires = "destination")]
    pub dry_run: bool,
    /// Why it may go now; written down
    #[arg(long)]
    pub reason: String,
    /// SEQ is a held debt: it goes back into its lane
    #[arg(long)]
    pub debt: bool,
    /// SEQ is a review: somebody has looked, and parents may be told of such results again
    #[arg(long, conflicts_with = "debt")]
    pub review: bool,
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `reconcile`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Reconcile {
    /// Another account.
    #[command(subcommand)]
    pub other: Option<ReconcileCommand>,
    /// Only of this London day, 2026-01-05
    #[arg(long, value_name = "DATE")]
    pub day: Option<String>,
    /// Only of this source
    #[arg(long)]
    pub source: Option<String>,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `status`.
#[derive(Args, Debug)]
pub struct Status {
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `reload`.
#[derive(Args, Debug)]
pub struct Reload {
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}
