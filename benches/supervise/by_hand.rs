//! The same without a supervisor: what a plain loop does.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::scene::Scene;
use crate::work::{COPIES, DEATHS, middle, source};

fn spawn(command: &[String; 3]) -> Child {
    let mut child = Command::new(&command[0]);
    child.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    child.spawn().unwrap()
}

/// Seconds from the kill to the first word of the next one.
pub(crate) fn restart(scene: &Scene) -> f64 {
    let command = scene.program();
    let mut child = spawn(&command);
    scene.next();
    let times = (0..DEATHS).map(|_| {
        let begin = Instant::now();
        child.kill().unwrap();
        child.wait().unwrap();
        child = spawn(&command);
        scene.next();
        begin.elapsed().as_secs_f64()
    });
    let time = middle(times.collect());
    child.kill().unwrap();
    child.wait().unwrap();
    time
}

/// Seconds until all have said that they run.
pub(crate) fn start_many(scene: &Scene) -> f64 {
    let command = scene.program();
    let begin = Instant::now();
    let children: Vec<Child> = (0..COPIES).map(|_| spawn(&command)).collect();
    scene.all(COPIES);
    let time = begin.elapsed().as_secs_f64();
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    time
}

/// Seconds that `cat > file` takes for what a program writes into a pipe.
pub(crate) fn log(scene: &Scene) -> f64 {
    let command = scene.program_that(&source(scene));
    let mut child = Command::new(&command[0]);
    let mut child = child.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (pipe, file) = (child.stdout.take().unwrap(), File::create(scene.path("log")).unwrap());
    let mut cat = Command::new("cat").stdin(pipe).stdout(file).spawn().unwrap();
    scene.next();
    let begin = Instant::now();
    scene.next();
    child.wait().unwrap();
    cat.wait().unwrap();
    begin.elapsed().as_secs_f64()
}
