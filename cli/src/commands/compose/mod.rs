//! `isola compose`

mod config;
mod version;

use std::path::PathBuf;

use clap::Subcommand;
use isola_compose::{Diagnostic, Host, Invalid, Model, Request, Severity, Sources};

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::clean;

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
  isola compose config
  isola compose -f compose.yaml -f debug.yaml config --services
  isola compose --as db=vm,cache=container config";

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
    /// The wall of all services (`vm`), or of some (`db=vm,cache=container`)
    #[arg(long = "as", value_name = "WALLS")]
    walls: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Config(config::Args),
    Version(version::Args),
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.verb {
        Verb::Config(config) => config::run(config, &args.project, context),
        Verb::Version(args) => version::run(args),
    }
}

impl ProjectArgs {
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
            default_walls,
            ..Request::new(folder, environment)
        })
    }
}

/// Reads a project; warnings and notes go to standard error.
fn load(request: &Request, context: &Context) -> Result<Model> {
    match isola_compose::load(request, &Host) {
        Ok(model) => {
            model
                .notes
                .iter()
                .for_each(|note| remark(note, &model.sources));
            Ok(model)
        }
        Err(invalid) => Err(refuse(&invalid, context)),
    }
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
