//! `isola logout`

use isola_images::registry::{DockerConfig, logout, registry_name};

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::print_line;

/// Forget the login to a registry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Registry HOST[:PORT]; docker.io if not given
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola logout
  isola logout registry.example.org:5000
  DOCKER_CONFIG=/run/ci isola logout localhost:5000";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let registry = registry_name(args.registry.as_deref().unwrap_or_default())?;
    let config = DockerConfig::load(&context.environment())?;
    match logout(&config, &registry)? {
        true => print_line(&format!("Removing login credentials for {registry}"))?,
        false => print_line(&format!("Not logged in to {registry}"))?,
    }
    Ok(Exit::OK)
}
