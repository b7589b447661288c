//! The options that several kinds of children have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::reader::{Fields, Value};
use crate::supervisor::ready::{address, places, url};
use crate::supervisor::specification::{
    AutoShutdown, Backoff, Condition, DependsOn, Intensity, LogOptions, Probe, ProgramLimits, Readiness,
    RestartPolicy, StopLadder, StopStep, Strategy, Supervision,
};

const RESTART: [(&str, RestartPolicy); 3] = [
    ("permanent", RestartPolicy::Permanent),
    ("transient", RestartPolicy::Transient),
    ("temporary", RestartPolicy::Temporary),
];

const STRATEGIES: [(&str, Strategy); 3] = [
    ("one_for_one", Strategy::OneForOne),
    ("one_for_all", Strategy::OneForAll),
    ("rest_for_one", Strategy::RestForOne),
];

const CONDITIONS: [(&str, Condition); 4] = [
    ("started", Condition::Started),
    ("ready", Condition::Ready),
    ("healthy", Condition::Healthy),
    ("finished", Condition::Finished),
];

const AUTO_SHUTDOWN: [(&str, AutoShutdown); 3] = [
    ("never", AutoShutdown::Never),
    ("any_significant", AutoShutdown::AnySignificant),
    ("all_significant", AutoShutdown::AllSignificant),
];

pub(super) fn restart(value: &Value<'_>) -> Option<RestartPolicy> {
    value.choice(&RESTART)
}

/// `strategy`, `intensity` and `auto_shutdown`.
pub(super) fn supervision(fields: &Fields<'_>) -> Supervision {
    let mut supervision = Supervision::default();
    fields.read("strategy", &mut supervision.strategy, |value| value.choice(&STRATEGIES));
    fields.read("intensity", &mut supervision.intensity, intensity);
    fields.read("auto_shutdown", &mut supervision.auto_shutdown, |value| value.choice(&AUTO_SHUTDOWN));
    supervision
}

fn intensity(value: &Value<'_>) -> Option<Intensity> {
    let fields = value.fields()?;
    let mut intensity = Intensity::default();
    fields.read("restarts", &mut intensity.restarts, Value::number);
    fields.read("period", &mut intensity.period, Value::some_duration);
    fields.finish();
    Some(intensity)
}

pub(super) fn backoff(value: &Value<'_>) -> Option<Backoff> {
    let fields = value.fields()?;
    let mut backoff = Backoff::default();
    fields.read("first", &mut backoff.first, Value::duration);
    // A longer first wait needs no word about the longest.
    backoff.cap = backoff.cap.max(backoff.first);
    fields.read("factor", &mut backoff.factor, Value::real);
    fields.read("cap", &mut backoff.cap, Value::duration);
    fields.read("jitter", &mut backoff.jitter, Value::real);
    fields.read("reset_after", &mut backoff.reset_after, Value::duration);
    fields.finish();
    Some(backoff)
}

/// `["db"]`, or `{ db = "healthy" }`.
pub(super) fn depends_on(value: &Value<'_>) -> Option<Vec<DependsOn>> {
    if value.is_array() {
        let names = value.items()?.into_iter().filter_map(|item| {
            let name = item.text()?;
            item.is_item(&name, None);
            Some(DependsOn { name, condition: Condition::default() })
        });
        return Some(names.collect());
    }
    let entries = value.entries()?.into_iter().filter_map(|(name, span, condition)| {
        condition.is_item(name, Some(span));
        Some(DependsOn { name: name.to_owned(), condition: condition.choice(&CONDITIONS)? })
    });
    Some(entries.collect())
}

/// `["TERM", "10s", "KILL"]`.
pub(super) fn stop(value: &Value<'_>) -> Option<StopLadder> {
    let items = value.items()?;
    let steps = items.iter().filter_map(stop_step).collect();
    if items.is_empty() {
        value.mistake(
            "a program that gets no signal does not stop; write it like [\"TERM\", \"10s\", \"KILL\"]",
        );
    }
    Some(StopLadder { steps })
}

fn stop_step(value: &Value<'_>) -> Option<StopStep> {
    let text = value.text()?;
    let is_time = text.starts_with(|c: char| c.is_ascii_digit());
    if is_time {
        return value.duration().map(StopStep::Wait);
    }
    value.noted(text.parse().map(StopStep::Signal).map_err(|error| format!("{error}, and is no time")))
}

/// A list of words, or one string that is split into words as a shell would, but without one.
pub(super) fn command(value: &Value<'_>) -> Option<Vec<String>> {
    if !value.is_text() {
        return value.texts();
    }
    let text = value.text()?;
    let words =
        value.noted(shlex::split(&text).ok_or_else(|| "a quote or backslash has no end".to_owned()))?;
    let of_a_shell = ["|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1", "2>"];
    if let Some(word) = words.iter().find(|word| of_a_shell.contains(&word.as_str())) {
        value.mistake(format!(
            "`{word}` needs a shell, and there is none; add `shell = true`, or quote it in a list"
        ));
    }
    Some(words)
}

/// What a shell runs.
pub(super) fn shell_command(value: &Value<'_>) -> Option<Vec<String>> {
    if !value.is_text() {
        value.mistake("a shell takes one string");
        return None;
    }
    Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), value.text()?])
}

pub(super) fn environment(value: &Value<'_>) -> Option<BTreeMap<String, String>> {
    let variables = value.entries()?.into_iter().filter_map(|(name, _, value)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            value.mistake(format!("`{name}` cannot be the name of a variable"));
        }
        Some((name.to_owned(), value.text()?))
    });
    Some(variables.collect())
}

/// A path, relative to the folder of the file.
pub(super) fn path(value: &Value<'_>, base: &Path) -> Option<PathBuf> {
    let text = value.text()?;
    if text.is_empty() {
        value.mistake("the path is empty");
        return None;
    }
    Some(base.join(text))
}

/// `"web.log"`, or a table with `file` and how it is rotated.
pub(super) fn log(value: &Value<'_>, base: &Path) -> Option<LogOptions> {
    let mut log = LogOptions::default();
    if value.is_text() {
        log.file = path(value, base);
        return Some(log);
    }
    let fields = value.fields()?;
    fields.read_some("file", &mut log.file, |value| path(value, base));
    fields.read("max_size", &mut log.max_size, Value::size);
    fields.read("copies", &mut log.copies, |value| {
        let copies = value.number()?;
        let few = if copies <= MOST_COPIES { Ok(copies) } else { Err(format!("at most {MOST_COPIES}")) };
        value.noted(few)
    });
    fields.read("rotate", &mut log.rotate, Value::flag);
    fields.finish();
    Some(log)
}

/// Each rotation renames all of them.
const MOST_COPIES: u32 = 1000;

pub(super) fn limits(value: &Value<'_>) -> Option<ProgramLimits> {
    let fields = value.fields()?;
    let mut limits = ProgramLimits::default();
    fields.read_some("memory", &mut limits.memory, Value::size);
    fields.read_some("cpu_time", &mut limits.cpu_time, Value::some_duration);
    fields.read_some("open_files", &mut limits.open_files, Value::some_number);
    fields.read_some("core", &mut limits.core, Value::size_or_none);
    if let Some(processes) = fields.get("processes") {
        processes.mistake(
            "a number of processes cannot be held here: without a cgroup of its own, the kernel counts \
             all processes of the user",
        );
    }
    fields.finish();
    Some(limits)
}

/// The ways to become ready that need a word more.
const WAYS: [&str; 5] = ["fd", "line", "command", "tcp", "http"];

/// `"notify"`, or a table with one way.
pub(super) fn readiness(value: &Value<'_>) -> Option<Readiness> {
    if value.is_text() {
        return value.choice(&[("notify", Way::Notify), ("started", Way::None)]).map(|way| match way {
            Way::Notify => Readiness::Notify,
            Way::None => Readiness::None,
        });
    }
    let fields = value.fields()?;
    let ways = [
        fields.get("fd").and_then(|value| value.number().map(Readiness::Fd)),
        fields.get("line").and_then(|value| value.text().map(Readiness::LogLine)),
        fields.get("command").and_then(|value| command(&value)).map(Probed::Command).map(Probed::unprobed),
        fields.get("tcp").and_then(|value| tcp(&value)).map(Probed::Tcp).map(Probed::unprobed),
        fields.get("http").and_then(|value| http(&value)).map(Probed::Http).map(Probed::unprobed),
    ];
    let mut probe = Probe::default();
    fields.read("every", &mut probe.every, Value::some_duration);
    fields.read("timeout", &mut probe.timeout, Value::some_duration);
    let mut ways = ways.into_iter().flatten();
    let way = ways.next();
    if ways.next().is_some() {
        fields.mistake("one way to become ready is enough");
    }
    if !fields.has_any(&WAYS) {
        fields.mistake(format!("it needs one of {}", WAYS.join(", ")));
    }
    fields.finish();
    way.map(|way| with_probe(way, probe))
}

#[derive(Clone, Copy)]
enum Way {
    Notify,
    None,
}

/// The ways that are tried again and again.
enum Probed {
    Command(Vec<String>),
    Tcp(String),
    Http(String),
}

impl Probed {
    fn unprobed(self) -> Readiness {
        let probe = Probe::default();
        match self {
            Probed::Command(command) => Readiness::Command { command, probe },
            Probed::Tcp(address) => Readiness::Tcp { address, probe },
            Probed::Http(url) => Readiness::Http { url, probe },
        }
    }
}

fn with_probe(mut way: Readiness, new: Probe) -> Readiness {
    match &mut way {
        Readiness::Command { probe, .. } | Readiness::Tcp { probe, .. } | Readiness::Http { probe, .. } => {
            *probe = new;
        }
        Readiness::None | Readiness::Fd(_) | Readiness::Notify | Readiness::LogLine(_) => {}
    }
    way
}

fn tcp(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let checked = address(&text).and_then(|(host, port)| reachable(&host, port));
    value.noted(checked.map(|()| text))
}

fn http(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let checked = url(&text).and_then(|url| reachable(&url.host, url.port));
    value.noted(checked.map(|()| text))
}

fn reachable(host: &str, port: u16) -> Result<(), String> {
    let wrong = || format!("`{host}` must be an address or `localhost`; a probe looks up no names");
    places(host, port).map(|_| ()).ok_or_else(wrong)
}
