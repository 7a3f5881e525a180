//! Keys of steps: what decides about what a step makes goes in, times do not.

use std::io::Read;

use isola_images::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Counted up when a step makes something else of the same.
const VERSION: &str = "isola build 1";

/// A key in the making.
#[derive(Clone, Debug)]
pub(crate) struct Key(Sha256);

impl Key {
    /// The key of what a stage begins with.
    pub(crate) fn of_layers(layers: &[Digest]) -> Digest {
        let mut key = Key(Sha256::new());
        key.add(VERSION.as_bytes());
        for layer in layers {
            key.add(layer.bytes());
        }
        key.finish()
    }

    /// The key of a step of some kind after another.
    pub(crate) fn after(before: &Digest, kind: &str) -> Key {
        let mut key = Key(Sha256::new());
        key.add(before.bytes());
        key.add(kind.as_bytes());
        key
    }

    /// Adds a field. Its length goes in first, so that no two lists are alike.
    pub(crate) fn add(&mut self, field: &[u8]) -> &mut Key {
        self.0.update((field.len() as u64).to_le_bytes());
        self.0.update(field);
        self
    }

    /// Adds numbers.
    pub(crate) fn numbers(&mut self, numbers: &[u64]) -> &mut Key {
        for number in numbers {
            self.0.update(number.to_le_bytes());
        }
        self
    }

    /// Adds the content of a file.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn content(&mut self, mut file: impl Read, what: &str) -> Result<()> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(format!("read {what}"), error)),
            }
        }
        self.add(&hasher.finalize());
        Ok(())
    }

    /// The key.
    pub(crate) fn finish(self) -> Digest {
        let bytes: [u8; 32] = self.0.finalize().into();
        // The way from bytes to the type leads over its digits.
        Digest::from_hex(&hex::encode(bytes)).unwrap_or_else(|| Digest::of(&bytes))
    }
}
