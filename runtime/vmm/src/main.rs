//! `isola-vmm --config-fd N`: runs the machine that the JSON text behind
//! descriptor N describes (`isola_vmm::VmConfig`). The exit code tells how it ended
//! (`isola_vmm::Outcome`). Standard input, output and error must be open.

use std::process::ExitCode;

use isola_vmm::Outcome;

const USAGE: &str = "usage: isola-vmm --config-fd NUMBER";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let words = [arguments.next(), arguments.next(), arguments.next()];
    let [Some(flag), Some(number), None] =
        words.map(|word| word.and_then(|word| word.into_string().ok()))
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(Outcome::Error.code());
    };
    let Some(fd) = number
        .parse()
        .ok()
        .filter(|fd| *fd >= 0 && flag == "--config-fd")
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(Outcome::Error.code());
    };
    let report = isola_vmm::run(fd);
    if matches!(report.outcome, Outcome::Error | Outcome::Crashed) {
        eprintln!("isola-vmm: {}", report.detail);
    }
    isola_vmm::exit(report.outcome)
}
