//! The standard's own names of places: `PID-8` is Administrative Sex.
//!
//! # Not here
//!
//! Where something stands in a message is mapping's word (`PID-3[2].4.1`); here it is only put into English.

use std::collections::HashMap;
use std::sync::OnceLock;

pub use crate::mapping::plain_place;

/// Names of 2.5.1, the widest version in use; positions did not move between 2.3 and 2.8 in what is used here.
const TEXT: &str = include_str!("fields.txt");

struct Segment {
    name: &'static str,
    /// Each field's type and name.
    fields: Vec<(&'static str, &'static str)>,
}

struct Names {
    /// By id.
    segments: HashMap<&'static str, Segment>,
    /// Type to the names of its components.
    types: HashMap<&'static str, Vec<&'static str>>,
}

fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| {
        let mut names = Names { segments: HashMap::new(), types: HashMap::new() };
        for line in TEXT.lines() {
            let mut cells = line.split('|');
            match cells.next().and_then(|head| head.split_once(' ')) {
                Some(("segment", id)) => {
                    let name = cells.next().unwrap_or_default();
                    let fields = cells.map(|cell| cell.split_once(':').unwrap_or_default()).collect();
                    names.segments.insert(id, Segment { name, fields });
                }
                Some(("type", id)) => drop(names.types.insert(id, cells.collect())),
                _ => {}
            }
        }
        names
    })
}

/// What the standard calls a place: `Patient Identifier List, Assigning Authority` for `PID-3.4.1`. Empty where it has no name.
pub fn name_of(place: &str) -> String {
    let place = plain_place(place);
    let (id, rest) = place.split_once('-').unwrap_or((&place, ""));
    let Some(segment) = names().segments.get(id) else { return String::new() };
    let mut parts = rest.split('.').filter_map(|part| part.parse::<usize>().ok());
    let Some(field) = parts.next() else { return segment.name.to_owned() };
    let Some((kind, name)) = field.checked_sub(1).and_then(|at| segment.fields.get(at)).filter(|(_, name)| !name.is_empty()) else {
        return String::new();
    };
    let component = parts.next().and_then(|part| names().types.get(kind)?.get(part.checked_sub(1)?));
    component.map_or_else(|| (*name).to_owned(), |component| format!("{name}, {component}"))
}

/// `PID-8 (Administrative Sex)`; the place alone where it has no name.
pub fn shown(place: &str) -> String {
    let (plain, name) = (plain_place(place), name_of(place));
    if name.is_empty() { plain } else { format!("{plain} ({name})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_the_names_of_the_standard() {
        for (place, name) in [
            ("PID-8", "Administrative Sex"),
            ("PID-3[2].4.1", "Patient Identifier List, Assigning Authority"),
            ("PID-3[2].1", "Patient Identifier List, ID Number"),
            ("PID", "Patient Identification"),
            ("OBX[12]-5.1", "Observation Value"),
            ("MSH-9.2", "Message Type, Trigger Event"),
            ("NK1[2]-3", "Relationship"),
            ("ZU7-3", "Birth weight in grams"),
            ("ZU7-1", ""),
            ("ZXX-1", ""),
            ("PID-99", ""),
            ("PID-0", ""),
            ("", ""),
        ] {
            assert_eq!(name_of(place), name, "{place}");
        }
        assert_eq!(shown("PID-8"), "PID-8 (Administrative Sex)");
        assert_eq!(shown("ZXX[3]-1"), "ZXX-1");
        assert_eq!(plain_place("Bundle.entry[3].resource.where(a[1])"), "Bundle.entry.resource.where(a)");
    }

    #[test]
    fn every_field_knows_its_type_and_every_segment_its_name() {
        assert!(names().segments.len() > 35);
        for (id, Segment { name, fields }) in &names().segments {
            assert!(!name.is_empty() && !fields.is_empty(), "{id}");
            assert!(fields.iter().all(|(kind, name)| kind.is_empty() == name.is_empty()), "{id}");
        }
    }
}
