//! Reading the journal, and waiting for more of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::inotify;

use crate::RECORD_SEPARATOR;
use crate::event::Event;
use crate::writer::{Journal, file};

/// A longer record is damage.
const LONGEST: usize = 4 << 20;

/// Goes through the journal, oldest event first, and goes on when there is more.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    /// Oldest first; the last is the one that is written to.
    files: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    inode: u64,
    file: BufReader<File>,
    /// The beginning of a record whose end is not there yet.
    partial: Vec<u8>,
}

impl Reader {
    /// At the journal's beginning.
    pub fn new(journal: &Journal) -> Reader {
        Reader {
            folder: journal.folder().to_owned(),
            files: VecDeque::new(),
        }
    }

    /// The next event that is there by now.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            for open in &mut self.files {
                if let Some(event) = open.next()? {
                    return Ok(Some(event));
                }
            }
            if !self.open_newer()? {
                return Ok(None);
            }
        }
    }

    /// Opens files that are newer than the last known; those before the last two are
    /// read to their end, and nobody writes to them any more.
    fn open_newer(&mut self) -> io::Result<bool> {
        let known = self.files.back().map(|open| open.inode);
        let mut newer: VecDeque<Open> = VecDeque::new();
        for number in 0.. {
            let open = match File::open(file(&self.folder, number)) {
                Ok(file) => Open {
                    inode: file.metadata()?.ino(),
                    file: BufReader::new(file),
                    partial: Vec::new(),
                },
                // It is renamed at this moment, and comes again with the next event.
                Err(error) if error.kind() == ErrorKind::NotFound && number == 0 => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            if Some(open.inode) == known {
                break;
            }
            // The same one under its next number.
            if newer.front().is_none_or(|other| other.inode != open.inode) {
                newer.push_front(open);
            }
        }
        let some = !newer.is_empty();
        self.files.extend(newer);
        while some && self.files.len() > 2 && self.files[0].is_read()? {
            self.files.pop_front();
        }
        Ok(some)
    }
}

impl Open {
    fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let room = LONGEST - self.partial.len().min(LONGEST);
            let count = (&mut self.file)
                .take(room as u64)
                .read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.partial);
                // What stands before is a record whose writer did not get to its end.
                let begin = line.iter().rposition(|byte| *byte == RECORD_SEPARATOR);
                let text = begin.map_or(&line[..], |begin| &line[begin + 1..]);
                if let Ok(event) = serde_json::from_slice(text) {
                    return Ok(Some(event));
                }
            } else if room == 0 {
                self.partial.clear();
            } else if count == 0 {
                return Ok(None);
            }
        }
    }

    fn is_read(&mut self) -> io::Result<bool> {
        Ok(self.file.fill_buf()?.is_empty())
    }
}

/// Tells when something was written; the kernel says so, nothing is asked again and
/// again.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
}

impl Watch {
    /// Of everything that is written from now on.
    ///
    /// # Errors
    /// The folder can't be made or watched.
    pub fn new(journal: &Journal) -> io::Result<Watch> {
        use inotify::{CreateFlags, WatchFlags};
        journal.make()?;
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, journal.folder(), events)?;
        Ok(Watch { fd })
    }

    /// Forgets what was told so far: to be called before reading what there is.
    pub fn clear(&self) {
        let mut events = [0_u8; 4096];
        while rustix::io::read(&self.fd, &mut events).is_ok_and(|count| count > 0) {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::Subject;

    fn event(action: impl std::fmt::Display) -> Event {
        Event::now(Subject::Container, action.to_string(), "x").with([("name", "a\u{1e}\n")])
    }

    fn rest(reader: &mut Reader) -> Vec<String> {
        let all = std::iter::from_fn(|| reader.next_event().unwrap());
        all.map(|event| event.action).collect()
    }

    #[test]
    fn what_is_told_is_read_and_reading_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::of(root.path());
        let mut reader = Reader::new(&journal);
        assert_eq!(reader.next_event().unwrap(), None);
        let first = event("start");
        journal.tell(&first);
        assert_eq!(reader.next_event().unwrap(), Some(first));
        assert_eq!(reader.next_event().unwrap(), None);
        journal.tell(&event("die"));
        assert_eq!(rest(&mut reader), ["die"]);
    }

    #[test]
    fn a_writer_that_was_killed_costs_its_own_record() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::of(root.path());
        journal.tell(&event("one"));
        let append = |bytes: &[u8]| {
            let path = file(journal.folder(), 0);
            let mut file = File::options().append(true).open(path).unwrap();
            file.write_all(bytes).unwrap();
        };
        append(b"\x1e{\"time\":1,\"subject\":\"cont");
        let mut reader = Reader::new(&journal);
        assert_eq!(rest(&mut reader), ["one"]);
        journal.tell(&event("two"));
        append(b"rubbish\n\n\x1e\n\x1e{}\n");
        journal.tell(&event("three"));
        assert_eq!(rest(&mut reader), ["two", "three"]);
        assert_eq!(rest(&mut Reader::new(&journal)), ["one", "two", "three"]);
    }

    #[test]
    fn it_is_bounded_and_following_crosses_files() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::of(root.path()).with_limit(400);
        let mut reader = Reader::new(&journal);
        let mut seen = Vec::new();
        for number in 0..100 {
            journal.tell(&event(number));
            if number % 3 == 0 {
                seen.extend(rest(&mut reader));
            }
        }
        seen.extend(rest(&mut reader));
        let all: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(seen, all);
        let left = rest(&mut Reader::new(&journal));
        assert!(left.len() < 30 && all.ends_with(&left), "{left:?}");
        let files = std::fs::read_dir(journal.folder()).unwrap().count();
        assert!(files <= 5, "{files}");
    }

    #[test]
    fn a_late_word_to_a_file_put_aside_is_heard() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::of(root.path()).with_limit(1);
        journal.tell(&event("one"));
        let mut reader = Reader::new(&journal);
        assert_eq!(rest(&mut reader), ["one"]);
        journal.tell(&event("two"));
        assert_eq!(rest(&mut reader), ["two"]);
        let path = file(journal.folder(), 1);
        let mut late = File::options().append(true).open(path).unwrap();
        let text = serde_json::to_string(&event("late")).unwrap();
        writeln!(late, "\u{1e}{text}").unwrap();
        assert_eq!(rest(&mut reader), ["late"]);
    }

    #[test]
    fn many_writers_at_once_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::of(root.path()).with_limit(60_000);
        let mut reader = Reader::new(&journal);
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let journal = &journal;
                scope.spawn(move || {
                    for number in 0..200 {
                        journal.tell(&event(format!("{writer}-{number}")));
                    }
                });
            }
            while seen.len() < 800 {
                seen.extend(rest(&mut reader));
            }
        });
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 800);
    }

    #[test]
    fn a_watch_wakes_up_for_what_is_written() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::of(root.path());
        let watch = Watch::new(&journal).unwrap();
        let wakes = || {
            let mut polled = [rustix::event::PollFd::new(
                &watch,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut polled, Some(&rustix::event::Timespec::default())).unwrap() > 0
        };
        assert!(!wakes());
        journal.tell(&event("one"));
        assert!(wakes());
        watch.clear();
        assert!(!wakes());
    }
}
