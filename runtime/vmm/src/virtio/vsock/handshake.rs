//! The first line of a connection that the host makes: `CONNECT <port>\n`.

use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, recv};

/// Longest line: the word, a space, ten digits, the end.
const MAX_LINE: usize = 19;

/// A connection whose line has not come whole.
#[derive(Debug)]
pub(super) struct Handshake {
    stream: OwnedFd,
    line: Vec<u8>,
}

/// What more bytes led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More must come.
    Waiting,
    /// It wants this port of the guest.
    Connect(u32),
    /// It ended, or sent something else.
    Failed,
}

impl Handshake {
    pub(super) fn new(stream: OwnedFd) -> Handshake {
        Handshake {
            stream,
            line: Vec::new(),
        }
    }

    pub(super) fn into_stream(self) -> OwnedFd {
        self.stream
    }

    /// Reads up to the end of the line and not a byte more: what follows is for
    /// the guest.
    pub(super) fn advance(&mut self) -> Progress {
        loop {
            let mut byte = [0];
            match recv(&self.stream, &mut byte, RecvFlags::DONTWAIT) {
                Ok((1, _)) if byte == *b"\n" => {
                    return parse(&self.line).map_or(Progress::Failed, Progress::Connect);
                }
                Ok((1, _)) if self.line.len() < MAX_LINE => self.line.push(byte[0]),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Progress::Waiting,
                _ => return Progress::Failed,
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(line).ok()?.strip_prefix("CONNECT ")?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_the_line_is_read_and_only_the_right_one_passes() {
        let table: &[(&[u8], Progress)] = &[
            (b"CONNECT 1024\nrest", Progress::Connect(1024)),
            (b"CONNECT 4294967295\n", Progress::Connect(u32::MAX)),
            (b"CONNECT 10", Progress::Waiting),
            (b"", Progress::Waiting),
            (b"CONNECT 4294967296\n", Progress::Failed),
            (b"CONNECT -1\n", Progress::Failed),
            (b"CONNECT +1\n", Progress::Failed),
            (b"CONNECT \n", Progress::Failed),
            (b"connect 1\n", Progress::Failed),
            (b"\n", Progress::Failed),
            (b"CONNECT 00000000000000000000000001", Progress::Failed),
            (b"\xff\xff\n", Progress::Failed),
        ];
        for (bytes, expected) in table {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(bytes).unwrap();
            let mut handshake = Handshake::new(server.into());
            assert_eq!(
                handshake.advance(),
                *expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
            if let Progress::Connect(_) = expected {
                let mut rest = [0; 16];
                let left =
                    recv(&handshake.stream, &mut rest, RecvFlags::DONTWAIT).map_or(0, |(n, _)| n);
                assert_eq!(
                    &rest[..left],
                    bytes.split(|byte| *byte == b'\n').nth(1).unwrap()
                );
            }
        }
        let (client, server) = UnixStream::pair().unwrap();
        drop(client);
        assert_eq!(Handshake::new(server.into()).advance(), Progress::Failed);
    }
}
