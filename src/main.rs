//! The program `watertight`: the command line of the library.

fn main() -> std::process::ExitCode {
    // A supervisor starts programs through a keeper, which is this program again.
    watertight::init();
    watertight::cli::main()
}
