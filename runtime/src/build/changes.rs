//! What was changed behind a wall, as a layer's tar stream.

use std::io::{self, Read};

use isola_init::stream::Peer;
use isola_proto::spec::Program;
use isola_proto::{Event, ExitStatus, Frame, Kind as FrameKind};

use super::helper;
use crate::control::{Control, decode};
use crate::engine::Instance;
use crate::error::{Error, Kind, Result};

/// So much of what the reader complains about is kept, in bytes.
const COMPLAINT: usize = 4096;

/// A process behind the wall that reads the changes.
pub struct Changes<'a> {
    control: &'a mut Control,
    channel: u32,
    buffer: Vec<u8>,
    at: usize,
    complaint: Vec<u8>,
    exit: Option<ExitStatus>,
    ended: bool,
}

impl<'a> Changes<'a> {
    /// Starts reading; with `alone` all other processes are ended first.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn start(
        control: &'a mut Control,
        instance: &Instance,
        alone: bool,
    ) -> Result<Changes<'a>> {
        let process = helper(instance, Program::Changes { alone })?;
        let channel = super::start(control, process)?;
        Ok(Changes {
            control,
            channel,
            buffer: Vec::new(),
            at: 0,
            complaint: Vec::new(),
            exit: None,
            ended: false,
        })
    }

    /// Waits for the end of the process. What it complained about is the error.
    ///
    /// # Errors
    /// It could not read all of the changes.
    pub fn finish(mut self) -> Result<()> {
        while self.exit.is_none() {
            self.grant(self.buffer.len() - self.at);
            self.at = self.buffer.len();
            self.turn()?;
        }
        if self.exit == Some(ExitStatus::Code(0)) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&self.complaint);
        let message = match text.lines().last().map(str::trim) {
            Some(line) if !line.is_empty() => format!("cannot {line}"),
            _ => "the reader of the changes was killed".to_owned(),
        };
        Err(Error::new(Kind::System, message))
    }

    fn grant(&mut self, count: usize) {
        if count > 0 && self.exit.is_none() {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let credit = Frame::credit(FrameKind::CreditOutput, self.channel, count);
            self.control.conn().send(credit);
        }
    }

    fn turn(&mut self) -> Result<()> {
        let frame = self.control.receive()?;
        match frame.kind {
            FrameKind::Event => match frame.parse::<Event>() {
                Ok(Event::Exited {
                    channel, status, ..
                }) if channel == self.channel => {
                    self.exit = Some(status);
                    self.ended = true;
                }
                Ok(Event::Failed { failure, .. }) => return Err(decode(failure)),
                Ok(_) => {}
                Err(error) => return Err(Error::new(Kind::System, error.to_string())),
            },
            _ if frame.channel != self.channel => {}
            FrameKind::Stdout if frame.payload.is_empty() => self.ended = true,
            FrameKind::Stdout => {
                self.buffer.drain(..self.at);
                self.at = 0;
                self.buffer.extend_from_slice(&frame.payload);
            }
            FrameKind::Stderr => {
                let room = COMPLAINT.saturating_sub(self.complaint.len());
                let count = frame.payload.len();
                self.complaint
                    .extend_from_slice(&frame.payload[..count.min(room)]);
                self.grant(count);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Read for Changes<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.buffer.len() && !self.ended {
            self.turn()
                .map_err(|error| io::Error::other(error.message))?;
        }
        let rest = &self.buffer[self.at..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        self.grant(count);
        Ok(count)
    }
}
