//! podman and docker on the test's own host, with data of their own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use isola_tests::{Env, until};

/// podman with its storage among the test's files.
pub(crate) struct Podman<'a> {
    env: &'a Env,
    folder: PathBuf,
}

/// crun refuses both versions of cgroups at once: where the host has them, it sees
/// version 1 alone.
const ONE_VERSION: &str = "unified=/sys/fs/cgroup/unified; \
     ! [ -e $unified/cgroup.controllers ] || umount $unified; exec \"$0\" \"$@\"";

impl<'a> Podman<'a> {
    pub(crate) fn new(env: &'a Env) -> Podman<'a> {
        let folder = env.files().join("podman");
        Podman { env, folder }
    }

    /// What it says on standard output.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.args([ONE_VERSION, "podman"]);
        for (flag, name) in [("--root", "root"), ("--runroot", "run")] {
            command.arg(flag).arg(self.folder.join(name));
        }
        command
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"])
            .args(["--storage-driver", "vfs"])
            .args(words);
        output(self.env, &mut command)
    }

    /// What a container says.
    pub(crate) fn start(&self, image: &str, program: &[&str]) -> String {
        let words = [
            "run",
            "--rm",
            "--network=none",
            "--cgroups=disabled",
            "--ulimit=nofile=20000:20000",
            "--ulimit=nproc=4096:4096",
            image,
        ];
        self.run(&[&words[..], program].concat())
    }
}

/// A dockerd that makes no bridge, no rule and no container's cgroup.
pub(crate) struct Docker<'a> {
    env: &'a Env,
    folder: PathBuf,
    daemon: Child,
}

impl<'a> Docker<'a> {
    pub(crate) fn start(env: &'a Env) -> Docker<'a> {
        let folder = env.files().join("docker");
        std::fs::create_dir_all(&folder).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new("dockerd");
        command
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--storage-driver=vfs", "--host"])
            .arg(host(&folder));
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.arg(flag).arg(folder.join(name));
        }
        env.host().enter(&mut command);
        let daemon = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("dockerd is needed for this test: {e}"));
        let docker = Docker {
            env,
            folder,
            daemon,
        };
        until("dockerd answers", || {
            let mut info = docker.command(&["info"]);
            info.output().is_ok_and(|output| output.status.success())
        });
        docker
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(host(&self.folder)).args(words);
        command.env("DOCKER_CONFIG", &self.folder);
        self.env.host().enter(&mut command);
        command
    }

    /// What it says on standard output.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        said(&mut self.command(words))
    }

    /// The files of an image, as a container would get them.
    pub(crate) fn files(&self, image: &str) -> Vec<String> {
        let id = self.run(&["create", "--network=none", image]);
        let exported = self.command(&["export", &id]).output().unwrap();
        self.run(&["rm", &id]);
        let mut archive = tar::Archive::new(&exported.stdout[..]);
        let entries = archive.entries().unwrap();
        let names = entries.map(|entry| entry.unwrap().path().unwrap().display().to_string());
        names.collect()
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        // It ends its containerd, too, when it is asked to end.
        let pid = rustix::process::Pid::from_child(&self.daemon);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.daemon.wait();
    }
}

fn host(folder: &std::path::Path) -> String {
    format!("unix://{}", folder.join("socket").display())
}

fn output(env: &Env, command: &mut Command) -> String {
    env.host().enter(command);
    said(command)
}

fn said(command: &mut Command) -> String {
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{line} is needed for this test: {e}"));
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
