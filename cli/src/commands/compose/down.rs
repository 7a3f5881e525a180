//! `isola compose down`

use isola_compose::apply::store;
use isola_compose::plan::{Removal, down};

use super::ProjectArgs;
use super::scope::Scope;
use super::work::{self, How, Images};
use crate::context::Context;
use crate::error::{Exit, Failure, Result};

/// Stop and remove the instances and networks of a project
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Named volumes of the file and unnamed ones, too
    #[arg(short, long)]
    volumes: bool,
    /// Images, too: those without a name of their own (local), or all
    #[arg(long, value_name = "WHICH", value_parser = ["local", "all"])]
    rmi: Option<String>,
    /// Instances of services that the file does not have, too
    #[arg(long)]
    remove_orphans: bool,
    /// Seconds until SIGKILL instead of the services' own
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Only these services
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose down
  isola compose down -v --rmi local
  isola compose -p shop down --remove-orphans";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, &args.services, context)?;
    let present = scope.present(context)?;
    let removal = Removal {
        services: args.services.clone(),
        volumes: args.volumes,
        images: args.rmi.as_deref().map(|which| which == "all"),
        orphans: args.remove_orphans || scope.says("COMPOSE_REMOVE_ORPHANS"),
    };
    let plan = down(
        &scope.name,
        scope.project(),
        scope.known(),
        &present,
        &removal,
    );
    if args.dry_run {
        work::show(&plan)?;
        return Ok(Exit::OK);
    }
    work::tell_orphans(&plan);
    if plan.is_empty() {
        eprintln!("warning: nothing is there of the project {}", scope.name);
    }
    let how = How {
        timeout: args.timeout,
        ..How::default()
    };
    work::carry_out(context, &scope, &plan, &Images::new(), &how)?;
    if args.services.is_empty() && plan.orphans.is_empty() {
        let folder = store(context.engine()?, &scope.name);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::system(
                    format!("remove {}", folder.display()),
                    error,
                ));
            }
            _ => {}
        }
    }
    Ok(Exit::OK)
}
