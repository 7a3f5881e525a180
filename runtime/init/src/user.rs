//! Who a process is: `user[:group]` resolved with the passwd and group files of the
//! root, as Docker does it.

use std::io::Read as _;

use isola_proto::Failure;
use isola_proto::spec::ProcessSpec;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::error::{Setup, failure};
use crate::path::{Tree, file_type};

/// Largest passwd or group file that is read, in bytes: it comes from an image.
const LIMIT: u64 = 4 << 20;

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one among them.
    pub(crate) groups: Vec<u32>,
    /// Home folder; `/` when the user has none.
    pub(crate) home: String,
}

/// Looks the user of a process up.
pub(crate) fn look_up(root: Tree<'_>, process: &ProcessSpec) -> Result<User, Failure> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    resolve(&process.user, &process.extra_groups, &passwd, &group)
}

fn read(root: Tree<'_>, path: &str) -> Result<String, Failure> {
    let what = || format!("read '{path}' of the image");
    // Without O_NONBLOCK a named pipe would hold us up for ever.
    let file = match root.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        other => other.setup(what)?,
    };
    if file_type(&file).setup(what)? != FileType::RegularFile {
        return Err(failure(format!("{}: not a regular file", what())));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .setup(what)?;
    if bytes.len() as u64 > LIMIT {
        return Err(failure(format!("{}: over {} MiB", what(), LIMIT >> 20)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// An id as a number, or `None` for a name. What looks like a number but is no id
/// is refused: it must never end up as another id (CVE-2026-30892).
fn number(text: &str) -> Result<Option<u32>, Failure> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        // The largest means "no change" to the kernel.
        Ok(id) if id != u32::MAX && text == digits => Ok(Some(id)),
        _ => Err(failure(format!("user '{text}': ids are 0 to 4294967294"))),
    }
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_lines(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = number(fields.nth(1)?).ok()??;
        let gid = number(fields.next()?).ok()??;
        Some(Passwd {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or(""),
        })
    })
}

fn group_lines(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = number(fields.nth(1)?).ok()??;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn group_id(name: &str, group: &str) -> Result<u32, Failure> {
    if let Some((_, gid, _)) = group_lines(group).find(|(known, ..)| *known == name) {
        return Ok(gid);
    }
    number(name)?.ok_or_else(|| failure(format!("group '{name}' is not in the image's /etc/group")))
}

fn resolve(spec: &str, extra: &[String], passwd: &str, group: &str) -> Result<User, Failure> {
    let (name, wanted_group) = match spec.split_once(':') {
        Some((_, "")) => return Err(failure(format!("user '{spec}': the group is empty"))),
        Some((name, group)) => (name, Some(group)),
        None => (spec, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let id = number(name)?;
    let entry = passwd_lines(passwd)
        .find(|entry| entry.name == name)
        .or_else(|| passwd_lines(passwd).find(|entry| Some(entry.uid) == id));
    let (uid, mut gid, home) = match (&entry, id) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Some(id)) => (id, 0, ""),
        (None, None) => {
            return Err(failure(format!(
                "user '{name}' is not in the image's /etc/passwd"
            )));
        }
    };
    let mut groups = Vec::new();
    match (wanted_group, &entry) {
        (Some(wanted), _) => gid = group_id(wanted, group)?,
        // A group that is asked for by name replaces the memberships.
        (None, Some(entry)) => groups.extend(
            group_lines(group)
                .filter(|(_, _, members)| {
                    members.split(',').any(|member| member.trim() == entry.name)
                })
                .map(|(_, gid, _)| gid),
        ),
        (None, None) => {}
    }
    for name in extra {
        groups.push(group_id(name, group)?);
    }
    // With the primary one missing among them, files that shut that group out would be
    // open to a process which changes its primary group (CVE-2022-36109).
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(User {
        uid,
        gid,
        groups,
        home: home.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34:web:/srv/web:/bin/false\n\
                          1000:x:7:7::/odd:\nneg:x:-1:0::/:\nbig:x:4294967296:0::/:\n";
    const GROUP: &str = "root:x:0:\nwebgroup:x:34:\nextra:x:50:web,other\nmore:x:51:other,web\n";

    #[test]
    fn users_are_resolved_as_docker_does() {
        for (spec, uid, gid, groups, home) in [
            ("", 0, 0, &[0][..], "/root"),
            ("web", 33, 34, &[34, 50, 51], "/srv/web"),
            ("33", 33, 34, &[34, 50, 51], "/srv/web"),
            ("web:extra", 33, 50, &[50], "/srv/web"),
            ("web:99", 33, 99, &[99], "/srv/web"),
            ("5:6", 5, 6, &[6], "/"),
            ("5", 5, 0, &[0], "/"),
            (":extra", 0, 50, &[50], "/root"),
            // A name that looks like a number wins over the number.
            ("1000", 7, 7, &[7], "/odd"),
            ("4294967294", 4_294_967_294, 0, &[0], "/"),
        ] {
            let user = resolve(spec, &[], PASSWD, GROUP).unwrap();
            let wanted = User {
                uid,
                gid,
                groups: groups.to_vec(),
                home: home.to_owned(),
            };
            assert_eq!(user, wanted, "{spec}");
        }
    }

    #[test]
    fn what_is_no_user_is_refused() {
        for spec in [
            "4294967296",
            "-1",
            "4294967295",
            "+5",
            "nobody",
            "web:",
            "web:nogroup",
            "neg",
            "big",
            "0:-1",
        ] {
            assert!(resolve(spec, &[], PASSWD, GROUP).is_err(), "{spec}");
        }
        assert!(resolve("0", &["4294967295".to_owned()], PASSWD, GROUP).is_err());
    }

    #[test]
    fn groups_are_added() {
        let user = resolve(
            "web",
            &["webgroup".to_owned(), "7".to_owned(), "50".to_owned()],
            PASSWD,
            GROUP,
        )
        .unwrap();
        assert_eq!(user.groups, [7, 34, 50, 51]);
    }
}
