//! Shared folders (virtio 1.2, section 5.11). The queues are served by another
//! process over vhost-user, which gets guest memory, bells and interrupt line and is
//! not heard of again; here are the registers, and the talk with that process.
//!
//! The vCPU that sets the device up may not use sockets. It leaves a wish to the
//! thread of [`Talk`] and waits until that is fulfilled.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ids::VIRTIO_ID_FS;
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemoryBackend};
use vmm_sys_util::eventfd::EventFd;

use super::mmio::Transport;
use super::queue::Virtqueue;
use super::{Broken, COMMON_FEATURES, Device, Work};
use crate::config::{self, MAX_SHARE_QUEUES, MAX_TAG};
use crate::machine::Verdict;
use crate::memory::Memory;
use crate::outcome::{Outcome, Report};

/// Linux uses transfers of 1 MiB only with more descriptors than these have pages.
const QUEUE_SIZE: u16 = 1024;
/// The queue for urgent requests and those for all others.
const QUEUES: [u16; 1 + MAX_SHARE_QUEUES] = [QUEUE_SIZE; 1 + MAX_SHARE_QUEUES];
/// How long the other process may take for an answer. It waits for requests under
/// way, at most 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a queue lies, as the other process is told.
#[derive(Clone, Copy, Debug)]
struct Rings {
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
}

/// What a vCPU wants of the other process.
#[derive(Debug)]
enum Wish {
    Start(u64, Vec<Rings>),
    Stop,
}

/// The place where a wish is left; it is gone when it was fulfilled.
#[derive(Debug)]
struct Counter {
    wish: Mutex<Option<Wish>>,
    fulfilled: Condvar,
    bell: EventFd,
}

impl Counter {
    fn ask(&self, wish: Wish) {
        let mut place = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(wish);
        // Fails only when the counter is full, and then the thread is awake.
        let _ = self.bell.write(1);
        let waiting = self.fulfilled.wait_while(place, |wish| wish.is_some());
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }
}

/// The device.
#[derive(Debug)]
pub(crate) struct Share {
    queues: usize,
    config: [u8; MAX_TAG + 4],
    memory: Memory,
    counter: Arc<Counter>,
    running: bool,
}

/// The talk with the process that serves the device.
pub(crate) struct Talk {
    frontend: Frontend,
    socket: UnixStream,
    regions: Vec<VhostUserMemoryRegionInfo>,
    bells: Vec<EventFd>,
    line: EventFd,
    counter: Arc<Counter>,
    queues: usize,
    gone: bool,
}

impl Share {
    /// A device, not connected yet. `memory` is shared.
    pub(crate) fn new(share: &config::Share, memory: Memory) -> io::Result<Share> {
        let mut config = [0; MAX_TAG + 4];
        config
            .iter_mut()
            .zip(share.tag.bytes().take(MAX_TAG))
            .for_each(|(to, from)| *to = from);
        config[MAX_TAG..].copy_from_slice(&share.queues.to_le_bytes());
        Ok(Share {
            queues: 1 + (share.queues as usize).min(MAX_SHARE_QUEUES),
            config,
            memory,
            counter: Arc::new(Counter {
                wish: Mutex::new(None),
                fulfilled: Condvar::new(),
                bell: EventFd::new(libc::EFD_NONBLOCK)?,
            }),
            running: false,
        })
    }

    fn rings(&self, queue: &Virtqueue) -> Option<Rings> {
        let ring = &queue.ring;
        let place = |address| {
            let host = self.memory.get_host_address(GuestAddress(address));
            host.ok().map(|pointer| pointer as u64)
        };
        Some(Rings {
            size: ring.size(),
            descriptors: place(ring.desc_table())?,
            available: place(ring.avail_ring())?,
            used: place(ring.used_ring())?,
        })
    }
}

impl Device for Share {
    fn name(&self) -> String {
        "shared folders".into()
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_FS
    }

    fn features(&self) -> u64 {
        COMMON_FEATURES
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUES[..self.queues]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn interrupts_by_others(&self) -> bool {
        true
    }

    fn activate(&mut self, features: u64, queues: &[Virtqueue]) {
        let rings: Option<Vec<_>> = queues.iter().map(|queue| self.rings(queue)).collect();
        // The transport has checked that they lie in memory.
        if let Some(rings) = rings {
            self.counter.ask(Wish::Start(features, rings));
            self.running = true;
        }
    }

    fn reset(&mut self) {
        if std::mem::take(&mut self.running) {
            self.counter.ask(Wish::Stop);
        }
    }

    fn process(&mut self, _: usize, _: &mut [Virtqueue], _: &Memory) -> Result<Work, Broken> {
        Ok(Work::default())
    }
}

impl Talk {
    /// Greets the process behind the socket.
    pub(crate) fn greet(transport: &Transport<Share>, socket: OwnedFd) -> io::Result<Talk> {
        let socket = UnixStream::from(socket);
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let copies: io::Result<Vec<_>> = transport.bells().iter().map(EventFd::try_clone).collect();
        let bells = copies?;
        let mut frontend = Frontend::from_stream(socket.try_clone()?, bells.len() as u64);
        let counter = transport.device(|device| device.counter.clone());
        agree(&mut frontend, bells.len()).map_err(io::Error::other)?;
        let regions = GuestMemoryBackend::iter(transport.memory())
            .map(VhostUserMemoryRegionInfo::from_guest_region)
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
        Ok(Talk {
            frontend,
            socket,
            regions,
            queues: bells.len(),
            bells,
            line: transport.line().try_clone()?,
            counter,
            gone: false,
        })
    }

    /// Fulfils wishes until the machine ends. If the process goes, so does the
    /// machine: without its folders the guest would wait for ever.
    pub(crate) fn run(mut self, verdict: &Verdict) {
        loop {
            if let Err(why) = self.turn() {
                self.gone = true;
                let detail = format!("the server of shared folders: {why}");
                verdict.give(Report::new(Outcome::Error, detail));
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let bell = crate::sys::borrow(&self.counter.bell);
        let mut fds = vec![PollFd::from_borrowed_fd(bell, PollFlags::IN)];
        if !self.gone {
            fds.push(PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let talks = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        let asked = !fds[0].revents().is_empty();
        drop(fds);
        let mut result = Ok(());
        if talks {
            // It has nothing to say unasked but that it ends.
            self.gone = true;
            result = Err(io::Error::other("it has ended"));
        }
        if asked {
            // Nothing to read means that there is no wish either.
            let _ = self.counter.bell.read();
            result = result.and(self.fulfil());
        }
        result
    }

    fn fulfil(&mut self) -> io::Result<()> {
        let counter = self.counter.clone();
        let mut place = counter.wish.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match &*place {
            _ if self.gone => Ok(()),
            Some(Wish::Start(features, rings)) => self.start(*features, rings),
            Some(Wish::Stop) => {
                (0..self.queues).try_for_each(|queue| self.frontend.get_vring_base(queue).map(drop))
            }
            None => Ok(()),
        };
        *place = None;
        counter.fulfilled.notify_all();
        result.map_err(io::Error::other)
    }

    fn start(&mut self, features: u64, rings: &[Rings]) -> vhost::Result<()> {
        let protocol = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        self.frontend.set_features(features | protocol)?;
        self.frontend.set_mem_table(&self.regions)?;
        for (queue, rings) in rings.iter().enumerate() {
            let place = VringConfigData {
                queue_max_size: QUEUE_SIZE,
                queue_size: rings.size,
                flags: 0,
                desc_table_addr: rings.descriptors,
                used_ring_addr: rings.used,
                avail_ring_addr: rings.available,
                log_addr: None,
            };
            self.frontend.set_vring_num(queue, rings.size)?;
            self.frontend.set_vring_base(queue, 0)?;
            self.frontend.set_vring_addr(queue, &place)?;
            self.frontend.set_vring_call(queue, &self.line)?;
            self.frontend.set_vring_kick(queue, &self.bells[queue])?;
            self.frontend.set_vring_enable(queue, true)?;
        }
        Ok(())
    }
}

/// Agrees on features with the other process.
fn agree(frontend: &mut Frontend, queues: usize) -> vhost::Result<()> {
    let unfit = |why: &str| {
        vhost::Error::VhostUserProtocol(vhost::vhost_user::Error::ReqHandlerError(
            io::Error::other(why.to_owned()),
        ))
    };
    frontend.set_owner()?;
    let wanted = COMMON_FEATURES | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
    let has = frontend.get_features()?;
    if wanted & !has != 0 || has >> VIRTIO_F_VERSION_1 & 1 == 0 {
        return Err(unfit("it lacks features"));
    }
    let wanted = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK;
    if !frontend.get_protocol_features()?.contains(wanted) {
        return Err(unfit("it lacks features of the protocol"));
    }
    frontend.set_protocol_features(wanted)?;
    if frontend.get_queue_num()? < queues as u64 {
        return Err(unfit("it has too few queues"));
    }
    // From now on every message is answered, so that a refusal is noticed.
    frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    Ok(())
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Talk({})", self.socket.as_raw_fd())
    }
}

#[cfg(test)]
mod tests;
