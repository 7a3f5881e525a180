//! What a build reads before it begins: files, and standard input.

use std::collections::BTreeMap;
use std::io::{self, Cursor, IsTerminal, Read};
use std::path::{Path, PathBuf};

use isola_build::{Ignore, Options, Tree};
use isola_images::files::Files;
use isola_images::making::Lease;
use isola_images::{Compression, Store};

use super::request::{Request, Source};
use crate::context::Context;
use crate::error::{Code, Failure, Result};

/// Bytes of a Dockerfile or secret that are read.
const LONGEST: u64 = 4 << 20;
/// Names that are looked for.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// A build's options, and what keeps a context that came as an archive.
pub(super) struct Inputs {
    pub(super) options: Options,
    _lease: Option<Lease>,
}

impl Inputs {
    /// Reads what the request names.
    pub(super) fn read(request: Request, context: &Context, store: &Store) -> Result<Inputs> {
        let mut args = request.args;
        let epoch = epoch(&args, &context.environment())?;
        if let Some(epoch) = epoch {
            args.insert("SOURCE_DATE_EPOCH".into(), epoch.to_string());
        }
        let found = Found::find(&request.context, request.dockerfile, store)?;
        Ok(Inputs {
            options: Options {
                dockerfile: found.text,
                name: found.name,
                context: found.tree,
                contexts: request.contexts,
                target: request.target,
                args,
                labels: request.labels,
                secrets: request.secrets,
                ssh: request.ssh,
                network: request.network,
                hosts: request.hosts,
                shm_size: request.shm_size,
                no_cache: request.no_cache,
                no_cache_filter: request.no_cache_filter,
                epoch,
                caches: context.engine()?.paths().root().join("caches"),
            },
            _lease: found.lease,
        })
    }
}

/// The argument of this name, or the user's own variable.
fn epoch(
    args: &BTreeMap<String, String>,
    environment: &BTreeMap<String, String>,
) -> Result<Option<i64>> {
    let text = args
        .get("SOURCE_DATE_EPOCH")
        .or_else(|| environment.get("SOURCE_DATE_EPOCH"))
        .filter(|text| !text.is_empty());
    let Some(text) = text else {
        return Ok(None);
    };
    match text.parse::<i64>().ok().filter(|at| *at >= 0) {
        Some(epoch) => Ok(Some(epoch)),
        None => {
            let message = format!("SOURCE_DATE_EPOCH {text:?} is no number of seconds");
            Err(Failure::new(Code::Invalid, message))
        }
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
    fn find(context: &str, dockerfile: Source, store: &Store) -> Result<Found> {
        if context.contains("://") || context.starts_with("git@") {
            let message = format!("the context {context} is an address, which is not fetched");
            return Err(Failure::new(Code::Unsupported, message)
                .hint("fetch it first, or pipe an archive: ... | isola build -"));
        }
        match (context, dockerfile) {
            ("-", Source::File(file)) if file == "-" => Err(Failure::new(
                Code::Usage,
                "both the Dockerfile and the context are to come from standard input",
            )),
            ("-", Source::File(file)) => Found::in_stream(Some(&file), store),
            ("-", Source::Usual) => Found::in_stream(None, store),
            (folder, dockerfile) => Found::in_folder(Path::new(folder), dockerfile),
        }
    }

    fn in_folder(folder: &Path, dockerfile: Source) -> Result<Found> {
        let (path, text) = match dockerfile {
            Source::Text { name, text } => (PathBuf::from(name), text),
            Source::File(file) if file == "-" => (PathBuf::from("-"), stdin_text()?),
            Source::File(file) => (PathBuf::from(&file), read_text(Path::new(&file))?),
            Source::Usual => {
                let paths = NAMES.map(|name| folder.join(name));
                let path = paths.iter().find(|path| path.is_file()).ok_or_else(|| {
                    let message = format!("there is no Dockerfile in {}", folder.display());
                    Failure::new(Code::Invalid, message)
                        .hint("-f names one, in a compose file `dockerfile`")
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

/// What a secret holds.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| Failure::system(format!("read the secret {}", path.display()), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Ok(content)
}
