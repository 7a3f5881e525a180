//! COPY and ADD.

mod remote;

use isola_images::files::FileKind;

use crate::archive;
use crate::copy::{Plan, Rules, clean, find, join};
use crate::dockerfile::{Copy, CopySource, Item, Word};
use crate::error::{Error, Kind, Place, Result};
use crate::ignore::Ignore;
use crate::key::Key;
use crate::owner::{Chmod, owner};
use crate::stage::{Stage, make};
use crate::tree::{Node, Tree, shown};

/// A source, looked up.
enum Given {
    /// Files of the tree, the source as it was written, and whether it was a pattern.
    Nodes(Vec<Node>, String),
    /// A new file: name, content, mode, time.
    File(String, Vec<u8>, u32, i64),
    /// An archive to unpack.
    Archive(Node),
    /// An archive in memory.
    Unpacked(Vec<u8>),
    /// All files of a repository.
    Repository(Tree),
}

impl Stage<'_> {
    /// Copies files into a layer. Says whether that had to be done.
    pub(crate) fn copy(&mut self, copy: &Copy, item: &Item) -> Result<bool> {
        let build = self.build;
        let source = match &copy.from {
            Some(word) => Some(self.source(&word.text, word.place)?),
            None => None,
        };
        let own = source.as_ref().map(|_| ());
        let tree: &Tree = match &source {
            Some(source) => source.tree(),
            None => &build.options.context,
        };
        let dest = self.destination(&copy.dest)?;
        let given = self.given(copy, tree)?;
        let files = isola_images::files::Files::open(&self.mountable())?;
        let rules = self.rules(copy, &files)?;
        let mut plan = Plan::new(&files, rules);
        let mut archives = Vec::new();
        let several = many(&given);
        let is_dir = dest.ends_with('/');
        if several && !is_dir {
            let message =
                "with more than one source the destination must be a folder and end with /";
            return Err(Error::at(copy.dest.place, message));
        }
        let real = plan.resolve(dest.as_bytes())?;
        let folder = is_dir || plan.is_folder(&real)?;
        for one in &given {
            match one {
                Given::File(name, bytes, mode, time) => {
                    let path = match folder {
                        true => join(&real, name.as_bytes()),
                        false => real.clone(),
                    };
                    plan.bytes(&path, bytes, *mode, *time)?;
                }
                Given::Nodes(nodes, text) => {
                    for node in nodes {
                        put(&mut plan, copy, tree, node.clone(), text, &real, folder)?;
                    }
                }
                Given::Archive(node) => {
                    plan.folder(&real)?;
                    archives.push(archive::Origin::Node(tree, node.clone()));
                }
                Given::Unpacked(bytes) => {
                    plan.folder(&real)?;
                    archives.push(archive::Origin::Bytes(bytes));
                }
                Given::Repository(tree) => {
                    if let Some(root) = tree.lookup(b"", true)? {
                        plan.content(tree, &root, &real)?;
                    }
                }
            }
        }
        let mut key = Key::after(&self.key, if own.is_some() { "copy from" } else { "copy" });
        key.add(&real);
        plan.hash(&mut key)?;
        for origin in &archives {
            origin.hash(&mut key)?;
        }
        let owner = copy.chown.as_ref().map(|word| word.text.as_bytes());
        key.add(owner.unwrap_or_default());
        let chmod = copy.chmod.as_ref().map(|word| word.text.as_bytes());
        key.add(chmod.unwrap_or_default());
        let epoch = build.options.epoch;
        let (made, created, done) = make(
            build,
            self.without_cache(),
            &self.layers,
            key,
            item,
            |tar| {
                plan.write(tar, epoch)?;
                for origin in &archives {
                    archive::unpack(origin, &plan, &real, epoch, tar)?;
                }
                Ok(())
            },
        )?;
        self.add(made, created, item, "isola");
        Ok(done)
    }

    /// An absolute path; a slash at its end stays.
    fn destination(&self, word: &Word) -> Result<String> {
        let dest = self.expand(word)?;
        if dest.is_empty() {
            return Err(Error::at(word.place, "the destination is empty"));
        }
        let folder =
            dest.ends_with('/') || dest == "." || dest.ends_with("/.") || dest.ends_with("..");
        let base = self.config.config.working_dir.as_deref().unwrap_or("/");
        let path = match dest.starts_with('/') {
            true => dest,
            false => format!("{base}/{dest}"),
        };
        let parts = clean(path.as_bytes()).join(&b'/');
        let mut path = String::from_utf8_lossy(&parts).into_owned();
        if folder || path.is_empty() {
            path.push('/');
        }
        Ok(path)
    }

    fn rules(&self, copy: &Copy, files: &isola_images::files::Files) -> Result<Rules> {
        let at = |word: &Word, why: String| Error::at(word.place, why);
        let owner = match &copy.chown {
            Some(word) => {
                let text = self.expand(word)?;
                Some(
                    owner(&text, files)
                        .map_err(|why| at(word, format!("--chown={text}: {why}")))?,
                )
            }
            None => None,
        };
        let chmod = match &copy.chmod {
            Some(word) => {
                let text = self.expand(word)?;
                let mode =
                    Chmod::parse(&text).map_err(|why| at(word, format!("--chmod: {why}")))?;
                Some(mode)
            }
            None => None,
        };
        let mut patterns = Vec::new();
        for word in &copy.exclude {
            patterns.push(self.expand(word)?);
        }
        let exclude = Ignore::of_patterns(&patterns)
            .map_err(|why| at(&copy.exclude[0], format!("--exclude: {why}")))?;
        Ok(Rules {
            owner,
            chmod,
            exclude,
            now: self.build.now,
            link: copy.link,
        })
    }

    fn given(&self, copy: &Copy, tree: &Tree) -> Result<Vec<Given>> {
        let mut given = Vec::new();
        for source in &copy.sources {
            match source {
                CopySource::Doc(doc) => {
                    let text = doc.text();
                    let text = match doc.expand {
                        true => self
                            .scope
                            .expand_doc(&self.build.globals, &text, &self.config.config)
                            .map_err(|why| Error::at(doc.place, why))?,
                        false => text,
                    };
                    let now = self.build.now;
                    given.push(Given::File(doc.name.clone(), text.into_bytes(), 0o644, now));
                }
                CopySource::Path(word) => {
                    let text = self.expand(word)?;
                    match copy.add && remote::is_remote(&text) {
                        true => given.push(self.remote(copy, &text, word.place)?),
                        false => given.extend(local(copy, tree, &text, word.place)?),
                    }
                }
            }
        }
        Ok(given)
    }
}

fn many(given: &[Given]) -> bool {
    let count = |one: &Given| match one {
        Given::Nodes(nodes, _) => nodes.len(),
        _ => 1,
    };
    given.iter().map(count).sum::<usize>() > 1
}

/// What a path of COPY or ADD means.
fn local(copy: &Copy, tree: &Tree, text: &str, place: Place) -> Result<Vec<Given>> {
    if copy.checksum.is_some() {
        let message = format!("--checksum is for addresses, {text} is a file");
        return Err(Error::at(place, message));
    }
    let nodes = find(tree, text).map_err(|error| error.or_at(place))?;
    if nodes.is_empty() {
        let (what, hint) = match &copy.from {
            Some(word) => (format!("in {}", word.text), None),
            None => (
                "in the build's context".to_owned(),
                Some(
                    "the context is the folder at the end of the command; .dockerignore may leave files out",
                ),
            ),
        };
        let error = Error {
            kind: Kind::Invalid,
            ..Error::at(place, format!("{text:?} is not {what}"))
        };
        return Err(match hint {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
    let mut given = Vec::new();
    let mut plain = Vec::new();
    for node in nodes {
        let unpack = copy.unpack.unwrap_or(copy.add);
        if unpack && node.meta.kind == FileKind::File && archive::is_archive(tree, &node)? {
            given.push(Given::Archive(node));
        } else {
            plain.push(node);
        }
    }
    if !plain.is_empty() {
        given.push(Given::Nodes(plain, text.to_owned()));
    }
    Ok(given)
}

/// Puts one file or the content of one folder.
fn put<'a>(
    plan: &mut Plan<'a>,
    copy: &Copy,
    tree: &'a Tree,
    node: Node,
    text: &str,
    real: &[u8],
    folder: bool,
) -> Result<()> {
    let is_dir = node.meta.kind == FileKind::Dir;
    if copy.parents {
        // What stands behind `/./` is kept.
        let skip = match text.split_once("/./") {
            Some((before, _)) => clean(before.as_bytes()).len(),
            None => 0,
        };
        let parts = clean(&node.path);
        let kept = parts.get(skip..).unwrap_or_default().join(&b'/');
        let path = join(real, &kept);
        let path = if kept.is_empty() { real.to_vec() } else { path };
        return match is_dir {
            true => plan.content(tree, &node, &path),
            false => plan.file(tree, node, &path),
        };
    }
    if is_dir {
        return plan.content(tree, &node, real);
    }
    if plan.excludes(node.name()) {
        return Ok(());
    }
    let name = match text.rsplit('/').next() {
        // A link keeps its own name, not that of what it points to.
        Some(name) if !name.contains(['*', '?', '[', '\\']) && !name.is_empty() && name != "." => {
            name.as_bytes().to_vec()
        }
        _ => node.name().to_vec(),
    };
    let path = match folder {
        true => join(real, &name),
        false => real.to_vec(),
    };
    if path.is_empty() {
        let message = format!("{} can't take the place of the root", shown(&node.path));
        return Err(Error::new(Kind::Invalid, message));
    }
    plan.file(tree, node, &path)
}
