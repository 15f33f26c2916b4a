//! What can be written after `table`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::From;

/// `table …`.
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// Lists the tables
    List(TableList),
    /// Shows one table
    Show(TableShow),
    /// Codes that came and that no table knows, those for which most waits first
    Misses(TableMisses),
    /// Writes a new row into a table of the mappings folder, and files what waited for it
    Add(TableAdd),
    /// Files what waits for a code that was written into a table by hand
    Release(TableRelease),
}

/// Where the tables are.
#[derive(Args, Debug)]
pub struct TableDir {
    /// Folder of the mapping files; without one those inside the program
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Take the folder from this configuration file
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub config: Option<PathBuf>,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// `table list`.
#[derive(Args, Debug)]
pub struct TableList {
    /// Where.
    #[command(flatten)]
    pub at: TableDir,
}

/// `table show`.
#[derive(Args, Debug)]
pub struct TableShow {
    /// The table, sex
    pub name: String,
    /// Only this site's own rows
    #[arg(long)]
    pub site: Option<String>,
    /// Where.
    #[command(flatten)]
    pub at: TableDir,
}

/// `table misses`.
#[derive(Args, Debug)]
pub struct TableMisses {
    /// Only of this table
    #[arg(long)]
    pub table: Option<String>,
    /// Only from this source
    #[arg(long)]
    pub source: Option<String>,
    /// Where to read.
    #[command(flatten)]
    pub from: From,
}

/// `table add`.
#[derive(Args, Debug)]
pub struct TableAdd {
    /// The table, sex
    pub name: String,
    /// The sender's code, as `table misses` shows it
    pub code: String,
    /// What it means; one of the meanings that the table has
    pub to: String,
    /// Into the table of this site alone: the name of its folder below sites/
    #[arg(long)]
    pub site: Option<String>,
    /// The row is meant for every sender: no warning that --site is not there
    #[arg(long, conflicts_with = "site")]
    pub all_senders: bool,
    /// The code in words
    #[arg(long, value_name = "TEXT")]
    pub display: Option<String>,
    /// A further column of the table, substatus=0304; may be given again
    #[arg(long, value_name = "COLUMN=CELL", value_parser = column)]
    pub set: Vec<(String, String)>,
    /// Why it means that; written down
    #[arg(long)]
    pub reason: String,
    /// The running broker's admin door; without it the one of the configuration, or http://127.0.0.1:9464
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Where.
    #[command(flatten)]
    pub at: TableDir,
}

fn column(text: &str) -> Result<(String, String), String> {
    let (column, cell) = text.split_once('=').ok_or_else(|| "write COLUMN=CELL".to_owned())?;
    Ok((column.to_owned(), cell.to_owned()))
}

/// `table release`.
#[derive(Args, Debug)]
pub struct TableRelease {
    /// The table, sex
    pub name: String,
    /// The sender's code
    pub code: String,
    /// Why what waited may go now; written down
    #[arg(long)]
    pub reason: String,
    /// The running broker's admin door
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9464")]
    pub admin: String,
    /// JSON
    #[arg(long)]
    pub json: bool,
}
