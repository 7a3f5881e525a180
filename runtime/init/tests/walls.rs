//! Walls that others' were broken through, each attack tried on ours.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod driver;

use std::os::unix::fs::symlink;

use driver::{Tree, bind, container, mount, process, tmpfs};
use isola_proto::spec::{MountSource, Program, TermSize, TextFile};

#[test]
fn no_descriptor_is_inherited() {
    let tree = Tree::new();
    // The fourth is that of `ls` itself.
    let list = ["sh", "-c", "ls /proc/self/fd | wc -l"];
    let mut outcomes = container(&tree, &["sh", "-c", "ls /proc/self/fd | wc -l; sleep 1"])
        .with("leak", ["/", "/etc", "/proc/self/ns/net"])
        .with("execs", [process(&list)])
        .run();
    assert_eq!(outcomes.remove("exec0").unwrap().ok(), "4\n");
    assert_eq!(outcomes.remove("first").unwrap().ok(), "4\n");
}

#[test]
fn the_working_directory_is_not_a_descriptor() {
    // CVE-2024-21626
    let tree = Tree::new();
    for number in 3..16 {
        let cwd = format!("/proc/self/fd/{number}");
        let mut exec = process(&["ls"]);
        exec.cwd.clone_from(&cwd);
        let mut other = exec.clone();
        other.create_cwd = true;
        let mut outcomes = container(&tree, &["sleep", "1"])
            .with("leak", ["/", "/etc"])
            .with("execs", [exec, other])
            .with("signal", 9)
            .run();
        for exec in ["exec0", "exec1"] {
            let failure = outcomes.remove(exec).unwrap().failed();
            assert!(
                failure.message.starts_with("working directory"),
                "{failure}"
            );
        }
        let first = container(&tree, &["ls"])
            .edit(|spec| spec.process.cwd.clone_from(&cwd))
            .with("leak", ["/", "/etc"])
            .first();
        assert!(first.failed().message.starts_with("working directory"));
    }
    // The same through a link in the image.
    symlink("/proc/self/fd/7", tree.join("sneaky")).unwrap();
    let first = container(&tree, &["ls"])
        .edit(|spec| spec.process.cwd = "/sneaky".to_owned())
        .with("leak", ["/"])
        .first();
    assert!(first.failure.is_some());
}

#[test]
fn the_old_root_is_gone() {
    let tree = Tree::new();
    let out = container(
        &tree,
        &[
            "sh",
            "-c",
            "ls -d /../etc/shadow /../../work; cut -d' ' -f5 /proc/self/mountinfo | sort",
        ],
    )
    .first();
    assert_eq!(
        out.ok(),
        "/\n/dev\n/dev/mqueue\n/dev/pts\n/dev/shm\n/proc\n/sys\n",
        "{}",
        out.err()
    );
}

#[test]
fn a_chroot_inside_leads_back_inside() {
    let tree = Tree::new();
    std::fs::copy(driver::driver(), tree.join("bin/driver")).unwrap();
    let first = container(&tree, &["driver", "escape"])
        .edit(|spec| {
            let set = vec!["CAP_SYS_CHROOT".to_owned()];
            spec.process.capabilities.bounding.clone_from(&set);
            spec.process.capabilities.effective.clone_from(&set);
            spec.process.capabilities.permitted = set;
        })
        .first();
    assert_eq!(
        first.ok(),
        "[\"bin\", \"dev\", \"etc\", \"proc\", \"root\", \"sys\", \"tmp\", \"usr\"]\n"
    );
}

#[test]
fn nothing_lies_over_proc() {
    let tree = Tree::new();
    let fake = tempfile::tempdir().unwrap();
    symlink("/proc/sys", tree.join("detour")).unwrap();
    let source = fake.path().to_str().unwrap();
    for lying in [
        tmpfs("/proc/self/attr"),
        tmpfs("/proc/sys"),
        tmpfs("/proc"),
        tmpfs("/proc/../proc/"),
        tmpfs("/detour"),
        bind(source, "/proc"),
        bind("/proc", "/proc"),
        bind(source, "/detour/kernel"),
        bind("/etc/passwd", "/proc/self/status"),
        mount("/proc/sys", MountSource::Sysfs),
        mount("/proc/tty", MountSource::Dev),
        mount("/proc/tty", MountSource::Mqueue),
        mount("/proc", MountSource::Proc),
    ] {
        let failure = container(&tree, &["true"])
            .edit(|spec| spec.root.mounts.push(lying.clone()))
            .first()
            .failed();
        assert!(
            failure.message.contains("nothing may lie over /proc"),
            "{lying:?}: {failure}"
        );
        // Before the /proc of ours it is covered, or refused.
        let early = container(&tree, &["stat", "-f", "-c", "%T", "/proc"])
            .edit(|spec| spec.root.mounts.insert(0, lying.clone()))
            .first();
        if early.failure.is_none() {
            assert_eq!(early.ok(), "proc\n", "{lying:?}");
        }
    }
    // A file over one of the small set that tools replace.
    let file = fake.path().join("meminfo");
    std::fs::write(&file, "replaced\n").unwrap();
    let first = container(&tree, &["cat", "/proc/meminfo"])
        .edit(|spec| {
            spec.root
                .mounts
                .push(bind(file.to_str().unwrap(), "/proc/meminfo"))
        })
        .first();
    assert_eq!(first.ok(), "replaced\n");
    // Nor does a small file of the tool's.
    let text = TextFile {
        path: "/proc/sys/kernel/hostname".to_owned(),
        content: String::new(),
        mode: 0o644,
    };
    let failure = container(&tree, &["true"])
        .edit(|spec| spec.root.files = vec![text])
        .first()
        .failed();
    assert!(
        failure.message.contains("nothing may lie over /proc"),
        "{failure}"
    );
}

#[test]
fn a_terminal_for_a_later_process_needs_a_true_devpts() {
    let tree = Tree::new();
    let mut exec = process(&["tty"]);
    exec.terminal = Some(TermSize::default());
    let outcomes = container(&tree, &["sleep", "1"])
        .edit(|spec| {
            // Something else lies over the sandbox's devpts.
            spec.root.mounts.push(tmpfs("/dev/pts"));
        })
        .with("execs", [exec])
        .with("signal", 9)
        .run();
    let failure = outcomes["exec0"].failed();
    assert_eq!(
        failure.message,
        "allocate a terminal: /dev/pts is not a devpts"
    );
}

#[test]
fn built_in_programs_give_nothing_away() {
    // CVE-2016-9962, CVE-2019-5736: a process of ours inside can't be looked into.
    let tree = Tree::new();
    let script = "readlink /proc/1/exe || echo no; readlink /proc/1/fd/0 || echo no; ls /proc/1/root/ || echo no; cat /proc/1/environ || echo no; \
                  cat /proc/1/mem || echo no; cat /proc/1/maps || echo no";
    let defaults = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_SYS_CHROOT",
        "CAP_MKNOD",
    ];
    let mut exec = process(&["sh", "-c", script]);
    let set = defaults.map(str::to_owned).to_vec();
    exec.capabilities.bounding.clone_from(&set);
    exec.capabilities.effective.clone_from(&set);
    exec.capabilities.permitted = set;
    for init in [false, true] {
        let mut job = container(&tree, &["sleep", "1"]).edit(|spec| {
            spec.init = init;
            spec.process.capabilities = exec.capabilities.clone();
        });
        if !init {
            job.spec.process.program = Program::Idle;
        }
        let outcomes = job.with("execs", [exec.clone()]).with("signal", 15).run();
        assert_eq!(
            outcomes["exec0"].out(),
            "no\n".repeat(6),
            "{}",
            outcomes["exec0"].err()
        );
    }
}

#[test]
fn the_maker_is_not_named_inside() {
    let tree = Tree::new();
    let outcomes = container(&tree, &["sleep", "1"])
        .edit(|spec| spec.init = true)
        .with(
            "execs",
            [process(&["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline"])],
        )
        .with("signal", 15)
        .run();
    assert_eq!(
        outcomes["exec0"].out().trim_end_matches([' ', '\0']),
        "isola-init"
    );
}
