//! Reads a log over its rotated files, from the oldest wanted line on, and goes
//! on where it stopped when more has been written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Entry;

/// Bytes read at once when looking for the last lines.
const PIECE: u64 = 64 * 1024;
/// A longer line is damage: the writer cuts far below.
const LONGEST: usize = 4 << 20;

/// Goes through a log, oldest entry first.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    /// Files that are still to be read, oldest first; the last is the newest.
    files: VecDeque<(u64, BufReader<File>)>,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
}

impl LogReader {
    /// Opens a log at its last `tail` lines, or at its beginning. One that is not
    /// there (nothing was written yet) is empty.
    pub(crate) fn open(path: &Path, tail: Option<u64>) -> io::Result<LogReader> {
        let mut reader = LogReader {
            path: path.to_owned(),
            files: VecDeque::new(),
            partial: Vec::new(),
        };
        let mut wanted = tail;
        for number in 0.. {
            let Some((inode, mut file)) = open(&numbered(path, number))? else {
                // The newest may be missing for a moment while it is rotated.
                if number == 0 {
                    continue;
                }
                break;
            };
            // A rotation in between shows the same file under its next number.
            if reader.files.iter().any(|(known, _)| *known == inode) {
                continue;
            }
            if let Some(left) = wanted {
                let found = seek_to_last_lines(&mut file, left)?;
                wanted = Some(left - found);
            }
            reader.files.push_front((inode, BufReader::new(file)));
            if wanted == Some(0) {
                break;
            }
        }
        Ok(reader)
    }

    /// The next entry that is there by now.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let Some((_, file)) = self.files.front_mut() else {
                if !self.open_newer()? {
                    return Ok(None);
                }
                continue;
            };
            let room = LONGEST - self.partial.len().min(LONGEST);
            let count = file
                .by_ref()
                .take(room as u64)
                .read_until(b'\n', &mut self.partial)?;
            if self.partial.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.partial);
                if let Some(entry) = Entry::parse(&line) {
                    return Ok(Some(entry));
                }
            } else if room == 0 {
                self.partial.clear();
            } else if count == 0 && !self.next_file()? {
                return Ok(None);
            }
        }
    }

    /// Leaves a file that is read to its end, if there is a newer one.
    fn next_file(&mut self) -> io::Result<bool> {
        if self.files.len() == 1 && !self.open_newer()? {
            return Ok(false);
        }
        // What was written between its last read and its rotation comes first.
        let (_, file) = &mut self.files[0];
        if file.fill_buf()?.is_empty() {
            self.files.pop_front();
            self.partial.clear();
        }
        Ok(true)
    }

    /// Opens files that are newer than the last that is known, after a rotation.
    fn open_newer(&mut self) -> io::Result<bool> {
        let known = self.files.back().map(|(inode, _)| *inode);
        let mut newer = VecDeque::new();
        for number in 0.. {
            match open(&numbered(&self.path, number))? {
                Some((inode, _)) if Some(inode) == known => break,
                Some((inode, file)) => newer.push_front((inode, BufReader::new(file))),
                None if number == 0 => return Ok(false),
                None => break,
            }
        }
        let some = !newer.is_empty();
        self.files.extend(newer);
        Ok(some)
    }
}

/// `log.json`, `log.json.1`...
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn open(path: &Path) -> io::Result<Option<(u64, File)>> {
    match File::open(path) {
        Ok(file) => Ok(Some((file.metadata()?.ino(), file))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Moves to the beginning of the last `wanted` lines and returns how many there
/// are from there on.
fn seek_to_last_lines(file: &mut File, wanted: u64) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    if wanted == 0 {
        return Ok(0);
    }
    let mut found = 0;
    let mut buffer = Vec::new();
    let size = end;
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        buffer.clear();
        file.seek(SeekFrom::Start(start))?;
        file.by_ref().take(end - start).read_to_end(&mut buffer)?;
        for (at, byte) in buffer.iter().enumerate().rev() {
            let after = start + at as u64 + 1;
            // The end of the last line does not begin another.
            if *byte == b'\n' && after < size {
                found += 1;
                if found == wanted {
                    file.seek(SeekFrom::Start(after))?;
                    return Ok(found);
                }
            }
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(if size > 0 { found + 1 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{OpenOptions, rename};
    use std::io::Write;

    fn write(path: &Path, texts: impl IntoIterator<Item = u32>) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        for text in texts {
            let line = format!(
                "{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-22T12:00:00Z\"}}\n"
            );
            file.write_all(line.as_bytes()).unwrap();
        }
    }

    fn rest(reader: &mut LogReader) -> Vec<u32> {
        let entries = std::iter::from_fn(|| reader.next().unwrap());
        entries
            .map(|entry| entry.log.trim().parse().unwrap())
            .collect()
    }

    #[test]
    fn rotated_files_are_one_log_and_its_tail_crosses_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        write(&numbered(&path, 2), 0..10);
        write(&numbered(&path, 1), 10..20);
        write(&path, 20..25);
        let all = |tail| rest(&mut LogReader::open(&path, tail).unwrap());
        assert_eq!(all(None), (0..25).collect::<Vec<_>>());
        for tail in [0, 1, 4, 5, 6, 15, 16, 24, 25, 99] {
            let first = 25_u32.saturating_sub(tail);
            assert_eq!(
                all(Some(tail.into())),
                (first..25).collect::<Vec<_>>(),
                "{tail}"
            );
        }
    }

    #[test]
    fn following_survives_rotation_and_half_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut reader = LogReader::open(&path, None).unwrap();
        assert_eq!(rest(&mut reader), [0_u32; 0]);
        write(&path, 0..2);
        assert_eq!(rest(&mut reader), [0, 1]);
        write(&path, 2..3);
        rename(&path, numbered(&path, 1)).unwrap();
        assert_eq!(rest(&mut reader), [2]);
        write(&path, 3..4);
        rename(numbered(&path, 1), numbered(&path, 2)).unwrap();
        rename(&path, numbered(&path, 1)).unwrap();
        write(&path, 4..5);
        assert_eq!(rest(&mut reader), [3, 4]);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"log\":\"5\",\"stream\":\"std").unwrap();
        assert_eq!(rest(&mut reader), [0_u32; 0]);
        file.write_all(b"err\",\"time\":\"2026-11-22T12:00:00Z\"}\nrubbish\n")
            .unwrap();
        assert!(reader.next().unwrap().unwrap().is_stderr());
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn long_lines_are_counted_backwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let long = "x".repeat(200_000);
        let line = format!(
            "{{\"log\":\"{long}\",\"stream\":\"stdout\",\"time\":\"2026-11-22T12:00:00Z\"}}\n"
        );
        std::fs::write(&path, line.repeat(3)).unwrap();
        let mut reader = LogReader::open(&path, Some(2)).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().log.len(), 200_000);
        assert!(reader.next().unwrap().is_some());
        assert!(reader.next().unwrap().is_none());
    }
}
