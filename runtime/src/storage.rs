//! What a workload's mounts are taken from while it runs: folders of the host,
//! named volumes, disks. Taken before the wall is put up, given back after it is
//! down; a supervisor that is killed gives everything back with its descriptors and
//! its mount namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use isola_volume::{Data, Held, Subpath, Volumes, subpath};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{UnmountFlags, unmount};

use crate::error::{Error, Kind, Result};
use crate::rootfs::{RootFs, remove_tree, unmount_root};
use crate::state::{InstancePaths, Record};
use crate::workload::UserMount;

/// Where one of the workload's mounts is taken from.
#[derive(Debug)]
pub enum Source {
    /// From nowhere: a tmpfs.
    None,
    /// A folder or file in the supervisor's mount namespace.
    Path {
        /// Its path.
        path: PathBuf,
        /// Nothing is to be written to it.
        readonly: bool,
        /// A guest may be a second behind what is changed here.
        cached: bool,
        /// Keeps `path` valid when it leads through a descriptor.
        keep: Option<Subpath>,
    },
    /// A file with an ext4 file system for a machine of its own.
    Disk {
        /// The file, locked for as long as it is open.
        file: File,
        /// Nothing is to be written to it.
        readonly: bool,
    },
}

/// The sources of all mounts of a workload.
#[derive(Debug, Default)]
pub struct Storage {
    sources: Vec<Source>,
    /// Mounts of volumes in this namespace, over their own folders.
    mounted: Vec<PathBuf>,
    /// Dropped last: with them the locks go.
    held: Vec<Held>,
}

impl Storage {
    /// Takes what the workload of `record` mounts. `own_kernel`: it runs on a kernel of
    /// its own, which is given block volumes as disks.
    ///
    /// # Errors
    /// A volume that is gone or in use, a folder that is absent or can't be made, a
    /// path inside a volume that is not there. Nothing stays taken then.
    pub fn take(
        volumes: &Volumes,
        record: &Record,
        files: &InstancePaths,
        own_kernel: bool,
    ) -> Result<Storage> {
        let mut storage = Storage::default();
        for mount in &record.workload.mounts {
            let source = match mount {
                UserMount::Tmpfs { .. } => Source::None,
                UserMount::Bind {
                    source,
                    readonly,
                    create_source,
                    cached,
                    ..
                } => folder_of_host(source, *create_source, (*readonly, *cached))?,
                UserMount::Volume { .. } => {
                    storage.volume(volumes, record, files, own_kernel, mount)?
                }
            };
            storage.sources.push(source);
        }
        Ok(storage)
    }

    /// One per mount of the workload, in their order.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn volume(
        &mut self,
        volumes: &Volumes,
        record: &Record,
        files: &InstancePaths,
        own_kernel: bool,
        mount: &UserMount,
    ) -> Result<Source> {
        let UserMount::Volume {
            name,
            target,
            readonly,
            nocopy,
            subpath: inside,
            cached,
            ..
        } = mount
        else {
            return Ok(Source::None);
        };
        let held = volumes.take(name, &record.id)?;
        let exclusive = matches!(
            held.data(),
            Data::Disk {
                exclusive: true,
                ..
            }
        );
        if exclusive && !own_kernel {
            let message = format!(
                "volume '{name}' is a disk for guests (block=), which the host's kernel does not mount"
            );
            return Err(Error::new(Kind::Unsupported, message)
                .hint("use it behind another wall, or a volume without block="));
        }
        if !nocopy && !held.is_given() {
            fill(&held, record, files, target)?;
        }
        let source = match held.data() {
            Data::Folder(path) => {
                self.part(&held, path.clone(), inside.as_deref(), (*readonly, *cached))?
            }
            Data::Disk {
                exclusive: true, ..
            } => {
                if inside.is_some() {
                    let message = format!(
                        "volume '{name}' is a disk of the guest's own, and a part of it can't be mounted alone"
                    );
                    return Err(Error::new(Kind::Unsupported, message)
                        .hint("leave volume-subpath out, or make the volume without block="));
                }
                Source::Disk {
                    file: held.disk(*readonly)?,
                    readonly: *readonly,
                }
            }
            Data::Disk { image, .. } => {
                let folder = image.with_file_name("_data");
                held.mount(&folder, false)?;
                self.mounted.push(folder.clone());
                self.part(&held, folder, inside.as_deref(), (*readonly, *cached))?
            }
        };
        self.held.push(held);
        Ok(source)
    }

    /// All of a volume's files, or the part of them that was asked for.
    fn part(
        &self,
        held: &Held,
        folder: PathBuf,
        inside: Option<&str>,
        (readonly, cached): (bool, bool),
    ) -> Result<Source> {
        let Some(inside) = inside else {
            // Also says so when the folder that it stands for is gone.
            drop(held.open()?);
            return Ok(Source::Path {
                path: folder,
                readonly,
                cached,
                keep: None,
            });
        };
        let root = open_folder(&folder)?;
        let part = subpath(root.as_fd(), inside)?;
        Ok(Source::Path {
            path: part.path(),
            readonly,
            cached,
            keep: Some(part),
        })
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.sources.clear();
        for folder in self.mounted.drain(..).rev() {
            if let Err(error) = unmount(&folder, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                eprintln!(
                    "isola-supervisor: {}",
                    Error::io("unmount", &folder, io::Error::from(error))
                );
            }
        }
    }
}

/// A bind mount's source; `-v` makes an absent one, as Docker does.
fn folder_of_host(source: &str, create: bool, (readonly, cached): (bool, bool)) -> Result<Source> {
    let path = PathBuf::from(source);
    match std::fs::metadata(&path) {
        Ok(_) => {}
        Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(&path)
                .map_err(|error| Error::io("make the folder", &path, error))?;
        }
        Err(error) => return Err(Error::io("use the mount source", &path, error)),
    }
    Ok(Source::Path {
        path,
        readonly,
        cached,
        keep: None,
    })
}

/// Puts what the image has at `target` into a volume that is empty.
fn fill(held: &Held, record: &Record, files: &InstancePaths, target: &str) -> Result<()> {
    let data = held.open()?;
    if !is_empty(&data)? {
        return Ok(());
    }
    let base = files.dir();
    let (upper, work, root) = (
        base.join("fill-upper"),
        base.join("fill-work"),
        files.mount(),
    );
    match std::fs::create_dir(&root) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make the folder", &root, error));
        }
        _ => {}
    }
    let namespace = record.workload.security.userns.as_ref();
    let namespace = namespace
        .map(isola_init::userns_fd)
        .transpose()
        .map_err(|error| Error::system("make the user namespace of the image's layers", error))?;
    let image = RootFs {
        layers: &record.layers,
        upper: &upper,
        work: &work,
        target: &root,
        namespace: namespace.as_ref().map(AsFd::as_fd),
        volatile: true,
    };
    image.mount()?;
    let copied = copy_from(held, &root, target, &data);
    unmount_root(&root)?;
    let removed = remove_tree(&upper).and_then(|()| remove_tree(&work));
    copied.and(removed)
}

fn copy_from(held: &Held, root: &Path, target: &str, data: &OwnedFd) -> Result<()> {
    let root = open_folder(root)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    match openat2(&root, target, flags, Mode::empty(), inside) {
        Ok(source) => {
            held.copy_up(source.as_fd(), data.as_fd())?;
            Ok(())
        }
        // The image has no folder there: nothing to copy.
        Err(_) => Ok(()),
    }
}

fn is_empty(folder: &OwnedFd) -> Result<bool> {
    let failed =
        |error: rustix::io::Errno| Error::system("read a volume", std::io::Error::from(error));
    let mut entries = rustix::fs::Dir::read_from(folder).map_err(failed)?;
    Ok(!entries.any(|entry| {
        entry.is_ok_and(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
    }))
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|error| Error::io("open", path, std::io::Error::from(error)))
}
