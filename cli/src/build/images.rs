//! Images that a build begins with.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use isola_build::{Download, Error, Images, Kind, Result};
use isola_images::making::{Base, Lease};
use isola_images::registry::{Client, Platform, Platforms};
use isola_images::{Reference, Store};

use crate::context::Context;
use crate::demo_image;
use crate::transfers::Transfers;

/// Finds them in the store, or gets them.
pub(crate) struct BuildImages<'a> {
    store: &'a Store,
    client: Client,
    /// Get all anew.
    pull: bool,
    quiet: bool,
    /// What this build has got: one at a time, and each once.
    pulled: Mutex<HashSet<(String, String)>>,
}

impl<'a> BuildImages<'a> {
    pub(crate) fn new(
        context: &Context,
        store: &'a Store,
        pull: bool,
        quiet: bool,
    ) -> crate::error::Result<BuildImages<'a>> {
        Ok(BuildImages {
            store,
            client: context.registries()?,
            pull,
            quiet,
            pulled: Mutex::default(),
        })
    }

    fn get(&self, reference: &Reference, platform: Option<&Platform>) -> Result<()> {
        let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = platform.map(ToString::to_string).unwrap_or_default();
        if !pulled.insert((reference.to_string(), wanted)) {
            return Ok(());
        }
        let transfers = Transfers::of_pull(self.quiet);
        let wanted_platform = platform.map_or(Platforms::Native, Platforms::One);
        self.store
            .pull(&self.client, reference, wanted_platform, &|event| {
                transfers.tell(event)
            })?;
        Ok(())
    }
}

impl Images for BuildImages<'_> {
    fn base(&self, lease: &Lease, name: &str, platform: Option<&str>) -> Result<Base> {
        let native = Platform::native();
        let wanted = platform.map(str::parse::<Platform>).transpose()?;
        let foreign = wanted.filter(|wanted| !native.serves(wanted));
        let reference = name.parse::<Reference>();
        let here = match demo_image::resolve(self.store, name) {
            Ok(image) => Some(image.is_native()),
            Err(failure) if reference.is_err() => {
                return Err(Error::new(Kind::Image, failure.message));
            }
            Err(_) => None,
        };
        let own = reference
            .as_ref()
            .is_ok_and(|reference| reference.familiar_name() == isola_images::DEMO);
        let fits = here.is_some_and(|is_native| is_native == foreign.is_none());
        if let Ok(reference) = &reference
            && !own
            && (!fits || self.pull)
        {
            self.get(reference, foreign.as_ref()).map_err(|mut error| {
                if here.is_none() {
                    error.message = format!("the image {name} is not here, and {}", error.message);
                }
                error
            })?;
        }
        Ok(self.store.base(lease, name)?)
    }

    fn download(&self, address: &str, known: bool) -> Result<Download> {
        let download = self.client.download(address, known)?;
        Ok(Download {
            body: download.body,
            modified: download.modified,
            name: download.name,
        })
    }
}
