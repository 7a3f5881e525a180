//! What five images that share a base take on the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Result;
use crate::archives;
use crate::peers::{Docker, Podman};
use crate::programs::{Programs, quiet};
use crate::registry::Registry;
use crate::table::Row;

const IMAGES: usize = 5;
const LAYERS: usize = 3;
const BYTES: u64 = 200 << 20;

pub(crate) fn run(programs: &Programs, _: u32) -> Result<Vec<Row>> {
    let registry = match Registry::start(programs.data()) {
        Ok(registry) => registry,
        Err(why) => return Ok(vec![Row::skipped("disk", &why)]),
    };
    let base = archives::layers(programs.data(), LAYERS, BYTES)?;
    let small = archives::small_layers(programs.data(), IMAGES)?;
    let mut names = Vec::new();
    for (number, own) in small.iter().enumerate() {
        let archive = programs.data().join("shared.tar");
        let layers: Vec<_> = base.iter().chain([own]).collect();
        archives::save(&archive, "isola-bench:1", &layers)?;
        names.push(registry.push(&archive, &format!("shared-{number}:1"))?);
        fs::remove_file(&archive)?;
    }
    let root = programs.data().join("disk");
    for name in &names {
        quiet(&mut programs.isola_at(&root, &["pull", "-q", name]))?;
    }
    let ours = [
        taken(&root.join("images")),
        taken(&root.join("images/layers")),
    ];
    let mut rows = Vec::new();
    match Podman::open() {
        Ok(podman) => {
            let folder = podman.store("disk");
            let empty = taken(&folder);
            for name in &names {
                let args = ["pull", "-q", "--tls-verify=false", name];
                quiet(&mut podman.command_at("disk", &args))?;
            }
            rows.extend(compare(ours, "podman", taken(&folder) - empty));
        }
        Err(why) => rows.push(Row::skipped("disk", &why)),
    }
    match Docker::start() {
        Ok(docker) => {
            let empty = taken(&docker.data());
            for name in &names {
                quiet(&mut docker.command(&["pull", "-q", name]))?;
            }
            rows.extend(compare(ours, "docker", taken(&docker.data()) - empty));
        }
        Err(why) => rows.push(Row::skipped("disk", &why)),
    }
    Ok(rows)
}

/// All of it: layers that containers and guests mount, and the blobs that keep
/// digests the same in a push. The peers keep unpacked layers only.
fn compare([all, layers]: [u64; 2], peer: &str, theirs: u64) -> [Row; 2] {
    let row = |what: &str, ours: u64, at_most: f64| {
        let ratio = ours as f64 / theirs as f64;
        Row {
            what: what.into(),
            ours: megabytes(ours),
            peer: format!("{peer} {}", megabytes(theirs)),
            ratio: Some([ratio; 3]),
            aim: format!("at most {at_most}x"),
            met: Some(ratio <= at_most),
        }
    };
    [
        row("disk of 5 images: layers that are mounted", layers, 1.0),
        row("disk of 5 images: all, guests' disks included", all, 1.8),
    ]
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

/// Bytes that are allocated for a folder with all below it.
fn taken(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    let entries = match meta.is_dir() {
        true => fs::read_dir(path).ok(),
        false => None,
    };
    let below = entries.into_iter().flatten().flatten();
    meta.blocks() * 512 + below.map(|entry| taken(&entry.path())).sum::<u64>()
}
