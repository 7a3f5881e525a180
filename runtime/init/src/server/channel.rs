//! One process and its streams.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use isola_proto::frame::WINDOW;
use isola_proto::spec::TermSize;
use isola_proto::{Event, ExitStatus, Frame, Kind};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::termios::Winsize;

use super::outbox::Outbox;
use super::pump::{Input, Output, Overrun, Read};
use super::spawner::{Child, Ends};
use crate::stream::PollSet;

/// What is reported when the kernel no longer knows how a process ended because
/// somebody else waited for it.
const LOST: ExitStatus = ExitStatus::Code(255);

/// A process that was started and whose exit was not yet told.
pub(super) struct Channel {
    pub(super) number: u32,
    pub(super) pid: i32,
    pidfd: OwnedFd,
    input: Input,
    outputs: Vec<Output>,
    terminal: Option<Arc<OwnedFd>>,
    _hold: Option<OwnedFd>,
    /// Bytes of output that may be sent.
    credit: u32,
    /// The asking side reads and writes it.
    attached: bool,
    exit: Option<ExitStatus>,
}

impl Channel {
    pub(super) fn new(number: u32, child: Child, ends: Ends) -> Channel {
        Channel {
            number,
            pid: child.pid.as_raw_nonzero().get(),
            pidfd: child.pidfd,
            input: ends.input,
            outputs: ends.outputs,
            terminal: ends.terminal,
            _hold: ends.hold,
            credit: WINDOW,
            attached: true,
            exit: None,
        }
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Output may be read: it can be sent, or nobody wants it.
    fn may_read(&self) -> bool {
        !self.attached || self.credit > 0
    }

    /// There is work that no descriptor announces.
    pub(super) fn is_due(&self) -> bool {
        self.exit.is_some() && (self.may_read() || self.is_drained())
    }

    pub(super) fn register(&self, set: &mut PollSet, outbox: &Outbox) {
        if self.exit.is_none() {
            set.add(self.pidfd.as_fd(), true, false);
        }
        if let Some(fd) = self.input.wanted() {
            set.add(fd, false, true);
        }
        if self.may_read() && outbox.has_room() {
            let open = self.outputs.iter().filter_map(Output::fd);
            open.for_each(|fd| set.add(fd, true, false));
        }
    }

    /// Looks whether the process has ended.
    pub(super) fn reap(&mut self, set: &PollSet) {
        if self.exit.is_some() || !set.readable(self.pidfd.as_fd()) {
            return;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(None) => return,
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitStatus::Code(code),
                (None, Some(signal)) => ExitStatus::Signal(signal),
                (None, None) => LOST,
            },
            Err(rustix::io::Errno::INTR) => return,
            Err(_) => LOST,
        };
        self.exit = Some(status);
        self.input.close();
        self.outputs.iter_mut().for_each(Output::process_ended);
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Overrun> {
        self.input.push(bytes)
    }

    /// Writes to the input what it takes and passes credit on.
    pub(super) fn flush_input(&mut self, set: &PollSet, outbox: &mut Outbox) {
        if self.input.wanted().is_some_and(|fd| set.writable(fd)) {
            self.input.flush();
        }
        self.credit_input(outbox);
    }

    /// Tells the asking side how much input it may send again.
    pub(super) fn credit_input(&mut self, outbox: &mut Outbox) {
        if let Some(count) = self.input.credit().filter(|_| self.attached) {
            outbox.push(Frame::credit(Kind::CreditInput, self.number, count));
        }
    }

    /// The asking side took so many bytes of output. It never gets more than
    /// one window, whatever it grants.
    pub(super) fn grant(&mut self, count: u32) {
        self.credit = self.credit.saturating_add(count).min(WINDOW);
    }

    /// Nobody reads or writes the channel any more; the process goes on with
    /// its input at an end and its output going nowhere.
    pub(super) fn detach(&mut self) {
        self.attached = false;
        self.input.close();
    }

    pub(super) fn resize(&self, size: TermSize) {
        if let Some(terminal) = &self.terminal {
            let size = Winsize {
                ws_row: size.rows,
                ws_col: size.cols,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // Only a terminal that is being torn down can't be resized.
            let _ = rustix::termios::tcsetwinsize(terminal, size);
        }
    }

    /// Passes on what the process wrote.
    pub(super) fn pump_output(&mut self, set: &PollSet, buffer: &mut [u8], outbox: &mut Outbox) {
        let ended = self.exit.is_some();
        let (number, attached) = (self.number, self.attached);
        for output in &mut self.outputs {
            let ready = output.fd().is_some_and(|fd| set.readable(fd));
            // One read each while the process runs, so that none starves the
            // others; all of the rest once it has ended.
            while (ready || ended) && outbox.has_room() {
                let room = match attached {
                    true => buffer.len().min(self.credit as usize),
                    false => buffer.len(),
                };
                if room == 0 {
                    break;
                }
                match output.read(&mut buffer[..room]) {
                    Read::Bytes(count) if attached => {
                        self.credit -= count as u32;
                        let bytes = buffer[..count].to_vec();
                        outbox.push(Frame::data(output.kind, number, bytes));
                    }
                    Read::Bytes(_) => {}
                    Read::Blocked => break,
                    Read::End if attached => {
                        outbox.push(Frame::data(output.kind, number, Vec::new()));
                        break;
                    }
                    Read::End => break,
                }
                if !ended {
                    break;
                }
            }
        }
    }

    fn is_drained(&self) -> bool {
        self.outputs.iter().all(Output::is_done)
    }

    /// The process has ended and all that it wrote was passed on.
    pub(super) fn is_over(&self) -> bool {
        self.exit.is_some() && self.is_drained()
    }

    /// Says the last about the process. Returns pipes that others still hold.
    pub(super) fn finish(self, oom_killed: bool, outbox: &mut Outbox) -> Vec<Arc<OwnedFd>> {
        let still_open = self.outputs.iter().filter(|output| output.fd().is_some());
        for output in still_open.filter(|_| self.attached) {
            outbox.push(Frame::data(output.kind, self.number, Vec::new()));
        }
        outbox.event(&Event::Exited {
            channel: self.number,
            status: self.exit.unwrap_or(LOST),
            oom_killed,
        });
        let late = self.outputs.into_iter().filter_map(Output::into_late);
        late.collect()
    }
}
