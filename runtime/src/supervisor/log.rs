//! The log of a workload's output: one JSON object per line, as Docker's
//! json-file driver writes them, rotated by size.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::workload::LogOptions;

/// Longest line that is kept together, in bytes; a longer one is cut, as Docker does.
const LINE: usize = 16 * 1024;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

#[derive(Serialize)]
struct Entry<'a> {
    log: &'a str,
    stream: &'static str,
    time: &'a str,
}

/// Writes the log of one instance.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    options: LogOptions,
    file: Option<File>,
    size: u64,
    partial: [Vec<u8>; 2],
    text: Vec<u8>,
}

impl LogWriter {
    /// Goes on with the log at `path`.
    ///
    /// # Errors
    /// The file can't be opened.
    pub(crate) fn open(path: &Path, options: &LogOptions) -> io::Result<LogWriter> {
        let file = if options.enabled {
            Some(append(path)?)
        } else {
            None
        };
        let size = file
            .as_ref()
            .map_or(Ok(0), |file| file.metadata().map(|meta| meta.len()))?;
        Ok(LogWriter {
            path: path.to_owned(),
            options: options.clone(),
            file,
            size,
            partial: Default::default(),
            text: Vec::new(),
        })
    }

    /// Adds output as it came. Unfinished lines wait for their end.
    ///
    /// # Errors
    /// The disk is full or the file can't be written.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let time = Timestamp::now().to_string();
        let mut pending = std::mem::take(&mut self.partial[stream as usize]);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            pending.extend_from_slice(piece);
            while pending.len() >= LINE || pending.last() == Some(&b'\n') {
                let end = pending.len().min(LINE);
                self.line(stream, &pending[..end], &time);
                pending.drain(..end);
            }
        }
        pending.shrink_to(LINE);
        self.partial[stream as usize] = pending;
        self.flush()
    }

    /// Writes unfinished lines as they are.
    ///
    /// # Errors
    /// As [`LogWriter::write`].
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let time = Timestamp::now().to_string();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = std::mem::take(&mut self.partial[stream as usize]);
            if !pending.is_empty() {
                self.line(stream, &pending, &time);
            }
        }
        self.flush()
    }

    fn line(&mut self, stream: Stream, bytes: &[u8], time: &str) {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let entry = Entry {
            log: &String::from_utf8_lossy(bytes),
            stream,
            time,
        };
        // Writing strings into memory can't fail.
        let _ = serde_json::to_writer(&mut self.text, &entry);
        self.text.push(b'\n');
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        if let Some(file) = &mut self.file
            && !text.is_empty()
        {
            let max = self.options.max_size;
            if max > 0 && self.size > 0 && self.size + text.len() as u64 > max {
                rotate(&self.path, self.options.max_file)?;
                *file = append(&self.path)?;
                self.size = 0;
            }
            file.write_all(&text)?;
            self.size += text.len() as u64;
        }
        self.text = text;
        self.text.clear();
        self.text.shrink_to(2 * LINE);
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// `log.json` becomes `log.json.1`, that becomes `.2`, and so on; of `max` files
/// the oldest goes.
fn rotate(path: &Path, max: u32) -> io::Result<()> {
    let name = |number: u32| match number {
        0 => path.to_owned(),
        number => PathBuf::from(format!("{}.{number}", path.display())),
    };
    if max <= 1 {
        return std::fs::remove_file(path);
    }
    for number in (0..max - 1).rev() {
        match std::fs::rename(name(number), name(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(max_size: u64, max_file: u32) -> LogOptions {
        LogOptions {
            enabled: true,
            max_size,
            max_file,
        }
    }

    fn lines(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        let parse = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            (
                value["stream"].as_str().unwrap().to_owned(),
                value["log"].as_str().unwrap().to_owned(),
            )
        };
        text.lines().map(parse).collect()
    }

    #[test]
    fn lines_stay_whole_and_streams_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut log = LogWriter::open(&path, &options(0, 1)).unwrap();
        log.write(Stream::Stdout, b"one\ntw").unwrap();
        log.write(Stream::Stderr, b"bad\n").unwrap();
        log.write(Stream::Stdout, b"o\nrest").unwrap();
        log.finish().unwrap();
        let expected = [
            ("stdout", "one\n"),
            ("stderr", "bad\n"),
            ("stdout", "two\n"),
            ("stdout", "rest"),
        ];
        assert_eq!(
            lines(&path),
            expected.map(|(stream, text)| (stream.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut log = LogWriter::open(&path, &options(0, 1)).unwrap();
        log.write(Stream::Stdout, &vec![b'x'; 3 * LINE + 5])
            .unwrap();
        log.finish().unwrap();
        assert_eq!(
            lines(&path)
                .iter()
                .map(|(_, text)| text.len())
                .collect::<Vec<_>>(),
            [LINE, LINE, LINE, 5]
        );
    }

    #[test]
    fn rotation_keeps_the_newest_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut log = LogWriter::open(&path, &options(200, 3)).unwrap();
        for number in 0..20 {
            log.write(Stream::Stdout, format!("line {number}\n").as_bytes())
                .unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["log.json", "log.json.1", "log.json.2"]);
        assert_eq!(lines(&path).last().unwrap().1, "line 19\n");
        let older = lines(&folder.path().join("log.json.1"));
        let newer = lines(&path);
        assert!(older.last().unwrap().1 < newer[0].1);
    }

    #[test]
    fn a_disabled_log_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut log = LogWriter::open(
            &path,
            &LogOptions {
                enabled: false,
                max_size: 0,
                max_file: 1,
            },
        )
        .unwrap();
        log.write(Stream::Stdout, b"x\n").unwrap();
        assert!(!path.exists());
    }
}
