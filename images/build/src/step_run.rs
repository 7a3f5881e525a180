//! RUN.

mod cache;
mod files;
mod output;

use files::{copy_out, hash_tree, mounted, secret_folder, write_file};
use isola_images::Layer;
use isola_images::files::Files;
use output::{Tail, ending, short};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::changes::Surroundings;
use crate::config::DEFAULT_PATH;
use crate::copy::clean;
use crate::dockerfile::{Command, HereDoc, Item, Mount, MountKind, Network, Run, Word};
use crate::error::{Error, Kind, Result};
use crate::key::Key;
use crate::options::{Event, Step};
use crate::run::{Job, JobMount};
use crate::stage::{Stage, make};

/// Mounts that were put together, and what has to live as long as they.
#[derive(Default)]
struct Prepared {
    mounts: Vec<JobMount>,
    env: Vec<String>,
    /// Folders with copies and secrets, which go afterwards.
    folders: Vec<PathBuf>,
    /// Locks on caches.
    locks: Vec<fs::File>,
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
        let platform = self.config.platform();
        if !platform.serves(build.native) {
            let message = format!(
                "the stage is for {platform}, this machine runs programs for {} only",
                build.native
            );
            return Err(Error::new(Kind::Unsupported, message).hint(
                "FROM --platform=$BUILDPLATFORM lets a stage run here, and COPY --from takes what it has made",
            ));
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
                        error.tail = tail.lines().into();
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
                });
            }
            MountKind::Cache { .. } => {
                let source = self.cache(mount, &target, word, all)?;
                all.mounts.push(JobMount::Bind {
                    source,
                    target,
                    readonly: mount.readonly,
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
                // One that can't be reached is told now, not by ssh in the step.
                UnixStream::connect(agent)
                    .map_err(|error| Error::io(format!("pass the SSH agent {id} on"), error))?;
                let target = match target.is_empty() {
                    true => format!("/run/buildkit/ssh_agent.{index}"),
                    false => target,
                };
                all.env.push(format!("SSH_AUTH_SOCK={target}"));
                all.mounts.push(JobMount::Socket {
                    source: agent.clone(),
                    target,
                    mode: *mode,
                    owner: (*uid, *gid),
                });
            }
        }
        Ok(())
    }
}

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
