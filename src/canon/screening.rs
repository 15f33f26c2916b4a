//! Newborn screening: blood spot, hearing, physical examination (canonical model, section 2).

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::*;

/// How final an outcome is (OBX-11, Encounter.status).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultStatus {
    /// Final.
    #[default]
    Final,
    /// Corrects an earlier final one.
    Corrected,
    /// Taken back.
    Deleted,
    /// Belongs to somebody else.
    WrongPatient,
    /// Not final yet.
    Prelim,
    /// Could not be obtained.
    CannotObtain,
}

impl ResultStatus {
    /// OBX-11 D, W: what was said of this condition is no more, or was another child's.
    pub fn takes_back(self) -> bool {
        matches!(self, Self::Deleted | Self::WrongPatient)
    }
}

/// The blood spot card and its way.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Serial number of the card (OBR-2).
    pub card_no: Option<String>,
    /// Laboratory accession (OBR-3).
    pub accession: Option<String>,
    /// ODS code of the laboratory.
    pub lab_ods: Option<String>,
    /// When the heel was pricked.
    pub taken: Option<Instant>,
    /// When the laboratory had it.
    pub received: Option<Instant>,
    /// Completed weeks.
    pub gestation: Option<i64>,
    /// The baby had been transfused.
    pub transfused: Option<bool>,
}

/// One condition's outcome.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConditionOutcome {
    /// `PKU`, `SCD`, `CF`, `CHT`, `MCADD`, `MSUD`, `IVA`, `GA1`, `HCU`, `HT1`, `SCID`.
    pub condition: String,
    /// SNOMED CT code of the screening procedure.
    pub procedure_code: Option<String>,
    /// NBS status, two digits `01` to `10`; `unclassified` where a known procedure has an outcome that no table knows.
    pub nbs_status: Option<String>,
    /// NBS sub-status, four digits.
    pub nbs_substatus: Option<String>,
    /// SNOMED CT code of the outcome.
    pub outcome_code: Option<String>,
    /// The sender's words for it.
    pub outcome_text: Option<String>,
    /// How final it is.
    pub result_status: ResultStatus,
    /// When it was analysed.
    pub at: Option<Instant>,
    /// `invalid_for_condition`, `zero_restored`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
}

/// All outcomes of one blood spot sample. Key: (publisher, accession or Encounter.identifier); a national version overwrites the whole, a
/// laboratory's the conditions that it names.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BloodSpotResult {
    /// The publisher's id of this result set: lab accession, Encounter.identifier.
    pub key: Option<String>,
    /// Who gave that id, where it is not the publisher of the whole statement (OBR-3.2 of each card).
    pub publisher: Option<String>,
    /// The card.
    pub sample: Sample,
    /// When the child health service was given it.
    pub received_at: Option<Instant>,
    /// One for each condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<ConditionOutcome>,
    /// The laboratory's words. Never shown to parents.
    pub comment: Option<String>,
}

/// One test of one ear.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HearingTest {
    /// `AABR` or `AOAE`.
    pub kind: Option<String>,
    /// `left` or `right`.
    pub ear: Option<String>,
    /// Outcome in words of the table: `clear`, `no_clear`; `unclassified` where a known test has an outcome that no table knows.
    pub status: Option<String>,
    /// Outcome as sent.
    pub result: Option<Code>,
    /// When.
    pub at: Option<Instant>,
}

/// A newborn hearing screen.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HearingScreen {
    /// The publisher's id.
    pub key: Option<String>,
    /// When.
    pub at: Option<Instant>,
    /// Site, ODS.
    pub site: Option<String>,
    /// Who tested.
    pub performer: Option<String>,
    /// Up to six tests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<HearingTest>,
    /// Overall outcome in words of the table, or `unclassified`.
    pub summary_status: Option<String>,
    /// Overall outcome as sent.
    pub summary: Option<Code>,
    /// When the overall outcome was set.
    pub summary_at: Option<Instant>,
    /// Comment. Never shown to parents.
    pub comment: Option<String>,
}

/// What one part of the examination found.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NipeFinding {
    /// Outcome in words of the table; `unclassified` where no table knows it.
    pub status: Option<String>,
    /// `left`, `right`, `both`.
    pub side: Option<String>,
    /// Risk factor named.
    pub risk: Option<String>,
    /// SNOMED CT outcome.
    pub code: Option<Code>,
}

/// A newborn (72 hours) or infant (6 to 8 weeks) physical examination.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NipeExam {
    /// The publisher's id.
    pub key: Option<String>,
    /// `newborn_72h` or `infant_6_8w`.
    pub kind: Option<String>,
    /// When.
    pub at: Option<Instant>,
    /// Site, ODS.
    pub site: Option<String>,
    /// Who examined.
    pub performer: Option<String>,
    /// Eyes.
    pub eyes: Option<NipeFinding>,
    /// Heart.
    pub heart: Option<NipeFinding>,
    /// Hips.
    pub hips: Option<NipeFinding>,
    /// Testes.
    pub testes: Option<NipeFinding>,
    /// Eligible for BCG.
    pub bcg_eligible: Option<bool>,
    /// Comment. Never shown to parents.
    pub comment: Option<String>,
}
