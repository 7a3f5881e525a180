//! Gets packages from the distribution without installing them: apt checks
//! their signatures, dpkg-deb unpacks them into a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::progress::{Progress, Step};

/// A package that apt can download.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, with the epoch.
    pub version: String,
    /// Name of the file, as apt will call it.
    file: String,
    /// Bytes.
    size: u64,
}

/// Looks a package up in apt's lists; `scratch` is an empty folder.
pub fn locate(name: &str, scratch: &Path) -> Result<Package> {
    let mut command = tool("apt-get", scratch);
    command.args(["download", "--print-uris", name]);
    let output = command.output().map_err(|_| Error::NoApt("apt-get"))?;
    if !output.status.success() {
        return Err(Error::NoPackage(name.to_owned()));
    }
    parse_uri(name, &String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| Error::NoPackage(name.to_owned()))
}

/// `'http://host/pool/x.deb' x_1.2_all.deb 153476148 SHA256:...`
fn parse_uri(name: &str, output: &str) -> Option<Package> {
    output.lines().find_map(|line| {
        let mut fields = line.rsplitn(4, ' ');
        let _hash = fields.next()?;
        let size = fields.next()?.parse().ok()?;
        let file = fields.next()?.to_owned();
        // apt writes the colon of an epoch as %3a in the file's name.
        let version = file.strip_prefix(name)?.strip_prefix('_')?;
        let version = version.split('_').next()?.replace("%3a", ":");
        (!file.contains('/')).then(|| Package {
            name: name.to_owned(),
            version,
            file,
            size,
        })
    })
}

/// The package behind a meta package: its first dependency that starts with
/// `prefix`.
pub fn behind(meta: &str, prefix: &str, scratch: &Path) -> Result<String> {
    let output = tool("apt-cache", scratch)
        .args(["show", "--no-all-versions", meta])
        .output()
        .map_err(|_| Error::NoApt("apt-cache"))?;
    first_dependency(&String::from_utf8_lossy(&output.stdout), prefix)
        .ok_or_else(|| Error::NoPackage(meta.to_owned()))
}

fn first_dependency(record: &str, prefix: &str) -> Option<String> {
    record
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))?
        .split([',', '|'])
        .filter_map(|one| one.split_whitespace().next())
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
}

/// Downloads a package into `folder` and gives the file's path.
pub fn download(
    package: &Package,
    folder: &Path,
    sink: &mut dyn FnMut(&Progress),
) -> Result<PathBuf> {
    let path = folder.join(&package.file);
    let log = folder.join("apt.log");
    let stderr = fs::File::create(&log).map_err(Error::io("create", &log))?;
    let mut child = tool("apt-get", folder)
        // The folder is ours alone: the user that apt would change to can't
        // write into it.
        .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
        .arg(format!("{}={}", package.name, package.version))
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .map_err(|_| Error::NoApt("apt-get"))?;
    let status = loop {
        let exited = child.try_wait().map_err(Error::io("wait for", &log))?;
        sink(&Progress {
            step: Step::Download(package.name.clone()),
            done: fs::metadata(&path).map_or(0, |m| m.len()),
            total: Some(package.size),
        });
        match exited {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let size = fs::metadata(&path).map_or(0, |m| m.len());
    if !status.success() || size != package.size {
        let words = fs::read_to_string(&log).unwrap_or_default();
        return Err(Error::Tool {
            program: format!("apt-get download {}", package.name),
            detail: last_words(&words).unwrap_or_else(|| status.to_string()),
        });
    }
    Ok(path)
}

/// Unpacks a package's files below `folder`.
pub fn unpack(deb: &Path, folder: &Path) -> Result<()> {
    let mut command = tool("dpkg-deb", folder);
    command.arg("-x").arg(deb).arg(folder);
    let output = command.output().map_err(|_| Error::NoApt("dpkg-deb"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Tool {
        program: format!("dpkg-deb -x {}", deb.display()),
        detail: last_words(&String::from_utf8_lossy(&output.stderr))
            .unwrap_or_else(|| output.status.to_string()),
    })
}

/// A program that speaks English, reads nothing and works in `folder`.
pub(crate) fn tool(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .current_dir(folder);
    command
}

/// The last line that says something.
pub(crate) fn last_words(text: &str) -> Option<String> {
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_prints() {
        let line = "'http://h/p/linux-6.12/linux-source-6.12_6.12.9-1%7edeb12u1_all.deb' \
                    linux-source-6.12_6.12.9-1~deb12u1_all.deb 153476148 SHA256:00ff\n";
        let package = parse_uri("linux-source-6.12", line).unwrap();
        assert_eq!(package.version, "6.12.9-1~deb12u1");
        assert_eq!(package.size, 153_476_148);
        assert_eq!(package.file, "linux-source-6.12_6.12.9-1~deb12u1_all.deb");
        let epoch = "'u' busybox_1%3a1.35_amd64.deb 9 SHA256:0";
        assert_eq!(parse_uri("busybox", epoch).unwrap().version, "1:1.35");
        for bad in [
            "",
            "E: no",
            "'u' other_1_all.deb 9 S:0",
            "'u' a_/../x 1 S:0",
        ] {
            assert_eq!(parse_uri("a", bad), None, "{bad}");
        }
    }

    #[test]
    fn follows_a_meta_package() {
        let record = "Package: m\nDepends: libc6 | x, linux-image-6.1-cloud (= 6.1)\n";
        assert_eq!(
            first_dependency(record, "linux-image-").as_deref(),
            Some("linux-image-6.1-cloud")
        );
        assert_eq!(first_dependency("Package: m\n", "linux-image-"), None);
    }
}
