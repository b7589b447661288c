//! Watertight beside Python's multiprocessing, procspawn and the machine's limit, in one run.
//!
//! `cargo bench --bench compare [-- [--quick | --rounds N] [--markdown] [--pinned | --unpinned] [KEY]...]`
//!
//! Every peer is a process of its own, once bound to one processor and once free. They are asked in turn, for
//! each row and round, and do nothing while others are measured. The table shows medians of the rounds.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod answer;
mod arguments;
mod bare;
mod contender;
mod machine;
mod meter;
mod peers;
mod program;
mod rounds;
mod table;
mod work;

use std::process::ExitCode;

use arguments::{Arguments, Task};

fn main() -> ExitCode {
    watertight::init();
    procspawn::init();
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(Task::Compare(arguments)) => compare(&arguments),
        Ok(Task::Serve(peer, placement)) => peers::serve(peer, placement),
        Ok(Task::Run(program)) => program.run(),
        Ok(Task::Nothing) => {}
        Err(message) => {
            println!("compare: {message}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn compare(arguments: &Arguments) {
    let before = machine::load();
    let samples = rounds::run(arguments);
    let format = if arguments.markdown { table::Format::Markdown } else { table::Format::Terminal };
    println!("{}\n", machine::describe(arguments.rounds, &before));
    println!("{}", table::render(&samples, format));
}
