//! `--output`: where the result of a build goes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use isola_build::{Built, timestamp, write_tree};
use isola_images::making::LayerBlob;
use isola_images::{ImageId, Layer, Reference, Store};

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

    /// Writes it; gives the image's id if there is one.
    pub(crate) fn write(
        &self,
        context: &Context,
        store: &Store,
        built: &Built,
        quiet: bool,
    ) -> Result<Option<ImageId>> {
        let blobs: Vec<LayerBlob> = built.layers.iter().map(|made| made.blob).collect();
        let created = timestamp(built.created);
        let add = |names: &[Reference]| {
            let id = store.add_made_image(&built.config, &blobs, names, Some(&created))?;
            store.tell_built(&id);
            Result::Ok(id)
        };
        let layers: Vec<Layer> = built.layers.iter().map(|made| made.layer.clone()).collect();
        match &self.kind {
            Kind::Image => Ok(Some(add(&self.names)?)),
            Kind::Registry => {
                let id = add(&self.names)?;
                let client = context.registries()?;
                for name in &self.names {
                    let transfers = Transfers::of_push(quiet);
                    store.push(&client, name, None, &|event| transfers.tell(event))?;
                }
                Ok(Some(id))
            }
            Kind::Tree(path) => {
                stream(path, |out| {
                    write_tree(&layers, out).map_err(|error| super::failure(error, true))
                })?;
                Ok(None)
            }
            Kind::Folder(path) => {
                std::fs::create_dir_all(path)
                    .map_err(|error| Failure::system(format!("make {}", path.display()), error))?;
                unpack_tree(path, |out| {
                    write_tree(&layers, out).map_err(|error| super::failure(error, true))
                })?;
                Ok(None)
            }
            Kind::Archive(path) => {
                let mut id = None;
                stream(path, |out| {
                    let names = &self.names;
                    id = Some(store.save_made_image(&built.config, &blobs, names, out)?);
                    Ok(())
                })?;
                Ok(id)
            }
        }
    }
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
    write(&mut io::stdout().lock())
}
