//! Tasks that run other programs. Those are in the worker's process group, so they end with it.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use watertight::{RemoteError, Signal};

/// The most bytes of stdout, and of stderr, that a command may write.
const LARGEST: u64 = 16 << 20;

/// A command to run. JSON gives a text for the shell, or a program and its arguments as a list.
///
/// serde writes and reads the enum itself (`remote` names that code without making it the trait's); the
/// traits below add the forms of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
enum CommandLine {
    Shell(String),
    Direct(Vec<String>),
}

impl Serialize for CommandLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            _ if !serializer.is_human_readable() => CommandLine::serialize(self, serializer),
            CommandLine::Shell(text) => text.serialize(serializer),
            CommandLine::Direct(words) => words.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CommandLine, D::Error> {
        // The bytes between processes do not say what they are, so only a format for people has a choice.
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_any(TextOrWords),
            false => CommandLine::deserialize(deserializer),
        }
    }
}

struct TextOrWords;

impl<'de> Visitor<'de> for TextOrWords {
    type Value = CommandLine;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text for the shell, or a list of a program and its arguments")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<CommandLine, E> {
        Ok(CommandLine::Shell(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, words: A) -> Result<CommandLine, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(words)).map(CommandLine::Direct)
    }
}

/// How a command ended, and what it wrote. Bytes that are no UTF-8 are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Finished {
    /// The exit code, if it exited.
    code: Option<i32>,
    /// The signal's name, if one killed it.
    signal: Option<String>,
    stdout: String,
    stderr: String,
}

/// Runs a command, given as a list of words or as one text for the shell, and says how it ended and what it
/// wrote.
///
/// Its stdin is empty. How it ends is a result, whatever it is; an error is only a command that could not be
/// started, or wrote more than 16 MiB. The task ends when stdout and stderr are closed: by the command, and by
/// whatever it left in the background with them.
#[watertight::task]
fn run(command: CommandLine) -> Result<Finished, RemoteError> {
    let mut command = prepare(&command)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let result = command.spawn().and_then(finish);
    let program = command.get_program().display();
    result.map_err(|error| RemoteError::new(format_args!("cannot run {program}: {error}")))
}

fn prepare(command: &CommandLine) -> Result<Command, RemoteError> {
    match command {
        CommandLine::Shell(text) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(text);
            Ok(shell)
        }
        CommandLine::Direct(words) => {
            let (program, arguments) =
                words.split_first().ok_or_else(|| RemoteError::new("the list names no program"))?;
            let mut command = Command::new(program);
            command.args(arguments);
            Ok(command)
        }
    }
}

fn finish(mut child: Child) -> io::Result<Finished> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Both at once: a command that fills one pipe while we read the other would wait for ever.
    let (stdout, stderr) = std::thread::scope(|scope| {
        let stderr = scope.spawn(|| capture(stderr, LARGEST));
        let stdout = capture(stdout, LARGEST);
        (stdout, stderr.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // Before any error returns, so that no zombie stays.
    let status = child.wait()?;
    let signal = status.signal().map(|number| Signal::from_number(number).to_string());
    Ok(Finished { code: status.code(), signal, stdout: stdout?, stderr: stderr? })
}

/// Reads a pipe to its end. One with too much is closed, of which whoever writes to it dies by SIGPIPE.
fn capture(pipe: Option<impl Read>, largest: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(largest + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > largest {
        return Err(io::Error::other(format!("it wrote more than {largest} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader};

    use watertight::Process;

    use super::*;

    fn shell(text: &str) -> CommandLine {
        CommandLine::Shell(text.to_owned())
    }

    fn direct(words: &[&str]) -> CommandLine {
        CommandLine::Direct(words.iter().map(|word| word.to_string()).collect())
    }

    #[watertight::test]
    fn a_text_is_the_shells_and_a_list_is_nobodys() {
        let finished = run(shell("echo $((6 * 7)); echo oh >&2; exit 3")).unwrap();
        let expected = Finished { code: Some(3), signal: None, stdout: "42\n".into(), stderr: "oh\n".into() };
        assert_eq!(finished, expected);
        let finished = run(direct(&["printf", "%s.", "$HOME", "a b"])).unwrap();
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "$HOME.a b."));
    }

    #[watertight::test]
    fn a_command_that_is_killed_is_told_by_the_signal() {
        let finished = run(shell("kill -9 $$")).unwrap();
        assert_eq!((finished.code, finished.signal.as_deref()), (None, Some("SIGKILL")));
    }

    #[watertight::test]
    fn a_command_that_cannot_start_is_an_error_that_names_it() {
        let error = run(direct(&["/no/such/program"])).unwrap_err().to_string();
        assert_eq!(error, "cannot run /no/such/program: No such file or directory (os error 2)");
        assert_eq!(run(direct(&[])).unwrap_err().to_string(), "the list names no program");
    }

    #[watertight::test]
    fn megabytes_on_both_streams_pass_and_no_stdin_hangs() {
        let finished = run(shell("cat; head -c 3000000 /dev/zero | tee /dev/stderr")).unwrap();
        assert_eq!((finished.stdout.len(), finished.stderr.len()), (3_000_000, 3_000_000));
        let finished = run(shell(r"printf 'a\377b'")).unwrap();
        assert_eq!(finished.stdout, "a\u{fffd}b");
    }

    #[watertight::test]
    fn output_without_end_is_an_error() {
        let error = run(direct(&["yes"])).unwrap_err().to_string();
        assert_eq!(error, "cannot run yes: it wrote more than 16777216 bytes");
        assert!(run(shell("yes >&2")).is_err());
    }

    #[watertight::test]
    fn a_command_dies_with_its_task() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        run(direct(&["mkfifo", pipe.to_str().unwrap()])).unwrap();
        // Both programs hold the pipe, so its end is the end of both.
        let text = format!("exec > {}; sleep 1000 & echo started; exec sleep 1000", pipe.display());
        let process = Process::spawn(run, (shell(&text),)).unwrap();
        let mut lines = BufReader::new(File::open(&pipe).unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "started");
        process.kill().unwrap();
        assert!(lines.next().is_none());
        assert!(process.join().unwrap_err().is_death());
    }

    #[test]
    fn json_gives_a_text_or_a_list() {
        for (json, command) in [(r#""ls | wc""#, shell("ls | wc")), (r#"["ls","-l"]"#, direct(&["ls", "-l"]))]
        {
            assert_eq!(serde_json::from_str::<CommandLine>(json).unwrap(), command);
            assert_eq!(serde_json::to_string(&command).unwrap(), json);
        }
        let error = serde_json::from_str::<CommandLine>("7").unwrap_err().to_string();
        assert!(error.contains("expected a text for the shell, or a list"), "{error}");
        assert!(serde_json::from_str::<CommandLine>("[7]").is_err());
    }

    #[watertight::test]
    fn a_command_travels_to_a_process_and_back() {
        for command in [shell("ls"), direct(&["ls", "-l"])] {
            let process = Process::spawn(|command: CommandLine| command, (command.clone(),)).unwrap();
            assert_eq!(process.join(), Ok(command));
        }
    }
}
