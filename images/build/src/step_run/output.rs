//! How a program's end is told.

/// Lines that a failing program's error shows.
const TAIL: usize = 20;

/// Bytes that are kept for them.
const TAIL_BYTES: usize = 16 << 10;

/// An instruction in one line of a message.
pub(super) fn short(text: &str) -> String {
    const LONGEST: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

pub(super) fn ending(code: i32) -> String {
    match code {
        129..=192 => format!("exit code {code} (signal {})", code - 128),
        code => format!("exit code {code}"),
    }
}

/// The last lines of a program's output.
#[derive(Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        if self.0.len() > 2 * TAIL_BYTES {
            self.0.drain(..self.0.len() - TAIL_BYTES);
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        lines[from..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }
}
