//! From flags to what a build is asked for: files are read here, and standard input.

use std::collections::BTreeMap;
use std::io::{self, Cursor, IsTerminal, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use isola_build::dockerfile::Network;
use isola_build::{Context as BuildContext, Ignore, Options, Tree};
use isola_images::files::Files;
use isola_images::making::Lease;
use isola_images::{Compression, Store};

use crate::commands::BuildArgs;
use crate::context::Context;
use crate::error::{Code, Failure, Result};

/// Bytes of a Dockerfile or secret that are read.
const LONGEST: u64 = 4 << 20;
/// Names that are looked for.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// A build's options, and what keeps a context that came as an archive.
pub(crate) struct Inputs {
    pub(crate) options: Options,
    _lease: Option<Lease>,
}

impl Inputs {
    pub(crate) fn read(args: &BuildArgs, context: &Context, store: &Store) -> Result<Inputs> {
        let environment = context.environment();
        let mut given = pairs("--build-arg", &args.build_arg, &environment)?;
        let epoch = given
            .get("SOURCE_DATE_EPOCH")
            .or_else(|| environment.get("SOURCE_DATE_EPOCH"))
            .filter(|text| !text.is_empty());
        let epoch = epoch
            .map(|text| {
                text.parse::<i64>()
                    .ok()
                    .filter(|at| *at >= 0)
                    .ok_or_else(|| {
                        let message = format!("SOURCE_DATE_EPOCH {text:?} is no number of seconds");
                        Failure::new(Code::Invalid, message)
                    })
            })
            .transpose()?;
        if let Some(epoch) = epoch {
            given.insert("SOURCE_DATE_EPOCH".into(), epoch.to_string());
        }
        let found = Found::find(args, store)?;
        let mut contexts = BTreeMap::new();
        for text in &args.build_context {
            let (name, source) = named_context(text)?;
            contexts.insert(name, source);
        }
        Ok(Inputs {
            options: Options {
                dockerfile: found.text,
                name: found.name,
                context: found.tree,
                contexts,
                target: args.target.clone(),
                args: given,
                labels: pairs("--label", &args.label, &BTreeMap::new())?,
                secrets: secrets(&args.secret, &environment)?,
                ssh: agents(&args.ssh, &environment)?,
                network: Network::parse(&args.network).unwrap_or_default(),
                hosts: args.add_host.clone(),
                shm_size: args.shm_size.clone(),
                no_cache: args.no_cache,
                no_cache_filter: args.no_cache_filter.clone(),
                epoch,
                caches: context.engine()?.paths().root().join("caches"),
            },
            _lease: found.lease,
        })
    }
}

/// The Dockerfile and the context.
struct Found {
    text: String,
    name: String,
    tree: Tree,
    lease: Option<Lease>,
}

impl Found {
    fn find(args: &BuildArgs, store: &Store) -> Result<Found> {
        let context = args.context.as_str();
        if context.contains("://") || context.starts_with("git@") {
            let message = format!("the context {context} is an address, which is not fetched");
            return Err(Failure::new(Code::Unsupported, message)
                .hint("fetch it first, or pipe an archive: ... | isola build -"));
        }
        match (context, args.file.as_deref()) {
            ("-", Some("-")) => Err(Failure::new(
                Code::Usage,
                "both the Dockerfile and the context are to come from standard input",
            )),
            ("-", file) => Found::in_stream(file, store),
            (folder, file) => Found::in_folder(Path::new(folder), file),
        }
    }

    fn in_folder(folder: &Path, file: Option<&str>) -> Result<Found> {
        let (path, text) = match file {
            Some("-") => (PathBuf::from("-"), stdin_text()?),
            Some(file) => (PathBuf::from(file), read_text(Path::new(file))?),
            None => {
                let paths = NAMES.map(|name| folder.join(name));
                let path = paths.iter().find(|path| path.is_file()).ok_or_else(|| {
                    let message = format!("there is no Dockerfile in {}", folder.display());
                    Failure::new(Code::Invalid, message).hint("-f names one")
                })?;
                (path.clone(), read_text(path)?)
            }
        };
        let mut own = path.clone().into_os_string();
        own.push(".dockerignore");
        let candidates = [PathBuf::from(own), folder.join(".dockerignore")];
        let mut ignore = Ignore::default();
        if let Some(path) = candidates.iter().find(|path| path.is_file()) {
            ignore = parse_ignore(&read_text(path)?, &path.display().to_string())?;
        }
        let tree = Tree::host(folder, ignore).map_err(|error| super::failure(error, true))?;
        Ok(Found {
            text,
            name: path.display().to_string(),
            tree,
            lease: None,
        })
    }

    /// Standard input is an archive, or a Dockerfile without files.
    fn in_stream(file: Option<&str>, store: &Store) -> Result<Found> {
        let mut stdin = input()?;
        let mut head = Vec::new();
        Read::by_ref(&mut stdin)
            .take(512)
            .read_to_end(&mut head)
            .map_err(|error| Failure::system("read standard input", error))?;
        let packed = !matches!(Compression::detect(&head), Ok(Compression::None));
        let archive = packed || head.get(257..262) == Some(b"ustar");
        let whole = Cursor::new(head).chain(stdin);
        if !archive {
            return Ok(Found {
                text: limited(whole, "standard input")?,
                name: "-".into(),
                tree: Tree::nothing(),
                lease: None,
            });
        }
        let lease = store.lease()?;
        let made = store.keep_archive(&lease, whole)?;
        let open = || Files::open(std::slice::from_ref(&made));
        let files = open()?;
        let read = |name: &str| -> Result<Option<String>> {
            let content = files.small(name.as_bytes(), LONGEST)?;
            Ok(content.map(|content| String::from_utf8_lossy(&content).into_owned()))
        };
        let names: Vec<&str> = file.map_or(NAMES.to_vec(), |file| vec![file]);
        let mut found = None;
        for name in &names {
            if let Some(text) = read(name)? {
                found = Some((text, (*name).to_owned()));
                break;
            }
        }
        let (text, name) = found.ok_or_else(|| {
            let message = format!(
                "the archive from standard input holds no {}",
                names.join(" or ")
            );
            Failure::new(Code::Invalid, message)
        })?;
        let own = format!("{name}.dockerignore");
        let ignore = match read(&own)? {
            Some(text) => parse_ignore(&text, &own)?,
            None => match read(".dockerignore")? {
                Some(text) => parse_ignore(&text, ".dockerignore")?,
                None => Ignore::default(),
            },
        };
        Ok(Found {
            text,
            name,
            tree: Tree::archive(open()?, ignore),
            lease: Some(lease),
        })
    }
}

fn parse_ignore(text: &str, name: &str) -> Result<Ignore> {
    Ignore::parse(text)
        .map_err(|(line, why)| Failure::new(Code::Dockerfile, format!("{name}:{line}: {why}")))
}

fn input() -> Result<io::Stdin> {
    if io::stdin().is_terminal() {
        return Err(Failure::new(
            Code::Usage,
            "a Dockerfile or an archive is not read from a terminal",
        ));
    }
    Ok(io::stdin())
}

fn stdin_text() -> Result<String> {
    limited(input()?, "standard input")
}

fn read_text(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| Failure::system(format!("open {name}"), error))?;
    limited(file, &name)
}

fn limited(reader: impl Read, name: &str) -> Result<String> {
    let mut bytes = Vec::new();
    reader
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::system(format!("read {name}"), error))?;
    if bytes.len() as u64 > LONGEST {
        let message = format!("{name} has more than {LONGEST} bytes");
        return Err(Failure::new(Code::Invalid, message));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Code::Dockerfile, format!("{name} is no UTF-8 text")))
}

/// `NAME=VALUE`, or `NAME` to take the user's own value if there is one.
fn pairs(
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

fn named_context(text: &str) -> Result<(String, BuildContext)> {
    let wrong = |why: &str| Failure::new(Code::Invalid, format!("--build-context {text:?}: {why}"));
    let (name, source) = text
        .split_once('=')
        .filter(|(name, source)| !name.is_empty() && !source.is_empty())
        .ok_or_else(|| wrong("not of the form NAME=SOURCE"))?;
    if let Some(image) = source.strip_prefix("docker-image://") {
        return Ok((name.to_owned(), BuildContext::Image(image.to_owned())));
    }
    if source.contains("://") {
        return Err(wrong("a source is a folder or docker-image://IMAGE"));
    }
    let tree = Tree::host(Path::new(source), Ignore::default())
        .map_err(|error| super::failure(error, true))?;
    Ok((name.to_owned(), BuildContext::Tree(tree)))
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
            (Some(path), _) => {
                let failed = |error| Failure::system(format!("read the secret {path}"), error);
                let file = std::fs::File::open(path).map_err(failed)?;
                let mut content = Vec::new();
                file.take(LONGEST)
                    .read_to_end(&mut content)
                    .map_err(failed)?;
                content
            }
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

/// `NAME`, or `NAME=SOCKET`.
fn agents(
    texts: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut agents = BTreeMap::new();
    for text in texts {
        let wrong = |why: String| Failure::new(Code::Invalid, format!("--ssh {text:?}: {why}"));
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
