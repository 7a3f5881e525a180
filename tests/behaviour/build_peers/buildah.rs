//! buildah on the test's own host, with storage of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use isola_tests::Env;

pub(super) struct Buildah<'a> {
    env: &'a Env,
    folder: PathBuf,
}

/// Mounts are made where nobody else sees them; cgroups are left as they are.
const ALONE: [&str; 3] = ["--mount", "--propagation", "private"];

impl<'a> Buildah<'a> {
    pub(super) fn new(env: &'a Env) -> Buildah<'a> {
        let folder = env.files().join("buildah");
        std::fs::create_dir_all(&folder).unwrap();
        Buildah { env, folder }
    }

    /// What it says on standard output.
    pub(super) fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("unshare");
        command.args(ALONE).arg("buildah");
        for (flag, name) in [("--root", "root"), ("--runroot", "run")] {
            command.arg(flag).arg(self.folder.join(name));
        }
        command.args(["--storage-driver", "overlay"]).args(words);
        self.env.host().enter(&mut command);
        let line = format!("{command:?}");
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|e| panic!("{line} is needed for this test: {e}"));
        assert!(
            output.status.success(),
            "{line}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Builds a context under a name; its file tree goes to an archive.
    pub(super) fn build(
        &self,
        name: &str,
        context: &Path,
        file: &Path,
        options: &[&str],
    ) -> PathBuf {
        let out = self.env.files().join("theirs.tar");
        let output = format!("type=tar,dest={}", out.display());
        let words = [
            &[
                "build",
                "--isolation=chroot",
                "--network=host",
                "--pull=false",
            ][..],
            // OCI's format has no health checks, shells and triggers.
            &[
                "--format=docker",
                "--layers",
                "-q",
                "-t",
                name,
                "-o",
                &output,
            ],
            options,
            &["-f", file.to_str().unwrap(), context.to_str().unwrap()],
        ];
        self.run(&words.concat());
        out
    }

    /// The part of an image's configuration that says how to run it.
    pub(super) fn config(&self, name: &str) -> serde_json::Value {
        let text = self.run(&["inspect", "--type=image", name]);
        let image: serde_json::Value = serde_json::from_str(&text).unwrap();
        image["Docker"]["config"].clone()
    }
}
