//! The London of the city: boroughs with invented postcodes and practices, maternity units, laboratories, and who sends by which
//! address. What of it a broker must know is written as its configuration.
//!
//! The boroughs of each hub are those of the routing rules, section 1. Postcodes have real outcodes and inward parts that were
//! never given out; practices, units and all codes are made up.

use std::fmt::Write;

use super::dice::Dice;

/// GSS code, outcode, hub, sub-ICB.
type Borough = (&'static str, &'static str, &'static str, &'static str);

/// Routing rules, section 1: NE is North East and North Central London.
const BOROUGHS: [Borough; 33] = [
    ("E09000001", "EC2V", "NE", "A3A8R"),
    ("E09000002", "RM10", "NE", "A3A8R"),
    ("E09000003", "NW7", "NE", "93C"),
    ("E09000004", "DA6", "SE", "72Q"),
    ("E09000005", "HA9", "NW", "W2U3Z"),
    ("E09000006", "BR1", "SE", "72Q"),
    ("E09000007", "NW3", "NE", "93C"),
    ("E09000008", "CR0", "SW", "36L"),
    ("E09000009", "W5", "NW", "W2U3Z"),
    ("E09000010", "EN1", "NE", "93C"),
    ("E09000011", "SE10", "SE", "72Q"),
    ("E09000012", "E8", "NE", "A3A8R"),
    ("E09000013", "W6", "NW", "W2U3Z"),
    ("E09000014", "N22", "NE", "93C"),
    ("E09000015", "HA1", "NW", "W2U3Z"),
    ("E09000016", "RM1", "NE", "A3A8R"),
    ("E09000017", "UB8", "NW", "W2U3Z"),
    ("E09000018", "TW3", "NW", "W2U3Z"),
    ("E09000019", "N1", "NE", "93C"),
    ("E09000020", "W8", "NW", "W2U3Z"),
    ("E09000021", "KT1", "SW", "36L"),
    ("E09000022", "SW2", "SE", "72Q"),
    ("E09000023", "SE6", "SE", "72Q"),
    ("E09000024", "CR4", "SW", "36L"),
    ("E09000025", "E15", "NE", "A3A8R"),
    ("E09000026", "IG1", "NE", "A3A8R"),
    ("E09000027", "TW9", "SW", "36L"),
    ("E09000028", "SE1", "SE", "72Q"),
    ("E09000029", "SM1", "SW", "36L"),
    ("E09000030", "E2", "NE", "A3A8R"),
    ("E09000031", "E17", "NE", "A3A8R"),
    ("E09000032", "SW18", "SW", "36L"),
    ("E09000033", "W1G", "NW", "W2U3Z"),
];

/// Places outside London: authority, outcode, country.
const OUTSIDE: [(&str, &str, &str); 3] =
    [("E07000041", "EX2", "E92000001"), ("E06000047", "DH1", "E92000001"), ("W06000015", "CF10", "W92000004")];

/// Invented inward codes of each borough.
const INWARDS: [&str; 6] = ["1ZZ", "2ZZ", "3ZZ", "4ZZ", "5ZZ", "6ZZ"];
/// Practices of each borough.
const PRACTICES: usize = 4;
/// Maternity units.
pub(super) const UNITS: usize = 27;
/// Blood spot laboratories.
pub(super) const LABS: usize = 3;

/// The four hubs.
pub(super) const HUBS: [&str; 4] = ["NE", "NW", "SE", "SW"];
/// The hub that works where nobody is responsible.
pub(super) const DEFAULT_HUB: &str = "NE";

/// A place to live: a borough (33 and above: outside London) and one of its postcodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) borough: u8,
    pub(super) inward: u8,
    pub(super) house: u16,
}

/// A practice: its borough (33 and above: outside London) and number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Practice {
    pub(super) borough: u8,
    pub(super) number: u8,
}

/// Where somebody belongs by one ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    Hub(&'static str),
    Out,
}

fn area(borough: u8) -> Area {
    BOROUGHS.get(usize::from(borough)).map_or(Area::Out, |(_, _, hub, _)| Area::Hub(hub))
}

impl Home {
    /// Anywhere in London where `hub` looks after people.
    pub(super) fn of_hub(dice: &mut Dice, hub: &str) -> Self {
        let boroughs: Vec<u8> = (0..33_u8).filter(|borough| area(*borough) == Area::Hub(static_hub(hub))).collect();
        Self::in_borough(dice, |dice| dice.pick(&boroughs))
    }

    /// Outside London.
    pub(super) fn outside(dice: &mut Dice) -> Self {
        Self::in_borough(dice, |dice| 33 + u8::try_from(dice.below(OUTSIDE.len())).unwrap_or(0))
    }

    fn in_borough(dice: &mut Dice, borough: impl FnOnce(&mut Dice) -> u8) -> Self {
        let borough = borough(dice);
        Self {
            borough,
            inward: u8::try_from(dice.below(INWARDS.len())).unwrap_or(0),
            house: u16::try_from(dice.between(1, 299)).unwrap_or(1),
        }
    }

    pub(super) fn area(self) -> Area {
        area(self.borough)
    }

    pub(super) fn postcode(self) -> String {
        let inside = BOROUGHS.get(usize::from(self.borough)).map(|(_, outcode, _, _)| *outcode);
        let outside = || OUTSIDE.get(usize::from(self.borough).saturating_sub(33)).map(|(_, outcode, _)| *outcode);
        let inward = INWARDS.get(usize::from(self.inward)).copied().unwrap_or_default();
        format!("{} {inward}", inside.or_else(outside).unwrap_or_default())
    }

    pub(super) fn street(self) -> String {
        let streets = ["EXAMPLE STREET", "SAMPLE ROAD", "SPECIMEN LANE", "INVENTED CLOSE", "TEST TERRACE"];
        let street = streets.get(usize::from(self.house) % streets.len()).copied().unwrap_or_default();
        format!("{} {street}", self.house)
    }
}

impl Practice {
    /// A practice where this home is.
    pub(super) fn near(dice: &mut Dice, home: Home) -> Self {
        let many = if home.borough < 33 { PRACTICES } else { 1 };
        Self { borough: home.borough, number: u8::try_from(dice.below(many)).unwrap_or(0) }
    }

    pub(super) fn area(self) -> Area {
        area(self.borough)
    }

    /// ODS code.
    pub(super) fn ods(self) -> String {
        format!("Z{:02}{:03}", self.borough, self.number)
    }
}

/// A maternity unit's trust.
pub(super) fn trust(unit: u8) -> String {
    match u8::try_from(usize::from(unit) % UNITS).unwrap_or(0) {
        unit @ 0..26 => format!("RZ{}", char::from(b'A' + unit)),
        _ => "RYA".to_owned(),
    }
}

/// The hub in whose area a unit lies: the units are spread over the hubs as the boroughs are.
pub(super) fn unit_hub(unit: u8) -> &'static str {
    match usize::from(unit) % UNITS {
        0..11 => "NE",
        11..17 => "NW",
        17..22 => "SE",
        _ => "SW",
    }
}

/// A hub's name with the lifetime of the program; the default hub for what is none.
pub(super) fn static_hub(hub: &str) -> &'static str {
    HUBS.into_iter().find(|known| *known == hub).unwrap_or(DEFAULT_HUB)
}

/// A laboratory's trust.
pub(super) fn lab(number: u8) -> String {
    format!("RX{}", number % 3 + 1)
}

/// Who sends, each by an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Sender {
    /// The Spine: national events over HTTP.
    Spine,
    /// A maternity unit.
    Maternity(u8),
    /// The hospital's PAS.
    Pas(u8),
    /// A blood spot laboratory.
    Lab(u8),
    /// Newborn hearing screens of all London.
    Hearing,
    /// Physical examinations of newborns.
    Nipe,
    /// Practices.
    Gp,
    /// Health visitors of a hub's area.
    HealthVisitors(u8),
}

/// A source of `city.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) sender: Sender,
    pub(super) name: String,
    pub(super) rank: &'static str,
    pub(super) address: String,
}

impl Sender {
    pub(super) fn all() -> Vec<Self> {
        let units = || 0..u8::try_from(UNITS).unwrap_or(0);
        let mut all = vec![Self::Spine, Self::Hearing, Self::Nipe, Self::Gp];
        all.extend((0..u8::try_from(LABS).unwrap_or(0)).map(Self::Lab));
        all.extend((0..4).map(Self::HealthVisitors));
        all.extend(units().map(Self::Maternity));
        all.extend(units().map(Self::Pas));
        all
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Spine => "spine".into(),
            Self::Maternity(unit) => format!("maternity-{}", trust(unit).to_lowercase()),
            Self::Pas(unit) => format!("pas-{}", trust(unit).to_lowercase()),
            Self::Lab(number) => format!("lab-{}", lab(number).to_lowercase()),
            Self::Hearing => "hearing".into(),
            Self::Nipe => "nipe".into(),
            Self::Gp => "practices".into(),
            Self::HealthVisitors(hub) => {
                format!("health-visitors-{}", HUBS.get(usize::from(hub)).copied().unwrap_or_default().to_lowercase())
            }
        }
    }

    /// MSH-3 and MSH-4.
    pub(super) fn application(self) -> (&'static str, String) {
        match self {
            Self::Spine => ("SPINE", "X26".into()),
            Self::Maternity(unit) => ("MATERNITY", trust(unit)),
            Self::Pas(unit) => ("PAS", trust(unit)),
            Self::Lab(number) => ("NBSLIMS", lab(number)),
            Self::Hearing => ("S4H", "RW1".into()),
            Self::Nipe => ("S4N", "RW2".into()),
            Self::Gp => ("GPSYS", "Y00001".into()),
            Self::HealthVisitors(hub) => ("HVSYS", format!("RV{}", hub + 1)),
        }
    }

    fn rank(self) -> &'static str {
        match self {
            Self::Spine => "national",
            Self::Maternity(_) => "maternity",
            Self::Pas(_) => "pas",
            Self::Lab(_) => "laboratory",
            Self::Gp => "practice",
            Self::Hearing | Self::Nipe | Self::HealthVisitors(_) => "other",
        }
    }
}

/// All sources; each has a loopback address of its own, by which the broker knows it.
pub(super) fn sources() -> Vec<Source> {
    let source = |(number, sender): (usize, Sender)| {
        let address = format!("127.0.{}.{}", 1 + number / 200, 1 + number % 200);
        Source { sender, name: sender.name(), rank: sender.rank(), address }
    };
    Sender::all().into_iter().enumerate().map(source).collect()
}

/// `city.toml`: a broker for this city. Ports are given by whoever starts it.
pub(super) fn configuration() -> String {
    let mut text = String::from(
        "# A broker for this city: every sender has a loopback address of its own. Written by `gen`; `gen play` gives ports for :0.\n\
         allow_test_numbers = true\n\n[store]\ndata = \"data\"\n\n[mappings]\ndir = \"mappings\"\n\n[test]\nclock = \"clock\"\n\n\
         [log]\nlevel = \"warn\"\n\n[admin]\nlisten = \"127.0.0.1:0\"\n\n[[intake.mllp]]\nlisten = \"127.0.0.1:0\"\n\n[[intake.http]]\nlisten = \"127.0.0.1:0\"\n",
    );
    for source in sources() {
        let _written =
            write!(text, "\n[[source]]\nname = \"{}\"\npeers = [\"{}\"]\nrank = \"{}\"\n", source.name, source.address, source.rank);
    }
    for hub in HUBS {
        let _written = write!(text, "\n[[destination]]\nname = \"hub-{}\"\nkind = \"store\"\nhub = \"{hub}\"\n", hub.to_lowercase());
    }
    text
}

/// `mappings/hubs.toml` of the city.
pub(super) fn hubs_toml() -> String {
    let mut text = format!(
        "# The hubs of the city. Written by `gen`.\ndefault_hub = \"{DEFAULT_HUB}\"\npolicy = \"gp_then_residence\"\n\n\
         [directories]\npostcodes = \"directories/postcodes.csv\"\npractices = \"directories/practices.csv\"\n"
    );
    for hub in HUBS {
        let list = |of: &dyn Fn(&Borough) -> String| {
            let mut all: Vec<String> = BOROUGHS.iter().filter(|borough| borough.2 == hub).map(of).collect();
            all.dedup();
            all.sort();
            all.dedup();
            all.join(", ")
        };
        let (las, icbs) = (list(&|borough| format!("\"{}\"", borough.0)), list(&|borough| format!("\"{}\"", borough.3)));
        let _written = write!(
            text,
            "\n[[hub]]\nname = \"{hub}\"\ntitle = \"{hub} London\"\nods = \"HUB_{hub}\"\nlas = [{las}]\nsub_icbs = [{icbs}]\n"
        );
    }
    for unit in 0..u8::try_from(UNITS).unwrap_or(0) {
        let _written = write!(text, "\n[[birth_site]]\nods = \"{}\"\nhub = \"{}\"\n", trust(unit), unit_hub(unit));
    }
    text
}

/// `directories/postcodes.csv`, in the columns of the national file that routing reads.
pub(super) fn postcodes_csv() -> String {
    let mut text = String::from("pcds,doterm,oslaua,ccg,icb,ctry,lsoa21\n");
    let mut rows: Vec<String> = Vec::new();
    for inward in INWARDS {
        rows.extend(BOROUGHS.iter().map(|(la, outcode, _, _)| format!("{outcode} {inward},,{la},,,E92000001,")));
        rows.extend(OUTSIDE.iter().map(|(la, outcode, country)| format!("{outcode} {inward},,{la},,,{country},")));
    }
    rows.sort();
    text.push_str(&rows.join("\n"));
    text.push('\n');
    text
}

/// `directories/practices.csv`.
pub(super) fn practices_csv() -> String {
    let mut text = String::from("practice_ods,sub_icb,name\n");
    for borough in 0..u8::try_from(33 + OUTSIDE.len()).unwrap_or(33) {
        let icb = BOROUGHS.get(usize::from(borough)).map_or("15N", |(_, _, _, icb)| *icb);
        for number in 0..u8::try_from(PRACTICES).unwrap_or(1) {
            let _written = writeln!(text, "{},{icb},EXAMPLE PRACTICE {borough} {number}", Practice { borough, number }.ods());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Directory;

    #[test]
    fn the_city_routes_as_the_brokers_own_directory_does() {
        let open = |path: &str| {
            Ok(match path {
                "directories/postcodes.csv" => postcodes_csv(),
                _ => practices_csv(),
            }
            .into_bytes())
        };
        let directory = Directory::load(&hubs_toml(), "hubs.toml", &open).unwrap();
        assert_eq!(directory.degraded(), Vec::<String>::new());
        let today = jiff::civil::date(2026, 6, 1);
        for borough in 0..36 {
            let home = Home { borough, inward: 2, house: 7 };
            let address = crate::canon::Address { postcode: Some(home.postcode()), usage: Some("home".into()), ..Default::default() };
            let by_home = crate::canon::Child { addresses: vec![address], ..Default::default() };
            let gp = crate::canon::GpRegistration { practice_ods: Some(Practice { borough, number: 1 }.ods()), ..Default::default() };
            let by_practice = crate::canon::Child { gp: Some(gp), ..Default::default() };
            let said = match home.area() {
                Area::Hub(hub) => hub,
                Area::Out => "OUT",
            };
            assert_eq!(directory.decide(&by_home, None, today).hub.as_str(), said, "{borough}");
            assert_eq!(directory.decide(&by_practice, None, today).hub.as_str(), said, "{borough}");
        }
        for unit in 0..27 {
            let birth = crate::canon::BirthFacts { place_ods: Some(format!("{}01", trust(unit))), ..Default::default() };
            let born = crate::canon::Child { birth, ..Default::default() };
            assert_eq!(directory.decide(&born, None, today).hub.as_str(), unit_hub(unit), "{unit}");
        }
    }

    #[test]
    fn no_two_senders_share_a_name_or_an_address() {
        let all = sources();
        assert_eq!(all.len(), 4 + 3 + 4 + 27 + 27);
        let names: std::collections::BTreeSet<_> = all.iter().map(|source| &source.name).collect();
        let addresses: std::collections::BTreeSet<_> = all.iter().map(|source| &source.address).collect();
        assert_eq!((names.len(), addresses.len()), (all.len(), all.len()));
    }
}
