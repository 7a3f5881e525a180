//! The supervisor of one instance; see `isola_runtime::supervisor`.

fn main() -> std::process::ExitCode {
    isola_runtime::supervisor::main()
}
