//! What an instance has changed since its image, as a layer that goes with its lease.

use isola_images::Store;
use isola_images::making::{Base, Lease, MadeLayer};
use isola_runtime::build::Changes;
use isola_runtime::engine::Instance;
use isola_runtime::state::State;
use isola_runtime::workload::{UserMount, WallCapabilities};

use crate::context::Context;
use crate::error::{Code, Failure, Result};

/// The image of an instance, and the layer above it.
pub(crate) struct Changed {
    pub(crate) base: Base,
    pub(crate) layer: MadeLayer,
}

impl Changed {
    /// Reads the changes. With `pause` the instance stands still meanwhile, if it runs
    /// where that is possible.
    pub(crate) fn read(
        context: &Context,
        store: &Store,
        lease: &Lease,
        instance: &Instance,
        pause: bool,
    ) -> Result<Changed> {
        let engine = context.engine()?;
        let workload = &instance.record.workload;
        let base = store.base(lease, &workload.image_id).map_err(|error| {
            let name = &instance.record.name;
            let mut failure = Failure::from(error);
            if failure.code == Code::NoImage {
                failure.message = format!("the image {} of {name} is gone", workload.image);
            }
            failure
        })?;
        let own_kernel = WallCapabilities::of(workload.isolation).own_kernel;
        let freeze = pause && instance.status.state == State::Running && !own_kernel;
        let mut control = engine.hold(instance)?;
        if freeze {
            engine.pause(instance)?;
        }
        let layers: Vec<_> = base.layers.iter().map(|made| made.layer.clone()).collect();
        let mounts: Vec<String> = workload.mounts.iter().map(target).collect();
        let made = (|| -> Result<MadeLayer> {
            let mut changes = Changes::start(&mut control, instance, false)?;
            let made = store.make_layer(lease, &base.layers, |tar| {
                isola_build::write_changes(&layers, &mounts, None, &mut changes, tar)
            });
            let finished = changes.finish();
            // What the reader said is the reason for a stream that breaks off.
            finished?;
            made.map_err(|error| crate::build::failure(error, true))
        })();
        if freeze {
            engine.unpause(instance)?;
        }
        Ok(Changed { base, layer: made? })
    }

    /// All layers, the lowest first.
    pub(crate) fn layers(&self) -> Vec<isola_images::Layer> {
        let all = self.base.layers.iter().chain([&self.layer]);
        all.map(|made| made.layer.clone()).collect()
    }
}

fn target(mount: &UserMount) -> String {
    match mount {
        UserMount::Bind { target, .. }
        | UserMount::Volume { target, .. }
        | UserMount::Tmpfs { target, .. } => target.clone(),
    }
}
