//! A queue and the threads that serve it.
//!
//! Whoever holds `lead` takes requests from the queue and carries them out one
//! after the other. Before something that may last, it gives `lead` up and goes on
//! as a follower; another thread, started if none is idle, takes the queue over.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use virtio_queue::{DescriptorChain, Error as RingError, Queue as Ring, QueueOwnedT, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Memory, QUEUE_SIZE};
use crate::chain::Chain;
use crate::node::lock;
use crate::server::Server;

/// Most descriptors of a request, indirect ones included.
const MAX_DESCRIPTORS: usize = 1024;
/// Most threads of a queue: some wait for locks, a few work.
const MAX_THREADS: usize = 72;
/// Threads that stay idle.
const MAX_IDLE: usize = 2;
/// How long a stop waits for requests that the host does not finish. Their answers
/// are dropped then.
const PATIENCE: Duration = Duration::from_secs(10);
const STACK: usize = 256 << 10;

/// Where the parts of a queue are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rings {
    pub(super) descriptors: GuestAddress,
    pub(super) available: GuestAddress,
    pub(super) used: GuestAddress,
}

/// A queue of the device.
pub(super) struct Queue {
    server: Arc<Server>,
    state: Mutex<State>,
    /// A request under way has ended.
    ended: Condvar,
    /// Tells the leader that the state has changed.
    wake: Option<OwnedFd>,
    lead: Mutex<()>,
    threads: AtomicUsize,
    idle: AtomicUsize,
}

struct State {
    ring: Ring,
    memory: Arc<Memory>,
    kick: Option<Arc<OwnedFd>>,
    call: Option<OwnedFd>,
    enabled: bool,
    /// The driver broke the rules: nothing more is taken.
    broken: bool,
    /// Counts starts and stops, so that an answer from before a stop is dropped.
    epoch: u64,
    under_way: usize,
    /// Somebody waits for the end of what is under way.
    stopping: bool,
}

/// What the leader does next.
enum Next {
    /// Carry this request out.
    Request(u16),
    /// Wait for the driver, or for a change.
    Wait(Option<Arc<OwnedFd>>),
}

impl State {
    fn live(&self) -> bool {
        self.enabled && !self.broken && self.kick.is_some()
    }
}

impl Queue {
    pub(super) fn new(server: Arc<Server>) -> Arc<Queue> {
        let ring = Ring::new(QUEUE_SIZE).unwrap_or_else(|_| unreachable!("a power of two"));
        Arc::new(Queue {
            server,
            state: Mutex::new(State {
                ring,
                memory: Arc::new(Memory::new()),
                kick: None,
                call: None,
                enabled: false,
                broken: false,
                epoch: 0,
                under_way: 0,
                stopping: false,
            }),
            ended: Condvar::new(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok(),
            lead: Mutex::new(()),
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut lock(&self.state));
        if let Some(wake) = &self.wake {
            signal(wake);
        }
        result
    }

    pub(super) fn set_memory(&self, memory: Arc<Memory>) {
        self.change(|state| state.memory = memory);
    }

    pub(super) fn agree(&self, event_index: bool, enabled: bool) {
        self.change(|state| {
            state.ring.set_event_idx(event_index);
            state.enabled |= enabled;
        });
    }

    pub(super) fn set_size(&self, size: u16) {
        self.change(|state| state.ring.set_size(size));
    }

    pub(super) fn place(&self, rings: Rings) -> Result<(), RingError> {
        self.change(|state| {
            state.ring.try_set_desc_table_address(rings.descriptors)?;
            state.ring.try_set_avail_ring_address(rings.available)?;
            state.ring.try_set_used_ring_address(rings.used)
        })
    }

    pub(super) fn set_base(&self, base: u16) {
        self.change(|state| {
            state.ring.set_next_avail(base);
            state.ring.set_next_used(base);
        });
    }

    pub(super) fn set_call(&self, call: Option<OwnedFd>) {
        self.change(|state| state.call = call);
    }

    pub(super) fn enable(&self, enable: bool) {
        self.change(|state| state.enabled = enable);
    }

    /// Starts taking requests; `kick` tells of them.
    pub(super) fn start(self: &Arc<Queue>, kick: OwnedFd) -> io::Result<()> {
        let started = self.change(|state| {
            state.ring.set_ready(true);
            if !state.ring.is_valid(&*state.memory) {
                return Err(io::Error::other("a queue lies outside of memory"));
            }
            let used = state.ring.used_idx(&*state.memory, Ordering::Acquire);
            state.ring.set_next_used(used.map_err(io::Error::other)?.0);
            state.kick = Some(Arc::new(kick));
            state.broken = false;
            state.epoch += 1;
            Ok(())
        });
        started?;
        if self.threads.load(Ordering::SeqCst) == 0 {
            self.start_thread()?;
        }
        Ok(())
    }

    /// Stops and returns the index of the next request. No answer is given after
    /// this returns.
    pub(super) fn stop(&self) -> u16 {
        self.change(|state| {
            state.kick = None;
            state.call = None;
        });
        let end = Instant::now() + PATIENCE;
        let mut state = lock(&self.state);
        state.stopping = true;
        while state.under_way > 0 && Instant::now() < end {
            drop(state);
            self.server.end_waits();
            state = lock(&self.state);
            if state.under_way > 0 {
                let waited = self.ended.wait_timeout(state, Duration::from_millis(20));
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        state.stopping = false;
        state.epoch += 1;
        state.ring.set_ready(false);
        state.ring.next_avail()
    }

    fn start_thread(self: &Arc<Queue>) -> io::Result<()> {
        let count = self.threads.fetch_add(1, Ordering::SeqCst);
        let queue = self.clone();
        let started = if count < MAX_THREADS {
            std::thread::Builder::new()
                .name("queue".to_owned())
                .stack_size(STACK)
                .spawn(move || queue.work())
                .map(drop)
        } else {
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        };
        if started.is_err() {
            self.threads.fetch_sub(1, Ordering::SeqCst);
        }
        started
    }

    /// Gives the lead to another thread; false if there is none.
    fn hand_over(self: &Arc<Queue>, lead: &mut Option<MutexGuard<'_, ()>>) -> bool {
        if lead.is_some() && self.idle.load(Ordering::SeqCst) == 0 && self.start_thread().is_err() {
            return false;
        }
        *lead = None;
        true
    }

    /// A thread's life.
    fn work(self: Arc<Queue>) {
        let mut worker = match self.server.worker() {
            Ok(worker) => worker,
            Err(error) => {
                // The queue would never be looked at again.
                eprintln!("isola-fsd: start a thread: {error}");
                std::process::abort();
            }
        };
        loop {
            if self.idle.fetch_add(1, Ordering::SeqCst) >= MAX_IDLE {
                self.idle.fetch_sub(1, Ordering::SeqCst);
                self.threads.fetch_sub(1, Ordering::SeqCst);
                return;
            }
            let mut lead = Some(lock(&self.lead));
            self.idle.fetch_sub(1, Ordering::SeqCst);
            while lead.is_some() {
                let (memory, epoch) = {
                    let state = lock(&self.state);
                    (state.memory.clone(), state.epoch)
                };
                let mut chain = Chain::default();
                match self.next(&memory, epoch, &mut chain) {
                    Next::Request(head) => {
                        let mut spare = || self.hand_over(&mut lead);
                        let written = self.server.serve(&mut worker, &chain, &mut spare);
                        self.finish(epoch, head, written);
                    }
                    Next::Wait(kick) => self.wait(kick.as_deref()),
                }
            }
        }
    }

    /// Takes the next request's chain.
    fn next<'m>(&self, memory: &'m Memory, epoch: u64, chain: &mut Chain<'m>) -> Next {
        let mut state = lock(&self.state);
        if !state.live() {
            return Next::Wait(None);
        }
        if state.epoch != epoch {
            // `memory` may be of before: look again at once.
            return Next::Wait(state.kick.clone().filter(|kick| {
                signal(kick);
                true
            }));
        }
        loop {
            let taken = match state.ring.iter(memory) {
                Ok(mut available) => available.next().map(|found| {
                    let head = found.head_index();
                    (head, check(found, memory, chain))
                }),
                Err(_) => Some((0, Err("the ring of available buffers is damaged"))),
            };
            match taken {
                Some((head, Ok(()))) => {
                    state.under_way += 1;
                    return Next::Request(head);
                }
                Some((_, Err(why))) => {
                    state.broken = true;
                    eprintln!("isola-fsd: a queue is stopped until its reset: {why}");
                    return Next::Wait(None);
                }
                None => match state.ring.enable_notification(memory) {
                    Ok(true) => {}
                    _ => return Next::Wait(state.kick.clone()),
                },
            }
        }
    }

    /// Returns a request's buffers.
    fn finish(&self, epoch: u64, head: u16, written: usize) {
        let mut state = lock(&self.state);
        state.under_way -= 1;
        if state.epoch == epoch && !state.broken {
            let memory = state.memory.clone();
            let written = u32::try_from(written).unwrap_or(u32::MAX);
            let told = state
                .ring
                .add_used(&*memory, head, written)
                .and_then(|()| state.ring.needs_notification(&*memory));
            match told {
                Ok(true) => {
                    if let Some(call) = &state.call {
                        signal(call);
                    }
                }
                Ok(false) => {}
                Err(_) => state.broken = true,
            }
        }
        // Telling is a system call, also where nobody listens.
        if state.under_way == 0 && state.stopping {
            self.ended.notify_all();
        }
    }

    /// Waits for the driver or for a change.
    fn wait(&self, kick: Option<&OwnedFd>) {
        let Some(wake) = &self.wake else {
            return;
        };
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        fds.extend(kick.map(|kick| PollFd::new(kick, PollFlags::IN)));
        let _ = poll(&mut fds, None);
        let mut ready = fds.iter().map(|fd| fd.revents().contains(PollFlags::IN));
        let (woken, kicked) = (ready.next() == Some(true), ready.next() == Some(true));
        let mut count = [0; 8];
        if woken {
            let _ = rustix::io::read(wake, &mut count);
        }
        if let (true, Some(kick)) = (kicked, kick) {
            let _ = rustix::io::read(kick, &mut count);
        }
    }
}

/// Counts an event.
fn signal(event: &OwnedFd) {
    // Fails only when the counter is full: then it has been told.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

/// Checks a chain of descriptors: it lies in memory, what is read comes before what
/// is written, and it ends.
fn check<'m>(
    mut found: DescriptorChain<&'m Memory>,
    memory: &'m Memory,
    chain: &mut Chain<'m>,
) -> Result<(), &'static str> {
    let (mut count, mut last_has_next) = (0, true);
    for descriptor in found.by_ref() {
        count += 1;
        if count > MAX_DESCRIPTORS {
            return Err("a chain of buffers is too long");
        }
        last_has_next = descriptor.has_next();
        if descriptor.len() == 0 {
            continue;
        }
        let slice = memory
            .get_slice(descriptor.addr(), descriptor.len() as usize)
            .map_err(|_| "a buffer lies outside of memory")?;
        if descriptor.is_write_only() {
            chain.push_writable(slice);
        } else if chain.writable_len() > 0 {
            return Err("a readable buffer comes after a writable one");
        } else {
            chain.push_readable(slice);
        }
    }
    // The iterator ends quietly at a loop and at whatever is no descriptor.
    if last_has_next {
        Err("a chain of buffers has no end")
    } else {
        Ok(())
    }
}
