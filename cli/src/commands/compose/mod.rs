//! `isola compose`

mod attach;
mod build;
mod building;
mod commit;
mod config;
mod cp;
mod create;
mod down;
mod each;
mod events;
mod exec;
mod export;
mod follow;
mod getting;
mod images;
mod logs;
mod ls;
mod port;
mod ps;
mod pull;
mod push;
mod restart;
mod rm;
mod run;
mod scale;
mod scope;
mod screen;
mod start;
mod stats;
mod stop;
mod teller;
mod top;
mod up;
mod version;
mod volumes;
mod wait;
mod watch;
mod watching;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Subcommand;
use isola_compose::{Diagnostic, Host, Invalid, Model, Request, Severity, Sources};

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::lazy::Lazy;
use crate::output::clean;
use crate::progress::Way;
use screen::Screen;

/// Errors that are shown of one file.
const SHOWN: usize = 20;

/// Work with stacks of services from compose files
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    project: ProjectArgs,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "Examples:
  isola compose up -d
  isola compose --as db=vm,cache=container up --wait
  isola compose -f compose.yaml -f debug.yaml config --services";

/// Which project, and how it is read.
#[derive(Debug, clap::Args)]
struct ProjectArgs {
    /// A compose file, several times for overrides; `-` is standard input
    #[arg(short, long = "file", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Name of the project
    #[arg(short, long, value_name = "NAME")]
    project_name: Option<String>,
    /// Folder in which relative paths start
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    project_directory: Option<PathBuf>,
    /// Turn on services of a profile; `*` is all
    #[arg(long = "profile", value_name = "PROFILE")]
    profiles: Vec<String>,
    /// A file of variables, instead of .env
    #[arg(long = "env-file", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    env_files: Vec<PathBuf>,
    /// Steps and builds that are done at once at most; -1 is no limit [env: COMPOSE_PARALLEL_LIMIT=]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    parallel: Option<i64>,
    /// Networks, volumes, secrets and configs that no service uses, too
    #[arg(long)]
    all_resources: bool,
    /// The wall of all services (`vm`), or of some (`db=vm,cache=container`)
    #[arg(long = "as", value_name = "WALLS")]
    walls: Vec<String>,
    /// How steps are shown: auto, tty, plain, json or quiet
    #[arg(
        long,
        value_name = "KIND",
        env = "COMPOSE_PROGRESS",
        hide_env_values = true
    )]
    #[arg(default_value = "auto", value_parser = Way::WORDS)]
    progress: String,
    /// Colours and lines that change: auto, always or never
    #[arg(
        long,
        value_name = "WHEN",
        env = "COMPOSE_ANSI",
        hide_env_values = true
    )]
    #[arg(default_value = "auto", value_parser = Screen::ANSI)]
    ansi: String,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(Lazy<Box<up::Args>>),
    Down(Lazy<down::Args>),
    Create(Lazy<create::Args>),
    Start(Lazy<start::Args>),
    Stop(Lazy<stop::Args>),
    Restart(Lazy<restart::Args>),
    Pause(Lazy<each::PauseArgs>),
    Unpause(Lazy<each::UnpauseArgs>),
    Kill(Lazy<each::KillArgs>),
    Rm(Lazy<rm::Args>),
    Scale(Lazy<scale::Args>),
    Wait(Lazy<wait::Args>),
    Watch(Lazy<watch::Args>),

    Exec(Lazy<exec::Args>),
    Run(Lazy<Box<run::Args>>),
    Attach(Lazy<attach::Args>),
    Cp(Lazy<cp::Args>),
    Export(Lazy<export::Args>),
    Commit(Lazy<commit::Args>),

    Ps(Lazy<ps::Args>),
    Ls(Lazy<ls::Args>),
    Logs(Lazy<logs::Args>),
    Events(Lazy<events::Args>),
    Port(Lazy<port::Args>),
    Top(Lazy<top::Args>),
    Stats(Lazy<stats::Args>),
    Images(Lazy<images::Args>),
    Volumes(Lazy<volumes::Args>),

    Build(Lazy<build::Args>),
    Pull(Lazy<pull::Args>),
    Push(Lazy<push::Args>),

    #[command(visible_alias = "convert")]
    Config(Lazy<config::Args>),
    Version(Lazy<version::Args>),
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Up(up) => up::run(up, &args.project, context),
        Verb::Down(down) => down::run(down, &args.project, context),
        Verb::Create(create) => create::run(create, &args.project, context),
        Verb::Start(start) => start::run(start, &args.project, context),
        Verb::Stop(stop) => stop::run(stop, &args.project, context),
        Verb::Restart(restart) => restart::run(restart, &args.project, context),
        Verb::Pause(pause) => each::pause(pause, &args.project, context),
        Verb::Unpause(unpause) => each::unpause(unpause, &args.project, context),
        Verb::Kill(kill) => each::kill(kill, &args.project, context),
        Verb::Rm(rm) => rm::run(rm, &args.project, context),
        Verb::Scale(scale) => scale::run(scale, &args.project, context),
        Verb::Wait(wait) => wait::run(wait, &args.project, context),
        Verb::Watch(watch) => watch::run(watch, &args.project, context),
        Verb::Exec(exec) => exec::run(exec, &args.project, context),
        Verb::Run(run) => run::run(run, &args.project, context),
        Verb::Attach(attach) => attach::run(attach, &args.project, context),
        Verb::Cp(cp) => cp::run(cp, &args.project, context),
        Verb::Export(export) => export::run(export, &args.project, context),
        Verb::Commit(commit) => commit::run(commit, &args.project, context),
        Verb::Ps(ps) => ps::run(ps, &args.project, context),
        Verb::Ls(ls) => ls::run(ls, context),
        Verb::Logs(logs) => logs::run(logs, &args.project, context),
        Verb::Events(events) => events::run(events, &args.project, context),
        Verb::Port(port) => port::run(port, &args.project, context),
        Verb::Top(top) => top::run(top, &args.project, context),
        Verb::Stats(stats) => stats::run(stats, &args.project, context),
        Verb::Images(images) => images::run(images, &args.project, context),
        Verb::Volumes(volumes) => volumes::run(volumes, &args.project, context),
        Verb::Build(build) => build::run(build, &args.project, context),
        Verb::Pull(pull) => pull::run(pull, &args.project, context),
        Verb::Push(push) => push::run(push, &args.project, context),
        Verb::Config(config) => config::run(config, &args.project, context),
        Verb::Version(args) => version::run(args),
    }
}

impl ProjectArgs {
    fn screen(&self) -> Result<Screen> {
        self.screen_with(&self.progress)
    }

    /// With a verb's own word for `--progress`.
    fn screen_with(&self, progress: &str) -> Result<Screen> {
        Screen::new(progress, &self.ansi)
    }

    /// How many steps and builds are done at once at most; nothing is no limit.
    fn at_once(&self, environment: &BTreeMap<String, String>) -> Result<Option<usize>> {
        const VARIABLE: &str = "COMPOSE_PARALLEL_LIMIT";
        let said = environment.get(VARIABLE).filter(|text| !text.is_empty());
        let number = match (self.parallel, said) {
            (Some(number), _) => number,
            (None, None) => return Ok(None),
            (None, Some(text)) => text.trim().parse().map_err(|_| {
                Failure::new(Code::Invalid, format!("{VARIABLE}={text}: it is no number"))
                    .hint("write how much may be done at once, such as 2; -1 is no limit")
            })?,
        };
        Ok(usize::try_from(number).ok().filter(|number| *number > 0))
    }

    /// What is asked for, without what a verb adds.
    fn request(&self, context: &Context) -> Result<Request> {
        let folder = std::env::current_dir()
            .map_err(|error| Failure::system("find out the folder that this is", error))?;
        let environment = context.environment();
        let default_walls = context.settings()?.choose(None, &environment)?;
        Ok(Request {
            files: self.files.clone(),
            project_name: self.project_name.clone(),
            project_directory: self.project_directory.clone(),
            profiles: self.profiles.clone(),
            env_files: self.env_files.clone(),
            walls: self.walls.clone(),
            unused: self.all_resources,
            default_walls,
            ..Request::new(folder, environment)
        })
    }
}

/// Reads a project; warnings and notes go to standard error.
fn load(request: &Request, context: &Context) -> Result<Model> {
    match isola_compose::load(request, &Host) {
        Ok(model) => {
            tell_notes(&model);
            Ok(model)
        }
        Err(invalid) => Err(refuse(&invalid, context)),
    }
}

/// Warnings and notes of a project that can be used.
fn tell_notes(model: &Model) {
    model
        .notes
        .iter()
        .for_each(|note| remark(note, &model.sources));
}

fn remark(diagnostic: &Diagnostic, sources: &Sources) {
    let kind = match diagnostic.severity {
        Severity::Note => "note",
        _ => "warning",
    };
    eprintln!("{kind}: {}", clean(&diagnostic.line(sources)));
    eprintln!("hint: {}", clean(&diagnostic.hint));
}

/// Reports all errors but the last, which ends the command.
fn refuse(invalid: &Invalid, context: &Context) -> Failure {
    let failure = |diagnostic: &Diagnostic| {
        Failure::new(Code::ComposeFile, diagnostic.line(&invalid.sources)).hint(&diagnostic.hint)
    };
    let (errors, remarks): (Vec<_>, Vec<_>) = invalid
        .diagnostics
        .iter()
        .partition(|diagnostic| diagnostic.severity == Severity::Error);
    if !context.json_errors() {
        remarks
            .iter()
            .for_each(|diagnostic| remark(diagnostic, &invalid.sources));
    }
    let more = errors.len().saturating_sub(SHOWN);
    let shown = &errors[..errors.len() - more];
    let Some((last, others)) = shown.split_last() else {
        return Failure::internal("the compose file can't be used, and nobody knows why");
    };
    others
        .iter()
        .for_each(|diagnostic| context.report(&failure(diagnostic)));
    match more {
        0 => failure(last),
        more => {
            context.report(&failure(last));
            let message = format!("{more} more errors");
            Failure::new(Code::ComposeFile, message).hint("put the first ones right and look again")
        }
    }
}
