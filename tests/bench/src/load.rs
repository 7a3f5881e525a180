//! Loading an image of four layers and about 270 MB, made of this machine's own
//! files, until it could be started.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::pairs::measure;
use crate::peers::{Docker, Podman};
use crate::programs::{Programs, output, quiet};
use crate::table::Row;

const LAYERS: usize = 4;
const BYTES: u64 = 270 << 20;
const FILES: usize = 17_000;

/// Each round unpacks all of it; fewer will do.
const ROUNDS: u32 = 5;

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let rounds = rounds.min(ROUNDS);
    let archive = programs.data().join("big.tar");
    make_archive(&archive, programs.data())?;
    let mut rows = Vec::new();
    // A fresh folder each time: what was there before must not help, and
    // removing it must not be measured.
    let mut number = 0;
    let mut ours = || {
        number += 1;
        let root = programs.data().join(format!("load-{number}"));
        quiet(
            programs
                .isola_at(&root, &["load", "-q", "-i"])
                .arg(&archive),
        )
    };
    match Podman::open() {
        Ok(podman) => {
            let mut store = 0;
            let mut theirs = || {
                store += 1;
                let mut command = podman.command_at(&format!("s{store}"), &["load", "-q", "-i"]);
                quiet(command.arg(&archive))
            };
            rows.push(measure(rounds, &mut ours, &mut theirs)?.row("load", "podman load", 0.5));
        }
        Err(why) => rows.push(Row::skipped("load", &why)),
    }
    match Docker::start() {
        Ok(docker) => {
            let mut spent = Vec::new();
            let mut theirs = || {
                quiet(docker.command(&["load", "-q", "-i"]).arg(&archive))?;
                let started = std::time::Instant::now();
                output(&mut docker.command(&["rmi", "-f", "isola-bench:1"]))?;
                spent.push(started.elapsed());
                Ok(())
            };
            let pairs = measure(rounds, &mut ours, &mut theirs)?;
            // The removal is within docker's times: it has one store only.
            let removal = spent.iter().sum::<std::time::Duration>() / spent.len().max(1) as u32;
            let peer = format!("docker load (and rmi, {} ms)", removal.as_millis());
            rows.push(pairs.row("load", &peer, 0.5));
        }
        Err(why) => rows.push(Row::skipped("load", &why)),
    }
    Ok(rows)
}

/// Writes what `docker save` would.
fn make_archive(path: &Path, scratch: &Path) -> Result<()> {
    let mut files = Vec::new();
    for folder in ["/usr/lib", "/usr/share", "/usr/bin"] {
        collect(Path::new(folder), &mut files)?;
    }
    files.sort();
    let mut out = tar::Builder::new(File::create(path)?);
    let (mut names, mut diff_ids) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for (number, part) in files
        .chunks(files.len().div_ceil(LAYERS).max(1))
        .enumerate()
    {
        let layer = scratch.join("layer.tar");
        let mut tar = tar::Builder::new(File::create(&layer)?);
        tar.follow_symlinks(false);
        for (file, size) in part {
            if bytes + size > BYTES * (number as u64 + 1) / LAYERS as u64 {
                break;
            }
            bytes += size;
            tar.append_path_with_name(file, file.strip_prefix("/")?)?;
        }
        tar.into_inner()?.flush()?;
        let sum = output(std::process::Command::new("sha256sum").arg(&layer))?;
        diff_ids.push(format!("sha256:{}", sum.get(..64).ok_or("no digest")?));
        names.push(format!("{number}/layer.tar"));
        out.append_path_with_name(&layer, &names[number])?;
        fs::remove_file(&layer)?;
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/usr/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": ["isola-bench:1"], "Layers": names}
    ]);
    for (name, json) in [("config.json", config), ("manifest.json", manifest)] {
        let text = json.to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, name, text.as_bytes())?;
    }
    out.into_inner()?.flush()?;
    Ok(())
}

/// Regular files and their sizes, none of which is much of the whole.
fn collect(folder: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.filter_map(|e| e.ok()) {
        if files.len() >= FILES {
            return Ok(());
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            let size = entry.metadata()?.len();
            if size < 4 << 20 {
                files.push((entry.path(), size));
            }
        }
    }
    Ok(())
}
