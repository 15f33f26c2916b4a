//! Reading `hubs.toml` and the directory files it names: whole, or refused whole with every mistake named at once.
//!
//! # What always holds
//!
//! - Every mistake has its file, line, column and bytes, and says what would help.
//! - A local authority, a sub-ICB, an organisation and a place of birth belong to one hub at most.
//!
//! # Not here
//!
//! No files are opened: the caller's `open` does that.

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::{self, Postcodes};
use super::{Area, Directory, Hub, Open, Policy, RoutingError};
use crate::names::HubName;

/// `hubs.toml` text, and the CSV directories it names, read by `open` (given the path as written).
pub(super) fn load(text: &str, file: &str, open: Open<'_>) -> Result<Directory, Vec<RoutingError>> {
    let whole = load_readable(text, file, open)?;
    if whole.unread.is_empty() { Ok(whole) } else { Err(whole.unread) }
}

/// [`load`], where a directory file that cannot be read is left out and named in the directory.
pub(super) fn load_readable(text: &str, file: &str, open: Open<'_>) -> Result<Directory, Vec<RoutingError>> {
    let mut reading = Reading { text, file, errors: Vec::new(), directory: Directory::default() };
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reading.error(error.span().unwrap_or(0..0), format!("this is not TOML: {}", error.message()));
    }
    if reading.errors.is_empty() {
        reading.root(root.get_ref());
        reading.directories(root.get_ref(), open);
    }
    let Reading { mut errors, mut directory, .. } = reading;
    if errors.is_empty() {
        return Ok(directory);
    }
    errors.append(&mut directory.unread);
    errors.sort_by(|a, b| (&a.file, a.span.start).cmp(&(&b.file, b.span.start)));
    Err(errors)
}

/// A text of the file and where it stands.
type Word = (String, Range<usize>);

struct Reading<'a> {
    text: &'a str,
    file: &'a str,
    errors: Vec<RoutingError>,
    directory: Directory,
}

impl Reading<'_> {
    fn error(&mut self, span: Range<usize>, message: String) {
        let error = self.mistake(span, message);
        self.errors.push(error);
    }

    fn mistake(&self, span: Range<usize>, message: String) -> RoutingError {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        RoutingError { file: self.file.to_owned(), line, column, span, message }
    }

    fn root(&mut self, root: &DeTable<'_>) {
        self.only(root, &["default_hub", "policy", "directories", "hub", "birth_site"]);
        self.policy(root);
        for hub in self.tables(root, "hub") {
            self.hub(hub.get_ref().as_table(), hub.span());
        }
        if self.directory.hubs.is_empty() {
            self.error(0..0, "no hub is named; write one [[hub]] with name, title, ods, las and sub_icbs for each".to_owned());
        }
        for site in self.tables(root, "birth_site") {
            self.birth_site(site.get_ref().as_table(), site.span());
        }
        if let Some(hub) = self.needed(root, "default_hub", 0..0)
            && let Some(index) = self.hub_named(&hub)
        {
            self.directory.default = index;
        }
    }

    fn policy(&mut self, root: &DeTable<'_>) {
        let Some((word, span)) = self.word(root, "policy") else { return };
        match Policy::ALL.into_iter().find(|policy| policy.word() == word) {
            Some(policy) => self.directory.policy = policy,
            None => {
                let words = Policy::ALL.map(Policy::word);
                let hint = did_you_mean(&word, &words);
                self.error(span, format!("`{word}` is not a policy{hint}; write one of {}", words.join(", ")));
            }
        }
    }

    fn hub(&mut self, table: Option<&DeTable<'_>>, span: Range<usize>) {
        let Some(table) = table else { return };
        self.only(table, &["name", "title", "ods", "las", "sub_icbs", "stillbirths"]);
        let stillbirths = self.flag(table, "stillbirths");
        let Some((name, name_span)) = self.needed(table, "name", span.clone()) else { return };
        let title = self.needed(table, "title", span).map(|(title, _)| title).unwrap_or_default();
        if [HubName::OUT, HubName::UNKNOWN].contains(&name.as_str()) {
            self.error(name_span, format!("`{name}` is a word of our own and cannot be the name of a hub"));
            return;
        }
        if self.directory.hubs.iter().any(|hub| hub.name.as_str() == name) {
            self.error(name_span, format!("the hub `{name}` is described twice; make it one [[hub]]"));
            return;
        }
        let index = self.directory.hubs.len();
        self.directory.hubs.push(Hub { name: HubName::new(&name), title, stillbirths });
        self.belong(table, "ods", "the organisation", index, |directory| &mut directory.organisations);
        self.belong(table, "las", "the local authority", index, |directory| &mut directory.authorities);
        self.belong(table, "sub_icbs", "the sub-ICB", index, |directory| &mut directory.sub_icbs);
    }

    /// Each code of a list belongs to this hub and to no other.
    fn belong(&mut self, table: &DeTable<'_>, key: &str, what: &str, hub: usize, of: fn(&mut Directory) -> &mut HashMap<String, usize>) {
        for (code, span) in self.words(table, key) {
            let code = code.to_ascii_uppercase();
            match of(&mut self.directory).insert(code.clone(), hub) {
                Some(other) if other != hub => {
                    let name = self.directory.hubs.get(other).map(|hub| hub.name.to_string()).unwrap_or_default();
                    self.error(span, format!("{what} {code} already belongs to the hub {name}; take it out of one of them"));
                }
                _ => {}
            }
        }
    }

    fn birth_site(&mut self, table: Option<&DeTable<'_>>, span: Range<usize>) {
        let Some(table) = table else { return };
        self.only(table, &["ods", "hub"]);
        let (ods, hub) = (self.needed(table, "ods", span.clone()), self.needed(table, "hub", span));
        let (Some((ods, ods_span)), Some(hub)) = (ods, hub) else { return };
        let Some(index) = self.hub_named(&hub) else { return };
        if let Some(other) = self.directory.birth_sites.insert(ods.to_ascii_uppercase(), index)
            && other != index
        {
            self.error(ods_span, format!("the place of birth {ods} is given to two hubs; take one of them out"));
        }
    }

    fn hub_named(&mut self, (name, span): &Word) -> Option<usize> {
        let names: Vec<String> = self.directory.hubs.iter().map(|hub| hub.name.to_string()).collect();
        let index = names.iter().position(|known| known == name);
        if index.is_none() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = did_you_mean(name, &names);
            self.error(span.clone(), format!("there is no hub `{name}`{hint}; write one of {}", names.join(", ")));
        }
        index
    }

    /// The directory files: one that is named has to be there and readable, one that is not named is only missed.
    fn directories(&mut self, root: &DeTable<'_>, open: Open<'_>) {
        let none = DeTable::default();
        let named = match root.get("directories").map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => table,
            Some(_) => return self.error(0..0, "`directories` has to be a table: [directories]".to_owned()),
            None => &none,
        };
        self.only(named, &["postcodes", "practices", "practice_columns"]);
        let positions = self.positions(named);
        if let Some((path, reader)) = self.opened(named, "postcodes", open) {
            match Postcodes::read(reader, &path) {
                Ok(postcodes) => self.directory.postcodes = postcodes,
                Err(error) => self.directory.unread.push(error),
            }
        }
        if let Some((path, reader)) = self.opened(named, "practices", open) {
            match table::practices(reader, &path, positions) {
                Ok((practices, report)) => {
                    self.directory.practices_report = report;
                    self.practices(practices);
                }
                Err(error) => self.directory.unread.push(error),
            }
        }
        self.directory.find_whole_outcodes();
    }

    /// Columns of code and sub-ICB in a practice file without a header. The default is where the Organisation Data Service has them in
    /// `epraccur.csv`, from memory: to be checked against the edition in use.
    fn positions(&mut self, table: &DeTable<'_>) -> (usize, usize) {
        const EPRACCUR: (usize, usize) = (1, 15);
        let Some(value) = table.get("practice_columns") else { return EPRACCUR };
        let number = |item: &Spanned<DeValue<'_>>| item.get_ref().as_integer().and_then(|number| number.as_str().parse::<usize>().ok());
        let numbers: Vec<usize> = value.get_ref().as_array().map(|items| items.iter().filter_map(number).collect()).unwrap_or_default();
        match numbers.as_slice() {
            [practice, sub_icb] if 0 < *practice && 0 < *sub_icb => (*practice, *sub_icb),
            _ => {
                self.error(value.span(), "`practice_columns` is two numbers from 1: the columns of code and sub-ICB, [1, 15]".to_owned());
                EPRACCUR
            }
        }
    }

    fn practices(&mut self, practices: HashMap<String, String>) {
        let sub_icbs = &self.directory.sub_icbs;
        let area = |sub_icb: &String| sub_icbs.get(sub_icb).map_or(Area::Out, |hub| Area::Hub(*hub));
        self.directory.practices = practices.into_iter().map(|(practice, sub_icb)| (practice, area(&sub_icb))).collect();
    }

    fn opened(&mut self, table: &DeTable<'_>, key: &str, open: Open<'_>) -> Option<(String, Box<dyn std::io::Read>)> {
        let (path, span) = self.word(table, key)?;
        match open(&path) {
            Ok(reader) => Some((path, reader)),
            Err(error) => {
                let message = format!("the {key} file {path} cannot be read ({error}); put it there, or take the line out to go without");
                let mistake = self.mistake(span, message);
                self.directory.unread.push(mistake);
                None
            }
        }
    }

    /// Every key is known.
    fn only(&mut self, table: &DeTable<'_>, known: &[&str]) {
        let unknown: Vec<Word> =
            table.keys().map(|key| (key.get_ref().to_string(), key.span())).filter(|(key, _)| !known.contains(&key.as_str())).collect();
        for (key, span) in unknown {
            let hint = did_you_mean(&key, known);
            self.error(span, format!("unknown key `{key}`{hint}; known here: {}", known.join(", ")));
        }
    }

    /// The tables of `[[key]]`.
    fn tables<'t, 'i>(&mut self, root: &'t DeTable<'i>, key: &str) -> Vec<&'t Spanned<DeValue<'i>>> {
        let Some(value) = root.get(key) else { return Vec::new() };
        let tables: Vec<_> = value.get_ref().as_array().into_iter().flat_map(|tables| tables.iter()).collect();
        if tables.is_empty() || tables.iter().any(|table| !table.get_ref().is_table()) {
            self.error(value.span(), format!("`{key}` has to be a list of tables: [[{key}]]"));
            return Vec::new();
        }
        tables
    }

    fn needed(&mut self, table: &DeTable<'_>, key: &str, whole: Range<usize>) -> Option<Word> {
        if !table.contains_key(key) {
            self.error(whole, format!("`{key}` is missing; write {key} = \"…\""));
            return None;
        }
        self.word(table, key)
    }

    fn word(&mut self, table: &DeTable<'_>, key: &str) -> Option<Word> {
        let value = table.get(key)?;
        let word = value.get_ref().as_str().map(str::trim).filter(|word| !word.is_empty());
        if word.is_none() {
            self.error(value.span(), format!("`{key}` has to be a text in quotes"));
        }
        word.map(|word| (word.to_owned(), value.span()))
    }

    fn flag(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        let Some(value) = table.get(key) else { return false };
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.error(value.span(), format!("`{key}` has to be true or false"));
        }
        flag.unwrap_or_default()
    }

    /// One text or a list of them.
    fn words(&mut self, table: &DeTable<'_>, key: &str) -> Vec<Word> {
        let Some(value) = table.get(key) else { return Vec::new() };
        let items: Vec<&Spanned<DeValue<'_>>> = value.get_ref().as_array().map_or_else(|| vec![value], |items| items.iter().collect());
        let mut words = Vec::new();
        for item in items {
            match item.get_ref().as_str().map(str::trim) {
                Some(word) if !word.is_empty() => words.push((word.to_owned(), item.span())),
                _ => self.error(item.span(), format!("`{key}` has to be a list of texts in quotes")),
            }
        }
        words
    }
}

/// `; did you mean `…`?`, where one of the known words is near.
fn did_you_mean(word: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (distance(word, known), known)).min();
    let near = nearest.filter(|(distance, known)| *distance <= known.len() / 3 + 1 && *distance < word.len().max(2));
    near.map(|(_, known)| format!(", did you mean `{known}`?")).unwrap_or_default()
}

/// Letters to change, add or take out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"default_hub = "NE"
[[hub]]
name = "NE"
title = "North East"
ods = "RAT"
las = ["E09000001"]
sub_icbs = ["A3A8R"]
[[hub]]
name = "SE"
title = "South East"
las = ["E09000028"]
sub_icbs = ["72Q"]
[[birth_site]]
ods = "RJ1"
hub = "SE"
"#;

    fn nothing(path: &str) -> std::io::Result<Box<dyn std::io::Read>> {
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, path.to_owned()))
    }

    /// The whole list of mistakes, as a person reads it.
    #[track_caller]
    fn check(toml: &str, expected: &[&str]) {
        let errors: Vec<String> = load(toml, "hubs.toml", &nothing).err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    }

    #[test]
    fn a_good_file_is_taken_and_every_mistake_in_a_bad_one_is_named_with_its_place() {
        check(GOOD, &[]);
        check(
            &GOOD.replace("las = [\"E09000028\"]", "las = [\"E09000028\", \"E09000001\"]").replace("72Q", "a3a8r"),
            &[
                "hubs.toml:11:21: the local authority E09000001 already belongs to the hub NE; take it out of one of them",
                "hubs.toml:12:13: the sub-ICB A3A8R already belongs to the hub NE; take it out of one of them",
            ],
        );
        check(
            &GOOD
                .replace("default_hub", "defaulthub")
                .replace("title = \"South East\"", "titel = \"South East\"")
                .replace("hub = \"SE\"", "hub = \"SEE\""),
            &[
                "hubs.toml:1:1: unknown key `defaulthub`, did you mean `default_hub`?; known here: default_hub, policy, directories, hub, birth_site",
                "hubs.toml:1:1: `default_hub` is missing; write default_hub = \"…\"",
                "hubs.toml:8:1: `title` is missing; write title = \"…\"",
                "hubs.toml:10:1: unknown key `titel`, did you mean `title`?; known here: name, title, ods, las, sub_icbs, stillbirths",
                "hubs.toml:15:7: there is no hub `SEE`, did you mean `SE`?; write one of NE, SE",
            ],
        );
        check(
            &format!("policy = \"gp_first\"\n{GOOD}"),
            &["hubs.toml:1:10: `gp_first` is not a policy; write one of gp_then_residence, residence_only, both"],
        );
        check(
            &GOOD.replace("name = \"SE\"", "name = \"NE\"").replace("hub = \"SE\"", "hub = \"NE\""),
            &["hubs.toml:9:8: the hub `NE` is described twice; make it one [[hub]]"],
        );
        check(
            &GOOD.replace("name = \"SE\"", "name = \"OUT\"").replace("hub = \"SE\"", "hub = \"NE\""),
            &["hubs.toml:9:8: `OUT` is a word of our own and cannot be the name of a hub"],
        );
        check(&GOOD.replace("[\"E09000028\"]", "[28]"), &["hubs.toml:11:8: `las` has to be a list of texts in quotes"]);
        check(
            "",
            &[
                "hubs.toml:1:1: no hub is named; write one [[hub]] with name, title, ods, las and sub_icbs for each",
                "hubs.toml:1:1: `default_hub` is missing; write default_hub = \"…\"",
            ],
        );
        check(
            "hub = 3\ndefault_hub = 1",
            &[
                "hubs.toml:1:1: no hub is named; write one [[hub]] with name, title, ods, las and sub_icbs for each",
                "hubs.toml:1:7: `hub` has to be a list of tables: [[hub]]",
                "hubs.toml:2:15: `default_hub` has to be a text in quotes",
            ],
        );
    }

    #[test]
    fn what_is_not_toml_is_refused_where_it_stops_being_toml() {
        let errors = load("default_hub = \"NE\"\npolicy = \n", "hubs.toml", &nothing).unwrap_err();
        assert_eq!((errors[0].line, errors[0].column), (2, 10), "{errors:?}");
        assert!(errors[0].message.starts_with("this is not TOML: "), "{errors:?}");
    }

    #[test]
    fn a_directory_file_that_is_named_has_to_be_there() {
        let toml = GOOD.replace("[[birth_site]]", "[directories]\npostcodes = \"postcodes.csv\"\npostcode = \"x\"\n[[birth_site]]");
        let errors = load(&toml, "hubs.toml", &nothing).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].to_string().starts_with("hubs.toml:14:13: the postcodes file postcodes.csv cannot be read"), "{errors:?}");
        assert_eq!(toml.get(errors[0].span.clone()), Some("\"postcodes.csv\""));
        assert!(errors[1].message.contains("unknown key `postcode`, did you mean `postcodes`?"), "{errors:?}");

        let broken = |_: &str| -> std::io::Result<Box<dyn std::io::Read>> { Ok(Box::new(&b"a,b\n1,2\n"[..])) };
        let errors = load(&toml.replace("postcode = \"x\"\n", "practices = \"practices.csv\"\n"), "hubs.toml", &broken).unwrap_err();
        let places: Vec<&str> = errors.iter().map(|error| error.file.as_str()).collect();
        assert_eq!(places, ["postcodes.csv", "practices.csv"]);
    }

    #[test]
    fn a_hint_is_given_only_for_a_near_word() {
        assert_eq!(did_you_mean("subicbs", &["las", "sub_icbs"]), ", did you mean `sub_icbs`?");
        assert_eq!(did_you_mean("colour", &["las", "sub_icbs"]), "");
    }
}
