//! The host's resolvers.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

/// DNS's port.
pub const PORT: u16 = 53;
/// As many as libc's resolver takes (MAXNS, resolv.conf(5)).
pub const MOST: usize = 3;
/// A file that is longer is read so far, in bytes.
const LONGEST: u64 = 64 * 1024;

/// The resolvers that a file names, read again when it has changed. The file is found
/// from its folder's descriptor, so that one that was replaced is found, and without
/// a path, so that the process needs none.
#[derive(Debug)]
pub struct Resolvers {
    folder: OwnedFd,
    file: std::ffi::OsString,
    stamp: Option<Stamp>,
    servers: Vec<SocketAddr>,
}

/// What changes with a file.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    modified: (i64, i64),
}

impl Resolvers {
    /// Finds the file, through links. It need not be there yet.
    ///
    /// # Errors
    /// Its folder can't be opened.
    pub fn open(path: &Path) -> io::Result<Resolvers> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Resolvers {
            folder: rustix::fs::open(folder, flags, Mode::empty())?,
            file: file.to_owned(),
            stamp: None,
            servers: Vec::new(),
        })
    }

    /// The folder that must stay readable.
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The servers as the file names them now. While it can't be read, those that it
    /// named before.
    pub fn servers(&mut self) -> &[SocketAddr] {
        if let Ok(stat) = rustix::fs::statat(&self.folder, &self.file, AtFlags::empty()) {
            let stamp = Stamp {
                inode: stat.st_ino,
                size: stat.st_size,
                modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            };
            if self.stamp.as_ref() != Some(&stamp)
                && let Ok(text) = self.read()
            {
                self.servers = parse(&text, index);
                self.stamp = Some(stamp);
            }
        }
        &self.servers
    }

    fn read(&self) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(&self.folder, &self.file, flags, Mode::empty())?;
        let mut bytes = Vec::new();
        File::from(fd).take(LONGEST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The number of a network interface.
fn index(name: &str) -> Option<u32> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None).ok()?;
    netdevice::name_to_index(&socket, name).ok()
}

/// The servers that a text in the form of resolv.conf(5) names, at most [`MOST`]. If
/// it names none, it is the local host, as in libc.
pub fn parse(text: &str, index: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    let mut named = false;
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        named = true;
        if let Some(server) = words.next().and_then(|word| server(word, &index))
            && !servers.contains(&server)
            && servers.len() < MOST
        {
            servers.push(server);
        }
    }
    if !named {
        servers.push(SocketAddr::from(([127, 0, 0, 1], PORT)));
    }
    servers
}

fn server(word: &str, index: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let Some((address, scope)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, PORT));
    };
    let scope = scope.parse().ok().or_else(|| index(scope))?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_libc_reads_it() {
        let two = |name: &str| (name == "eth0").then_some(2);
        for (text, expected) in [
            ("", "127.0.0.1:53"),
            ("# nameserver 1.1.1.1\nsearch x\n", "127.0.0.1:53"),
            ("nameserver 1.1.1.1", "1.1.1.1:53"),
            (
                "nameserver\t1.1.1.1 # comment\r\nnameserver ::1\n",
                "1.1.1.1:53 [::1]:53",
            ),
            ("nameserver 1.1.1.1\nnameserver 1.1.1.1\n", "1.1.1.1:53"),
            ("nameserver fe80::1%eth0\n", "[fe80::1%2]:53"),
            (
                "nameserver fe80::1%7\nnameserver fe80::1%no\n",
                "[fe80::1%7]:53",
            ),
            ("nameserver\nnameserver x\nnameservers 1.1.1.1\n", ""),
            (
                "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n",
                "1.1.1.1:53 1.1.1.2:53 1.1.1.3:53",
            ),
        ] {
            let found: Vec<_> = parse(text, two).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::fs::write(&path, "nameserver 1.1.1.1\n").unwrap();
        let mut resolvers = Resolvers::open(&link).unwrap();
        assert_eq!(resolvers.servers()[0].to_string(), "1.1.1.1:53");
        let new = folder.path().join("new");
        std::fs::write(&new, "nameserver 1.1.1.2\n").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(resolvers.servers()[0].to_string(), "1.1.1.2:53");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(resolvers.servers()[0].to_string(), "1.1.1.2:53");
    }
}
