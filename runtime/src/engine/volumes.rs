//! Volumes of instances.

use isola_volume::{VolumeSpec, Volumes};

use crate::error::{Error, Kind, Result};
use crate::state::{Record, State, new_id};
use crate::workload::{UserMount, Workload, merge_volumes_from, parse_volumes_from};

use super::{Engine, Instance};

/// Volumes that were made for a new instance; removed again unless kept.
pub(super) struct Made<'a> {
    volumes: &'a Volumes,
    names: Vec<String>,
}

impl Made<'_> {
    /// The instance is there: its volumes stay.
    pub(super) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.volumes.remove(name, |_| Vec::new());
        }
    }
}

/// Names the unnamed volumes of a workload.
pub(super) fn name(workload: &mut Workload) -> Result<()> {
    for mount in &mut workload.mounts {
        if let UserMount::Volume { name, .. } = mount
            && name.is_empty()
        {
            *name = new_id()?;
        }
    }
    Ok(())
}

/// Makes the volumes that a workload names and that are not there.
pub(super) fn make<'a>(volumes: &'a Volumes, workload: &Workload) -> Result<Made<'a>> {
    let mut made = Made {
        volumes,
        names: Vec::new(),
    };
    for mount in &workload.mounts {
        let UserMount::Volume {
            name,
            options,
            labels,
            anonymous,
            ..
        } = mount
        else {
            continue;
        };
        let there = volumes.find(name)?.is_some();
        volumes.create(&VolumeSpec {
            name: Some(name.clone()),
            anonymous: *anonymous,
            driver: String::new(),
            labels: labels.clone(),
            options: options.clone(),
        })?;
        if !there {
            made.names.push(name.clone());
        }
    }
    Ok(made)
}

/// Takes over the unnamed volumes that another instance has at the same places.
pub(super) fn inherit(workload: &mut Workload, from: &Record) {
    for mount in &mut workload.mounts {
        let UserMount::Volume {
            name,
            target,
            anonymous: true,
            ..
        } = mount
        else {
            continue;
        };
        let old = from.workload.mounts.iter().find_map(|old| match old {
            UserMount::Volume {
                name,
                target: at,
                anonymous: true,
                ..
            } if at == target => Some(name),
            _ => None,
        });
        if let Some(old) = old {
            name.clone_from(old);
        }
    }
}

/// Whether a record mounts a volume.
pub(super) fn mounts(record: &Record, volume: &str) -> bool {
    let is = |mount: &UserMount| matches!(mount, UserMount::Volume { name, .. } if name == volume);
    record.workload.mounts.iter().any(is)
}

impl Engine {
    /// Adds the mounts of the instances that `--volumes-from` names; a target that the
    /// workload has already goes before.
    pub(super) fn add_volumes_from(&self, texts: &[String], workload: &mut Workload) -> Result<()> {
        for text in texts {
            let (key, only_read) = parse_volumes_from(text)?;
            let mut mounts = self.find(&key)?.record.workload.mounts;
            for mount in &mut mounts {
                if let UserMount::Volume { anonymous, .. } = mount {
                    // It goes with the instance that it was made for.
                    *anonymous = false;
                }
            }
            merge_volumes_from(&mut workload.mounts, &mounts, only_read);
        }
        Ok(())
    }

    /// Names of the instances that mount a volume.
    ///
    /// # Errors
    /// The instances can't be read.
    pub fn users_of_volume(&self, volume: &str) -> Result<Vec<String>> {
        let users = self.list()?.into_iter();
        let users = users.filter(|it| mounts(&it.record, volume));
        Ok(users.map(|it| it.record.name).collect())
    }

    /// Makes what a command that was killed has left to be made of a new instance.
    pub(super) fn complete_volumes(&self, instance: &Instance) -> Result<()> {
        let mut mounts = instance.record.workload.mounts.iter();
        let any = mounts.any(|mount| matches!(mount, UserMount::Volume { .. }));
        if instance.status.state == State::Created && any {
            let volumes = Volumes::open(self.paths.root())?;
            make(&volumes, &instance.record.workload)?.keep();
        }
        Ok(())
    }

    /// Removes the unnamed volumes that were made for an instance which is gone, or is
    /// to go.
    ///
    /// # Errors
    /// One of them is in use, or can't be removed.
    pub fn remove_anonymous_volumes(&self, instance: &Instance) -> Result<()> {
        let volumes = Volumes::open(self.paths.root())?;
        let mut failed = None;
        for mount in &instance.record.workload.mounts {
            let UserMount::Volume {
                name,
                anonymous: true,
                ..
            } = mount
            else {
                continue;
            };
            let mut others = self.list()?.into_iter();
            let own = &instance.record.id;
            if others.any(|it| it.record.id != *own && mounts(&it.record, name)) {
                continue;
            }
            match volumes.remove(name, |_| Vec::new()) {
                Ok(()) => {}
                Err(error) if error.kind == isola_volume::Kind::NoSuch => {}
                Err(error) => failed = Some(Error::from(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Removes the unnamed volumes of an instance that is removed at its end.
///
/// # Errors
/// One can't be removed.
pub fn remove_own_volumes(root: &std::path::Path, record: &Record) -> Result<()> {
    let any = |mount: &UserMount| {
        matches!(
            mount,
            UserMount::Volume {
                anonymous: true,
                ..
            }
        )
    };
    if !record.workload.mounts.iter().any(any) {
        return Ok(());
    }
    let engine = Engine::open(Some(root))?;
    let instance = Instance {
        record: record.clone(),
        status: crate::state::Status::created(),
    };
    engine.remove_anonymous_volumes(&instance)
}

/// Checks that all networks of a workload are there.
pub(super) fn check_networks(root: &std::path::Path, workload: &Workload) -> Result<()> {
    let crate::workload::Network::Bridged(list) = &workload.network else {
        return Ok(());
    };
    if list.iter().all(|it| it.network == isola_net::DEFAULT) {
        return Ok(());
    }
    let networks = isola_net::Networks::open(root)?;
    for attachment in list.iter().filter(|it| it.network != isola_net::DEFAULT) {
        networks.find(&attachment.network).map_err(|error| {
            let kind = match error.kind {
                isola_net::Kind::NoSuch => Kind::NoSuch,
                _ => return Error::from(error),
            };
            Error::new(kind, error.message).hint(format!(
                "`isola network ls` lists them, `isola network create {}` makes it",
                attachment.network
            ))
        })?;
    }
    Ok(())
}
