//! From block devices to the tree that becomes the sandbox's root.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use isola_proto::message::GuestSpec;
use isola_proto::{ErrorKind, Failure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::setup;
use super::transport::await_some;

/// Where layers are mounted. Short, because all of their names have to fit into
/// one page of mount options.
const LAYERS: &str = "/l";
/// Where the writable layer is mounted.
pub(super) const WRITABLE: &str = "/run/isola/rw";
/// The assembled tree.
pub(super) const ROOT: &str = "/run/isola/root";
/// How long a block device may take to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of options that mount(2) takes.
const OPTIONS: usize = 4096;

/// Mounts the layers, the writable layer, and the overlay over them on [`ROOT`].
pub(super) fn assemble(guest: &GuestSpec) -> Result<(), Failure> {
    if guest.layers.is_empty() {
        let message = "can't put the root together: no layer was given";
        return Err(Failure::new(ErrorKind::Invalid, message));
    }
    for (index, device) in guest.layers.iter().enumerate() {
        let target = format!("{LAYERS}/{index}");
        mount_device(device, &target, "erofs", MountFlags::RDONLY)?;
    }
    make(WRITABLE)?;
    match &guest.writable {
        Some(device) => mount_device(device, WRITABLE, "ext4", MountFlags::empty())?,
        None => mount(
            "tmpfs",
            WRITABLE,
            "tmpfs",
            MountFlags::empty(),
            c"mode=0700",
        )
        .map_err(|error| {
            setup(format!(
                "can't mount a tmpfs for the writable layer: {error}"
            ))
        })?,
    }
    let top = format!("{LAYERS}/{}", guest.layers.len() - 1);
    prepare_writable(Path::new(&top))
        .map_err(|error| setup(format!("can't prepare the writable layer: {error}")))?;
    make(ROOT)?;
    let options = overlay_options(guest.layers.len());
    let options = CString::new(options).map_err(|error| setup(error.to_string()))?;
    if options.as_bytes().len() >= OPTIONS {
        let count = guest.layers.len();
        return Err(setup(format!(
            "{count} layers are more than an overlay can have"
        )));
    }
    mount(
        "overlay",
        ROOT,
        "overlay",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .map_err(|error| setup(format!("can't mount the overlay of the layers: {error}")))
}

/// Makes a folder.
pub(super) fn make(path: &str) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| setup(format!("can't make {path}: {error}")))
}

/// Makes the folder `target` and mounts the block device `device` on it.
pub(super) fn mount_device(
    device: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
) -> Result<(), Failure> {
    if device.is_empty() || !device.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let message = format!("'{device}' is no name of a block device");
        return Err(Failure::new(ErrorKind::Invalid, message));
    }
    make(target)?;
    let node = format!("/dev/{device}");
    await_some(PATIENCE, || fs::metadata(&node))
        .map_err(|error| setup(format!("the block device {device} did not come: {error}")))?;
    // A disk that can't be written to is refused without this flag.
    let fixed = fs::read_to_string(format!("/sys/class/block/{device}/ro"))
        .is_ok_and(|text| text.trim() == "1");
    let flags = match fixed {
        true => flags | MountFlags::RDONLY,
        false => flags,
    };
    mount(node.as_str(), target, kind, flags, None).map_err(|error| {
        // ext4 would first have to finish what its last user could not.
        let why = match fixed && error == Errno::ROFS {
            true => "it was not unmounted, and has to be used writable once".to_owned(),
            false => error.to_string(),
        };
        setup(format!("can't mount the {kind} on {device}: {why}"))
    })
}

/// Makes the overlay's folders. The upper folder is the root that processes see,
/// so that it gets the image's owner and mode when it is new.
fn prepare_writable(top: &Path) -> io::Result<()> {
    let writable = Path::new(WRITABLE);
    let (upper, work) = (writable.join("upper"), writable.join("work"));
    fs::create_dir_all(work)?;
    match fs::create_dir(&upper) {
        Ok(()) => {
            let image = fs::metadata(top)?;
            chown(&upper, Some(image.uid()), Some(image.gid()))?;
            fs::set_permissions(&upper, fs::Permissions::from_mode(image.mode() & 0o7777))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Options for `layers` layers: the kernel wants the topmost first.
fn overlay_options(layers: usize) -> String {
    let lower: Vec<String> = (0..layers)
        .rev()
        .map(|index| format!("{LAYERS}/{index}"))
        .collect();
    let lower = lower.join(":");
    format!("lowerdir={lower},upperdir={WRITABLE}/upper,workdir={WRITABLE}/work")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_layer_comes_first() {
        assert_eq!(
            overlay_options(3),
            "lowerdir=/l/2:/l/1:/l/0,upperdir=/run/isola/rw/upper,workdir=/run/isola/rw/work"
        );
        assert!(
            overlay_options(500).len() < OPTIONS,
            "as many as the kernel stacks"
        );
    }

    #[test]
    fn odd_device_names_are_refused() {
        for name in ["", "../x", "vda/1", "vda\0", "a b"] {
            let failure = mount_device(name, "/nonexistent/x", "erofs", MountFlags::RDONLY);
            assert_eq!(failure.unwrap_err().kind, ErrorKind::Invalid, "{name:?}");
        }
    }
}
