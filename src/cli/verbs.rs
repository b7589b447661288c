//! The commands that ask a running supervisor.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::supervisor::control::Place;
use crate::supervisor::control::protocol::{Answer, Request, Until};
use crate::supervisor::{SupervisorEvent, UnitStatus};

use super::supervision::{Names, Verb, Which};
use super::table::{deaths, table};
use super::{Exit, Failure};

/// How often the live table is drawn.
const REFRESH: Duration = Duration::from_secs(1);

pub(super) fn run(verb: Verb) -> Result<Exit, Failure> {
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
        Verb::Top { which } => top(&which),
        Verb::Reload { which } => simple(&which, &Request::Reload),
        Verb::Call { pool, task, input, which } => {
            let input = input.into_iter().map(|text| serde_json::from_str(&text).unwrap_or(text.into()));
            simple(&which, &Request::Call { pool, task, input: input.collect() })
        }
        Verb::Down { now, which } => simple(&which, &Request::Down { now }),
    }
}

/// A request under way.
struct Conversation {
    lines: io::Lines<BufReader<UnixStream>>,
    deadline: Option<Instant>,
}

impl Conversation {
    fn begin(which: &Which, request: &Request, timeout: Option<Duration>) -> Result<Conversation, Failure> {
        let not_running = |error: io::Error| {
            let text = format!("no supervisor runs {}: {error}", which.config.display());
            Failure::new(Exit::NotRunning, text)
        };
        let place = Place::of(&which.config).map_err(not_running)?;
        let mut stream = UnixStream::connect(place.socket()).map_err(not_running)?;
        stream.set_read_timeout(timeout).map_err(not_running)?;
        let mut line =
            serde_json::to_vec(request).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        line.push(b'\n');
        stream.write_all(&line).map_err(not_running)?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        Ok(Conversation { lines: BufReader::new(stream).lines(), deadline })
    }

    /// The next line of the answer; `None` after the last.
    fn next(&mut self) -> Result<Option<Answer>, Failure> {
        let line = match self.lines.next() {
            Some(Ok(line)) => line,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Failure::new(Exit::TimedOut, "not in time"));
            }
            Some(Err(_)) | None => {
                return Err(Failure::new(Exit::NotRunning, "the supervisor has ended"));
            }
        };
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(Failure::new(Exit::TimedOut, "not in time"));
        }
        match serde_json::from_str(&line) {
            Ok(Answer::End { error: None }) => Ok(None),
            Ok(Answer::End { error: Some(text) }) => Err(Failure::new(Exit::Failed, text)),
            Ok(answer) => Ok(Some(answer)),
            Err(error) => {
                Err(Failure::new(Exit::Failed, format!("the supervisor is not understood: {error}")))
            }
        }
    }
}

fn simple(which: &Which, request: &Request) -> Result<Exit, Failure> {
    let mut conversation = Conversation::begin(which, request, None)?;
    while let Some(answer) = conversation.next()? {
        print(&if which.json { as_json(&answer) } else { as_text(&answer) })?;
    }
    Ok(Exit::Success)
}

fn wait(which: &Which, request: &Request, timeout: Option<Duration>) -> Result<Exit, Failure> {
    let mut conversation = Conversation::begin(which, request, timeout)?;
    while conversation.next()?.is_some() {}
    Ok(Exit::Success)
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
    let units = ask_status(which, names)?;
    match which.json {
        true => {
            for unit in &units {
                print(&serde_json::to_string(unit).unwrap_or_default())?;
            }
        }
        false => {
            let lines = table(&units).into_iter().chain(units.iter().flat_map(deaths));
            for line in lines {
                print(&line)?;
            }
        }
    }
    let well = units.iter().all(|unit| unit.state.is_well());
    Ok(if well { Exit::Success } else { Exit::Failed })
}

fn top(which: &Which) -> Result<Exit, Failure> {
    loop {
        let units = ask_status(which, Vec::new())?;
        if which.json {
            for unit in &units {
                print(&serde_json::to_string(unit).unwrap_or_default())?;
            }
        } else {
            // Home, each line cleared to its end, and everything below.
            let lines: Vec<String> = table(&units).iter().map(|line| format!("{line}\x1b[K")).collect();
            print(&format!("\x1b[H{}\n\x1b[J", lines.join("\n")))?;
        }
        std::thread::park_timeout(REFRESH);
    }
}

fn as_json(answer: &Answer) -> String {
    let text = match answer {
        Answer::Unit(unit) => serde_json::to_string(unit),
        Answer::Event(event) => serde_json::to_string(event),
        Answer::Value(value) => serde_json::to_string(value),
        Answer::Line { name, stderr, text } => {
            return serde_json::json!({ "name": name, "stderr": stderr, "text": text }).to_string();
        }
        Answer::End { .. } => return String::new(),
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
        Answer::Unit(_) | Answer::Value(_) | Answer::End { .. } => as_json(answer),
    }
}

/// A line to stdout.
pub(super) fn print(line: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write: {error}")))
}
