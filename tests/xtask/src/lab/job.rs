//! What a run of the lab is to do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use isola_kernel::Kernels;

use crate::Result;
use crate::workspace::Workspace;

/// A command and its surroundings.
pub(crate) struct Job {
    command: Vec<String>,
    folder: PathBuf,
    env: Vec<(String, String)>,
    /// Folders of the host, to be seen under their own paths.
    pub(crate) shares: Vec<Share>,
    /// Folders that are copied before the command starts, so that they can be
    /// written to: from a share to a path.
    copies: Vec<(PathBuf, PathBuf)>,
    /// Show the kernel's messages.
    pub(crate) console: bool,
    /// When the machine is switched off.
    pub(crate) timeout: Duration,
    /// The longest that the command may write nothing.
    pub(crate) silence: Option<Duration>,
}

/// A folder of the host.
pub(crate) struct Share {
    pub(crate) path: PathBuf,
    pub(crate) mounted: PathBuf,
    pub(crate) writable: bool,
}

impl Job {
    /// A command that sees the workspace and the host's programs.
    pub(crate) fn new(workspace: &Workspace, command: Vec<String>) -> Result<Job> {
        let mut job = Job {
            command,
            folder: std::env::current_dir()?,
            env: Vec::new(),
            shares: Vec::new(),
            copies: Vec::new(),
            console: false,
            timeout: Duration::from_secs(1500),
            silence: None,
        };
        job.share(Path::new("/usr"), false)?;
        job.share(&workspace.root, false)?;
        if !workspace.target.starts_with(&workspace.root) {
            job.share(&workspace.target, false)?;
        }
        if !job.folder.starts_with(&workspace.root) {
            job.folder = workspace.root.clone();
        }
        Ok(job)
    }

    /// Lets the command see a folder under its own path.
    pub(crate) fn share(&mut self, path: &Path, writable: bool) -> Result<()> {
        let path = path
            .canonicalize()
            .map_err(|e| format!("cannot share {}: {e}", path.display()))?;
        self.shares.push(Share {
            mounted: path.clone(),
            path,
            writable,
        });
        Ok(())
    }

    /// Sets a variable.
    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Lets the command find this machine's default guest kernel in its own
    /// default folder.
    pub(crate) fn take_kernel(&mut self) -> Result<()> {
        let kernels = Kernels::open(Kernels::default_dir());
        let kernel = kernels.default_kernel()?;
        let mounted = PathBuf::from("/mnt/kernels");
        self.copies.push((
            mounted.join(&kernel.name),
            Path::new("/var/lib/isola/kernels").join(&kernel.name),
        ));
        self.shares.push(Share {
            path: kernels.dir().canonicalize()?,
            mounted,
            writable: false,
        });
        Ok(())
    }

    /// The script that the lab's init includes.
    pub(crate) fn script(&self) -> String {
        let mut text = String::from("shares() {\n");
        for (number, share) in self.shares.iter().enumerate() {
            let mode = if share.writable { "rw" } else { "ro" };
            let path = quote(&share.mounted.to_string_lossy());
            let _ = writeln!(text, "share share{number} {path} {mode}");
        }
        for (from, to) in &self.copies {
            let parent = to.parent().unwrap_or(Path::new("/"));
            let _ = writeln!(
                text,
                "$bb mkdir -p {}; $bb cp -a {} {}",
                quote(&parent.to_string_lossy()),
                quote(&from.to_string_lossy()),
                quote(&to.to_string_lossy())
            );
        }
        text += "}\njob() {\nexport PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root ISOLA_LAB=1\n";
        for (name, value) in &self.env {
            let _ = writeln!(text, "export {name}={}", quote(value));
        }
        let _ = writeln!(
            text,
            "cd {} || exit 125",
            quote(&self.folder.to_string_lossy())
        );
        let words: Vec<_> = self.command.iter().map(|word| quote(word)).collect();
        let _ = writeln!(text, "exec {}\n}}", words.join(" "));
        text
    }
}

/// One word of a shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        for word in ["", "a b", "it's", "$HOME", "`x`", "a\nb", r"\'"] {
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", quote(word)))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
