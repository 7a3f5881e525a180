//! Images made of this machine's own files, as `docker save` writes them.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::programs::output;

/// Most files of one image.
const FILES: usize = 17_000;
/// Files beyond this are much of the whole by themselves.
const LARGEST: u64 = 4 << 20;

/// A layer as a tar stream on the disk.
pub(crate) struct Layer {
    path: PathBuf,
    diff_id: String,
}

/// Layers of about as many bytes, that many together, with their files in `folder`.
pub(crate) fn layers(folder: &Path, count: usize, bytes: u64) -> Result<Vec<Layer>> {
    let mut files = Vec::new();
    for place in ["/usr/lib", "/usr/share", "/usr/bin"] {
        collect(Path::new(place), &mut files)?;
    }
    files.sort();
    let parts = files.chunks(files.len().div_ceil(count).max(1)).take(count);
    let mut written = 0;
    let mut layers = Vec::new();
    for (number, part) in parts.enumerate() {
        let until = bytes * (number as u64 + 1) / count as u64;
        let chosen = part.iter().take_while(|(_, size)| {
            written += size;
            written <= until
        });
        let files = chosen.map(|(path, _)| path.as_path());
        layers.push(layer(&folder.join(format!("layer-{number}")), "", files)?);
        written = written.min(until);
    }
    Ok(layers)
}

/// Layers of a few hundred files each, none of which is like another.
pub(crate) fn small_layers(folder: &Path, count: usize) -> Result<Vec<Layer>> {
    const EACH: usize = 300;
    let mut files = Vec::new();
    collect(Path::new("/usr/share"), &mut files)?;
    files.sort();
    let parts = files.chunks(EACH).take(count).enumerate();
    let layers = parts.map(|(number, part)| {
        let path = folder.join(format!("small-{number}"));
        let files = part.iter().map(|(path, _)| path.as_path());
        layer(&path, &format!("extra/{number}"), files)
    });
    layers.collect()
}

/// A program that runs without anything else.
pub(crate) fn program_layer(folder: &Path, program: &Path) -> Result<Layer> {
    let path = folder.join("layer-program");
    let mut tar = tar::Builder::new(File::create(&path)?);
    tar.append_path_with_name(program, "bin/true")?;
    finish(path, tar)
}

fn layer<'a>(path: &Path, below: &str, files: impl Iterator<Item = &'a Path>) -> Result<Layer> {
    let mut tar = tar::Builder::new(File::create(path)?);
    tar.follow_symlinks(false);
    for file in files {
        tar.append_path_with_name(file, Path::new(below).join(file.strip_prefix("/")?))?;
    }
    finish(path.to_owned(), tar)
}

fn finish(path: PathBuf, tar: tar::Builder<File>) -> Result<Layer> {
    tar.into_inner()?.flush()?;
    let sum = output(Command::new("sha256sum").arg(&path))?;
    let diff_id = format!("sha256:{}", sum.get(..64).ok_or("no digest")?);
    Ok(Layer { path, diff_id })
}

/// Writes an image of these layers.
pub(crate) fn save(path: &Path, name: &str, layers: &[&Layer]) -> Result<()> {
    let mut out = tar::Builder::new(File::create(path)?);
    let names: Vec<_> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    for (layer, name) in layers.iter().zip(&names) {
        out.append_path_with_name(&layer.path, name)?;
    }
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": [name], "Layers": names}
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
            if size < LARGEST {
                files.push((entry.path(), size));
            }
        }
    }
    Ok(())
}
