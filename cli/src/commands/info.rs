//! `isola info`

use isola_runtime::state::State;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Format, binary_size};

/// Show what is in the data root, and the host in short
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// json, or a template such as '{{.RootDir}}'
    #[arg(short, long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola info
  isola info --format '{{.Containers}} instances, {{.Images}} images'
  isola info --format json";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let value = facts(context)?;
    format.print_value(&value, || plain(&value))?;
    Ok(Exit::OK)
}

fn facts(context: &Context) -> Result<Value> {
    let engine = context.engine()?;
    let instances = engine.list()?;
    let count = |states: &[State]| {
        instances
            .iter()
            .filter(|instance| states.contains(&instance.status.state))
            .count()
    };
    let kernel = context
        .kernels()?
        .list()?
        .into_iter()
        .find(|kernel| kernel.default);
    let allowed = context.settings()?.choose(None, &context.environment())?;
    let host = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(json!({
        "RootDir": engine.paths().root(),
        "Containers": instances.len(),
        "ContainersRunning": count(&[State::Running, State::Restarting]),
        "ContainersPaused": count(&[State::Paused]),
        "ContainersStopped": count(&[State::Created, State::Exited]),
        "Images": context.store()?.list()?.len(),
        "DefaultIsolation": allowed.iter().map(|wall| wall.name()).collect::<Vec<_>>().join(","),
        "GuestKernel": kernel.map(|kernel| kernel.name),
        "KernelVersion": host.release().to_string_lossy(),
        "OSType": "linux",
        "Architecture": host.machine().to_string_lossy(),
        "NCPU": cpus,
        "MemTotal": memory.totalram.saturating_mul(u64::from(memory.mem_unit)),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
    }))
}

fn plain(value: &Value) -> String {
    let text = |key: &str| match &value[key] {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    };
    let memory = value["MemTotal"]
        .as_u64()
        .map(binary_size)
        .unwrap_or_default();
    format!(
        "Data root:          {}\nInstances:          {} ({} running, {} paused, {} stopped)\n\
         Images:             {}\nDefault isolation:  {}\nGuest kernel:       {}\n\
         Host kernel:        {} {}\nCPUs:               {}\nMemory:             {}\n",
        text("RootDir"),
        text("Containers"),
        text("ContainersRunning"),
        text("ContainersPaused"),
        text("ContainersStopped"),
        text("Images"),
        text("DefaultIsolation"),
        text("GuestKernel"),
        text("KernelVersion"),
        text("Architecture"),
        text("NCPU"),
        memory,
    )
}
