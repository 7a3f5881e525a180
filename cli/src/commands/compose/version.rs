//! `isola compose version`

use serde_json::json;

use crate::error::{Exit, Result};
use crate::output::{Format, print_line};

/// Show the version
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The number alone
    #[arg(long)]
    short: bool,
    /// pretty, json, or a template such as '{{.Version}}'
    #[arg(short, long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose version
  isola compose version --short
  isola compose version --format json";

pub(super) fn run(args: &Args) -> Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    if args.short {
        print_line(version)?;
        return Ok(Exit::OK);
    }
    let format = args.format.as_deref().filter(|format| *format != "pretty");
    let format = Format::parse(format)?;
    let text = || format!("isola compose version {version}\n");
    // As Compose writes it; its templates have names that begin with capitals.
    if format.is_json() {
        print_line(&json!({ "version": version }).to_string())?;
        return Ok(Exit::OK);
    }
    format.print_value(&json!({ "Version": version }), text)?;
    Ok(Exit::OK)
}
