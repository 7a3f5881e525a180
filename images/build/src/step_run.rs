//! RUN.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use isola_images::files::{FileKind, Files};
use isola_images::{Digest, Layer};

use crate::changes::Surroundings;
use crate::copy::{clean, find};
use crate::dockerfile::{Command, HereDoc, Item, Mount, MountKind, Network, Run, Sharing, Word};
use crate::error::{Error, Kind, Result};
use crate::key::Key;
use crate::options::{Event, Step};
use crate::run::{Job, JobMount};
use crate::stage::{Stage, make};
use crate::tree::{Node, Tree, shown};

/// Lines that a failing program's error shows.
const TAIL: usize = 20;
/// Bytes that are kept for them.
const TAIL_BYTES: usize = 16 << 10;

/// Mounts that were put together, and what has to live as long as they.
#[derive(Default)]
struct Prepared {
    mounts: Vec<JobMount>,
    env: Vec<String>,
    /// Folders with copies and secrets, which go afterwards.
    folders: Vec<PathBuf>,
    /// Locks on caches.
    locks: Vec<fs::File>,
    proxies: Vec<crate::ssh::Proxy>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for folder in &self.folders {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Stage<'_> {
    /// Runs a program; its changes become a layer. Says whether it had to run.
    pub(crate) fn run(&mut self, run: &Run, item: &Item, step: &Step) -> Result<bool> {
        let build = self.build;
        let (os, architecture) = build.platform;
        if (self.config.os.as_str(), self.config.architecture.as_str()) != build.platform {
            let message = format!(
                "the stage is for {}/{}, this machine runs programs for {os}/{architecture} only",
                self.config.os, self.config.architecture
            );
            return Err(Error::new(Kind::Unsupported, message));
        }
        let mounts = self.mounts(run)?;
        let config = &self.config.config;
        let (args, script) = arguments(run, &config.shell());
        let env = self.scope.environment(config);
        let network = match run.network {
            Network::Default => build.options.network,
            own => own,
        };
        let mut key = Key::after(&self.key, "run");
        for list in [&args, &env, &build.options.hosts] {
            key.numbers(&[list.len() as u64]);
            for text in list {
                key.add(text.as_bytes());
            }
        }
        for text in [&config.user, &config.working_dir] {
            key.add(text.as_deref().unwrap_or_default().as_bytes());
        }
        key.add(format!("{network:?}").as_bytes());
        key.add(script.as_deref().unwrap_or_default().as_bytes());
        for (mount, word) in &mounts {
            self.hash_mount(&mut key, mount, word)?;
        }
        let mut env = env;
        env.extend(self.scope.proxies(&build.globals, config));
        if !env.iter().any(|text| text.starts_with("PATH=")) {
            env.insert(0, DEFAULT_PATH.to_owned());
        }
        let layers = self.mountable();
        let lower = Files::open(&layers)?;
        let cwd = config.working_dir.clone().unwrap_or_else(|| "/".into());
        let user = config.user.clone().unwrap_or_default();
        let place = item.place;
        let (made, created, done) = make(
            build,
            self.without_cache(),
            &self.layers,
            key,
            item,
            |tar| {
                let mut prepared = self.prepare(&mounts, script.as_deref())?;
                env.append(&mut prepared.env);
                let job = Job {
                    layers: layers.iter().collect::<Vec<&Layer>>(),
                    args,
                    env,
                    user,
                    cwd,
                    mounts: prepared.mounts.clone(),
                    network,
                    hosts: build.options.hosts.clone(),
                    shm_size: build.options.shm_size.clone(),
                };
                let targets = job
                    .mounts
                    .iter()
                    .map(|mount| clean(mount.target().as_bytes()));
                let surroundings = Surroundings {
                    lower: &lower,
                    mounts: targets.map(|parts| parts.join(&b'/')).collect(),
                    epoch: build.options.epoch,
                };
                let mut tail = Tail::default();
                let result = build.runner.run(
                    &job,
                    &mut |bytes, error| {
                        tail.add(bytes);
                        (build.told)(&Event::Output(step, bytes, error));
                    },
                    &mut |changes| surroundings.write(changes, tar),
                    &|| build.is_stopped(),
                );
                result.map_err(|mut error| {
                    if let Kind::Run(code) = error.kind {
                        error.message =
                            format!("`{}` ended with {}", short(&item.text), ending(code));
                        error.tail = tail.lines();
                    }
                    error.or_at(place)
                })
            },
        )?;
        self.add(made, created, item, "isola");
        Ok(done)
    }

    fn mounts(&self, run: &Run) -> Result<Vec<(Mount, Word)>> {
        let mut mounts = Vec::new();
        for word in &run.mounts {
            let text = self.expand(word)?;
            let mount = Mount::parse(&text)
                .map_err(|why| Error::at(word.place, format!("--mount={text}: {why}")))?;
            mounts.push((mount, word.clone()));
        }
        Ok(mounts)
    }

    /// What a mount adds to the key: the files of binds, and of others what they are.
    /// Secrets and caches may change without a step being done again.
    fn hash_mount(&self, key: &mut Key, mount: &Mount, word: &Word) -> Result<()> {
        key.add(word.text.as_bytes());
        key.add(mount.target.as_deref().unwrap_or_default().as_bytes());
        if let MountKind::Bind { from, source } = &mount.kind {
            let held = from
                .as_deref()
                .map(|name| self.source(name, word.place))
                .transpose()?;
            let tree = held
                .as_ref()
                .map_or(&self.build.options.context, |held| held.tree());
            let node = mounted(tree, source, word)?;
            hash_tree(key, tree, &node)?;
        }
        Ok(())
    }

    fn prepare(&self, mounts: &[(Mount, Word)], script: Option<&str>) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        if let Some(script) = script {
            let folder = self.build.lease.folder()?;
            prepared.folders.push(folder.clone());
            let file = folder.join("script");
            write_file(&file, script.as_bytes(), 0o755, (0, 0))?;
            prepared.mounts.push(JobMount::Bind {
                source: file,
                target: SCRIPT.into(),
                readonly: true,
                socket: false,
            });
        }
        for (index, (mount, word)) in mounts.iter().enumerate() {
            self.prepare_one(mount, word, index, &mut prepared)
                .map_err(|error| error.or_at(word.place))?;
        }
        Ok(prepared)
    }

    fn prepare_one(
        &self,
        mount: &Mount,
        word: &Word,
        index: usize,
        all: &mut Prepared,
    ) -> Result<()> {
        let base = self.config.config.working_dir.as_deref().unwrap_or("/");
        let absolute = |target: &str| match target.starts_with('/') {
            true => target.to_owned(),
            false => format!("{}/{target}", base.trim_end_matches('/')),
        };
        let target = mount.target.as_deref().map(absolute).unwrap_or_default();
        match &mount.kind {
            MountKind::Tmpfs { size } => all.mounts.push(JobMount::Tmpfs {
                target,
                size: *size,
            }),
            MountKind::Bind { from, source } => {
                let held = from
                    .as_deref()
                    .map(|name| self.source(name, word.place))
                    .transpose()?;
                let tree = held
                    .as_ref()
                    .map_or(&self.build.options.context, |held| held.tree());
                let node = mounted(tree, source, word)?;
                let direct = mount.readonly && tree.whole_folder().is_some();
                let source = match direct.then(|| tree.host_path(&node)).transpose()?.flatten() {
                    Some(path) => path,
                    // A copy: writes are lost, what is left out is not seen.
                    None => {
                        let folder = self.build.lease.folder()?;
                        all.folders.push(folder.clone());
                        let copy = folder.join("mount");
                        copy_out(tree, &node, &copy)?;
                        copy
                    }
                };
                all.mounts.push(JobMount::Bind {
                    source,
                    target,
                    readonly: mount.readonly,
                    socket: false,
                });
            }
            MountKind::Cache { .. } => {
                let source = self.cache(mount, &target, word, all)?;
                all.mounts.push(JobMount::Bind {
                    source,
                    target,
                    readonly: mount.readonly,
                    socket: false,
                });
            }
            MountKind::Secret {
                id,
                env,
                required,
                mode,
                uid,
                gid,
            } => {
                let Some(content) = self.build.options.secrets.get(id) else {
                    return match required {
                        true => Err(Error::at(
                            word.place,
                            format!("the build was given no secret {id}"),
                        )
                        .hint(format!("--secret id={id},src=FILE gives it one"))),
                        false => Ok(()),
                    };
                };
                if let Some(name) = env {
                    let text = String::from_utf8(content.clone()).map_err(|_| {
                        Error::at(
                            word.place,
                            format!("the secret {id} is no text, so that {name} can't hold it"),
                        )
                    })?;
                    all.env.push(format!("{name}={text}"));
                }
                if env.is_none() || mount.target.is_some() {
                    let folder = secret_folder(self.build.lease, index)?;
                    all.folders.push(folder.clone());
                    let file = folder.join("secret");
                    write_file(&file, content, *mode, (*uid, *gid))?;
                    let target = match target.is_empty() {
                        true => format!("/run/secrets/{id}"),
                        false => target,
                    };
                    all.mounts.push(JobMount::Bind {
                        source: file,
                        target,
                        readonly: true,
                        socket: false,
                    });
                }
            }
            MountKind::Ssh {
                id,
                required,
                mode,
                uid,
                gid,
            } => {
                let Some(agent) = self.build.options.ssh.get(id) else {
                    return match required {
                        true => Err(Error::at(
                            word.place,
                            format!("the build was given no SSH agent {id}"),
                        )
                        .hint("--ssh default passes the socket of SSH_AUTH_SOCK on")),
                        false => Ok(()),
                    };
                };
                let folder = secret_folder(self.build.lease, index)?;
                all.folders.push(folder.clone());
                let socket = folder.join("agent");
                let proxy = crate::ssh::Proxy::start(agent, &socket, *mode, (*uid, *gid))
                    .map_err(|error| Error::io(format!("pass the SSH agent {id} on"), error))?;
                all.proxies.push(proxy);
                let target = match target.is_empty() {
                    true => format!("/run/buildkit/ssh_agent.{index}"),
                    false => target,
                };
                all.env.push(format!("SSH_AUTH_SOCK={target}"));
                all.mounts.push(JobMount::Bind {
                    source: socket,
                    target,
                    readonly: true,
                    socket: true,
                });
            }
        }
        Ok(())
    }

    /// The folder of a cache, locked as its sharing asks for.
    fn cache(
        &self,
        mount: &Mount,
        target: &str,
        word: &Word,
        all: &mut Prepared,
    ) -> Result<PathBuf> {
        let MountKind::Cache {
            id,
            sharing,
            from,
            source,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Err(Error::at(word.place, "it is no cache"));
        };
        let name = id.as_deref().unwrap_or(target);
        let root = &self.build.options.caches;
        let failed = |what: &str, error: std::io::Error| {
            Error::io(format!("{what} the cache {name}"), error)
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|error| failed("make", error))?;
        let mut number = 0;
        loop {
            let file = Digest::of(format!("{name}\0{number}").as_bytes()).hex();
            let (folder, lock) = (
                root.join(&file[..32]),
                root.join(format!("{}.lock", &file[..32])),
            );
            let lock = fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&lock)
                .map_err(|error| failed("lock", error))?;
            use rustix::fs::FlockOperation as Op;
            let (wanted, wait) = match sharing {
                Sharing::Shared => (Op::LockShared, true),
                Sharing::Locked => (Op::LockExclusive, true),
                Sharing::Private => (Op::NonBlockingLockExclusive, false),
            };
            match rustix::fs::flock(&lock, wanted) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if !wait => {
                    number += 1;
                    continue;
                }
                Err(error) => return Err(failed("lock", error.into())),
            }
            all.locks.push(lock);
            // Steps that share it come at the same time: one makes it.
            let making = fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(root.join("making.lock"))
                .map_err(|error| failed("lock", error))?;
            rustix::fs::flock(&making, Op::LockExclusive)
                .map_err(|error| failed("lock", error.into()))?;
            if !folder.is_dir() {
                let new = folder.with_extension("new");
                let _ = fs::remove_dir_all(&new);
                match from {
                    Some(from) => {
                        let held = self.source(from, word.place)?;
                        let node = mounted(held.tree(), source, word)?;
                        copy_out(held.tree(), &node, &new)?;
                    }
                    None => fs::create_dir(&new).map_err(|error| failed("make", error))?,
                }
                chown(&new, Some(*uid), Some(*gid)).map_err(|error| failed("make", error))?;
                fs::set_permissions(&new, fs::Permissions::from_mode(*mode))
                    .map_err(|error| failed("make", error))?;
                fs::rename(&new, &folder).map_err(|error| failed("make", error))?;
            }
            return Ok(folder);
        }
    }
}

/// What programs find others with when the image does not say.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where a here-document with an interpreter of its own is.
const SCRIPT: &str = "/dev/pipes/script";

/// The arguments to run, and the script that is to be at [`SCRIPT`].
fn arguments(run: &Run, shell: &[String]) -> (Vec<String>, Option<String>) {
    let Command::Shell(text) = &run.command else {
        return (run.command.args(shell), None);
    };
    match &run.heredocs[..] {
        [] => (run.command.args(shell), None),
        [doc] if is_alone(text, doc) => {
            let content = doc.text();
            match content.starts_with("#!") {
                true => (vec![SCRIPT.to_owned()], Some(content)),
                false => ([shell, &[content]].concat(), None),
            }
        }
        docs => {
            let mut whole = format!("{text}\n");
            for doc in docs {
                whole.push_str(&doc.content);
                whole.push_str(&doc.name);
                whole.push('\n');
            }
            ([shell, &[whole]].concat(), None)
        }
    }
}

/// The command is the here-document and nothing else.
fn is_alone(text: &str, doc: &HereDoc) -> bool {
    let text = text.trim();
    text.starts_with("<<") && !text.contains(char::is_whitespace) && text.contains(&doc.name)
}

fn mounted(tree: &Tree, source: &str, word: &Word) -> Result<Node> {
    let mut nodes = find(tree, source).map_err(|error| error.or_at(word.place))?;
    nodes.pop().ok_or_else(|| {
        Error::at(
            word.place,
            format!("--mount={}: {source:?} is not there", word.text),
        )
    })
}

fn hash_tree(key: &mut Key, tree: &Tree, node: &Node) -> Result<()> {
    let meta = tree.meta(node);
    key.add(&node.path).numbers(&[
        meta.kind as u64,
        meta.mode.into(),
        meta.uid.into(),
        meta.gid.into(),
        meta.size,
    ]);
    match meta.kind {
        FileKind::Dir => {
            for child in tree.list(node)? {
                hash_tree(key, tree, &child)?;
            }
        }
        FileKind::Symlink => drop(key.add(&tree.target(node)?)),
        FileKind::File => key.content(tree.read(node)?, &shown(&node.path))?,
        _ => {}
    }
    Ok(())
}

/// Copies files to a new place of the host, which only the build knows.
fn copy_out(tree: &Tree, node: &Node, to: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("copy {}", shown(&node.path)), error);
    let meta = tree.meta(node);
    match meta.kind {
        FileKind::Dir => {
            fs::create_dir(to).map_err(failed)?;
            for child in tree.list(node)? {
                let name =
                    <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(child.name());
                copy_out(tree, &child, &to.join(name))?;
            }
        }
        FileKind::File => {
            let mut file = fs::File::create_new(to).map_err(failed)?;
            std::io::copy(&mut tree.read(node)?, &mut file).map_err(failed)?;
        }
        FileKind::Symlink => {
            let target = tree.target(node)?;
            let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&target);
            std::os::unix::fs::symlink(target, to).map_err(failed)?;
            return std::os::unix::fs::lchown(to, Some(meta.uid), Some(meta.gid)).map_err(failed);
        }
        // Devices and pipes are of no use in a mount for one step.
        _ => return Ok(()),
    }
    chown(to, Some(meta.uid), Some(meta.gid)).map_err(failed)?;
    fs::set_permissions(to, fs::Permissions::from_mode(meta.mode)).map_err(failed)
}

/// A folder for secrets: in memory where there is such a place.
fn secret_folder(lease: &isola_images::making::Lease, index: usize) -> Result<PathBuf> {
    /// TMPFS_MAGIC (linux/magic.h).
    const TMPFS: i64 = 0x0102_1994;
    for place in ["/run", "/dev/shm"] {
        let in_memory = rustix::fs::statfs(place).is_ok_and(|found| found.f_type == TMPFS);
        let unique = lease.folder()?;
        let name = Digest::of(unique.as_os_str().as_encoded_bytes()).hex();
        let folder = Path::new(place).join(format!("isola-secret-{}-{index}", &name[..16]));
        if in_memory && fs::DirBuilder::new().mode(0o700).create(&folder).is_ok() {
            return Ok(folder);
        }
    }
    Ok(lease.folder()?)
}

fn write_file(path: &Path, content: &[u8], mode: u32, owner: (u32, u32)) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("write {}", path.display()), error);
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    chown(path, Some(owner.0), Some(owner.1)).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

/// An instruction in one line of a message.
fn short(text: &str) -> String {
    const LONGEST: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

fn ending(code: i32) -> String {
    match code {
        129..=192 => format!("exit code {code} (signal {})", code - 128),
        code => format!("exit code {code}"),
    }
}

/// The last lines of a program's output.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * TAIL_BYTES {
            self.0.drain(..self.0.len() - TAIL_BYTES);
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        lines[from..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }
}
