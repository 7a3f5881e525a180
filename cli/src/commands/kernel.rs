//! `isola kernel`

use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::engine::ArgValueCandidates;
use isola_kernel::{Kernel, Kernels, Step};
use serde_json::{Value, json};

use crate::complete;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{Column, Format, Rows, decimal_size, print_line, since};
use crate::progress::Progress;

/// Manage guest kernels for the walls vm and emulated
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the kernels that are there
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Get the distribution's cloud kernel; nothing is installed
    Fetch(QuietArgs),
    /// Build the minimal kernel from the distribution's sources
    Build(QuietArgs),
    /// Take a kernel of your own, or choose one that is there
    Use(UseArgs),
    /// Remove kernels
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

#[derive(Debug, clap::Args)]
struct LsArgs {
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    /// table, json, or a template such as '{{.Name}} {{.Source}}'
    #[arg(long)]
    format: Option<String>,
}

#[derive(Debug, clap::Args)]
struct QuietArgs {
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Args)]
struct UseArgs {
    /// vmlinux or bzImage, or the name of a kernel that is there
    #[arg(value_hint = clap::ValueHint::FilePath, add = ArgValueCandidates::new(complete::kernels))]
    path: PathBuf,
}

#[derive(Debug, clap::Args)]
struct RmArgs {
    /// Names
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(complete::kernels))]
    names: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola kernel fetch
  isola kernel build
  isola kernel use ./vmlinux";

const FIELDS: &[Column] = &[
    ("Name", "NAME"),
    ("Version", "VERSION"),
    ("Source", "SOURCE"),
    ("Format", "FORMAT"),
    ("Size", "SIZE"),
    ("Modules", "MODULES"),
    ("CreatedSince", "CREATED"),
    ("Default", "DEFAULT"),
    ("Path", "PATH"),
];
const SHOWN: &[&str] = &[
    "Name",
    "Version",
    "Source",
    "Format",
    "Size",
    "CreatedSince",
    "Default",
];

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let kernels = context.kernels()?;
    match &args.verb {
        Verb::Ls(args) => list(args, &kernels),
        Verb::Fetch(args) => {
            let progress = Progress::new(args.quiet);
            let kernel = kernels.fetch(&mut |report| tell(&progress, report))?;
            drop(progress);
            added(&kernel)
        }
        Verb::Build(args) => {
            let progress = Progress::new(args.quiet);
            let kernel = kernels.build(&mut |report| tell(&progress, report))?;
            drop(progress);
            added(&kernel)
        }
        Verb::Use(args) => added(&choose(&kernels, args)?),
        Verb::Rm(args) => context.each(&args.names, |name| {
            kernels.remove(name)?;
            print_line(name)
        }),
    }
}

fn tell(progress: &Progress, report: &isola_kernel::Progress) {
    let what = match &report.step {
        Step::Download(_) if report.done > 0 => {
            format!("{} ({})", report.step, decimal_size(report.done))
        }
        step => step.to_string(),
    };
    // Without a terminal every text is a line: the amount would make too many.
    let what = if report.total.is_some() {
        report.step.to_string()
    } else {
        what
    };
    progress.step(&what, report.done, report.total);
}

fn added(kernel: &Kernel) -> Result<Exit> {
    print_line(&kernel.name)?;
    Ok(Exit::OK)
}

/// A name that is there is chosen; anything else is a path.
fn choose(kernels: &Kernels, args: &UseArgs) -> Result<Kernel> {
    match args.path.to_str().filter(|name| !name.contains('/')) {
        Some(name) if kernels.get(name).is_ok() => Ok(kernels.choose(name)?),
        _ => Ok(kernels.use_path(&args.path)?),
    }
}

fn list(args: &LsArgs, kernels: &Kernels) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let all = kernels.list()?;
    if args.quiet && args.format.is_none() {
        all.iter().try_for_each(|kernel| print_line(&kernel.name))?;
        return Ok(Exit::OK);
    }
    let rows = all.iter().map(row).collect();
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows,
    })?;
    Ok(Exit::OK)
}

fn row(kernel: &Kernel) -> Value {
    json!({
        "Name": kernel.name,
        "Version": kernel.version,
        "Source": kernel.source.as_str(),
        "Format": kernel.format.as_str(),
        "Size": decimal_size(kernel.size),
        "Modules": kernel.modules.len().to_string(),
        "CreatedSince": since(kernel.created.saturating_mul(1000)),
        "Default": if kernel.default { "*" } else { "" },
        "Path": kernel.path,
    })
}
