//! What is read, shown and written around a build itself: for `isola build` and for
//! what stacks build.

mod flags;
mod found;
mod git;
mod images;
mod inputs;
mod output;
mod progress;
mod request;

use std::io::Write;

use isola_build::{Error, Kind};
use isola_images::registry::Platform;

use crate::error::{Code, Failure, Result};
use crate::output::clean;

pub(crate) use flags::{agents, pairs};
pub(crate) use inputs::read_secret;
pub(crate) use output::Output;
pub(crate) use progress::Shown;
pub(crate) use request::{Request, Source};

/// What the image is for: the flag, or this machine. Several are separated by commas.
pub(crate) fn platforms(flag: &[String]) -> Result<Vec<Platform>> {
    let mut platforms = Vec::new();
    for text in flag.iter().flat_map(|text| text.split(',')) {
        let platform = text.trim().parse()?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    match platforms.is_empty() {
        true => Ok(vec![Platform::native()]),
        false => Ok(platforms),
    }
}

/// A build's error as the command line tells it; the tail of a program's output goes
/// before it, unless it was shown already.
pub(crate) fn failure(error: Error, shown: bool) -> Failure {
    let message = error.to_string();
    if !shown {
        let mut stderr = std::io::stderr().lock();
        for line in &error.tail {
            let _ = writeln!(stderr, " | {}", clean(line));
        }
    }
    let code = match error.kind {
        Kind::Dockerfile => Code::Dockerfile,
        Kind::Run(_) => Code::BuildStep,
        Kind::Invalid => Code::Invalid,
        Kind::Unsupported => Code::Unsupported,
        Kind::Image => match error.source {
            Some(source) => Failure::from(*source).code,
            None => Code::BadImage,
        },
        Kind::System | Kind::Wall | Kind::Cancelled => Code::System,
    };
    let failure = Failure::new(code, message);
    match error.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
