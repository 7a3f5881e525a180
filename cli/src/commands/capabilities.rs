//! `isola capabilities`

use isola_runtime::workload::{Feature, HostFacts, Isolation, WallCapabilities};
use serde_json::Value;

use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::output::{Format, Rows, binary_size, print};

/// Show what each wall can do on this host
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Tell why what is missing is missing
    #[arg(short, long)]
    verbose: bool,
    /// table, json, or a template such as '{{.feature}} {{.vm}}'
    #[arg(long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola capabilities
  isola capabilities --verbose
  isola capabilities --format json";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let (host, settings) = (HostFacts::read()?, context.settings()?);
    let walls = Isolation::ALL.map(|wall| settings.adjust(WallCapabilities::of(wall).on(&host)));
    if format.is_json() {
        let value = serde_json::to_value(&walls)
            .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?;
        format.print_value(&value, String::new)?;
        return Ok(Exit::OK);
    }
    let rows = Feature::ALL
        .iter()
        .map(|feature| row(*feature, &walls))
        .collect();
    let fields = &[
        ("feature", "FEATURE"),
        ("container", "CONTAINER"),
        ("vm", "VM"),
        ("emulated", "EMULATED"),
    ];
    let shown = &["feature", "container", "vm", "emulated"];
    format.print_rows(&Rows {
        fields,
        shown,
        rows,
    })?;
    if matches!(format, Format::Table) {
        print(&defaults(&walls))?;
        if args.verbose {
            print(&reasons(&walls))?;
        }
    }
    Ok(Exit::OK)
}

fn row(feature: Feature, walls: &[WallCapabilities]) -> Value {
    let mut row = serde_json::Map::new();
    row.insert("feature".to_owned(), feature.name().into());
    for wall in walls {
        let word = if wall.has(feature) { "yes" } else { "no" };
        row.insert(wall.isolation.name().to_owned(), word.into());
    }
    Value::Object(row)
}

fn defaults(walls: &[WallCapabilities]) -> String {
    let size = |size: Option<u64>| size.map_or("no limit".to_owned(), binary_size);
    let mut text = "\nDefaults:\n".to_owned();
    for wall in walls {
        let defaults = wall.defaults;
        let name = wall.isolation.name();
        text.push_str(&format!("  {name:<10}memory {}", size(defaults.memory)));
        if let Some(vcpus) = defaults.vcpus {
            text.push_str(&format!(", {vcpus} CPU, disk {}", size(defaults.disk)));
        }
        text.push('\n');
    }
    text
}

fn reasons(walls: &[WallCapabilities]) -> String {
    let mut text = "\nWhy not:\n".to_owned();
    for wall in walls {
        for (feature, support) in &wall.features {
            if let Some(reason) = &support.reason {
                text.push_str(&format!(
                    "  {} {}: {reason}\n",
                    wall.isolation.name(),
                    feature.name()
                ));
            }
        }
    }
    text
}
