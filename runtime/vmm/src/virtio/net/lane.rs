//! A lane: one queue pair with its queue of the tap device.
//!
//! While the driver is ready the lane has copies of the transport's queues and a lock
//! of its own, so that lanes don't wait for each other. The transport locks lanes, never
//! the other way round; a reset waits for the turn that is under way.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::features::Agreed;
use super::receive::{Pause, Receiver};
use super::tap::Tap;
use super::transmit;
use crate::memory::Memory;
use crate::virtio::Broken;
use crate::virtio::queue::Virtqueue;

/// A queue pair.
#[derive(Debug)]
pub(crate) struct Lane {
    tap: Tap,
    state: Mutex<State>,
}

/// What happened since the last turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Events {
    /// The tap device may have packets.
    pub(super) readable: bool,
    /// The tap device may take packets.
    pub(super) writable: bool,
    /// The bell of the queue for received packets rang.
    pub(super) buffers: bool,
    /// The bell of the queue for packets to send rang.
    pub(super) packets: bool,
}

#[derive(Debug)]
struct State {
    live: Option<Live>,
    /// What the tap device is to do for the guest, once the lane has told it.
    offload: Option<libc::c_uint>,
    /// The lane is to carry packets.
    wanted: bool,
    /// The tap device gives it packets.
    attached: bool,
}

/// A lane whose driver is ready.
#[derive(Debug)]
struct Live {
    receiver: Receiver,
    transmit: Virtqueue,
    /// There may be something to receive, and room for it.
    may_receive: bool,
    may_transmit: bool,
    /// The tap device took no more.
    blocked: bool,
}

impl Lane {
    pub(super) fn new(tap: Tap, wanted: bool) -> Lane {
        Lane {
            tap,
            state: Mutex::new(State {
                live: None,
                offload: None,
                wanted,
                attached: true,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver is ready. `queues` are the pair's two.
    pub(super) fn start(&self, agreed: Agreed, queues: &[Virtqueue], wanted: bool) {
        let mut state = self.lock();
        // Copying fails only for addresses that the transport has refused before.
        let mut copies = queues.iter().filter_map(|queue| queue.copy().ok());
        if let (Some(receive), Some(transmit)) = (copies.next(), copies.next()) {
            state.live = Some(Live {
                receiver: Receiver::new(receive, agreed),
                transmit,
                may_receive: true,
                may_transmit: true,
                blocked: false,
            });
        }
        state.offload = Some(agreed.offload);
        state.wanted = wanted;
    }

    /// The driver is gone, or broke a rule.
    pub(super) fn stop(&self) {
        self.lock().live = None;
    }

    /// Whether the lane is to carry packets.
    pub(super) fn want(&self, wanted: bool) {
        self.lock().wanted = wanted;
    }

    #[cfg(test)]
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().wanted
    }

    /// Whether the driver set the pair up.
    pub(super) fn is_live(&self) -> bool {
        self.lock().live.is_some()
    }

    /// Moves packets, so many at most that nothing else waits for long. True says
    /// that there are more. `raise` interrupts the guest.
    pub(super) fn turn(
        &self,
        events: Events,
        memory: &Memory,
        raise: impl Fn(),
    ) -> Result<bool, Broken> {
        let mut state = self.lock();
        state.settle(&self.tap);
        let wanted = state.wanted;
        let Some(live) = state.live.as_mut().filter(|_| wanted) else {
            return Ok(false);
        };
        let result = live.turn(events, &self.tap, memory, raise);
        if result.is_err() {
            state.live = None;
        }
        result
    }
}

impl AsFd for Lane {
    /// The tap device.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }
}

impl State {
    /// Tells the tap device what changed. A refusal is no reason to stop: a lane that
    /// is not attached gets no packets, and packets that the guest can't take are
    /// dropped.
    fn settle(&mut self, tap: &Tap) {
        if self.attached != self.wanted {
            let _ = tap.attach(self.wanted);
            self.attached = self.wanted;
            if let Some(live) = &mut self.live {
                (live.may_receive, live.may_transmit) = (true, true);
            }
        }
        // A queue that is not attached has no device to tell.
        if self.attached
            && let Some(flags) = self.offload.take()
        {
            let _ = tap.offload(flags);
        }
    }
}

impl Live {
    fn turn(
        &mut self,
        events: Events,
        tap: &Tap,
        memory: &Memory,
        raise: impl Fn(),
    ) -> Result<bool, Broken> {
        self.may_receive |= events.readable | events.buffers;
        self.may_transmit |= events.packets | (events.writable && self.blocked);
        if self.may_receive {
            let (pause, interrupt) = self.receiver.turn(tap, memory)?;
            self.may_receive = pause == Pause::Turn;
            if interrupt {
                raise();
            }
        }
        if self.may_transmit {
            let (work, blocked) = transmit::turn(&mut self.transmit, tap, memory)?;
            (self.may_transmit, self.blocked) = (work.more, blocked);
            if work.interrupt {
                raise();
            }
        }
        Ok(self.may_receive || self.may_transmit)
    }
}
