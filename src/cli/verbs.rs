//! The commands that ask a running supervisor.

use std::io::{self, Write};
use std::time::Duration;

use crate::supervisor::control::protocol::{Answer, Request, Until};
use crate::supervisor::{SupervisorEvent, UnitStatus};

use super::conversation::Conversation;
use super::supervision::{Names, Verb, Which};
use super::table::{details, table};
use super::{Exit, Failure, top};

pub(super) fn run(verb: Verb) -> Result<Exit, Failure> {
    let json = verb.which().json;
    let result = ask(verb);
    if let (true, Err(failure)) = (json, &result) {
        print(&serde_json::json!({ "error": failure.to_string() }).to_string())?;
    }
    result
}

fn ask(verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Status { names, which } => status(names, &which),
        Verb::Start(Names { names, which }) => simple(&which, &Request::Start { names }),
        Verb::Stop(Names { names, which }) => simple(&which, &Request::Stop { names }),
        Verb::Restart { rolling, names: Names { names, which } } => {
            simple(&which, &Request::Restart { names, rolling })
        }
        Verb::Scale { name, replicas, which } => simple(&which, &Request::Scale { name, replicas }),
        Verb::Signal { signal, names: Names { names, which } } => {
            simple(&which, &Request::Signal { signal, names })
        }
        Verb::Logs { names, follow, which } => simple(&which, &Request::Logs { names, follow }),
        Verb::Events { which } => simple(&which, &Request::Events),
        Verb::Wait { ready: _, stopped, timeout, names: Names { names, which } } => {
            let until = if stopped { Until::Stopped } else { Until::Ready };
            wait(&which, &Request::Wait { names, until }, timeout)
        }
        Verb::Top { which } => top::run(&which),
        Verb::Reload { which } => simple(&which, &Request::Reload),
        Verb::Call { pool, task, input, which } => {
            // What a text means depends on the task, which the supervisor knows.
            let input = input.into_iter().map(serde_json::Value::from).collect();
            simple(&which, &Request::Call { pool, task, input })
        }
        Verb::Down { now, which } => simple(&which, &Request::Down { now }),
    }
}

fn simple(which: &Which, request: &Request) -> Result<Exit, Failure> {
    let mut conversation = Conversation::begin(which, request, None)?;
    while let Some(answer) = conversation.next()? {
        print(&if which.json { as_json(&answer) } else { as_text(&answer) })?;
    }
    let asks = matches!(request, Request::Logs { .. } | Request::Events | Request::Call { .. });
    if asks { Ok(Exit::Success) } else { done(which) }
}

/// What has no answer but that it is done.
fn done(which: &Which) -> Result<Exit, Failure> {
    if which.json {
        print(&serde_json::json!({ "done": true }).to_string())?;
    }
    Ok(Exit::Success)
}

fn wait(which: &Which, request: &Request, timeout: Option<Duration>) -> Result<Exit, Failure> {
    let mut conversation = Conversation::begin(which, request, timeout)?;
    while conversation.next()?.is_some() {}
    done(which)
}

fn ask_status(which: &Which, names: Vec<String>) -> Result<Vec<UnitStatus>, Failure> {
    let mut conversation = Conversation::begin(which, &Request::Status { names }, None)?;
    let mut units = Vec::new();
    while let Some(answer) = conversation.next()? {
        if let Answer::Unit(unit) = answer {
            units.push(*unit);
        }
    }
    Ok(units)
}

fn status(names: Vec<String>, which: &Which) -> Result<Exit, Failure> {
    let named = !names.is_empty();
    let units = ask_status(which, names)?;
    let lines: Vec<String> = match which.json {
        true => units.iter().map(|unit| serde_json::to_string(unit).unwrap_or_default()).collect(),
        false => {
            let more = units.iter().filter(|_| named).flat_map(details);
            table(&units).into_iter().chain(more).collect()
        }
    };
    lines.iter().try_for_each(|line| print(line))?;
    let well = units.iter().all(|unit| unit.state.is_well());
    Ok(if well { Exit::Success } else { Exit::Failed })
}

fn as_json(answer: &Answer) -> String {
    let text = match answer {
        Answer::Unit(unit) => serde_json::to_string(unit),
        Answer::Event(event) => serde_json::to_string(event),
        Answer::Value(value) => serde_json::to_string(value),
        Answer::Line { name, stderr, text } => {
            return serde_json::json!({ "name": name, "stderr": stderr, "text": text }).to_string();
        }
        Answer::Counters { .. } | Answer::End { .. } => return String::new(),
    };
    text.unwrap_or_default()
}

fn as_text(answer: &Answer) -> String {
    match answer {
        Answer::Line { name, text, .. } => format!("{name} | {text}"),
        Answer::Event(SupervisorEvent::State(unit)) => {
            let pid = unit.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            format!("{} is {}{pid}", unit.name, format!("{:?}", unit.state).to_lowercase())
        }
        Answer::Event(SupervisorEvent::Death { name, death }) => {
            format!("{name} {}; {}", death.how, death.decision)
        }
        Answer::Event(SupervisorEvent::Note { text }) => text.clone(),
        Answer::Unit(_) | Answer::Value(_) | Answer::Counters { .. } | Answer::End { .. } => as_json(answer),
    }
}

/// A line to stdout.
pub(super) fn print(line: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write: {error}")))
}
