//! The program `watertight`: the command line of the library.

fn main() -> std::process::ExitCode {
    watertight::cli::main()
}
