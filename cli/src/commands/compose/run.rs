//! `isola compose run`

use std::collections::BTreeMap;
use std::io::IsTerminal;

use isola_compose::apply::{alone, one_off, post_start, store};
use isola_compose::plan::{Plan, Present, Wish, up};
use isola_compose::project::Hook;
use isola_compose::{Wanted, variables_of, wanted, words_of};
use isola_runtime::engine::{Engine, Instance, Launch};

use super::ProjectArgs;
use super::getting::{self, Getting};
use super::scope::Scope;
use super::teller::Lines;
use super::work::{self, How, Images};
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{clean, print_line};
use crate::session::Session;
use crate::terminal;

/// Run a command once in an instance of its own, made like those of a service
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Run in the background and print the id
    #[arg(short, long)]
    detach: bool,
    /// Remove the instance when it has ended
    #[arg(long)]
    rm: bool,
    /// Without a terminal, which it has by default where this command has one
    #[arg(short = 'T', long = "no-tty", alias = "no-TTY")]
    no_tty: bool,
    /// With a terminal: accepted for Docker's sake, as it has one anyway
    #[arg(short, long, hide = true, overrides_with = "no_tty", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_name = "BOOL")]
    tty: Option<bool>,
    /// Pass standard input on
    #[arg(short, long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    interactive: bool,
    /// Name of the instance
    #[arg(long)]
    name: Option<String>,
    /// Leave services that it depends on alone
    #[arg(long)]
    no_deps: bool,
    /// Program, maybe with arguments, instead of the entry point
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<Words>,
    /// Variable NAME=VALUE, or NAME to pass the user's own on
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// File with a variable on each line
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    env_from_file: Vec<String>,
    /// Label KEY=VALUE
    #[arg(short, long, value_name = "LABEL")]
    label: Vec<String>,
    /// Name or number, with :GROUP if wanted
    #[arg(short, long)]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Further volume or folder
    #[arg(short, long, value_name = "MOUNT")]
    volume: Vec<String>,
    /// Publish a port
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish the service's ports, too
    #[arg(short = 'P', long)]
    service_ports: bool,
    /// Be known by the service's names
    #[arg(long)]
    use_aliases: bool,
    /// Add a Linux capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a Linux capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// When images are fetched: always, missing, never, or as each service says
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never", "policy"])]
    pull: Option<String>,
    /// Show no progress of pulls
    #[arg(long)]
    quiet_pull: bool,
    /// Build images before
    #[arg(long)]
    build: bool,
    /// Show nothing of builds
    #[arg(long)]
    quiet_build: bool,
    /// Do not tell what is done for services that it depends on
    #[arg(short, long)]
    quiet: bool,
    /// Remove instances of services that the file does not have
    #[arg(long)]
    remove_orphans: bool,
    /// Service, then the command and its arguments instead of the service's own
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_name = "SERVICE")]
    words: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose run --rm web sh
  isola compose run --no-deps -e DEBUG=1 worker ./migrate
  echo 'select 1' | isola compose run --rm -T db psql -h db";

/// Runs hooks beside what was started. What ends before them ends them, too.
fn run_after(engine: &Engine, instance: &Instance, hooks: &[Hook]) -> isola_runtime::Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let id = &instance.record.id;
    let run = engine
        .find(id)
        .and_then(|now| post_start(engine, &now, hooks));
    match engine.find(id) {
        Ok(now) if now.status.state.is_live() => run,
        _ => Ok(()),
    }
}

/// A line that a shell would part.
#[derive(Clone, Debug)]
struct Words(Vec<String>);

impl std::str::FromStr for Words {
    type Err = String;

    fn from_str(line: &str) -> std::result::Result<Words, String> {
        let words = words_of(line).map_err(|quote| format!("the quote {quote} is never closed"));
        words.map(Words)
    }
}

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let service = &args.words[0];
    let scope = Scope::of_file(project, std::slice::from_ref(service), context)?;
    let (model, file) = scope.file()?;
    let store = store(context.engine()?, &scope.name);
    isola_compose::check(model, file, &store)?;
    let variables = args.variables(&model.environment)?;
    let wanted = args.adjust(wanted(model, file, service, 1, &store)?, &variables);
    let checker = context.engine()?.checker()?;
    work::check_one(context, &checker, model, service, wanted.clone())?;
    terminal::require(wanted.options.tty && !args.detach, false)?;
    let only = |name: &str| !args.no_deps || name == service;
    let getting = Getting {
        pull: args.pull.as_deref(),
        quiet_pull: args.quiet_pull || args.quiet,
        build: args.build.then_some(true),
        quiet_build: args.quiet_build || args.quiet,
        dry: false,
    };
    let images = getting::images(context, &scope, &only, &getting)?;
    args.dependencies(&scope, &images, context)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let id = isola_runtime::state::new_id()?;
            format!("{}-{service}-run-{}", scope.name, &id[..12])
        }
    };
    let teller = Lines::new(context.engine()?, scope.screen.quiet(true));
    let (instance, came) = work::with_world(
        context,
        &scope,
        &images,
        &How::default(),
        &teller,
        |world| one_off(world, service, wanted, &name),
    )?;
    let instance = instance?;
    if came {
        context.engine()?.remove(&instance, true)?;
        return Err(work::interrupted(false));
    }
    let hooks = file.services.get(service);
    let hooks = hooks.map_or(&[][..], |service| &service.post_start);
    args.start(&instance, hooks, context)
}

impl Args {
    /// The service's instance as this command wants it.
    fn adjust(&self, mut wanted: Wanted, variables: &[String]) -> Wanted {
        let (publish, networks) = (
            wanted.options.publish.clone(),
            wanted.options.network.clone(),
        );
        alone(&mut wanted);
        let options = &mut wanted.options;
        if self.service_ports {
            options.publish = publish;
        }
        if self.use_aliases {
            options.network = networks;
        }
        if let Some(Words(program)) = &self.entrypoint {
            options.entrypoint = Some(program.clone());
            options.args.clear();
        }
        if self.words.len() > 1 {
            options.args = self.words[1..].to_vec();
            wanted.no_command = false;
        }
        options.env.extend(variables.iter().cloned());
        options.env.extend(self.env.iter().cloned());
        options.label.extend(self.label.iter().cloned());
        options.volume.extend(self.volume.iter().cloned());
        options.publish.extend(self.publish.iter().cloned());
        options.cap_add.extend(self.cap_add.iter().cloned());
        options.cap_drop.extend(self.cap_drop.iter().cloned());
        options.user = self.user.clone().or_else(|| options.user.take());
        options.workdir = self.workdir.clone().or_else(|| options.workdir.take());
        options.rm = self.rm;
        options.interactive = self.interactive && !self.detach;
        let terminal = terminal::is_input() && std::io::stdout().is_terminal();
        let refused = self.no_tty || self.tty == Some(false) || self.detach;
        options.tty = terminal && !refused;
        wanted
    }

    /// Those of `--env-from-file`.
    fn variables(&self, outer: &BTreeMap<String, String>) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for path in &self.env_from_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::system(format!("read {path}"), error))?;
            let read = variables_of(&text, &|name| outer.get(name).cloned());
            let read = read.map_err(|(line, why)| {
                Failure::new(Code::Invalid, format!("{path}:{line}: {why}"))
            })?;
            all.extend(
                read.into_iter()
                    .map(|(name, value)| format!("{name}={value}")),
            );
        }
        Ok(all)
    }

    /// Starts what the service depends on and waits for it.
    fn dependencies(&self, scope: &Scope, images: &Images, context: &Context) -> Result<()> {
        let (model, project) = scope.file()?;
        let name = &self.words[0];
        let mut plan = Plan::default();
        let mut needs = Plan::default();
        if !self.no_deps || self.remove_orphans {
            let mut others = project.clone();
            let service = others.services.remove(name);
            if self.no_deps {
                others.services.clear();
            }
            let ids = images
                .iter()
                .map(|(name, image)| (name.clone(), image.id.to_string()));
            let present = Present {
                images: ids.collect(),
                ..scope.present(context)?
            };
            let wish = Wish {
                remove_orphans: self.remove_orphans,
                ..Wish::default()
            };
            plan = up(model, &others, &present, &wish);
            if let Some(service) = service.filter(|_| !self.no_deps) {
                needs = Plan::wait_for_needs(&service);
            }
        }
        // Its own networks and volumes may be used by it alone.
        let present = scope.present(context)?;
        plan.add_resources_of(project, name, &present);
        let how = How {
            quiet: self.quiet,
            ..How::default()
        };
        work::carry_out(context, scope, &plan, images, &how)?;
        work::carry_out(context, scope, &needs, images, &how)
    }

    fn start(&self, instance: &Instance, hooks: &[Hook], context: &Context) -> Result<Exit> {
        let engine = context.engine()?;
        let workload = &instance.record.workload;
        let launch = Launch {
            attach: !self.detach,
            stdin: workload.stdin_open,
            size: workload.tty.then(terminal::size).flatten(),
        };
        let (mut control, channel) = engine.start(instance, launch).map_err(|error| {
            if workload.auto_remove {
                // What can't be removed is found by `rm` and `down`.
                let _ = engine.remove(instance, true);
            }
            Failure::from(error).of_run()
        })?;
        context.notices(&control);
        if self.detach {
            post_start(engine, &engine.find(&instance.record.id)?, hooks)?;
            print_line(&instance.record.id)?;
            return Ok(Exit::OK);
        }
        let session = Session {
            channel,
            tty: workload.tty,
            stdin: workload.stdin_open,
            stdout: true,
            stderr: true,
            sig_proxy: true,
            detach_keys: context.detach_keys(None)?,
            name: instance.record.name.clone(),
        };
        std::thread::scope(|threads| {
            let after = threads.spawn(|| run_after(engine, instance, hooks));
            let ended = session.run(&mut control).map(|end| end.exit());
            if let Ok(Err(error)) = after.join() {
                eprintln!("warning: {}", clean(&error.message));
            }
            ended
        })
    }
}
