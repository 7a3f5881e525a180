//! Flags of `isola build` to what a build is asked for.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use isola_build::dockerfile::Network;
use isola_runtime::workload::Options as Limits;

use super::inputs::read_secret;
use super::request::{Request, Source};
use crate::commands::BuildArgs;
use crate::context::Context;
use crate::error::{Code, Failure, Result};

impl Request {
    /// What the flags say.
    pub(crate) fn of_flags(args: &BuildArgs, context: &Context) -> Result<Request> {
        let environment = context.environment();
        let settings = context.settings()?;
        let mut contexts = BTreeMap::new();
        for text in &args.build_context {
            let (name, source) = named_context(text)?;
            contexts.insert(name, source);
        }
        let wall = match args.vm {
            true => Some("vm"),
            false => args.isolation.as_deref(),
        };
        Ok(Request {
            context: args.context.clone(),
            dockerfile: args.file.clone().map_or(Source::Usual, Source::File),
            platforms: super::platforms(&args.platform)?,
            target: args.target.clone(),
            args: pairs("--build-arg", &args.build_arg, &environment)?,
            contexts,
            labels: pairs("--label", &args.label, &BTreeMap::new())?,
            secrets: secrets(&args.secret, &environment)?,
            ssh: agents("--ssh", &args.ssh, &environment)?,
            network: Network::parse(&args.network).unwrap_or_default(),
            hosts: args.add_host.clone(),
            shm_size: args.shm_size.clone(),
            no_cache: args.no_cache,
            no_cache_filter: args.no_cache_filter.clone(),
            pull: args.pull,
            quiet: args.quiet,
            walls: settings.choose(wall, &environment)?,
            limits: Limits {
                memory: args.memory.clone(),
                cpus: args.cpus.clone(),
                disk: args.disk.clone(),
                ..Limits::default()
            },
        })
    }
}

/// `NAME=VALUE`, or `NAME` to take the user's own value if there is one.
pub(crate) fn pairs(
    flag: &str,
    texts: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None if flag == "--label" => (text.as_str(), Some(String::new())),
            None => (text.as_str(), environment.get(text).cloned()),
        };
        if name.is_empty() {
            return Err(Failure::new(
                Code::Invalid,
                format!("{flag} {text:?} has no name"),
            ));
        }
        pairs.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(pairs)
}

fn named_context(text: &str) -> Result<(String, String)> {
    let both = text
        .split_once('=')
        .filter(|(name, source)| !name.is_empty() && !source.is_empty());
    let (name, source) = both.ok_or_else(|| {
        let message = format!("--build-context {text:?}: not of the form NAME=SOURCE");
        Failure::new(Code::Invalid, message)
    })?;
    Ok((name.to_owned(), source.to_owned()))
}

/// `id=NAME,src=FILE`, `id=NAME,env=VARIABLE`, or `id=NAME` for a variable of that name.
fn secrets(
    texts: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let wrong = |why: &str| Failure::new(Code::Invalid, format!("--secret {text:?}: {why}"));
        let (mut id, mut file, mut variable) = (None, None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => file = Some(value.to_owned()),
                Some(("env", value)) => variable = Some(value.to_owned()),
                Some(("type", "file" | "env")) => {}
                _ => return Err(wrong("there are id, src, env and type")),
            }
        }
        let id = id.filter(|id| !id.is_empty() && !id.contains('/'));
        let id = id.ok_or_else(|| wrong("it needs id=NAME"))?;
        let content = match (&file, variable.as_ref().unwrap_or(&id)) {
            (Some(path), _) => read_secret(Path::new(path))?,
            (None, name) => environment
                .get(name)
                .ok_or_else(|| wrong(&format!("there is no variable {name}; src= names a file")))?
                .clone()
                .into_bytes(),
        };
        secrets.insert(id, content);
    }
    Ok(secrets)
}

/// `NAME`, or `NAME=SOCKET`; `what` says so in errors.
pub(crate) fn agents(
    what: &str,
    texts: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut agents = BTreeMap::new();
    for text in texts {
        let wrong = |why: String| Failure::new(Code::Invalid, format!("{what} {text:?}: {why}"));
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (name, path.to_owned()),
            None => {
                let own = environment.get("SSH_AUTH_SOCK");
                let own = own.ok_or_else(|| wrong("SSH_AUTH_SOCK is not set".into()))?;
                (text.as_str(), own.clone())
            }
        };
        let socket = std::fs::metadata(&path).map_err(|error| wrong(format!("{path}: {error}")))?;
        if !socket.file_type().is_socket() {
            return Err(wrong(format!("{path} is no socket of an agent"))
                .hint("keys are not read from files: ssh-add gives them to an agent"));
        }
        agents.insert(name.to_owned(), PathBuf::from(path));
    }
    Ok(agents)
}
