//! Whether this host's KVM runs a guest: asked once per boot, since the answer
//! takes a virtual machine to find and does not change.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::backend::Unusable;
use crate::state::{Paths, read_json, write_json};

/// An answer and the boot that it is for (`/proc/sys/kernel/random/boot_id`).
#[derive(Serialize, Deserialize)]
struct Remembered {
    boot: String,
    unusable: Option<Unusable>,
}

/// Whether `/dev/kvm` runs a guest of a few instructions.
pub(crate) fn vm(paths: &Paths) -> Result<(), Unusable> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let file = paths.probes().join("kvm.json");
    if let Ok(Some(Remembered {
        boot: then,
        unusable,
    })) = read_json::<Remembered>(&file)
        && then == boot
        && !boot.is_empty()
    {
        return unusable.map_or(Ok(()), Err);
    }
    let unusable = ask().err();
    // A probe that can't be remembered is made again.
    let _ = std::fs::create_dir_all(paths.probes());
    let _ = write_json(
        &file,
        &Remembered {
            boot,
            unusable: unusable.clone(),
        },
    );
    unusable.map_or(Ok(()), Err)
}

fn ask() -> Result<(), Unusable> {
    if !Path::new("/dev/kvm").exists() {
        return Err(Unusable {
            reason: "there is no /dev/kvm".to_owned(),
            hint: Some("load the module kvm_intel or kvm_amd, switch virtualisation on in the firmware, or use --isolation emulated".to_owned()),
        });
    }
    isola_vmm::probe::probe_path(Path::new("/dev/kvm")).map(drop).map_err(|unusable| Unusable {
        reason: unusable.reason,
        hint: Some("--isolation emulated runs the same guest with a software CPU; --isolation vm,emulated takes the first that works".to_owned()),
    })
}
