//! A file that is read while it is still being written.
//!
//! A blob goes from the archive to its file in the store, and a worker makes the
//! layer from that file at the same time: one thread reads and hashes the
//! compressed bytes, another one unpacks, and nothing waits for the whole blob.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct State {
    written: u64,
    end: End,
    /// The reader is gone, at the end or before it.
    abandoned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Done,
    Aborted,
}

#[derive(Debug)]
struct Shared {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is a plain value: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        if state.end == End::Open {
            state.end = end;
        }
        self.changed.notify_all();
    }
}

/// The writing side. Readers see an error if it is dropped before
/// [`SpoolWriter::finish`].
#[derive(Debug)]
pub(crate) struct SpoolWriter(Arc<Shared>);

/// A reading side, from the start.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    shared: Arc<Shared>,
    position: u64,
}

/// Both sides of an empty file.
pub(crate) fn spool(file: File) -> (SpoolWriter, SpoolReader) {
    let state = Mutex::new(State {
        written: 0,
        end: End::Open,
        abandoned: false,
    });
    let shared = Arc::new(Shared {
        file,
        state,
        changed: Condvar::new(),
    });
    (
        SpoolWriter(Arc::clone(&shared)),
        SpoolReader {
            shared,
            position: 0,
        },
    )
}

impl SpoolWriter {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&self.0.file).write_all(bytes)?;
        self.0.state().written += bytes.len() as u64;
        self.0.changed.notify_all();
        Ok(())
    }

    pub(crate) fn finish(self) {
        self.0.end(End::Done);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.state().abandoned
    }
}

impl SpoolReader {
    /// Waits until what was written is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.shared.file.sync_data()
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        self.shared.state().abandoned = true;
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.0.end(End::Aborted);
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.state();
        while state.written == self.position && state.end == End::Open {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.end == End::Aborted {
            return Err(io::Error::other("the archive could not be read to its end"));
        }
        let available = state.written - self.position;
        drop(state);
        let n = buf
            .len()
            .min(usize::try_from(available).unwrap_or(usize::MAX));
        if n > 0 {
            self.shared
                .file
                .read_exact_at(&mut buf[..n], self.position)?;
            self.position += n as u64;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_follows_its_writer() {
        let (mut writer, mut reader) = spool(tempfile::tempfile().unwrap());
        let reading = std::thread::spawn(move || {
            let mut out = Vec::new();
            reader.read_to_end(&mut out).unwrap();
            out
        });
        let data: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for piece in data.chunks(7777) {
            writer.write(piece).unwrap();
        }
        writer.finish();
        assert!(reading.join().unwrap() == data);
    }

    #[test]
    fn a_reader_learns_that_its_writer_gave_up() {
        let (mut writer, mut reader) = spool(tempfile::tempfile().unwrap());
        writer.write(b"x").unwrap();
        drop(writer);
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}
