//! Open files and folders.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::io::Errno;

use crate::node::Node;

/// An open file or folder.
#[derive(Debug)]
pub(crate) struct Handle {
    fd: OwnedFd,
    pub(crate) node: Arc<Node>,
    /// Opened with O_APPEND.
    pub(crate) append: bool,
    /// Where reading of a folder stands.
    pub(crate) folder: Mutex<Folder>,
}

/// Entries that were read from a folder and not yet given to the guest.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// `struct linux_dirent64`s.
    pub(crate) entries: Vec<u8>,
    /// The first one that was not given.
    pub(crate) start: usize,
    /// The offset that belongs to it.
    pub(crate) offset: u64,
}

impl Handle {
    /// A new open file.
    pub(crate) fn new(fd: OwnedFd, node: Arc<Node>, append: bool) -> Handle {
        node.opened.fetch_add(1, Ordering::Relaxed);
        Handle {
            fd,
            node,
            append,
            folder: Mutex::default(),
        }
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.node.opened.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All handles.
#[derive(Debug)]
pub(crate) struct Handles {
    table: RwLock<(u64, HashMap<u64, Arc<Handle>>)>,
    limit: usize,
}

impl Handles {
    /// Room for `limit` handles.
    pub(crate) fn new(limit: usize) -> Handles {
        Handles {
            table: RwLock::default(),
            limit,
        }
    }

    /// Whether there is room for one more: asked before a file is made.
    pub(crate) fn room(&self) -> Result<(), Errno> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if table.1.len() < self.limit {
            Ok(())
        } else {
            Err(Errno::NFILE)
        }
    }

    /// Adds a handle; its number.
    pub(crate) fn add(&self, handle: Handle) -> Result<u64, Errno> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let (last, handles) = &mut *table;
        if handles.len() >= self.limit {
            return Err(Errno::NFILE);
        }
        *last += 1;
        handles.insert(*last, Arc::new(handle));
        Ok(*last)
    }

    /// The handle with this number.
    pub(crate) fn get(&self, id: u64) -> Result<Arc<Handle>, Errno> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.1.get(&id).cloned().ok_or(Errno::BADF)
    }

    /// The handle of a regular file.
    pub(crate) fn file(&self, id: u64) -> Result<Arc<Handle>, Errno> {
        let handle = self.get(id)?;
        if handle.node.is_file() {
            Ok(handle)
        } else {
            Err(Errno::BADF)
        }
    }

    /// Takes a handle out.
    pub(crate) fn remove(&self, id: u64) -> Option<Arc<Handle>> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.1.remove(&id)
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.1.clear();
    }
}
