//! Beginning and end of a mount, and what belongs to no file.

use std::sync::atomic::Ordering;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::call::Call;
use super::{READY, Server};
use crate::wire::{
    self, BatchForgetIn, ForgetIn, ForgetOne, InitIn, InitMore, InitOut, InterruptIn, init,
};

/// Largest read and write in bytes.
const MAX_TRANSFER: u32 = 1 << 20;
/// Requests that the guest may have under way in the background.
const BACKGROUND: u16 = 128;
/// Bytes of a page of the guest.
const PAGE: u32 = 4096;

/// What is agreed on when the guest offers it. Not here: a write-back cache
/// (writes of others would be lost), caches of folders.
const FLAGS: u64 = init::ASYNC_READ
    | init::POSIX_LOCKS
    | init::ATOMIC_O_TRUNC
    | init::BIG_WRITES
    | init::DONT_MASK
    | init::FLOCK_LOCKS
    | init::AUTO_INVAL_DATA
    | init::DO_READDIRPLUS
    | init::READDIRPLUS_AUTO
    | init::ASYNC_DIO
    | init::PARALLEL_DIROPS
    | init::POSIX_ACL
    | init::MAX_PAGES
    | init::CACHE_SYMLINKS
    | init::SUBMOUNTS
    | init::HANDLE_KILLPRIV_V2
    | init::SETXATTR_EXT
    | init::INIT_EXT
    | init::DIRECT_IO_ALLOW_MMAP;

impl Server {
    /// INIT: a new mount; what an earlier one held is given up.
    pub(super) fn init(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: InitIn = call.take()?;
        if asked.major > wire::MAJOR {
            // The guest asks again with a version that we know.
            return call.reply(&InitOut {
                major: wire::MAJOR,
                minor: wire::MINOR,
                ..InitOut::default()
            });
        }
        if asked.major < wire::MAJOR || asked.minor < wire::OLDEST_MINOR {
            return Err(Errno::PROTO);
        }
        self.forget_all();
        let mut offered = u64::from(asked.flags);
        if offered & init::INIT_EXT != 0
            && let Ok(more) = call.take::<InitMore>()
        {
            offered |= u64::from(more.flags2) << 32;
        }
        let agreed = offered & FLAGS;
        self.session.store(agreed | READY, Ordering::SeqCst);
        call.reply(&InitOut {
            major: wire::MAJOR,
            minor: wire::MINOR,
            max_readahead: asked.max_readahead.min(MAX_TRANSFER),
            flags: agreed as u32,
            flags2: (agreed >> 32) as u32,
            max_background: BACKGROUND,
            congestion_threshold: BACKGROUND / 4 * 3,
            max_write: MAX_TRANSFER,
            time_gran: 1,
            max_pages: (MAX_TRANSFER / PAGE) as u16,
            ..InitOut::default()
        })
    }

    /// FORGET
    pub(super) fn forget(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let forget: ForgetIn = call.take()?;
        self.nodes.forget(call.header.nodeid, forget.nlookup);
        Ok(())
    }

    /// BATCH_FORGET
    pub(super) fn batch_forget(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let batch: BatchForgetIn = call.take()?;
        for _ in 0..batch.count {
            let one: ForgetOne = call.take()?;
            self.nodes.forget(one.nodeid, one.nlookup);
        }
        Ok(())
    }

    /// INTERRUPT: ends a wait for a lock; everything else ends by itself.
    pub(super) fn interrupt(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let interrupt: InterruptIn = call.take()?;
        self.waits.end(interrupt.unique);
        Ok(())
    }

    /// SYNCFS
    pub(super) fn syncfs(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let (node, _) = self.folder(call.header.nodeid)?;
        let fd = self.reopen(&node, OFlags::RDONLY | OFlags::DIRECTORY)?;
        (call.spare)();
        rustix::fs::syncfs(fd)
    }
}
