//! Addresses of git repositories, as contexts of builds and sources of ADD. Pure: what
//! fetches is someone else's.

use std::borrow::Cow;

/// Digits of a commit that tell it from others.
const SHORTEST_COMMIT: usize = 7;

/// A repository, and what of it is meant: `ADDRESS#REF:FOLDER`, or with names as
/// `ADDRESS?ref=REF&subdir=FOLDER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitAddress {
    /// As git takes it.
    pub remote: String,
    /// What it is spoken to with.
    pub scheme: GitScheme,
    /// A branch, a tag or a commit; the remote's own choice.
    pub reference: Option<String>,
    /// A folder of it; all.
    pub folder: Option<String>,
    /// What the commit has to begin with.
    pub commit: Option<String>,
    /// Its `.git` is wanted, too.
    pub keep: bool,
}

/// How a repository is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitScheme {
    /// `https`.
    Https,
    /// `http`, which proves nothing.
    Http,
    /// `git`, which proves nothing, too.
    Git,
    /// `ssh`, also as `USER@HOST:PATH`.
    Ssh,
    /// `file`: a repository of this machine.
    File,
}

impl GitScheme {
    /// As addresses have it.
    pub fn name(self) -> &'static str {
        match self {
            GitScheme::Https => "https",
            GitScheme::Http => "http",
            GitScheme::Git => "git",
            GitScheme::Ssh => "ssh",
            GitScheme::File => "file",
        }
    }
}

impl GitAddress {
    /// Reads an address. `None` if it is none of a repository: of the schemes that others
    /// use, too, only what ends with `.git` is one.
    ///
    /// # Errors
    /// It is one, but can't be understood.
    pub fn parse(text: &str) -> Option<Result<GitAddress, String>> {
        let (remote, fragment) = match text.split_once('#') {
            Some((remote, fragment)) => (remote, Some(fragment)),
            None => (text, None),
        };
        let (remote, query) = match remote.split_once('?') {
            Some((remote, query)) => (remote, Some(query)),
            None => (remote, None),
        };
        let scheme = scheme(remote)?;
        let Some(query) = query else {
            return Some(read(remote, scheme, fragment));
        };
        Some(match fragment {
            Some(_) => Err("it has both parts after `?` and a `#`".into()),
            None => named(remote, scheme, query),
        })
    }

    /// The repository that this one names as its submodule, at a commit. It may be no
    /// nearer to this machine than the repository itself.
    ///
    /// # Errors
    /// The address can't be understood, or names a repository of this machine.
    pub fn submodule(&self, url: &str, commit: &str) -> Result<GitAddress, String> {
        let remote = match url.starts_with("./") || url.starts_with("../") {
            true => relative(&self.remote, url)?,
            false => url.to_owned(),
        };
        let scheme = match remote.split_once("://") {
            Some(("https", _)) => GitScheme::Https,
            Some(("http", _)) => GitScheme::Http,
            _ => scheme(&remote).ok_or_else(|| format!("{remote:?} is no address"))?,
        };
        if scheme == GitScheme::File && self.scheme != GitScheme::File {
            return Err("it names a repository of this machine".into());
        }
        if scheme == GitScheme::Ssh && self.scheme != GitScheme::Ssh {
            return Err("it is spoken to by ssh, which its repository is not".into());
        }
        read(&remote, scheme, Some(commit))
    }
}

/// A path from a repository to another of the same server.
fn relative(remote: &str, path: &str) -> Result<String, String> {
    let mut at = remote.trim_end_matches('/');
    let mut rest = path;
    loop {
        if let Some(next) = rest.strip_prefix("./") {
            rest = next;
        } else if let Some(next) = rest.strip_prefix("../") {
            let cut = at
                .rfind(['/', ':'])
                .filter(|&cut| !at[..cut].ends_with('/') && cut > 0);
            let cut = cut.ok_or_else(|| format!("{path:?} leads above the server"))?;
            // `HOST:` keeps its colon.
            at = &at[..cut + usize::from(at.as_bytes()[cut] == b':')];
            rest = next;
        } else {
            let slash = if at.ends_with(':') { "" } else { "/" };
            return Ok(format!("{at}{slash}{rest}"));
        }
    }
}

fn scheme(remote: &str) -> Option<GitScheme> {
    let named = remote.trim_end_matches('/').ends_with(".git");
    match remote.split_once("://") {
        Some(("git", _)) => Some(GitScheme::Git),
        Some(("ssh" | "git+ssh", _)) => Some(GitScheme::Ssh),
        Some(("file", _)) => Some(GitScheme::File),
        Some(("https", _)) if named => Some(GitScheme::Https),
        Some(("http", _)) if named => Some(GitScheme::Http),
        Some(_) => None,
        // USER@HOST:PATH, as git has always had it.
        None => {
            let (host, path) = remote.split_once(':')?;
            let (user, host) = host.split_once('@')?;
            let plain = |text: &str| !text.is_empty() && !text.contains('/');
            (plain(user) && plain(host) && !path.is_empty()).then_some(GitScheme::Ssh)
        }
    }
}

/// What is meant, by names: those that BuildKit takes.
fn named(remote: &str, scheme: GitScheme, query: &str) -> Result<GitAddress, String> {
    let (mut reference, mut folder): (Option<Cow<'_, str>>, Option<Cow<'_, str>>) = (None, None);
    let (mut commit, mut keep) = (None, false);
    let twice = "it names a branch, tag or commit twice";
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let found: Cow<'_, str> = match &*name {
            "ref" => value,
            "branch" => format!("refs/heads/{value}").into(),
            "tag" => format!("refs/tags/{value}").into(),
            "subdir" => {
                folder = Some(value);
                continue;
            }
            "commit" | "checksum" if is_commit(&value) => {
                commit = Some(value.into_owned());
                continue;
            }
            "commit" | "checksum" => return Err(format!("{value:?} is no commit")),
            "keep-git-dir" => {
                keep = match &*value {
                    "" | "1" | "true" => true,
                    "0" | "false" => false,
                    other => return Err(format!("keep-git-dir={other} is neither true nor false")),
                };
                continue;
            }
            other => {
                return Err(format!(
                    "{other} is none of ref, branch, tag, subdir, commit, keep-git-dir"
                ));
            }
        };
        if reference.replace(found).is_some() {
            return Err(twice.into());
        }
    }
    // A commit alone is what is meant, not only what is checked.
    let reference = reference.or_else(|| commit.clone().map(Cow::from));
    let parts = [reference.unwrap_or_default(), folder.unwrap_or_default()];
    if parts[0].contains(':') {
        return Err(format!("{:?} is no branch, tag or commit", parts[0]));
    }
    Ok(GitAddress {
        commit,
        keep,
        ..read(remote, scheme, Some(&parts.join(":")))?
    })
}

/// Whether this is a commit, or enough of one to tell it from others.
pub(crate) fn is_commit(text: &str) -> bool {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits && text.len() >= SHORTEST_COMMIT
}

fn read(remote: &str, scheme: GitScheme, fragment: Option<&str>) -> Result<GitAddress, String> {
    let plain = |text: &str| text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    // What begins like a flag would be one for git and ssh.
    let host = remote.split_once("://").map_or(remote, |(_, rest)| rest);
    if !plain(remote) || host.is_empty() || host.starts_with('-') || remote.contains("@-") {
        return Err("it is no address of a repository".into());
    }
    let (reference, folder) = match fragment.unwrap_or_default().split_once(':') {
        Some((reference, folder)) => (reference, folder),
        None => (fragment.unwrap_or_default(), ""),
    };
    let sound = plain(reference)
        && !reference.starts_with('-')
        && !reference.contains("..")
        && !reference.contains([':', '^', '~', '?', '*', '[', '\\']);
    if !sound {
        return Err(format!("{reference:?} is no branch, tag or commit"));
    }
    let folder = folder.trim_matches('/');
    if folder.split('/').any(|part| part == "..") {
        return Err(format!("the folder {folder:?} leads out of the repository"));
    }
    let given = |text: &str| (!text.is_empty() && text != ".").then(|| text.to_owned());
    Ok(GitAddress {
        remote: remote.to_owned(),
        scheme,
        reference: given(reference),
        folder: given(folder),
        commit: None,
        keep: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_has_names() {
        let full = "0123456789abcdef0123456789abcdef01234567";
        for (query, reference, folder, commit, keep) in [
            ("ref=main", "main", "", "", false),
            (
                "branch=f%2Fx&subdir=a/b",
                "refs/heads/f/x",
                "a/b",
                "",
                false,
            ),
            ("tag=v1&keep-git-dir=1", "refs/tags/v1", "", "", true),
            ("subdir=%2Fa&keep-git-dir=false", "", "a", "", false),
            (
                "tag=v1&commit=0123abc",
                "refs/tags/v1",
                "",
                "0123abc",
                false,
            ),
            (&format!("checksum={full}"), full, "", full, false),
        ] {
            let text = format!("https://h.test/a.git?{query}");
            let found = GitAddress::parse(&text).unwrap().unwrap();
            let text_of = |part: &Option<String>| part.clone().unwrap_or_default();
            assert_eq!(found.remote, "https://h.test/a.git", "{text}");
            assert_eq!(text_of(&found.reference), reference, "{text}");
            assert_eq!(text_of(&found.folder), folder, "{text}");
            assert_eq!(text_of(&found.commit), commit, "{text}");
            assert_eq!(found.keep, keep, "{text}");
        }
        for query in [
            "ref=a&tag=b",
            "nosuch=1",
            "commit=xyz",
            "commit=012",
            "subdir=../x",
            "ref=-x",
            "ref=a:b",
            "ref=a#b",
            "keep-git-dir=perhaps",
        ] {
            let text = format!("https://h.test/a.git?{query}");
            assert!(GitAddress::parse(&text).unwrap().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_read() {
        for (text, scheme, remote, reference, folder) in [
            (
                "https://h.test/a/b.git",
                "https",
                "https://h.test/a/b.git",
                "",
                "",
            ),
            (
                "http://h.test/a.git#main",
                "http",
                "http://h.test/a.git",
                "main",
                "",
            ),
            (
                "https://h.test/a.git#:x/y",
                "https",
                "https://h.test/a.git",
                "",
                "x/y",
            ),
            (
                "https://h.test/a.git#v1.0:/x/",
                "https",
                "https://h.test/a.git",
                "v1.0",
                "x",
            ),
            ("git://h.test/a", "git", "git://h.test/a", "", ""),
            ("git@h.test:a/b", "ssh", "git@h.test:a/b", "", ""),
            (
                "me@h.test:a.git#f/x:d",
                "ssh",
                "me@h.test:a.git",
                "f/x",
                "d",
            ),
            (
                "ssh://git@h.test:22/a#refs/pull/1/head",
                "ssh",
                "ssh://git@h.test:22/a",
                "refs/pull/1/head",
                "",
            ),
            ("file:///srv/a#b:c", "file", "file:///srv/a", "b", "c"),
        ] {
            let found = GitAddress::parse(text).unwrap().unwrap();
            let text_of = |part: &Option<String>| part.clone().unwrap_or_default();
            assert_eq!(found.scheme.name(), scheme, "{text}");
            assert_eq!(found.remote, remote, "{text}");
            assert_eq!(text_of(&found.reference), reference, "{text}");
            assert_eq!(text_of(&found.folder), folder, "{text}");
        }
        for text in [
            ".",
            "a/b",
            "a.git",
            "https://h.test/a.tar",
            "ext::sh -c x",
            "a:b",
            "./x@y:z/w",
        ] {
            assert!(GitAddress::parse(text).is_none(), "{text}");
        }
        let of = |remote: &str, url: &str| {
            let parent = GitAddress::parse(remote).unwrap().unwrap();
            parent.submodule(url, "c0ffee").map(|found| found.remote)
        };
        let there = "https://h.test/a/b.git";
        assert_eq!(of(there, "../c").unwrap(), "https://h.test/a/c");
        assert_eq!(of(there, "./c").unwrap(), "https://h.test/a/b.git/c");
        assert_eq!(of("git@h.test:a.git", "../c").unwrap(), "git@h.test:c");
        assert_eq!(of(there, "https://o.test/x").unwrap(), "https://o.test/x");
        for url in ["file:///x", "/x", "../../../../x", "git@h.test:x", "-x"] {
            assert!(of(there, url).is_err(), "{url}");
        }
        for text in [
            "ssh://-oProxyCommand=x/a",
            "git@-x:a",
            "https://h.test/a.git#-x",
            "https://h.test/a.git#a..b",
            "https://h.test/a.git#a:../b",
            "https://h.test/a b.git",
            "file://",
        ] {
            assert!(GitAddress::parse(text).unwrap().is_err(), "{text}");
        }
    }
}
