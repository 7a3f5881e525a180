//! Images that a build begins with.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use isola_build::{Download, Error, GitAddress, ImageSource, Images, Kind, Result};
use isola_images::making::{Base, Lease};
use isola_images::registry::{Client, Platform, Platforms};
use isola_images::{ImageId, Layer, Pinned, Reference, Store};

use super::git;
use crate::context::Context;
use crate::demo_image;
use crate::error::Code;
use crate::transfers::Transfers;

/// Finds them in the store, or gets them.
pub(crate) struct BuildImages<'a> {
    store: &'a Store,
    client: Client,
    /// The SSH agent of ADD from git (`--ssh`).
    agent: Option<PathBuf>,
    /// Get all anew.
    pull: bool,
    quiet: bool,
    /// What this build has got, by name and platform: one at a time, and each once.
    pulled: Mutex<HashMap<(String, String), ImageId>>,
    /// Held while a layout is read.
    reading: Mutex<()>,
}

impl<'a> BuildImages<'a> {
    pub(crate) fn new(
        context: &Context,
        store: &'a Store,
        pull: bool,
        quiet: bool,
        agent: Option<PathBuf>,
    ) -> crate::error::Result<BuildImages<'a>> {
        Ok(BuildImages {
            store,
            client: context.registries()?,
            agent,
            pull,
            quiet,
            pulled: Mutex::default(),
            reading: Mutex::default(),
        })
    }

    /// Pulls an image. A name that stands for an image of this machine keeps doing so when
    /// one of another platform was pulled.
    fn get(
        &self,
        reference: &Reference,
        wanted: &Platform,
        here: Option<&(ImageId, Platform)>,
    ) -> Result<ImageId> {
        let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (reference.to_string(), wanted.to_string());
        if let Some(id) = pulled.get(&key) {
            return Ok(*id);
        }
        let native = Platform::native();
        let platforms = match native.serves(wanted) {
            true => Platforms::Native,
            false => Platforms::One(wanted),
        };
        let transfers = Transfers::of_pull(self.quiet);
        let got = self
            .store
            .pull(&self.client, reference, platforms, &|event| {
                transfers.tell(event)
            })?;
        if let Some((id, platform)) = here
            && platform.serves(&native)
            && !native.serves(wanted)
            && reference.digest().is_none()
        {
            self.store.tag(&id.to_string(), reference)?;
        }
        pulled.insert(key, got.id);
        Ok(got.id)
    }

    /// An image by its name: from the store, or else pulled.
    fn named(&self, lease: &Lease, name: &str, platform: &Platform) -> Result<Base> {
        let reference = name.parse::<Reference>();
        let facts = |image: Pinned| (image.id, image.platform());
        let here = match demo_image::resolve(self.store, name) {
            Ok(image) => Some(facts(image)),
            Err(failure) if reference.is_err() => {
                return Err(Error::new(Kind::Image, failure.message));
            }
            Err(_) => None,
        };
        let fits = here
            .as_ref()
            .is_some_and(|(_, found)| found.serves(platform));
        let own = reference
            .as_ref()
            .is_ok_and(|reference| reference.familiar_name() == isola_images::DEMO);
        if let Ok(reference) = &reference
            && !own
            && (!fits || self.pull)
        {
            let got = self.get(reference, platform, here.as_ref());
            let id = got.map_err(|mut error| {
                match &here {
                    None => {
                        error.message =
                            format!("the image {name} is not here, and {}", error.message);
                    }
                    Some((_, found)) if !fits => {
                        error.message = format!(
                            "the image {name} is here for {found} and not for {platform}, and {}",
                            error.message
                        );
                    }
                    Some(_) => {}
                }
                error
            })?;
            return Ok(self.store.base(lease, &id.to_string())?);
        }
        match here {
            // By its id: its name may be another's by now.
            Some((id, _)) if fits => Ok(self.store.base(lease, &id.to_string())?),
            Some((_, found)) => {
                let message = format!("the image {name} is for {found}, not for {platform}");
                Err(Error::new(Kind::Image, message))
            }
            None => Ok(self.store.base(lease, name)?),
        }
    }
}

impl Images for BuildImages<'_> {
    fn base(&self, lease: &Lease, image: &ImageSource, platform: &Platform) -> Result<Base> {
        match image {
            ImageSource::Name(name) => self.named(lease, name, platform),
            ImageSource::Layout(layout) => {
                // Stages that begin with the same one read it once.
                let _one = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(self.store.layout_base(lease, layout, platform)?)
            }
        }
    }

    fn clone(
        &self,
        lease: &Lease,
        address: &GitAddress,
        keep: bool,
        commit: Option<&str>,
    ) -> Result<Layer> {
        let wanted = git::Wanted {
            address,
            agent: self.agent.as_deref(),
            keep,
            commit,
        };
        let fetched = git::check_source(address, self.agent.is_some())
            .and_then(|()| git::fetch(self.store, lease, &wanted));
        fetched.map_err(|failure| {
            let kind = match failure.code {
                Code::Unsupported => Kind::Unsupported,
                Code::Invalid | Code::Registry => Kind::Invalid,
                _ => Kind::System,
            };
            Error {
                hint: failure.hint,
                ..Error::new(kind, failure.message)
            }
        })
    }

    fn download(&self, address: &str) -> Result<Download> {
        let download = self.client.download(address)?;
        Ok(Download {
            body: download.body,
            modified: download.modified,
            name: download.name,
            unproven: download.unproven,
        })
    }
}
