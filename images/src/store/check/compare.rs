//! Whether two layers are the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::layer::build::LayerFormat;
use crate::layer::compress::BUFFER;

/// How a layer differs from what it should be, if it does.
pub(super) fn same(format: LayerFormat, should: &Path, is: &Path) -> io::Result<Option<String>> {
    match format {
        LayerFormat::Erofs => files(should, is).map(|at| {
            at.map(|at| format!("it is damaged from byte {at} on: its blob holds something else"))
        }),
        LayerFormat::Directory => trees(should, is, Path::new("")),
    }
}

/// The first byte that differs.
fn files(should: &Path, is: &Path) -> io::Result<Option<u64>> {
    let open = |path| File::open(path).map(|file| BufReader::with_capacity(BUFFER, file));
    let (mut should, mut is) = (open(should)?, open(is)?);
    let mut at = 0;
    loop {
        let (a, b) = (should.fill_buf()?, is.fill_buf()?);
        let length = a.len().min(b.len());
        if a[..length] != b[..length] {
            let equal = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            return Ok(Some(at + equal as u64));
        }
        if length == 0 {
            return Ok((a.len() != b.len()).then_some(at));
        }
        should.consume(length);
        is.consume(length);
        at += length as u64;
    }
}

/// Compares folders with all below them.
fn trees(should: &Path, is: &Path, name: &Path) -> io::Result<Option<String>> {
    let differs = |what: &str| Ok(Some(format!("`{}` differs in its {what}", name.display())));
    let (a, b) = (fs::symlink_metadata(should)?, fs::symlink_metadata(is)?);
    if facts(&a) != facts(&b) {
        return differs("owner, permissions, kind or time");
    }
    if attributes(should)? != attributes(is)? {
        return differs("attributes");
    }
    if a.is_symlink() {
        return match fs::read_link(should)? == fs::read_link(is)? {
            true => Ok(None),
            false => differs("target"),
        };
    }
    if a.is_file() {
        return match a.len() == b.len() && files(should, is)?.is_none() {
            true => Ok(None),
            false => differs("content"),
        };
    }
    if !a.is_dir() {
        return Ok(None);
    }
    let (mine, theirs) = (names(should)?, names(is)?);
    if mine != theirs {
        return differs("entries");
    }
    for entry in mine {
        let below = trees(&should.join(&entry), &is.join(&entry), &name.join(&entry))?;
        if below.is_some() {
            return Ok(below);
        }
    }
    Ok(None)
}

/// Mode with kind, owners, time and device.
fn facts(meta: &Metadata) -> (u32, u32, u32, i64, i64, u64) {
    let device = match meta.is_file() || meta.is_dir() {
        true => 0,
        false => meta.rdev(),
    };
    let (seconds, nanoseconds) = (meta.mtime(), meta.mtime_nsec());
    (
        meta.mode(),
        meta.uid(),
        meta.gid(),
        seconds,
        nanoseconds,
        device,
    )
}

fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Extended attributes, also of links.
fn attributes(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno.into()),
    };
    let names = list[..length].split(|byte| *byte == 0);
    let mut attributes = BTreeMap::new();
    for name in names.filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        attributes.insert(name.to_vec(), value);
    }
    Ok(attributes)
}
