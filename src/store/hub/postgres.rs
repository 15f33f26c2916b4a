//! A hub's store on a PostgreSQL server (15 or later).
//!
//! # Invariants
//!
//! - Only one process writes a store: the writer holds an advisory lock of the session, which the server gives up with the connection.
//! - Beyond this machine everything goes through TLS, and the server's certificate is checked against the named authorities.
//! - The password comes out of a file and stands in no settings, log or error.
//! - Writes of a transaction are sent without waiting for each other's answers; they are done in the order in which they were made.
//! - A commit is durable before it is answered, also where the server's default says otherwise.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::{MaybeDone, maybe_done};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, WrongType, to_sql_checked};
use tokio_postgres::{Client, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::StoreError;
use super::db::{Db, Row, Val};

/// A store on a PostgreSQL server, as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresAt {
    /// `host=db.example dbname=hub_ne user=chis`; without a password.
    pub connection: String,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// PEM of the authorities that may sign the server's certificate.
    pub ca_file: Option<PathBuf>,
}

/// A connection that cannot be made in this time is tried again later.
const CONNECT: Duration = Duration::from_secs(10);
/// A server that acknowledges nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Writes sent ahead of their answers.
const AHEAD: usize = 512;
/// The first half of the key of the writer's lock; the second is the schema.
const LOCK: i32 = 0x6368_6973;

impl PostgresAt {
    /// What is wrong with it, and what would help; each names its setting first, in backquotes.
    pub fn check(&self) -> Vec<String> {
        let config = self.connection.parse::<tokio_postgres::Config>();
        let has_password = match &config {
            Ok(config) => config.get_password().is_some(),
            Err(_) => self.connection.contains("password"),
        };
        if has_password {
            // The line of the key that a problem names first is shown below it: as long as the password stands there, no problem names that one.
            return vec![
                "`password_file` must hold the password, which stands in `postgres`; move it into a file and name that here".to_owned(),
            ];
        }
        let Ok(config) = config else {
            return vec!["`postgres` is not a connection; write `host=HOST dbname=NAME user=USER`".to_owned()];
        };
        let mut problems = Vec::new();
        if config.get_hosts().is_empty() {
            problems.push("`postgres` names no host; write `host=/run/postgresql` for a server on this machine".to_owned());
        }
        if config.get_dbname().is_none() || config.get_user().is_none() {
            problems.push("`postgres` needs a database and a user; add `dbname=` and `user=`".to_owned());
        }
        let is_far = !is_near(&config);
        if is_far && self.ca_file.is_none() {
            problems.push("`ca_file` is missing; name a PEM file of the authorities that sign the server's certificate".to_owned());
        }
        if is_far && config.get_ssl_mode() == SslMode::Disable {
            problems.push("`postgres` must not switch TLS off for another machine; leave `sslmode` out".to_owned());
        }
        problems
    }

    /// Host and database, for errors and listings.
    pub fn name(&self) -> String {
        let Ok(config) = self.connection.parse::<tokio_postgres::Config>() else { return "postgres".to_owned() };
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        let hosts: Vec<String> =
            config.get_hosts().iter().map(host).chain(config.get_hostaddrs().iter().map(ToString::to_string)).collect();
        let ports: Vec<String> = config.get_ports().iter().map(ToString::to_string).collect();
        let parts = [("host", hosts.join(",")), ("port", ports.join(",")), ("dbname", config.get_dbname().unwrap_or_default().to_owned())];
        let said = parts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| format!(" {key}={value}"));
        format!("postgres{}", said.collect::<String>())
    }

    fn config(&self) -> Result<tokio_postgres::Config, StoreError> {
        if let Some(problem) = self.check().into_iter().next() {
            return Err(StoreError { text: format!("{}: {problem}", self.name()), exit: 78 });
        }
        let unread = |_| StoreError { text: format!("{}: it is not a connection", self.name()), exit: 78 };
        let mut config: tokio_postgres::Config = self.connection.parse().map_err(unread)?;
        if let Some(file) = &self.password_file {
            let password = std::fs::read_to_string(file)
                .map_err(|error| StoreError { text: format!("the password file {} cannot be read: {error}", file.display()), exit: 77 })?;
            config.password(password.trim_end_matches(['\r', '\n']));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.tcp_user_timeout(SILENCE);
        config.keepalives_idle(SILENCE);
        if config.get_application_name().is_none() {
            config.application_name("chis-broker");
        }
        config.ssl_mode(if self.ca_file.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(config)
    }
}

/// True where every host is this machine.
fn is_near(config: &tokio_postgres::Config) -> bool {
    let is_loopback = |name: &str| name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let near = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => is_loopback(name),
    };
    config.get_hosts().iter().all(near) && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

fn tls(ca_file: &Path) -> Result<MakeRustlsConnect, StoreError> {
    let refused = |why: String| StoreError { text: format!("the authorities in {} cannot be used: {why}", ca_file.display()), exit: 78 };
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca_file).map_err(|error| refused(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("there is none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| refused(error.to_string()))?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// An open connection.
pub(super) struct Postgres {
    client: Client,
    statements: HashMap<String, Statement>,
    /// Written and not sent.
    queued: Vec<(Statement, Vec<Val>)>,
    name: String,
    /// Drives the connection while something is waited for. Dropped last.
    runtime: Runtime,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres({})", self.name)
    }
}

impl Postgres {
    /// Connects. Not to be called in a task of a runtime: it waits.
    pub(super) fn open(at: &PostgresAt, writes: bool) -> Result<Self, StoreError> {
        let config = at.config()?;
        let name = at.name();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StoreError { text: format!("{name}: {error}"), exit: 71 })?;
        let failed = |error: tokio_postgres::Error| told(&name, &error);
        let connector = at.ca_file.as_deref().map(tls).transpose()?;
        let connected = runtime.block_on(async {
            let connect = async {
                match connector {
                    Some(connector) => {
                        let (client, connection) = config.connect(connector).await.map_err(failed)?;
                        tokio::spawn(connection);
                        Ok(client)
                    }
                    None => {
                        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
                        tokio::spawn(connection);
                        Ok(client)
                    }
                }
            };
            // The driver's own limit is for the socket alone, not for a server that takes it and says nothing.
            tokio::time::timeout(CONNECT, connect).await
        });
        let client =
            connected.unwrap_or_else(|_| Err(StoreError { text: format!("{name}: the server did not answer in time"), exit: 74 }))?;
        let mut opened = Self { client, statements: HashMap::new(), queued: Vec::new(), name, runtime };
        opened.script(
            // The server notices in a minute that this machine lost its power, and lets go of the writer's lock.
            "SET synchronous_commit = on; SET client_encoding = 'UTF8'; SET lock_timeout = '10s'; SET standard_conforming_strings = on;
             SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 30000",
        )?;
        if writes {
            let sql = format!("SELECT CAST(pg_try_advisory_lock({LOCK}, hashtext(current_schema())) AS TEXT)");
            if opened.rows(&sql, &[])?.first().is_none_or(|row| row.text(0) != "true") {
                let text = format!("{} is written by another broker: a store has one writer; stop the other", opened.name);
                return Err(StoreError { text, exit: 75 });
            }
        } else {
            opened.script("SET default_transaction_read_only = on")?;
        }
        Ok(opened)
    }

    fn prepared(&mut self, sql: &str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let written = dollars(sql);
        let statement = self.runtime.block_on(self.client.prepare(&written)).map_err(|error| told(&self.name, &error))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Sends what is queued, in order, and takes the answers.
    fn flush(&mut self) -> Result<(), StoreError> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let queued = std::mem::take(&mut self.queued);
        let client = &self.client;
        let write = |(statement, values): (Statement, Vec<Val>)| async move { client.execute_raw(&statement, values).await };
        let all = async move {
            let mut flights: Vec<Pin<Box<MaybeDone<_>>>> = queued.into_iter().map(|one| Box::pin(maybe_done(write(one)))).collect();
            // The first look at a flight sends it.
            poll_fn(|context| {
                for flight in &mut flights {
                    let _sent = flight.as_mut().poll(context);
                }
                Poll::Ready(())
            })
            .await;
            for flight in &mut flights {
                flight.as_mut().await;
            }
            flights.iter_mut().filter_map(|flight| flight.as_mut().take_output()).find_map(Result::err)
        };
        match self.runtime.block_on(all) {
            None => Ok(()),
            Some(error) => Err(told(&self.name, &error)),
        }
    }
}

/// `?12` becomes `$12`.
fn dollars(sql: &str) -> String {
    sql.replace('?', "$")
}

/// What an error means for whoever waits. What the server says of values is left out: it may quote a child's.
fn told(name: &str, error: &tokio_postgres::Error) -> StoreError {
    let (what, exit) = match error.as_db_error() {
        None if error.is_closed() => ("the connection was lost".to_owned(), 74),
        None if std::error::Error::source(error).is_some_and(|cause| cause.is::<WrongType>()) => {
            ("a value does not fit the statement; this is a fault of the program, report it".to_owned(), 70)
        }
        None => ("the server cannot be reached, or the connection was lost".to_owned(), 74),
        Some(refused) => {
            let code = refused.code();
            let what = match code {
                c if *c == SqlState::INVALID_PASSWORD || *c == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                    "the server refuses the user or the password: check `postgres` and `password_file`"
                }
                c if *c == SqlState::INVALID_CATALOG_NAME => "there is no such database: make it, or correct `dbname`",
                c if *c == SqlState::INSUFFICIENT_PRIVILEGE => "the user may not do this: give it the rights to create and write tables",
                c if *c == SqlState::DISK_FULL => "the server's disk is full",
                c if *c == SqlState::ADMIN_SHUTDOWN || *c == SqlState::CRASH_SHUTDOWN || *c == SqlState::CANNOT_CONNECT_NOW => {
                    "the server stops or starts"
                }
                _ => "the server refused a statement",
            };
            (format!("{what} (SQLSTATE {})", code.code()), if *code == SqlState::INSUFFICIENT_PRIVILEGE { 77 } else { 74 })
        }
    };
    StoreError { text: format!("{name}: {what}"), exit }
}

impl ToSql for Val {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => number.to_sql(of, out),
            // A text of PostgreSQL cannot hold the zero character.
            Self::Text(text) if text.contains('\0') => text.replace('\0', "\u{FFFD}").to_sql(of, out),
            Self::Text(text) => text.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        [Type::TEXT, Type::VARCHAR, Type::INT8].contains(of)
    }

    to_sql_checked!();
}

fn value(row: &tokio_postgres::Row, column: usize) -> Result<Val, tokio_postgres::Error> {
    let of = row.columns().get(column).map_or(Type::TEXT, |column| column.type_().clone());
    Ok(match of {
        Type::INT8 => row.try_get::<_, Option<i64>>(column)?.into(),
        Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(i64::from).into(),
        Type::BOOL => row.try_get::<_, Option<bool>>(column)?.into(),
        _ => row.try_get::<_, Option<String>>(column)?.into(),
    })
}

impl Db for Postgres {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn script(&mut self, sql: &str) -> Result<(), StoreError> {
        self.flush()?;
        self.runtime.block_on(self.client.batch_execute(sql)).map_err(|error| told(&self.name, &error))
    }

    fn run(&mut self, sql: &'static str, values: Vec<Val>) -> Result<(), StoreError> {
        let statement = self.prepared(sql)?;
        self.queued.push((statement, values));
        if AHEAD <= self.queued.len() { self.flush() } else { Ok(()) }
    }

    fn rows(&mut self, sql: &str, values: &[Val]) -> Result<Vec<Row>, StoreError> {
        self.flush()?;
        let statement = self.prepared(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let read = self.runtime.block_on(self.client.query(&statement, &values)).and_then(|rows| {
            let row = |row: &tokio_postgres::Row| (0..row.len()).map(|column| value(row, column)).collect::<Result<Vec<_>, _>>().map(Row);
            rows.iter().map(row).collect::<Result<Vec<_>, _>>()
        });
        read.map_err(|error| told(&self.name, &error))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.script("BEGIN READ WRITE")
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.script("COMMIT")
    }

    fn rollback(&mut self) {
        self.queued.clear();
        let _undone = self.script("ROLLBACK");
    }

    fn tables(&self, sql: &str) -> String {
        // Order and comparison of texts are by bytes, as in SQLite, whatever the database's language is.
        sql.replace(" INTEGER", " BIGINT").replace(" TEXT", " TEXT COLLATE \"C\"").replace(" STRICT", "")
    }

    fn has(&mut self, table: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 WHERE to_regclass(?1) IS NOT NULL";
        self.rows(sql, &[table.into()]).map(|rows| !rows.is_empty())
    }

    fn tidy(&mut self, _events: usize) -> Result<(), StoreError> {
        Ok(())
    }
}
