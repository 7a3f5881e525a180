//! From the command to the end of /bin/true, without a network.

use std::process::Command;

use crate::Result;
use crate::pairs::measure;
use crate::peers::{Docker, LIMITS, Podman, bundle};
use crate::programs::{BOX, Programs, has, quiet};
use crate::table::Row;

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let archive = programs.data().join("box.tar");
    programs.import_box()?;
    let mut ours = || {
        let args = ["run", "--rm", "--network", "none", BOX, "/bin/true"];
        quiet(&mut programs.isola(&args))
    };
    ours()?;
    quiet(programs.isola(&["save", "-o"]).arg(&archive).arg(BOX))?;
    let mut rows = Vec::new();

    if has("crun") {
        let bundle = bundle(&archive, programs.data())?;
        let mut number = 0;
        let mut crun = || {
            number += 1;
            let id = format!("isola-bench-{}-{number}", std::process::id());
            quiet(
                Command::new("crun")
                    .args(["run", "-b"])
                    .arg(&bundle)
                    .arg(id),
            )
        };
        rows.push(measure(rounds, &mut ours, &mut crun)?.row("start", "crun run", 1.5));
    } else {
        rows.push(Row::skipped("start", "crun is not installed"));
    }

    match Podman::open() {
        Ok(podman) => {
            quiet(podman.command(&["load", "-q", "-i"]).arg(&archive))?;
            let mut theirs = || {
                let args = ["run", "--rm", "--network", "none"];
                let command = [BOX, "/bin/true"];
                quiet(podman.command(&args).args(LIMITS).args(command))
            };
            rows.push(measure(rounds, &mut ours, &mut theirs)?.row("start", "podman run", 0.1));
        }
        Err(why) => rows.push(Row::skipped("start", &why)),
    }

    match Docker::start() {
        Ok(docker) => {
            quiet(docker.command(&["load", "-q", "-i"]).arg(&archive))?;
            let mut theirs = || {
                let args = ["run", "--rm", "--network", "none", BOX, "/bin/true"];
                quiet(&mut docker.command(&args))
            };
            rows.push(measure(rounds, &mut ours, &mut theirs)?.row("start", "docker run", 0.1));
        }
        Err(why) => rows.push(Row::skipped("start", &why)),
    }
    Ok(rows)
}
