//! Pulling an image of three layers and about 200 MB from a registry on loopback,
//! until it could be started.

use std::cell::Cell;
use std::path::PathBuf;

use crate::Result;
use crate::archives;
use crate::pairs::{each, measure, time};
use crate::peers::{Docker, Podman};
use crate::programs::{Programs, find, has, quiet};
use crate::registry::Registry;
use crate::table::Row;

const LAYERS: usize = 3;
const BYTES: u64 = 200 << 20;

/// Each round unpacks all of it; fewer will do.
const ROUNDS: u32 = 7;

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let rounds = rounds.min(ROUNDS);
    let registry = match Registry::start(programs.data()) {
        Ok(registry) => registry,
        Err(why) => return Ok(vec![Row::skipped("pull", &why)]),
    };
    let archive = programs.data().join("pulled.tar");
    let mut layers = archives::layers(programs.data(), LAYERS - 1, BYTES)?;
    // One that can be run.
    let busybox = find("busybox").ok_or("busybox is not installed")?;
    layers.push(archives::program_layer(programs.data(), &busybox)?);
    let layers: Vec<_> = layers.iter().collect();
    archives::save(&archive, "isola-bench:1", &layers)?;
    let name = registry.push(&archive, "bench:1")?;
    let fresh = fresh(programs);
    let mut rows = peers(programs, rounds, &registry, &name, &fresh)?;
    rows.push(as_guest(programs, rounds, &name, &fresh)?);
    Ok(rows)
}

/// A new folder each time: what was there before must not help, and removing it
/// must not be measured.
fn fresh(programs: &Programs) -> impl Fn() -> PathBuf + '_ {
    let number = Cell::new(0);
    move || {
        number.set(number.get() + 1);
        programs.data().join(format!("pull-{}", number.get()))
    }
}

fn peers(
    programs: &Programs,
    rounds: u32,
    registry: &Registry,
    name: &str,
    fresh: &dyn Fn() -> PathBuf,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut ours = || quiet(&mut programs.isola_at(&fresh(), &["pull", "-q", name]));
    match Podman::open() {
        Ok(podman) => {
            let mut store = 0;
            let mut theirs = || {
                store += 1;
                let args = ["pull", "-q", "--tls-verify=false", name];
                quiet(&mut podman.command_at(&format!("s{store}"), &args))
            };
            rows.push(measure(rounds, &mut ours, &mut theirs)?.row("pull", "podman pull", 0.5));
        }
        Err(why) => rows.push(Row::skipped("pull", &why)),
    }
    match Docker::start() {
        Ok(docker) => {
            let mut ours = || Ok(vec![time(&mut ours)?]);
            let mut theirs = || {
                let taken = time(&mut || quiet(&mut docker.command(&["pull", "-q", name])))?;
                // It has one store only; this is not measured.
                quiet(&mut docker.command(&["rmi", "-f", name]))?;
                Ok(vec![taken])
            };
            for pairs in each(rounds, &mut ours, &mut theirs)? {
                rows.push(pairs.row("pull", "docker pull", 0.5));
            }
        }
        Err(why) => rows.push(Row::skipped("pull", &why)),
    }
    if has("umoci") {
        let mut theirs = || registry.skopeo_and_umoci(name, &fresh());
        let pairs = measure(rounds, &mut ours, &mut theirs)?;
        rows.push(pairs.row("pull", "skopeo copy, umoci unpack", 0.5));
    } else {
        rows.push(Row::skipped("pull", "umoci is not installed"));
    }
    Ok(rows)
}

/// The same until an instance of it is made: behind a guest's wall against a
/// container's. A guest's layer disk are the files that containers mount.
fn as_guest(
    programs: &Programs,
    rounds: u32,
    name: &str,
    fresh: &dyn Fn() -> PathBuf,
) -> Result<Row> {
    let ready = |wall: &str| {
        let root = fresh();
        quiet(&mut programs.isola_at(&root, &["pull", "-q", name]))?;
        let create = ["create", "--isolation", wall, "--name", "ready", name];
        quiet(&mut programs.isola_at(&root, &create))
    };
    let mut guest = || ready("emulated");
    let mut container = || ready("container");
    let pairs = measure(rounds, &mut guest, &mut container)?;
    Ok(pairs.row("pull and create a guest", "a container", 1.3))
}
