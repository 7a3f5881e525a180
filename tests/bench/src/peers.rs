//! Container engines to compare with, each with data of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::programs::{BOX, has, output, quiet};

/// podman with its storage in a folder of its own.
pub(crate) struct Podman {
    folder: TempDir,
}

impl Podman {
    /// Why not, if it isn't there.
    pub(crate) fn open() -> std::result::Result<Podman, String> {
        if !has("podman") {
            return Err("podman is not installed".into());
        }
        let folder = folder("podman")?;
        Ok(Podman { folder })
    }

    /// With an image, and a default network that works; why not, if it doesn't.
    pub(crate) fn with_bridge(archive: &Path) -> std::result::Result<Podman, String> {
        let podman = Podman::open()?;
        let mut load = podman.command(&["load", "-q", "-i"]);
        quiet(load.arg(archive)).map_err(|e| e.to_string())?;
        let mut run = podman.command(&["run", "--rm"]);
        let once = quiet(run.args(LIMITS).args([BOX, "/bin/true"]));
        once.map_err(|e| format!("podman's default network: {e}"))?;
        Ok(podman)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_at("store", args)
    }

    /// Where the storage of this name is.
    pub(crate) fn store(&self, store: &str) -> PathBuf {
        self.folder.path().join(store)
    }

    /// With a storage of this name.
    pub(crate) fn command_at(&self, store: &str, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        for (flag, name) in [("--root", "root"), ("--runroot", "run")] {
            let path = self.store(store).join(name);
            command.arg(flag).arg(path);
        }
        command
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"])
            .args(["--storage-driver", "overlay"])
            .args(args);
        command
    }
}

impl Podman {
    /// podman-compose with the same storage; it takes podman's own flags from files.
    pub(crate) fn compose(&self, args: &[&str]) -> Result<Command> {
        let path = |name: &str| self.store("store").join(name);
        let storage = self.folder.path().join("storage.conf");
        let text = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            path("root"),
            path("run")
        );
        std::fs::write(&storage, text)?;
        let engine = self.folder.path().join("containers.conf");
        let text = format!(
            "[containers]\ndefault_ulimits = [{:?}, {:?}]\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n",
            LIMITS[1], LIMITS[3]
        );
        std::fs::write(&engine, text)?;
        let mut command = Command::new("podman-compose");
        command
            .env("CONTAINERS_STORAGE_CONF", storage)
            .env("CONTAINERS_CONF", engine)
            .args(args);
        Ok(command)
    }
}

/// Options of `podman run` where raising limits is refused.
pub(crate) const LIMITS: [&str; 4] = [
    "--ulimit",
    "nofile=20000:20000",
    "--ulimit",
    "nproc=4096:4096",
];

/// A dockerd of our own.
pub(crate) struct Docker {
    folder: TempDir,
    daemon: Child,
}

impl Docker {
    /// Starts it without networks; why not, if that fails.
    pub(crate) fn start() -> std::result::Result<Docker, String> {
        Docker::start_with(&["--bridge", "none", "--iptables=false", "--ip6tables=false"])
    }

    /// Starts it with its default bridge, in the network namespace of the benches.
    pub(crate) fn start_with_bridge() -> std::result::Result<Docker, String> {
        Docker::start_with(&[])
    }

    fn start_with(args: &[&str]) -> std::result::Result<Docker, String> {
        if !has("dockerd") || !has("docker") {
            return Err("docker is not installed".into());
        }
        let folder = folder("docker")?;
        let path = |name: &str| folder.path().join(name);
        let log = std::fs::File::create(path("log")).map_err(|e| e.to_string())?;
        let daemon = Command::new("dockerd")
            .args(args)
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--host")
            .arg(host(folder.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("cannot run dockerd: {e}"))?;
        let docker = Docker { folder, daemon };
        let started = Instant::now();
        while quiet(&mut docker.command(&["info"])).is_err() {
            if started.elapsed() > Duration::from_secs(30) {
                return Err("dockerd does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(docker)
    }

    /// Where its images are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("--host")
            .arg(host(self.folder.path()))
            .args(args);
        command
    }

    /// Compose in the form that is installed: docker's plugin, or the program of its
    /// own; its name for the table, and how it is called.
    pub(crate) fn compose(&self) -> Option<(&'static str, Command)> {
        if quiet(&mut self.command(&["compose", "version"])).is_ok() {
            return Some(("docker compose", self.command(&["compose"])));
        }
        if !has("docker-compose") {
            return None;
        }
        let mut command = Command::new("docker-compose");
        command.arg("--host").arg(host(self.folder.path()));
        Some(("docker-compose", command))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = i32::try_from(self.daemon.id()).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.daemon.wait();
    }
}

fn host(folder: &Path) -> String {
    format!("unix://{}", folder.join("socket").display())
}

fn folder(name: &str) -> std::result::Result<TempDir, String> {
    tempfile::Builder::new()
        .prefix(&format!("isola-bench-{name}-"))
        .tempdir_in("/var/tmp")
        .map_err(|e| e.to_string())
}

/// A bundle that crun runs /bin/true in, made of a saved image.
pub(crate) fn bundle(archive: &Path, folder: &Path) -> Result<PathBuf> {
    let bundle = folder.join("bundle");
    let rootfs = bundle.join("rootfs");
    std::fs::create_dir_all(&rootfs)?;
    let image = folder.join("unpacked");
    std::fs::create_dir_all(&image)?;
    tar::Archive::new(std::fs::File::open(archive)?).unpack(&image)?;
    let layout = std::fs::read(image.join("manifest.json"))?;
    let layout: serde_json::Value = serde_json::from_slice(&layout)?;
    let layers = layout[0]["Layers"].as_array().ok_or("no layers")?;
    for layer in layers {
        let name = layer.as_str().ok_or("a layer without a name")?;
        quiet(
            Command::new("tar")
                .arg("-xf")
                .arg(image.join(name))
                .arg("-C")
                .arg(&rootfs),
        )?;
    }
    let spec = output(Command::new("crun").arg("spec").current_dir(&bundle));
    spec.map_err(|e| format!("crun spec: {e}"))?;
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = vec!["/bin/true"].into();
    config["root"]["readonly"] = false.into();
    std::fs::write(&path, config.to_string())?;
    Ok(bundle)
}
