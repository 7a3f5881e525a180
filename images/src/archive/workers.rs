//! Worker threads that make layers of blobs while these are still being read
//! from the archive.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use super::load::Progress;
use crate::error::Result;
use crate::layer::build::Built;
use crate::layer::spool::SpoolReader;
use crate::store::Store;

/// More workers than this only fight for the disk.
const MAX_WORKERS: usize = 4;

struct Job {
    name: String,
    reader: SpoolReader,
}

type Done = (String, Result<Built>);

/// The threads of one load.
pub(crate) struct Workers {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

impl Workers {
    /// Starts them; they end when [`Workers::finish`] is called or this is
    /// dropped.
    pub(crate) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        store: &'env Store,
        progress: &'env (dyn Fn(Progress) + Sync),
    ) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (results, done) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let count = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_WORKERS);
        for _ in 0..count {
            let (queue, results) = (Arc::clone(&queue), results.clone());
            scope.spawn(move || work(store, &queue, &results, progress));
        }
        Self { jobs, done }
    }

    /// Begins a layer.
    pub(crate) fn add(&self, name: &str, reader: SpoolReader) {
        // Without receivers all workers have panicked, which the scope reports.
        let _ = self.jobs.send(Job {
            name: name.to_owned(),
            reader,
        });
    }

    /// Waits for all layers.
    pub(crate) fn finish(self) -> HashMap<String, Result<Built>> {
        drop(self.jobs);
        self.done.into_iter().collect()
    }
}

fn work(
    store: &Store,
    queue: &Mutex<Receiver<Job>>,
    results: &Sender<Done>,
    progress: &(dyn Fn(Progress) + Sync),
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { name, reader }) = job else {
            return;
        };
        let built = store.build_layer(reader);
        if let Ok(built) = &built {
            progress(Progress::Layer {
                diff_id: built.diff_id,
                size: built.size,
            });
        }
        if results.send((name, built)).is_err() {
            return;
        }
    }
}
