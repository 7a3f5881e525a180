//! The program of the built-in image `isola/demo`: tells what it sees from where
//! it runs. Behind different walls the same file gives different answers.
//!
//! `--json` prints one line of JSON, `--wait` goes on until standard input ends or
//! SIGTERM comes.

use std::fs;
use std::io::{self, Read, Write};

use serde::Serialize;

#[derive(Serialize)]
struct Report {
    kernel: String,
    kernel_built: String,
    hostname: String,
    cpus: usize,
    memory_bytes: u64,
    pid: u32,
    visible_processes: usize,
    uid: String,
    capabilities: u32,
    no_new_privileges: bool,
    seccomp: bool,
    root: String,
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = args
        .iter()
        .find(|arg| !["--json", "--wait"].contains(&arg.as_str()))
    {
        eprintln!("isola-demo: unknown argument {unknown:?}; it knows --json and --wait");
        std::process::exit(2);
    }
    let report = report();
    let mut out = io::stdout();
    if args.iter().any(|arg| arg == "--json") {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
    }
    out.flush()?;
    if args.iter().any(|arg| arg == "--wait") {
        io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

fn report() -> Report {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    };
    let text = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let capabilities = u64::from_str_radix(&field("CapEff"), 16).unwrap_or(0);
    Report {
        kernel: text("/proc/sys/kernel/osrelease"),
        kernel_built: text("/proc/sys/kernel/version"),
        hostname: text("/proc/sys/kernel/hostname"),
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        memory_bytes: memory(),
        pid: std::process::id(),
        visible_processes: processes(),
        uid: field("Uid")
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
        capabilities: capabilities.count_ones(),
        no_new_privileges: field("NoNewPrivs") == "1",
        seccomp: field("Seccomp") == "2",
        root: root(),
    }
}

fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn processes() -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        })
        .count()
}

/// File system of `/` (proc_pid_mountinfo(5)).
fn root() -> String {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let line = text
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/"))
        .unwrap_or_default();
    let after = line.split_once(" - ").map_or("", |(_, after)| after);
    let kind = after.split(' ').next().unwrap_or_default();
    kind.to_owned()
}

fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let yes = |value: bool| if value { "yes" } else { "no" };
    let rows = [
        (
            "kernel",
            format!("{} ({})", report.kernel, report.kernel_built),
        ),
        ("host name", report.hostname.clone()),
        ("CPUs", report.cpus.to_string()),
        (
            "memory it sees",
            format!("{} MiB", report.memory_bytes >> 20),
        ),
        ("own process id", report.pid.to_string()),
        ("processes it sees", report.visible_processes.to_string()),
        ("user id", report.uid.clone()),
        ("capabilities", report.capabilities.to_string()),
        (
            "no new privileges",
            yes(report.no_new_privileges).to_owned(),
        ),
        ("seccomp filter", yes(report.seccomp).to_owned()),
        ("root file system", report.root.clone()),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<18} {value}")?;
    }
    Ok(())
}
