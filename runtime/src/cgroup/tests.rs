//! On the cgroups of the machine that runs the tests, in groups of their own.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A group that goes with the test, whatever happens in it.
struct Guard(Cgroup);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.0.destroy() {
            eprintln!("left behind: {error}");
        }
    }
}

impl std::ops::Deref for Guard {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        &self.0
    }
}

fn id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "test-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

fn make(limits: &Limits, devices: &DevicePolicy) -> Guard {
    Guard(Cgroup::create(&id(), None, limits, devices).unwrap())
}

/// A shell that waits for its standard input to be closed before it runs `script`.
fn shell(script: &str) -> Child {
    Command::new("/bin/sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn go(mut child: Child) -> (Option<i32>, String) {
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

fn usable() -> bool {
    let usable = rustix::process::geteuid().is_root()
        && !make(&Limits::default(), &DevicePolicy::All).is_absent();
    if !usable {
        eprintln!("SKIPPED: needs root and cgroups that can be written");
    }
    usable
}

#[test]
fn made_joined_found_and_removed() {
    if !usable() {
        return;
    }
    let group = make(&Limits::default(), &DevicePolicy::All);
    let mut child = shell("exec sleep 100");
    let pid = child.id() as i32;
    group.join(pid).unwrap();
    assert_eq!(group.processes().unwrap(), [pid]);
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(
        own.lines()
            .any(|line| line.ends_with(&format!(":/isola/{}", group.id()))),
        "{own}"
    );
    assert!(Cgroup::list().unwrap().iter().any(|id| id == group.id()));

    let found = Cgroup::find(group.id(), None).unwrap().unwrap();
    let waiter = std::thread::spawn(move || child.wait());
    found.destroy().unwrap();
    waiter.join().unwrap().unwrap();
    assert!(Cgroup::find(group.id(), None).unwrap().is_none());
    assert!(group.paths().iter().all(|path| !path.exists()));
}

#[test]
fn limits_hold() {
    if !usable() {
        return;
    }
    let limits = Limits {
        memory: Some(32 << 20),
        memory_swap: Some(32 << 20),
        memory_reservation: Some(16 << 20),
        cpus_milli: Some(500),
        cpu_shares: Some(512),
        cpuset_cpus: Some("0".to_owned()),
        cpuset_mems: Some("0".to_owned()),
        pids: Some(5),
        ..Limits::default()
    };
    let group = make(&limits, &DevicePolicy::All);
    assert_eq!(group.usage().unwrap().memory_limit, 32 << 20);

    let child = shell(
        "grep Cpus_allowed_list /proc/self/status; for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done 2>/dev/null; wait",
    );
    group.join(child.id() as i32).unwrap();
    let (code, text) = go(child);
    assert!(text.contains("Cpus_allowed_list:\t0\n"), "{text}");
    assert_ne!(code, Some(0), "a shell that can't fork ends with an error");

    assert_eq!(group.oom_kills(), 0);
    let child = shell("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    group.join(child.id() as i32).unwrap();
    let (code, _) = go(child);
    assert_eq!(code, None, "killed by a signal");
    assert!(group.oom_killed());
    assert!(group.usage().unwrap().cpu_ns > 0);
}

#[test]
fn a_limit_that_can_not_be_set_is_named_and_nothing_stays() {
    if !usable() {
        return;
    }
    let id = id();
    for (limits, flag) in [
        (
            Limits {
                cpuset_cpus: Some("4000".to_owned()),
                ..Limits::default()
            },
            "--cpuset-cpus",
        ),
        (
            Limits {
                cpus_milli: Some(u64::MAX),
                ..Limits::default()
            },
            "--cpus",
        ),
        (
            Limits {
                pids: Some(u64::MAX),
                ..Limits::default()
            },
            "--pids-limit",
        ),
    ] {
        let error = Cgroup::create(&id, None, &limits, &DevicePolicy::All).unwrap_err();
        assert!(error.message.contains(flag), "{error}");
        assert!(Cgroup::find(&id, None).unwrap().is_none(), "{flag}");
    }
}

#[test]
fn frozen_processes_stand_still_and_can_be_killed() {
    if !usable() {
        return;
    }
    let group = make(&Limits::default(), &DevicePolicy::All);
    let mut child = shell("while :; do :; done");
    group.join(child.id() as i32).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    group.freeze().unwrap();
    assert!(group.is_frozen().unwrap());
    let before = group.usage().unwrap().cpu_ns;
    std::thread::sleep(std::time::Duration::from_millis(60));
    let still = group.usage().unwrap().cpu_ns - before;
    assert!(still < 5_000_000, "{still} ns while frozen");
    group.thaw().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(group.usage().unwrap().cpu_ns - before > 5_000_000);
    group.freeze().unwrap();
    let waiter = std::thread::spawn(move || child.wait());
    group.kill().unwrap();
    assert!(!waiter.join().unwrap().unwrap().success());
}

/// What a shell in `group` can do with devices.
fn try_devices(group: &Cgroup) -> String {
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("kmsg");
    let script = format!(
        "echo x >/dev/null && echo null; head -c1 /dev/zero >/dev/null && echo zero; \
         mknod {0} c 1 11 && echo made; true 2>/dev/null <{0} && echo opened",
        node.display()
    );
    let child = shell(&script);
    group.join(child.id() as i32).unwrap();
    go(child).1
}

fn policy() -> DevicePolicy {
    let rule = |kind, major, minor, access| DeviceRule {
        kind,
        major,
        minor,
        access: Access::parse(access).unwrap(),
    };
    DevicePolicy::Only {
        rules: vec![
            rule(DeviceKind::Char, None, None, "m"),
            rule(DeviceKind::Char, Some(1), Some(3), "rwm"),
        ],
        required: true,
    }
}

#[test]
fn devices_are_denied_unless_permitted() {
    if !usable() {
        return;
    }
    assert_eq!(
        try_devices(&make(&Limits::default(), &policy())),
        "null\nmade\n"
    );
    // libcgroups permits /dev/zero by default; our rules come last.
    let limits = Limits {
        pids: Some(100),
        ..Limits::default()
    };
    assert_eq!(try_devices(&make(&limits, &policy())), "null\nmade\n");
    assert_eq!(
        try_devices(&make(&limits, &DevicePolicy::All)),
        "null\nzero\nmade\nopened\n"
    );
}

#[test]
fn a_program_decides_where_the_unified_hierarchy_is_alone() {
    if !usable() {
        return;
    }
    let mut group = make(&Limits::default(), &DevicePolicy::All);
    let all = group.0.members.clone();
    group
        .0
        .members
        .retain(|member| member.version == Version::V2);
    if group.is_absent() {
        eprintln!("SKIPPED: no unified hierarchy");
    } else {
        group.set_devices(&policy(), None).unwrap();
        assert_eq!(try_devices(&group), "null\nmade\n");
    }
    group.0.members = all;
}

#[test]
fn groups_above_are_made_and_removed() {
    if !usable() {
        return;
    }
    let top = id();
    let parent = format!("/{top}/b");
    let placed = |id: &str| {
        let made = Cgroup::create(id, Some(&parent), &Limits::default(), &DevicePolicy::All);
        Guard(made.unwrap())
    };
    let (one, other) = (id(), id());
    let (first, second) = (placed(&one), placed(&other));
    let mut child = shell("exec sleep 100");
    first.join(child.id() as i32).unwrap();
    let own = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    let place = format!(":{parent}/{one}");
    assert!(own.lines().any(|line| line.ends_with(&place)), "{own}");
    assert!(Cgroup::find(&one, None).unwrap().is_none());
    let found = Cgroup::find(&one, Some(&parent)).unwrap().unwrap();
    assert_eq!(found.processes().unwrap(), [child.id() as i32]);
    let waiter = std::thread::spawn(move || child.wait());
    found.destroy().unwrap();
    waiter.join().unwrap().unwrap();
    let tops: Vec<PathBuf> = second
        .members
        .iter()
        .map(|it| it.mount.join(&top))
        .collect();
    assert!(tops.iter().all(|top| top.is_dir()), "the second is in it");
    second.destroy().unwrap();
    assert!(tops.iter().all(|top| !top.exists()), "{tops:?}");

    // What was there before stays.
    tops.iter().for_each(|top| fs::create_dir(top).unwrap());
    placed(&one).destroy().unwrap();
    let stayed = tops.iter().all(|top| top.is_dir());
    tops.iter().for_each(|top| fs::remove_dir(top).unwrap());
    assert!(stayed);
    for wrong in ["/..", "/a/../../b", "x.slice"] {
        let made = Cgroup::create(&one, Some(wrong), &Limits::default(), &DevicePolicy::All);
        assert!(made.is_err(), "{wrong}");
    }
}

#[test]
fn settings_of_version_1_alone() {
    if !usable() || !Abilities::read().unwrap().version1 {
        eprintln!("SKIPPED: needs version 1 of the memory controller");
        return;
    }
    let limits = Limits {
        memory: Some(32 << 20),
        swappiness: Some(7),
        oom_kill_disable: true,
        cpu_quota: Some(20_000),
        cpu_period: Some(40_000),
        ..Limits::default()
    };
    let group = make(&limits, &DevicePolicy::All);
    let read = |controller: &str, file: &str| {
        let member = group.members.iter().find(|it| it.has(controller)).unwrap();
        fs::read_to_string(member.path.join(file)).unwrap()
    };
    assert_eq!(read("memory", "memory.swappiness").trim(), "7");
    let oom = read("memory", "memory.oom_control");
    assert!(oom.contains("oom_kill_disable 1"), "{oom}");
    assert_eq!(read("cpu", "cpu.cfs_period_us").trim(), "40000");
    assert_eq!(read("cpu", "cpu.cfs_quota_us").trim(), "20000");
}

#[test]
fn ids_are_plain_names() {
    for id in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "-x",
        "a b",
        "a\0",
        &"x".repeat(129),
    ] {
        assert!(
            Cgroup::create(id, None, &Limits::default(), &DevicePolicy::All).is_err(),
            "{id:?}"
        );
        assert!(Cgroup::find(id, None).is_err(), "{id:?}");
    }
}

#[test]
fn many_at_once_share_the_parent() {
    if !usable() {
        return;
    }
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..10 {
                    make(&Limits::default(), &DevicePolicy::All)
                        .destroy()
                        .unwrap();
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}
