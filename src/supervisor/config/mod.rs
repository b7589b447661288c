//! A specification from a file in TOML: every mistake found at once, each with its line and column.
//!
//! Reading asks for keys and notes what it does not like; nothing stops at the first mistake. The rules that
//! hold for the whole are those of [`check`](super::check), with the places that reading remembered.

mod children;
mod options;
mod reader;
mod report;
#[cfg(test)]
mod test;
pub(crate) mod units;

use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use super::check::{Flaw, check};
use super::specification::Specification;
use reader::{Fields, Notes, Value};
pub use report::{Mistake, Report};

/// Reads the text of a file. `name` is what the report calls it; relative paths in it start at `base`.
///
/// # Errors
/// If anything in it is wrong: everything that is.
pub fn parse(text: &str, name: &str, base: &Path) -> Result<Specification, Report> {
    let notes = Notes::default();
    let specification = parse_noting(text, base, &notes);
    let mistakes = notes.mistakes.into_inner();
    if mistakes.is_empty() { Ok(specification) } else { Err(Report::new(name, text, mistakes)) }
}

fn parse_noting(text: &str, base: &Path, notes: &Notes) -> Specification {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What follows a syntax error is guesswork; its consequences would hide it.
        for error in errors {
            notes.mistake(error.span().unwrap_or_default(), error.message());
        }
        return Specification::default();
    }
    let specification = root(&Fields::new(notes, "", "", table.get_ref(), 0..0), base, notes);
    if notes.mistakes.borrow().is_empty() {
        for flaw in check(&specification) {
            notes.mistake(place_of(&flaw, notes), flaw.text);
        }
    }
    specification
}

fn root(fields: &Fields<'_>, base: &Path, notes: &Notes) -> Specification {
    let mut specification = Specification::default();
    let mut order = Vec::new();
    fields.read("supervisor", &mut specification.root, |value| {
        let fields = value.fields()?;
        let supervision = options::supervision(&fields);
        fields.finish();
        Some(supervision)
    });
    each("program", fields, notes, &mut order, |name, fields| {
        specification.programs.push(children::program(name, fields, base));
    });
    each("pool", fields, notes, &mut order, |name, fields| {
        specification.pools.push(children::pool(name, fields, base));
    });
    each("group", fields, notes, &mut order, |name, fields| {
        specification.groups.push(children::group(name, fields));
    });
    fields.finish();
    order.sort();
    specification.order = order.into_iter().map(|(_, name)| name).collect();
    specification
}

/// The tables of one kind, by name.
fn each(
    kind: &'static str,
    fields: &Fields<'_>,
    notes: &Notes,
    order: &mut Vec<(usize, String)>,
    mut take: impl FnMut(&str, Fields<'_>),
) {
    let entries = fields.get(kind).and_then(|value: Value<'_>| value.entries());
    for (name, span, value) in entries.into_iter().flatten() {
        order.push((span.start, name.to_owned()));
        notes.place(name, "", None, span.clone());
        if let Some(fields) = value.fields_of(name, span) {
            take(name, fields);
        }
    }
}

/// The nearest thing to a flaw that the file has.
fn place_of(flaw: &Flaw, notes: &Notes) -> Range<usize> {
    let places = notes.places.borrow();
    let exact = (flaw.name.clone(), flaw.key, flaw.item.clone());
    let key = (flaw.name.clone(), flaw.key, None);
    let name = (flaw.name.clone(), "", None);
    [exact, key, name].iter().find_map(|place| places.get(place).cloned()).unwrap_or_default()
}
