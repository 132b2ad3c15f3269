fn main() -> std::process::ExitCode {
    daytona_conformance::cli::main()
}
