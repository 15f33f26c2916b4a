//! Who a reference means: entries of a Bundle, by `fullUrl` or by type and id.
//!
//! Senders write references in every way there is: `urn:uuid:` with and without its prefix, `Patient/1`, an absolute URL. What
//! two different entries answer to finds nothing: an empty field that a person sees is better than somebody else's value.

use super::Look;
use std::borrow::Cow;
use std::collections::HashMap;

/// Names that are looked through one by one; where there are more, they are hashed.
const NAMES_MAX: usize = 64;

/// The resources of a Bundle, by what refers to them. Made once, it answers any number of references in constant time.
#[derive(Debug)]
pub struct References<'t, T> {
    /// What entries answer to, with their numbers.
    names: Vec<(Name<'t>, usize)>,
    /// The same once there are many; `None`: more than one entry answers to it.
    hashed: HashMap<Name<'t>, Option<usize>>,
    resources: Vec<Option<T>>,
}

/// What an entry answers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name<'t> {
    Url(Cow<'t, str>),
    TypeAndId(&'t str, &'t str),
    /// An id alone, if it is a UUID: others are not unique across types.
    Uuid(Cow<'t, str>),
}

impl<'t, T: Look<'t>> References<'t, T> {
    /// The references that resolve in `root`; none, if it is not a Bundle.
    pub fn of(root: T) -> Self {
        let mut references = Self { names: Vec::new(), hashed: HashMap::new(), resources: Vec::new() };
        let entries = root.member("entry").and_then(Look::items);
        for (at, entry) in entries.into_iter().flatten().enumerate() {
            let resource = entry.member("resource").filter(|resource| resource.is_object());
            references.resources.push(resource);
            references.names.extend(names(entry, resource).map(|name| (name, at)));
        }
        if NAMES_MAX < references.names.len() {
            for (name, at) in std::mem::take(&mut references.names) {
                let known = references.hashed.entry(name).or_insert(Some(at));
                known.take_if(|known| *known != at);
            }
        }
        references
    }

    /// The number of the entry that answers to a name; the inner `None`: several do.
    #[expect(clippy::option_option, reason = "nobody and too many are different answers")]
    fn known(&self, name: &Name<'_>) -> Option<Option<usize>> {
        let mut same = self.names.iter().filter(|(known, _)| known == name).map(|(_, at)| *at);
        match same.next() {
            Some(first) => Some(Some(first).filter(|first| same.all(|at| at == *first))),
            None => self.hashed.get(name).copied(),
        }
    }

    /// The number (from 0) of the entry that `reference` means, and its resource.
    pub fn entry(&self, reference: &str) -> Option<(usize, T)> {
        let by_url = || self.known(&Name::Url(plain(reference)));
        let by_type = || type_and_id(reference).and_then(|(kind, id)| self.known(&Name::TypeAndId(kind, id)));
        let by_uuid = || uuid(reference).and_then(|uuid| self.known(&Name::Uuid(uuid)));
        let at = by_url().or_else(by_type).or_else(by_uuid)??;
        Some((at, self.resources.get(at).copied()??))
    }
}

/// All that an entry answers to.
fn names<'t, T: Look<'t>>(entry: T, resource: Option<T>) -> impl Iterator<Item = Name<'t>> {
    let text = |of: T, name: &str| of.member(name).and_then(Look::text);
    let full_url = text(entry, "fullUrl");
    let kind = resource.and_then(|resource| text(resource, "resourceType"));
    let id = resource.and_then(|resource| text(resource, "id"));
    let tail = full_url.and_then(type_and_id).map(|(kind, id)| Name::TypeAndId(kind, id));
    let own = kind.zip(id).map(|(kind, id)| Name::TypeAndId(kind, id));
    let alone = id.and_then(uuid).map(Name::Uuid);
    [full_url.map(|url| Name::Url(plain(url))), tail, own, alone].into_iter().flatten()
}

/// A URL without what makes no difference: the `urn:uuid:` of a UUID, and its case.
fn plain(url: &str) -> Cow<'_, str> {
    uuid(url).unwrap_or(Cow::Borrowed(url))
}

/// The UUID, in lower case, of `urn:uuid:…` or of a UUID alone.
fn uuid(text: &str) -> Option<Cow<'_, str>> {
    let bare = text.strip_prefix("urn:uuid:").unwrap_or(text);
    // Without branches: every entry of a Bundle is asked, and most are.
    let is_shaped = |bytes: &[u8; 36]| {
        let dash_or_digit = bytes.iter().fold(true, |all, byte| all & (byte.is_ascii_hexdigit() | (*byte == b'-')));
        let dashes: u8 = bytes.iter().map(|byte| u8::from(*byte == b'-')).sum();
        dash_or_digit && dashes == 4 && [8, 13, 18, 23].into_iter().all(|at| bytes.get(at) == Some(&b'-'))
    };
    let is_uuid = bare.as_bytes().try_into().is_ok_and(is_shaped);
    // Samples use `urn:uuid:h`; what follows the prefix is the name all the same.
    let lower = || {
        if bare.bytes().fold(false, |found, byte| found | byte.is_ascii_uppercase()) {
            bare.to_ascii_lowercase().into()
        } else {
            Cow::Borrowed(bare)
        }
    };
    (is_uuid || bare.len() < text.len()).then(lower)
}

/// `Patient` and `1` of `Patient/1`, of `https://…/Patient/1`, and of either with `/_history/2`.
fn type_and_id(reference: &str) -> Option<(&str, &str)> {
    let current = reference.split_once("/_history/").map_or(reference, |(current, _)| current);
    let (front, id) = current.rsplit_once('/')?;
    let kind = front.rsplit_once('/').map_or(front, |(_, kind)| kind);
    let is_type = kind.starts_with(|first: char| first.is_ascii_uppercase()) && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_type && !id.is_empty()).then_some((kind, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "0e1d52a7-8ab1-4fc4-adf0-ecc75073f4c4";

    fn check(full_url: &str, id: &str, reference: &str, found: bool) {
        let bundle = json!({ "entry": [{ "fullUrl": full_url, "resource": { "resourceType": "Patient", "id": id } }] });
        assert_eq!(References::of(&bundle).entry(reference).is_some(), found, "{reference} in an entry {full_url} with id {id}");
    }

    #[test]
    fn an_entry_is_found_however_its_reference_is_written() {
        let urn = format!("urn:uuid:{ID}");
        check(&urn, "x", &urn, true);
        check(&urn, "x", ID, true);
        check(ID, "x", &urn, true);
        check(&urn.to_uppercase().replace("URN:UUID:", "urn:uuid:"), "x", &urn, true);
        check("https://a.example/Patient/1", "1", "Patient/1", true);
        check("https://a.example/Patient/1", "1", "https://b.example/fhir/Patient/1", true);
        check("https://a.example/Patient/1", "x", "Patient/1/_history/2", true);
        check("urn:uuid:a", "1", "Patient/1", true);
        check("https://a.example/x", ID, &urn, true);
        check(&urn, "1", "Practitioner/1", false);
        check(&urn, "1", "1", false);
        check(&urn, "1", "", false);
    }

    #[test]
    fn what_two_entries_answer_to_finds_neither() {
        let child = |id: &str| json!({ "fullUrl": "urn:uuid:a", "resource": { "resourceType": "Patient", "id": id } });
        let bundle = json!({ "entry": [child("1"), child("2")] });
        assert_eq!(References::of(&bundle).entry("urn:uuid:a"), None);
        assert_eq!(References::of(&bundle).entry("Patient/2").map(|(at, _)| at), Some(1));
    }

    #[test]
    fn a_resource_that_is_no_bundle_resolves_nothing() {
        assert_eq!(References::of(&json!({ "resourceType": "Patient", "entry": 1 })).entry("Patient/1"), None);
    }
}
