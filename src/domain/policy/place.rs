//! Where in a policy something stands.

use std::fmt;

use super::Source;

/// A place in a policy: the start of a fact, or a whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    file: String,
    spot: Option<Spot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    line: usize,
    column: usize,
    text: String,
}

impl Place {
    /// The policy as a whole.
    pub(super) fn whole() -> Self {
        Self {
            file: "policy".to_owned(),
            spot: None,
        }
    }

    /// The place of a part of the source's text.
    pub(super) fn of(source: &Source, part: &str) -> Self {
        let text = source.text.as_str();
        let offset = (part.as_ptr() as usize)
            .checked_sub(text.as_ptr() as usize)
            .filter(|offset| *offset <= text.len())
            .unwrap_or(0);
        // White space before a fact belongs to what precedes it.
        let blank = part.len() - part.trim_start().len();
        let (before, rest) = text.split_at_checked(offset + blank).unwrap_or((text, ""));
        let start = before.rsplit('\n').next().unwrap_or_default();
        // Both characters of the line's end are behind its last column.
        let start = match start.strip_suffix('\r') {
            Some(line) if rest.starts_with('\n') => line,
            Some(_) | None => start,
        };
        let end = rest.lines().next().unwrap_or_default();
        Self {
            file: source.name.clone(),
            spot: Some(Spot {
                line: before.matches('\n').count() + 1,
                column: start.chars().count() + 1,
                text: format!("{start}{end}"),
            }),
        }
    }

    /// The line, and below it a caret under the column.
    #[must_use]
    pub fn excerpt(&self) -> Option<String> {
        let Spot { line, column, text } = self.spot.as_ref()?;
        let number = line.to_string();
        // Tabs stay, so that the caret stands where the terminal puts the column.
        let indent = text.chars().take(column - 1);
        let indent: String = indent.map(|c| if c == '\t' { c } else { ' ' }).collect();
        let margin = " ".repeat(number.len());
        Some(format!("{number} | {text}\n{margin} | {indent}^"))
    }
}

impl fmt::Display for Place {
    /// `file:line:column`, or the file alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match &self.spot {
            Some(Spot { line, column, .. }) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_column() {
        let source = Source {
            name: "mine.datalog".to_owned(),
            text: "public(\"GET\", \"/é\");\n\tfoo(1); bar(2);\n".to_owned(),
        };
        let at = |word| {
            let start = source.text.find(word).unwrap();
            Place::of(&source, source.text.get(start..).unwrap())
        };
        let second = at("bar");
        assert_eq!(second.to_string(), "mine.datalog:2:10");
        let caret = format!("2 | \tfoo(1); bar(2);\n  | \t{}^", " ".repeat(8));
        assert_eq!(second.excerpt(), Some(caret));
        assert_eq!(at("/é").to_string(), "mine.datalog:1:16");
        assert_eq!(Place::whole().excerpt(), None);
    }
}
