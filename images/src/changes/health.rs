//! HEALTHCHECK.

use super::{Outcome, json_array};
use crate::image::Healthcheck;

/// Shortest duration that Docker takes, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// `NONE`, or options and `CMD` with a command in JSON or shell form.
pub(super) fn parse(text: &str, shell: &[String]) -> Outcome<Healthcheck> {
    let mut health = Healthcheck::default();
    let mut rest = text.trim();
    while rest.starts_with("--") {
        let (option, after) = rest
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((rest, ""));
        set(&mut health, option)?;
        rest = after.trim_start();
    }
    let (kind, command) = rest
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((rest, ""));
    let command = command.trim();
    health.test = Some(match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() && health == Healthcheck::default() => vec!["NONE".into()],
        "NONE" => return Err("HEALTHCHECK NONE takes nothing else".into()),
        "CMD" if command.is_empty() => return Err("HEALTHCHECK CMD needs a command".into()),
        "CMD" => match json_array(command) {
            Some(args) if args.is_empty() => return Err("HEALTHCHECK CMD needs a command".into()),
            Some(args) => ["CMD".to_owned()].into_iter().chain(args).collect(),
            // CMD-SHELL means /bin/sh; another shell has to be spelled out.
            None if shell == ["/bin/sh", "-c"] => vec!["CMD-SHELL".into(), command.into()],
            None => {
                let shell = shell.iter().cloned();
                ["CMD".to_owned()]
                    .into_iter()
                    .chain(shell)
                    .chain([command.to_owned()])
                    .collect()
            }
        },
        _ => return Err("HEALTHCHECK needs CMD or NONE".into()),
    });
    Ok(health)
}

fn set(health: &mut Healthcheck, option: &str) -> Outcome<()> {
    let (name, value) = option
        .split_once('=')
        .ok_or_else(|| format!("`{option}` has no `=`"))?;
    match name {
        "--interval" => health.interval = duration(value)?,
        "--timeout" => health.timeout = duration(value)?,
        "--start-period" => health.start_period = duration(value)?,
        "--start-interval" => health.start_interval = duration(value)?,
        "--retries" => {
            let retries = value
                .parse::<u32>()
                .map_err(|_| format!("`{value}` is not a count"))?;
            health.retries = i64::from(retries);
        }
        _ => return Err(format!("HEALTHCHECK has no option `{name}`")),
    }
    Ok(())
}

/// A duration as Go writes it: `1h2m3.5s`, `300ms`; in nanoseconds.
fn duration(text: &str) -> Outcome<i64> {
    let wrong = || format!("`{text}` is not a duration such as 30s or 1m30s");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        total += number
            * match &rest[digits..unit] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    // Beyond a century the number means a mistake.
    if text.is_empty() || total > 3.2e18 {
        return Err(wrong());
    }
    let total = total.round() as i64;
    if total != 0 && total < SHORTEST {
        return Err(format!("`{text}` is shorter than 1ms"));
    }
    Ok(total)
}
