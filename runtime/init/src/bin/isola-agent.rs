//! PID 1 of a guest. See [`isola_init::agent`].

fn main() -> std::process::ExitCode {
    isola_init::agent::run()
}
