//! `--chown` and `--chmod`.

use isola_images::files::{FileKind, Files};

/// Longest passwd or group file that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// Reads `USER`, `USER:GROUP`, in numbers or in names of the image's own files.
///
/// # Errors
/// A name that is not in them.
pub(crate) fn owner(text: &str, files: &Files) -> Result<(u32, u32), String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let read = |path: &str| -> Result<String, String> {
        let content = files
            .small(path.as_bytes(), LONGEST)
            .map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&content.unwrap_or_default()).into_owned())
    };
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let (uid, own_group) = match number(user) {
        // As Docker has it, a number alone is that of the group, too.
        Some(uid) => (uid, uid),
        None if user.is_empty() => (0, 0),
        None => {
            let table = read("/etc/passwd")?;
            let row = find(&table, user)
                .ok_or(format!("the image's /etc/passwd has no user {user:?}"))?;
            let id = |index: usize| row.get(index).and_then(|text| number(text));
            let damaged = format!("the image's /etc/passwd has no numbers for {user:?}");
            (id(2).ok_or(damaged.clone())?, id(3).ok_or(damaged)?)
        }
    };
    let gid = match group {
        None => own_group,
        Some(group) => match number(group) {
            Some(gid) => gid,
            None => {
                let table = read("/etc/group")?;
                let row = find(&table, group);
                row.and_then(|row| row.get(2).and_then(|text| number(text)))
                    .ok_or(format!("the image's /etc/group has no group {group:?}"))?
            }
        },
    };
    Ok((uid, gid))
}

fn find<'a>(table: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let rows = table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    rows.into_iter().find(|row| row.first() == Some(&name))
}

/// What `--chmod` makes of modes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chmod {
    /// Octal digits.
    Exact(u32),
    /// `u+rwX,go=r`: who, operation, permissions.
    Changes(Vec<(String, char, String)>),
}

impl Chmod {
    /// Reads octal digits or chmod(1)'s letters.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn parse(text: &str) -> Result<Chmod, String> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777);
            return mode
                .map(Chmod::Exact)
                .ok_or(format!("{text:?} is no octal mode"));
        }
        let mut changes = Vec::new();
        for part in text.split(',') {
            let wrong = || format!("{text:?} is neither an octal mode nor one as in u+x,go=rX");
            let at = part.find(['+', '-', '=']).ok_or_else(wrong)?;
            let (who, rest) = part.split_at(at);
            let operation = rest.chars().next().ok_or_else(wrong)?;
            let what = &rest[1..];
            let fits = who.chars().all(|c| "ugoa".contains(c))
                && what.chars().all(|c| "rwxXst".contains(c));
            if !fits {
                return Err(wrong());
            }
            changes.push((who.to_owned(), operation, what.to_owned()));
        }
        Ok(Chmod::Changes(changes))
    }

    /// The new mode of a file.
    pub(crate) fn apply(&self, mode: u32, kind: FileKind) -> u32 {
        let changes = match self {
            Chmod::Exact(mode) => return *mode,
            Chmod::Changes(changes) => changes,
        };
        let mut mode = mode;
        for (who, operation, what) in changes {
            let who = if who.is_empty() || who.contains('a') {
                "ugo"
            } else {
                who
            };
            let shift = |c: char| match c {
                'u' => 6,
                'g' => 3,
                _ => 0,
            };
            let mut bits = 0;
            let mut mask = 0;
            for (letter, shift) in who.chars().map(|c| (c, shift(c))) {
                mask |= 0o7 << shift;
                for c in what.chars() {
                    bits |= match c {
                        'r' => 0o4 << shift,
                        'w' => 0o2 << shift,
                        'x' => 0o1 << shift,
                        'X' if kind == FileKind::Dir || mode & 0o111 != 0 => 0o1 << shift,
                        's' if letter == 'u' => 0o4000,
                        's' if letter == 'g' => 0o2000,
                        't' => 0o1000,
                        _ => 0,
                    };
                }
            }
            match operation {
                '+' => mode |= bits,
                '-' => mode &= !bits,
                _ => mode = (mode & !mask) | bits,
            }
        }
        mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change() {
        for (text, mode, kind, new) in [
            ("755", 0o644, FileKind::File, 0o755),
            ("u+x", 0o644, FileKind::File, 0o744),
            ("go-r,u=rw", 0o744, FileKind::File, 0o600),
            ("a+X", 0o644, FileKind::File, 0o644),
            ("a+X", 0o600, FileKind::Dir, 0o711),
            ("+x", 0o644, FileKind::File, 0o755),
            ("u+s", 0o755, FileKind::File, 0o4755),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(mode, kind), new, "{text}");
        }
        for wrong in ["999", "u", "z+x", "u+q", ""] {
            assert!(Chmod::parse(wrong).is_err() || wrong.is_empty(), "{wrong}");
        }
    }
}
