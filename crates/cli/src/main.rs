//! The command `stillcore`.
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(stillcore_cli::run(std::env::args_os()))
}
