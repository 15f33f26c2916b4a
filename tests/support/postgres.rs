//! A PostgreSQL server of this process's own: a temporary folder, a socket in it, stopped when the last test lets go of it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

const USER: &str = "chis";

/// A running server.
pub struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    /// Whom the server runs as, where we are root: it refuses to be root.
    runs_as: Option<(u32, u32)>,
    /// Arguments of the server beside the socket.
    settings: String,
    /// The port, in the socket's name too.
    port: u16,
}

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static SERIAL: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// The server that the tests of this process share.
pub fn shared() -> Arc<Cluster> {
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(cluster) = shared.upgrade() {
        return cluster;
    }
    let cluster = Arc::new(Cluster::make("-c listen_addresses=''"));
    cluster.start();
    *shared = Arc::downgrade(&cluster);
    cluster
}

impl Cluster {
    /// Makes a cluster and leaves it stopped. Whoever comes by its socket is trusted; by TCP a password is asked for.
    pub fn make(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs_as = is_root(folder.path()).then(|| user_of("postgres").or_else(|| user_of("nobody")).expect("a user that is not root"));
        if let Some((user, group)) = runs_as {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("the folder is ours");
        }
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a free port").port();
        let cluster = Self { folder, programs: programs(), runs_as, settings: settings.to_owned(), port };
        let data = cluster.data();
        let auth = ["--auth-local=trust", "--auth-host=scram-sha-256"];
        cluster.run("initdb", &["-D", data.to_str().unwrap(), "-U", USER, "-N", "-E", "UTF8", "--locale=C", auth[0], auth[1]]);
        cluster
    }

    /// The folder of the server, for files that it must read.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Puts a file into the server's folder, readable for the server alone.
    pub fn put(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.folder.path().join(name);
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a file of ours");
        if let Some((user, group)) = self.runs_as {
            std::os::unix::fs::chown(&path, Some(user), Some(group)).expect("the file is ours");
        }
        path
    }

    /// The port on 127.0.0.1, where `settings` let it listen there.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it; comes back when it takes connections.
    pub fn start(&self) {
        let socket = self.folder.path().display().to_string();
        let (log, data) = (self.folder.path().join("log"), self.data());
        let settings = format!("-k {socket} -p {} -c max_connections=60 {}", self.port, self.settings);
        let arguments = ["-D", data.to_str().unwrap(), "-w", "-t", "60", "-l", log.to_str().unwrap(), "-o", &settings, "start"];
        self.run("pg_ctl", &arguments);
    }

    /// Ends it at once, as a power cut would.
    pub fn crash(&self) {
        let data = self.data();
        self.run("pg_ctl", &["-D", data.to_str().unwrap(), "-w", "-m", "immediate", "stop"]);
    }

    /// Makes a database; gives the words of a connection to it.
    pub fn database(&self) -> String {
        let name = format!("hub_{}", SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let socket = self.folder.path().to_str().unwrap();
        self.run("createdb", &["-h", socket, "-p", &self.port.to_string(), "-U", USER, &name]);
        format!("host={socket} port={} dbname={name} user={USER}", self.port)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments).current_dir(self.folder.path()).env_remove("PGHOST").env_remove("PGPORT").env("LC_ALL", "C");
        if let Some((user, group)) = self.runs_as {
            command.uid(user).gid(group);
        }
        // Not by pipes: the server would keep them open.
        let said = self.folder.path().join(format!("{program}.out"));
        let out = std::fs::File::create(&said).expect("a file of ours");
        command.stdout(out.try_clone().expect("a file of ours")).stderr(out);
        let status = command.status().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        assert!(status.success(), "{program} {arguments:?}: {status}\n{}", std::fs::read_to_string(said).unwrap_or_default());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.data();
        let mut command = Command::new(self.programs.join("pg_ctl"));
        command.args(["-D", data.to_str().unwrap_or_default(), "-w", "-m", "immediate", "stop"]).current_dir("/");
        if let Some((user, group)) = self.runs_as {
            command.uid(user).gid(group);
        }
        let _stopped = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status();
    }
}

fn is_root(ours: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(ours).is_ok_and(|made| made.uid() == 0)
}

/// Number and group of a user.
fn user_of(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The newest server's programs as Debian lays them, else those on the path.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .collect();
    found.sort();
    let on_path = || std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).find(|folder| folder.join("initdb").is_file());
    found.pop().map(|(_, bin)| bin).or_else(on_path).expect("PostgreSQL is missing: apt-get install postgresql (tests/all does it)")
}
