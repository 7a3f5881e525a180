//! Framing: `length: u32 LE | kind: u8 | channel: u32 LE | payload`.
//!
//! `length` counts the payload alone. Channel 0 carries control messages only;
//! every process has a channel of its own for its standard streams.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes in front of a payload.
pub const HEADER: usize = 9;
/// Largest payload that is accepted, in bytes. A longer one ends the connection:
/// the other side is not trusted with our memory.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes that may be under way on one channel and direction before the receiver
/// has granted more with [`Kind::Credit`].
pub const WINDOW: u32 = 256 * 1024;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A JSON [`crate::Request`] (towards the process side).
    Request = 1,
    /// A JSON [`crate::Event`] (from the process side).
    Event = 2,
    /// Bytes for a process's standard input; an empty payload closes it.
    Stdin = 3,
    /// Bytes from standard output, or from the terminal; empty means end of file.
    Stdout = 4,
    /// Bytes from standard error; empty means end of file.
    Stderr = 5,
    /// The receiver of data took `u32 LE` bytes of stdout and stderr together.
    CreditOutput = 6,
    /// The receiver of data took `u32 LE` bytes of stdin.
    CreditInput = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Request,
            2 => Kind::Event,
            3 => Kind::Stdin,
            4 => Kind::Stdout,
            5 => Kind::Stderr,
            6 => Kind::CreditOutput,
            7 => Kind::CreditInput,
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// The process that it belongs to; 0 for control messages.
    pub channel: u32,
    /// The bytes, at most [`MAX_PAYLOAD`].
    pub payload: Vec<u8>,
}

/// Why bytes are not a frame, or a frame not a message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length field is over [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes is over the limit of {MAX_PAYLOAD}")]
    TooLong(usize),
    /// The kind byte is none that this version knows.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// The payload is not the message that its kind announces.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Frame {
    /// A frame of raw bytes.
    pub fn data(kind: Kind, channel: u32, payload: Vec<u8>) -> Frame {
        Frame {
            kind,
            channel,
            payload,
        }
    }

    /// A control message on channel 0.
    ///
    /// # Panics
    /// Never: the message types hold nothing that JSON cannot say.
    pub fn message<T: Serialize>(kind: Kind, message: &T) -> Frame {
        let payload = serde_json::to_vec(message).expect("message types serialise");
        Frame {
            kind,
            channel: 0,
            payload,
        }
    }

    /// A credit of `bytes`.
    pub fn credit(kind: Kind, channel: u32, bytes: u32) -> Frame {
        Frame {
            kind,
            channel,
            payload: bytes.to_le_bytes().to_vec(),
        }
    }

    /// The number of bytes that a credit frame grants; 0 when malformed.
    pub fn credited(&self) -> u32 {
        self.payload
            .as_slice()
            .try_into()
            .map(u32::from_le_bytes)
            .unwrap_or(0)
    }

    /// Reads the control message in the payload.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        Ok(serde_json::from_slice(&self.payload)?)
    }

    /// Appends the frame's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).expect("payloads are below MAX_PAYLOAD");
        out.extend_from_slice(&length.to_le_bytes());
        out.push(self.kind as u8);
        out.extend_from_slice(&self.channel.to_le_bytes());
        out.extend_from_slice(&self.payload);
    }
}

/// Capacity that an empty decoder keeps, in bytes: one long frame shall not stay
/// with a process that lives for months.
const KEEP: usize = 64 * 1024;

/// Turns a stream of bytes, cut anywhere, into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer(bytes.len()).extend_from_slice(bytes);
    }

    /// The buffer, with room for at least `room` bytes more, for a reader that
    /// appends to it without a copy. What is in it already must stay.
    pub fn buffer(&mut self, room: usize) -> &mut Vec<u8> {
        if self.read == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEEP);
            self.read = 0;
        } else if self.read > self.buffer.len() / 2 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Bytes that came and are not yet part of a frame that was taken.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.read
    }

    /// The next whole frame, if its last byte has come.
    ///
    /// # Errors
    /// A length over the limit or an unknown kind; the connection is then of no
    /// more use, because the place of the next frame is not known.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buffer[self.read..];
        let Some((header, body)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, kind, c0, c1, c2, c3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
        let Some(payload) = body.get(..length) else {
            return Ok(None);
        };
        let frame = Frame {
            kind,
            channel: u32::from_le_bytes([c0, c1, c2, c3]),
            payload: payload.to_vec(),
        };
        self.read += HEADER + length;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let frames = [
            Frame::data(Kind::Stdout, 7, b"hello".to_vec()),
            Frame::data(Kind::Stdin, 1, Vec::new()),
            Frame::credit(Kind::CreditOutput, 3, 70_000),
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        for step in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames, "cut every {step} bytes");
        }
    }

    #[test]
    fn a_long_frame_leaves_no_memory_behind() {
        let frame = Frame::data(Kind::Stdin, 1, vec![7; MAX_PAYLOAD]);
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        decoder.push(&bytes[..3]);
        assert_eq!(decoder.next_frame().unwrap(), Some(frame));
        assert_eq!(decoder.pending(), 3);
        decoder.push(&bytes[3..]);
        assert!(decoder.next_frame().unwrap().is_some());
        assert!(decoder.buffer(1).capacity() <= 2 * KEEP);
    }

    #[test]
    fn hostile_headers_are_refused() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0]);
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLong(_))));
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 0, 99, 0, 0, 0, 0]);
        assert!(matches!(
            decoder.next_frame(),
            Err(FrameError::UnknownKind(99))
        ));
    }

    #[test]
    fn a_credit_of_the_wrong_size_grants_nothing() {
        assert_eq!(Frame::data(Kind::CreditInput, 1, vec![1]).credited(), 0);
        assert_eq!(Frame::credit(Kind::CreditInput, 1, 9).credited(), 9);
    }
}
