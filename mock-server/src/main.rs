//! The `daytona-mock` binary: becomes the zygote or an agent when started as one, else runs the command line.

fn main() -> std::process::ExitCode {
    // Before anything that could start a thread: the zygote must stay single-threaded.
    if let Some(code) = daytona_mock::runtime::run_internal_role() {
        return code;
    }
    daytona_mock::cli::run()
}
