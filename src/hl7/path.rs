//! `PID-3[4.1 = "NHS"].1`: where in a message. Parsed strictly once; a typo is an error with its place.

use std::ops::Range;

/// Which of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Number from 1.
    Number(usize),
    /// The last.
    Last,
    /// All of them.
    All,
    /// Those whose element equals (or differs from) a text.
    Where(Condition),
}

/// `4.1 = "NHS"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Numbers relative to what is selected: `[field, component, sub]` for a segment, `[component, sub]` for a repetition.
    pub element: Vec<usize>,
    /// `=` or `!=`.
    pub equal: bool,
    /// Compared with the unescaped value.
    pub text: String,
}

/// What a path starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A segment by id, with a selector.
    Segment { id: String, selector: Option<Selector> },
    /// A name of `[let]`: `$name`.
    Let(String),
}

/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Segment or let-name.
    pub root: Root,
    /// Field from 1, with a selector among its repetitions. Absent for a whole segment and after a let-name.
    pub field: Option<(usize, Option<Selector>)>,
    /// Component from 1.
    pub component: Option<usize>,
    /// Sub-component from 1.
    pub sub: Option<usize>,
}

/// Why a text is no path: where in the text, what, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PathError {
    /// Bytes of the text that are wrong.
    pub span: Range<usize>,
    /// Lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Path {
    /// Parses `PID-3[4.1 = "NHS"].1` and also `PID.3.1`.
    pub fn parse(_text: &str) -> Result<Self, PathError> {
        unimplemented!()
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unimplemented!()
    }
}
