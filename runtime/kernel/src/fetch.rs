//! The guest kernel that needs no compiler: the distribution's cloud kernel.

use crate::distribution;
use crate::error::Result;
use crate::modules::GUEST;
use crate::progress::{Progress, Step, step};
use crate::store::{Kernel, Kernels, New, Source};

/// Packages that depend on the newest cloud kernel of a series. 6.12 is the
/// first series that can mount EROFS images from files.
const META: &[&str] = &["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"];

impl Kernels {
    /// Gets the distribution's cloud kernel and the modules that a guest needs.
    /// Gives the one that is already there when apt has no newer one.
    pub fn fetch(&self, sink: &mut dyn FnMut(&Progress)) -> Result<Kernel> {
        let locked = self.lock(sink)?;
        let scratch = locked.temporary()?;
        let package = distribution::locate(META, scratch.path())?;
        let release = package.name.trim_start_matches("linux-image-");
        let name = format!("fetched-{release}");
        if let Ok(kernel) = self.get(&name)
            && kernel.version == package.version
        {
            return Ok(kernel);
        }
        let unpacked = distribution::unpack(&package, &GUEST, scratch.path(), sink)?;
        step(sink, Step::Install);
        locked.add(&New {
            name,
            version: package.version,
            source: Source::Fetched,
            format: unpacked.format,
            image: &unpacked.image,
            modules: &unpacked.modules,
        })
    }
}
