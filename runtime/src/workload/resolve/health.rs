//! Health checks: what the user says over what the image says, each field by
//! itself.

use isola_images::Healthcheck;

use super::{Context, conflict, invalid};
use crate::error::Result;
use crate::workload::model::HealthCheck;
use crate::workload::units::parse_duration;
use crate::workload::walls::Feature;

/// Docker's defaults.
const INTERVAL_MS: u64 = 30_000;
const TIMEOUT_MS: u64 = 30_000;
const START_INTERVAL_MS: u64 = 5_000;
const RETRIES: u32 = 3;
/// The shortest span that is not 0, as with Docker.
const LEAST_NANOS: u64 = 1_000_000;

/// How the health of the workload is found out.
pub(super) fn health(cx: &Context<'_>) -> Result<Option<HealthCheck>> {
    let options = cx.options;
    let image = cx.image.health.clone().unwrap_or_default();
    let spans = [
        span(
            "--health-interval",
            &options.health_interval,
            image.interval,
        )?,
        span("--health-timeout", &options.health_timeout, image.timeout)?,
        span(
            "--health-start-period",
            &options.health_start_period,
            image.start_period,
        )?,
        span(
            "--health-start-interval",
            &options.health_start_interval,
            image.start_interval,
        )?,
    ];
    let retries = retries(cx, &image)?;
    let off = |test: &[String]| test.first().is_some_and(|kind| kind == "NONE");
    let said = options
        .health_cmd
        .as_deref()
        .filter(|test| !test.is_empty());
    if options.no_healthcheck {
        let others = said.is_some_and(|test| !off(test))
            || options.health_interval.is_some()
            || options.health_timeout.is_some()
            || options.health_start_period.is_some()
            || options.health_start_interval.is_some()
            || options.health_retries.is_some();
        return match others {
            true => Err(conflict(
                "--no-healthcheck and --health-* contradict each other",
            )),
            false => Ok(None),
        };
    }
    let Some(test) = said
        .or(image.test.as_deref())
        .filter(|test| !test.is_empty())
    else {
        return Ok(None);
    };
    if off(test) {
        return Ok(None);
    }
    let text = test.join(" ");
    match test {
        [kind, line] if kind == "CMD-SHELL" && !line.is_empty() => {}
        [kind, program, ..] if kind == "CMD" && !program.is_empty() => {}
        _ => {
            let why = "not of the form CMD PROGRAM [ARG...], CMD-SHELL LINE or NONE";
            return Err(invalid("the health check", &text, why));
        }
    }
    if text.contains('\0') {
        return Err(invalid(
            "the health check",
            &text,
            "a NUL byte can't be passed to a program",
        ));
    }
    cx.wall.require(Feature::Exec, "a health check")?;
    let [interval, timeout, start_period, start_interval] = spans;
    Ok(Some(HealthCheck {
        test: test.to_vec(),
        interval_ms: interval.unwrap_or(INTERVAL_MS),
        timeout_ms: timeout.unwrap_or(TIMEOUT_MS),
        start_period_ms: start_period.unwrap_or(0),
        start_interval_ms: start_interval.unwrap_or(START_INTERVAL_MS),
        retries,
    }))
}

/// Milliseconds; what the user does not say or says to be 0 is the image's.
fn span(flag: &str, said: &Option<String>, image: i64) -> Result<Option<u64>> {
    let nanos = match said {
        Some(text) => {
            let nanos = parse_duration(text).map_err(|why| invalid(flag, text, why))?;
            if (1..LEAST_NANOS).contains(&nanos) {
                return Err(invalid(flag, text, "must be 1ms or more"));
            }
            nanos
        }
        None => 0,
    };
    let image = u64::try_from(image).unwrap_or(0);
    let nanos = [nanos, image].into_iter().find(|nanos| *nanos != 0);
    Ok(nanos.map(|nanos| (nanos / LEAST_NANOS).max(1)))
}

fn retries(cx: &Context<'_>, image: &Healthcheck) -> Result<u32> {
    let said = cx.options.health_retries.unwrap_or(0);
    let Ok(said) = u32::try_from(said) else {
        return Err(invalid(
            "--health-retries",
            &said.to_string(),
            "must be 0 or more",
        ));
    };
    let image = u32::try_from(image.retries).unwrap_or(0);
    Ok([said, image]
        .into_iter()
        .find(|count| *count != 0)
        .unwrap_or(RETRIES))
}
