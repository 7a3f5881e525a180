//! The guest's serial console: what it prints goes to a file of bounded size and
//! to whoever is connected to the console's socket; what they type goes in.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use isola_init::stream::PollSet;

use crate::control::socket_path;

/// Bytes in the file before it is moved to `.1` and begun anew.
const MAX_LOG: u64 = 1 << 20;
/// Bytes taken from the guest in one turn of the loop: a flood may not starve the
/// rest, it has to wait.
const TURN: usize = 16 * 1024;
/// People at once.
const MAX_VIEWERS: usize = 8;

/// The host's side of a console.
#[derive(Debug)]
pub(crate) struct Console {
    port: UnixStream,
    ended: bool,
    path: PathBuf,
    file: File,
    size: u64,
    listener: UnixListener,
    viewers: Vec<UnixStream>,
}

impl Console {
    /// Serves the console behind `port`.
    ///
    /// # Errors
    /// The file or the socket can't be made.
    pub(crate) fn new(port: OwnedFd, log: &Path, socket: &Path) -> io::Result<Console> {
        let port = UnixStream::from(port);
        port.set_nonblocking(true)?;
        let _ = std::fs::remove_file(socket);
        let folder = File::open(socket.parent().unwrap_or(Path::new("/")))?;
        let name = socket
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let listener = UnixListener::bind(socket_path(&folder, &name))?;
        listener.set_nonblocking(true)?;
        let file = open(log)?;
        Ok(Console {
            port,
            ended: false,
            path: log.to_owned(),
            file,
            size: 0,
            listener,
            viewers: Vec::new(),
        })
    }

    /// Adds the descriptors to the next poll.
    pub(crate) fn register(&self, set: &mut PollSet) {
        if !self.ended {
            set.add(self.port.as_fd(), true, false);
        }
        set.add(self.listener.as_fd(), true, false);
        for viewer in &self.viewers {
            set.add(viewer.as_fd(), true, false);
        }
    }

    /// Moves what is there.
    pub(crate) fn dispatch(&mut self, set: &PollSet) {
        if set.readable(self.listener.as_fd())
            && let Ok((viewer, _)) = self.listener.accept()
            && self.viewers.len() < MAX_VIEWERS
            && viewer.set_nonblocking(true).is_ok()
        {
            self.viewers.push(viewer);
        }
        let mut typed = [0_u8; 1024];
        let port = &mut self.port;
        self.viewers.retain_mut(|viewer| {
            match set
                .readable(viewer.as_fd())
                .then(|| viewer.read(&mut typed))
            {
                None => true,
                // What a full guest does not take is lost, as on a real line.
                Some(Ok(count)) if count > 0 => {
                    let _ = port.write_all(&typed[..count]);
                    true
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => true,
                Some(_) => false,
            }
        });
        if !self.ended && set.readable(self.port.as_fd()) {
            self.drain();
        }
    }

    /// Takes what the guest has printed.
    pub(crate) fn drain(&mut self) {
        let mut bytes = [0_u8; TURN];
        match self.port.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self.print(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
    }

    fn print(&mut self, bytes: &[u8]) {
        // A viewer that does not keep up misses something; the guest goes on.
        self.viewers.retain_mut(|viewer| match viewer.write(bytes) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
        if self.size > MAX_LOG {
            let old = PathBuf::from(format!("{}.1", self.path.display()));
            if std::fs::rename(&self.path, old).is_ok()
                && let Ok(file) = open(&self.path)
            {
                self.file = file;
                self.size = 0;
            }
        }
        // A full disk costs the console's log, not the guest.
        if self.file.write_all(bytes).is_ok() {
            self.size += bytes.len() as u64;
        }
    }

    /// The last lines that look like the reason of an end.
    pub(crate) fn last_words(&self) -> Option<String> {
        let text = std::fs::read(&self.path).ok()?;
        let tail =
            String::from_utf8_lossy(&text[text.len().saturating_sub(16 * 1024)..]).into_owned();
        let marks = [
            "Kernel panic - not syncing",
            "isola-agent: panic",
            "Unable to mount root",
            "Out of memory",
        ];
        let line = tail
            .lines()
            .rev()
            .find(|line| marks.iter().any(|mark| line.contains(mark)))?;
        let clean: String = line
            .chars()
            .filter(|letter| !letter.is_control())
            .take(200)
            .collect();
        Some(
            clean
                .split_once("] ")
                .map_or(clean.clone(), |(_, rest)| rest.to_owned()),
        )
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn turn(console: &mut Console) {
        let mut set = PollSet::default();
        console.register(&mut set);
        set.wait(Some(Duration::from_millis(20))).unwrap();
        console.dispatch(&set);
    }

    #[test]
    fn a_viewer_sees_and_types_and_the_log_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let (log, socket) = (
            folder.path().join("console.log"),
            folder.path().join("console.sock"),
        );
        let (mut guest, port) = UnixStream::pair().unwrap();
        let mut console = Console::new(port.into(), &log, &socket).unwrap();
        let mut viewer = UnixStream::connect(&socket).unwrap();
        viewer
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        guest
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        turn(&mut console);
        guest
            .write_all(b"[    0.1] Kernel panic - not syncing: no\r\n")
            .unwrap();
        viewer.write_all(b"ls\n").unwrap();
        (0..3).for_each(|_| turn(&mut console));
        let mut bytes = [0; 64];
        let count = viewer.read(&mut bytes).unwrap();
        assert!(bytes[..count].starts_with(b"[    0.1] Kernel"));
        let count = guest.read(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"ls\n");
        assert_eq!(
            console.last_words().unwrap(),
            "Kernel panic - not syncing: no"
        );
    }

    #[test]
    fn a_flood_leaves_at_most_two_bounded_files() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        let (_guest, port) = UnixStream::pair().unwrap();
        let mut console = Console::new(port.into(), &log, &folder.path().join("s")).unwrap();
        for _ in 0..400 {
            console.print(&[b'x'; TURN]);
        }
        let sizes: u64 = ["console.log", "console.log.1"]
            .iter()
            .map(|name| folder.path().join(name).metadata().unwrap().len())
            .sum();
        assert!(sizes <= 2 * (MAX_LOG + 2 * TURN as u64), "{sizes}");
    }
}
