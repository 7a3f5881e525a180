//! The place in which one test runs.

use std::cell::Cell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use tempfile::TempDir;

use crate::host::Host;
use crate::ledger::Ledger;
use crate::run::{Output, Running};

/// A wall that tests run behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// Namespaces.
    Container,
    /// QEMU with a software CPU.
    Emulated,
    /// Our monitor on KVM.
    Vm,
}

impl Wall {
    /// The value of `--isolation`.
    pub fn name(self) -> &'static str {
        match self {
            Wall::Container => "container",
            Wall::Emulated => "emulated",
            Wall::Vm => "vm",
        }
    }

    /// Whether a kernel of its own is behind it.
    pub fn is_guest(self) -> bool {
        self != Wall::Container
    }
}

/// On which walls a behaviour is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// All of them.
    Every,
    /// Where processes share the host's kernel.
    Container,
    /// Where they have one of their own.
    Guests,
    /// No instance runs, or which wall it has is of no matter: once is enough, and not
    /// in the lab.
    Once,
    /// All of them, but not in the lab, where all is emulated and a guest twice.
    NotInLab,
}

impl On {
    /// Whether to try it on this wall.
    pub fn includes(self, wall: Wall) -> bool {
        match self {
            On::Every => true,
            On::Container => !wall.is_guest(),
            On::Guests => wall.is_guest(),
            On::Once => walls().first() == Some(&wall) && !in_lab(),
            On::NotInLab => !in_lab(),
        }
    }
}

/// A behaviour under test.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// Its name.
    pub name: &'static str,
    /// Where it applies.
    pub on: On,
    /// What is done and expected.
    pub test: fn(&Env),
}

/// Whether this is the KVM lab.
pub fn in_lab() -> bool {
    std::env::var_os("ISOLA_LAB").is_some()
}

/// The walls to test.
pub fn walls() -> Vec<Wall> {
    let names =
        std::env::var("ISOLA_TEST_WALLS").unwrap_or_else(|_| "container,emulated".to_owned());
    let wall = |name: &str| match name.trim() {
        "container" => Wall::Container,
        "emulated" => Wall::Emulated,
        "vm" => Wall::Vm,
        other => panic!("ISOLA_TEST_WALLS: unknown wall {other:?}"),
    };
    names
        .split(',')
        .filter(|name| !name.trim().is_empty())
        .map(wall)
        .collect()
}

/// A data root of the test's own with the small image `box` in it, on a host of the
/// test's own.
pub struct Env {
    wall: Wall,
    host: Arc<Host>,
    folder: TempDir,
    ledger: Ledger,
    finished: Cell<bool>,
}

impl Env {
    /// Makes the root. The image's files are hard links to one shared store, since
    /// they never change.
    pub fn new(wall: Wall) -> Env {
        let folder = tempfile::Builder::new()
            .prefix("isola-test-")
            .tempdir()
            .expect("a folder for the test");
        let root = folder.path().join("root");
        std::fs::create_dir(&root).expect("the data root");
        for shared in ["images", "templates", "probes"] {
            let from = shared_root().join(shared);
            if from.is_dir() {
                link_tree(&from, &root.join(shared));
            }
        }
        let host = Arc::new(Host::new());
        let ledger = Ledger::new(&root).on(host.clone());
        Env {
            wall,
            host,
            folder,
            ledger,
            finished: Cell::new(false),
        }
    }

    /// Adds the image `debian` to the root: packages of a distribution, among them
    /// nginx, redis, postgresql, python3 and curl. `cargo xtask test` prepares it
    /// and names its folder in `ISOLA_TEST_DEBIAN`.
    ///
    /// # Panics
    /// It was not prepared.
    pub fn add_debian(&self) {
        let from = std::env::var_os("ISOLA_TEST_DEBIAN")
            .expect("ISOLA_TEST_DEBIAN is not set: `cargo xtask test` makes that folder");
        let from = Path::new(&from).join("images");
        let to = self.root().join("images");
        for folder in ["blobs/sha256", "layers"] {
            link_tree(&from.join(folder), &to.join(folder));
        }
        let index = |folder: &Path| -> serde_json::Value {
            let text = std::fs::read(folder.join("index.json")).expect("an index");
            serde_json::from_slice(&text).expect("an index")
        };
        let (mut all, more) = (index(&to), index(&from));
        let list = all["manifests"].as_array_mut().expect("a list");
        list.extend(
            more["manifests"]
                .as_array()
                .expect("a list")
                .iter()
                .cloned(),
        );
        std::fs::write(to.join("index.json"), all.to_string()).expect("the index");
    }

    /// The wall of this run.
    pub fn wall(&self) -> Wall {
        self.wall
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The data root.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A folder for the test's own files.
    pub fn files(&self) -> PathBuf {
        let path = self.folder.path().join("files");
        std::fs::create_dir_all(&path).expect("a folder for files");
        path
    }

    /// The program with this test's root, wall and host and nothing else.
    pub fn command<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = command(&self.root(), self.wall, args);
        self.host.enter(&mut command);
        command
    }

    /// Runs the program to its end.
    pub fn isola<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Output {
        Output::of(&mut self.command(args), b"")
    }

    /// Runs it with something on standard input.
    pub fn isola_with<I: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = I>,
        input: &[u8],
    ) -> Output {
        Output::of(&mut self.command(args), input)
    }

    /// Starts it and goes on.
    pub fn start<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Running {
        Running::start(self.command(args))
    }

    /// `isola run` of the small image with options in front.
    pub fn run(&self, options: &[&str], program: &[&str]) -> Output {
        self.isola([&["run", "--rm"], options, &["box"], program].concat())
    }

    /// A running instance with that name: `isola run -d`.
    pub fn detached(&self, name: &str, options: &[&str], program: &[&str]) -> String {
        let output =
            self.isola([&["run", "-d", "--name", name], options, &["box"], program].concat());
        output.ok().stdout.trim().to_owned()
    }

    /// A running instance with that name whose program has said `ready`.
    pub fn ready(&self, name: &str, options: &[&str], program: &[&str]) -> String {
        let id = self.detached(name, options, program);
        self.start(["logs", "-f", name]).expect("ready");
        id
    }

    /// Runs a further program in an instance to its end.
    pub fn exec(&self, name: &str, program: &[&str]) -> Output {
        self.isola([&["exec", name], program].concat())
    }

    /// What a command prints, as JSON.
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let text = self.isola(words).ok().stdout;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    /// One field of `inspect`, as its template prints it.
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.isola(["inspect", "--format", template, name])
            .ok()
            .stdout
            .trim()
            .to_owned()
    }

    /// Removes every instance and checks that nothing is left on the host; then the
    /// networks and volumes, with the same check.
    ///
    /// # Panics
    /// Something is left.
    pub fn finish(&self) {
        self.finished.set(true);
        let ids = self.ledger.instances();
        if !ids.is_empty() {
            let left = self.isola(
                std::iter::once("rm".to_owned())
                    .chain(["-f".to_owned()])
                    .chain(ids),
            );
            assert_eq!(left.code, 0, "cleaning up: {}", left.stderr);
        }
        self.ledger.check();
        for (verb, names) in [
            ("network", self.ledger.networks()),
            ("volume", self.ledger.volumes()),
        ] {
            if !names.is_empty() {
                let words = [verb.to_owned(), "rm".to_owned()].into_iter().chain(names);
                let left = self.isola(words);
                assert_eq!(left.code, 0, "cleaning up: {}", left.stderr);
            }
        }
        self.ledger.check_all();
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        // A test that failed half-way: take its instances away all the same.
        if !self.finished.get() {
            for id in self.ledger.instances() {
                let _ = self.command(["rm", "-f", &id]).output();
            }
        }
    }
}

fn command<I: AsRef<OsStr>>(root: &Path, wall: Wall, args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(programs().join("isola"));
    command.args(args).env_clear();
    for (name, value) in std::env::vars_os() {
        if !name.to_string_lossy().starts_with("ISOLA_") || name == "ISOLA_KERNELS" {
            command.env(name, value);
        }
    }
    command
        .env("ISOLA_ROOT", root)
        .env("ISOLA_ISOLATION", wall.name())
        .env("ISOLA_CONFIG", "/dev/null")
        .env("NO_COLOR", "1");
    if std::env::var_os("ISOLA_KERNELS").is_none() {
        command.env("ISOLA_KERNELS", "/var/lib/isola/kernels");
    }
    command
}

/// Where the built programs are: `ISOLA_TEST_BIN`, or beside this test.
pub(crate) fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("ISOLA_TEST_BIN") {
        return PathBuf::from(folder);
    }
    let own = std::env::current_exe().expect("the test's own path");
    let target = own.parent().and_then(Path::parent).expect("target folder");
    assert!(
        target.join("isola").is_file(),
        "no isola in {}: build it, or name its folder in ISOLA_TEST_BIN",
        target.display()
    );
    target.to_owned()
}

static SHARED: OnceLock<TempDir> = OnceLock::new();

/// A root with the image in it, made once per run of the tests.
fn shared_root() -> &'static Path {
    let make = || {
        let folder = tempfile::Builder::new()
            .prefix("isola-test-shared-")
            .tempdir()
            .expect("a folder for the shared root");
        let archive = crate::images::box_layer();
        let import = [
            "import",
            "--change",
            "CMD [\"/bin/sh\"]",
            "--change",
            "ENV PATH=/bin",
            "-",
            "box",
        ];
        Output::of(
            &mut command(folder.path(), Wall::Container, import),
            &archive,
        )
        .ok();
        for wall in walls() {
            // Makes the template of the guest's disk and asks what KVM can do, once.
            Output::of(
                &mut command(
                    folder.path(),
                    wall,
                    ["run", "--rm", "--network", "none", "box", "/bin/true"],
                ),
                b"",
            )
            .ok();
        }
        folder
    };
    SHARED.get_or_init(make).path()
}

/// The shared root, if a test made one, is removed at the end: statics are not dropped.
pub fn remove_shared() {
    if let Some(folder) = SHARED.get() {
        let _ = std::fs::remove_dir_all(folder.path());
    }
}

fn link_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the shared root").flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            link_tree(&entry.path(), &target);
        } else if entry.path().extension().is_some_and(|end| end == "erofs")
            || entry
                .path()
                .parent()
                .is_some_and(|dir| dir.ends_with("sha256"))
            || from.ends_with("templates")
        {
            link(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A hard link, or where the file is on another file system (a folder of the host
/// in the lab) a symbolic one. One that is there already stays.
fn link(from: &Path, to: &Path) {
    use std::io::ErrorKind;
    let linked = match std::fs::hard_link(from, to) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            std::os::unix::fs::symlink(from, to)
        }
        other => other,
    };
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            panic!(
                "cannot link {} to {}: {error}",
                to.display(),
                from.display()
            )
        }
        _ => {}
    }
}
