//! The control socket: a command per line, an answer per line.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::outcome::{Answer, Command};

/// Longest line.
const MAX_LINE: usize = 256;

/// The socket with the line that is being read.
pub(crate) struct Control {
    socket: OwnedFd,
    line: Vec<u8>,
}

/// What the other side did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// It sent lines: each a command, or not.
    Lines(Vec<Option<Command>>),
    /// It went away.
    End,
}

impl Control {
    pub(crate) fn new(socket: OwnedFd) -> Control {
        Control {
            socket,
            line: Vec::new(),
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Reads what has come.
    pub(crate) fn receive(&mut self) -> Received {
        let mut bytes = [0; MAX_LINE];
        let count = match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Received::End,
            Ok((count, _)) => count,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return Received::End,
        };
        let mut commands = Vec::new();
        for byte in &bytes[..count] {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                commands.push(std::str::from_utf8(&line).ok().and_then(Command::parse));
            } else if self.line.len() < MAX_LINE {
                self.line.push(*byte);
            }
        }
        Received::Lines(commands)
    }

    /// Answers a command. Who does not read answers loses them.
    pub(crate) fn answer(&self, answer: &Answer) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        match send(
            &self.socket,
            &line,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn commands_come_line_by_line() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut control = Control::new(server.into());
        client.write_all(b"sta").unwrap();
        assert_eq!(control.receive(), Received::Lines(vec![]));
        client.write_all(b"te\nnonsense\nstop\n").unwrap();
        let expected = vec![Some(Command::State), None, Some(Command::Stop)];
        assert_eq!(control.receive(), Received::Lines(expected));
        control.answer(&Answer::Ok).unwrap();
        let mut line = [0; 16];
        client.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"{\"answer\":\"ok\"}\n");
        client.write_all(&[b'x'; 4000]).unwrap();
        (0..20).for_each(|_| drop(control.receive()));
        assert_eq!(control.line.len(), MAX_LINE);
        drop(client);
        assert_eq!(control.receive(), Received::End);
    }
}
