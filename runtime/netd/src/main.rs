//! `isola-netd DIR CONFIG`: serves the network whose folder is DIR as the JSON text
//! CONFIG says (`isola_net::daemon::NetdConfig`). Standard input is the listening
//! socket of its members; the log goes to standard error. It goes to the background.

use std::process::ExitCode;

fn main() -> ExitCode {
    isola_netd::run(std::env::args_os().skip(1))
}
