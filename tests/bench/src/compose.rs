//! Stacks: up, up again and down of twenty small services against Compose and
//! podman-compose; a file of five hundred services; growth.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::pairs::{Pairs, each, median, time};
use crate::peers::{Docker, Podman};
use crate::programs::{BOX, Programs, has, quiet};
use crate::table::Row;

const SERVICES: usize = 20;
const LARGE: usize = 500;
const GROWTH: [usize; 2] = [5, 100];

/// What a service runs: it goes at once when it is asked to, with every engine.
const PROGRAM: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

/// A file of small services in a folder of its own, so that all have one project name.
fn write(programs: &Programs, name: &str, services: usize) -> Result<PathBuf> {
    let folder = programs.data().join(name);
    std::fs::create_dir_all(&folder)?;
    let mut text = String::from("version: '3.8'\nservices:\n");
    for number in 0..services {
        let program = PROGRAM.replace('$', "$$");
        writeln!(text, "  s{number}:\n    image: {BOX}")?;
        writeln!(text, "    command: [sh, -c, \"{program}\"]")?;
    }
    let file = folder.join("compose.yaml");
    std::fs::write(&file, text)?;
    Ok(file)
}

/// Up, up again and down, in milliseconds.
fn round(mut command: impl FnMut(&[&str]) -> Result<Command>) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for words in [&["up", "-d"][..], &["up", "-d"], &["down"]] {
        let mut command = command(words)?;
        times.push(time(&mut || quiet(&mut command))?);
    }
    Ok(times)
}

const PARTS: [(&str, f64); 3] = [
    ("up of 20 services", 0.25),
    ("up of 20 services that are up", 0.1),
    ("down of 20 services", 0.25),
];

fn rows(pairs: &[Pairs], peer: &str) -> Vec<Row> {
    let parts = PARTS.iter().zip(pairs);
    parts
        .map(|((what, aim), pairs)| pairs.row(what, peer, *aim))
        .collect()
}

fn skipped(why: &str) -> Row {
    Row::skipped("up and down of 20 services", why)
}

fn isola(programs: &Programs, file: &Path, words: &[&str]) -> Command {
    let mut command = programs.isola(&["compose", "-f"]);
    command.arg(file).args(words);
    command
}

/// Against docker-compose or Docker's plugin, and podman-compose.
pub(crate) fn stack(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let archive = programs.data().join("box.tar");
    programs.import_box()?;
    quiet(programs.isola(&["save", "-o"]).arg(&archive).arg(BOX))?;
    let file = write(programs, "stack", SERVICES)?;
    // A round takes peers half a minute.
    let rounds = (rounds / 2).max(1);
    let mut ours = || round(|words| Ok(isola(programs, &file, words)));
    let mut rows = against_docker(&archive, &file, rounds, &mut ours)?;
    rows.extend(against_podman(&archive, &file, rounds, &mut ours)?);
    Ok(rows)
}

type Timed<'a> = &'a mut dyn FnMut() -> Result<Vec<f64>>;

fn against_docker(archive: &Path, file: &Path, rounds: u32, ours: Timed<'_>) -> Result<Vec<Row>> {
    let docker = match Docker::start_with_bridge() {
        Ok(docker) => docker,
        Err(why) => return Ok(vec![skipped(&why)]),
    };
    quiet(docker.command(&["load", "-q", "-i"]).arg(archive))?;
    let Some((name, _)) = docker.compose() else {
        return Ok(vec![skipped("neither docker compose nor docker-compose")]);
    };
    let mut theirs = || {
        round(|words| {
            let (_, mut command) = docker.compose().ok_or("it has gone")?;
            command.arg("-f").arg(file).args(words);
            // It stops and removes everything within the default time.
            Ok(command)
        })
    };
    Ok(rows(&each(rounds, ours, &mut theirs)?, name))
}

fn against_podman(archive: &Path, file: &Path, rounds: u32, ours: Timed<'_>) -> Result<Vec<Row>> {
    if !has("podman-compose") {
        return Ok(vec![skipped("podman-compose is not installed")]);
    }
    let podman = match Podman::with_bridge(archive) {
        Ok(podman) => podman,
        Err(why) => return Ok(vec![skipped(&why)]),
    };
    let file = file.to_string_lossy().into_owned();
    let mut theirs = || round(|words| podman.compose(&[&["-f", file.as_str()], words].concat()));
    Ok(rows(&each(rounds, ours, &mut theirs)?, "podman-compose"))
}

/// From the text of a large file to its plan, program start and all.
pub(crate) fn file(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    programs.import_box()?;
    let file = write(programs, "large", LARGE)?;
    let mut plan = || quiet(&mut isola(programs, &file, &["up", "--dry-run"]));
    let mut read = || quiet(&mut isola(programs, &file, &["config", "-q"]));
    plan()?;
    let (mut plans, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plans.push(time(&mut plan)?);
        reads.push(time(&mut read)?);
    }
    let what = "a file of 500 services read and planned";
    let mut row = Row::alone(what, median(&plans), "ms", 100.0);
    row.peer = format!("read and checked alone: {:.1} ms", median(&reads));
    Ok(vec![row])
}

/// How long up takes of many services, by what it takes of few.
pub(crate) fn growth(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    programs.import_box()?;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..(rounds / 4).max(1) {
        for (times, services) in times.iter_mut().zip(GROWTH) {
            let file = write(programs, &format!("grow{services}"), services)?;
            times.push(round(|words| Ok(isola(programs, &file, words)))?);
        }
    }
    let part = |times: &[Vec<f64>], part: usize| {
        median(&times.iter().map(|times| times[part]).collect::<Vec<_>>())
    };
    let factor = GROWTH[1] as f64 / GROWTH[0] as f64;
    let mut rows = Vec::new();
    for (index, what) in [(0, "up"), (2, "down")] {
        let (few, many) = (part(&times[0], index), part(&times[1], index));
        let what = format!("{what} of 100 services by 20 times that of 5");
        let mut row = Row::alone(&what, many / few / factor, "x", 1.0);
        row.peer = format!("{few:.0} ms, then {many:.0} ms");
        rows.push(row);
    }
    Ok(rows)
}
