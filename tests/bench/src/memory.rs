//! What a running instance costs besides what it runs.

use std::fs;

use crate::Result;
use crate::programs::{BOX, Programs, output, quiet};
use crate::table::Row;

pub(crate) fn run(programs: &Programs, _rounds: u32) -> Result<Vec<Row>> {
    programs.import_box()?;
    let name = "bench-memory";
    let args = [
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        name,
        BOX,
        "sleep",
        "1000",
    ];
    quiet(&mut programs.isola(&args))?;
    // What start-up took for a moment is given back by then.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let found = supervisor(programs, name);
    let private = found.and_then(|pid| private_kib(&pid));
    quiet(&mut programs.isola(&["rm", "-f", name]))?;
    Ok(vec![Row::alone(
        "supervisor, private memory",
        private? as f64,
        "KiB",
        1024.0,
    )])
}

/// The process id of an instance's supervisor.
fn supervisor(programs: &Programs, name: &str) -> Result<String> {
    let text = output(&mut programs.isola(&["inspect", name]))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let pid =
        json.as_array().and_then(|all| all.first()).unwrap_or(&json)["State"]["SupervisorPid"]
            .as_u64();
    Ok(pid.ok_or("inspect tells no SupervisorPid")?.to_string())
}

/// Pages that this process alone has and that no file could give back.
pub(crate) fn private_kib(pid: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))
        .ok_or("no Private_Dirty in smaps_rollup")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
