//! Threads that wait for a lock, and how to end their wait.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use crate::node::lock;
use crate::sys;

/// Most threads that wait at once.
pub(crate) const MAX_WAITS: usize = 64;
/// A signal that comes just before the wait begins is lost, so it is sent again.
const AGAIN: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug)]
struct Waiter {
    tid: i32,
    ended: bool,
}

/// All waits by the number of the request.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    waiters: Mutex<HashMap<u64, Waiter>>,
    gone: Condvar,
}

impl Waits {
    /// Whether there is room for one more.
    pub(crate) fn room(&self) -> bool {
        lock(&self.waiters).len() < MAX_WAITS
    }

    /// Calls `wait`, which a signal interrupts, until it gives something else than
    /// EINTR, or somebody ends the wait.
    pub(crate) fn wait<T>(
        &self,
        request: u64,
        mut wait: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        {
            let mut waiters = lock(&self.waiters);
            // A guest that gives a number twice makes one wait that can't be ended
            // apart from the other.
            if waiters.len() >= MAX_WAITS || waiters.contains_key(&request) {
                return Err(Errno::NOLCK);
            }
            waiters.insert(request, Waiter { tid, ended: false });
        }
        let result = loop {
            match wait() {
                Err(Errno::INTR) if !self.is_ended(request) => {}
                other => break other,
            }
        };
        lock(&self.waiters).remove(&request);
        self.gone.notify_all();
        result
    }

    fn is_ended(&self, request: u64) -> bool {
        let waiters = lock(&self.waiters);
        waiters.get(&request).is_none_or(|waiter| waiter.ended)
    }

    /// Ends one wait and returns when its thread has noticed.
    pub(crate) fn end(&self, request: u64) {
        self.end_some(|other| other == request);
    }

    /// Ends all waits and returns when all threads have noticed.
    pub(crate) fn end_all(&self) {
        self.end_some(|_| true);
    }

    fn end_some(&self, which: impl Fn(u64) -> bool) {
        let mut waiters = lock(&self.waiters);
        loop {
            let mut any = false;
            for (_, waiter) in waiters.iter_mut().filter(|(request, _)| which(**request)) {
                any = true;
                waiter.ended = true;
                // It is in the table, so the thread is there.
                sys::wake(waiter.tid);
            }
            if !any {
                return;
            }
            let waited = self.gone.wait_timeout(waiters, AGAIN);
            waiters = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
