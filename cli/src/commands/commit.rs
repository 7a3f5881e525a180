//! `isola commit`

use clap_complete::engine::ArgValueCandidates;
use isola_build::{ImageConfig, timestamp};
use isola_images::Reference;
use isola_images::making::{LayerBlob, MadeImage};
use isola_runtime::engine::Instance;
use isola_runtime::state::State;
use isola_runtime::workload::WallCapabilities;

use crate::changed::Changed;
use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;

/// Make an image of what an instance has changed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Who made it
    #[arg(short, long)]
    pub(super) author: Option<String>,
    /// What it is about
    #[arg(short, long)]
    pub(super) message: Option<String>,
    /// Instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR...
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(super) change: Vec<String>,
    /// Let it stand still meanwhile; containers do unless false is said
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    pub(super) pause: Option<bool>,
    /// Name or id
    #[arg(add = ArgValueCandidates::new(complete::instances))]
    pub(super) instance: String,
    /// Name of the image
    pub(super) name: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola commit web web:patched
  isola commit -m 'with tools' -c 'CMD [\"bash\"]' box tools
  isola commit --pause=false db db:snapshot";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let name = args
        .name
        .as_deref()
        .map(str::parse::<Reference>)
        .transpose()?;
    if let Some(name) = name.as_ref().filter(|name| name.digest().is_some()) {
        let message = format!("{name}: a new name can't have a digest");
        return Err(Failure::new(Code::Invalid, message));
    }
    let instance = context.find(&args.instance)?;
    let isolation = instance.record.workload.isolation;
    let own_kernel = WallCapabilities::of(isolation).own_kernel;
    if args.pause == Some(true) && own_kernel && instance.status.state == State::Running {
        let message = format!(
            "--pause: a machine behind the wall {} can't be read while it stands still",
            isolation.name()
        );
        return Err(
            Failure::new(Code::Unsupported, message).hint("stop it first, or say --pause=false")
        );
    }
    let store = context.store()?;
    let lease = store.lease()?;
    let pause = args.pause.unwrap_or(true);
    let changed = Changed::read(context, &store, &lease, &instance, pause)?;
    let failed = |error| crate::build::failure(error, true);
    let mut config = ImageConfig::parse(&changed.base.config).map_err(failed)?;
    as_it_ran(&mut config, &instance);
    for change in &args.change {
        config.config.change(change)?;
    }
    if let Some(author) = &args.author {
        config.set_author(author);
    }
    let now = jiff::Timestamp::now().as_second();
    let by = instance.record.workload.args.join(" ");
    config.step(&by, now, true, args.message.as_deref().unwrap_or_default());
    let layers = changed.base.layers.iter().chain([&changed.layer]);
    let blobs: Vec<LayerBlob> = layers.map(|made| made.blob).collect();
    let document = config.document(&blobs, now).map_err(failed)?;
    let names: Vec<Reference> = name.into_iter().collect();
    let image = MadeImage {
        config: &document,
        layers: blobs,
        created: Some(timestamp(now)),
    };
    let added = store.add_made(&[image], &names)?;
    context.engine()?.tell(&instance, "commit");
    print_line(&added.id.to_string())?;
    Ok(Exit::OK)
}

/// Takes over what the instance was made with, as Docker does: command, variables,
/// user and folder.
fn as_it_ran(config: &mut ImageConfig, instance: &Instance) {
    /// Made up for each instance.
    const OWN: [&str; 3] = ["HOSTNAME", "HOME", "TERM"];
    let workload = &instance.record.workload;
    let config = &mut config.config;
    let entrypoint = config.entrypoint.clone().unwrap_or_default();
    match workload.args.strip_prefix(entrypoint.as_slice()) {
        Some(rest) => config.cmd = Some(rest.to_vec()).filter(|rest| !rest.is_empty()),
        None => {
            config.entrypoint = None;
            config.cmd = Some(workload.args.clone());
        }
    }
    for text in &workload.env {
        if let Some((name, value)) = text.split_once('=')
            && !OWN.contains(&name)
        {
            config.set_env(name, value);
        }
    }
    if !workload.user.is_empty() {
        config.user = Some(workload.user.clone());
    }
    if workload.cwd != "/" || config.working_dir.is_some() {
        config.working_dir = Some(workload.cwd.clone());
    }
}
