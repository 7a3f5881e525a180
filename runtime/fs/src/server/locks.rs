//! File locks. POSIX locks belong to an owner (a process of the guest): each owner
//! gets an open file description per file, whose locks (fcntl(2), F_OFD_SETLK)
//! conflict with those of other owners and of the host's processes. A flock(2)
//! belongs to the guest's open file, which has a description of its own here, too.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::Server;
use super::call::Call;
use crate::handle::Handle;
use crate::node::{Node, lock};
use crate::sys::{self, Lock, Range};
use crate::wire::{LkIn, Lock as WireLock, flag};

impl Server {
    /// GETLK
    pub(super) fn getlk(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: LkIn = call.take()?;
        let handle = self.handles.file(asked.fh)?;
        let range = range(&asked.lock)?;
        let own = lock(&handle.node.locks).get(&asked.owner).cloned();
        let file = match own {
            Some(file) => file,
            None => Arc::new(self.lockable(&handle.node)?),
        };
        let found = sys::lock(file.as_fd(), Lock::Get, range)?;
        let kind = u32::try_from(found.kind).unwrap_or(libc::F_UNLCK as u32);
        call.reply(&WireLock {
            start: found.start as u64,
            end: match found.len {
                0 => i64::MAX as u64,
                len => found.start.saturating_add(len - 1) as u64,
            },
            kind,
            pid: found.pid as u32,
        })
    }

    /// SETLK and SETLKW
    pub(super) fn setlk(&self, call: &mut Call<'_, '_>, wait: bool) -> Result<(), Errno> {
        let asked: LkIn = call.take()?;
        let handle = self.handles.file(asked.fh)?;
        if asked.flags & flag::LK_FLOCK != 0 {
            return self.flock(call, &handle, asked.lock.kind, wait);
        }
        let range = range(&asked.lock)?;
        if i32::from(range.kind) == libc::F_UNLCK {
            let own = lock(&handle.node.locks).get(&asked.owner).cloned();
            return match own {
                Some(file) => sys::lock(file.as_fd(), Lock::Set, range).map(drop),
                None => Ok(()),
            };
        }
        let file = self.owners_file(&handle.node, asked.owner)?;
        match sys::lock(file.as_fd(), Lock::Set, range) {
            Err(Errno::AGAIN | Errno::ACCESS) if wait => self.wait(call, || {
                sys::lock(file.as_fd(), Lock::Wait, range).map(drop)
            }),
            other => other.map(drop),
        }
    }

    fn flock(
        &self,
        call: &mut Call<'_, '_>,
        handle: &Handle,
        kind: u32,
        wait: bool,
    ) -> Result<(), Errno> {
        let (now, later) = match kind as i32 {
            libc::F_RDLCK => (
                FlockOperation::NonBlockingLockShared,
                FlockOperation::LockShared,
            ),
            libc::F_WRLCK => (
                FlockOperation::NonBlockingLockExclusive,
                FlockOperation::LockExclusive,
            ),
            libc::F_UNLCK => (FlockOperation::Unlock, FlockOperation::Unlock),
            _ => return Err(Errno::INVAL),
        };
        match rustix::fs::flock(handle.fd(), now) {
            Err(Errno::AGAIN) if wait => self.wait(call, || rustix::fs::flock(handle.fd(), later)),
            other => other,
        }
    }

    /// Waits while another thread takes care of the queue.
    fn wait(
        &self,
        call: &mut Call<'_, '_>,
        wait: impl FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !self.waits.room() || !(call.spare)() {
            return Err(Errno::NOLCK);
        }
        self.waits.wait(call.header.unique, wait)
    }

    /// The open file description with an owner's locks.
    fn owners_file(&self, node: &Node, owner: u64) -> Result<Arc<OwnedFd>, Errno> {
        let mut locks = lock(&node.locks);
        if let Some(file) = locks.get(&owner) {
            return Ok(file.clone());
        }
        if self.lock_files.load(Ordering::Relaxed) >= self.lock_limit {
            return Err(Errno::NOLCK);
        }
        let file = Arc::new(self.lockable(node)?);
        self.lock_files.fetch_add(1, Ordering::Relaxed);
        locks.insert(owner, file.clone());
        Ok(file)
    }

    /// Opens a file such that it can be locked as far as the share allows.
    fn lockable(&self, node: &Node) -> Result<OwnedFd, Errno> {
        match self.reopen(node, OFlags::RDWR) {
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::TXTBSY) => {
                self.reopen(node, OFlags::RDONLY)
            }
            other => other,
        }
    }

    /// Drops all POSIX locks that an owner has on a file.
    pub(super) fn drop_locks(&self, node: &Node, owner: u64) {
        let removed = {
            let mut locks = lock(&node.locks);
            let removed = locks.remove(&owner);
            if locks.is_empty() {
                *locks = HashMap::new();
            }
            removed
        };
        let Some(file) = removed else {
            return;
        };
        let _ = self
            .lock_files
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                count.checked_sub(1)
            });
        // A thread that waits may hold the description still.
        let all = Range {
            kind: libc::F_UNLCK as i16,
            start: 0,
            len: 0,
            pid: 0,
        };
        let _ = sys::lock(file.as_fd(), Lock::Set, all);
    }
}

/// The guest gives the last byte, the host wants a length.
fn range(lock: &WireLock) -> Result<Range, Errno> {
    let start = i64::try_from(lock.start).map_err(|_| Errno::INVAL)?;
    let end = i64::try_from(lock.end).map_err(|_| Errno::INVAL)?;
    if end < start {
        return Err(Errno::INVAL);
    }
    let kind = match lock.kind as i32 {
        kind @ (libc::F_RDLCK | libc::F_WRLCK | libc::F_UNLCK) => kind as i16,
        _ => return Err(Errno::INVAL),
    };
    Ok(Range {
        kind,
        start,
        len: if end == i64::MAX { 0 } else { end - start + 1 },
        pid: 0,
    })
}
