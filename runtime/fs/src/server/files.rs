//! Open files: their content.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, Statx};
use rustix::io::Errno;

use super::Server;
use super::attributes::killing;
use super::call::{Call, OUT_HEADER, WRITE_DATA};
use crate::handle::Handle;
use crate::node::{Node, Version, lock, open_beneath, stat_fd};
use crate::sys;
use crate::wire::{
    CopyFileRangeIn, CreateIn, CreateOut, FallocateIn, FlushIn, FsyncIn, LseekIn, LseekOut, OpenIn,
    OpenOut, ReadIn, ReleaseIn, WriteIn, WriteOut, flag, init,
};

/// Flags of open(2) that a guest may choose for the host's file. O_DIRECT is left to
/// the guest's own cache: its buffers are not aligned as host files ask.
const OPEN_FLAGS: OFlags = OFlags::RWMODE
    .union(OFlags::APPEND)
    .union(OFlags::TRUNC)
    .union(OFlags::SYNC)
    .union(OFlags::DSYNC);
/// Time that must have passed since a change before a later one is sure to get
/// another time: clocks of file systems tick every few milliseconds.
const SETTLED: Duration = Duration::from_millis(100);
/// Mode of files that may be executed.
const PROGRAM: u16 = 0o111;
/// Most bytes of one copy_file_range: the answer has 32 bits.
const MAX_COPY: u64 = 1 << 30;

impl Server {
    /// OPEN
    pub(super) fn open(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: OpenIn = call.take()?;
        let node = self.node(call)?;
        if !node.is_file() {
            return Err(Errno::NXIO);
        }
        self.handles.room()?;
        let kill = asked.open_flags & flag::OPEN_KILL_SUIDGID != 0;
        let file = self.open_file(call, &node, asked.flags, kill)?;
        let stat = stat_fd(file.as_fd())?;
        self.reply_open(call, None, node, file, asked.flags, &stat)
    }

    fn open_file(
        &self,
        call: &Call<'_, '_>,
        node: &Node,
        flags: u32,
        kill: bool,
    ) -> Result<OwnedFd, Errno> {
        let flags = OFlags::from_bits_retain(flags) & OPEN_FLAGS;
        if kill && flags.contains(OFlags::TRUNC) {
            let path = self.nodes.fd(node)?;
            return killing(call, true, path.as_fd(), || self.reopen(node, flags));
        }
        self.reopen(node, flags)
    }

    /// CREATE
    pub(super) fn create(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: CreateIn = call.take()?;
        let name = call.name()?;
        let (parent, folder) = self.folder(call.header.nodeid)?;
        self.handles.room()?;
        let wanted = OFlags::from_bits_retain(asked.flags);
        let flags = wanted & OPEN_FLAGS | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::from_raw_mode(asked.mode & 0o7777);
        let make = || open_beneath(folder.as_fd(), name, flags, mode);
        match call.creds.make(call.caller(), asked.umask, make) {
            Ok(file) => {
                let path = self.reopen_fd(file.as_fd(), OFlags::PATH)?;
                let (node, stat) = self.nodes.add(&parent, Some(name), path)?;
                self.reply_open(call, Some(&parent), node, file, asked.flags, &stat)
            }
            // Somebody on the host was faster.
            Err(Errno::EXIST) if !wanted.contains(OFlags::EXCL) => {
                let (node, _) = self.nodes.look_up(&parent, name)?;
                if !node.is_file() {
                    self.nodes.forget(node.id, 1);
                    return Err(Errno::EXIST);
                }
                let kill = asked.open_flags & flag::OPEN_KILL_SUIDGID != 0;
                let opened = self
                    .open_file(call, &node, asked.flags, kill)
                    .and_then(|file| Ok((stat_fd(file.as_fd())?, file)));
                match opened {
                    Ok((stat, file)) => {
                        self.reply_open(call, Some(&parent), node, file, asked.flags, &stat)
                    }
                    Err(error) => {
                        self.nodes.forget(node.id, 1);
                        Err(error)
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    /// TMPFILE: a file without a name.
    pub(super) fn tmpfile(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: CreateIn = call.take()?;
        let (parent, folder) = self.folder(call.header.nodeid)?;
        self.handles.room()?;
        let kept = OPEN_FLAGS.difference(OFlags::TRUNC);
        let exclusive = OFlags::from_bits_retain(asked.flags) & OFlags::EXCL;
        let flags = OFlags::from_bits_retain(asked.flags) & kept | exclusive | OFlags::TMPFILE;
        let mode = Mode::from_raw_mode(asked.mode & 0o7777);
        let make = || open_beneath(folder.as_fd(), c".", flags, mode);
        let file = call.creds.make(call.caller(), asked.umask, make)?;
        let path = self.reopen_fd(file.as_fd(), OFlags::PATH)?;
        let (node, stat) = self.nodes.add(&parent, None, path)?;
        self.reply_open(call, Some(&parent), node, file, asked.flags, &stat)
    }

    /// Keeps an open file and answers with it, and with its node if it was just
    /// found in `parent`.
    fn reply_open(
        &self,
        call: &mut Call<'_, '_>,
        parent: Option<&Node>,
        node: Arc<Node>,
        file: OwnedFd,
        flags: u32,
        stat: &Statx,
    ) -> Result<(), Errno> {
        let mut open_flags = 0;
        if keep_cache(&node, stat) {
            open_flags |= flag::KEEP_CACHE;
        }
        if self.agreed(init::DIRECT_IO_ALLOW_MMAP) && goes_direct(&node, stat) {
            open_flags |= flag::DIRECT_IO | flag::PARALLEL_DIRECT_WRITES;
        }
        let append = OFlags::from_bits_retain(flags).contains(OFlags::APPEND);
        let added = self.handles.add(Handle::new(file, node.clone(), append));
        let fh = added.inspect_err(|_| {
            if parent.is_some() {
                self.nodes.forget(node.id, 1);
            }
        })?;
        let open = OpenOut {
            fh,
            open_flags,
            padding: 0,
        };
        match parent {
            None => call.reply(&open),
            Some(parent) => call.reply(&CreateOut {
                entry: self.entry(parent, &node, stat),
                open,
            }),
        }
    }

    /// READ
    pub(super) fn read(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: ReadIn = call.take()?;
        let handle = self.handles.file(asked.fh)?;
        let len = call.room().min(asked.size as usize);
        let offset = i64::try_from(asked.offset).map_err(|_| Errno::INVAL)?;
        let slices = call.chain.writable(OUT_HEADER, len);
        call.direct = sys::read_at(handle.fd(), &slices, offset)?;
        Ok(())
    }

    /// WRITE
    pub(super) fn write(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: WriteIn = call.take()?;
        let handle = self.handles.file(asked.fh)?;
        let len = asked.size as usize;
        if call.chain.readable_len() - WRITE_DATA.min(call.chain.readable_len()) < len {
            return Err(Errno::INVAL);
        }
        let offset = i64::try_from(asked.offset).map_err(|_| Errno::FBIG)?;
        let slices = call.chain.readable(WRITE_DATA, len);
        let kill = asked.write_flags & flag::WRITE_KILL_SUIDGID != 0;
        let size = if handle.append && asked.write_flags & flag::WRITE_CACHE != 0 {
            // A dirty page of a shared mapping has its place; this handle, which only
            // happens to be open, would append it.
            let file = self.reopen(&handle.node, OFlags::WRONLY)?;
            let write = || sys::write_at(file.as_fd(), &slices, offset);
            killing(call, kill, file.as_fd(), write)?
        } else {
            let write = || sys::write_at(handle.fd(), &slices, offset);
            killing(call, kill, handle.fd(), write)?
        };
        call.reply(&WriteOut {
            size: size as u32,
            padding: 0,
        })
    }

    /// FLUSH: one of the file's descriptors was closed, and with it go the POSIX
    /// locks of its owner.
    pub(super) fn flush(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: FlushIn = call.take()?;
        let handle = self.handles.get(asked.fh)?;
        self.drop_locks(&handle.node, asked.lock_owner);
        Ok(())
    }

    /// RELEASE and RELEASEDIR
    pub(super) fn release(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: ReleaseIn = call.take()?;
        let handle = self.handles.remove(asked.fh).ok_or(Errno::BADF)?;
        if asked.release_flags & flag::RELEASE_FLUSH != 0 {
            self.drop_locks(&handle.node, asked.lock_owner);
        }
        Ok(())
    }

    /// FSYNC and FSYNCDIR
    pub(super) fn fsync(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: FsyncIn = call.take()?;
        let handle = self.handles.get(asked.fh)?;
        (call.spare)();
        if asked.flags & flag::FDATASYNC != 0 {
            rustix::fs::fdatasync(handle.fd())
        } else {
            rustix::fs::fsync(handle.fd())
        }
    }

    /// FALLOCATE
    pub(super) fn fallocate(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: FallocateIn = call.take()?;
        let handle = self.handles.file(asked.fh)?;
        let mode = FallocateFlags::from_bits_retain(asked.mode);
        (call.spare)();
        // The guest has no say in whether the bits go: it can't send who asks.
        killing(call, call.header.uid != 0, handle.fd(), || {
            rustix::fs::fallocate(handle.fd(), mode, asked.offset, asked.len)
        })
    }

    /// LSEEK: data and holes; the guest's kernel does the rest.
    pub(super) fn lseek(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: LseekIn = call.take()?;
        let handle = self.handles.file(asked.fh)?;
        let from = match asked.whence as i32 {
            libc::SEEK_DATA => SeekFrom::Data(asked.offset),
            libc::SEEK_HOLE => SeekFrom::Hole(asked.offset),
            _ => return Err(Errno::INVAL),
        };
        let offset = rustix::fs::seek(handle.fd(), from)?;
        call.reply(&LseekOut { offset })
    }

    /// COPY_FILE_RANGE
    pub(super) fn copy_file_range(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: CopyFileRangeIn = call.take()?;
        if asked.flags != 0 {
            return Err(Errno::INVAL);
        }
        let from = self.handles.file(asked.fh_in)?;
        let to = self.handles.file(asked.fh_out)?;
        let (mut at, mut into) = (asked.off_in, asked.off_out);
        let len = asked.len.min(MAX_COPY) as usize;
        (call.spare)();
        let copied = killing(call, call.header.uid != 0, to.fd(), || {
            rustix::fs::copy_file_range(from.fd(), Some(&mut at), to.fd(), Some(&mut into), len)
        })?;
        call.reply(&WriteOut {
            size: copied as u32,
            padding: 0,
        })
    }
}

/// Whether reads and writes of an open file come here as they are. Where the guest may
/// remember nothing, it would ask before each read whether its pages are still good,
/// and copy all data through them: one question is enough, whose answer is the data.
/// Programs are mapped rather than read, and a mapping of such a file begins with
/// empty pages each time; they keep theirs.
fn goes_direct(node: &Node, stat: &Statx) -> bool {
    node.patience.is_zero() && stat.stx_mode & PROGRAM == 0
}

/// Whether the guest's cached pages are of what the file holds now: it did not
/// change since a time at which the guest had none, and any change would show.
fn keep_cache(node: &Node, stat: &Statx) -> bool {
    let version = Version::of(stat);
    let mut cached = lock(&node.cached);
    if *cached == Some(version) {
        return true;
    }
    *cached = settled(&version).then_some(version);
    false
}

fn settled(version: &Version) -> bool {
    let since_epoch = |(seconds, nanoseconds): (i64, u32)| {
        Duration::new(u64::try_from(seconds).unwrap_or(0), nanoseconds)
    };
    let last = since_epoch(version.modified.max(version.changed));
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .is_ok_and(|now| now > last + SETTLED)
}
