//! `isola version`

use serde_json::json;

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::Format;

/// Show versions
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// json, or a template such as '{{.Version}}'
    #[arg(short, long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola version
  isola version --format '{{.Version}}'
  isola version --format json";

pub(crate) fn run(args: &Args, _: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let host = rustix::system::uname();
    let kernel = host.release().to_string_lossy().into_owned();
    let value = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "Protocol": isola_proto::VERSION,
        "Os": "linux",
        "Arch": "amd64",
        "KernelVersion": kernel,
    });
    format.print_value(&value, || {
        format!(
            "isola version {}\n protocol  {}\n platform  linux/amd64\n kernel    {kernel}\n",
            env!("CARGO_PKG_VERSION"),
            isola_proto::VERSION
        )
    })?;
    Ok(Exit::OK)
}
