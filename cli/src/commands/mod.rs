//! All verbs.

mod attach;
mod build;
mod builder;
mod capabilities;
mod commit;
mod completion;
mod compose;
mod console;
mod container;
mod cp;
mod create;
mod demo;
mod doctor;
mod events;
mod exec;
mod explain;
mod export;
mod history;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod kernel;
mod kill;
mod load;
mod login;
mod logout;
mod logs;
mod manifest;
mod network;
mod pause;
mod port;
mod ps;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod start;
mod stats;
mod stop;
mod system;
mod tag;
mod top;
mod unpause;
mod version;
mod volume;
mod wait;

pub(crate) use build::Args as BuildArgs;
use clap::Subcommand;

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::lazy::Lazy;

/// What `isola` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Lazy<run::Args>),
    Create(Lazy<create::Args>),
    Start(Lazy<start::Args>),
    Stop(Lazy<stop::Args>),
    Restart(Lazy<restart::Args>),
    Kill(Lazy<kill::Args>),
    Pause(Lazy<pause::Args>),
    Unpause(Lazy<unpause::Args>),
    Wait(Lazy<wait::Args>),
    Rm(Lazy<rm::Args>),
    Rename(Lazy<rename::Args>),

    Exec(Lazy<exec::Args>),
    Attach(Lazy<attach::Args>),
    Console(Lazy<console::Args>),
    Cp(Lazy<cp::Args>),

    #[command(visible_alias = "list")]
    Ps(Lazy<ps::Args>),
    Logs(Lazy<logs::Args>),
    Events(Lazy<events::Args>),
    Inspect(Lazy<inspect::Args>),
    Port(Lazy<port::Args>),
    Top(Lazy<top::Args>),
    Stats(Lazy<stats::Args>),

    Network(Lazy<network::Args>),
    Volume(Lazy<volume::Args>),

    Build(Lazy<build::Args>),
    Builder(Lazy<builder::Args>),
    Commit(Lazy<commit::Args>),
    Export(Lazy<export::Args>),
    Images(Lazy<images::Args>),
    Pull(Lazy<pull::Args>),
    Push(Lazy<push::Args>),
    Login(Lazy<login::Args>),
    Logout(Lazy<logout::Args>),
    Load(Lazy<load::Args>),
    Import(Lazy<import::Args>),
    Save(Lazy<save::Args>),
    Tag(Lazy<tag::Args>),
    Rmi(Lazy<rmi::Args>),
    History(Lazy<history::Args>),
    Manifest(Lazy<manifest::Args>),
    Image(Lazy<image::Args>),

    Compose(Lazy<compose::Args>),

    Kernel(Lazy<kernel::Args>),
    Demo(Lazy<demo::Args>),
    Doctor(Lazy<doctor::Args>),
    Capabilities(Lazy<capabilities::Args>),
    Info(Lazy<info::Args>),
    Version(Lazy<version::Args>),
    Explain(Lazy<explain::Args>),
    Completion(Lazy<completion::Args>),
    Container(Lazy<container::Args>),
    System(Lazy<system::Args>),
}

/// Verbs under headings, for `isola --help`.
pub(crate) const GROUPS: &[(&str, &[&str])] = &[
    (
        "Life of an instance",
        &[
            "run", "create", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "rm",
            "rename",
        ],
    ),
    ("Inside", &["exec", "attach", "console", "cp"]),
    (
        "Looking",
        &["ps", "logs", "events", "inspect", "port", "top", "stats"],
    ),
    ("Networks and volumes", &["network", "volume"]),
    (
        "Images",
        &[
            "build", "builder", "commit", "export", "images", "pull", "push", "login", "logout",
            "load", "import", "save", "tag", "rmi", "history", "manifest", "image",
        ],
    ),
    ("Stacks", &["compose"]),
    (
        "This host",
        &[
            "kernel",
            "demo",
            "doctor",
            "capabilities",
            "info",
            "version",
            "explain",
            "completion",
            "container",
            "system",
        ],
    ),
];

/// Carries a verb out.
pub(crate) fn run(verb: &Verb, context: &Context) -> Result<Exit> {
    match verb {
        Verb::Run(args) => run::run(args, context),
        Verb::Create(args) => create::run(args, context),
        Verb::Start(args) => start::run(args, context),
        Verb::Stop(args) => stop::run(args, context),
        Verb::Restart(args) => restart::run(args, context),
        Verb::Kill(args) => kill::run(args, context),
        Verb::Pause(args) => pause::run(args, context),
        Verb::Unpause(args) => unpause::run(args, context),
        Verb::Wait(args) => wait::run(args, context),
        Verb::Rm(args) => rm::run(args, context),
        Verb::Rename(args) => rename::run(args, context),
        Verb::Exec(args) => exec::run(args, context),
        Verb::Attach(args) => attach::run(args, context),
        Verb::Console(args) => console::run(args, context),
        Verb::Cp(args) => cp::run(args, context),
        Verb::Ps(args) => ps::run(args, context),
        Verb::Logs(args) => logs::run(args, context),
        Verb::Events(args) => events::run(args, context),
        Verb::Inspect(args) => inspect::run(args, context),
        Verb::Port(args) => port::run(args, context),
        Verb::Top(args) => top::run(args, context),
        Verb::Stats(args) => stats::run(args, context),
        Verb::Network(args) => network::run(args, context),
        Verb::Volume(args) => volume::run(args, context),
        Verb::Build(args) => build::run(args, context),
        Verb::Builder(args) => builder::run(args, context),
        Verb::Commit(args) => commit::run(args, context),
        Verb::Export(args) => export::run(args, context),
        Verb::Images(args) => images::run(args, context),
        Verb::Pull(args) => pull::run(args, context),
        Verb::Push(args) => push::run(args, context),
        Verb::Login(args) => login::run(args, context),
        Verb::Logout(args) => logout::run(args, context),
        Verb::Load(args) => load::run(args, context),
        Verb::Import(args) => import::run(args, context),
        Verb::Save(args) => save::run(args, context),
        Verb::Tag(args) => tag::run(args, context),
        Verb::Rmi(args) => rmi::run(args, context),
        Verb::History(args) => history::run(args, context),
        Verb::Manifest(args) => manifest::run(args, context),
        Verb::Image(args) => image::run(args, context),
        Verb::Compose(args) => compose::run(args, context),
        Verb::Kernel(args) => kernel::run(args, context),
        Verb::Demo(args) => demo::run(args, context),
        Verb::Doctor(args) => doctor::run(args, context),
        Verb::Capabilities(args) => capabilities::run(args, context),
        Verb::Info(args) => info::run(args, context),
        Verb::Version(args) => version::run(args, context),
        Verb::Explain(args) => explain::run(args, context),
        Verb::Completion(args) => completion::run(args, context),
        Verb::Container(args) => container::run(args, context),
        Verb::System(args) => system::run(args, context),
    }
}
