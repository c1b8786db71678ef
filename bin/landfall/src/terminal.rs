//! Talking to a person: tables, colours, errors with their causes.

use serde_json::Value;
use std::error::Error;
use std::io::{IsTerminal, Write};

/// Prints an error and every cause below it, once each.
pub(crate) fn report(error: &dyn Error) {
    let mut err = std::io::stderr().lock();
    let label = if std::io::stderr().is_terminal() { "\x1b[1;31merror\x1b[0m" } else { "error" };
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(err, "{label}: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = writeln!(err, "  because: {inner}");
        cause = inner.source();
    }
}

/// One line of progress on stderr, so that stdout stays data.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// How good a piece of news is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Poor,
    Bad,
}

/// Colours `text` if stdout is a terminal.
pub(crate) fn paint(tone: Tone, text: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => 32,
        Tone::Poor => 33,
        Tone::Bad => 31,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Lays rows out in columns under a heading; nothing at all without rows.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let widths: Vec<usize> = heading
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count());
            cells.chain([name.len()]).max().unwrap_or_default()
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut heading.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// A value as a cell of a table.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(
        || if value.is_null() { "-".to_owned() } else { value.to_string() },
        str::to_owned,
    )
}

/// What follows the last slash of an ARN.
pub(crate) fn short(arn: &Value) -> String {
    text(arn).rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["longer".into(), "2".into()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME    N\na       1\nlonger  2\n");
        assert_eq!(table(&["NAME"], &[]), "");
    }
}
