//! The minimal kernel, compiled from the distribution's source package.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::image;
use crate::package;
use crate::progress::{Progress, Sink, Step, step};
use crate::store::{Kernel, Kernels, New, Source};
use crate::toolchain;

/// The project's configuration, see the file itself.
const FRAGMENT: &str = include_str!("../guest.config");

/// The series that the fragment was written for.
const PACKAGE: &str = "linux-source-6.12";

/// Runs of compiler and linker that a build takes, for progress only.
const RUNS: u64 = 1_865;

/// Room that package, source tree and objects take together.
const NEEDED_MIB: u64 = 2_500;

/// Parts of the source tree of which no code is compiled. They are most of it.
const UNUSED: &[&str] = &[
    "Documentation",
    "drivers/gpu",
    "drivers/infiniband",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/staging",
    "sound",
    "tools/perf",
    "tools/testing",
];

impl Kernels {
    /// Compiles the minimal kernel, unless one of the same configuration, source
    /// version and compiler is there already. Takes minutes and about 2.5 GiB
    /// of room while it works.
    pub fn build(&self, sink: &mut dyn FnMut(&crate::Progress)) -> Result<Kernel> {
        toolchain::check()?;
        let locked = self.lock(sink)?;
        let scratch = locked.temporary()?;
        let scratch = scratch.path();
        let package = package::locate(PACKAGE, scratch)?;
        let name = name_of(&package.version, &toolchain::versions()?);
        if let Ok(kernel) = self.get(&name) {
            return Ok(kernel);
        }
        check_space(scratch)?;
        let tree = unpack_source(&package, scratch, sink)?;
        step(sink, Step::Configure(package.version.clone()));
        configure(&tree)?;
        compile(&tree, &package.version, sink)?;
        step(sink, Step::Install);
        let vmlinux = tree.join("vmlinux");
        let stripped = scratch.join("stripped");
        run(Command::new("strip").arg("-o").arg(&stripped).arg(&vmlinux))?;
        let image = fs::read(&stripped).map_err(Error::io("read", &stripped))?;
        let info =
            image::inspect(&image).map_err(|why| Error::NotAKernel { path: vmlinux, why })?;
        locked.add(&New {
            name,
            version: package.version,
            source: Source::Built,
            format: info.format,
            image: &image,
            modules: &[],
        })
    }
}

/// `built-6.12.9-0123abcd`: the hash is that of everything the result depends
/// on.
fn name_of(version: &str, tools: &str) -> String {
    let mut hash = Sha256::new();
    for input in [FRAGMENT, version, tools] {
        hash.update(input);
        hash.update([0]);
    }
    let upstream = version.split(['-', '~', '+']).next().unwrap_or(version);
    format!("built-{upstream}-{}", &hex::encode(hash.finalize())[..8])
}

fn check_space(path: &Path) -> Result<()> {
    let stat = rustix::fs::statvfs(path).map_err(|e| Error::io("examine", path)(e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
    if free < NEEDED_MIB {
        return Err(Error::Space {
            path: path.parent().unwrap_or(path).to_path_buf(),
            free,
            needed: NEEDED_MIB,
        });
    }
    Ok(())
}

/// Downloads and unpacks the sources and gives the top folder of their tree.
fn unpack_source(package: &package::Package, scratch: &Path, sink: Sink<'_>) -> Result<PathBuf> {
    let deb = package::download(package, scratch, sink)?;
    step(sink, Step::Unpack(package.name.clone()));
    let files = scratch.join("package");
    fs::create_dir(&files).map_err(Error::io("create", &files))?;
    package::unpack(&deb, &files)?;
    let _ = fs::remove_file(&deb);
    let tarball = files.join(format!("usr/src/{PACKAGE}.tar.xz"));
    let trees = scratch.join("source");
    untar(&tarball, &trees, sink).map_err(Error::io("unpack", &tarball))?;
    let _ = fs::remove_file(&tarball);
    let mut found = fs::read_dir(&trees).map_err(Error::io("read", &trees))?;
    match found.next() {
        Some(Ok(entry)) => Ok(entry.path()),
        _ => Err(Error::Incomplete {
            what: package.name.clone(),
            missing: "source tree".into(),
        }),
    }
}

/// Unpacks what is needed of a source tarball.
fn untar(tarball: &Path, into: &Path, sink: Sink<'_>) -> std::io::Result<()> {
    let file = File::open(tarball)?;
    let total = file.metadata()?.len();
    let read = Rc::new(Cell::new(0));
    let counted = Counted {
        inner: BufReader::with_capacity(1 << 18, file),
        read: Rc::clone(&read),
    };
    let mut archive = tar::Archive::new(lzma_rust2::XzReader::new(counted, true));
    archive.set_preserve_mtime(false);
    fs::create_dir(into)?;
    let mut reported = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if is_used(&entry.path()?) {
            entry.unpack_in(into)?;
        }
        if read.get() >= reported + (1 << 20) {
            reported = read.get();
            sink(&Progress {
                step: Step::Unpack(PACKAGE.to_owned()),
                done: reported,
                total: Some(total),
            });
        }
    }
    Ok(())
}

/// Whether a file, named from above the top folder, takes part in the build.
fn is_used(path: &Path) -> bool {
    let parts: PathBuf = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .skip(1)
        .collect();
    let name = parts
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    // All of the configuration and of the make files is read.
    if ["Kconfig", "Makefile", "Kbuild"]
        .iter()
        .any(|kept| name.starts_with(kept))
    {
        return true;
    }
    let foreign = parts.starts_with("arch")
        && parts.components().count() > 2
        && !parts.starts_with("arch/x86");
    !foreign && !UNUSED.iter().any(|unused| parts.starts_with(unused))
}

/// Counts what is read through it.
struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.set(self.read.get() + n as u64);
        Ok(n)
    }
}

fn configure(tree: &Path) -> Result<()> {
    let fragment = tree.join("isola.config");
    fs::write(&fragment, FRAGMENT).map_err(Error::io("write", &fragment))?;
    run(make(tree)
        .arg("allnoconfig")
        .env("KCONFIG_ALLCONFIG", &fragment))?;
    let config = tree.join(".config");
    let text = fs::read_to_string(&config).map_err(Error::io("read", &config))?;
    let refused = refused_lines(FRAGMENT, &text);
    if !refused.is_empty() {
        return Err(Error::Config(refused.join(", ")));
    }
    Ok(())
}

/// Lines of the fragment that the configuration does not hold.
fn refused_lines<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let held: std::collections::BTreeSet<&str> = config.lines().collect();
    let holds = |line: &str| match line
        .strip_prefix("# ")
        .and_then(|rest| rest.strip_suffix(" is not set"))
    {
        // A symbol that is not even visible is off, too.
        Some(symbol) => !config.lines().any(|l| {
            l.strip_prefix(symbol)
                .is_some_and(|rest| rest.starts_with('='))
        }),
        None => held.contains(line),
    };
    fragment
        .lines()
        .filter(|line| line.starts_with("CONFIG_") || line.ends_with(" is not set"))
        .filter(|line| !holds(line))
        .collect()
}

fn compile(tree: &Path, version: &str, sink: Sink<'_>) -> Result<()> {
    let log = tree.join("isola.log");
    let stderr = File::create(&log).map_err(Error::io("create", &log))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut child = make(tree)
        .arg(format!("-j{jobs}"))
        .arg("vmlinux")
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(Error::io("run", Path::new("make")))?;
    let mut done = 0;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout)
            .lines()
            .map_while(std::result::Result::ok)
        {
            // A run is told as two blanks and the tool: `  CC      mm/slub.o`.
            done += u64::from(line.starts_with("  "));
            sink(&Progress {
                step: Step::Compile(version.to_owned()),
                done: done.min(RUNS),
                total: Some(RUNS),
            });
        }
    }
    let status = child.wait().map_err(Error::io("run", Path::new("make")))?;
    if status.success() {
        return Ok(());
    }
    let words = fs::read_to_string(&log).unwrap_or_default();
    let telling = words.lines().find(|line| line.contains("error:"));
    Err(Error::Tool {
        program: "make vmlinux".into(),
        detail: telling
            .map(str::to_owned)
            .or_else(|| package::last_words(&words))
            .unwrap_or_else(|| status.to_string()),
    })
}

/// make in the tree. Variables of the user's that would change the result are
/// left out, and no name of user or host gets into it.
fn make(tree: &Path) -> Command {
    let mut command = package::tool("make", tree);
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| {
            name.to_str()
                .is_some_and(|n| ["PATH", "HOME", "TMPDIR"].contains(&n))
        }))
        .env("LC_ALL", "C")
        .args([
            "ARCH=x86_64",
            "KBUILD_BUILD_USER=isola",
            "KBUILD_BUILD_HOST=isola",
        ])
        .arg("KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970");
    command
}

/// Runs a program to its end.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |detail: String| Error::Tool {
        program: program.clone(),
        detail,
    };
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(failed(
        package::last_words(&words).unwrap_or_else(|| output.status.to_string()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_follows_every_input() {
        let name = name_of("6.12.9-1~deb12u1", "gcc 12");
        assert!(name.starts_with("built-6.12.9-"), "{name}");
        assert_eq!(name, name_of("6.12.9-1~deb12u1", "gcc 12"));
        assert_ne!(name, name_of("6.12.9-2", "gcc 12"));
        assert_ne!(name, name_of("6.12.9-1~deb12u1", "gcc 13"));
    }

    #[test]
    fn refused_lines_are_found() {
        let fragment = "# why\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_S=\"x\"\n\
                        # CONFIG_C is not set\n# CONFIG_D is not set\n# CONFIG_E is not set\n";
        let config = "CONFIG_A=y\nCONFIG_BB=y\n# CONFIG_C is not set\nCONFIG_D=m\nCONFIG_S=\"x\"\n";
        assert_eq!(
            refused_lines(fragment, config),
            ["CONFIG_B=y", "# CONFIG_D is not set"]
        );
    }

    #[test]
    fn the_tree_is_thinned() {
        for (path, used) in [
            ("linux-6.12/Makefile", true),
            ("linux-6.12/arch/x86/boot/main.c", true),
            ("linux-6.12/arch/Kconfig", true),
            ("linux-6.12/arch/arm64/Kconfig", true),
            ("linux-6.12/arch/arm64/mm/mmu.c", false),
            ("linux-6.12/Documentation/Kconfig", true),
            ("linux-6.12/Documentation/x.rst", false),
            ("linux-6.12/sound/core/pcm.c", false),
            ("linux-6.12/drivers/net/virtio_net.c", true),
        ] {
            assert_eq!(is_used(Path::new(path)), used, "{path}");
        }
    }
}
