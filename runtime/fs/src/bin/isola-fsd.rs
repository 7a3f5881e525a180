//! `isola-fsd --socket-fd N (--root PATH | --root-fd N) [--cached NAME]...`: serves a
//! folder to the machine behind a vhost-user socket (`isola_fs`). `/proc` must be
//! mounted where it runs.

use std::ffi::CString;
use std::process::ExitCode;

use isola_fs::run::{Config, Root, inherited, run};

const USAGE: &str =
    "usage: isola-fsd --socket-fd NUMBER (--root PATH | --root-fd NUMBER) [--cached NAME]...";

fn main() -> ExitCode {
    let config = match parse(std::env::args().skip(1)) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("isola-fsd: {message}");
            return ExitCode::from(2);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isola-fsd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Config, String> {
    let (mut socket, mut root, mut cached) = (None, None, Vec::new());
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        let fd = || {
            let number = value.parse().map_err(|_| USAGE.to_owned())?;
            inherited(number).map_err(|error| error.to_string())
        };
        match flag.as_str() {
            "--socket-fd" if socket.is_none() => socket = Some(fd()?),
            "--root-fd" if root.is_none() => root = Some(Root::Fd(fd()?)),
            "--root" if root.is_none() => root = Some(Root::Path(value.into())),
            "--cached" => cached.push(CString::new(value).map_err(|_| USAGE)?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    match (socket, root) {
        (Some(socket), Some(root)) => Ok(Config {
            socket,
            root,
            cached,
        }),
        _ => Err(USAGE.to_owned()),
    }
}
