//! Messages as HL7 v2: whole messages from templates, in the profiles that the shipped mappings read.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::london::{lab, trust};
use super::message::{Id, Planned, Said, Second, What, local};

/// SNOMED CT code of a condition's screening.
const CONDITIONS: [(&str, &str); 10] = [
    ("PKU", "314081000"),
    ("SCD", "314090007"),
    ("CF", "171191008"),
    ("CHT", "400984005"),
    ("MCADD", "428056008"),
    ("HCU", "940201000000107"),
    ("MSUD", "940221000000103"),
    ("GA1", "940131000000109"),
    ("IVA", "940151000000102"),
    ("HT1", "2201661000000107"),
];

/// The message with its segments ended by carriage returns.
pub(super) fn write(message: &Planned, zone: &TimeZone) -> String {
    let mut segments = vec![head(message, zone)];
    match &message.what {
        What::Birth { .. }
        | What::Person { .. }
        | What::Merge { .. }
        | What::Rename { .. }
        | What::Discharge { .. }
        | What::DischargeCancelled => adt(message, zone, &mut segments),
        What::BloodSpot { .. } | What::Hearing { .. } | What::Examination { .. } | What::Review { .. } => oru(message, zone, &mut segments),
        What::Vaccinations { .. } => vxu(message, zone, &mut segments),
        // National events are FHIR.
        What::NationalBirth { .. } | What::NationalAddress { .. } | What::NationalGp | What::NationalDeath { .. } => {}
    }
    segments.iter().map(|segment| format!("{segment}\r")).collect()
}

/// A segment with the fields of the given numbers; the others are empty.
fn segment(name: &str, fields: &[(usize, String)]) -> String {
    let last = fields.iter().map(|(number, _)| *number).max().unwrap_or(0);
    let field = |number: usize| fields.iter().find(|(known, _)| *known == number).map(|(_, text)| text.as_str()).unwrap_or_default();
    let all: Vec<&str> = (1..=last).map(field).collect();
    format!("{name}|{}", all.join("|"))
}

fn moment(at: Second, zone: &TimeZone) -> String {
    local(at, zone).strftime("%Y%m%d%H%M%S").to_string()
}

fn minute(at: Second, zone: &TimeZone) -> String {
    local(at, zone).strftime("%Y%m%d%H%M").to_string()
}

fn date(date: Date) -> String {
    date.strftime("%Y%m%d").to_string()
}

fn head(message: &Planned, zone: &TimeZone) -> String {
    let (application, facility) = message.sender.application();
    let (kind, version) = match &message.what {
        What::Birth { .. } => ("ADT^A01^ADT_A01", "2.4"),
        What::Person { trigger: "A28" } => ("ADT^A28^ADT_A05", "2.4"),
        What::Person { .. } => ("ADT^A31^ADT_A05", "2.4"),
        What::Merge { .. } => ("ADT^A40^ADT_A39", "2.4"),
        What::Rename { .. } => ("ADT^A47^ADT_A30", "2.4"),
        What::Discharge { .. } => ("ADT^A03^ADT_A03", "2.4"),
        What::DischargeCancelled => ("ADT^A13^ADT_A01", "2.4"),
        What::Vaccinations { .. } => ("VXU^V04^VXU_V04", "2.5.1"),
        _ => ("ORU^R01^ORU_R01", "2.5.1"),
    };
    let (time, control) = (moment(message.written, zone), &message.control);
    format!("MSH|^~\\&|{application}|{facility}|ROUTE|ROUTE|{time}||{kind}|{control}|P|{version}|||||GBR|UNICODE UTF-8|EN")
}

fn ids(ids: &[Id]) -> String {
    let one = |id: &Id| format!("{}^^^{}^{}", id.value, id.authority, id.kind);
    ids.iter().map(one).collect::<Vec<_>>().join("~")
}

fn pid(said: &Said, is_result: bool, zone: &TimeZone) -> String {
    let sex = match (said.is_girl, is_result) {
        (true, false) => "2",
        (false, false) => "1",
        (true, true) => "F",
        (false, true) => "M",
    };
    let born = said.born_at.filter(|_| !is_result).map_or_else(|| date(said.born), |at| moment(at, zone));
    let mut fields = vec![
        (1, "1".to_owned()),
        (3, ids(&said.ids)),
        (5, format!("{}^{}^^^^^L", said.family, said.given)),
        (7, born),
        (8, sex.to_owned()),
    ];
    fields.extend(said.home.map(|home| (11, format!("{}^^LONDON^^{}^GBR^H", home.street(), home.postcode()))));
    fields.extend(said.mother.as_ref().map(|mother| (21, ids(&mother.ids))));
    if 1 < said.births {
        fields.push((24, "Y".to_owned()));
        fields.extend(said.order.map(|order| (25, order.to_string())));
    }
    fields.push((32, format!("NSTS{}", said.status)));
    segment("PID", &fields)
}

fn adt(message: &Planned, zone: &TimeZone, segments: &mut Vec<String>) {
    let said = &message.said;
    segments.push(segment("EVN", &[(2, moment(message.written, zone)), (6, moment(message.event, zone))]));
    segments.push(pid(said, false, zone));
    segments.extend(said.practice.map(|practice| segment("PD1", &[(3, format!("EXAMPLE PRACTICE^^{}", practice.ods()))])));
    if let What::Merge { prior } | What::Rename { prior } = &message.what {
        segments.push(segment("MRG", &[(1, ids(std::slice::from_ref(prior)))]));
        return;
    }
    if let Some(mother) = &said.mother {
        let name = format!("{}^{}^^^^^L", said.family, mother.given);
        segments.push(segment("NK1", &[(1, "1".into()), (2, name), (3, "12".into()), (16, date(mother.born))]));
    }
    if let What::Birth { unit, weight_g, gestation, live_still } = &message.what {
        let visit = format!("{}V^^^{}01^VN", message.control, trust(*unit));
        let place = format!("^MAT^1-01B001^{}01", trust(*unit));
        segments.push(segment(
            "PV1",
            &[(1, "1".into()), (2, "I".into()), (3, place), (4, "82".into()), (10, "420".into()), (14, "79".into()), (19, visit)],
        ));
        let mut facts = vec![
            (2, live_still.to_string()),
            (3, weight_g.to_string()),
            (5, "1".into()),
            (6, gestation.to_string()),
            (7, said.births.to_string()),
            (8, "N".into()),
        ];
        facts.extend(said.order.map(|order| (9, order.to_string())));
        segments.push(segment("ZU7", &facts));
    }
    if let What::Discharge { .. } | What::DischargeCancelled = &message.what {
        let mut fields = vec![(1, "1".into()), (2, "I".into()), (19, format!("V{}", message.control))];
        if let What::Discharge { is_dead } = message.what {
            // Discharge method (HL7 v2 page, section 4): 1 on clinical advice, 4 died.
            fields.push((36, if is_dead { "4" } else { "1" }.into()));
            fields.push((45, moment(message.event, zone)));
        }
        segments.push(segment("PV1", &fields));
    }
    if said.is_restricted {
        segments.push(segment("ZU8", &[(4, "2".into())]));
    }
}

fn obx(number: usize, kind: &str, what: &str, value: &str, standing: &str, at: Option<&str>) -> String {
    let unit = if kind == "NM" { "g" } else { "" };
    let mut fields =
        vec![(1, number.to_string()), (2, kind.to_owned()), (3, what.to_owned()), (5, value.to_owned()), (11, standing.to_owned())];
    if !unit.is_empty() {
        fields.push((6, unit.to_owned()));
    }
    fields.extend(at.map(|at| (14, at.to_owned())));
    segment("OBX", &fields)
}

/// OBR of a screen or review: done at `event`, reported when it was written.
fn obr(message: &Planned, key: &str, code: &str, zone: &TimeZone) -> String {
    let (_, facility) = message.sender.application();
    segment(
        "OBR",
        &[
            (1, "1".into()),
            (3, format!("{key}^{facility}")),
            (4, code.to_owned()),
            (7, minute(message.event, zone)),
            (22, minute(message.event, zone)),
            (25, "F".into()),
        ],
    )
}

fn oru(message: &Planned, zone: &TimeZone, segments: &mut Vec<String>) {
    let said = &message.said;
    segments.push(pid(said, true, zone));
    let at = minute(message.event, zone);
    match &message.what {
        What::BloodSpot { lab: number, accession, taken, received, spots } => {
            segments.push(segment(
                "OBR",
                &[
                    (1, "1".into()),
                    (2, format!("C{accession}")),
                    (3, format!("{accession}^{}", lab(*number))),
                    (4, "NBS^Newborn blood spot screening^L".into()),
                    (7, date(*taken)),
                    (14, date(*received)),
                    (22, at.clone()),
                    (24, "LAB".into()),
                    (25, "F".into()),
                ],
            ));
            for (number, spot) in spots.iter().enumerate() {
                let code = CONDITIONS.iter().find(|(condition, _)| *condition == spot.condition).map(|(_, code)| *code).unwrap_or_default();
                let what = format!("{code}^{}^SCT", spot.condition);
                segments.push(obx(number + 1, "CWE", &what, &format!("{}^outcome^NBS", spot.status), spot.standing, Some(&at)));
            }
        }
        What::Hearing { key, is_clear } => {
            segments.push(obr(message, key, "NHSP^Newborn hearing screen^L", zone));
            let left = if *is_clear {
                "1085431000000105^AABR left ear clear response^SCT"
            } else {
                "1085461000000100^AABR left ear no clear response^SCT"
            };
            let summary = if *is_clear { "276781000000109^Clear response^SCT" } else { "276801000000105^No clear response in one ear^SCT" };
            segments.push(obx(1, "CWE", "413083006^AABR^SCT", left, "F", Some(&at)));
            segments.push(obx(2, "CWE", "413083006^AABR^SCT", "1085451000000103^AABR right ear clear response^SCT", "F", Some(&at)));
            segments.push(obx(3, "CWE", "276771000000107^Outcome^SCT", summary, "F", Some(&at)));
        }
        What::Examination { key, is_infant } => {
            let code = if *is_infant { "NIPE68^Infant physical examination^L" } else { "NIPE72^Newborn physical examination^L" };
            segments.push(obr(message, key, code, zone));
            let mut parts = vec![
                ("988361000000105^Eyes^SCT", "989071000000108^no abnormality^SCT"),
                ("988351000000107^Heart^SCT", "988511000000100^no abnormality^SCT"),
                ("985531000000102^Hips^SCT", "985701000000100^no abnormality^SCT"),
            ];
            if !said.is_girl {
                parts.push(("988371000000103^Testes^SCT", "988931000000101^no abnormality^SCT"));
            }
            segments.extend(parts.iter().enumerate().map(|(number, (what, value))| obx(number + 1, "CWE", what, value, "F", None)));
        }
        What::Review { key, code, weight_g } => {
            segments.push(obr(message, key, &format!("{code}^Review^DCHENC"), zone));
            segments.push(obx(1, "NM", "27113001^Weight^SCT", &weight_g.to_string(), "F", Some(&at)));
        }
        _ => {}
    }
}

fn vxu(message: &Planned, zone: &TimeZone, segments: &mut Vec<String>) {
    segments.push(pid(&message.said, true, zone));
    let What::Vaccinations { practice, doses } = &message.what else { return };
    let given = moment(message.event, zone);
    for (number, dose) in doses.iter().enumerate() {
        segments.push(segment("ORC", &[(1, "RE".into()), (3, format!("{}^{practice}", dose.key))]));
        segments.push(segment(
            "RXA",
            &[
                (1, "0".into()),
                (2, (number + 1).to_string()),
                (3, given.clone()),
                (5, format!("{}^product^SCT", dose.product)),
                (6, "0.5".into()),
                (7, "ml^millilitre^UCUM".into()),
                (9, "00^New record^NIP001".into()),
                (11, format!("^^^{practice}")),
                (15, format!("LOT{}", dose.key)),
                (20, "CP".into()),
                (21, "A".into()),
            ],
        ));
        segments.push(segment(
            "OBX",
            &[(1, "1".into()), (2, "NM".into()), (3, "30973-2^Dose number^LN".into()), (5, dose.number.to_string()), (11, "F".into())],
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_stands_at_its_number() {
        assert_eq!(segment("PID", &[(3, "A".into()), (1, "1".into()), (7, "C".into())]), "PID|1||A||||C");
        assert_eq!(obx(2, "NM", "27113001^Weight^SCT", "3400", "F", None), "OBX|2|NM|27113001^Weight^SCT||3400|g|||||F");
    }
}
