//! Instructions. Words are as they stand there: quotes and variables are taken off
//! when the stage is built, since only then variables have values.

use super::command::Command;
use super::lines::{Directives, HereDoc};
pub use super::mount::{Mount, MountKind, Sharing};
use crate::error::Place;

/// A whole Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// What its head says.
    pub directives: Directives,
    /// ARG before the first FROM.
    pub globals: Vec<Arg>,
    /// Stages; never empty.
    pub stages: Vec<Stage>,
}

/// A word with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As it stands there.
    pub text: String,
    /// Where.
    pub place: Place,
}

/// FROM and all up to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What it builds on.
    pub from: From,
    /// What it is called (AS), in small letters.
    pub name: Option<String>,
    /// What is done.
    pub items: Vec<Item>,
}

/// FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// Where it is.
    pub place: Place,
    /// An image, a stage, a build context, or `scratch`.
    pub image: Word,
    /// `--platform`.
    pub platform: Option<Word>,
}

/// An instruction, its place and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it is.
    pub place: Place,
    /// As it stands there, on one line.
    pub text: String,
    /// What it is.
    pub instruction: Instruction,
}

/// All instructions but FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// RUN.
    Run(Run),
    /// COPY and ADD.
    Copy(Copy),
    /// ENV.
    Env(Vec<(Word, Word)>),
    /// ARG.
    Arg(Vec<Arg>),
    /// LABEL.
    Label(Vec<(Word, Word)>),
    /// WORKDIR.
    Workdir(Word),
    /// USER.
    User(Word),
    /// ENTRYPOINT.
    Entrypoint(Command),
    /// CMD.
    Cmd(Command),
    /// EXPOSE.
    Expose(Vec<Word>),
    /// VOLUME.
    Volume(Vec<Word>),
    /// STOPSIGNAL.
    Stopsignal(Word),
    /// HEALTHCHECK: what follows it.
    Healthcheck(String),
    /// SHELL.
    Shell(Vec<String>),
    /// ONBUILD: the instruction as text.
    Onbuild(String),
    /// MAINTAINER.
    Maintainer(String),
}

/// ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its value when nobody gives one.
    pub default: Option<Word>,
    /// Where it is.
    pub place: Place,
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: Command,
    /// Its here-documents.
    pub heredocs: Vec<HereDoc>,
    /// `--mount`, as they stand there; see [`Mount::parse`].
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: Network,
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum Network {
    /// That of the build.
    #[default]
    Default,
    /// Nothing but loopback.
    None,
    /// The host's.
    Host,
}

impl Network {
    /// Reads `default`, `none` or `host`.
    pub fn parse(text: &str) -> Option<Network> {
        Some(match text {
            "default" => Network::Default,
            "none" => Network::None,
            "host" => Network::Host,
            _ => return None,
        })
    }
}

/// COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// It is ADD.
    pub add: bool,
    /// `--from`: a stage, a build context or an image.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`: folders at the destination are not looked at.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<Word>,
    /// `--checksum` of ADD.
    pub checksum: Option<Word>,
    /// `--unpack` of ADD.
    pub unpack: Option<bool>,
    /// `.git` of a repository is copied, too.
    pub keep_git: bool,
    /// What is copied; never empty.
    pub sources: Vec<CopySource>,
    /// Where to.
    pub dest: Word,
}

/// A source of COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path, perhaps a pattern, or a URL.
    Path(Word),
    /// A here-document, which becomes a file of its name.
    Doc(HereDoc),
}
