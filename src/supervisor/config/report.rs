//! What is wrong with a file, for people: line, column, and the line itself.

use std::fmt;
use std::ops::Range;

/// Something in the file that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// Counted from one.
    pub line: usize,
    /// Counted from one, in characters.
    pub column: usize,
    /// What is wrong.
    pub text: String,
}

/// Everything that is wrong with a file, from top to bottom. Prints as an editor can read it:
/// `file:line:column: text`, and the line beneath.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Report {
    name: String,
    file: String,
    mistakes: Vec<Mistake>,
}

/// The longest part of a line that is shown.
const MOST_SHOWN: usize = 100;

impl Report {
    pub(super) fn new(name: &str, source: &str, mut found: Vec<(Range<usize>, String)>) -> Report {
        found.sort_by_key(|(span, _)| (span.start, span.end));
        found.dedup();
        let mistakes = found.into_iter().map(|(span, text)| {
            let (line, column) = position(source, span.start);
            Mistake { span, line, column, text }
        });
        Report { name: name.to_owned(), mistakes: mistakes.collect(), file: source.to_owned() }
    }

    /// From top to bottom; never empty.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

fn position(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (line, before[start..].chars().count() + 1)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}:{}: {}", self.name, mistake.line, mistake.column, mistake.text)?;
            self.show_line(f, mistake)?;
        }
        Ok(())
    }
}

impl Report {
    fn show_line(&self, f: &mut fmt::Formatter<'_>, mistake: &Mistake) -> fmt::Result {
        let line = self.file.lines().nth(mistake.line - 1).unwrap_or_default();
        if line.trim().is_empty() || mistake.column > MOST_SHOWN {
            return Ok(());
        }
        // A control character, or a tab, would move what stands beneath.
        let shown = line.chars().take(MOST_SHOWN).map(|c| if c.is_control() { ' ' } else { c });
        let shown: String = shown.collect();
        let marked = self.file.get(mistake.span.clone()).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default().chars().count();
        let room = shown.chars().count().saturating_sub(mistake.column - 1);
        let number = mistake.line.to_string();
        write!(f, "\n {number} | {shown}\n {:width$} | ", "", width = number.len())?;
        write!(f, "{}{}", " ".repeat(mistake.column - 1), "^".repeat(marked.clamp(1, room.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_under_its_line() {
        let source = "a = 1\nfür = \"x\"\n";
        let at = source.find("\"x\"").unwrap();
        let report = Report::new("f.toml", source, vec![(at..at + 3, "is bad".to_owned())]);
        assert_eq!(report.to_string(), "f.toml:2:7: is bad\n 2 | für = \"x\"\n   |       ^^^");
    }

    #[test]
    fn a_mistake_at_the_end_or_in_a_huge_line_is_still_reported() {
        let long = format!("a = {}", "x".repeat(5000));
        let found = vec![(4000..4001, "far".to_owned()), (5004..5004, "end".to_owned())];
        let report = Report::new("f", &long, found);
        assert_eq!(report.to_string(), "f:1:4001: far\nf:1:5005: end");
        assert_eq!(Report::new("f", "", vec![(0..0, "empty".to_owned())]).to_string(), "f:1:1: empty");
    }
}
