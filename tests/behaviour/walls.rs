//! What a hostile image or command line tries, after published escapes of other
//! tools. The wall has to hold, and a refusal has to leave nothing behind.

use std::io::Read;
use std::os::fd::AsRawFd;

use isola_tests::{Env, behaviours, busybox_layer};

behaviours![
    Every no_descriptor_is_inherited,
    Every working_folders_that_are_descriptors,
    Every dev_as_a_link,
    Every proc_and_sys_as_links,
    Every mount_targets_through_links,
    Every written_files_stay_in_the_image,
    Container an_entry_point_that_is_the_runtime,
    Container masked_paths,
    Container the_host_is_out_of_sight,
    Once names_that_are_none,
    Every devices_replaced_in_the_image,
    Every the_clock_is_the_hosts,
];

/// Imports the small image as `odd`, without the paths in `without`, with these
/// links in it.
pub(crate) fn odd_image(env: &Env, without: &[&str], links: &[(&str, &str)], change: &[&str]) {
    let usual = busybox_layer();
    let mut archive = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(&usual[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if without
            .iter()
            .any(|gone| path == std::path::Path::new(gone))
        {
            continue;
        }
        let mut header = entry.header().clone();
        if let Some(target) = entry.link_name().unwrap() {
            archive.append_link(&mut header, path, target).unwrap();
        } else {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            archive
                .append_data(&mut header, path, &content[..])
                .unwrap();
        }
    }
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, path, target).unwrap();
    }
    let archive = archive.into_inner().unwrap();
    let changes = change.iter().flat_map(|change| ["--change", change]);
    let words: Vec<&str> = ["import", "--change", "ENV PATH=/bin"]
        .into_iter()
        .chain(changes)
        .chain(["-", "odd"])
        .collect();
    env.isola_with(words, &archive).ok();
}

pub(crate) fn run_odd(env: &Env, options: &[&str], script: &str) -> isola_tests::Output {
    let words = [&["run", "--rm"], options, &["odd", "/bin/sh", "-c", script]].concat();
    env.isola(words)
}

/// A descriptor of the host's root that the program inherits.
fn inherited_root() -> std::fs::File {
    let folder = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&folder, rustix::io::FdFlags::empty()).unwrap();
    folder
}

fn no_descriptor_is_inherited(env: &Env) {
    let _root = inherited_root();
    let script = "ls /proc/$$/fd; true";
    let output = env.run(&["-i"], &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "0\n1\n2\n");
    env.detached("aa", &[], &["sleep", "1000"]);
    let output = env.isola(["exec", "-i", "aa", "sh", "-c", script]).ok();
    assert_eq!(output.stdout, "0\n1\n2\n");
    let output = env.isola(["exec", "aa", "sh", "-c", "ls /proc/1/fd"]).ok();
    assert_eq!(output.stdout, "0\n1\n2\n");
}

fn working_folders_that_are_descriptors(env: &Env) {
    let root = inherited_root();
    env.detached("aa", &[], &["sleep", "1000"]);
    for fd in (3..12).chain([root.as_raw_fd()]) {
        let folder = format!("/proc/self/fd/{fd}");
        let output = env.run(&["-w", &folder], &["ls", "-a"]);
        assert!(output.code != 0 || output.stdout == ".\n..\n", "{output:?}");
        let output = env.isola(["exec", "-w", &folder, "aa", "ls", "-a"]);
        assert!(output.code != 0 || output.stdout == ".\n..\n", "{output:?}");
        if env.wall().is_guest() && fd > 4 {
            break;
        }
    }
}

fn dev_as_a_link(env: &Env) {
    let outside = env.files();
    odd_image(env, &["dev"], &[("dev", outside.to_str().unwrap())], &[]);
    let output = run_odd(
        env,
        &[],
        "test -c /dev/null && touch /dev/shm/x && echo fine",
    );
    assert!(
        output.code == 125 || output.stdout == "fine\n",
        "{output:?}"
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

fn proc_and_sys_as_links(env: &Env) {
    for gone in ["proc", "sys"] {
        odd_image(env, &[gone], &[(gone, "/tmp")], &[]);
        let output = run_odd(env, &[], "ls /tmp");
        assert_eq!(output.code, 125, "{output:?}");
        assert!(output.stderr.contains(gone), "{output:?}");
    }
}

fn mount_targets_through_links(env: &Env) {
    let outside = env.files();
    odd_image(
        env,
        &[],
        &[("srv", outside.to_str().unwrap()), ("up", "../../../..")],
        &[],
    );
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for target in ["/srv/in", "/up/srv/in"] {
        let output = run_odd(env, &["--tmpfs", target], "grep -c '/in ' /proc/mounts");
        assert!(output.code == 125 || output.stdout == "1\n", "{output:?}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |text: &str| text.lines().filter(|line| line.contains("/in ")).count();
    assert_eq!(ours(&before), ours(&after));
    for target in ["/proc/self/attr", "/proc", "/", "/proc/../proc/sys"] {
        env.run(&["--tmpfs", target], &["true"]).exits(125);
    }
}

fn written_files_stay_in_the_image(env: &Env) {
    let outside = env.files();
    let names = ["hosts", "hostname", "resolv.conf"];
    for name in names {
        std::fs::write(outside.join(name), "host\n").unwrap();
    }
    let targets = names.map(|name| outside.join(name).to_str().unwrap().to_owned());
    let paths = names.map(|name| format!("etc/{name}"));
    let links: Vec<(&str, &str)> = paths
        .iter()
        .zip(&targets)
        .map(|(path, target)| (path.as_str(), target.as_str()))
        .collect();
    odd_image(env, &[], &links, &[]);
    run_odd(env, &["-h", "inside"], "true");
    for name in names {
        let text = std::fs::read_to_string(outside.join(name)).unwrap();
        assert_eq!(text, "host\n", "{name}");
    }
}

fn devices_replaced_in_the_image(env: &Env) {
    let links = [
        ("dev/null", "/etc/passwd"),
        ("dev/console", "/etc/passwd"),
        ("dev/pts", "/etc"),
        ("dev/ptmx", "/etc/passwd"),
    ];
    odd_image(env, &[], &links, &[]);
    let script = "test -c /dev/null && test -d /dev/pts && cat /proc/1/mounts | grep -c /etc/passwd; \
                  head -1 /etc/passwd";
    let output = run_odd(env, &["-t"], script).ok();
    assert_eq!(output.stdout, "0\r\nroot:x:0:0:root:/root:/bin/sh\r\n");
}

fn an_entry_point_that_is_the_runtime(env: &Env) {
    let links = [("bin/self", "/proc/self/exe")];
    odd_image(env, &[], &links, &[]);
    let words = ["run", "--rm", "odd", "/bin/self", "--version"];
    let output = env.isola(words);
    assert!(!output.stdout.contains("isola"), "{output:?}");
    env.detached("aa", &[], &["sleep", "1000"]);
    for path in ["/proc/self/exe", "/proc/1/exe"] {
        let script = format!("exec 9>>{path} && echo opened; readlink /proc/1/exe");
        let output = env.isola(["exec", "aa", "sh", "-c", &script]);
        assert!(!output.stdout.contains("isola"), "{output:?}");
    }
}

fn masked_paths(env: &Env) {
    let script = "cat /proc/kcore /proc/keys /proc/timer_list /proc/sysrq-trigger | wc -c; \
                  ls /sys/firmware /proc/acpi | grep -v : ; \
                  for i in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /sys/kernel/x; do \
                  (echo x > $i) 2> /dev/null && echo wrote $i; done; true";
    let output = env.run(&[], &["sh", "-c", script]).ok();
    assert_eq!(output.stdout.trim(), "0", "{output:?}");
}

fn the_host_is_out_of_sight(env: &Env) {
    let root = env.root().display().to_string();
    let output = env
        .run(
            &[],
            &["sh", "-c", "cat /proc/mounts; cat /proc/self/cgroup; ps"],
        )
        .ok();
    assert!(!output.stdout.contains(&root), "{output:?}");
    assert!(!output.stdout.contains("isola-test"), "{output:?}");
    let output = env.run(
        &[],
        &["sh", "-c", "ls /proc | grep -c '^[0-9]'; ls /sys/class/net"],
    );
    let output = output.ok();
    assert!(output.stdout.ends_with("lo\n"), "{output:?}");
    let count: u32 = output.stdout.lines().next().unwrap().parse().unwrap();
    assert!(count <= 4, "{output:?}");
}

fn names_that_are_none(env: &Env) {
    let long = "x".repeat(129);
    for name in [
        "../xx", ".", "..", "", "a b", "/etc", "a\nb", "-x", "ä", &long,
    ] {
        let name = format!("--name={name}");
        env.isola(["create", &name, "box"]).fails(125, "name");
        env.isola(["inspect", &name["--name=".len()..]]);
    }
    for name in ["../xx", "..", "", "a b", "A:b c", "x@sha256:12"] {
        let output = env.isola(["tag", "box", name]);
        assert_ne!(output.code, 0, "{name}");
    }
}

/// A guest has its own clock: wrong by a second, it makes files from the future.
fn the_clock_is_the_hosts(env: &Env) {
    env.detached("aa", &[], &["sleep", "1000"]);
    let now = || {
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    let before = now();
    let seen: u64 = {
        let output = env.isola(["exec", "aa", "date", "+%s"]).ok();
        output.stdout.trim().parse().unwrap()
    };
    let after = now();
    assert!(
        (before - 1..=after + 1).contains(&seen),
        "{seen} is not between {before} and {after}"
    );
}
