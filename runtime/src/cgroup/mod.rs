//! The cgroups of an instance: one group `isola/<id>` in each hierarchy that is
//! of use, on hosts with version 1, version 2 and both; `PARENT/<id>` where the user
//! names another parent.
//!
//! Limits are written by libcgroups; making, joining, pausing, killing, reading
//! and removing are done here: its manager takes an empty path for the caller's
//! own group and leaves folders behind when it is in a hurry.
//!
//! A group is found again by id and parent of its instance ([`Cgroup::find`]), so
//! that nothing is lost when the process that made it was killed.

mod abilities;
mod bpf;
mod bpf_load;
mod control;
mod device;
mod hierarchy;
mod limits;
mod place;
#[cfg(test)]
mod tests;
mod usage;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub use abilities::Abilities;
pub use device::{Access, DeviceKind, DevicePolicy, DeviceRule};
use hierarchy::{Hierarchy, Layout, Version};
pub use limits::Limits;
pub use place::check_parent;

use crate::error::{Error, Kind, Result};

/// Folder in every hierarchy that holds the groups of all instances.
pub(crate) const PARENT: &str = "isola";

/// The group in one hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The group's folder.
    path: PathBuf,
    version: Version,
    controllers: Vec<String>,
}

impl Member {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// In version 2 a group has only what the groups above hand down.
    fn refreshed(mut self) -> Member {
        if self.version == Version::V2 {
            self.controllers = place::available(&self.path);
        }
        self
    }
}

/// The groups of one instance. Dropping it leaves them: see [`Cgroup::destroy`].
#[derive(Clone, Debug)]
pub struct Cgroup {
    id: String,
    /// Relative to the root of every hierarchy.
    parent: PathBuf,
    members: Vec<Member>,
}

/// What a new process needs to start in the group: cheaper than
/// [`Cgroup::join`], for which the kernel stops all forks of the host.
#[derive(Debug)]
pub struct Entry {
    /// For CLONE_INTO_CGROUP (clone3(2)): the group of version 2.
    pub unified: Option<OwnedFd>,
    /// Files of version 1 into which the process itself writes `0` while it has
    /// one thread.
    pub tasks: Vec<OwnedFd>,
}

impl Cgroup {
    /// Makes the groups of the instance `id` in `parent` (see [`check_parent`]; the
    /// tool's own when there is none) and sets limits and device rules. On failure
    /// nothing is left.
    ///
    /// # Errors
    /// An id that is no plain name, a parent that can't be, a group of that id with
    /// processes in it, a limit that can't be set (by name), device rules that must
    /// hold and can't. A host on which no group can be made is an error only when
    /// something was asked of it.
    pub fn create(
        id: &str,
        parent: Option<&str>,
        limits: &Limits,
        devices: &DevicePolicy,
    ) -> Result<Cgroup> {
        check_id(id)?;
        let layout = Layout::read()?;
        let folder = place::relative(parent)?;
        if let Some(left) = Cgroup::find_in(&layout, id, &folder) {
            if !left.processes()?.is_empty() {
                return Err(Error::new(
                    Kind::Conflict,
                    format!("the cgroup of '{id}' has processes in it"),
                ));
            }
            left.destroy()?;
        }
        let mut group = Cgroup {
            id: id.to_owned(),
            parent: folder,
            members: Vec::new(),
        };
        let result = group.make(&layout, parent.is_some(), limits, devices);
        if let Err(error) = result {
            let _ = group.destroy();
            return Err(error);
        }
        Ok(group)
    }

    /// The groups of the instance `id` that are there in `parent`, to end what a
    /// killed supervisor left or to watch a running instance.
    ///
    /// # Errors
    /// An id that is no plain name, a parent that can't be, a mount table that can't
    /// be read.
    pub fn find(id: &str, parent: Option<&str>) -> Result<Option<Cgroup>> {
        check_id(id)?;
        let folder = place::relative(parent)?;
        Ok(Cgroup::find_in(&Layout::read()?, id, &folder))
    }

    fn find_in(layout: &Layout, id: &str, parent: &Path) -> Option<Cgroup> {
        let members: Vec<Member> = layout
            .used(true)
            .map(|hierarchy| member(hierarchy, parent, id))
            .filter(|member| member.path.is_dir())
            .map(Member::refreshed)
            .collect();
        (!members.is_empty()).then(|| Cgroup {
            id: id.to_owned(),
            parent: parent.to_owned(),
            members,
        })
    }

    /// Ids of all instances that have a group in the tool's own parent.
    ///
    /// # Errors
    /// A mount table that can't be read.
    pub fn list() -> Result<Vec<String>> {
        let mut ids: Vec<String> = Layout::read()?
            .used(true)
            .flat_map(|hierarchy| {
                fs::read_dir(hierarchy.mount.join(PARENT))
                    .into_iter()
                    .flatten()
                    .flatten()
            })
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    fn make(
        &mut self,
        layout: &Layout,
        placed: bool,
        limits: &Limits,
        devices: &DevicePolicy,
    ) -> Result<()> {
        let mut refused = None;
        // Whoever names a parent counts on the CPUs and nodes that it was given, too.
        for hierarchy in layout.used(placed || limits.needs_cpuset()) {
            let member = member(hierarchy, &self.parent, &self.id);
            match place::make_folder(hierarchy, &self.parent, &member.path) {
                Ok(()) => self.members.push(member.refreshed()),
                Err(error) if is_refusal(&error) && !placed => {
                    refused
                        .get_or_insert_with(|| format!("{}: {error}", hierarchy.mount.display()));
                }
                Err(error) => return Err(Error::io("make the cgroup", &member.path, error)),
            }
        }
        limits.apply(&self.relative(), &self.members, refused.as_deref())?;
        // After the limits: libcgroups adds permissions of its own to version 1.
        self.set_devices(devices, refused.as_deref())
    }

    fn set_devices(&self, policy: &DevicePolicy, refused: Option<&str>) -> Result<()> {
        // A new group permits what the group above it does.
        let DevicePolicy::Only { rules, required } = policy else {
            return Ok(());
        };
        let result = if let Some(member) = self.members.iter().find(|member| member.has("devices"))
        {
            let write = |file: &str, text: &str| fs::write(member.path.join(file), text);
            write("devices.deny", "a").and_then(|()| {
                rules
                    .iter()
                    .try_for_each(|rule| write("devices.allow", &rule.to_string()))
            })
        } else if let Some(member) = self.unified() {
            bpf_load::attach(&bpf::program(rules), &member.path)
        } else {
            Err(io::Error::other(
                refused
                    .unwrap_or("this host has no cgroup that can hold device rules")
                    .to_owned(),
            ))
        };
        match result {
            Err(error) if *required => Err(Error::system(
                format!("set the device rules of '{}'", self.id),
                error,
            )
            .hint("--cap-drop MKNOD does without them")),
            _ => Ok(()),
        }
    }

    /// Moves the process `pid` into the group.
    ///
    /// # Errors
    /// The kernel refuses, or the process is gone.
    pub fn join(&self, pid: i32) -> Result<()> {
        for member in &self.members {
            let path = member.path.join("cgroup.procs");
            fs::write(&path, pid.to_string()).map_err(|error| {
                Error::io(&format!("move the process {pid} into"), &path, error)
            })?;
        }
        Ok(())
    }

    /// Descriptors with which a process that is about to be made starts in the group.
    ///
    /// # Errors
    /// A file of the group can't be opened.
    pub fn entry(&self) -> Result<Entry> {
        let mut entry = Entry {
            unified: None,
            tasks: Vec::new(),
        };
        for member in &self.members {
            match member.version {
                Version::V2 => {
                    let folder = File::open(&member.path)
                        .map_err(|error| Error::io("open", &member.path, error))?;
                    entry.unified = Some(folder.into());
                }
                Version::V1 => {
                    let path = member.path.join("tasks");
                    let file = OpenOptions::new().write(true).open(&path);
                    entry.tasks.push(
                        file.map_err(|error| Error::io("open", &path, error))?
                            .into(),
                    );
                }
            }
        }
        Ok(entry)
    }

    /// The group's path from the root of every hierarchy.
    fn relative(&self) -> PathBuf {
        Path::new("/").join(&self.parent).join(&self.id)
    }

    /// The instance's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// No group could be made on this host (and none was needed).
    pub fn is_absent(&self) -> bool {
        self.members.is_empty()
    }

    /// The folders of the group, one per hierarchy.
    pub fn paths(&self) -> Vec<&Path> {
        self.members
            .iter()
            .map(|member| member.path.as_path())
            .collect()
    }

    fn unified(&self) -> Option<&Member> {
        self.members
            .iter()
            .find(|member| member.version == Version::V2)
    }
}

/// Ids become folder names; anything but a plain name is refused.
fn check_id(id: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty()
        || id.len() > 128
        || !id.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !id.chars().all(plain)
    {
        return Err(Error::new(
            Kind::Invalid,
            format!("'{}' can't be the name of a cgroup", id.escape_debug()),
        ));
    }
    Ok(())
}

fn member(hierarchy: &Hierarchy, parent: &Path, id: &str) -> Member {
    Member {
        mount: hierarchy.mount.clone(),
        path: hierarchy.mount.join(parent).join(id),
        version: hierarchy.version,
        controllers: hierarchy.controllers.clone(),
    }
}

/// The host does not let us make groups here.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}
