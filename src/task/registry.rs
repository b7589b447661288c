//! Tasks by name: what an executable offers, and how a caller finds what it wants.

use std::any::TypeId;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::call::CallFailure;
use super::identity::Descriptor;

/// Every task that is linked into this executable, put there by `#[task]`.
#[linkme::distributed_slice]
pub static TASKS: [Entry];

/// One annotated function. Built by `#[task]` alone.
pub struct Entry {
    /// Crate, modules and function, or the name that the attribute gives.
    pub name: &'static str,
    /// The first paragraph of its documentation.
    pub doc: &'static str,
    /// Names and types of its parameters.
    pub parameters: fn() -> Vec<Parameter>,
    /// Its result's type.
    pub result: fn() -> &'static str,
    /// The function's own type, by which a caller that passes the function finds its name. An address would
    /// not do: identical functions share one.
    pub function: fn() -> TypeId,
    /// How to run it; `None` if it is only declared here.
    pub code: Option<Code>,
}

/// How to run a task.
pub struct Code {
    /// With encoded arguments.
    pub descriptor: fn() -> &'static Descriptor,
    /// With a JSON array of arguments, giving JSON back.
    pub json: fn(&[u8]) -> Result<Vec<u8>, CallFailure>,
}

/// A parameter of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name in the source.
    pub name: String,
    /// Its type.
    pub type_name: String,
    /// Whether it takes raw text where JSON would be a detour: a string or a path.
    pub is_text: bool,
}

impl Parameter {
    /// The parameter `name` of type `T`.
    pub fn of<T: 'static>(name: &str) -> Parameter {
        let text =
            [TypeId::of::<String>(), TypeId::of::<std::path::PathBuf>(), TypeId::of::<std::ffi::OsString>()];
        Parameter {
            name: name.to_owned(),
            type_name: std::any::type_name::<T>().to_owned(),
            is_text: text.contains(&TypeId::of::<T>()),
        }
    }
}

/// The type of a function item, which has no name that a macro could write.
pub fn function_type<F: 'static>(_: &F) -> TypeId {
    TypeId::of::<F>()
}

/// What an executable says of one of its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDescription {
    /// Crate, modules and function, or the name that the attribute gives.
    pub name: String,
    /// The first paragraph of its documentation.
    pub doc: String,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Its result's type.
    pub result: String,
}

impl TaskDescription {
    fn of(entry: &Entry) -> TaskDescription {
        TaskDescription {
            name: entry.name.to_owned(),
            doc: entry.doc.to_owned(),
            parameters: (entry.parameters)(),
            result: (entry.result)().to_owned(),
        }
    }

    fn same_types(&self, other: &TaskDescription) -> bool {
        let types = |task: &TaskDescription| -> Vec<String> {
            task.parameters.iter().map(|parameter| parameter.type_name.clone()).collect()
        };
        self.result == other.result && types(self) == types(other)
    }
}

/// The tasks that this executable can run, in an order that is the same in every process of it.
pub(crate) fn offered() -> Vec<TaskDescription> {
    runnable().map(|(entry, _)| TaskDescription::of(entry)).collect()
}

/// The code of the task with this index among the offered ones.
pub(crate) fn code(index: u32) -> Option<&'static Code> {
    runnable().nth(index as usize).map(|(_, code)| code)
}

fn runnable() -> impl Iterator<Item = (&'static Entry, &'static Code)> {
    TASKS.iter().filter_map(|entry| entry.code.as_ref().map(|code| (entry, code)))
}

/// What this executable says of a function that it links or declares.
pub(crate) fn description_of<F: 'static>() -> Option<TaskDescription> {
    TASKS.iter().find(|entry| (entry.function)() == TypeId::of::<F>()).map(TaskDescription::of)
}

/// Why a task is not among those offered; the text is for people.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("the worker offers no task `{name}`{}", suggest(nearest))]
    Unknown { name: String, nearest: Vec<String> },
    #[error("`{name}` could be any of {}", candidates.join(", "))]
    Ambiguous { name: String, candidates: Vec<String> },
    #[error("the worker's `{name}` is {offered}, and {wanted} is called")]
    Types { name: String, offered: String, wanted: String },
}

fn suggest(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; the nearest: {}", names.join(", ")),
    }
}

/// The index of the task that `name` means: the whole name, or its last parts if only one task ends so.
/// Dashes and underscores are the same.
pub(crate) fn find(tasks: &[TaskDescription], name: &str) -> Result<u32, LookupError> {
    let wanted = name.replace('-', "_");
    let matching: Vec<usize> =
        (0..tasks.len()).filter(|&index| ends_with(&tasks[index].name, &wanted)).collect();
    let exact = matching.iter().find(|&&index| tasks[index].name.replace('-', "_") == wanted);
    match (exact, matching.as_slice()) {
        (Some(&index), _) | (None, &[index]) => Ok(index as u32),
        (None, []) => Err(LookupError::Unknown { name: name.to_owned(), nearest: nearest(tasks, &wanted) }),
        (None, many) => {
            let candidates = many.iter().map(|&index| tasks[index].name.clone()).collect();
            Err(LookupError::Ambiguous { name: name.to_owned(), candidates })
        }
    }
}

/// As `find`, for a function that the caller knows: the types must agree too.
pub(crate) fn find_described(
    tasks: &[TaskDescription],
    wanted: &TaskDescription,
) -> Result<u32, LookupError> {
    let index = find(tasks, &wanted.name)?;
    let offered = &tasks[index as usize];
    if offered.same_types(wanted) {
        return Ok(index);
    }
    let name = wanted.name.clone();
    Err(LookupError::Types { name, offered: signature(offered), wanted: signature(wanted) })
}

/// `fn(i64) -> String`.
pub(crate) fn signature(task: &TaskDescription) -> String {
    let parameters: Vec<&str> =
        task.parameters.iter().map(|parameter| parameter.type_name.as_str()).collect();
    format!("fn({}) -> {}", parameters.join(", "), task.result)
}

/// Whether the path `name` ends with the path `wanted`, at a `::`.
fn ends_with(name: &str, wanted: &str) -> bool {
    let name = name.replace('-', "_");
    name.strip_suffix(wanted).is_some_and(|rest| rest.is_empty() || rest.ends_with("::"))
}

fn nearest(tasks: &[TaskDescription], wanted: &str) -> Vec<String> {
    let last = |name: &str| name.rsplit("::").next().unwrap_or(name).to_owned();
    let mut scored: Vec<(f64, String)> = tasks
        .iter()
        .map(|task| last(&task.name))
        .map(|name| (strsim::jaro_winkler(&name, &last(wanted)), name))
        .filter(|(score, _)| *score > 0.7)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Reads the JSON array of a task's arguments.
pub fn arguments_from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, CallFailure> {
    serde_json::from_slice(text).map_err(|error| CallFailure::Arguments(error.to_string()))
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, CallFailure> {
    serde_json::to_vec(value).map_err(|error| CallFailure::Result(error.to_string()))
}

/// A task's value on its way to JSON.
///
/// A task's own `Err` is a failure for a caller that reads JSON, and a plain value for every other. Which
/// it is depends on the type, so `#[task]` calls `(&&&Outcome(value)).to_json()`, and the compiler takes the
/// first of the three traits below that fits.
pub struct Outcome<T>(pub T);

/// A `Result` whose error has a text for people.
pub trait DisplayedError {
    /// JSON of the value, or the error's text.
    fn to_json(&self) -> Result<Vec<u8>, CallFailure>;
}

impl<T: Serialize, E: std::fmt::Display> DisplayedError for &&Outcome<Result<T, E>> {
    fn to_json(&self) -> Result<Vec<u8>, CallFailure> {
        self.0.as_ref().map_err(|error| CallFailure::Own(format!("{error:#}"))).and_then(to_json)
    }
}

/// A `Result` whose error has a text for programmers.
pub trait DebuggedError {
    /// JSON of the value, or the error's text.
    fn to_json(&self) -> Result<Vec<u8>, CallFailure>;
}

impl<T: Serialize, E: std::fmt::Debug> DebuggedError for &Outcome<Result<T, E>> {
    fn to_json(&self) -> Result<Vec<u8>, CallFailure> {
        self.0.as_ref().map_err(|error| CallFailure::Own(format!("{error:?}"))).and_then(to_json)
    }
}

/// Any other value.
pub trait PlainValue {
    /// JSON of the value.
    fn to_json(&self) -> Result<Vec<u8>, CallFailure>;
}

impl<T: Serialize> PlainValue for Outcome<T> {
    fn to_json(&self) -> Result<Vec<u8>, CallFailure> {
        to_json(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str) -> TaskDescription {
        let parameters = vec![Parameter::of::<i64>("x")];
        TaskDescription { name: name.to_owned(), doc: String::new(), parameters, result: "i64".to_owned() }
    }

    #[test]
    fn a_task_is_found_by_its_whole_name_or_its_end() {
        let tasks = [task("crate_a::square"), task("crate_a::sum_squares"), task("crate_b::deep::cube")];
        assert_eq!(find(&tasks, "square"), Ok(0));
        assert_eq!(find(&tasks, "sum-squares"), Ok(1));
        assert_eq!(find(&tasks, "deep::cube"), Ok(2));
        assert_eq!(find(&tasks, "crate_b::deep::cube"), Ok(2));
        assert!(find(&tasks, "squares").is_err());
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest_ones() {
        let error = find(&[task("a::square"), task("a::fetch")], "sqaure").unwrap_err();
        assert_eq!(error.to_string(), "the worker offers no task `sqaure`; the nearest: square");
    }

    #[test]
    fn a_name_of_two_tasks_is_no_name() {
        let tasks = [task("a::run"), task("b::run")];
        assert_eq!(find(&tasks, "run").unwrap_err().to_string(), "`run` could be any of a::run, b::run");
        assert_eq!(find(&tasks, "a::run"), Ok(0));
    }

    #[test]
    fn other_types_are_another_task() {
        let other = TaskDescription { result: "u8".to_owned(), ..task("a::run") };
        let error = find_described(&[task("a::run")], &other).unwrap_err();
        assert_eq!(error.to_string(), "the worker's `a::run` is fn(i64) -> i64, and fn(i64) -> u8 is called");
    }

    #[test]
    #[expect(clippy::needless_borrow, reason = "as the macro writes it, which does not know the type")]
    fn a_tasks_own_error_is_told_from_its_values() {
        let error: Result<i64, std::num::ParseIntError> = "x".parse();
        assert!(matches!((&&&Outcome(error)).to_json(), Err(CallFailure::Own(_))));
        let error: Result<i64, Vec<u8>> = Err(vec![1]);
        assert!(matches!((&&&Outcome(error)).to_json(), Err(CallFailure::Own(text)) if text == "[1]"));
        let value: Result<i64, String> = Ok(3);
        assert_eq!((&&&Outcome(value)).to_json().unwrap(), b"3");
        assert_eq!((&&&Outcome("x")).to_json().unwrap(), b"\"x\"");
    }
}
