//! Loading an image of four layers and about 270 MB, made of this machine's own
//! files, until it could be started.

use crate::Result;
use crate::archives;
use crate::pairs::measure;
use crate::peers::{Docker, Podman};
use crate::programs::{Programs, output, quiet};
use crate::table::Row;

const LAYERS: usize = 4;
const BYTES: u64 = 270 << 20;

/// Each round unpacks all of it; fewer will do.
const ROUNDS: u32 = 5;

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let rounds = rounds.min(ROUNDS);
    let archive = programs.data().join("big.tar");
    let layers = archives::layers(programs.data(), LAYERS, BYTES)?;
    let layers: Vec<_> = layers.iter().collect();
    archives::save(&archive, "isola-bench:1", &layers)?;
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
