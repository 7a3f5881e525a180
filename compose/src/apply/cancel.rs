//! Ending steps that wait.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};

use isola_runtime::{Error, Result};

use super::run::Word;

/// Says once, to everybody who waits, that it is over.
#[derive(Debug)]
pub struct Cancel {
    over: AtomicBool,
    /// Readable from then on: what is written is never read.
    ends: (UnixStream, UnixStream),
    waker: Mutex<Option<Sender<Word>>>,
}

impl Cancel {
    /// Nothing is over yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> Result<Cancel> {
        let ends =
            UnixStream::pair().map_err(|error| Error::system("make a pair of sockets", error))?;
        Ok(Cancel {
            over: AtomicBool::new(false),
            ends,
            waker: Mutex::new(None),
        })
    }

    /// It is over.
    pub fn cancel(&self) {
        if self.over.swap(true, Ordering::SeqCst) {
            return;
        }
        // One byte into an empty socket fits.
        let _ = (&self.ends.0).write(&[0]);
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = waker.send(None);
        }
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Whoever listens is woken, too.
    pub(super) fn wake(&self, waker: Sender<Word>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends.1.as_fd()
    }
}
