//! Runs jobs through `examples/launch.rs` and keeps the ledger: nothing may be left
//! of a sandbox once its maker has ended.
// Each test program uses its own part.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use isola_proto::spec::{Mount, MountSource, Namespaces, ProcessSpec, Program, SandboxSpec};
use isola_proto::{ExitStatus, Failure};
use serde::Deserialize;
use serde_json::{Value, json};

/// What came of one process.
#[derive(Debug, Deserialize)]
pub struct Outcome {
    pub failure: Option<Failure>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    pub status: Option<ExitStatus>,
    pub pid: i32,
}

impl Outcome {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
    pub fn out_bytes(&self) -> &[u8] {
        &self.stdout
    }
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
    pub fn code(&self) -> i32 {
        self.status.map_or(-1, ExitStatus::code)
    }
    /// Standard output of a process that ended well.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert!(
            self.failure.is_none() && self.code() == 0,
            "{self:?} stderr: {}",
            self.err()
        );
        self.out()
    }
    #[track_caller]
    pub fn failed(&self) -> Failure {
        self.failure
            .clone()
            .unwrap_or_else(|| panic!("it did not fail: {self:?} {} {}", self.out(), self.err()))
    }
}

/// A root folder with busybox in it.
pub struct Tree(pub tempfile::TempDir);

impl Tree {
    pub fn new() -> Tree {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root"
        );
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["bin", "etc", "tmp", "root", "usr/bin"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", dir.path().join("bin/busybox"))
            .expect("these tests need a static /bin/busybox (Debian: busybox-static)");
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for name in String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .filter(|name| *name != "busybox")
        {
            symlink("busybox", dir.path().join("bin").join(name)).unwrap();
        }
        let tree = Tree(dir);
        tree.write(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n",
        );
        tree.write(
            "etc/group",
            "root:x:0:\nweb:x:34:\ntty:x:5:\nextra:x:50:web\n",
        );
        tree
    }
    pub fn path(&self) -> &Path {
        self.0.path()
    }
    pub fn join(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.join(path), text).unwrap();
    }
    pub fn script(&self, path: &str, text: &str, mode: u32) {
        self.write(path, text);
        fs::set_permissions(self.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// A job for the driver.
#[derive(Clone)]
pub struct Job {
    pub spec: SandboxSpec,
    pub more: BTreeMap<String, Value>,
}

pub fn process(args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        program: Program::Exec {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        },
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        cwd: "/".to_owned(),
        ..ProcessSpec::default()
    }
}

pub fn mount(target: &str, source: MountSource) -> Mount {
    Mount {
        target: target.to_owned(),
        source,
        readonly: false,
        nosuid: true,
        nodev: true,
        noexec: true,
    }
}

pub fn bind(source: &str, target: &str) -> Mount {
    let source = MountSource::Bind {
        source: source.to_owned(),
        recursive: true,
        propagation: "rprivate".to_owned(),
    };
    Mount {
        target: target.to_owned(),
        source,
        readonly: false,
        nosuid: false,
        nodev: false,
        noexec: false,
    }
}

pub fn tmpfs(target: &str) -> Mount {
    mount(
        target,
        MountSource::Tmpfs {
            data: String::new(),
        },
    )
}

/// All of a container's namespaces and usual mounts.
pub fn container(tree: &Tree, args: &[&str]) -> Job {
    let mut spec = SandboxSpec {
        process: process(args),
        ..SandboxSpec::default()
    };
    spec.namespaces = Namespaces {
        pid: true,
        net: true,
        ipc: true,
        uts: true,
        cgroup: true,
        user: None,
    };
    spec.root.mounts = vec![
        mount("/proc", MountSource::Proc),
        mount("/dev", MountSource::Dev),
        Mount {
            readonly: true,
            ..mount("/sys", MountSource::Sysfs)
        },
        mount(
            "/dev/shm",
            MountSource::Tmpfs {
                data: "mode=1777,size=64m".to_owned(),
            },
        ),
        mount("/dev/mqueue", MountSource::Mqueue),
    ];
    Job {
        spec,
        more: BTreeMap::from([("root".to_owned(), json!(tree.path()))]),
    }
}

impl Job {
    pub fn with(mut self, key: &str, value: impl serde::Serialize) -> Job {
        self.more.insert(key.to_owned(), json!(value));
        self
    }
    pub fn edit(mut self, change: impl FnOnce(&mut SandboxSpec)) -> Job {
        change(&mut self.spec);
        self
    }
    /// Runs the job; the ledger is checked afterwards.
    #[track_caller]
    pub fn run(&self) -> BTreeMap<String, Outcome> {
        let mut job = self.more.clone();
        job.insert("spec".to_owned(), json!(self.spec));
        let before = mounts();
        let mut driver = Command::new(driver())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = driver.id();
        driver
            .stdin
            .take()
            .unwrap()
            .write_all(serde_json::to_string(&job).unwrap().as_bytes())
            .unwrap();
        let output = driver.wait_with_output().unwrap();
        assert!(output.status.success(), "the driver failed: {output:?}");
        assert_eq!(children_of(pid), Vec::<i32>::new(), "processes were left");
        assert_eq!(mounts(), before, "mounts were left");
        serde_json::from_slice(&output.stdout).unwrap()
    }
    /// Runs a job of one process.
    #[track_caller]
    pub fn first(&self) -> Outcome {
        self.run().remove("first").unwrap()
    }
}

pub fn driver() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let path = me.ancestors().nth(2).unwrap().join("examples/launch");
    assert!(
        path.exists(),
        "build the driver first: cargo build -p isola-init --examples"
    );
    path
}

/// Mounts of this namespace, without what other tests come and go with: theirs are in
/// namespaces of their own.
fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .map(|line| {
            line.split(' ')
                .skip(3)
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

/// Processes whose session or parent is that of a driver that has ended.
fn children_of(maker: u32) -> Vec<i32> {
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((_, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let fields: Vec<&str> = rest.split(' ').collect();
        if fields[1] == maker.to_string() && fields[0] != "Z" {
            left.push(pid);
        }
    }
    left
}
