//! Bridges: from the command to the end of /bin/true on the default network, and
//! bytes from container to container.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;
use crate::inside::MARK;
use crate::pairs::{each, measure};
use crate::peers::{Docker, LIMITS, Podman};
use crate::programs::{BENCH, BOX, Programs, output, quiet};
use crate::table::Row;

/// `isola run --rm` against podman and docker, all with their default networks.
pub(crate) fn start(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let what = "start on the default bridge";
    let archive = programs.data().join("box.tar");
    programs.import_box()?;
    let mut ours = || quiet(&mut programs.isola(&["run", "--rm", BOX, "/bin/true"]));
    ours()?;
    quiet(programs.isola(&["save", "-o"]).arg(&archive).arg(BOX))?;
    let mut rows = Vec::new();
    match Podman::with_bridge(&archive) {
        Ok(podman) => {
            let mut theirs = || {
                let mut command = podman.command(&["run", "--rm"]);
                quiet(command.args(LIMITS).args([BOX, "/bin/true"]))
            };
            rows.push(measure(rounds, &mut ours, &mut theirs)?.row(what, "podman run", 0.15));
        }
        Err(why) => rows.push(Row::skipped(what, &why)),
    }
    match Docker::start_with_bridge() {
        Ok(docker) => {
            quiet(docker.command(&["load", "-q", "-i"]).arg(&archive))?;
            let mut theirs = || quiet(&mut docker.command(&["run", "--rm", BOX, "/bin/true"]));
            rows.push(measure(rounds, &mut ours, &mut theirs)?.row(what, "docker run", 0.15));
        }
        Err(why) => rows.push(Row::skipped(what, &why)),
    }
    Ok(rows)
}

const BYTES: u64 = 2_000_000_000;
const PORT: &str = "5001";

/// TCP from one container to another, over a bridge each.
pub(crate) fn throughput(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let what = "container to container, 2 GB";
    let archive = programs.data().join("box.tar");
    programs.import_box()?;
    quiet(programs.isola(&["save", "-o"]).arg(&archive).arg(BOX))?;
    let docker = match Docker::start_with_bridge() {
        Ok(docker) => docker,
        Err(why) => return Ok(vec![Row::skipped(what, &why)]),
    };
    quiet(docker.command(&["load", "-q", "-i"]).arg(&archive))?;
    let isola = |words: &[&str]| programs.isola(words);
    let dockers = |words: &[&str]| docker.command(words);
    let result = (|| {
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let ours_at = begin(&isola, address)?;
        let theirs_at = begin(&dockers, address)?;
        let mut ours = || once(&isola, &ours_at);
        let mut theirs = || once(&dockers, &theirs_at);
        let pairs = each(rounds, &mut ours, &mut theirs)?;
        let rows = pairs.iter().map(|pairs| pairs.row(what, "docker", 1.0));
        Ok(rows.collect())
    })();
    let _ = output(&mut isola(&["rm", "-f", "sink", "source"]));
    let _ = output(&mut dockers(&["rm", "-f", "sink", "source"]));
    result
}

/// Starts the two containers and gives the sink's address.
fn begin(tool: &dyn Fn(&[&str]) -> Command, address: &str) -> Result<String> {
    quiet(&mut tool(&[
        "run", "-d", "--name", "sink", BOX, BENCH, MARK, "sink", PORT,
    ]))?;
    quiet(&mut tool(&[
        "run", "-d", "--name", "source", BOX, "sleep", "100000",
    ]))?;
    let started = Instant::now();
    while !output(&mut tool(&["logs", "sink"]))?.contains("ready") {
        if started.elapsed() > Duration::from_secs(20) {
            return Err("the sink is not ready".into());
        }
    }
    let address = output(&mut tool(&["inspect", "--format", address, "sink"]))?;
    Ok(format!("{}:{PORT}", address.trim()))
}

fn once(tool: &dyn Fn(&[&str]) -> Command, to: &str) -> Result<Vec<f64>> {
    let bytes = BYTES.to_string();
    let told = output(&mut tool(&[
        "exec", "source", BENCH, MARK, "up", to, &bytes,
    ]))?;
    Ok(vec![told.trim().parse()?])
}
