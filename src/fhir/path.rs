//! The FHIRPath subset of mapping files, on the generic tree.
use serde_json::Value;
use std::ops::Range;
/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// Lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}
/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path { _private: () }
/// A node found, with its place: `Bundle.entry[3].resource.name[0].family`.
#[derive(Clone, Debug)]
pub struct Found<'t> {
    /// The node.
    pub value: &'t Value,
    /// Where it is, indices from 0 as FHIRPath writes them.
    pub location: String,
}
/// Names that stand for nodes: `$patient`.
pub type Lets<'t> = std::collections::HashMap<String, Vec<Found<'t>>>;
impl Path {
    /// Parses names, `[n]`, `where(a = 'x' and …)`, `ofType(T)`, `first()`, `last()`, `exists()`, `extension('url')`, `resolve()`, `$name`.
    pub fn parse(_text: &str) -> Result<Self, PathError> { unimplemented!() }
    /// The let-names it uses.
    pub fn lets(&self) -> Vec<&str> { unimplemented!() }
    /// All nodes, in document order. `root` is the Bundle (or resource); `resolve()` follows references by fullUrl or `Type/id` inside it.
    pub fn find<'t>(&self, _root: &'t Value, _lets: &Lets<'t>) -> Vec<Found<'t>> { unimplemented!() }
}
