//! What every run of the lab starts from: the distribution's kernel and an
//! initramfs with modules, busybox and the lab's init. Made once and kept in
//! the user's cache.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use isola_kernel::{Progress, Wanted, cpio, distribution, package};
use rustix::fs::FlockOperation;

use crate::Result;
use crate::workspace::cache;

/// The lab's own init.
const INIT: &str = include_str!("../../../lab/init.sh");

/// Counted up when what is packed here changes in another way than by INIT or
/// MODULES.
const REVISION: u32 = 1;

/// Meta packages of kernels that have 9p; newest first.
const META: &[&str] = &["linux-image-6.12-amd64", "linux-image-amd64"];

const MODULES: Wanted<'_> = Wanted {
    needed: &[
        "virtio_pci",
        "virtio_blk",
        "virtio_console",
        "9pnet_virtio",
        "9p",
        "ext4",
        "kvm_amd",
        "loop",
        "erofs",
        "overlay",
        "fuse",
        "tun",
        "veth",
        "bridge",
    ],
    welcome: &[
        "virtio_rng",
        "vsock",
        "vhost_vsock",
        "vhost_net",
        "nf_tables",
        "nft_chain_nat",
        "nft_masq",
        "nft_redir",
        "nft_nat",
        "nft_ct",
        "nft_fib_inet",
        "nft_reject_inet",
        "nf_nat",
        "br_netfilter",
    ],
};

/// Kernel and initramfs.
pub(crate) struct Base {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
}

/// Gives the base, making it if it isn't there.
pub(crate) fn prepare() -> Result<Base> {
    let folder = cache()?.join("lab");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    let place = folder.join(format!("{:016x}", fingerprint()));
    if !is_fresh(&place) {
        let scratch = tempfile::tempdir_in(&folder)?;
        let found = distribution::locate(META, scratch.path())?;
        eprintln!("lab: preparing {} {}", found.name, found.version);
        clear(&folder, scratch.path())?;
        let made = scratch.path().join("base");
        fs::create_dir(&made)?;
        make(&found, scratch.path(), &made)?;
        fs::rename(&made, &place)?;
    }
    Ok(Base {
        kernel: place.join("kernel"),
        initramfs: place.join("initramfs"),
    })
}

/// Whether a base is there and not older than a week, after which there may be
/// a newer kernel.
fn is_fresh(place: &Path) -> bool {
    let age = fs::metadata(place.join("initramfs"))
        .and_then(|meta| meta.modified())
        .map(|made| made.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age < Duration::from_secs(7 * 24 * 3600))
}

/// Changes whenever what is packed changes. FNV-1a: names a cache, guards
/// nothing.
fn fingerprint() -> u64 {
    let revision = REVISION.to_string();
    [INIT, &revision]
        .into_iter()
        .chain(MODULES.needed.iter().copied())
        .chain(MODULES.welcome.iter().copied())
        .flat_map(|part| part.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Removes older bases and what killed runs left.
fn clear(folder: &Path, but: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path != but {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

fn make(found: &package::Package, scratch: &Path, place: &Path) -> Result<()> {
    let mut quiet = |_: &Progress| {};
    let unpacked = distribution::unpack(found, &MODULES, scratch, &mut quiet)?;
    fs::write(place.join("kernel"), &unpacked.image)?;
    let busybox = package::locate("busybox-static", scratch)?;
    let deb = package::download(&busybox, scratch, &mut quiet)?;
    let root = scratch.join("busybox");
    fs::create_dir(&root)?;
    package::unpack(&deb, &root)?;
    let busybox = ["bin/busybox", "usr/bin/busybox"]
        .iter()
        .find_map(|path| fs::read(root.join(path)).ok())
        .ok_or("busybox-static has no busybox")?;
    let out = BufWriter::new(File::create(place.join("initramfs"))?);
    pack(out, &busybox, &unpacked.modules)?;
    Ok(())
}

fn pack(out: impl Write, busybox: &[u8], modules: &[isola_kernel::Module]) -> Result<()> {
    let mut archive = cpio::Writer::new(out);
    let file = |archive: &mut cpio::Writer<_>, name: &str, mode, content: &[u8]| {
        archive.file(name, mode, content.len() as u64, &mut &*content)
    };
    for folder in ["dev", "lab", "modules"] {
        archive.folder(folder, 0o755)?;
    }
    archive.char_device("dev/console", 0o600, (5, 1))?;
    file(&mut archive, "init", 0o755, INIT.as_bytes())?;
    file(&mut archive, "lab/init.sh", 0o755, INIT.as_bytes())?;
    file(&mut archive, "lab/busybox", 0o755, busybox)?;
    let mut order = String::new();
    for (number, module) in modules.iter().enumerate() {
        let name = format!("{number:03}-{}.ko", module.name);
        file(
            &mut archive,
            &format!("modules/{name}"),
            0o644,
            &module.object,
        )?;
        order += &name;
        order.push('\n');
    }
    file(&mut archive, "modules.order", 0o644, order.as_bytes())?;
    archive.finish()?.flush()?;
    Ok(())
}
