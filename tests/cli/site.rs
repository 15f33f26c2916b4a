//! A site of its own: mapping files that may be changed, a configuration, a broker over both.

use std::path::{Path, PathBuf};

use crate::folders::copy;
use crate::{Broker, ran};

/// The shipped mappings and samples in a temporary folder, with a configuration beside them.
pub struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["mappings", "samples"] {
            copy(&home.join(part), &folder.path().join(part));
        }
        let config = "allow_test_numbers = true\n[store]\ndata = \"data\"\n[mappings]\ndir = \"mappings\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
            [log]\nformat = \"json\"\nlevel = \"trace\"\n[[intake.mllp]]\nlisten = \"127.0.0.1:0\"\nprocessing_ids = [\"P\", \"T\", \"D\"]\n\
            [[intake.http]]\nlisten = \"127.0.0.1:0\"\n[[source]]\nname = \"loopback\"\npeers = [\"127.0.0.1\"]\naccepts = [\"*\"]\nrank = \"maternity\"\n\
            [[destination]]\nname = \"hub-se\"\nkind = \"store\"\nhub = \"SE\"\n";
        std::fs::write(folder.path().join("chis-broker.toml"), config).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text.
    pub fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn broker(&self) -> Broker {
        Broker::start_as(&["--config", &self.at("chis-broker.toml")])
    }

    /// Writes a message to a file and gives its path.
    pub fn message(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.at(name)
    }

    /// Sends messages and waits until nothing waits.
    pub fn send(&self, broker: &Broker, files: &[&str]) {
        let (code, answers) = ran(&[&["send"], files, &["--to", &broker.mllp]].concat());
        assert_eq!((code, answers.lines().filter(|line| line.starts_with("AA")).count()), (Some(0), files.len()), "{answers}");
        crate::settled(broker);
    }
}
