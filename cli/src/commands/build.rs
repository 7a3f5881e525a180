//! `isola build`

use isola_build::Built;
use isola_images::Reference;

use crate::build::{Output, Request, Shown};
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;
use crate::progress::Way;

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Dockerfile; - for standard input [default: CONTEXT/Dockerfile or CONTEXT/Containerfile]
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: Option<String>,
    /// Name of the image; may be given several times
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Stage to build instead of the last one
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Value of an ARG: NAME=VALUE, or NAME to pass the user's own on
    #[arg(long, value_name = "ARG")]
    pub(crate) build_arg: Vec<String>,
    /// Further files or images: NAME=docker-image://IMAGE,
    /// NAME=oci-layout://FOLDER[:TAG|@DIGEST], or what CONTEXT can be
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) build_context: Vec<String>,
    /// Label KEY=VALUE
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Vec<String>,
    /// Secret id=NAME,src=FILE or id=NAME,env=VARIABLE
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,
    /// Agent of SSH keys: default, or NAME=SOCKET
    #[arg(long, value_name = "AGENT")]
    pub(crate) ssh: Vec<String>,
    /// Do all steps again
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Do all steps of this stage again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Get images anew even if they are here
    #[arg(long)]
    pub(crate) pull: bool,
    /// Network of steps: default, none, host
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    #[arg(value_parser = ["default", "none", "host"])]
    pub(crate) network: String,
    /// Line of the hosts file NAME:ADDRESS
    #[arg(long, value_name = "HOST")]
    pub(crate) add_host: Vec<String>,
    /// Where the result goes: FOLDER, - for a tar archive, or
    /// type=image|local|tar|oci|docker|registry,dest=PATH,name=NAME
    #[arg(short, long, value_name = "OUTPUT")]
    output: Option<String>,
    /// Short for --output type=registry
    #[arg(long, conflicts_with = "output")]
    push: bool,
    /// Short for --output type=image, which is what happens anyway
    #[arg(long, conflicts_with_all = ["output", "push"])]
    load: bool,
    /// auto, tty, plain, json or quiet
    #[arg(long, value_name = "KIND", default_value = "auto", value_parser = Way::WORDS)]
    progress: String,
    /// Show nothing but the image's id, or with several platforms the index's digest
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Write this id to a file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    iidfile: Option<std::path::PathBuf>,
    /// Platforms of the image, with commas between them; steps of a foreign one copy, but
    /// can't run programs
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Vec<String>,
    /// Wall of steps: container, vm, emulated; with commas, the first that works
    #[arg(long, value_name = "WALL")]
    pub(crate) isolation: Option<String>,
    /// Short for --isolation vm
    #[arg(long, conflicts_with = "isolation")]
    pub(crate) vm: bool,
    /// Memory of a step; for a guest the size of its RAM
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// CPUs of a step, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Size of a guest's writable layer
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk: Option<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Files to copy from: a folder, an archive at http(s)://..., a git repository as
    /// ADDRESS#REF:FOLDER or ADDRESS?ref=REF&subdir=FOLDER; - for an archive or a Dockerfile from standard input
    #[arg(value_name = "CONTEXT", value_hint = clap::ValueHint::DirPath)]
    pub(crate) context: String,
}

const EXAMPLES: &str = "Examples:
  isola build -t app .
  isola build --isolation vm,emulated -t app:1 -t app:latest .
  SOURCE_DATE_EPOCH=0 isola build --secret id=key,src=key.pem --target test .
  isola build -o ./out - < Dockerfile
  isola build -t app https://example.org/app.git#v1.2:server";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let names = args
        .tag
        .iter()
        .map(|name| name.parse::<Reference>())
        .collect::<std::result::Result<Vec<_>, _>>()?;
    if let Some(name) = names.iter().find(|name| name.digest().is_some()) {
        let message = format!("--tag {name}: a new name can't have a digest");
        return Err(Failure::new(Code::Invalid, message));
    }
    let short = match (args.push, args.load) {
        (true, _) => Some("type=registry"),
        (_, true) => Some("type=image"),
        _ => args.output.as_deref(),
    };
    let output = Output::parse(short, &names)?;
    let request = Request::of_flags(args, context)?;
    output.check(request.platforms.len())?;
    let shown = Shown::alone(match args.quiet {
        true => Way::Quiet,
        false => Way::of(&args.progress)?,
    });
    let store = context.store()?;
    let built = request.build(context, &store, &shown, &|| false)?;
    finish(args, context, &store, &output, &built)
}

fn finish(
    args: &Args,
    context: &Context,
    store: &isola_images::Store,
    output: &Output,
    built: &[Built],
) -> Result<Exit> {
    let id = output.write(context, store, built, args.quiet)?;
    if let Some(id) = id {
        if let Some(path) = &args.iidfile {
            std::fs::write(path, id.to_string())
                .map_err(|error| Failure::system(format!("write {}", path.display()), error))?;
        }
        if !output.is_stream() {
            print_line(&id.to_string())?;
        }
    }
    Ok(Exit::OK)
}
