//! MSH, read by itself in bytes: all that an answer needs.

/// The message header. Texts are as sent (not unescaped), decoded lossily for display only.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// MSH-1.
    pub field: u8,
    /// MSH-2 as sent, 1 to 5 characters.
    pub encoding: String,
    /// MSH-3.
    pub sending_application: String,
    /// MSH-4.
    pub sending_facility: String,
    /// MSH-5.
    pub receiving_application: String,
    /// MSH-6.
    pub receiving_facility: String,
    /// MSH-7.
    pub time: String,
    /// MSH-9.1, `ADT`.
    pub code: String,
    /// MSH-9.2, `A28`.
    pub trigger: String,
    /// MSH-9.3, `ADT_A05`, possibly empty.
    pub structure: String,
    /// MSH-10.
    pub control_id: String,
    /// MSH-11.1.
    pub processing_id: String,
    /// MSH-12.1.
    pub version: String,
    /// MSH-15; `""` counts as empty.
    pub accept_ack: String,
    /// MSH-16; `""` counts as empty.
    pub application_ack: String,
    /// MSH-17.
    pub country: String,
    /// MSH-18 first repetition.
    pub charset: String,
    /// MSH-19.
    pub language: String,
}

/// The bytes do not begin with an MSH that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No MSH at the start (a BOM and newlines before it are skipped).
    #[error("the message does not begin with MSH")]
    NoMsh,
    /// MSH-1 or MSH-2 cannot be delimiters.
    #[error("MSH-2 holds letters, digits or nothing where delimiters belong")]
    Delimiters,
}

impl Header {
    /// Reads MSH from the raw bytes of a message.
    pub fn read(_raw: &[u8]) -> Result<Self, HeaderError> {
        unimplemented!()
    }
    /// `ADT^A28`, or `ADT` where there is no trigger.
    pub fn message_type(&self) -> String {
        unimplemented!()
    }
}
