//! What a project uses and others have made.

use isola_compose::plan::Present;
use isola_compose::project::Project;

use crate::error::{Code, Failure, Result};

/// Networks and volumes that others make must be there.
pub(super) fn check(project: &Project, present: &Present) -> Result<()> {
    for (key, network) in project.networks.iter().filter(|(_, it)| it.external) {
        if !present.networks.contains_key(&network.name) && network.name != isola_net::DEFAULT {
            let message = format!(
                "networks.{key}: the external network {} is not there",
                network.name
            );
            return Err(Failure::new(Code::NoNetwork, message)
                .hint(format!("`isola network create {}` makes it", network.name)));
        }
    }
    for (key, volume) in project.volumes.iter().filter(|(_, it)| it.external) {
        if !present.volumes.contains_key(&volume.name) {
            let message = format!(
                "volumes.{key}: the external volume {} is not there",
                volume.name
            );
            return Err(Failure::new(Code::NoVolume, message)
                .hint(format!("`isola volume create {}` makes it", volume.name)));
        }
    }
    Ok(())
}
