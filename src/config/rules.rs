//! What types cannot say about the settings: names, addresses, files, bounds. Each rule names the place and the remedy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Settings;
use super::layers::{FRAME_BYTES_CEILING, Origins, frame_bytes_max};
use super::walk::Told;
use crate::clock::TestClock;
use crate::destinations::{self, Kind};
use crate::intake::{SourceConfig, TlsConfig};
use crate::mapping::Diagnostic;
use crate::store::StoreAt;

/// Judges the merged settings.
pub fn judge(settings: &Settings, origins: &Origins<'_, '_>) -> Vec<Diagnostic> {
    let mut judge = Judge { origins, found: Vec::new() };
    judge.names(settings);
    judge.addresses(settings);
    judge.listeners(settings);
    judge.sources(settings);
    judge.drops(settings);
    judge.destinations(settings);
    judge.hub_doors(settings);
    judge.folders(settings);
    judge.test_clock(settings);
    judge.found
}

struct Judge<'o, 'l, 't> {
    origins: &'o Origins<'l, 't>,
    found: Vec<Diagnostic>,
}

impl Judge<'_, '_, '_> {
    fn error(&mut self, code: &'static str, path: &str, message: String, label: &'static str, help: &str) {
        let told = Told { code, span: 0..0, message, label, help: Some(help.to_owned()) };
        self.found.extend(self.origins.at(path, false, told));
    }

    fn warning(&mut self, code: &'static str, path: &str, message: String, label: &'static str, help: &str) {
        let told = Told { code, span: 0..0, message, label, help: Some(help.to_owned()) };
        self.found.extend(self.origins.at(path, false, told).map(|diagnostic| Diagnostic { is_error: false, ..diagnostic }));
    }

    fn names(&mut self, settings: &Settings) {
        let sources = settings.sources.iter().enumerate().map(|(index, source)| (format!("source[{index}].name"), source.name.as_str()));
        self.named("source", sources);
        let destinations = settings.destinations.iter().enumerate();
        self.named("destination", destinations.map(|(index, one)| (format!("destination[{index}].name"), one.name.as_str())));
        let mut readers = Vec::new();
        for (door, one) in settings.hub_doors.iter().enumerate() {
            let named = one.readers.iter().enumerate();
            readers.extend(named.map(|(index, reader)| (format!("hub_door[{door}].reader[{index}].name"), reader.name.as_str())));
        }
        self.named("reader", readers.into_iter());
        let is_kept = |name: &str| name == "unknown" || crate::store::OWN_SOURCES.contains(&name);
        for (index, source) in settings.sources.iter().enumerate().filter(|(_, source)| is_kept(&source.name)) {
            let whom = if source.name == "unknown" { "senders that no source fits" } else { "what the broker itself writes" };
            self.error(
                "C005",
                &format!("source[{index}].name"),
                format!("the name \"{}\" is kept for {whom}", source.name),
                "reserved",
                "give it another name",
            );
        }
    }

    /// Each of a kind has a name of its own, in lower-case kebab. `names`: where it stands, and the name.
    fn named<'n>(&mut self, what: &str, names: impl Iterator<Item = (String, &'n str)>) {
        let mut first: BTreeMap<&str, String> = BTreeMap::new();
        for (path, name) in names {
            if !is_kebab(name) {
                let help = format!("write it like \"{}\"", as_kebab(name));
                let message = format!("a {what}'s name has lower-case letters, digits and hyphens only");
                self.error("C005", &path, message, "not such a name", &help);
            }
            if let Some(earlier) = first.get(name) {
                let place = self.origins.name_of(earlier);
                let help = format!("the first is at {place}; give this one another name");
                self.error("C006", &path, format!("two {what}s are called \"{name}\""), "said before", &help);
            }
            first.entry(name).or_insert(path);
        }
    }

    fn addresses(&mut self, settings: &Settings) {
        let mut places: Vec<(String, SocketAddr)> = Vec::new();
        places.extend(settings.intake.mllp.iter().enumerate().map(|(index, one)| (format!("intake.mllp[{index}].listen"), one.listen)));
        places.extend(settings.intake.http.iter().enumerate().map(|(index, one)| (format!("intake.http[{index}].listen"), one.listen)));
        places.extend(settings.hub_doors.iter().enumerate().map(|(index, one)| (format!("hub_door[{index}].listen"), one.listen)));
        places.push(("admin.listen".to_owned(), settings.admin.listen));
        for (number, (path, address)) in places.iter().enumerate() {
            let Some((earlier, other)) = places.iter().take(number).find(|(_, other)| collide(*address, *other)) else { continue };
            let place = self.origins.name_of(earlier);
            self.error(
                "C007",
                path,
                format!("port {} is taken twice", address.port()),
                "taken before",
                &format!("{place} listens on {other}; choose another port"),
            );
        }
        if !settings.admin.listen.ip().is_loopback() {
            let help = "listen on 127.0.0.1 and let a proxy on this machine, or ssh, bring people to it";
            self.error(
                "C008",
                "admin.listen",
                "the admin door opens on loopback only: whoever reaches it is believed".to_owned(),
                "reachable from elsewhere",
                help,
            );
        }
    }

    fn listeners(&mut self, settings: &Settings) {
        if settings.intake.mllp.is_empty() && settings.intake.http.is_empty() && settings.intake.drop.is_empty() {
            self.warning(
                "C014",
                "intake",
                "no listener: nothing can be received".to_owned(),
                "",
                "add [[intake.mllp]] or [[intake.http]] with `listen = …`",
            );
        }
        for (index, listener) in settings.intake.mllp.iter().enumerate() {
            let path = format!("intake.mllp[{index}]");
            if listener.tls.is_none() && !listener.listen.ip().is_loopback() && listener.plain_peers.is_empty() {
                let help = "add [intake.mllp.tls], or name the addresses that may come without it: plain_peers = [\"10.1.2.3\"]";
                self.error(
                    "C008",
                    &format!("{path}.listen"),
                    "MLLP without TLS is for loopback: anyone could read it".to_owned(),
                    "reachable from elsewhere, not encrypted",
                    help,
                );
            }
            if listener.tls.is_some() && !listener.plain_peers.is_empty() {
                let help = "give those peers a listener of their own, without tls";
                let message = "a listener with TLS names peers that come without it".to_owned();
                self.error("C008", &format!("{path}.plain_peers"), message, "they could not connect", help);
            }
            self.bytes(&format!("{path}.frame_bytes_max"), listener.frame_bytes_max);
            if listener.frame_seconds_max == 0 {
                self.error(
                    "C010",
                    &format!("{path}.frame_seconds_max"),
                    "a frame needs at least one second".to_owned(),
                    "too short",
                    "30 suits most",
                );
            }
            self.processing_ids(&path, &listener.processing_ids);
            self.tls(&path, listener.tls.as_ref());
        }
        for (index, listener) in settings.intake.http.iter().enumerate() {
            let path = format!("intake.http[{index}]");
            if listener.tls.is_none() && !listener.listen.ip().is_loopback() {
                let message = "HTTP without TLS is for loopback: anyone could read it".to_owned();
                self.error(
                    "C008",
                    &format!("{path}.listen"),
                    message,
                    "reachable from elsewhere, not encrypted",
                    "add [intake.http.tls], or listen on 127.0.0.1 behind a proxy",
                );
            }
            self.bytes(&format!("{path}.body_bytes_max"), listener.body_bytes_max);
            self.processing_ids(&path, &listener.processing_ids);
            self.tls(&path, listener.tls.as_ref());
        }
        for (name, bound) in
            [("connections_max", settings.intake.connections_max), ("connections_per_peer_max", settings.intake.connections_per_peer_max)]
        {
            if bound == 0 {
                self.error(
                    "C010",
                    &format!("intake.{name}"),
                    format!("with `{name}` 0 nobody can connect"),
                    "too small",
                    "leave it out for the default",
                );
            }
        }
    }

    fn bytes(&mut self, path: &str, bytes: usize) {
        if !(1..=FRAME_BYTES_CEILING).contains(&bytes) {
            self.error(
                "C010",
                path,
                format!("a message has 1 to {FRAME_BYTES_CEILING} bytes"),
                "out of bounds",
                "8388608 (8 MiB) suits most",
            );
        }
    }

    fn processing_ids(&mut self, path: &str, ids: &[String]) {
        for (index, id) in ids.iter().enumerate().filter(|(_, id)| !["P", "T", "D"].contains(&id.as_str())) {
            let message = format!("\"{id}\" is no processing id of MSH-11");
            self.error(
                "C010",
                &format!("{path}.processing_ids[{index}]"),
                message,
                "not P, T or D",
                "P is production, T training, D debugging",
            );
        }
        if ids.is_empty() {
            self.error(
                "C010",
                &format!("{path}.processing_ids"),
                "with no processing id every message is refused".to_owned(),
                "empty",
                "[\"P\"] takes production messages",
            );
        }
    }

    fn tls(&mut self, path: &str, tls: Option<&TlsConfig>) {
        let Some(tls) = tls else { return };
        let path = format!("{path}.tls");
        let has_certificate = self.pem(&format!("{path}.certificate_file"), &tls.certificate_file, "a certificate chain");
        let has_key = self.pem(&format!("{path}.key_file"), &tls.key_file, "a private key");
        if let (true, true, Err(what)) = (has_certificate, has_key, pair(&tls.certificate_file, &tls.key_file)) {
            let message = format!("the certificate and the key cannot be used together: {what}");
            self.error("C009", &format!("{path}.key_file"), message, "this key", "put the key beside it that the certificate was made for");
        }
        if let Some(ca) = &tls.client_ca_file {
            self.pem(&format!("{path}.client_ca_file"), ca, "the senders' authorities");
            if tls.crl_files.is_empty() && tls.revocation.is_none() {
                let message = "a stolen certificate could not be locked out".to_owned();
                let help = "name the revocation lists, crl_files = [\"…\"], or say on purpose that there are none: revocation = \"none\"";
                self.error("C011", &format!("{path}.client_ca_file"), message, "nothing says which certificates are revoked", help);
            }
        }
        for (index, list) in tls.crl_files.iter().enumerate() {
            self.pem(&format!("{path}.crl_files[{index}]"), list, "a revocation list");
        }
        if let Some(word) = tls.revocation.as_deref().filter(|word| *word != "none") {
            self.error(
                "C003",
                &format!("{path}.revocation"),
                format!("`revocation` cannot be \"{word}\""),
                "not the word",
                "\"none\" is the only word; or leave it out and name crl_files",
            );
        }
    }

    /// True where the file is there, can be read, and looks like PEM.
    fn pem(&mut self, path: &str, file: &Path, what: &str) -> bool {
        let before = self.found.len();
        match std::fs::read(file) {
            Err(error) => self.error(
                "C009",
                path,
                format!("{} cannot be read: {error}", file.display()),
                "this file",
                &format!("put {what} there as PEM, or correct the path"),
            ),
            Ok(bytes) if !bytes.windows(PEM.len()).any(|window| window == PEM) => {
                self.error(
                    "C009",
                    path,
                    format!("{} is not PEM", file.display()),
                    "this file",
                    &format!("it should hold {what} between BEGIN and END lines"),
                );
            }
            Ok(_) => {}
        }
        self.found.len() == before
    }

    fn sources(&mut self, settings: &Settings) {
        if settings.sources.is_empty() && !(settings.intake.mllp.is_empty() && settings.intake.http.is_empty()) {
            self.warning("C014", "source", "no source: every message is refused".to_owned(), "", "add a [[source]] for each sender");
        }
        let frame_bytes_max = frame_bytes_max(&settings.intake.mllp);
        for (index, source) in settings.sources.iter().enumerate() {
            let path = format!("source[{index}]");
            let has_folder = settings.intake.drop.iter().any(|drop| drop.source == source.name);
            if source.certificates.is_empty() && source.peers.is_empty() && !has_folder && !source.import {
                let help = "add certificates = [\"urn:nhs:ods:…\"], or peers = [\"…\"] for a plain listener; or say import = true";
                self.error("C012", &path, "nobody can be known as this source".to_owned(), "neither certificates nor peers", help);
            }
            if source.frame_bytes_max.is_some_and(|bytes| bytes == 0 || frame_bytes_max < bytes) {
                let message = format!("a source's messages have 1 to {frame_bytes_max} bytes, as its listener says");
                self.error(
                    "C010",
                    &format!("{path}.frame_bytes_max"),
                    message,
                    "out of bounds",
                    "make it smaller, or the listener's larger",
                );
            }
            self.patterns(&path, source);
            self.twins(settings, index, source);
        }
    }

    fn drops(&mut self, settings: &Settings) {
        for (index, drop) in settings.intake.drop.iter().enumerate() {
            let path = format!("intake.drop[{index}]");
            let earlier = settings.intake.drop.iter().take(index).position(|other| other.folder == drop.folder);
            if let Some(earlier) = earlier {
                let place = self.origins.name_of(&format!("intake.drop[{earlier}].folder"));
                let message = format!("two drop folders are {}", drop.folder.display());
                self.error(
                    "C006",
                    &format!("{path}.folder"),
                    message,
                    "said before",
                    &format!("the first is at {place}; one source, one folder"),
                );
            }
            if !drop.folder.is_dir() {
                let help = "make it, give it to the broker's user, and under systemd name it in ReadWritePaths=";
                let message = format!("{} is no folder that can be read", drop.folder.display());
                self.error("C009", &format!("{path}.folder"), message, "this folder", help);
            }
            match settings.sources.iter().find(|source| source.name == drop.source) {
                None => {
                    let known = settings.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
                    let message = format!("no source is called \"{}\"", drop.source);
                    self.error("C015", &format!("{path}.source"), message, "no such source", &format!("there are: {known}"));
                }
                Some(source) if drop.charset.is_some() && source.charset.is_some() && drop.charset != source.charset => {
                    let help = "say it once, at the source";
                    let message = "the folder and its source name different character sets".to_owned();
                    self.error("C006", &format!("{path}.charset"), message, "which of the two?", help);
                }
                Some(_) => {}
            }
            self.bytes(&format!("{path}.message_bytes_max"), drop.message_bytes_max);
            if drop.poll_seconds == 0 || drop.file_bytes_max == 0 {
                let message = "a drop folder is looked at every second at most, and its files have at least one byte".to_owned();
                self.error("C010", &path, message, "out of bounds", "leave poll_seconds and file_bytes_max out, or make them larger");
            }
            self.processing_ids(&path, &drop.processing_ids);
        }
    }

    fn patterns(&mut self, path: &str, source: &SourceConfig) {
        for (key, patterns) in [("accepts", &source.accepts), ("ignores", &source.ignores)] {
            for (index, pattern) in patterns.iter().enumerate().filter(|(_, pattern)| !is_pattern(pattern)) {
                let message = format!("\"{pattern}\" is no message type");
                self.error(
                    "C013",
                    &format!("{path}.{key}[{index}]"),
                    message,
                    "not a type",
                    "write \"ADT^A28\", \"ADT^*\", \"*\", or a FHIR event code",
                );
            }
        }
        for (index, sender) in source.senders.iter().enumerate().filter(|(_, sender)| !is_sender(sender)) {
            let message = format!("\"{sender}\" does not name a sender");
            self.error(
                "C013",
                &format!("{path}.senders[{index}]"),
                message,
                "not MSH-3|MSH-4",
                "write MSH-3, a bar, MSH-4: \"MATERNITY|RJ1\"",
            );
        }
    }

    /// Two sources that the same message fits: which of them would it be?
    fn twins(&mut self, settings: &Settings, index: usize, source: &SourceConfig) {
        for (earlier, other) in settings.sources.iter().enumerate().take(index) {
            let senders_meet =
                source.senders.is_empty() || other.senders.is_empty() || source.senders.iter().any(|sender| other.senders.contains(sender));
            let place = self.origins.name_of(&format!("source[{earlier}]"));
            let help = format!("source \"{}\" at {place} has it too: tell them apart by `senders`, or take it away from one", other.name);
            for (key, own, others) in [
                ("certificates", texts(&source.certificates), texts(&other.certificates)),
                ("peers", texts(&source.peers), texts(&other.peers)),
            ] {
                for (at, value) in own.iter().enumerate().filter(|(_, value)| senders_meet && others.contains(value)) {
                    let message = format!("\"{value}\" stands for two sources");
                    self.error("C006", &format!("source[{index}].{key}[{at}]"), message, "which of the two?", &help);
                }
            }
        }
    }

    fn destinations(&mut self, settings: &Settings) {
        if settings.destinations.is_empty() {
            self.warning(
                "C014",
                "destination",
                "no destination: what is filed reaches nobody".to_owned(),
                "",
                "add a [[destination]] of kind \"store\" for each hub",
            );
        }
        let mut stores: BTreeMap<String, usize> = BTreeMap::new();
        let mut folders: BTreeMap<std::path::PathBuf, usize> = BTreeMap::new();
        for (index, destination) in settings.destinations.iter().enumerate() {
            let path = format!("destination[{index}]");
            match &destination.kind {
                Kind::Store { ca_file, .. } => {
                    let Some(at) = settings.store_at(&destination.kind) else { continue };
                    let name = at.name();
                    if let Some(earlier) = stores.get(&name) {
                        let place = self.origins.name_of(&format!("destination[{earlier}]"));
                        let help = format!("{place} writes there too: give one of them `path` or another database, or take it away");
                        self.error("C006", &path, format!("two stores write {name}"), "the same store", &help);
                    }
                    stores.entry(name).or_insert(index);
                    if let StoreAt::Postgres(at) = &at {
                        for problem in at.check() {
                            self.problem(&path, &problem);
                        }
                    }
                    if let Some(file) = ca_file {
                        self.pem(&format!("{path}.ca_file"), file, "the server's authorities");
                    }
                }
                Kind::Fhir { ca_file, certificate_file, key_file, .. }
                | Kind::Mllp(destinations::MllpConfig { ca_file, certificate_file, key_file, .. }) => {
                    if let Kind::Fhir { oauth2: Some(oauth2), .. } = &destination.kind {
                        self.pem(&format!("{path}.oauth2.key_file"), &oauth2.key_file, "the key that signs for tokens");
                    }
                    let files = [
                        ("ca_file", ca_file, "the receiver's authorities"),
                        ("certificate_file", certificate_file, "our certificate"),
                        ("key_file", key_file, "our private key"),
                    ];
                    for (key, file, what) in files {
                        if let Some(file) = file {
                            self.pem(&format!("{path}.{key}"), file, what);
                        }
                    }
                }
                Kind::CareplusCsv(config) => {
                    if let Some(earlier) = folders.get(&config.folder) {
                        let place = self.origins.name_of(&format!("destination[{earlier}]"));
                        let help = format!("{place} writes there too: give each a folder of its own");
                        self.error(
                            "C006",
                            &path,
                            format!("two destinations write into {}", config.folder.display()),
                            "the same folder",
                            &help,
                        );
                    }
                    folders.entry(config.folder.clone()).or_insert(index);
                }
            }
            self.by_its_module(&path, destination);
        }
    }

    fn hub_doors(&mut self, settings: &Settings) {
        for (number, door) in settings.hub_doors.iter().enumerate() {
            let path = format!("hub_door[{number}]");
            if door.tls.is_none() && !door.listen.ip().is_loopback() {
                let message = "HTTP without TLS is for loopback: anyone could read it".to_owned();
                let help = "add [hub_door.tls], or listen on 127.0.0.1 behind a proxy";
                self.error("C008", &format!("{path}.listen"), message, "reachable from elsewhere, not encrypted", help);
            }
            if door.base.as_deref().is_some_and(|base| !base.starts_with("https://") && !base.starts_with("http://")) {
                let help = "write it like \"https://chis.example.nhs.uk\"";
                self.error("C010", &format!("{path}.base"), "`base` is no URL".to_owned(), "not a URL", help);
            }
            self.tls(&path, door.tls.as_ref());
            let asks = door.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
            for (index, reader) in door.readers.iter().enumerate() {
                let path = format!("{path}.reader[{index}]");
                if settings.store_of_hub(&reader.hub).is_none() {
                    let message = format!("hub {} has no store here", reader.hub);
                    let help = "name a hub for which there is a [[destination]] of kind \"store\"";
                    self.error("C012", &format!("{path}.hub"), message, "nothing to read", help);
                }
                if reader.certificates.is_empty() && reader.token_key_file.is_none() {
                    let help = "add certificates = [\"urn:nhs:ods:…\"], or token_key_file = \"reader.pem\"";
                    self.error("C012", &path, "nobody can be known as this reader".to_owned(), "neither certificates nor a key", help);
                }
                if !reader.certificates.is_empty() && !asks {
                    let help = "add client_ca_file to [hub_door.tls], or leave certificates out and name token_key_file";
                    let message = "this door asks for no certificates".to_owned();
                    self.error("C012", &format!("{path}.certificates"), message, "never seen", help);
                }
                if let Some(file) = &reader.token_key_file {
                    self.pem(&format!("{path}.token_key_file"), file, "the reader's public key");
                }
            }
        }
    }

    /// The rules that stand beside the kinds of destination; each names its key first, in backquotes.
    fn by_its_module(&mut self, path: &str, destination: &destinations::Config) {
        for problem in destination.check() {
            self.problem(path, &problem);
        }
    }

    fn problem(&mut self, path: &str, problem: &str) {
        let key = problem.split('`').nth(1).map(|quoted| quoted.split([' ', '=']).next().unwrap_or_default()).unwrap_or_default();
        // Names have a rule of their own above, for sources too.
        if key == "name" {
            return;
        }
        let (message, help) = problem.split_once("; ").unwrap_or((problem, "config/default.toml has an example"));
        self.error("C016", &format!("{path}.{key}"), message.to_owned(), "here", help);
    }

    fn folders(&mut self, settings: &Settings) {
        if let Some(dir) = settings.mappings.dir.as_ref().filter(|dir| !dir.is_dir()) {
            let help = "make it (`chis-broker map show` lists the files inside the program), or leave `dir` out to use those";
            self.error("C009", "mappings.dir", format!("{} is no folder that can be read", dir.display()), "this folder", help);
        }
        if settings.store.data.as_os_str().is_empty() {
            self.error("C003", "store.data", "the data folder has no name".to_owned(), "empty", "write it like \"/var/lib/chis-broker\"");
        }
    }

    fn test_clock(&mut self, settings: &Settings) {
        let Some(file) = &settings.test.clock else { return };
        if !settings.allow_test_numbers {
            let message = "a test clock is for trials with invented people: `allow_test_numbers` is not true".to_owned();
            let help = "take `[test] clock` out; or, where no real child is, say allow_test_numbers = true";
            self.error("C017", "test.clock", message, "this broker would not know the day", help);
        }
        if let Err(error) = TestClock::open(file) {
            let text = error.to_string();
            let (message, help) = text.split_once("; ").unwrap_or((&text, "write a time into it, like 2026-01-05T06:00:00Z"));
            self.error("C009", "test.clock", message.to_owned(), "this file", help);
        }
    }
}

/// Whether rustls takes the pair as a server would.
fn pair(certificate: &Path, key: &Path) -> Result<(), String> {
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| error.to_string())?;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    builder.with_no_client_auth().with_single_cert(chain, key).map(drop).map_err(|error| error.to_string())
}

const PEM: &[u8] = b"-----BEGIN ";

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn is_kebab(name: &str) -> bool {
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= 64 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.split('-').all(is_word)
}

fn as_kebab(name: &str) -> String {
    let plain: String = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    match words.join("-") {
        kebab if is_kebab(&kebab) => kebab,
        _ => "rj1-maternity".to_owned(),
    }
}

/// Two listeners cannot share a port of one address; an unspecified address is all of its family (and `::` is both).
fn collide(left: SocketAddr, right: SocketAddr) -> bool {
    let covers = |one: SocketAddr, other: SocketAddr| one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    left.port() != 0 && left.port() == right.port() && (left.ip() == right.ip() || covers(left, right) || covers(right, left))
}

/// Both sides are there; `*` on one of them fits all.
fn is_sender(sender: &str) -> bool {
    sender.split_once('|').is_some_and(|(application, facility)| !application.is_empty() && !facility.is_empty() && !facility.contains('|'))
}

fn is_pattern(pattern: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    match pattern.split_once('^') {
        Some((code, trigger)) => is_word(code) && (trigger == "*" || is_word(trigger)),
        None => pattern == "*" || is_word(pattern),
    }
}
