//! Files of git repositories, for contexts and ADD.
//!
//! The program `git` fetches, as it knows the user's proxies, logins and keys. It writes
//! objects and nothing else: no work tree, hence no link that could lead out of one, and
//! neither hooks nor filters. The files go from its objects into a layer that can be read.

mod keep;
mod program;
mod submodules;
mod tree;

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use isola_build::{GitAddress, GitScheme};
use isola_images::making::Lease;
use isola_images::{Layer, Store, TarWriter};

use crate::error::{Code, Failure, Result};
use program::Git;

/// Submodules in submodules; more are refused.
const DEEPEST: usize = 8;
/// Bytes on their way to the layer.
const BUFFER: usize = 256 << 10;

/// What is to be fetched.
pub(super) struct Wanted<'a> {
    pub(super) address: &'a GitAddress,
    /// The SSH agent to ask, if it is not the user's own.
    pub(super) agent: Option<&'a Path>,
    /// With `.git`.
    pub(super) keep: bool,
    /// What the commit has to begin with.
    pub(super) commit: Option<&'a str>,
}

/// A repository that was fetched.
struct Fetched<'a> {
    git: Git<'a>,
    address: &'a GitAddress,
    commit: String,
    /// When it was committed, in seconds since 1970.
    time: i64,
}

/// Fetches, and gives the files as a layer that the lease keeps.
pub(super) fn fetch(store: &Store, lease: &Lease, wanted: &Wanted<'_>) -> Result<Layer> {
    let fetched = fetch_commit(lease.folder()?, wanted.address, wanted.agent)?;
    let commits = [wanted.commit, wanted.address.commit.as_deref()];
    if let Some(commit) = commits
        .into_iter()
        .flatten()
        .find(|&commit| !fetched.commit.starts_with(commit))
    {
        let message = format!(
            "{} should be at the commit {commit}, but is at {}",
            shown(&wanted.address.remote),
            fetched.commit
        );
        return Err(Failure::new(Code::Invalid, message));
    }
    let (reader, writer) =
        std::io::pipe().map_err(|error| Failure::system("make a pipe", error))?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| pack(&fetched, lease, wanted, writer));
        let layer = store.keep_archive(lease, reader);
        // Why the stream broke off is the reason for what followed from it.
        match packing.join() {
            Ok(Ok(())) => Ok(layer?),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::internal("the reader of the repository has failed")),
        }
    })
}

fn pack(
    fetched: &Fetched<'_>,
    lease: &Lease,
    wanted: &Wanted<'_>,
    out: std::io::PipeWriter,
) -> Result<()> {
    let mut tar = TarWriter::new(BufWriter::with_capacity(BUFFER, out));
    let mut modules = tree::pack(fetched, wanted.address.folder.as_deref(), b"", &mut tar)?;
    let mut fetched_modules = Vec::new();
    for depth in 0.. {
        let Some(module) = modules.pop() else { break };
        if module.depth > DEEPEST || depth > 1000 {
            let message = format!("{} has too many submodules", shown(&wanted.address.remote));
            return Err(Failure::new(Code::Invalid, message));
        }
        fetched_modules.push(module);
        let module = &fetched_modules[fetched_modules.len() - 1];
        let inner = fetch_commit(lease.folder()?, &module.address, wanted.agent)?;
        let found = tree::pack(&inner, None, &module.path, &mut tar)?;
        modules.extend(found.into_iter().map(|inner| submodules::Module {
            depth: module.depth + 1,
            ..inner
        }));
    }
    if (wanted.keep || wanted.address.keep) && wanted.address.folder.is_none() {
        keep::pack(fetched, &mut tar)?;
    }
    tar.finish()
        .and_then(|mut out| std::io::Write::flush(&mut out))
        .map_err(|error| Failure::system("pass the repository's files on", error))
}

/// Gets what an address means, with as little of its history as the server can do.
fn fetch_commit<'a>(
    folder: PathBuf,
    address: &'a GitAddress,
    agent: Option<&'a Path>,
) -> Result<Fetched<'a>> {
    let git = Git {
        folder: folder.join("repository"),
        agent,
        scheme: address.scheme,
    };
    let failed = |why: String| {
        let what = match &address.reference {
            Some(reference) => format!("{reference} of {}", shown(&address.remote)),
            None => shown(&address.remote),
        };
        Failure::new(Code::Registry, format!("cannot fetch {what}: {why}"))
    };
    git.init()?;
    let reference = address.reference.as_deref().unwrap_or("HEAD");
    let hex = |text: &str| text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let words = ["fetch", "--quiet", "--no-tags", "--depth=1", "--"];
    let found = match git.try_run(&[&words[..], &[&address.remote, reference]].concat())? {
        Ok(_) => "FETCH_HEAD",
        // Servers need not give single commits, nor a part of the history.
        Err(why) if hex(reference) || why.contains("shallow") => {
            let all = [
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
                "+HEAD:refs/isola",
            ];
            let words = ["fetch", "--quiet", "--no-tags", "--", &address.remote];
            git.try_run(&[&words[..], &all].concat())?
                .map_err(&failed)?;
            if reference == "HEAD" {
                "refs/isola"
            } else {
                reference
            }
        }
        Err(why) => return Err(failed(why)),
    };
    let peeled = format!("{found}^{{commit}}");
    let words = ["rev-parse", "--verify", "--end-of-options", &peeled];
    let commit = git.try_run(&words)?;
    let commit = commit.map_err(|_| failed("it has no such commit".into()))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let words = ["log", "--no-show-signature", "-1", "--format=%ct", &commit];
    let time = git.try_run(&words)?.map_err(&failed)?;
    let time = String::from_utf8_lossy(&time).trim().parse().unwrap_or(0);
    Ok(Fetched {
        git,
        address,
        commit,
        time,
    })
}

/// A repository's address without a user and a password.
pub(super) fn shown(remote: &str) -> String {
    match remote.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{}", &rest[end..])
        }
        None => remote.to_owned(),
    }
}

/// Refuses what an instruction may not name: a Dockerfile can be anybody's.
pub(super) fn check_source(address: &GitAddress, has_agent: bool) -> Result<()> {
    let remote = shown(&address.remote);
    match address.scheme {
        GitScheme::File => {
            let message = format!("{remote}: a Dockerfile can't name repositories of this machine");
            Err(Failure::new(Code::Invalid, message)
                .hint("--build-context NAME=file://... lets it copy from one"))
        }
        GitScheme::Ssh if !has_agent => {
            let message = format!("{remote} is spoken to by ssh, and the build was given no agent");
            Err(Failure::new(Code::Invalid, message)
                .hint("--ssh default passes the socket of SSH_AUTH_SOCK on"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn passwords_are_not_shown() {
        for (remote, shown) in [
            ("https://u:secret@h.test/a@b.git", "https://h.test/a@b.git"),
            ("https://h.test/a.git", "https://h.test/a.git"),
            ("ssh://git@h.test:22", "ssh://h.test:22"),
            ("git@h.test:a/b", "git@h.test:a/b"),
        ] {
            assert_eq!(super::shown(remote), shown);
        }
    }
}
