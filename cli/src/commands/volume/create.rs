//! `isola volume create`

use isola_volume::VolumeSpec;

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;
use crate::pairs::pairs;

/// Make a volume, or find that it is there
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Kind of volume; there is local only
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Label KEY=VALUE
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// size=SIZE (a limit), block=SIZE (a disk for one guest), or o=bind with device=FOLDER
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Name; chosen when not given
    name: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola volume create data
  isola volume create --opt size=1G --label team=a data
  isola volume create --opt type=none --opt o=bind --opt device=/srv/data shared";

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let volume = context.volumes()?.create(&VolumeSpec {
        name: args.name.clone(),
        driver: args.driver.clone(),
        labels: pairs("--label", &args.label)?,
        options: pairs("--opt", &args.opt)?,
        ..VolumeSpec::default()
    })?;
    print_line(&volume.name)?;
    Ok(Exit::OK)
}
