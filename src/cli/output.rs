//! What commands print on standard output: one JSON document, or lines for people.

use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::Value;

use super::failure::Failure;

/// Prints a line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // Whoever read has seen enough: `hardtack devices list | head -1`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::unexpected(format!(
            "standard output cannot be written: {error}"
        ))),
    }
}

/// Prints a JSON document on one line.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Prints rows as a table: aligned with a bold head on a terminal, separated by
/// tabs elsewhere.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        return rows.iter().try_for_each(|row| line(&row.join("\t")));
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(i, title)| width(i).max(title.chars().count()))
        .collect();
    let padded = |cells: &mut dyn Iterator<Item = &str>| -> String {
        let cells = cells.zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let title = padded(&mut head.iter().copied());
    line(&format!("\u{1b}[1m{title}\u{1b}[0m"))?;
    rows.iter()
        .try_for_each(|row| line(&padded(&mut row.iter().map(String::as_str))))
}

/// A member of an answer as text; empty if it is absent or null.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member of an answer that is a list of texts, joined.
pub(super) fn joined(value: &Value, name: &str) -> String {
    let list = value.get(name).and_then(Value::as_array);
    let texts: Vec<&str> = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    texts.join(" ")
}
