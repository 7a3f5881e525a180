//! Finds modules in a distribution's module tree, with what they depend on, in
//! load order.
//!
//! Packages carry no modules.dep (depmod makes it at installation), so the
//! dependencies are read from each module's own `.modinfo` section
//! (`depends=` and `softdep=`, see modinfo(8) and modprobe.d(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Names of modules.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Must be there, as a module or built in.
    pub needed: &'a [&'a str],
    /// Taken along where the distribution has them.
    pub welcome: &'a [&'a str],
}

/// What a guest needs.
pub(crate) const GUEST: Wanted<'_> = Wanted {
    needed: &[
        "virtio_mmio",
        "virtio_blk",
        "vmw_vsock_virtio_transport",
        "virtio_console",
        "ext4",
        "erofs",
        "overlay",
    ],
    welcome: &[
        "virtio_net",
        "virtio_rng",
        "virtio_balloon",
        "fuse",
        "virtiofs",
        "af_packet",
    ],
};

/// The largest module that is believed.
const LARGEST: u64 = 64 << 20;

/// One module, uncompressed.
#[derive(Debug, PartialEq)]
pub struct Module {
    /// Name as in /proc/modules.
    pub name: String,
    /// The ELF object.
    pub object: Vec<u8>,
}

/// A tree below lib/modules/RELEASE.
pub(crate) struct Tree {
    path: PathBuf,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Tree {
    /// Reads the names in `path`, a folder as lib/modules/RELEASE.
    pub(crate) fn open(path: &Path) -> Result<Tree> {
        let mut files = BTreeMap::new();
        collect(&path.join("kernel"), &mut files)?;
        let list = path.join("modules.builtin");
        let builtin = fs::read_to_string(&list)
            .map_err(Error::io("read", &list))?
            .lines()
            .filter_map(|line| module_name(Path::new(line)))
            .collect();
        Ok(Tree {
            path: path.to_path_buf(),
            files,
            builtin,
        })
    }

    /// The modules of `wanted`, and what they depend on, in load order.
    pub(crate) fn take(&self, wanted: &Wanted<'_>) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted.needed {
            self.add(name, true, &mut seen, &mut order)?;
        }
        for name in wanted.welcome {
            self.add(name, false, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    /// Adds `name` after everything it depends on.
    fn add(
        &self,
        name: &str,
        needed: bool,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> Result<()> {
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) || !seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(file) = self.files.get(&name) else {
            return match needed {
                true => Err(Error::Incomplete {
                    what: self.path.display().to_string(),
                    missing: format!("module {name}"),
                }),
                false => Ok(()),
            };
        };
        let object = read_module(file)?;
        for (key, value) in modinfo(&object) {
            match key {
                "depends" => {
                    for other in value.split(',').filter(|o| !o.is_empty()) {
                        self.add(other, true, seen, order)?;
                    }
                }
                "softdep" => {
                    for other in soft_dependencies(value) {
                        // Often the name of an algorithm, of which `_generic`
                        // is the implementation that runs everywhere.
                        self.add(other, false, seen, order)?;
                        self.add(&format!("{other}_generic"), false, seen, order)?;
                    }
                }
                _ => {}
            }
        }
        order.push(Module { name, object });
        Ok(())
    }
}

/// The names after `pre:` in a soft dependency.
fn soft_dependencies(value: &str) -> impl Iterator<Item = &str> {
    value
        .split_whitespace()
        .scan(false, |pre, word| {
            match word {
                "pre:" => *pre = true,
                "post:" => *pre = false,
                _ => return Some((*pre, word)),
            }
            Some((false, word))
        })
        .filter_map(|(pre, word)| pre.then_some(word))
}

/// Remembers each module file below `folder` by its name.
fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io("examine", &path))?;
        if kind.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = module_name(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `a/b/virtio-rng.ko.xz` -> `virtio_rng`.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, packing) = name.split_once(".ko")?;
    matches!(packing, "" | ".xz" | ".zst" | ".gz").then(|| stem.replace('-', "_"))
}

/// Reads a module and undoes its packing.
fn read_module(path: &Path) -> Result<Vec<u8>> {
    let raw = fs::read(path).map_err(Error::io("read", path))?;
    let mut out = Vec::new();
    let done = if raw.starts_with(b"\x7fELF") {
        return Ok(raw);
    } else if raw.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        lzma_rust2::XzReader::new(&raw[..], true)
            .take(LARGEST)
            .read_to_end(&mut out)
    } else if raw.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        zstd::Decoder::new(&raw[..]).and_then(|d| d.take(LARGEST).read_to_end(&mut out))
    } else {
        flate2::read::MultiGzDecoder::new(&raw[..])
            .take(LARGEST)
            .read_to_end(&mut out)
    };
    done.map_err(Error::io("unpack", path))?;
    Ok(out)
}

/// The `key=value` pairs of a module's `.modinfo` section; nothing when the
/// file is no ELF object that has one.
fn modinfo(object: &[u8]) -> Vec<(&str, &str)> {
    section(object, b".modinfo")
        .unwrap_or_default()
        .split(|b| *b == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .collect()
}

/// The content of a section of a 64-bit little-endian ELF file.
fn section<'a>(elf: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let number = |at: usize, len: usize| -> Option<usize> {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(elf.get(at..at.checked_add(len)?)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let table = number(0x28, 8)?;
    let size = number(0x3a, 2)?;
    let count = number(0x3c, 2)?;
    let header = |index: usize| table.checked_add(size.checked_mul(index)?);
    let content = |header: usize| {
        let start = number(header.checked_add(0x18)?, 8)?;
        let len = number(header.checked_add(0x20)?, 8)?;
        elf.get(start..start.checked_add(len)?)
    };
    let names = content(header(number(0x3e, 2)?)?)?;
    (0..count).find_map(|index| {
        let header = header(index)?;
        let name = names.get(number(header, 4)?..)?;
        let name = &name[..name.iter().position(|b| *b == 0)?];
        (name == wanted).then(|| content(header))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with nothing but a .modinfo section.
    fn object(info: &str) -> Vec<u8> {
        let info = info.replace('|', "\0");
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let info_at = elf.len();
        elf.extend_from_slice(info.as_bytes());
        let names_at = elf.len();
        elf.extend_from_slice(names);
        let table = elf.len();
        for (name, at, len) in [
            (0u32, 0, 0),
            (1, info_at, info.len()),
            (10, names_at, names.len()),
        ] {
            let mut header = [0u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(len as u64).to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes());
        elf[0x3e..0x40].copy_from_slice(&2u16.to_le_bytes());
        elf
    }

    fn tree(modules: &[(&str, &str)], builtin: &str) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kernel/deep")).unwrap();
        fs::write(folder.path().join("modules.builtin"), builtin).unwrap();
        for (file, info) in modules {
            let mut bytes = object(info);
            if file.ends_with(".zst") {
                bytes = zstd::encode_all(&bytes[..], 1).unwrap();
            }
            fs::write(folder.path().join("kernel/deep").join(file), bytes).unwrap();
        }
        let tree = Tree::open(folder.path()).unwrap();
        (folder, tree)
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let builtin = "kernel/fs/ext4/ext4.ko\nkernel/x/overlay.ko\n";
        let (_folder, tree) = tree(
            &[
                ("virtio.ko", "depends="),
                ("virtio_mmio.ko", "depends=virtio"),
                ("virtio_blk.ko.zst", "license=GPL|depends=virtio"),
                ("vsock.ko", "depends="),
                ("vmw_vsock_virtio_transport.ko", "depends=vsock,virtio"),
                ("virtio_console.ko", "depends=virtio"),
                ("libcrc32c.ko", "softdep=pre: crc32c post: late"),
                ("crc32c_generic.ko", "alias=crc32c|depends="),
                ("late.ko", ""),
                ("erofs.ko", "depends=libcrc32c"),
                ("virtio-rng.ko", "depends=virtio"),
            ],
            builtin,
        );
        let modules = tree.take(&GUEST).unwrap();
        let names: Vec<_> = modules.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "virtio",
                "virtio_mmio",
                "virtio_blk",
                "vsock",
                "vmw_vsock_virtio_transport",
                "virtio_console",
                "crc32c_generic",
                "libcrc32c",
                "erofs",
                "virtio_rng"
            ]
        );
        assert!(modules[2].object.starts_with(b"\x7fELF"), "unpacked");
    }

    #[test]
    fn a_missing_module_is_named() {
        let (_folder, tree) = tree(&[], "kernel/virtio_mmio.ko\n");
        let error = tree.take(&GUEST).unwrap_err().to_string();
        assert!(error.contains("module virtio_blk"), "{error}");
    }

    #[test]
    fn damaged_objects_have_no_info() {
        let whole = object("depends=a");
        assert_eq!(modinfo(&whole), [("depends", "a")]);
        for cut in 0..whole.len() {
            let _ = modinfo(&whole[..cut]);
        }
        let mut wild = whole;
        wild[0x28..0x30].fill(0xff);
        assert!(modinfo(&wild).is_empty());
    }

    #[test]
    fn names() {
        let name = |p: &str| module_name(Path::new(p));
        assert_eq!(name("a/virtio-rng.ko.xz").as_deref(), Some("virtio_rng"));
        assert_eq!(name("a/ext4.ko").as_deref(), Some("ext4"));
        assert_eq!(name("a/modules.order"), None);
        assert_eq!(name("a/x.ko.sig"), None);
    }
}
