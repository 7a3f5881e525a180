//! `isola compose up`

mod attached;
mod external;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use isola_compose::apply::store;
use isola_compose::plan::{Plan, Present, Recreate, Wish, up};
use jiff::Timestamp;

use super::ProjectArgs;
use super::getting::{self, Getting};
use super::scope::Scope;
use super::watching::{self, Rebuilds};
use super::work::{self, How, Images};
use crate::confirm::confirm;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::streams::Signals;

/// Create and start the services of a project
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Run in the background
    #[arg(short, long, conflicts_with_all = ["abort_on_container_exit", "abort_on_container_failure", "exit_code_from"])]
    detach: bool,
    /// Wait until all run, or are healthy where they have a check; implies --detach
    #[arg(long)]
    wait: bool,
    /// Seconds that --wait waits at most
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    wait_timeout: Option<u64>,
    /// Bring services up to date when their files change
    #[arg(short, long, conflicts_with_all = ["detach", "wait", "no_start"])]
    watch: bool,
    /// Create, but do not start
    #[arg(long, conflicts_with = "wait")]
    no_start: bool,
    /// Stop all when one ends
    #[arg(long)]
    abort_on_container_exit: bool,
    /// Stop all when one ends with an error
    #[arg(long, conflicts_with = "abort_on_container_exit")]
    abort_on_container_failure: bool,
    /// End with the exit code of this service; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE")]
    exit_code_from: Option<String>,
    /// Show the output of these services only
    #[arg(long, value_name = "SERVICE")]
    attach: Vec<String>,
    /// Do not show the output of these services
    #[arg(long, value_name = "SERVICE")]
    no_attach: Vec<String>,
    /// Show the output of dependencies, too
    #[arg(long)]
    attach_dependencies: bool,
    /// When it fails half way, take back what it has made
    #[arg(long)]
    rollback: bool,
    /// Leave the names of services out of the output
    #[arg(long)]
    no_log_prefix: bool,
    /// No colours in the output
    #[arg(long)]
    no_color: bool,
    /// Show when each line was written
    #[arg(long)]
    timestamps: bool,
    #[command(flatten)]
    make: MakeArgs,
}

/// Flags that `up` and `create` share.
#[derive(Debug, clap::Args)]
pub(super) struct MakeArgs {
    /// Number of instances of a service
    #[arg(long, value_name = "SERVICE=NUMBER")]
    pub(super) scale: Vec<String>,
    /// Make instances anew even if nothing has changed
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Leave instances as they are even if something has changed
    #[arg(long)]
    no_recreate: bool,
    /// Make dependencies anew, too
    #[arg(long, conflicts_with = "no_recreate")]
    always_recreate_deps: bool,
    /// Leave services that others depend on alone
    #[arg(long)]
    no_deps: bool,
    /// Remove instances of services that the file does not have
    #[arg(long)]
    remove_orphans: bool,
    /// New instances do not take unnamed volumes over
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,
    /// When images are fetched: always, missing, never, or as each service says
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never", "policy"])]
    pull: Option<String>,
    /// Show no progress of pulls
    #[arg(long)]
    quiet_pull: bool,
    /// Build images before, even if they are here
    #[arg(long, conflicts_with = "no_build")]
    build: bool,
    /// Build no image, even if it is missing
    #[arg(long)]
    no_build: bool,
    /// Show nothing of builds
    #[arg(long)]
    quiet_build: bool,
    /// Seconds until SIGKILL instead of the services' own, for what is stopped
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Replace volumes whose configuration has changed without asking
    #[arg(short, long)]
    yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Services; all, if none is given
    pub(super) services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose up -d
  isola compose --as vm up --wait --wait-timeout 60
  isola compose up --scale worker=3 --remove-orphans";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = args.make.scope(project, context)?;
    for name in args
        .attach
        .iter()
        .chain(&args.no_attach)
        .chain(&args.exit_code_from)
    {
        known(&scope, name)?;
    }
    let rules = match args.watch {
        true => Some(watching::rules(&scope)?),
        false => None,
    };
    let began = Timestamp::now();
    let ready = args
        .make
        .prepare(&scope, args.no_start, args.wait, context)?;
    if args.make.dry_run {
        work::show(&ready.plan)?;
        return Ok(Exit::OK);
    }
    if args.rollback {
        work::check_rollback(&ready.plan)?;
    }
    let limit = args.wait_timeout.map(Duration::from_secs);
    let how = How {
        deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
        rollback: args.rollback,
        ..args.make.how()
    };
    let stays = !(args.detach || args.wait || args.no_start);
    // A signal that comes after the last step is for whoever stays.
    let signals = stays.then(|| Signals::catch(true, false)).transpose()?;
    let how = How { stays, ..how };
    let end = work::carry_out_and_stay(context, &scope, &ready.plan, &ready.images, &how)?;
    if !stays {
        return Ok(Exit::OK);
    }
    let how = How {
        stays: false,
        ..how
    };
    if end == work::End::Late {
        attached::stop(&scope, &how, context)?;
        return Ok(Exit::of(130));
    }
    let exit = match &rules {
        Some(rules) => {
            let rebuilds = Rebuilds {
                quiet: args.make.quiet_build,
                prune: true,
            };
            watching::beside(&scope, rules, rebuilds, context, || {
                args.attach_to(&scope, began, &how, context)
            })
        }
        None => args.attach_to(&scope, began, &how, context),
    };
    drop(signals);
    exit
}

fn known(scope: &Scope, name: &str) -> Result<()> {
    let (_, project) = scope.file()?;
    match project.services.contains_key(name) {
        true => Ok(()),
        false => Err(Failure::new(
            Code::ComposeFile,
            format!("no such service: {name}"),
        )),
    }
}

/// A plan with the images that it needs.
pub(super) struct Ready {
    pub(super) plan: Plan,
    pub(super) images: Images,
}

impl MakeArgs {
    pub(super) fn scope(&self, project: &ProjectArgs, context: &Context) -> Result<Scope> {
        Scope::of_file(project, &self.services, context)
    }

    /// For `scale`.
    pub(super) fn scaling(services: Vec<String>, scale: Vec<String>, no_deps: bool) -> MakeArgs {
        MakeArgs {
            scale,
            force_recreate: false,
            no_recreate: false,
            always_recreate_deps: false,
            no_deps,
            remove_orphans: false,
            renew_anon_volumes: false,
            pull: None,
            quiet_pull: false,
            build: false,
            no_build: false,
            quiet_build: false,
            timeout: None,
            yes: false,
            dry_run: false,
            services,
        }
    }

    /// For `watch`: the service's image and its instances, and nothing else. As many
    /// as there are stay; if there are none, the file says how many.
    pub(super) fn rebuilding(service: &str, number: usize, quiet: bool) -> MakeArgs {
        let scale = match number {
            0 => Vec::new(),
            number => vec![format!("{service}={number}")],
        };
        MakeArgs {
            build: true,
            quiet_build: quiet,
            ..MakeArgs::scaling(vec![service.to_owned()], scale, true)
        }
    }

    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    pub(super) fn how(&self) -> How {
        How {
            renew_volumes: self.renew_anon_volumes,
            timeout: self.timeout,
            ..How::default()
        }
    }

    /// Fetches images and plans.
    pub(super) fn prepare(
        &self,
        scope: &Scope,
        no_start: bool,
        wait: bool,
        context: &Context,
    ) -> Result<Ready> {
        let (model, project) = scope.file()?;
        // What can't be had is refused before anything is fetched or made.
        isola_compose::check(model, project, &store(context.engine()?, &scope.name))?;
        let mut wish = self.wish(scope, no_start, wait)?;
        let meant = |name: &str| {
            !self.no_deps || self.services.is_empty() || self.services.iter().any(|it| it == name)
        };
        let getting = Getting {
            pull: self.pull.as_deref(),
            quiet_pull: self.quiet_pull,
            build: match (self.build, self.no_build) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            quiet_build: self.quiet_build,
            dry: self.dry_run,
        };
        let images = getting::images(context, scope, &meant, &getting)?;
        let ids = images
            .iter()
            .map(|(name, image)| (name.clone(), image.id.to_string()));
        let present = Present {
            images: ids.collect(),
            ..scope.present(context)?
        };
        external::check(project, &present)?;
        let mut plan = up(model, project, &present, &wish);
        if !plan.outdated_volumes.is_empty() && !self.dry_run {
            let names = plan.outdated_volumes.join(", ");
            let text = format!(
                "The configuration of {names} has changed. To make it anew, all that it holds is removed."
            );
            if self.yes
                || std::io::IsTerminal::is_terminal(&std::io::stdin())
                    && confirm(false, &text).is_ok()
            {
                wish.replace_volumes = true;
                plan = up(model, project, &present, &wish);
            } else {
                eprintln!("warning: the configuration of {names} has changed; it stays as it is");
                eprintln!("hint: --yes makes it anew, without what it holds");
            }
        }
        work::check_new(context, model, project, &plan)?;
        if !scope.says("COMPOSE_IGNORE_ORPHANS") {
            work::tell_orphans(&plan);
        }
        Ok(Ready { plan, images })
    }

    fn wish(&self, scope: &Scope, no_start: bool, wait: bool) -> Result<Wish> {
        let recreate = match (self.force_recreate, self.no_recreate) {
            (true, _) => Recreate::Always,
            (_, true) => Recreate::Never,
            _ => Recreate::Changed,
        };
        let recreate_dependencies = match (self.always_recreate_deps, self.no_recreate) {
            (true, _) => Recreate::Always,
            (_, true) => Recreate::Never,
            _ => Recreate::Changed,
        };
        Ok(Wish {
            services: self.services.clone(),
            no_deps: self.no_deps,
            recreate,
            recreate_dependencies,
            scale: scales(scope, &self.scale)?,
            no_start,
            remove_orphans: self.remove_orphans || scope.says("COMPOSE_REMOVE_ORPHANS"),
            renew_volumes: self.renew_anon_volumes,
            wait,
            replace_volumes: false,
            unused: scope.all_resources,
        })
    }
}

/// `SERVICE=NUMBER` each.
pub(super) fn scales(scope: &Scope, texts: &[String]) -> Result<BTreeMap<String, u32>> {
    let mut scales = BTreeMap::new();
    for text in texts {
        let parsed = text
            .split_once('=')
            .and_then(|(name, number)| Some((name, number.parse::<u32>().ok()?)));
        let Some((name, number)) = parsed else {
            let message = format!("{text:?} is not of the form SERVICE=NUMBER");
            return Err(Failure::new(Code::Usage, message).exit(1));
        };
        known(scope, name)?;
        let (_, project) = scope.file()?;
        let own = project
            .services
            .get(name)
            .and_then(|service| service.container_name.as_ref());
        if let (Some(own), true) = (own, number > 1) {
            let message = format!(
                "services.{name}: several instances can't share the container_name {own:?}"
            );
            return Err(Failure::new(Code::ComposeFile, message)
                .hint("take it away: instances are then numbered"));
        }
        scales.insert(name.to_owned(), number);
    }
    Ok(scales)
}
