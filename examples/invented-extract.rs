//! Writes the extract of an old child health system that never was: children, and five vaccinations of each, for measuring `import`.
//!
//!     cargo run --release --example invented-extract -- 100000 DIR

#![allow(missing_docs, reason = "a tool for measuring")]

use std::fs::File;
use std::io::{BufWriter, Error, Result, Write};
use std::path::Path;

const CHILDREN: &str = "ORG_CODE,LOCAL_ID,NHS_NUMBER,NHS_NUMBER_STATUS,FAMILY_NAME,GIVEN_NAME,MIDDLE_NAMES,DATE_OF_BIRTH,SEX,\
    ETHNIC_CATEGORY,ADDRESS_1,ADDRESS_2,ADDRESS_3,POSTCODE,TELEPHONE,GP_PRACTICE,MOTHER_NHS_NUMBER,MOTHER_FAMILY_NAME,\
    MOTHER_GIVEN_NAME,MOTHER_DATE_OF_BIRTH,BIRTH_WEIGHT_G,GESTATION_WEEKS,BIRTH_ORDER,DATE_OF_DEATH,LAST_UPDATED";
const VACCINATIONS: &str = "ORG_CODE,LOCAL_ID,NHS_NUMBER,NHS_NUMBER_STATUS,DATE_OF_BIRTH,FAMILY_NAME,EVENT_ID,EVENT_DATE,GIVEN,\
    PROCEDURE_CODE,PROCEDURE_TERM,VACCINE_CODE,VACCINE_TERM,DOSE_NUMBER,BATCH,EXPIRY_DATE,REASON_NOT_GIVEN,GIVEN_BY,LOCATION_ODS,\
    RECORDED_DATE";
const EACH: u32 = 5;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, folder] = arguments.as_slice() else { return Err(Error::other("say how many children, and a folder")) };
    let count: usize = count.parse().map_err(|_| Error::other("say how many children"))?;
    let file = |name: &str| File::create(Path::new(folder).join(name)).map(|file| BufWriter::with_capacity(1 << 20, file));
    let (mut children, mut vaccinations) = (file("children.csv")?, file("immunisations.csv")?);
    writeln!(children, "{CHILDREN}")?;
    writeln!(vaccinations, "{VACCINATIONS}")?;
    for (child, nhs) in (0..1_000_000).filter_map(nhs_number).take(count).enumerate() {
        let (day, month, year) = (child % 28 + 1, child / 28 % 12 + 1, 2010 + child / 336 % 15);
        let (born, sex) = (format!("{day:02}/{month:02}/{year}"), child % 2 + 1);
        // Each twentieth has a code that nobody knows, so that the report has something to say.
        let sex = if child % 20 == 19 { "X".to_owned() } else { sex.to_string() };
        writeln!(
            children,
            "RQX,C{child},{nhs},01,EXAMPLE{child},AMARA,ROSE,{born},{sex},A,{child} TEST STREET,,LONDON,SE1 9ZZ,02079460123,G85001,,EXAMPLE,ROSE,12/06/1990,3250,39,1,,01/02/2026"
        )?;
        for event in 1..=EACH {
            writeln!(
                vaccinations,
                "RQX,C{child},{nhs},01,{born},EXAMPLE{child},V{child}-{event},{day:02}/{month:02}/{},Y,999010000000109,Invented procedure,999020000000100,Invented vaccine,{event},B{event},31/12/2030,,NURSE A,G85001,{day:02}/{month:02}/{}",
                year + 1,
                year + 1
            )?;
        }
    }
    children.flush()?;
    vaccinations.flush()
}

/// A number of the range that is never issued; none where the check digit would have to be 10.
fn nhs_number(serial: u32) -> Option<String> {
    let digits = format!("999{serial:06}");
    let sum: u32 = digits.bytes().zip((2..=10).rev()).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    match 11 - sum % 11 {
        10 => None,
        check => Some(format!("{digits}{}", check % 11)),
    }
}
