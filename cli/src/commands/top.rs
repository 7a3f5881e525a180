//! `isola top`

use clap_complete::engine::ArgValueCandidates;
use isola_proto::Event;
use isola_proto::message::Process;
use isola_runtime::control::Command;
use isola_runtime::engine::Instance;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::output::{Column, Format, Rows};

/// List the processes of an instance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// table, json, or a template such as '{{.PID}} {{.CMD}}'
    #[arg(long)]
    format: Option<String>,
    /// Name or id
    #[arg(value_name = "INSTANCE", add = ArgValueCandidates::new(complete::running))]
    instance: String,
}

const EXAMPLES: &str = "Examples:
  isola top web
  isola top --format '{{.PID}} {{.CMD}}' web
  isola top --format json web";

/// Columns of a process.
pub(crate) const FIELDS: &[Column] = &[
    ("UID", "UID"),
    ("PID", "PID"),
    ("PPID", "PPID"),
    ("C", "C"),
    ("STIME", "STIME"),
    ("TTY", "TTY"),
    ("TIME", "TIME"),
    ("RSS", "RSS"),
    ("CMD", "CMD"),
];
/// Columns of the table.
pub(crate) const SHOWN: &[&str] = &["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let rows = processes(context, &context.find(&args.instance)?)?;
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows,
    })?;
    Ok(Exit::OK)
}

/// A row for each process of an instance.
pub(crate) fn processes(context: &Context, instance: &Instance) -> Result<Vec<Value>> {
    let mut control = context.engine()?.connect(instance)?;
    let channel = control.channel();
    let Event::Processes { processes, .. } = control.ask(&Command::Processes { channel })? else {
        return Err(Failure::internal(
            "the supervisor did not answer with processes",
        ));
    };
    let now = Timestamp::now();
    Ok(processes.iter().map(|process| row(process, now)).collect())
}

fn row(process: &Process, now: Timestamp) -> Value {
    let lived = u64::try_from(now.as_millisecond())
        .unwrap_or(0)
        .saturating_sub(process.started_ms);
    let percent = process
        .cpu_ms
        .saturating_mul(100)
        .checked_div(lived)
        .unwrap_or(0);
    json!({
        "UID": process.uid,
        "PID": process.pid,
        "PPID": process.ppid,
        "C": percent.min(99),
        "STIME": start(process.started_ms, now),
        "TTY": process.tty,
        "TIME": time(process.cpu_ms),
        "RSS": process.rss,
        "CMD": process.command,
    })
}

/// As ps(1) has it: the time of today, else the day.
fn start(ms: u64, now: Timestamp) -> String {
    let Some(then) = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
    else {
        return "?".to_owned();
    };
    let zone = TimeZone::system();
    let (then, now) = (then.to_zoned(zone.clone()), now.to_zoned(zone));
    let format = match then.date() == now.date() {
        true => "%H:%M",
        false => "%b%d",
    };
    then.strftime(format).to_string()
}

fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_in_ps() {
        assert_eq!(time(3_725_999), "01:02:05");
        let now: Timestamp = "2026-11-22T15:00:00Z".parse().unwrap();
        assert_eq!(start(0, now), "Jan01");
        assert_eq!(start(u64::MAX, now), "?");
    }
}
