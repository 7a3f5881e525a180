//! Where a build's Dockerfile and files come from: a folder, standard input, an address.

use std::io::{self, Cursor, IsTerminal, Read};
use std::path::{Path, PathBuf};

use isola_build::{Context, GitAddress, Ignore, ImageSource, Tree};
use isola_images::files::Files;
use isola_images::making::Lease;
use isola_images::registry::Client;
use isola_images::{Layer, Store, head, is_packed, is_tar};

use super::git;
use super::request::Source;
use crate::error::{Code, Failure, Result};

/// Bytes of a Dockerfile that are read.
const LONGEST: u64 = 4 << 20;
/// Names that are looked for.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// The Dockerfile and the context.
pub(super) struct Found {
    pub(super) text: String,
    /// What the Dockerfile is called in messages.
    pub(super) name: String,
    pub(super) tree: Tree,
    /// Keeps what came as an archive.
    pub(super) lease: Option<Lease>,
}

/// Finds contexts.
pub(super) struct Finder<'a> {
    pub(super) store: &'a Store,
    pub(super) client: Client,
    /// The SSH agent for git, if it is not the user's own.
    pub(super) agent: Option<PathBuf>,
}

/// How a context is written.
enum Place<'a> {
    Stream,
    Folder(&'a Path),
    Git(GitAddress),
    /// `http` or `https`.
    Address(&'a str),
}

fn place(text: &str) -> Result<Place<'_>> {
    if text == "-" {
        return Ok(Place::Stream);
    }
    if let Some(parsed) = GitAddress::parse(text) {
        let address = parsed
            .map_err(|why| Failure::new(Code::Invalid, format!("the context {text:?}: {why}")))?;
        return Ok(Place::Git(address));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(Place::Address(text));
    }
    match text.contains("://") {
        true => {
            let message = format!("the context {text} is an address of an unknown kind");
            Err(Failure::new(Code::Unsupported, message).hint(
                "a context is a folder, an archive or Dockerfile at http(s)://, a git repository, or -",
            ))
        }
        false => Ok(Place::Folder(Path::new(text))),
    }
}

impl Finder<'_> {
    /// The build's own context, and its Dockerfile.
    pub(super) fn find(&self, context: &str, dockerfile: Source) -> Result<Found> {
        let from_stream = matches!(&dockerfile, Source::File(file) if file == "-");
        match place(context)? {
            Place::Stream if from_stream => Err(Failure::new(
                Code::Usage,
                "both the Dockerfile and the context are to come from standard input",
            )),
            Place::Stream => self.in_stream(input()?, "standard input", dockerfile),
            Place::Address(address) => self.in_stream(self.download(address)?, address, dockerfile),
            Place::Git(address) => {
                let lease = self.store.lease()?;
                let layer = self.clone(&lease, &address)?;
                in_archive(&layer, context, dockerfile, lease)
            }
            Place::Folder(folder) => in_folder(folder, dockerfile),
        }
    }

    /// A further context, and what keeps it.
    pub(super) fn named(&self, name: &str, given: &str) -> Result<(Context, Option<Lease>)> {
        let wrong = |why: &str| {
            Failure::new(
                Code::Invalid,
                format!("the build context {name}={given}: {why}"),
            )
        };
        if let Some(image) = given.strip_prefix("docker-image://") {
            return Ok((Context::Image(ImageSource::Name(image.to_owned())), None));
        }
        if let Some(layout) = given.strip_prefix("oci-layout://") {
            return Ok((Context::Image(ImageSource::Layout(layout.parse()?)), None));
        }
        let lease = self.store.lease()?;
        let layer = match place(given)? {
            Place::Stream => return Err(wrong("standard input is for the build's own")),
            Place::Folder(folder) => {
                return Ok((Context::Tree(folder_tree(folder, Ignore::default())?), None));
            }
            Place::Git(address) => self.clone(&lease, &address)?,
            Place::Address(address) => {
                let mut body = self.download(address)?;
                let start = head(&mut body).map_err(|error| read_failed(address, error))?;
                if !is_tar(&start) && !is_packed(&start) {
                    return Err(wrong("it is no archive"));
                }
                self.store
                    .keep_archive(&lease, Cursor::new(start).chain(body))?
            }
        };
        let tree = Tree::archive(open(&layer)?, Ignore::default());
        Ok((Context::Tree(tree), Some(lease)))
    }

    fn clone(&self, lease: &Lease, address: &GitAddress) -> Result<Layer> {
        let wanted = git::Wanted {
            address,
            agent: self.agent.as_deref(),
            keep: false,
            commit: None,
        };
        git::fetch(self.store, lease, &wanted)
    }

    fn download(&self, address: &str) -> Result<Box<dyn Read>> {
        Ok(self.client.download(address)?.body)
    }

    /// A stream is an archive, or a Dockerfile without files.
    fn in_stream(&self, mut stream: impl Read, what: &str, dockerfile: Source) -> Result<Found> {
        let start = head(&mut stream).map_err(|error| read_failed(what, error))?;
        let archive = is_tar(&start) || is_packed(&start);
        let whole = Cursor::new(start).chain(stream);
        if !archive {
            return Ok(Found {
                text: limited(whole, what)?,
                name: if what.contains("://") { what } else { "-" }.to_owned(),
                tree: Tree::nothing(),
                lease: None,
            });
        }
        let lease = self.store.lease()?;
        let layer = self.store.keep_archive(&lease, whole)?;
        in_archive(
            &layer,
            &format!("the archive from {what}"),
            dockerfile,
            lease,
        )
    }
}

fn in_folder(folder: &Path, dockerfile: Source) -> Result<Found> {
    // What is wrong with the folder is said before what is not in it.
    let tree = folder_tree(folder, Ignore::default())?;
    let (path, text) = match dockerfile {
        Source::Text { name, text } => (PathBuf::from(name), text),
        Source::File(file) if file == "-" => {
            (PathBuf::from("-"), limited(input()?, "standard input")?)
        }
        Source::File(file) => {
            // From where the user is, or else from the context.
            let paths = [PathBuf::from(&file), folder.join(&file)];
            let path = paths.iter().find(|path| path.exists()).unwrap_or(&paths[0]);
            (path.clone(), read_text(path)?)
        }
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
    Ok(Found {
        text,
        name: path.display().to_string(),
        tree: tree.without(ignore),
        lease: None,
    })
}

fn in_archive(layer: &Layer, what: &str, dockerfile: Source, lease: Lease) -> Result<Found> {
    let files = open(layer)?;
    let read = |name: &str| -> Result<Option<String>> {
        let content = files.small(name.as_bytes(), LONGEST)?;
        Ok(content.map(|content| String::from_utf8_lossy(&content).into_owned()))
    };
    let names = match &dockerfile {
        Source::File(file) => vec![file.as_str()],
        _ => NAMES.to_vec(),
    };
    let mut found = match &dockerfile {
        Source::Text { name, text } => Some((text.clone(), name.clone())),
        Source::File(file) if file == "-" => {
            Some((limited(input()?, "standard input")?, file.clone()))
        }
        _ => None,
    };
    for name in &names {
        if found.is_none() {
            found = read(name)?.map(|text| (text, (*name).to_owned()));
        }
    }
    let (text, name) = found.ok_or_else(|| {
        let message = format!("{what} holds no {}", names.join(" or "));
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
        tree: Tree::archive(open(layer)?, ignore),
        lease: Some(lease),
    })
}

fn open(layer: &Layer) -> Result<Files> {
    Ok(Files::open(std::slice::from_ref(layer))?)
}

fn folder_tree(folder: &Path, ignore: Ignore) -> Result<Tree> {
    Tree::host(folder, ignore).map_err(|error| super::failure(error, true))
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
        .map_err(|error| read_failed(name, error))?;
    if bytes.len() as u64 > LONGEST {
        let message = format!("{name} has more than {LONGEST} bytes");
        return Err(Failure::new(Code::Invalid, message));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Code::Dockerfile, format!("{name} is no UTF-8 text")))
}

fn read_failed(what: &str, error: io::Error) -> Failure {
    Failure::system(format!("read {what}"), error)
}
