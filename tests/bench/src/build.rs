//! Building FROM and six steps: with all of them done before, and with none.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::pairs::measure;
use crate::peers::Docker;
use crate::programs::{BOX, Programs, has, output, quiet};
use crate::table::Row;

/// The base, named in full, as buildah needs it.
const BASE: &str = "docker.io/library/isola-bench-box:1";
/// What is done on it: programs, copies, settings.
const STEPS: &str = "
RUN /bin/busybox mkdir -p /work && echo one > /work/one
COPY src /src
ENV MODE=release
RUN /bin/busybox cat /src/* > /work/all && echo $MODE > /work/mode
COPY src/0 /work/zero
RUN /bin/busybox cp -r /src /copy
";
/// Files of the context, and bytes of each.
const FILES: usize = 20;
const BYTES: usize = 64 << 10;

/// A peer takes seconds for a build.
const ROUNDS: u32 = 9;

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let rounds = rounds.min(ROUNDS);
    programs.import_box()?;
    let archive = programs.data().join("box.tar");
    quiet(programs.isola(&["save", "-o"]).arg(&archive).arg(BOX))?;
    let context = context(programs.data())?;
    let ours = |options: &[&str]| {
        let words = ["build", "-q", "--network", "none", "-t", "built"];
        quiet(programs.isola(&words).args(options).arg(&context))
    };
    let mut cached = || ours(&[]);
    let mut cold = || ours(&["--no-cache"]);
    let mut rows = Vec::new();
    match Buildah::open(programs.data(), &archive) {
        Ok(buildah) => {
            let build = |options: &[&str]| {
                let words = [
                    "build",
                    "-q",
                    "--layers",
                    "--network",
                    "none",
                    "--pull=false",
                ];
                let mut command = buildah.command(&words);
                quiet(command.args(["-t", "built"]).args(options).arg(&context))
            };
            let pairs = measure(rounds, &mut cached, &mut || build(&[]))?;
            rows.push(pairs.row("build, cached", "buildah build", 0.2));
            let pairs = measure(rounds, &mut cold, &mut || build(&["--no-cache"]))?;
            rows.push(pairs.row("build, cold", "buildah build", 0.7));
        }
        Err(why) => rows.push(Row::skipped("build", &why)),
    }
    match Docker::start() {
        Ok(docker) => {
            quiet(docker.command(&["load", "-q", "-i"]).arg(&archive))?;
            let build = |options: &[&str]| {
                let words = ["build", "-q", "--network", "none", "-t", "built"];
                let mut command = docker.command(&words);
                // The builder that is in the daemon.
                command.env("DOCKER_BUILDKIT", "0");
                quiet(command.args(options).arg(&context))
            };
            let pairs = measure(rounds, &mut cached, &mut || build(&[]))?;
            rows.push(pairs.row("build, cached", "docker build", 0.2));
            let pairs = measure(rounds, &mut cold, &mut || build(&["--no-cache"]))?;
            rows.push(pairs.row("build, cold", "docker build", 0.7));
        }
        Err(why) => rows.push(Row::skipped("build", &why)),
    }
    Ok(rows)
}

fn context(data: &Path) -> Result<PathBuf> {
    let context = data.join("context");
    std::fs::create_dir_all(context.join("src"))?;
    std::fs::write(context.join("Dockerfile"), format!("FROM {BASE}{STEPS}"))?;
    for number in 0..FILES {
        let line = format!("line of file {number}\n");
        let content = line.repeat(BYTES / line.len());
        std::fs::write(context.join("src").join(number.to_string()), content)?;
    }
    Ok(context)
}

/// buildah with its storage in a folder of its own, and the base image in it.
struct Buildah {
    folder: PathBuf,
}

impl Buildah {
    /// Why not, if it isn't there.
    fn open(data: &Path, archive: &Path) -> std::result::Result<Buildah, String> {
        if !has("buildah") {
            return Err("buildah is not installed".into());
        }
        let folder = data.join("buildah");
        let buildah = Buildah { folder };
        let source = format!("docker-archive:{}", archive.display());
        let pulled = output(&mut buildah.command(&["pull", "-q", &source]));
        let id = pulled.map_err(|e| e.to_string())?;
        // It takes short names of archives for ones of this machine.
        let tagged = quiet(&mut buildah.command(&["tag", id.trim(), BASE]));
        tagged.map_err(|e| e.to_string())?;
        Ok(buildah)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        for (flag, name) in [("--root", "root"), ("--runroot", "run")] {
            command.arg(flag).arg(self.folder.join(name));
        }
        command.args(["--storage-driver", "overlay"]).args(words);
        command
    }
}
