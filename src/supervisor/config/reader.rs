//! Tables and values with their places. Whoever reads asks for keys; what was never asked for is unknown.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::units;
use crate::supervisor::check::nearest;

/// Where a name, a key of it, or an item of that key's list stands.
pub(super) type Place = (String, &'static str, Option<String>);

/// What reading brings besides the specification.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) mistakes: RefCell<Vec<(Range<usize>, String)>>,
    /// Every key that was asked for, as `table.key`.
    pub(super) keys: RefCell<BTreeSet<String>>,
    pub(super) places: RefCell<BTreeMap<Place, Range<usize>>>,
}

impl Notes {
    pub(super) fn mistake(&self, span: Range<usize>, text: impl Into<String>) {
        self.mistakes.borrow_mut().push((span, text.into()));
    }

    pub(super) fn place(&self, name: &str, key: &'static str, item: Option<&str>, span: Range<usize>) {
        self.places.borrow_mut().insert((name.to_owned(), key, item.map(str::to_owned)), span);
    }
}

/// A table that is being read.
pub(super) struct Fields<'a> {
    notes: &'a Notes,
    /// What the documentation calls it, such as `program` or `program.backoff`.
    title: String,
    /// The program, pool or group that it belongs to.
    owner: &'a str,
    table: &'a DeTable<'a>,
    pub(super) span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        notes: &'a Notes,
        title: impl Into<String>,
        owner: &'a str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Fields<'a> {
        Fields { notes, title: title.into(), owner, table, span, asked: RefCell::default() }
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(key);
        let title = if self.title.is_empty() { key.to_owned() } else { format!("{}.{key}", self.title) };
        self.notes.keys.borrow_mut().insert(title.clone());
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        if !self.title.contains('.') {
            self.notes.place(self.owner, key, None, name.span());
        }
        Some(Value { notes: self.notes, title, owner: self.owner, key, value })
    }

    pub(super) fn has_any(&self, keys: &[&str]) -> bool {
        self.table.keys().any(|name| keys.contains(&name.get_ref().as_ref()))
    }

    /// Replaces `into` if the key is there and its value can be read.
    pub(super) fn read<T>(&self, key: &'static str, into: &mut T, how: impl FnOnce(&Value<'a>) -> Option<T>) {
        if let Some(value) = self.get(key).and_then(|value| how(&value)) {
            *into = value;
        }
    }

    /// As `read`, for what has no default.
    pub(super) fn read_some<T>(
        &self,
        key: &'static str,
        into: &mut Option<T>,
        how: impl FnOnce(&Value<'a>) -> Option<T>,
    ) {
        self.read(key, into, |value| how(value).map(Some));
    }

    pub(super) fn mistake(&self, text: impl Into<String>) {
        self.notes.mistake(self.span.clone(), text);
    }

    /// Complains about every key that was not asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (name, _) in self.table.iter().filter(|(name, _)| !asked.contains(&name.get_ref().as_ref())) {
            let place = if self.title.is_empty() { String::new() } else { format!(" of `{}`", self.title) };
            let hint = match nearest(name.get_ref(), asked.iter().copied()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; there are: {}", asked.join(", ")),
            };
            self.notes.mistake(name.span(), format!("`{}` is no key{place}{hint}", name.get_ref()));
        }
    }
}

/// A value that is being read. Each way to read it notes a mistake and gives `None` if it is something else.
pub(super) struct Value<'a> {
    notes: &'a Notes,
    title: String,
    pub(super) owner: &'a str,
    key: &'static str,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn mistake(&self, text: impl Into<String>) {
        self.notes.mistake(self.value.span(), text);
    }

    fn wanted<T>(&self, what: &str, found: Option<T>) -> Option<T> {
        if found.is_none() {
            let is = kind(self.value.get_ref());
            self.mistake(format!("`{}` must be {what}, and this is {is}", self.title));
        }
        found
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.get_ref().is_array()
    }

    pub(super) fn text(&self) -> Option<String> {
        let text = self.wanted("a string", self.value.get_ref().as_str())?;
        if text.contains('\0') {
            self.mistake("a NUL byte cannot be part of this");
            return None;
        }
        Some(text.to_owned())
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.wanted("true or false", self.value.get_ref().as_bool())
    }

    pub(super) fn number<T: TryFrom<i64>>(&self) -> Option<T> {
        let integer = self.wanted("a whole number", self.value.get_ref().as_integer())?;
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.mistake(format!("{} is out of range for `{}`", integer.as_str(), self.title));
        }
        number
    }

    /// A number of which zero makes no sense.
    pub(super) fn some_number<T: TryFrom<i64> + PartialEq + Default>(&self) -> Option<T> {
        let number = self.number::<T>()?;
        if number == T::default() {
            self.mistake(format!("`{}` must be at least 1", self.title));
            return None;
        }
        Some(number)
    }

    pub(super) fn real(&self) -> Option<f64> {
        let text = match self.value.get_ref() {
            DeValue::Float(float) => Some(float.as_str()),
            DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str()),
            _ => None,
        };
        self.wanted("a number", text.and_then(|text| text.parse().ok()))
    }

    /// The text of a string, or of a plain number.
    fn written(&self, what: &str) -> Option<&'a str> {
        let text = match self.value.get_ref() {
            DeValue::String(text) => Some(text.as_ref()),
            DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str()),
            DeValue::Float(float) => Some(float.as_str()),
            _ => None,
        };
        self.wanted(what, text)
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        self.noted(units::duration(self.written("a time, such as \"2s\"")?))
    }

    pub(super) fn some_duration(&self) -> Option<Duration> {
        self.noted(units::some_duration(self.written("a time, such as \"2s\"")?))
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.noted(units::size(self.written("a size, such as \"64MiB\"")?))
    }

    /// A size that may be zero.
    pub(super) fn size_or_none(&self) -> Option<u64> {
        match self.written("a size, such as \"64MiB\"")? {
            "0" => Some(0),
            text => self.noted(units::size(text)),
        }
    }

    /// The value, unless reading it failed for this reason.
    pub(super) fn noted<T>(&self, result: Result<T, String>) -> Option<T> {
        result.map_err(|text| self.mistake(text)).ok()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = match nearest(&text, all.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", all.join(", ")),
            };
            self.mistake(format!("`{text}` is none of the words for `{}`; {hint}", self.title));
        }
        found
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Option<Vec<Value<'a>>> {
        let array = self.wanted("a list", self.value.get_ref().as_array())?;
        Some(array.iter().map(|value| self.within(value)).collect())
    }

    fn within(&self, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value { notes: self.notes, title: self.title.clone(), owner: self.owner, key: self.key, value }
    }

    /// A list of strings.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        Some(self.items()?.iter().filter_map(Value::text).collect())
    }

    /// A table whose keys the reader knows.
    pub(super) fn fields(&self) -> Option<Fields<'a>> {
        let table = self.wanted("a table", self.value.get_ref().as_table())?;
        Some(Fields::new(self.notes, self.title.clone(), self.owner, table, self.value.span()))
    }

    /// The table of a program, pool or group of this name, whose header is at `span`.
    pub(super) fn fields_of(&self, name: &'a str, span: Range<usize>) -> Option<Fields<'a>> {
        let table = self.wanted("a table", self.value.get_ref().as_table())?;
        Some(Fields::new(self.notes, self.title.clone(), name, table, span))
    }

    /// A table whose keys are names.
    pub(super) fn entries(&self) -> Option<Vec<(&'a str, Range<usize>, Value<'a>)>> {
        let table = self.wanted("a table", self.value.get_ref().as_table())?;
        let entry = |(name, value): (&'a Spanned<_>, _)| {
            let name: &'a Spanned<std::borrow::Cow<'a, str>> = name;
            (name.get_ref().as_ref(), name.span(), self.within(value))
        };
        Some(table.iter().map(entry).collect())
    }

    /// Remembers that this value, or its key, is the item `item` of the owner's list.
    pub(super) fn is_item(&self, item: &str, span: Option<Range<usize>>) {
        let span = span.unwrap_or_else(|| self.value.span());
        self.notes.place(self.owner, self.key, Some(item), span);
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
