//! The rows of `top`, from proc(5).

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use isola_proto::message::Process;
use rustix::time::{ClockId, clock_gettime};

/// Bytes of a command line that are reported; a process can make its own as long
/// as it likes.
const COMMAND: u64 = 4096;

/// Which processes are listed.
#[derive(Clone, Copy, Debug)]
pub enum Filter<'a> {
    /// Those of the pid namespace with this inode number ([`pid_namespace`]),
    /// without those of namespaces nested in it.
    PidNamespace(u64),
    /// Those with these ids, as a cgroup lists them.
    Pids(&'a [i32]),
}

/// The number of the pid namespace that a process is in (namespaces(7)).
///
/// # Errors
/// The process is gone, or belongs to somebody else.
pub fn pid_namespace(pid: i32) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{pid}/ns/pid"))?.ino())
}

/// Lists processes by id. One that ends meanwhile is left out.
///
/// # Errors
/// /proc can't be read.
pub fn list_processes(filter: Filter<'_>) -> io::Result<Vec<Process>> {
    let mut pids = match filter {
        Filter::Pids(pids) => pids.to_vec(),
        Filter::PidNamespace(inode) => {
            let mut pids = all_pids()?;
            pids.retain(|pid| pid_namespace(*pid).is_ok_and(|found| found == inode));
            pids
        }
    };
    pids.sort_unstable();
    pids.dedup();
    let clock = Clock::now();
    Ok(pids.iter().filter_map(|pid| read(*pid, &clock)).collect())
}

fn all_pids() -> io::Result<Vec<i32>> {
    let names =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// What turns clock ticks since the boot into times of day.
struct Clock {
    ticks_per_second: u64,
    page: u64,
    boot_ms: u64,
}

impl Clock {
    fn now() -> Clock {
        let since_boot = clock_gettime(ClockId::Boottime);
        let since_boot = Duration::new(since_boot.tv_sec as u64, since_boot.tv_nsec as u32);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let boot = now.unwrap_or_default().saturating_sub(since_boot);
        Clock {
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            page: rustix::param::page_size() as u64,
            boot_ms: boot.as_millis() as u64,
        }
    }

    fn ms(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(1000) / self.ticks_per_second
    }
}

fn read(pid: i32, clock: &Clock) -> Option<Process> {
    let folder = format!("/proc/{pid}");
    let folder = Path::new(&folder);
    let stat = fs::read(folder.join("stat")).ok()?;
    let stat = parse_stat(&String::from_utf8_lossy(&stat))?;
    let status = fs::read(folder.join("status")).ok()?;
    let uid = effective_uid(&String::from_utf8_lossy(&status))?;
    let mut command = Vec::new();
    let file = fs::File::open(folder.join("cmdline")).ok()?;
    file.take(COMMAND).read_to_end(&mut command).ok()?;
    Some(Process {
        pid,
        ppid: stat.ppid,
        uid,
        cpu_ms: clock.ms(stat.cpu_ticks),
        started_ms: clock.boot_ms + clock.ms(stat.start_ticks),
        tty: terminal_name(stat.tty),
        rss: stat.rss_pages.saturating_mul(clock.page),
        command: command_line(&command, &stat.comm),
    })
}

/// The fields of /proc/PID/stat that are used.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    ppid: i32,
    tty: u32,
    cpu_ticks: u64,
    start_ticks: u64,
    rss_pages: u64,
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name is the process's own choice and may hold anything, `) R 1` too.
    let open = text.find('(')?;
    let close = text.rfind(')')?;
    let comm = text.get(open + 1..close)?.to_owned();
    // The first of these is field 3 of proc_pid_stat(5).
    let fields: Vec<&str> = text.get(close + 1..)?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        comm,
        ppid: field(4)?.parse().ok()?,
        tty: field(7)?.parse::<i32>().ok()? as u32,
        cpu_ticks: field(14)?.parse::<u64>().ok()? + field(15)?.parse::<u64>().ok()?,
        start_ticks: field(22)?.parse().ok()?,
        rss_pages: field(24)?.parse().unwrap_or(0),
    })
}

fn effective_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The name of a terminal by its device number, as in proc_pid_stat(5).
fn terminal_name(device: u32) -> String {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    match (major, minor) {
        (0, _) => "?".to_owned(),
        (4, 64..) => format!("ttyS{}", minor - 64),
        (4, _) => format!("tty{minor}"),
        (136..=143, _) => format!("pts/{}", ((major - 136) << 20) | minor),
        (229, _) => format!("hvc{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

fn command_line(arguments: &[u8], comm: &str) -> String {
    let end = arguments.iter().rposition(|byte| *byte != 0);
    let Some(end) = end else {
        return format!("[{comm}]");
    };
    let text = String::from_utf8_lossy(&arguments[..=end]);
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) R 7 (b) S 3 42 42 34817 42 4194304 1 2 3 4 50 7 0 0 20 0 1 0 900 1000 25 18446744073709551615";
        let stat = parse_stat(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                comm: "a) R 7 (b".into(),
                ppid: 3,
                tty: 34817,
                cpu_ticks: 57,
                start_ticks: 900,
                rss_pages: 25,
            }
        );
        for bad in ["", "42 (x", "42 )x( S 1", "42 (x) S", "42 (x) S a b c"] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn terminals_have_names() {
        for (device, name) in [
            (0, "?"),
            (0x8801, "pts/1"),
            (0x0440, "ttyS0"),
            (0x0401, "tty1"),
            (0xe500, "hvc0"),
            (0x10_8800, "pts/256"),
        ] {
            assert_eq!(terminal_name(device), name);
        }
    }

    #[test]
    fn command_lines_are_one_line() {
        assert_eq!(command_line(b"sh\0-c\0a\nb\0", "sh"), "sh -c a b");
        assert_eq!(command_line(b"", "kthread"), "[kthread]");
        assert_eq!(command_line(b"\0\0", "odd"), "[odd]");
    }

    #[test]
    fn this_process_is_found_both_ways() {
        let me = std::process::id() as i32;
        let by_pid = list_processes(Filter::Pids(&[me, me, i32::MAX])).unwrap();
        assert_eq!(by_pid.len(), 1);
        let row = &by_pid[0];
        assert_eq!(row.pid, me);
        assert!(row.rss > 0 && row.command.contains("isola"), "{row:?}");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        assert!(
            row.started_ms <= now + 1000 && row.started_ms > now - 3_600_000,
            "{row:?}"
        );
        let namespace = pid_namespace(me).unwrap();
        let all = list_processes(Filter::PidNamespace(namespace)).unwrap();
        assert!(all.iter().any(|process| process.pid == me));
    }
}
