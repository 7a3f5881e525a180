//! The thread of a lane: waits for bells and packets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::Net;
use super::lane::{Events, Lane};
use crate::sys;
use crate::virtio::mmio::Transport;

/// Number of the tap device in the epoll instance; the others are queues.
const TAP: u64 = u64::MAX;

/// Serves one lane of a device.
pub(crate) struct Server {
    transport: Arc<Transport<Net>>,
    lane: Arc<Lane>,
    pair: usize,
    epoll: OwnedFd,
}

impl Server {
    /// One for each lane. The bells must not block.
    pub(crate) fn all(transport: &Arc<Transport<Net>>) -> io::Result<Vec<Server>> {
        let lanes = transport.device(|net| net.lanes().to_vec());
        let count = lanes.len();
        let server = |(pair, lane)| Server::new(transport.clone(), lane, pair, count);
        lanes.into_iter().enumerate().map(server).collect()
    }

    fn new(
        transport: Arc<Transport<Net>>,
        lane: Arc<Lane>,
        pair: usize,
        pairs: usize,
    ) -> io::Result<Server> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Edges only: a packet that waits for the guest's buffers is no reason to
        // wake up again and again.
        let edges = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&epoll, lane.as_fd(), EventData::new_u64(TAP), edges)?;
        for (queue, bell) in transport.bells().iter().enumerate() {
            // The first lane's thread also serves what belongs to no lane.
            let control = pair == 0 && queue >= 2 * pairs;
            if queue / 2 == pair || control {
                let data = EventData::new_u64(queue as u64);
                epoll::add(&epoll, sys::borrow(bell), data, EventFlags::IN)?;
            }
        }
        Ok(Server {
            transport,
            lane,
            pair,
            epoll,
        })
    }

    /// Serves for ever, or until waiting fails, which leaves the lane silent.
    pub(crate) fn run(self) {
        let mut more = self.turn(Events::default());
        loop {
            match self.wait(more) {
                Ok(events) => more = self.turn(events),
                Err(error) => {
                    eprintln!("isola-vmm: network device: wait for packets: {error}");
                    return;
                }
            }
        }
    }

    /// Waits for something to do, or just looks if there is `more` already.
    fn wait(&self, more: bool) -> io::Result<Events> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut ready = Vec::with_capacity(8);
        let room = rustix::buffer::spare_capacity(&mut ready);
        match epoll::wait(&self.epoll, room, more.then_some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut events = Events::default();
        for event in ready {
            match event.data.u64() {
                TAP => {
                    let flags = event.flags;
                    events.readable |= flags.contains(EventFlags::IN);
                    events.writable |= flags.contains(EventFlags::OUT);
                }
                queue => self.bell(queue as usize, &mut events),
            }
        }
        Ok(events)
    }

    /// A bell rang.
    fn bell(&self, queue: usize, events: &mut Events) {
        let bells = self.transport.bells();
        // Fails when there is no count, and then nothing is told again either.
        let _ = bells[queue].read();
        if queue / 2 == self.pair {
            events.buffers |= queue.is_multiple_of(2);
            events.packets |= !queue.is_multiple_of(2);
            // A driver that uses one pair has its control queue where otherwise the
            // second pair is.
            if self.pair > 0 && !self.lane.is_live() {
                self.transport.ring(queue);
            }
        } else {
            self.transport.ring(queue);
            // Each lane looks whether it is wanted now.
            for bell in &bells[..queue] {
                let _ = bell.write(1);
            }
        }
    }

    fn turn(&self, events: Events) -> bool {
        let memory = self.transport.memory();
        let result = self
            .lane
            .turn(events, memory, || self.transport.interrupt());
        result.unwrap_or_else(|broken| {
            self.transport.fail(&broken, Net::stop);
            false
        })
    }
}
