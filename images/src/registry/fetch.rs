//! Several blobs at once: each comes in a thread of its own while another one
//! makes its layer, and the first real failure ends them all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::http::lock;
use super::manifest::Descriptor;
use super::pull::{Told, Transfer, sync};
use super::remote::Remote;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::build::Built;
use crate::layer::spool::SpoolReader;
use crate::store::Store;
use crate::store::ingest::BlobSink;

/// Layers that may be made while others still come.
const AHEAD: usize = 2;
/// How often a thread that waits looks whether to go on.
const LOOK: Duration = Duration::from_millis(50);

/// What is to be done for a blob.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) blob: Descriptor,
    /// Fetch it; else it is in the store.
    pub(super) load: bool,
    /// Make its layer, which must have this diff id.
    pub(super) unpack: Option<Digest>,
}

/// The blobs of one pull on their way.
pub(super) struct Fetch<'a> {
    store: &'a Store,
    remote: &'a Remote<'a>,
    told: Told<'a>,
    next: AtomicUsize,
    ended: AtomicBool,
    /// The failure that ended it.
    failure: Mutex<Option<Error>>,
    /// Failures of layers whose blob turned out to be right.
    layers: Mutex<Vec<Error>>,
    built: Mutex<Vec<(Digest, Built)>>,
    permits: Permits,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(store: &'a Store, remote: &'a Remote<'a>, told: Told<'a>) -> Self {
        let parallel = remote.client.settings.parallel();
        Self {
            store,
            remote,
            told,
            next: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            failure: Mutex::default(),
            layers: Mutex::default(),
            built: Mutex::default(),
            permits: Permits::new(parallel + AHEAD),
        }
    }

    /// Does all jobs, the first ones first. Blobs are in their places after it,
    /// layers are given back.
    pub(super) fn run(self, jobs: &[Job]) -> Result<Vec<(Digest, Built)>> {
        let workers = self.remote.client.settings.parallel().min(jobs.len());
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.work(scope, jobs));
            }
        });
        let take = |mutex: Mutex<_>| mutex.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = take(self.failure) {
            return Err(error);
        }
        let layers = self
            .layers
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match layers.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(self
                .built
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, jobs: &'scope [Job]) {
        while !self.has_ended() {
            let Some(job) = jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let done = match (job.load, job.unpack) {
                (true, _) => self.load(scope, job),
                (false, Some(diff_id)) => self.rebuild(job, &diff_id),
                (false, None) => Ok(()),
            };
            if let Err(error) = done {
                self.end(error);
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The first failure counts; others follow from it.
    fn end(&self, error: Error) {
        let mut failure = lock(&self.failure);
        if !self.has_ended() {
            *failure = Some(error);
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    /// The layer of a blob that is here already.
    fn rebuild(&self, job: &Job, diff_id: &Digest) -> Result<()> {
        let blob = job.blob.digest;
        let built = self.store.rebuild_layer(&blob, diff_id)?;
        lock(&self.built).push((blob, built));
        (self.told)(Transfer::Done { blob });
        Ok(())
    }

    fn load<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        job: &'scope Job,
    ) -> Result<()> {
        let blob = job.blob.digest;
        let (mut sink, reader) = BlobSink::new(self.store)?;
        match job.unpack {
            Some(diff_id) => {
                self.permits.take();
                scope.spawn(move || {
                    self.unpack(reader, job, diff_id);
                    self.permits.give();
                });
            }
            None => drop(reader),
        }
        let mut done = 0;
        let again = |why: &str| {
            (self.told)(Transfer::Again {
                why: why.to_owned(),
            })
        };
        let sleep = |wait: Duration| {
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.has_ended() {
                std::thread::sleep(LOOK.min(wait));
            }
        };
        self.remote.blob(&job.blob, &again, &sleep, &mut |piece| {
            if self.has_ended() {
                // Nobody sees it: the failure that ended it is there already.
                return Err(Error::BlobMissing(blob));
            }
            sink.put(piece)?;
            done += piece.len() as u64;
            (self.told)(Transfer::Bytes { blob, done });
            Ok(())
        })?;
        let received = sink.finish(None)?;
        if received.digest != blob {
            return Err(self.remote.wrong_digest(&job.blob, received.digest));
        }
        // It stays from here on, whatever becomes of the others.
        sync(received.temp.path())?;
        received.temp.persist(&self.store.blob_path(&blob))?;
        (self.told)(match job.unpack {
            Some(_) => Transfer::Moved { blob },
            None => Transfer::Done { blob },
        });
        Ok(())
    }

    /// Makes a layer of a blob while it comes. What is wrong with the layer may
    /// be the fault of a blob that is not what it should be, so only what cannot
    /// be that ends the pull at once.
    fn unpack(&self, reader: SpoolReader, job: &Job, diff_id: Digest) {
        let blob = job.blob.digest;
        let built =
            self.store
                .build_layer(reader)
                .and_then(|built| match built.diff_id == diff_id {
                    true => Ok(built),
                    false => Err(Error::DigestMismatch {
                        what: "its content".into(),
                        expected: diff_id,
                        found: built.diff_id,
                    }),
                });
        match built {
            Ok(built) => {
                lock(&self.built).push((blob, built));
                (self.told)(Transfer::Done { blob });
            }
            Err(error) => {
                let at_once = matches!(
                    error,
                    Error::Limit { .. } | Error::NoSpace { .. } | Error::Io { .. }
                );
                let error = error.in_layer(blob.short());
                match at_once {
                    true => self.end(error),
                    false => lock(&self.layers).push(error),
                }
            }
        }
    }
}

/// So many may do something at once.
struct Permits {
    left: Mutex<usize>,
    given: Condvar,
}

impl Permits {
    fn new(count: usize) -> Self {
        Self {
            left: Mutex::new(count),
            given: Condvar::new(),
        }
    }

    fn take(&self) {
        let mut left = lock(&self.left);
        while *left == 0 {
            left = self
                .given
                .wait(left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *left -= 1;
    }

    fn give(&self) {
        *lock(&self.left) += 1;
        self.given.notify_one();
    }
}
