//! `isola stats`

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap_complete::engine::ArgValueCandidates;
use isola_proto::Event;
use isola_proto::message::Usage;
use isola_runtime::control::Command;
use isola_runtime::engine::{Engine, Instance};
use serde_json::{Value, json};

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::output::{Column, Format, Rows, binary_size, decimal_size, print};

/// Show what instances use of this host
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Stopped ones too
    #[arg(short, long)]
    pub(super) all: bool,
    /// Once, instead of again and again
    #[arg(long)]
    pub(super) no_stream: bool,
    /// As the guest sees it, rather than what the host pays
    #[arg(long)]
    pub(super) inside: bool,
    /// Do not cut ids
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// table, json, or a template such as '{{.Name}} {{.MemUsage}}'
    #[arg(long)]
    pub(super) format: Option<String>,
    /// Names or ids; all that run, if none is given
    #[arg(value_name = "INSTANCE", add = ArgValueCandidates::new(complete::running))]
    pub(super) instances: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola stats
  isola stats --no-stream --format json web
  isola stats --inside --format '{{.Name}} {{.MemUsage}}' vm1";

const FIELDS: &[Column] = &[
    ("ID", "CONTAINER ID"),
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("Isolation", "ISOLATION"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
const SHOWN: &[&str] = &[
    "ID",
    "Name",
    "Isolation",
    "CPUPerc",
    "MemUsage",
    "MemPerc",
    "NetIO",
    "BlockIO",
    "PIDs",
];
/// CPU time is measured over this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// CPU time of an instance at a moment.
type Samples = HashMap<String, (Instant, u64)>;

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let engine = context.engine()?;
    let wanted = chosen(args, engine)?;
    let mut samples = Samples::new();
    measure(args, engine, &wanted, &mut samples)?;
    loop {
        std::thread::sleep(INTERVAL);
        let wanted = if args.instances.is_empty() {
            chosen(args, engine)?
        } else {
            wanted.clone()
        };
        let rows = measure(args, engine, &wanted, &mut samples)?;
        let text = format.render_rows(&Rows {
            fields: FIELDS,
            shown: SHOWN,
            rows,
        })?;
        let redraw = !args.no_stream && !format.is_json() && std::io::stdout().is_terminal();
        // Cursor home, then clear what is below.
        print(&if redraw {
            format!("\u{1b}[H\u{1b}[J{text}")
        } else {
            text
        })?;
        if args.no_stream {
            return Ok(Exit::OK);
        }
    }
}

fn chosen(args: &Args, engine: &Engine) -> Result<Vec<Instance>> {
    if args.instances.is_empty() {
        let mut all = engine.list()?;
        all.retain(|instance| args.all || instance.status.state.is_live());
        return Ok(all);
    }
    args.instances
        .iter()
        .map(|key| Ok(engine.find(key)?))
        .collect()
}

fn measure(
    args: &Args,
    engine: &Engine,
    wanted: &[Instance],
    samples: &mut Samples,
) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for instance in wanted {
        // One that ends meanwhile, or does not run, uses nothing.
        let usage = match engine.connect(instance) {
            Err(_) => Usage::default(),
            Ok(mut control) => {
                let channel = control.channel();
                match control.ask(&Command::Usage {
                    channel,
                    inside: args.inside,
                }) {
                    Ok(Event::Usage { usage, .. }) => usage,
                    Ok(_) => {
                        return Err(Failure::internal(
                            "the supervisor did not answer with its usage",
                        ));
                    }
                    Err(_) => Usage::default(),
                }
            }
        };
        let now = (Instant::now(), usage.cpu_ns);
        let before = samples.insert(instance.record.id.clone(), now);
        rows.push(row(args, instance, &usage, percent(before, now)));
    }
    Ok(rows)
}

/// CPU time in percent of one CPU.
#[allow(clippy::cast_precision_loss)]
fn percent(before: Option<(Instant, u64)>, (now, used): (Instant, u64)) -> f64 {
    let Some((then, was)) = before else {
        return 0.0;
    };
    let passed = now.duration_since(then).as_nanos() as f64;
    100.0 * used.saturating_sub(was) as f64 / passed.max(1.0)
}

#[allow(clippy::cast_precision_loss)]
fn row(args: &Args, instance: &Instance, usage: &Usage, cpu: f64) -> Value {
    let record = &instance.record;
    let memory = 100.0 * usage.memory as f64 / usage.memory_limit.max(1) as f64;
    json!({
        "ID": if args.no_trunc { record.id.as_str() } else { record.short_id() },
        "Container": record.name,
        "Name": record.name,
        "Isolation": record.workload.isolation.name(),
        "CPUPerc": format!("{cpu:.2}%"),
        "MemUsage": format!("{} / {}", binary_size(usage.memory), binary_size(usage.memory_limit)),
        "MemPerc": format!("{memory:.2}%"),
        "NetIO": format!("{} / {}", decimal_size(usage.net_rx), decimal_size(usage.net_tx)),
        "BlockIO": format!("{} / {}", decimal_size(usage.block_read), decimal_size(usage.block_write)),
        "PIDs": usage.pids.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_a_share_of_the_time_that_passed() {
        let then = Instant::now();
        let now = then + Duration::from_secs(2);
        assert!((percent(Some((then, 0)), (now, 3_000_000_000)) - 150.0).abs() < 1e-9);
        assert!(percent(None, (now, 5)).abs() < 1e-9);
        assert!(percent(Some((then, 9)), (now, 5)).abs() < 1e-9, "restarted");
    }
}
