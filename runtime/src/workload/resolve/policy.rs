//! Platform, restarts, stopping and logs.

use super::{Context, conflict, invalid};
use crate::error::{Error, Kind, Result};
use crate::workload::model::{LogOptions, Restart};
use crate::workload::signals::parse_signal;
use crate::workload::units::parse_size;
use crate::workload::walls::Feature;

/// Seconds that Docker waits, too.
const STOP_TIMEOUT: u64 = 10;
const SIGTERM: i32 = 15;
/// A log is rotated at this many bytes when the user says nothing: a workload
/// that floods its output must not fill the host's disk.
const LOG_MAX_SIZE: u64 = 64 << 20;
const LOG_MAX_FILE: u32 = 2;

/// Refuses what this host's processor or kernel can't run.
pub(super) fn check_platform(cx: &Context<'_>) -> Result<()> {
    let (image, host) = (cx.image, cx.host);
    if let Some(platform) = &cx.options.platform {
        let mut parts = platform.split('/');
        let os = parts.next().unwrap_or_default();
        let architecture = match parts.next().unwrap_or(&host.architecture) {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        if os != "linux" || architecture != host.architecture {
            let message = format!(
                "--platform {platform:?}: this host runs linux/{} only",
                host.architecture
            );
            return Err(Error::new(Kind::Unsupported, message));
        }
        // x86-64-v1 is what every such processor runs; higher levels would have
        // to be promised by the host.
        if let Some(variant) = parts.next().filter(|variant| *variant != "v1") {
            return Err(invalid(
                "--platform",
                platform,
                format!("variants such as {variant:?} are not told apart"),
            ));
        }
    }
    if image.os == "linux" && image.architecture == host.architecture {
        return Ok(());
    }
    let message = format!(
        "the image {:?} is for {}/{}, this host is linux/{}",
        image.name, image.os, image.architecture, host.architecture
    );
    Err(Error::new(Kind::Unsupported, message).hint("load the image's variant for this platform"))
}

pub(super) fn restart(cx: &Context<'_>) -> Result<Restart> {
    let Some(text) = cx.options.restart.as_deref() else {
        return Ok(Restart::No);
    };
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let restart = match (name, count) {
        ("no" | "", None) => Restart::No,
        ("always", None) => Restart::Always,
        ("unless-stopped", None) => Restart::UnlessStopped,
        ("on-failure", count) => {
            let max = count.unwrap_or("0").parse();
            Restart::OnFailure {
                max: max.map_err(|_| invalid("--restart", text, "not a number of attempts"))?,
            }
        }
        ("no" | "always" | "unless-stopped", Some(_)) => {
            return Err(invalid(
                "--restart",
                text,
                "only `on-failure` takes a number of attempts",
            ));
        }
        _ => {
            return Err(invalid(
                "--restart",
                text,
                "must be no, always, unless-stopped or on-failure[:N]",
            ));
        }
    };
    if restart != Restart::No {
        cx.wall
            .require(Feature::Restart, &format!("--restart {text}"))?;
        if cx.options.rm {
            return Err(conflict(format!(
                "--rm and --restart {text} contradict each other"
            )));
        }
    }
    Ok(restart)
}

pub(super) fn stop_signal(cx: &Context<'_>) -> Result<i32> {
    let (flag, text) = match (&cx.options.stop_signal, &cx.image.stop_signal) {
        (Some(text), _) => ("--stop-signal", text),
        (None, Some(text)) => ("the image's STOPSIGNAL", text),
        (None, None) => return Ok(SIGTERM),
    };
    parse_signal(text).map_err(|why| invalid(flag, text, why))
}

pub(super) fn stop_timeout(cx: &Context<'_>) -> Result<Option<u64>> {
    match cx.options.stop_timeout {
        None => Ok(Some(STOP_TIMEOUT)),
        Some(-1) => Ok(None),
        Some(seconds) => u64::try_from(seconds).map(Some).map_err(|_| {
            invalid(
                "--stop-timeout",
                &seconds.to_string(),
                "must be -1 (for ever) or more",
            )
        }),
    }
}

pub(super) fn log(cx: &Context<'_>) -> Result<LogOptions> {
    let options = cx.options;
    let mut log = LogOptions {
        enabled: true,
        max_size: LOG_MAX_SIZE,
        max_file: LOG_MAX_FILE,
    };
    match options.log_driver.as_deref() {
        None | Some("json-file") => {}
        Some("none") => {
            log = LogOptions {
                enabled: false,
                max_size: 0,
                max_file: 1,
            }
        }
        Some(other) => {
            let message =
                format!("--log-driver {other:?}: this release has `json-file` and `none` only");
            return Err(Error::new(Kind::Unsupported, message));
        }
    }
    for entry in &options.log_opt {
        if !log.enabled {
            return Err(conflict(format!(
                "--log-opt {entry:?} makes no sense with --log-driver none"
            )));
        }
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        match key {
            "max-size" if value == "-1" => log.max_size = 0,
            "max-size" => {
                log.max_size = parse_size(value).map_err(|why| invalid("--log-opt", entry, why))?
            }
            "max-file" => {
                let count = value.parse().ok().filter(|count| *count >= 1);
                log.max_file = count
                    .ok_or_else(|| invalid("--log-opt", entry, "must be a number from 1 on"))?;
            }
            _ => {
                return Err(invalid(
                    "--log-opt",
                    entry,
                    "json-file has the options max-size and max-file",
                ));
            }
        }
    }
    Ok(log)
}
