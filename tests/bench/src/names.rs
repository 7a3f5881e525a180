//! A network of many containers: what the last one's start takes against the first
//! one's, and how soon a name is found.

use crate::Result;
use crate::inside::MARK;
use crate::pairs::{median, time};
use crate::programs::{BENCH, BOX, Programs, output, quiet};
use crate::table::Row;

const CONTAINERS: usize = 200;
/// Starts that are taken together: one alone says more about the host's load.
const TOGETHER: usize = 10;
const QUESTIONS: &str = "500";

pub(crate) fn run(programs: &Programs, _rounds: u32) -> Result<Vec<Row>> {
    programs.import_box()?;
    quiet(&mut programs.isola(&["network", "create", "--subnet", "10.214.0.0/22", "many"]))?;
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("n{number}")).collect();
    let rows = measure(programs, &names);
    let mut remove = programs.isola(&["rm", "-f"]);
    quiet(remove.args(&names))?;
    quiet(&mut programs.isola(&["network", "rm", "many"]))?;
    rows
}

fn measure(programs: &Programs, names: &[String]) -> Result<Vec<Row>> {
    let mut starts = Vec::new();
    for name in names {
        let words = [
            "run",
            "-d",
            "--network",
            "many",
            "--name",
            name,
            BOX,
            "sleep",
            "100000",
        ];
        starts.push(time(&mut || quiet(&mut programs.isola(&words)))?);
    }
    let first = median(&starts[..TOGETHER]);
    let last = median(&starts[starts.len() - TOGETHER..]);
    let mut growth = Row::alone(
        "start of the last 10 of 200 by the first 10",
        last / first,
        "x",
        1.5,
    );
    growth.peer = format!("{first:.1} ms, then {last:.1} ms");
    let mut found = Vec::new();
    for name in [&names[0], &names[CONTAINERS / 2], &names[CONTAINERS - 1]] {
        let words = [
            "exec",
            &names[1],
            BENCH,
            MARK,
            "dns",
            "10.214.0.1:53",
            name,
            QUESTIONS,
        ];
        found.push(output(&mut programs.isola(&words))?.trim().parse()?);
    }
    let found = Row::alone("a name of 200 found, median", median(&found), "ms", 1.0);
    Ok(vec![growth, found])
}
