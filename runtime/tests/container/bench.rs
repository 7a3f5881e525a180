//! A container without engine and supervisor.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use isola_init::stream::PollSet;
use isola_proto::spec::{Capabilities, Mount, MountSource, Namespaces, RootSpec};
use isola_proto::{
    Event, ExitStatus, Failure, Frame, Kind, ProcessSpec, Program, Request, SandboxSpec,
};
use isola_runtime::backend::{Backend, Container, LaunchContext, Sandbox};
use isola_runtime::cgroup::Cgroup;
use isola_runtime::joined::Joined;
use isola_runtime::links::Links;
use isola_runtime::rootfs::RootLayer;
use isola_runtime::state::{InstancePaths, Paths, Record};
use isola_runtime::storage::Storage;
use isola_runtime::workload::{
    Dns, Isolation, LogOptions, Network, Resources, Restart, Security, Workload,
};

/// Nothing here takes longer, even on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// One instance.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) paths: InstancePaths,
    record: Record,
    pub(crate) cgroup: Cgroup,
    sandbox: Option<Box<dyn Sandbox>>,
    output: BTreeMap<(u32, bool), Vec<u8>>,
    status: Option<Result<ExitStatus, Failure>>,
    /// Of the last exit.
    pub(crate) oom_killed: bool,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Result<ExitStatus, Failure>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A workload with nothing special about it.
pub(crate) fn workload() -> Workload {
    Workload {
        isolation: Isolation::Container,
        image: "test".to_owned(),
        image_id: "sha256:0".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
        cwd: "/".to_owned(),
        user: String::new(),
        extra_groups: Vec::new(),
        hostname: "box".to_owned(),
        domainname: None,
        extra_hosts: Vec::new(),
        tty: false,
        stdin_open: false,
        init: false,
        stop_signal: 15,
        stop_timeout: None,
        read_only: false,
        mounts: Vec::new(),
        binds: Vec::new(),
        volumes_from: Vec::new(),
        devices: Vec::new(),
        device_rules: Vec::new(),
        sysctls: Vec::new(),
        security: Security {
            capabilities: capabilities(),
            ..Security::default()
        },
        resources: Resources::default(),
        disk: None,
        network: Network::None,
        namespaces: Default::default(),
        dns: Dns::default(),
        ports: Vec::new(),
        exposed_ports: Vec::new(),
        restart: Restart::No,
        auto_remove: false,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        log: LogOptions {
            enabled: false,
            max_size: 0,
            max_file: 1,
        },
        health: None,
    }
}

fn capabilities() -> Capabilities {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "MKNOD",
        "KILL",
        "SETUID",
        "SETGID",
    ];
    let all: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
    Capabilities {
        bounding: all.clone(),
        effective: all.clone(),
        permitted: all,
        ..Capabilities::default()
    }
}

/// A process as `exec` starts it.
pub(crate) fn exec(args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        program: Program::Exec {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        },
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".to_owned(),
        capabilities: capabilities(),
        ..ProcessSpec::default()
    }
}

impl Bench {
    pub(crate) fn new(workload: Workload) -> Bench {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "bench-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path()).instance(&id);
        fs::create_dir_all(paths.dir()).unwrap();
        let image = folder.path().join("image");
        for name in ["bin", "etc", "proc", "dev", "tmp"] {
            fs::create_dir_all(image.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", image.join("bin/busybox"))
            .expect("a static /bin/busybox (Debian: busybox-static)");
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for name in String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .filter(|name| *name != "busybox")
        {
            symlink("busybox", image.join("bin").join(name)).unwrap();
        }
        fs::write(image.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        let (limits, devices) = Container.holds(&workload);
        let cgroup = Cgroup::create(&id, None, &limits, &devices).unwrap();
        let record = Record {
            id,
            name: "bench".to_owned(),
            created_ms: 0,
            isolation_reason: None,
            layers: vec![RootLayer::Directory(image)],
            workload,
        };
        Bench {
            folder,
            paths,
            record,
            cgroup,
            sandbox: None,
            output: BTreeMap::new(),
            status: None,
            oom_killed: false,
        }
    }

    fn spec(&self, args: &[&str]) -> SandboxSpec {
        let mount = |target: &str, source| Mount {
            target: target.to_owned(),
            source,
            readonly: false,
            nosuid: true,
            nodev: target == "/proc",
            noexec: target == "/proc",
        };
        SandboxSpec {
            root: RootSpec {
                hostname: Some("box".to_owned()),
                mounts: vec![
                    mount("/proc", MountSource::Proc),
                    mount("/dev", MountSource::Dev),
                    mount("/sys", MountSource::Sysfs),
                ],
                ..RootSpec::default()
            },
            process: exec(args),
            namespaces: Namespaces {
                pid: true,
                net: true,
                ipc: true,
                uts: true,
                cgroup: true,
                user: self.record.workload.security.userns.clone(),
            },
            init: false,
        }
    }

    pub(crate) fn put_up(&mut self) -> Result<(), isola_runtime::Error> {
        let root = Paths::new(self.folder.path());
        let links = Rc::new(RefCell::new(Links::none(&root, &self.record)));
        let context = LaunchContext {
            record: &self.record,
            paths: &self.paths,
            cgroup: &self.cgroup,
            links: &links,
            storage: &Storage::default(),
            joined: &RefCell::new(Joined::default()),
        };
        self.sandbox = Some(Container.launch(&context)?);
        Ok(())
    }

    /// Puts the wall up and starts the first process on channel 1.
    pub(crate) fn start(&mut self, args: &[&str]) {
        self.output.clear();
        self.status = None;
        self.put_up().unwrap();
        self.send(&Request::Start {
            channel: 1,
            spec: Box::new(self.spec(args)),
        });
    }

    /// Runs one program from start to end and takes the wall down.
    pub(crate) fn run(&mut self, args: &[&str]) -> Ended {
        self.start(args);
        let status = self.wait();
        let text = |bench: &Bench, err| {
            String::from_utf8_lossy(bench.output.get(&(1, err)).map_or(&[], Vec::as_slice))
                .into_owned()
        };
        let ended = Ended {
            status,
            out: text(self, false),
            err: text(self, true),
        };
        let sandbox = self.sandbox.as_mut().unwrap();
        assert_eq!(sandbox.ended(), None, "only `shutdown` ends the wall");
        sandbox.shutdown();
        assert!(sandbox.ended().is_some());
        self.kill();
        self.drop_sandbox();
        ended
    }

    pub(crate) fn send(&mut self, request: &Request) {
        self.sandbox
            .as_mut()
            .unwrap()
            .peer()
            .send(Frame::message(Kind::Request, request));
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.sandbox.as_ref().unwrap().pid()
    }

    pub(crate) fn kill(&mut self) {
        self.sandbox.as_mut().unwrap().kill();
    }

    pub(crate) fn drop_sandbox(&mut self) {
        self.sandbox = None;
    }

    /// Output of a channel's standard output up to now.
    pub(crate) fn output(&self, channel: u32) -> String {
        String::from_utf8_lossy(
            self.output
                .get(&(channel, false))
                .map_or(&[], Vec::as_slice),
        )
        .into_owned()
    }

    /// Serves until the first process has ended, or could not be started.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.status.is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            self.turn(|_| {});
        }
        self.status.clone().unwrap()
    }

    /// Serves until `done` says so about an event.
    pub(crate) fn drive(&mut self, mut done: impl FnMut(&Event) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut over = false;
        while !over {
            assert!(
                Instant::now() < deadline,
                "what was waited for does not come"
            );
            self.turn(|event| over |= done(event));
        }
    }

    /// Serves until the first process has written `text`.
    pub(crate) fn until_output(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.output(1).contains(text) {
            assert!(
                Instant::now() < deadline && self.status.is_none(),
                "no output {text:?}: {:?}",
                self.status
            );
            self.turn(|_| {});
        }
    }

    pub(crate) fn drive_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.turn(|_| {});
        }
    }

    fn turn(&mut self, mut seen: impl FnMut(&Event)) {
        let sandbox = self.sandbox.as_mut().unwrap();
        let mut set = PollSet::default();
        sandbox.register(&mut set);
        let most = Duration::from_millis(10);
        set.wait(Some(sandbox.timeout().unwrap_or(most).min(most)))
            .unwrap();
        sandbox.dispatch(&set).unwrap();
        while let Some(frame) = sandbox.peer().next_frame() {
            match frame.kind {
                Kind::Stdout | Kind::Stderr => {
                    let credit = Frame::credit(
                        Kind::CreditOutput,
                        frame.channel,
                        frame.payload.len() as u32,
                    );
                    sandbox.peer().send(credit);
                    self.output
                        .entry((frame.channel, frame.kind == Kind::Stderr))
                        .or_default()
                        .extend(frame.payload);
                }
                Kind::Event => {
                    let event: Event = frame.parse().unwrap();
                    match &event {
                        Event::Exited {
                            channel: 1,
                            status,
                            oom_killed,
                        } => {
                            self.status = Some(Ok(*status));
                            self.oom_killed = *oom_killed;
                        }
                        Event::Failed {
                            channel: 1,
                            failure,
                            ..
                        } => self.status = Some(Err(failure.clone())),
                        _ => {}
                    }
                    seen(&event);
                }
                _ => {}
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.sandbox = None;
        if let Err(error) = self.cgroup.destroy() {
            eprintln!("{error}");
        }
        if let Err(error) = isola_runtime::rootfs::remove_tree(self.folder.path()) {
            eprintln!("{error}");
        }
    }
}
