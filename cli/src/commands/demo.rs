//! `isola demo`

use std::time::{Duration, Instant};

use isola_images::Image;
use isola_proto::{Event, Kind};
use isola_runtime::backend;
use isola_runtime::config::Config;
use isola_runtime::control::{Command, Control};
use isola_runtime::engine::{Create, Engine, Instance, Launch};
use isola_runtime::observe::{allowed_host_syscalls, private_memory};
use isola_runtime::workload::{Isolation, Options};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::Context;
use crate::demo_image;
use crate::error::{Exit, Failure, Result};
use crate::output::{Format, Rows, binary_size};

/// Run the same image behind every wall of this host and compare
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// table, json, or a template such as '{{.what}} {{.vm}}'
    #[arg(long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola demo
  isola demo --format json
  isola --root /tmp/try demo";

const IMAGE: &str = "isola/demo";

/// What the image's program prints.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    kernel: String,
    visible_processes: usize,
    root: String,
}

/// What was read of one wall while it stood.
#[derive(Debug, Serialize)]
struct Figures {
    first_output_ms: f64,
    memory_bytes: u64,
    supervisor_bytes: u64,
    kernel: String,
    host_processes_seen: usize,
    host_system_calls: usize,
    root: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let store = context.store()?;
    let image = demo_image::resolve(&store, IMAGE)?;
    let engine = context.engine()?;
    let mut columns = Vec::new();
    for wall in Isolation::ALL {
        let usable = backend::of(wall)?.probe(engine.paths());
        columns.push((
            wall,
            match usable {
                Ok(()) => Ok(measure(engine, context.settings()?, &image, wall)?),
                Err(unusable) => Err(unusable.reason),
            },
        ));
    }
    if format.is_json() {
        let value = columns.iter().map(|(wall, column)| {
            let value = match column {
                Ok(figures) => json!(figures),
                Err(reason) => json!({ "unusable": reason }),
            };
            (wall.name().to_owned(), value)
        });
        let value = Value::Object(value.collect());
        format.print_value(&value, String::new)?;
        return Ok(Exit::OK);
    }
    let names = Isolation::ALL.map(|wall| (wall.name(), wall.name()));
    let fields = [&[("what", "")], &names[..]].concat();
    let shown: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    format.print_rows(&Rows {
        fields: &fields,
        shown: &shown,
        rows: rows(&columns),
    })?;
    for (wall, column) in &columns {
        if let Err(reason) = column {
            eprintln!("{}: {reason}", wall.name());
        }
    }
    Ok(Exit::OK)
}

type Tell = fn(&Figures) -> String;

fn rows(columns: &[(Isolation, std::result::Result<Figures, String>)]) -> Vec<Value> {
    let lines: [(&str, Tell); 6] = [
        ("start to first output", |figures| {
            format!("{:.0} ms", figures.first_output_ms)
        }),
        ("memory that the host pays", |figures| {
            binary_size(figures.memory_bytes + figures.supervisor_bytes)
        }),
        ("kernel that it sees", |figures| figures.kernel.clone()),
        ("processes of the host that it sees", |figures| {
            figures.host_processes_seen.to_string()
        }),
        ("system calls to the host's kernel", |figures| {
            figures.host_system_calls.to_string()
        }),
        ("root file system", |figures| figures.root.clone()),
    ];
    let row = |(what, tell): &(&str, Tell)| {
        let mut row = serde_json::Map::new();
        row.insert("what".to_owned(), (*what).into());
        for (wall, column) in columns {
            let text = column.as_ref().map_or("not here".to_owned(), tell);
            row.insert(wall.name().to_owned(), text.into());
        }
        Value::Object(row)
    };
    lines.iter().map(row).collect()
}

fn measure(engine: &Engine, settings: &Config, image: &Image, wall: Isolation) -> Result<Figures> {
    let args = ["/bin/isola-demo", "--json", "--wait"];
    let options = Options {
        args: args.map(str::to_owned).to_vec(),
        interactive: true,
        rm: true,
        ..Options::default()
    };
    let instance = engine.create(&Create {
        image,
        image_name: IMAGE,
        options: &options,
        config: settings,
        isolation: &[wall],
        name: None,
        inherit: None,
    })?;
    let figures = observe(engine, &instance);
    // With `--rm` nothing is left of it once it has ended.
    if let Ok(instance) = engine.find(&instance.record.id) {
        engine.remove(&instance, true)?;
    }
    figures
}

fn observe(engine: &Engine, instance: &Instance) -> Result<Figures> {
    let begin = Instant::now();
    let launch = Launch {
        attach: true,
        stdin: true,
        size: None,
    };
    let (mut control, _) = engine.start(instance, launch)?;
    let (line, first) = first_line(&mut control, begin)?;
    let seen: Seen = serde_json::from_slice(&line)
        .map_err(|error| Failure::internal(format!("{IMAGE} printed nonsense: {error}")))?;
    let now = engine.find(&instance.record.id)?.status;
    let (pid, supervisor) = (
        now.pid.unwrap_or_default(),
        now.supervisor_pid.unwrap_or_default(),
    );
    let mut asking = engine.connect(instance)?;
    let (channel, inside) = (asking.channel(), false);
    let memory = match asking.ask(&Command::Usage { channel, inside })? {
        Event::Usage { usage, .. } => usage.memory,
        other => return Err(Failure::internal(format!("{other:?} answers no question"))),
    };
    let channel = asking.channel();
    let own = match asking.ask(&Command::Processes { channel })? {
        Event::Processes { processes, .. } => processes.len(),
        other => return Err(Failure::internal(format!("{other:?} answers no question"))),
    };
    Ok(Figures {
        first_output_ms: first.as_secs_f64() * 1000.0,
        memory_bytes: memory,
        supervisor_bytes: private_memory(supervisor)?,
        kernel: seen.kernel,
        host_processes_seen: seen.visible_processes.saturating_sub(own),
        host_system_calls: allowed_host_syscalls(pid)?,
        root: format!("{}, written to {}", seen.root, home(engine, instance)),
    })
}

/// Where what the workload writes lies on the host.
fn home(engine: &Engine, instance: &Instance) -> &'static str {
    match engine.files(instance).disk().is_file() {
        true => "a disk of its own",
        false => "a folder of the host",
    }
}

/// The first line of output, and when its first byte came.
fn first_line(control: &mut Control, begin: Instant) -> Result<(Vec<u8>, Duration)> {
    let (mut line, mut first) = (Vec::new(), None);
    while line.last() != Some(&b'\n') {
        let frame = control.receive()?;
        match frame.kind {
            Kind::Stdout if !frame.payload.is_empty() => {
                first.get_or_insert_with(|| begin.elapsed());
                line.extend(frame.payload);
            }
            Kind::Stdout => return Err(Failure::internal(format!("{IMAGE} printed nothing"))),
            _ => {}
        }
    }
    Ok((line, first.unwrap_or_default()))
}
