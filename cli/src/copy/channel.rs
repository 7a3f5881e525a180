//! A process behind a wall whose output is read, or whose input is written, as
//! a stream.

use std::io::{self, Read, Write};

use isola_init::stream::Peer;
use isola_proto::frame::WINDOW;
use isola_proto::{Event, ExitStatus, Frame, Kind, ProcessSpec};
use isola_runtime::control::{Command, Control};

use crate::error::{Code, Failure, Result};

/// Bytes in one frame.
const PIECE: usize = 32 * 1024;
/// So much of what a process complains about is kept.
const COMPLAINT: usize = 4096;

/// A running helper process.
pub(crate) struct Channel<'a> {
    control: &'a mut Control,
    channel: u32,
    /// Output that came, and how far it was read.
    buffer: Vec<u8>,
    at: usize,
    /// No more output comes.
    ended: bool,
    /// Input bytes that may be sent.
    credit: u32,
    complaint: Vec<u8>,
    exit: Option<ExitStatus>,
}

impl<'a> Channel<'a> {
    /// Starts the process.
    pub(crate) fn start(control: &'a mut Control, process: ProcessSpec) -> Result<Channel<'a>> {
        let channel = control.channel();
        control.ask(&Command::Exec {
            channel,
            process: Box::new(process),
            detach: false,
        })?;
        Ok(Channel {
            control,
            channel,
            buffer: Vec::new(),
            at: 0,
            ended: false,
            credit: WINDOW,
            complaint: Vec::new(),
            exit: None,
        })
    }

    /// Waits for the end of the process, throwing away what it still writes.
    /// What it complained about is the error.
    pub(crate) fn finish(mut self) -> Result<()> {
        while self.exit.is_none() {
            self.discard();
            self.turn()?;
        }
        self.verdict()
    }

    /// Ends the process, whose further output is of no interest.
    pub(crate) fn abandon(mut self) {
        const SIGKILL: i32 = 9;
        self.control.send(&Command::Signal {
            channel: self.channel,
            signal: SIGKILL,
        });
        while self.exit.is_none() {
            self.discard();
            if self.turn().is_err() {
                return;
            }
        }
    }

    /// The process reads the end of its input.
    pub(crate) fn close_input(&mut self) {
        self.send(Frame::data(Kind::Stdin, self.channel, Vec::new()));
    }

    fn send(&mut self, frame: Frame) {
        self.control.conn().send(frame);
    }

    fn verdict(&self) -> Result<()> {
        let code = match self.exit {
            Some(ExitStatus::Code(0)) => return Ok(()),
            Some(status) => status.code(),
            None => 1,
        };
        let text = String::from_utf8_lossy(&self.complaint);
        let message = match text.lines().last().map(str::trim) {
            Some(line) if !line.is_empty() => line.to_owned(),
            _ => format!("the copy behind the wall ended with code {code}"),
        };
        Err(Failure::new(Code::Copy, message))
    }

    fn discard(&mut self) {
        let count = self.buffer.len() - self.at;
        self.at = self.buffer.len();
        self.grant(count);
    }

    fn grant(&mut self, count: usize) {
        if count > 0 && self.exit.is_none() {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.send(Frame::credit(Kind::CreditOutput, self.channel, count));
        }
    }

    /// Takes the next frame.
    fn turn(&mut self) -> Result<()> {
        let frame = self.control.receive()?;
        match frame.kind {
            Kind::Event => match frame.parse::<Event>() {
                Ok(Event::Exited {
                    channel, status, ..
                }) if channel == self.channel => {
                    self.exit = Some(status);
                    self.ended = true;
                }
                Ok(Event::Failed { failure, .. }) => {
                    return Err(isola_runtime::control::decode(failure).into());
                }
                Ok(_) => {}
                Err(error) => return Err(Failure::internal(format!("the supervisor: {error}"))),
            },
            _ if frame.channel != self.channel => {}
            Kind::Stdout if frame.payload.is_empty() => self.ended = true,
            Kind::Stdout => {
                self.buffer.drain(..self.at);
                self.at = 0;
                self.buffer.extend_from_slice(&frame.payload);
            }
            Kind::Stderr => {
                let count = frame.payload.len();
                let room = COMPLAINT.saturating_sub(self.complaint.len());
                self.complaint
                    .extend_from_slice(&frame.payload[..count.min(room)]);
                self.grant(count);
            }
            Kind::CreditInput => self.credit = self.credit.saturating_add(frame.credited()),
            _ => {}
        }
        Ok(())
    }
}

impl Read for Channel<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.buffer.len() && !self.ended {
            self.turn().map_err(into_io)?;
        }
        let rest = &self.buffer[self.at..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        self.grant(count);
        Ok(count)
    }
}

impl Write for Channel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.credit == 0 && self.exit.is_none() {
            self.discard();
            self.turn().map_err(into_io)?;
        }
        if self.exit.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(PIECE).min(self.credit as usize);
        self.credit -= u32::try_from(count).unwrap_or(0);
        self.send(Frame::data(
            Kind::Stdin,
            self.channel,
            bytes[..count].to_vec(),
        ));
        Ok(count)
    }

    /// Frames leave while credits or the end are waited for.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn into_io(failure: Failure) -> io::Error {
    io::Error::other(failure.message)
}
