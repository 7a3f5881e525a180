//! Copies between the host and an instance.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use isola_proto::{ProcessSpec, Program};
use isola_runtime::control::Control;
use isola_runtime::engine::{Engine, Instance};
use isola_runtime::workload::ExecOptions;
use tar::{EntryType, Header};

use super::channel::Channel;
use super::pack::{pack, pack_files};
use super::plan::{Kind, Plan, Rename, is_content, plan, split};
use super::unpack::Unpacker;
use crate::context::further_process;
use crate::error::{Code, Failure, Result};
use crate::output::print_bytes;

/// Bytes of a header in an archive.
const BLOCK: usize = 512;
/// So far the first header is looked for.
const LONGEST: usize = 1 << 20;

/// One instance whose wall is open, and how files are copied.
pub(crate) struct Transfer {
    control: Control,
    process: ProcessSpec,
    /// Keep owners (`-a`).
    owners: bool,
    /// Follow the source when it is a link (`-L`).
    follow: bool,
}

impl Transfer {
    /// Opens the wall of an instance; one that does not run is held open until
    /// this goes.
    pub(crate) fn open(
        engine: &Engine,
        instance: &Instance,
        owners: bool,
        follow: bool,
    ) -> Result<Transfer> {
        let options = ExecOptions {
            // Never run: the program below takes its place.
            args: vec!["copy".to_owned()],
            user: Some("0:0".to_owned()),
            workdir: Some("/".to_owned()),
            privileged: true,
            ..ExecOptions::default()
        };
        let process = further_process(instance, &options)?;
        Ok(Transfer {
            control: engine.hold(instance)?,
            process,
            owners,
            follow,
        })
    }

    /// Files of the instance to a path of the host. Returns what was left out.
    pub(crate) fn copy_out(&mut self, path: &str, target: &str) -> Result<Vec<PathBuf>> {
        let there = host_kind(target);
        let owners = self.owners;
        let mut channel =
            self.tar_out(path, self.follow || path.ends_with('/') || is_content(path))?;
        // What the source is, the first header tells; the unpacker needs it too.
        let (source, first) = read_kind(&mut channel);
        if source == Kind::Absent {
            channel.finish()?;
            return Err(Failure::new(Code::Copy, format!("{path} is not there")));
        }
        let made = plan(path, source, target, there).and_then(|plan| {
            let Plan { folder, rename } = plan;
            let mut unpacker = Unpacker::open(&folder, rename, owners)?;
            unpacker.unpack((&first[..]).chain(&mut channel))?;
            Ok(unpacker.skipped)
        });
        match made {
            Ok(skipped) => channel.finish().map(|()| skipped),
            Err(failure) => {
                channel.abandon();
                Err(failure)
            }
        }
    }

    /// Files of the instance as an archive to standard output.
    pub(crate) fn stream_out(&mut self, path: &str) -> Result<()> {
        if io::stdout().is_terminal() {
            return Err(
                Failure::new(Code::Copy, "an archive is not written to a terminal")
                    .hint("redirect it: isola cp INSTANCE:PATH - > files.tar"),
            );
        }
        let mut channel = self.tar_out(path, self.follow)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = channel
                .read(&mut buffer)
                .map_err(|error| Failure::system("read the archive", error))?;
            if count == 0 {
                return channel.finish();
            }
            print_bytes(&buffer[..count])?;
        }
    }

    /// Files of the host to the instance. Returns what was left out.
    pub(crate) fn copy_in(&mut self, source: &str, path: &str) -> Result<Vec<PathBuf>> {
        let there = self.inside_kind(path)?;
        let behind_link = self.follow || source.ends_with('/') || is_content(source);
        let real = match behind_link {
            true => fs::canonicalize(source),
            false => Ok(PathBuf::from(source)),
        };
        let real = real.map_err(|error| Failure::system(format!("open {source}"), error))?;
        let plan = plan(source, own_kind(&real), path, there)?;
        let name = match &plan.rename {
            Rename::Strip => String::new(),
            Rename::To(name) => name.clone(),
            Rename::Keep => last_name(source)?,
        };
        let owners = self.owners;
        self.tar_in(&plan.folder, |channel| pack(channel, &real, &name, owners))
    }

    /// An archive from standard input to a folder of the instance.
    pub(crate) fn stream_in(&mut self, path: &str) -> Result<()> {
        if self.inside_kind(path)? != Kind::Folder {
            return Err(Failure::new(
                Code::Copy,
                format!("the destination {path} is not a folder"),
            ));
        }
        let copy = |channel: &mut Channel<'_>| {
            io::copy(&mut io::stdin().lock(), channel).map(|_| Vec::new())
        };
        self.tar_in(path, copy).map(drop)
    }

    /// Single files of the host to the places that they have in the instance. Folders on
    /// the way are made.
    pub(crate) fn put<'a>(
        &mut self,
        files: impl IntoIterator<Item = (&'a Path, &'a str)>,
    ) -> Result<Vec<PathBuf>> {
        self.tar_in("/", |channel| pack_files(channel, files))
    }

    /// Removes files and folders of the instance.
    pub(crate) fn remove(&mut self, paths: Vec<String>) -> Result<()> {
        let process = ProcessSpec {
            program: Program::Remove { paths },
            stdin: false,
            ..self.process.clone()
        };
        Channel::start(&mut self.control, process)?.finish()
    }

    fn tar_out(&mut self, path: &str, follow: bool) -> Result<Channel<'_>> {
        let program = Program::TarOut {
            path: rooted(path),
            follow,
        };
        let process = ProcessSpec {
            program,
            stdin: false,
            ..self.process.clone()
        };
        Channel::start(&mut self.control, process)
    }

    fn tar_in(
        &mut self,
        folder: &str,
        write: impl FnOnce(&mut Channel<'_>) -> io::Result<Vec<PathBuf>>,
    ) -> Result<Vec<PathBuf>> {
        let program = Program::TarIn {
            path: rooted(folder),
            owners: self.owners,
        };
        let process = ProcessSpec {
            program,
            stdin: true,
            ..self.process.clone()
        };
        let mut channel = Channel::start(&mut self.control, process)?;
        match write(&mut channel) {
            Ok(skipped) => {
                channel.close_input();
                channel.finish().map(|()| skipped)
            }
            // The other side ended first, and said why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                channel.finish().map(|()| Vec::new())
            }
            Err(error) => {
                channel.abandon();
                Err(Failure::new(Code::Copy, format!("cannot copy {error}")))
            }
        }
    }

    /// What is at a path of the instance, from the first header of its archive.
    fn inside_kind(&mut self, path: &str) -> Result<Kind> {
        let mut channel = self.tar_out(path, true)?;
        let (kind, _) = read_kind(&mut channel);
        channel.abandon();
        Ok(kind)
    }
}

/// The kind of the first entry of an archive, and the bytes that were read to
/// find it: extensions (long names, attributes) may come before its header.
fn read_kind(archive: &mut impl Read) -> (Kind, Vec<u8>) {
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST {
        let start = bytes.len();
        bytes.resize(start + BLOCK, 0);
        if archive.read_exact(&mut bytes[start..]).is_err() {
            break;
        }
        // The end mark: an archive of nothing.
        if bytes[start..].iter().all(|byte| *byte == 0) {
            break;
        }
        let header = Header::from_byte_slice(&bytes[start..]);
        match header.entry_type() {
            EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                let size = header
                    .entry_size()
                    .ok()
                    .and_then(|size| usize::try_from(size).ok());
                let size = size
                    .filter(|size| *size < LONGEST)
                    .map(|size| size.next_multiple_of(BLOCK));
                let Some(size) = size else { break };
                let start = bytes.len();
                bytes.resize(start + size, 0);
                if archive.read_exact(&mut bytes[start..]).is_err() {
                    break;
                }
            }
            EntryType::Directory => return (Kind::Folder, bytes),
            _ => return (Kind::File, bytes),
        }
    }
    (Kind::Absent, bytes)
}

/// What is at a path of the host, links followed.
fn host_kind(path: &str) -> Kind {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Kind::Folder,
        Ok(_) => Kind::File,
        Err(_) => Kind::Absent,
    }
}

/// What is at a path itself: a link is copied as a link.
fn own_kind(path: &Path) -> Kind {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Kind::Folder,
        Ok(_) => Kind::File,
        Err(_) => Kind::Absent,
    }
}

/// The name under which a source lands in a folder, also for `..` and `/`.
fn last_name(source: &str) -> Result<String> {
    if let (_, Some(name)) = split(source) {
        return Ok(name.to_owned());
    }
    let real = fs::canonicalize(source)
        .map_err(|error| Failure::system(format!("open {source}"), error))?;
    Ok(real
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default())
}

/// Paths inside are relative to the root.
fn rooted(path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    }
}
