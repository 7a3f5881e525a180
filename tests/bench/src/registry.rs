//! Debian's registry on loopback, filled by skopeo.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::programs::{has, quiet};

/// It ends when this is dropped.
pub(crate) struct Registry {
    /// Address and port.
    pub(crate) host: String,
    child: Child,
    folder: PathBuf,
}

impl Registry {
    /// Starts one with its files in `folder`; why not, if that fails.
    pub(crate) fn start(folder: &Path) -> std::result::Result<Registry, String> {
        for program in ["docker-registry", "skopeo"] {
            if !has(program) {
                return Err(format!("{program} is not installed"));
            }
        }
        let failed = |e: std::io::Error| format!("docker-registry: {e}");
        // The network namespace is the benches' own: nobody takes the port meanwhile.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let host = port.map_err(failed)?.to_string();
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            folder.join("registry").display()
        );
        fs::write(&config, text).map_err(failed)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let folder = folder.to_owned();
        let registry = Registry {
            host,
            child,
            folder,
        };
        let started = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            if started.elapsed() > Duration::from_secs(30) {
                return Err("docker-registry does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }

    /// Pushes an archive with its layers compressed by gzip; gives its name.
    pub(crate) fn push(&self, archive: &Path, name: &str) -> Result<String> {
        let name = format!("{}/{name}", self.host);
        let copy = Command::new("skopeo")
            .args(["copy", "-q", "--insecure-policy", "--dest-tls-verify=false"])
            .args(["--dest-compress", "--dest-compress-format", "gzip"])
            .args(["--format", "v2s2", "--tmpdir"])
            .arg(&self.folder)
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{name}"))
            .status()?;
        match copy.success() {
            true => Ok(name),
            false => Err(format!("skopeo copy: {copy}").into()),
        }
    }

    /// Copies an image from it into an OCI layout and unpacks that.
    pub(crate) fn skopeo_and_umoci(&self, name: &str, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let layout = folder.join("layout");
        quiet(
            Command::new("skopeo")
                .args(["copy", "-q", "--insecure-policy", "--src-tls-verify=false"])
                .arg(format!("docker://{name}"))
                .arg(format!("oci:{}:1", layout.display())),
        )?;
        let mut unpack = Command::new("umoci");
        unpack.args(["unpack", "--image"]);
        unpack.arg(format!("{}:1", layout.display()));
        quiet(unpack.arg(folder.join("bundle")))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
