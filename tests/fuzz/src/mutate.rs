//! Makes new inputs out of old ones, the same ones for the same seed.

/// Largest input.
const LARGEST: usize = 1 << 16;

/// Values at which code goes wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// Pieces that formats of text give a meaning to.
const WORDS: [&str; 24] = [
    "/",
    "..",
    "../",
    ":",
    "@",
    "\0",
    "\n",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    "-1",
    "0777777",
    "18446744073709551616",
    "sha256:",
    "null",
    "true",
    "1e309",
    "\u{fffd}",
    "%",
    ".wh.",
    "=",
];

/// FNV-1a.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A source of inputs.
pub(crate) struct Mutator {
    state: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        Mutator {
            state: (hash(name.as_bytes()) ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1,
        }
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which must not be 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        match from.is_empty() {
            true => None,
            false => from.get(self.below(from.len())),
        }
    }

    /// One of `corpus`, changed in one to eight places.
    pub(crate) fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.pick(corpus).cloned().unwrap_or_default();
        for _ in 0..=self.below(8) {
            self.change(&mut input, corpus);
        }
        input.truncate(LARGEST.max(corpus.iter().map(Vec::len).max().unwrap_or(0)));
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let len = 1 + self.below(64);
        let end = (at + len).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.next().to_le_bytes()[0],
            2 => self.overwrite_number(input, at),
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                drop(input.splice(to..to, piece));
            }
            5 => {
                let word = self.pick(&WORDS).copied().unwrap_or_default();
                drop(input.splice(at..at, word.bytes()));
            }
            6 => {
                let other = self.pick(corpus).cloned().unwrap_or_default();
                let from = self.below(other.len() + 1);
                let until = (from + len * 8).min(other.len());
                drop(input.splice(at..end, other[from..until].iter().copied()));
            }
            7 => input.truncate(at),
            _ => {
                let byte = self.next().to_le_bytes()[0];
                drop(input.splice(at..at, std::iter::repeat_n(byte, len)));
            }
        }
    }

    fn overwrite_number(&mut self, input: &mut [u8], at: usize) {
        let value = self.pick(&EDGES).copied().unwrap_or(0);
        let width = 1 << self.below(4);
        let mut bytes = value.to_le_bytes()[..width].to_vec();
        if self.below(2) == 0 {
            bytes.reverse();
        }
        if let Some(place) = input.get_mut(at..at + width) {
            place.copy_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let corpus = [b"hello world".to_vec(), b"another".to_vec()];
        let make = |seed| {
            let mut mutator = Mutator::new(seed, "x");
            (0..1000)
                .map(|_| mutator.mutate(&corpus))
                .collect::<Vec<_>>()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn nothing_is_a_seed_as_well() {
        let mut mutator = Mutator::new(1, "x");
        for _ in 0..1000 {
            mutator.mutate(&[]);
            mutator.mutate(&[Vec::new()]);
        }
    }
}
