//! What a sandbox is: its processes, streams, surroundings.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod driver;

use driver::{Tree, container, process};
use isola_proto::spec::{Program, TermSize};
use isola_proto::{ErrorKind, ProcessSpec};
use serde_json::json;

#[test]
fn a_program_runs_as_the_first_process() {
    let tree = Tree::new();
    let job = container(
        &tree,
        &[
            "sh",
            "-c",
            "echo $$; echo to-stderr >&2; cat; hostname; pwd; exit 3",
        ],
    )
    .with("stdin", b"from stdin\n")
    .edit(|spec| spec.root.hostname = Some("box".to_owned()));
    let first = job.first();
    assert!(first.failure.is_none(), "{first:?}");
    assert_eq!(first.out(), "1\nfrom stdin\nbox\n/\n");
    assert_eq!(first.err(), "to-stderr\n");
    assert_eq!(first.code(), 3);
}

#[test]
fn further_processes_join_it() {
    let tree = Tree::new();
    let script = "until cat /tmp/home; do sleep 0.1; done; \
                  for pid in self 1; do readlink /proc/$pid/ns/pid; done | uniq | wc -l";
    let mut outcomes = container(&tree, &["sh", "-c", "echo $HOME > /tmp/home; sleep 5"])
        .with(
            "execs",
            [
                process(&["sh", "-c", script]),
                process(&["false"]),
                process(&["nosuch"]),
            ],
        )
        .with("signal", 9)
        .run();
    assert_eq!(outcomes.remove("exec0").unwrap().ok(), "/root\n1\n");
    assert_eq!(outcomes["exec1"].code(), 1);
    assert_eq!(outcomes["exec2"].failed().kind, ErrorKind::NotFound);
    assert_eq!(outcomes["first"].code(), 137);
}

#[test]
fn refusals_to_execute_have_classes() {
    let tree = Tree::new();
    tree.script("bin/plain", "no script\n", 0o644);
    tree.script("bin/garbage", "\u{1}\u{2}garbage", 0o755);
    tree.script("bin/orphan", "#!/no/such/interpreter\n", 0o755);
    for (program, kind, part) in [
        (
            "nosuch",
            ErrorKind::NotFound,
            "program 'nosuch': not found in PATH",
        ),
        ("/bin/nosuch", ErrorKind::NotFound, "no such file"),
        ("/bin/sh/x", ErrorKind::NotFound, "no such file"),
        ("", ErrorKind::NotFound, "not found"),
        ("plain", ErrorKind::NotExecutable, "Permission denied"),
        ("/etc", ErrorKind::NotExecutable, "it is a folder"),
        ("garbage", ErrorKind::NotExecutable, "neither a program"),
        (
            "orphan",
            ErrorKind::NotExecutable,
            "its interpreter '/no/such/interpreter' is missing",
        ),
    ] {
        for init in [false, true] {
            let failure = container(&tree, &[program])
                .edit(|spec| spec.init = init)
                .first()
                .failed();
            assert_eq!(failure.kind, kind, "{program}: {failure}");
            assert!(failure.message.contains(part), "{program}: {failure}");
        }
    }
}

#[test]
fn init_reaps_forwards_and_ends_like_the_workload() {
    let tree = Tree::new();
    // An orphan must not stay a zombie.
    let script = "cat /proc/1/comm; echo $$; (sh -c 'exit 0' & exec true); sleep 0.3; \
                  grep -l 'State:.Z' /proc/[0-9]*/status; kill -SEGV $$";
    let first = container(&tree, &["sh", "-c", script])
        .edit(|spec| spec.init = true)
        .first();
    assert_eq!(first.out(), "isola-init\n2\n", "{first:?}");
    assert_eq!(first.code(), 139);
    let trap = "trap 'echo got; exit 7' TERM; echo up > /tmp/up; while :; do sleep 0.1; done";
    let outcomes = container(&tree, &["sh", "-c", trap])
        .edit(|spec| spec.init = true)
        .with(
            "execs",
            [process(&[
                "sh",
                "-c",
                "until test -e /tmp/up; do sleep 0.1; done",
            ])],
        )
        .with("signal", 15)
        .run();
    assert_eq!(
        (outcomes["first"].out().as_str(), outcomes["first"].code()),
        ("got\n", 7)
    );
}

#[test]
fn an_idle_sandbox_is_held_open() {
    let tree = Tree::new();
    let orphan = "(sh -c 'sleep 0.1' & exec true); sleep 0.4; grep -l 'State:.Z' /proc/[0-9]*/status; echo done";
    let outcomes = container(&tree, &[])
        .edit(|spec| spec.process.program = Program::Idle)
        .with("execs", [process(&["sh", "-c", orphan])])
        .with("signal", 15)
        .run();
    assert_eq!(outcomes["exec0"].ok(), "done\n");
    assert_eq!(outcomes["first"].code(), 0);
}

#[test]
fn a_terminal_is_the_sandboxs_own() {
    let tree = Tree::new();
    let with_terminal =
        |process: &mut ProcessSpec| process.terminal = Some(TermSize { rows: 33, cols: 77 });
    let script = "tty; stty size; echo on-tty > /dev/tty; echo on-console > /dev/console";
    let mut exec = process(&["sh", "-c", "tty; stty size"]);
    with_terminal(&mut exec);
    let outcomes = container(&tree, &["sh", "-c", &format!("{script}; sleep 1")])
        .edit(|spec| with_terminal(&mut spec.process))
        .with("execs", [exec])
        .run();
    assert_eq!(
        outcomes["first"].ok().replace('\r', ""),
        "/dev/pts/0\n33 77\non-tty\non-console\n",
    );
    assert_eq!(
        outcomes["exec0"].ok().replace('\r', ""),
        "/dev/pts/1\n33 77\n"
    );
    // With an init in front the program still controls the terminal.
    let first = container(
        &tree,
        &[
            "sh",
            "-c",
            "echo x > /dev/tty && echo $(ps -o pid,stat | grep -c '+')",
        ],
    )
    .edit(|spec| {
        with_terminal(&mut spec.process);
        spec.init = true;
    })
    .first();
    assert!(first.ok().starts_with("x\r\n"), "{}", first.out());
}

#[test]
fn a_program_runs_by_descriptor_in_an_empty_root() {
    let tree = Tree::new();
    tree.write("given", "handed on");
    let mut job = container(
        &tree,
        &[
            "busybox",
            "sh",
            "-c",
            "busybox=1; read x <&9; echo \"$x\"; echo /*; echo x > /file",
        ],
    )
    .edit(|spec| {
        spec.root.mounts.clear();
        spec.namespaces.cgroup = false;
    })
    .with("program", "/bin/busybox")
    .with("keep", json!([[tree.join("given"), 9]]));
    job.more.remove("root");
    let first = job.first();
    assert_eq!(first.out(), "handed on\n/*\n", "{}", first.err());
    assert!(
        first.err().contains("Read-only file system"),
        "{}",
        first.err()
    );
    let failure = job
        .with("keep", json!([["/etc/passwd", 2]]))
        .first()
        .failed();
    assert!(failure.message.contains("descriptor 2"), "{failure}");
}

#[test]
fn a_network_namespace_can_be_joined() {
    let tree = Tree::new();
    let first = container(&tree, &["readlink", "/proc/self/ns/net"])
        .with("netns", "/proc/self/ns/net")
        .first();
    let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(first.ok().trim(), ours.to_str().unwrap());
}

#[test]
fn it_can_be_born_in_its_group() {
    let hierarchy = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|path| {
            std::path::Path::new(path).join("cgroup.procs").exists()
                && !std::path::Path::new(path).join("tasks").exists()
        });
    let Some(hierarchy) = hierarchy else {
        eprintln!("SKIPPED: no version 2 cgroup hierarchy is mounted here");
        return;
    };
    let tree = Tree::new();
    let group = format!("{hierarchy}/isola-init-test-{}", std::process::id());
    std::fs::create_dir(&group).unwrap();
    let job = |own| {
        container(&tree, &["grep", "^0::", "/proc/self/cgroup"])
            .edit(|spec| spec.namespaces.cgroup = own)
            .with("cgroup", &group)
            .first()
    };
    let (seen, own) = (job(false), job(true));
    std::fs::remove_dir(&group).unwrap();
    assert_eq!(
        seen.ok().trim(),
        format!("0::/{}", group.rsplit('/').next().unwrap())
    );
    assert_eq!(own.ok(), "0::/\n");
}

#[test]
fn it_ends_with_its_maker() {
    let tree = Tree::new();
    for user in ["", "web"] {
        let first = container(&tree, &["sleep", "30"])
            .edit(|spec| spec.process.user = user.to_owned())
            .with("abandon", true)
            .first();
        let path = format!("/proc/{}/stat", first.pid);
        let gone = || std::fs::read_to_string(&path).map_or(true, |stat| stat.contains(") Z "));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !gone() && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(gone(), "the sandbox outlived its maker (user '{user}')");
    }
}

#[test]
fn a_maker_that_fails_leaves_nothing() {
    let tree = Tree::new();
    let failure = container(&tree, &["true"])
        .with("enter_fails", true)
        .first()
        .failed();
    assert_eq!(
        (failure.kind, &*failure.message),
        (
            ErrorKind::Setup,
            "set up the child's groups and links: permission denied"
        )
    );
}
