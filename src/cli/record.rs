//! The outcome of one task as people and programs read it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::pool::stream::Record;
use crate::sys::clock::monotonic_nanos;
use crate::sys::exit::ExitStatus;
use crate::task::error::{Encoding, TaskContext, TaskError, TaskErrorKind};

/// So many characters of an input are shown in a line about its failure.
const SHOWN: usize = 80;

/// One outcome: JSON of the value, or the failure.
pub(super) struct Outcome {
    pub(super) record: Record,
}

impl Outcome {
    /// A value is what the worker says it is, but it must be JSON.
    pub(super) fn new(mut record: Record, task: &str) -> Outcome {
        if let Ok(line) = &record.outcome
            && let Err(error) = serde_json::from_slice::<&RawValue>(line)
        {
            let kind = TaskErrorKind::Encoding { what: Encoding::DecodeResult, message: error.to_string() };
            let context = TaskContext::not_started(task, Some(record.number));
            record.outcome = Err(TaskError::new(kind, context));
        }
        Outcome { record }
    }

    pub(super) fn error(&self) -> Option<&TaskError> {
        self.record.outcome.as_ref().err()
    }

    /// The value as a line of text: a string as it is, anything else as JSON.
    pub(super) fn text(&self) -> Cow<'_, [u8]> {
        let Ok(line) = &self.record.outcome else { return Cow::Borrowed(&[]) };
        match serde_json::from_slice::<String>(line) {
            Ok(text) => Cow::Owned(text.into_bytes()),
            Err(_) => Cow::Borrowed(line),
        }
    }

    /// `task 3 ("x.png"): worker 4711 killed by SIGSEGV after 0.2 s, attempt 1 of 1`.
    pub(super) fn complaint(error: &TaskError, number: u64, input: &[u8]) -> String {
        let input = String::from_utf8_lossy(input);
        let shown: String = input.chars().take(SHOWN).collect();
        let more = if shown.len() < input.len() { "…" } else { "" };
        format!("task {number} ({shown:?}{more}): {}", error.cause())
    }

    /// The outcome as one JSON object.
    pub(super) fn json(&self, input: &[u8], clock: &Clock) -> serde_json::Result<Vec<u8>> {
        let facts = self.record.facts;
        let measure = facts.and_then(|facts| facts.measure);
        let error = self.error();
        let value = self.record.outcome.as_ref().ok().map(|line| serde_json::from_slice(line)).transpose()?;
        serde_json::to_vec(&JsonRecord {
            seq: self.record.number,
            input: String::from_utf8_lossy(input),
            ok: error.is_none(),
            value,
            error: error.map(JsonError::new),
            attempts: facts.map_or(0, |facts| facts.attempt),
            pid: facts.map(|facts| facts.pid).filter(|pid| *pid != 0),
            start: measure.map(|measure| clock.wall(measure.start)),
            seconds: measure.map(|measure| Duration::from_nanos(measure.elapsed).as_secs_f64()),
            max_rss: measure.map(|measure| measure.max_rss).filter(|bytes| *bytes != 0),
        })
    }
}

/// A line of `--json`. What is not known is `null`.
#[derive(Serialize)]
struct JsonRecord<'a> {
    seq: u64,
    input: Cow<'a, str>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JsonError<'a>>,
    attempts: u32,
    pid: Option<u32>,
    start: Option<String>,
    seconds: Option<f64>,
    max_rss: Option<u64>,
}

/// Why there is no value.
#[derive(Serialize)]
struct JsonError<'a> {
    kind: &'static str,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core_dumped: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backtrace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<&'a str>,
}

impl<'a> JsonError<'a> {
    fn new(error: &'a TaskError) -> JsonError<'a> {
        let panic = error.panic();
        let message = match error.kind() {
            TaskErrorKind::Panicked(panic) => Cow::Borrowed(panic.message.as_str()),
            TaskErrorKind::Failed { message } | TaskErrorKind::Encoding { message, .. } => message.into(),
            _ => Cow::Owned(error.cause().to_string()),
        };
        let (signal, core_dumped, code) = match error.exit_status() {
            Some(ExitStatus::Signal { signal, core_dumped }) => {
                (Some(signal.to_string()), Some(core_dumped), None)
            }
            Some(ExitStatus::Code(code)) => (None, None, Some(code)),
            None => (None, None, None),
        };
        JsonError {
            kind: error.word(),
            message,
            signal,
            core_dumped,
            code,
            location: panic.and_then(|panic| panic.location.as_deref()),
            backtrace: panic.and_then(|panic| panic.backtrace.as_deref()),
            stderr: error.stderr().ok().filter(|text| !text.is_empty()),
        }
    }
}

/// Turns the monotonic clock, by which tasks are timed, into dates.
pub(super) struct Clock {
    wall: SystemTime,
    monotonic: u64,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { wall: SystemTime::now(), monotonic: monotonic_nanos() }
    }

    /// `2026-11-21T10:00:00.123456Z`.
    fn wall(&self, nanos: u64) -> String {
        let since = Duration::from_nanos(nanos.saturating_sub(self.monotonic));
        let before = Duration::from_nanos(self.monotonic.saturating_sub(nanos));
        humantime::format_rfc3339_micros(self.wall + since - before).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;
    use crate::link::frame::Measure;
    use crate::pool::stream::Facts;

    fn outcome(value: &str) -> Outcome {
        let measure = Some(Measure { start: 0, elapsed: 1_500_000_000, max_rss: 4096 });
        let facts = Some(Facts { attempt: 2, pid: 4711, measure });
        Outcome::new(Record { number: 3, outcome: Ok(value.into()), facts }, "t")
    }

    fn failed() -> Outcome {
        let status = ExitStatus::Signal { signal: Signal::SIGSEGV, core_dumped: false };
        let kind = TaskErrorKind::Died { status, detail: None };
        let error = TaskError::new(kind, TaskContext::not_started("t", Some(3)));
        Outcome::new(Record { number: 3, outcome: Err(error), facts: None }, "t")
    }

    fn json(outcome: &Outcome) -> serde_json::Value {
        let clock = Clock { wall: SystemTime::UNIX_EPOCH, monotonic: 0 };
        serde_json::from_slice(&outcome.json(b"x\xff", &clock).unwrap()).unwrap()
    }

    #[test]
    fn strings_are_printed_as_text_and_the_rest_as_json() {
        assert_eq!(&*outcome(r#""a\nb""#).text(), b"a\nb");
        assert_eq!(&*outcome(r#"{"a":[1,null]}"#).text(), br#"{"a":[1,null]}"#);
    }

    #[test]
    fn a_value_that_is_no_json_is_a_failure() {
        let outcome = outcome("{");
        assert_eq!(outcome.error().unwrap().word(), "encoding");
    }

    #[test]
    fn a_record_tells_the_value_and_where_and_when() {
        let record = json(&outcome("[1,2]"));
        let expected = serde_json::json!({
            "seq": 3, "input": "x\u{fffd}", "ok": true, "value": [1, 2], "attempts": 2, "pid": 4711,
            "start": "1970-01-01T00:00:00.000000Z", "seconds": 1.5, "max_rss": 4096,
        });
        assert_eq!(record, expected);
    }

    #[test]
    fn a_record_tells_the_failure_and_what_is_not_known_is_null() {
        let record = json(&failed());
        assert_eq!((&record["ok"], &record["error"]["kind"]), (&false.into(), &"signal".into()));
        assert_eq!(record["error"]["signal"], "SIGSEGV");
        assert!(record["pid"].is_null() && record["start"].is_null() && record.get("value").is_none());
    }

    #[test]
    fn a_complaint_shows_the_input_and_not_too_much_of_it() {
        let outcome = failed();
        let error = outcome.error().unwrap();
        assert_eq!(Outcome::complaint(error, 3, b"a\"b"), r#"task 3 ("a\"b"): killed by SIGSEGV"#);
        assert!(Outcome::complaint(error, 3, &[b'x'; 1000]).len() < 150);
    }
}
