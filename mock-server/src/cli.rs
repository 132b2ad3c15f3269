//! The command line: `serve` (default), `env`, `doctor`, `health`.

use std::process::ExitCode;

/// Parses the arguments and runs the command they name. Exit code 0, 1 (failed), 2 (usage).
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
