//! Standard output: the result of a command and nothing else; and tables that line up.

use std::io::{self, BufWriter, IsTerminal, Write};

use serde_json::Value;

/// Where a command's result goes.
///
/// It is never coloured: tables line up without, and what people pipe and keep should stay plain.
pub struct Out {
    sink: Box<dyn Write>,
}

impl Out {
    /// The process's own.
    pub fn stdout() -> Self {
        Self { sink: Box::new(BufWriter::new(io::stdout())) }
    }

    /// Into memory, for tests.
    #[cfg(test)]
    pub fn to(sink: impl Write + 'static) -> Self {
        Self { sink: Box::new(sink) }
    }

    /// A value on its own lines.
    pub fn json(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.sink, value)?;
        self.sink.write_all(b"\n")
    }

    /// A value on one line.
    pub fn json_line(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.sink, value)?;
        self.sink.write_all(b"\n")
    }

    /// Rows under their heads; numbers stand to the right.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let width = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .chain([heads.get(column).map_or(0, |head| head.len())])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let is_number = |column: usize| {
            !rows.is_empty()
                && rows
                    .iter()
                    .all(|row| row.get(column).is_some_and(|cell| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit())))
        };
        let right: Vec<bool> = (0..heads.len()).map(is_number).collect();
        self.row(&heads.iter().map(|head| head.to_uppercase()).collect::<Vec<_>>(), &widths, &right)?;
        for row in rows {
            self.row(row, &widths, &right)?;
        }
        Ok(())
    }

    fn row(&mut self, cells: &[String], widths: &[usize], right: &[bool]) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, width), is_right) in cells.iter().zip(widths).zip(right) {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            let padded = if *is_right { format!("{gap}{cell}  ") } else { format!("{cell}{gap}  ") };
            line.push_str(&padded);
        }
        writeln!(self.sink, "{}", line.trim_end())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Text of a JSON value as it stands in a table: strings without quotation marks, nothing for null.
pub fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// `1 debt`, `2 debts`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Whether what is told to the person may be coloured.
pub fn is_stderr_coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
