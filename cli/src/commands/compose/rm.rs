//! `isola compose rm`

use isola_compose::plan::{Plan, Step, What};

use super::ProjectArgs;
use super::scope::Scope;
use super::work::{self, How, Images};
use crate::confirm::confirm;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Remove instances that do not run
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Stop those that run first
    #[arg(short, long)]
    stop: bool,
    /// Unnamed volumes, too
    #[arg(short, long)]
    volumes: bool,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose rm
  isola compose rm --force --stop worker
  isola compose rm -fsv";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, &args.services, context)?;
    let present = scope.present(context)?;
    let meant = |service: &String| args.services.is_empty() || args.services.contains(service);
    let mut plan = match args.stop {
        true => isola_compose::plan::stop(&present, &args.services),
        false => Plan::default(),
    };
    let going: Vec<_> = present
        .instances
        .iter()
        .filter(|here| {
            meant(&here.service) && (args.stop && !here.one_off || !here.state.is_live())
        })
        .collect();
    if going.is_empty() {
        eprintln!("No stopped instances");
        return Ok(Exit::OK);
    }
    for here in &going {
        let stops = |step: &Step| matches!(&step.what, What::Stop { id, .. } if *id == here.id);
        let after = plan.steps.iter().position(stops);
        plan.steps.push(Step {
            what: What::Remove {
                name: here.name.clone(),
                id: here.id.clone(),
                volumes: args.volumes,
            },
            after: after.into_iter().collect(),
            optional: false,
        });
    }
    let names: Vec<&str> = going.iter().map(|here| here.name.as_str()).collect();
    confirm(args.force, &format!("Going to remove {}", names.join(", ")))?;
    work::carry_out(context, &scope, &plan, &Images::new(), &How::default())?;
    Ok(Exit::OK)
}
