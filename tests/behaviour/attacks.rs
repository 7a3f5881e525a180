//! Attacks that take more than one step: something changes while the tool works,
//! or the tool itself is the prey.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use isola_tests::{Env, behaviours};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::walls::{odd_image, run_odd};

behaviours![
    Container mount_targets_swapped_meanwhile,
    Container the_tool_cannot_be_overwritten,
    Every kernel_parameters_are_not_diverted,
    Every options_given_twice,
];

/// CVE-2021-30465: a folder on the way to a mount's target turns into a link to the
/// outside and back all the time.
fn mount_targets_swapped_meanwhile(env: &Env) {
    let (data, outside) = (env.files().join("data"), env.files().join("outside"));
    std::fs::create_dir_all(data.join("a")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, data.join("b")).unwrap();
    let volume = format!("{}:/data", data.display());
    let done = AtomicBool::new(false);
    let outputs = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swap(&data.join("a"), &data.join("b"));
            }
        });
        let run = |_| {
            let script = "grep -c '^tmpfs .*/in tmpfs' /proc/mounts; ls -d /data";
            let options = ["-v", &volume, "--tmpfs", "/data/a/in"];
            env.run(&options, &["sh", "-c", script])
        };
        // A failed run must not leave the thread alone for ever.
        let outputs: Vec<_> = (0..20).map(run).collect();
        done.store(true, Ordering::Relaxed);
        outputs
    });
    for output in outputs {
        let fine = output.code == 0 && output.stdout.ends_with("/data\n");
        assert!(fine || output.code == 125, "{output:?}");
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

fn swap(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

/// CVE-2019-5736: a container that waits for the tool to come in, to write to the
/// file that the tool runs from; and a program whose interpreter is the tool.
fn the_tool_cannot_be_overwritten(env: &Env) {
    let folder = Path::new(env.command(["version"]).get_program())
        .parent()
        .unwrap()
        .to_owned();
    let files = ["isola", "isola-supervisor"].map(|name| folder.join(name));
    let read = || files.clone().map(|path| std::fs::read(path).unwrap());
    let before = read();
    let script = "printf '#!/proc/self/exe\n' > /tmp/self; chmod 755 /tmp/self; echo ready; \
                  while :; do for process in /proc/[0-9]*; do \
                  (exec 9>>$process/exe; echo wrote >&9; echo opened $process) 2> /dev/null; \
                  done; done";
    env.detached("aa", &["--cap-add", "SYS_PTRACE"], &["sh", "-c", script]);
    while !env.isola(["logs", "aa"]).stdout.contains("ready") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for _ in 0..10 {
        env.isola(["exec", "aa", "true"]).ok();
        let output = env.isola(["exec", "aa", "/tmp/self", "version"]);
        assert_ne!(output.code, 0, "{output:?}");
        assert_eq!(output.stdout, "");
    }
    assert_eq!(env.isola(["logs", "aa"]).ok().stdout, "ready\n");
    assert!(read() == before, "the tool's files have changed");
}

/// CVE-2025-52881: what is meant for procfs must not go to a place that the image
/// puts there instead.
fn kernel_parameters_are_not_diverted(env: &Env) {
    let file = Path::new("/proc/sys/net/ipv4/ip_forward");
    let before = std::fs::read_to_string(file).unwrap();
    let value = if before == "0\n" { "1" } else { "0" };
    let parameter = format!("net.ipv4.ip_forward={value}");
    odd_image(env, &["proc"], &[("proc", "/tmp")], &[]);
    let output = run_odd(env, &["--sysctl", &parameter], "true");
    output.fails(125, "proc");
    for target in ["/proc/sys", "/proc/sys/net/ipv4", "/proc/self"] {
        let options = ["--tmpfs", target, "--sysctl", &parameter];
        env.run(&options, &["true"]).exits(125);
    }
    let options = ["--sysctl", &parameter];
    let output = env.run(&options, &["cat", file.to_str().unwrap()]);
    assert_eq!(output.ok().stdout.trim(), value);
    assert_eq!(std::fs::read_to_string(file).unwrap(), before);
}

/// The last one counts, as with Docker, and only of mounts there can be no two.
fn options_given_twice(env: &Env) {
    let options = [
        "--hostname=first",
        "--hostname=second",
        "--workdir=/etc",
        "--workdir=/tmp",
        "--user=1",
        "--user=2:3",
    ];
    let script = "hostname; id -u; pwd";
    let output = env.run(&options, &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "second\n2\n/tmp\n");
    for twice in [
        ["--tmpfs=/srv", "--tmpfs=/srv"],
        ["--tmpfs=/srv", "--tmpfs=/srv/../srv/"],
        ["--tmpfs=/srv", "--mount=type=tmpfs,target=/srv"],
    ] {
        env.run(&twice, &["true"]).fails(125, "another mount");
    }
    // Networks add up.
    let networks = ["--network=none", "--network=default"];
    env.run(&networks, &["true"]).fails(125, "none");
}
