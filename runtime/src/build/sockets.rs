//! Sockets behind a wall whose connections go on to sockets of the host. Behind every
//! wall the same way: over the streams of a process there, never by a mount.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use isola_build::JobMount;
use isola_init::stream::{Peer, PollSet, Relay};
use isola_proto::frame::WINDOW;
use isola_proto::relay::{CONNECTIONS, PIECE, socket_of};
use isola_proto::spec::{ListenSocket, Program};
use isola_proto::{Decoder, Event, ExitStatus, Frame, Kind as FrameKind};

use super::helper;
use crate::control::Control;
use crate::engine::Instance;
use crate::error::{Error, Kind, Result};

/// So much of what the listener complains about is kept, in bytes.
const COMPLAINT: usize = 4096;

/// A listener behind the wall.
pub(super) struct Sockets {
    channel: u32,
    /// The host's sockets, in the order of the listener's.
    sources: Vec<PathBuf>,
    relay: Relay,
    decoder: Decoder,
    /// Bytes that may be sent to the listener.
    credit: usize,
    /// Bytes that came and were not granted again: sockets of the host hold them.
    held: usize,
    ready: bool,
    complaint: Vec<u8>,
    exit: Option<ExitStatus>,
}

impl Sockets {
    /// Starts a listener for the sockets among these mounts, if there are any, and
    /// waits until they are there.
    pub(super) fn start(
        control: &mut Control,
        instance: &Instance,
        mounts: &[JobMount],
    ) -> Result<Option<Sockets>> {
        let (sockets, sources): (Vec<_>, Vec<_>) = mounts.iter().filter_map(wanted).unzip();
        if sockets.is_empty() {
            return Ok(None);
        }
        let mut process = helper(instance, Program::Listen { sockets })?;
        process.stdin = true;
        let channel = super::start(control, process)?;
        let mut listener = Sockets {
            channel,
            sources,
            relay: Relay::new(FrameKind::Stdin),
            decoder: Decoder::default(),
            credit: WINDOW as usize,
            held: 0,
            ready: false,
            complaint: Vec::new(),
            exit: None,
        };
        while !listener.ready {
            let frame = control.receive()?;
            listener.take(control, &frame)?;
            if listener.exit.is_some() {
                return Err(listener.reason());
            }
        }
        Ok(Some(listener))
    }

    pub(super) fn register(&self, set: &mut PollSet) {
        self.relay.register(set, self.room() > 0);
    }

    /// Passes on what sockets of the host say.
    pub(super) fn dispatch(&mut self, control: &mut Control, set: &PollSet) -> Result<()> {
        for frame in self.relay.dispatch(set, self.room()) {
            self.send(control, &frame)?;
        }
        let held = self.relay.backlog();
        self.grant(control, self.held.saturating_sub(held));
        self.held = self.held.min(held);
        Ok(())
    }

    /// Takes a frame, if it is the listener's.
    pub(super) fn take(&mut self, control: &mut Control, frame: &Frame) -> Result<()> {
        match frame.kind {
            FrameKind::Event => {
                if let Ok(Event::Exited {
                    channel, status, ..
                }) = frame.parse()
                    && channel == self.channel
                {
                    self.exit = Some(status);
                }
            }
            _ if frame.channel != self.channel => {}
            FrameKind::CreditInput => self.credit += frame.credited() as usize,
            FrameKind::Stderr => {
                let room = COMPLAINT.saturating_sub(self.complaint.len());
                let count = frame.payload.len();
                self.complaint
                    .extend_from_slice(&frame.payload[..count.min(room)]);
                self.grant(control, count);
            }
            FrameKind::Stdout => self.bytes(control, &frame.payload)?,
            _ => {}
        }
        Ok(())
    }

    fn bytes(&mut self, control: &mut Control, bytes: &[u8]) -> Result<()> {
        self.decoder.push(bytes);
        let before = self.relay.backlog();
        while let Some(frame) = self
            .decoder
            .next_frame()
            .map_err(|error| Error::new(Kind::System, format!("the listener: {error}")))?
        {
            match frame.kind {
                FrameKind::Event => self.ready = true,
                FrameKind::Request => self.open(control, &frame)?,
                _ => self.relay.take(&frame),
            }
        }
        // What a socket has not taken yet is granted when it has.
        let kept = self.relay.backlog().saturating_sub(before).min(bytes.len());
        self.held += kept;
        self.grant(control, bytes.len() - kept);
        Ok(())
    }

    /// The guest is not trusted with the number of the connection, nor with how many.
    fn open(&mut self, control: &mut Control, frame: &Frame) -> Result<()> {
        let source = socket_of(frame).and_then(|index| self.sources.get(index as usize));
        let socket = source
            .filter(|_| self.relay.len() < CONNECTIONS)
            .and_then(|source| UnixStream::connect(source).ok());
        let added =
            socket.is_some_and(|socket| self.relay.add(frame.channel, socket.into()).is_ok());
        match added {
            true => Ok(()),
            false => {
                let end = self.relay.end(frame.channel);
                self.send(control, &end)
            }
        }
    }

    /// Bytes that sockets of the host may say now.
    fn room(&self) -> usize {
        let headers = self.relay.len() * isola_proto::frame::HEADER;
        self.credit.saturating_sub(headers + PIECE)
    }

    /// Never more than the listener has granted: one that opens connections without end
    /// and takes nothing would grow this process.
    fn send(&mut self, control: &mut Control, frame: &Frame) -> Result<()> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.credit = self.credit.checked_sub(bytes.len()).ok_or_else(|| {
            let message = "the listener behind the wall opens connections and takes no answer";
            Error::new(Kind::System, message)
        })?;
        let frame = Frame::data(FrameKind::Stdin, self.channel, bytes);
        control.conn().send(frame);
        Ok(())
    }

    fn grant(&mut self, control: &mut Control, count: usize) {
        if count > 0 && self.exit.is_none() {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let credit = Frame::credit(FrameKind::CreditOutput, self.channel, count);
            control.conn().send(credit);
        }
    }

    /// Ends the listener, so that the sockets go.
    pub(super) fn finish(mut self, control: &mut Control) -> Result<()> {
        let end = Frame::data(FrameKind::Stdin, self.channel, Vec::new());
        control.conn().send(end);
        while self.exit.is_none() {
            let frame = control.receive()?;
            let count = match frame.kind {
                FrameKind::Stdout if frame.channel == self.channel => frame.payload.len(),
                _ => 0,
            };
            if count > 0 {
                self.grant(control, count);
            } else {
                self.take(control, &frame)?;
            }
        }
        match self.exit {
            Some(ExitStatus::Code(0)) => Ok(()),
            _ => Err(self.reason()),
        }
    }

    fn reason(&self) -> Error {
        let text = String::from_utf8_lossy(&self.complaint);
        let message = match text.lines().last().map(str::trim) {
            Some(line) if !line.is_empty() => format!("cannot {line}"),
            _ => "the listener behind the wall was killed".to_owned(),
        };
        Error::new(Kind::System, message)
    }
}

fn wanted(mount: &JobMount) -> Option<(ListenSocket, PathBuf)> {
    let JobMount::Socket {
        source,
        target,
        mode,
        owner: (uid, gid),
    } = mount
    else {
        return None;
    };
    let socket = ListenSocket {
        path: target.clone(),
        mode: *mode,
        uid: *uid,
        gid: *gid,
    };
    Some((socket, source.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isola_proto::relay::opened;

    #[test]
    fn a_listener_that_takes_no_answer_is_given_up() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut control = Control::over(ours.into()).unwrap();
        let mut sockets = Sockets {
            channel: 1,
            sources: Vec::new(),
            relay: Relay::new(FrameKind::Stdin),
            decoder: Decoder::default(),
            credit: WINDOW as usize,
            held: 0,
            ready: true,
            complaint: Vec::new(),
            exit: None,
        };
        // There is no such socket: each connection is answered by its end.
        let mut open = |sockets: &mut Sockets, number| {
            let mut bytes = Vec::new();
            opened(number, 0).encode(&mut bytes);
            sockets.take(&mut control, &Frame::data(FrameKind::Stdout, 1, bytes))
        };
        let answers = WINDOW / isola_proto::frame::HEADER as u32;
        for number in 1..=answers {
            open(&mut sockets, number).unwrap();
        }
        let error = open(&mut sockets, answers + 1).unwrap_err();
        assert!(error.message.contains("takes no answer"), "{error:?}");
    }
}
