//! What is measured.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use crate::by_hand;
use crate::scene::{Scene, kill, resident};
use crate::sides::{Side, Tree, logged};

pub(crate) const DEATHS: usize = 50;
pub(crate) const COPIES: usize = 1000;
const LOGGED: usize = 512 << 20;

/// One row of the table.
pub(crate) struct Row {
    pub(crate) work: &'static str,
    pub(crate) bar: &'static str,
    pub(crate) supervised: fn(&Scene, &Side) -> f64,
    pub(crate) by_hand: Option<fn(&Scene) -> f64>,
    pub(crate) reached: fn(f64, Option<f64>) -> bool,
    pub(crate) show: fn(f64) -> String,
}

pub(crate) fn rows() -> [Row; 5] {
    [
        Row {
            work: "killed → runs again<br>a shell script's first word, 50 deaths; by hand: kill, wait, spawn",
            bar: "≤ 2 × by hand",
            supervised: restart,
            by_hand: Some(by_hand::restart),
            reached: |ours, hand| ours <= 2.0 * hand.unwrap(),
            show: seconds,
        },
        Row {
            work: "1,000 programs run<br>from nothing; by hand: a loop that spawns them",
            bar: "≤ 1.5 × by hand",
            supervised: start_many,
            by_hand: Some(by_hand::start_many),
            reached: |ours, hand| ours <= 1.5 * hand.unwrap(),
            show: seconds,
        },
        Row {
            work: "resident memory of the supervisor<br>of 1,000 programs",
            bar: "≤ 16 MiB + 20 KiB × 1,000",
            supervised: |scene, side| memory(scene, side, COPIES),
            by_hand: None,
            reached: |ours, _| ours <= (16 << 20) as f64 + (20 << 10) as f64 * COPIES as f64,
            show: bytes,
        },
        Row {
            work: "resident memory of the supervisor<br>of 1 program",
            bar: "≤ 16 MiB + 20 KiB",
            supervised: |scene, side| memory(scene, side, 1),
            by_hand: None,
            reached: |ours, _| ours <= ((16 << 20) + (20 << 10)) as f64,
            show: bytes,
        },
        Row {
            work: "512 MiB of lines into files of 64 MiB<br>`cat` of a file; by hand: `cat FILE | cat > log`",
            bar: "≥ ½ × by hand",
            supervised: log,
            by_hand: Some(by_hand::log),
            reached: |ours, hand| ours <= 2.0 * hand.unwrap(),
            show: |time| format!("{:.2} GB/s", LOGGED as f64 / time / 1e9),
        },
    ]
}

fn seconds(time: f64) -> String {
    if time < 0.1 { format!("{:.2} ms", time * 1e3) } else { format!("{time:.2} s") }
}

fn bytes(count: f64) -> String {
    format!("{:.1} MiB", count / f64::from(1 << 20))
}

pub(crate) fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn restart(scene: &Scene, side: &Side) -> f64 {
    let tree = Tree { command: scene.program(), copies: 1, logged: false, permanent: true };
    let _supervisor = side.start(scene, &tree);
    let mut pid = scene.next();
    let times = (0..DEATHS).map(|_| {
        let begin = Instant::now();
        kill(pid);
        pid = scene.next();
        begin.elapsed().as_secs_f64()
    });
    middle(times.collect())
}

fn start_many(scene: &Scene, side: &Side) -> f64 {
    let tree = Tree { command: scene.program(), copies: COPIES, logged: false, permanent: true };
    let begin = Instant::now();
    let _supervisor = side.start(scene, &tree);
    scene.all(COPIES);
    begin.elapsed().as_secs_f64()
}

fn memory(scene: &Scene, side: &Side, copies: usize) -> f64 {
    let tree = Tree { command: scene.program(), copies, logged: false, permanent: true };
    let supervisor = side.start(scene, &tree);
    scene.all(copies);
    resident(supervisor.pid())
}

/// The command that writes the lines.
pub(crate) fn source(scene: &Scene) -> String {
    let path = scene.path("source");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let mut written = 0;
    for number in 0.. {
        let line = format!(
            "{number:>10} something happened that is worth a line of a hundred bytes or so, more or less\n"
        );
        file.write_all(line.as_bytes()).unwrap();
        written += line.len();
        if written >= LOGGED {
            break;
        }
    }
    file.flush().unwrap();
    format!("cat {}", path.display())
}

fn log(scene: &Scene, side: &Side) -> f64 {
    let command = scene.program_that(&source(scene));
    let supervisor = side.start(scene, &Tree { command, copies: 1, logged: true, permanent: false });
    scene.next();
    let begin = Instant::now();
    scene.next();
    // What was still in the pipe comes too.
    let size = scene.path("source").metadata().unwrap().len();
    while logged(&scene.path("")) < size {
        std::thread::yield_now();
    }
    let time = begin.elapsed().as_secs_f64();
    drop(supervisor);
    time
}
