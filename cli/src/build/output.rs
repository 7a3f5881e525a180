//! `--output`: where the result of a build goes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use isola_build::{Built, timestamp, write_tree};
use isola_images::making::MadeImage;
use isola_images::{Digest, Layer, Reference, Store};

use crate::context::Context;
use crate::copy::unpack_tree;
use crate::error::{Code, Failure, Result};
use crate::output::write_file;
use crate::transfers::Transfers;

/// What to make of the result.
pub(crate) struct Output {
    kind: Kind,
    names: Vec<Reference>,
}

enum Kind {
    /// In the store.
    Image,
    /// In the store and in registries.
    Registry,
    /// Files in a folder.
    Folder(PathBuf),
    /// The file tree as an archive; `-` is standard output.
    Tree(PathBuf),
    /// An image archive.
    Archive(PathBuf),
}

impl Output {
    pub(crate) fn parse(text: Option<&str>, names: &[Reference]) -> Result<Output> {
        let mut names = names.to_vec();
        let Some(text) = text else {
            let kind = Kind::Image;
            return Ok(Output { kind, names });
        };
        let wrong = |why: String| Failure::new(Code::Invalid, format!("--output {text:?}: {why}"));
        if !text.contains('=') {
            let kind = match text {
                "-" => Kind::Tree("-".into()),
                folder => Kind::Folder(folder.into()),
            };
            return Ok(Output { kind, names });
        }
        let (mut kind, mut dest, mut push) = (None, None, false);
        for field in text.split(',') {
            match field.split_once('=').unwrap_or((field, "")) {
                ("type", value) => kind = Some(value.to_owned()),
                ("dest", value) if !value.is_empty() => dest = Some(PathBuf::from(value)),
                ("name", value) => names.push(value.parse()?),
                ("push", value) => push = value == "true",
                (other, _) => {
                    return Err(wrong(format!("{other} is none of type, dest, name, push")));
                }
            }
        }
        let needed = || {
            dest.clone()
                .ok_or_else(|| wrong("it needs dest=PATH".into()))
        };
        let kind = match kind.as_deref() {
            Some("image") if push => Kind::Registry,
            Some("image") => Kind::Image,
            Some("registry") => Kind::Registry,
            Some("local") => Kind::Folder(needed()?),
            Some("tar") => Kind::Tree(dest.unwrap_or("-".into())),
            Some("oci" | "docker") => Kind::Archive(dest.unwrap_or("-".into())),
            Some(other) => {
                return Err(wrong(format!(
                    "type is image, registry, local, tar, oci or docker, not {other:?}"
                )));
            }
            None => return Err(wrong("it needs type=".into())),
        };
        if matches!(kind, Kind::Registry) && names.is_empty() {
            return Err(wrong("a registry needs a name: -t NAME".into()));
        }
        Ok(Output { kind, names })
    }

    /// An image in the store.
    pub(crate) fn image(names: Vec<Reference>) -> Output {
        let kind = Kind::Image;
        Output { kind, names }
    }

    /// The result goes to standard output.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(&self.kind, Kind::Tree(path) | Kind::Archive(path) if path == Path::new("-"))
    }

    /// Says whether it can hold what is built for so many platforms.
    pub(crate) fn check(&self, platforms: usize) -> Result<()> {
        if !matches!(self.kind, Kind::Tree(_)) || platforms == 1 {
            return Ok(());
        }
        let message = "--output type=tar: an archive holds the files of one platform";
        let hint = "--output FOLDER has a folder for each";
        Err(Failure::new(Code::Unsupported, message).hint(hint))
    }

    /// Writes it; gives the image's id, or of several the index's digest, if there is one.
    pub(crate) fn write(
        &self,
        context: &Context,
        store: &Store,
        built: &[Built],
        quiet: bool,
    ) -> Result<Option<Digest>> {
        let made: Vec<MadeImage<'_>> = built.iter().map(made).collect();
        let add = || {
            let added = store.add_made(&made, &self.names)?;
            store.tell_built(&added.image);
            Result::Ok(Some(added.id))
        };
        match &self.kind {
            Kind::Image => add(),
            Kind::Registry => {
                let id = add()?;
                let client = context.registries()?;
                for name in &self.names {
                    let transfers = Transfers::of_push(quiet);
                    store.push(&client, name, None, &|event| transfers.tell(event))?;
                }
                Ok(id)
            }
            Kind::Tree(path) => {
                for one in built {
                    stream(path, |out| tree(one, out))?;
                }
                Ok(None)
            }
            Kind::Folder(path) => {
                for one in built {
                    let path = match built.len() {
                        1 => path.clone(),
                        _ => path.join(one.platform.to_string().replace('/', "_")),
                    };
                    std::fs::create_dir_all(&path).map_err(|error| {
                        Failure::system(format!("make {}", path.display()), error)
                    })?;
                    unpack_tree(&path, |out| tree(one, out))?;
                }
                Ok(None)
            }
            Kind::Archive(path) => {
                let mut id = None;
                stream(path, |out| {
                    id = Some(store.save_made(&made, &self.names, out)?.id);
                    Ok(())
                })?;
                Ok(id)
            }
        }
    }
}

fn made(built: &Built) -> MadeImage<'_> {
    MadeImage {
        config: &built.config,
        layers: built.layers.iter().map(|made| made.blob).collect(),
        created: Some(timestamp(built.created)),
    }
}

fn tree(built: &Built, out: impl Write) -> Result<()> {
    let layers: Vec<Layer> = built.layers.iter().map(|made| made.layer.clone()).collect();
    write_tree(&layers, out).map_err(|error| super::failure(error, true))
}

fn stream(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    if path != Path::new("-") {
        return write_file(path, |mut file: &File| write(&mut file as &mut dyn Write));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::new(
            Code::Usage,
            "an archive is not written to a terminal",
        ));
    }
    crate::output::stream(write)
}
