//! The server: one function per operation, free of any transport. Several threads
//! serve requests at once, each with a [`Worker`] of its own.

mod attributes;
mod call;
mod files;
mod folders;
mod locks;
mod names;
mod session;
mod waits;
mod xattrs;

#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags, Statx};
use rustix::io::Errno;
use rustix::path::DecInt;
use zerocopy::IntoBytes;

use crate::chain::Chain;
use crate::creds::Creds;
use crate::handle::Handles;
use crate::node::{Node, Nodes};
use crate::wire::{InHeader, OutHeader, op};
use call::{Call, HEADER, OUT_HEADER};
use waits::Waits;

/// What is served, and how.
#[derive(Debug)]
pub struct Options {
    /// The folder that is the root of everything; O_PATH is enough.
    pub root: OwnedFd,
    /// `/proc/self/fd` of this process: the way to open a node again.
    pub descriptors: OwnedFd,
    /// Names in the root below which the guest may remember names and attributes
    /// for a second; elsewhere it asks each time.
    pub cached: Vec<CString>,
    /// Descriptors that the server may hold open in all.
    pub open_files: usize,
}

/// A FUSE server for one guest.
#[derive(Debug)]
pub struct Server {
    descriptors: OwnedFd,
    nodes: Nodes,
    handles: Handles,
    waits: Waits,
    /// Owners' open file descriptions that may hold POSIX locks.
    lock_files: std::sync::atomic::AtomicUsize,
    lock_limit: usize,
    /// Flags that were agreed on, with [`READY`].
    session: AtomicU64,
}

/// INIT was answered (FUSE_INIT_RESERVED is no flag).
const READY: u64 = 1 << 31;

/// One thread's buffers and identity.
#[derive(Debug)]
pub struct Worker {
    body: Vec<u8>,
    out: Vec<u8>,
    creds: Creds,
}

/// Called before an operation that may take long: another thread is to take care
/// of the queue. False if there is none to be had.
pub type Spare<'a> = &'a mut dyn FnMut() -> bool;

impl Server {
    /// A server of the options' root.
    ///
    /// # Errors
    /// The root is no folder, or it can't be looked at.
    pub fn new(options: Options) -> Result<Server, Errno> {
        let files = options.open_files;
        crate::sys::prepare_wakes()?;
        Ok(Server {
            descriptors: options.descriptors,
            nodes: Nodes::new(options.root, options.cached, files / 2)?,
            handles: Handles::new(files * 3 / 8),
            waits: Waits::default(),
            lock_files: 0.into(),
            lock_limit: files / 16,
            session: AtomicU64::new(0),
        })
    }

    /// Buffers and identity for the calling thread, which gets a umask and a
    /// working folder of its own.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn worker(&self) -> Result<Worker, Errno> {
        crate::sys::own_surroundings()?;
        rustix::process::fchdir(&self.descriptors)?;
        Ok(Worker {
            body: Vec::new(),
            out: Vec::new(),
            creds: Creds::of_this_thread()?,
        })
    }

    /// Carries a request out and writes the answer; the number of bytes written.
    pub fn serve(&self, worker: &mut Worker, chain: &Chain<'_>, spare: Spare<'_>) -> usize {
        let mut header = InHeader::default();
        if chain.read(0, header.as_mut_bytes()) < HEADER {
            return 0;
        }
        let body = match call::copy_body(&header, chain, &mut worker.body) {
            Ok(()) => &worker.body[..],
            Err(error) => return answer(chain, &header, Err(error)),
        };
        worker.out.clear();
        let mut call = Call {
            header,
            body,
            out: &mut worker.out,
            chain,
            creds: &mut worker.creds,
            spare,
            direct: 0,
        };
        let result = self.dispatch(&mut call);
        let direct = call.direct;
        if matches!(header.opcode, op::FORGET | op::BATCH_FORGET) {
            return 0;
        }
        let payload = match result {
            Ok(()) if direct > 0 => return finish(chain, &header, direct),
            Ok(()) => Ok(&worker.out[..]),
            Err(error) => Err(error),
        };
        answer(chain, &header, payload)
    }

    fn dispatch(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let opcode = call.header.opcode;
        if opcode == op::INIT {
            return self.init(call);
        }
        if !self.agreed(READY) {
            return Err(Errno::IO);
        }
        match opcode {
            op::LOOKUP => self.lookup(call),
            op::FORGET => self.forget(call),
            op::BATCH_FORGET => self.batch_forget(call),
            op::GETATTR => self.getattr(call),
            op::SETATTR => self.setattr(call),
            op::READLINK => self.readlink(call),
            op::SYMLINK => self.symlink(call),
            op::MKNOD => self.mknod(call),
            op::MKDIR => self.mkdir(call),
            op::UNLINK => self.unlink(call, false),
            op::RMDIR => self.unlink(call, true),
            op::RENAME => self.rename(call, false),
            op::RENAME2 => self.rename(call, true),
            op::LINK => self.link(call),
            op::OPEN => self.open(call),
            op::CREATE => self.create(call),
            op::TMPFILE => self.tmpfile(call),
            op::READ => self.read(call),
            op::WRITE => self.write(call),
            op::STATFS => self.statfs(call),
            op::FLUSH => self.flush(call),
            op::RELEASE | op::RELEASEDIR => self.release(call),
            op::FSYNC | op::FSYNCDIR => self.fsync(call),
            op::SYNCFS => self.syncfs(call),
            op::SETXATTR => self.setxattr(call),
            op::GETXATTR => self.getxattr(call),
            op::LISTXATTR => self.listxattr(call),
            op::REMOVEXATTR => self.removexattr(call),
            op::OPENDIR => self.opendir(call),
            op::READDIR => self.readdir(call, false),
            op::READDIRPLUS => self.readdir(call, true),
            op::GETLK => self.getlk(call),
            op::SETLK => self.setlk(call, false),
            op::SETLKW => self.setlk(call, true),
            op::ACCESS => self.access(call),
            op::INTERRUPT => self.interrupt(call),
            op::FALLOCATE => self.fallocate(call),
            op::LSEEK => self.lseek(call),
            op::COPY_FILE_RANGE => self.copy_file_range(call),
            op::DESTROY => {
                self.forget_all();
                Ok(())
            }
            _ => Err(Errno::NOSYS),
        }
    }

    /// Ends all waits for locks: whoever waits gets EINTR.
    pub fn end_waits(&self) {
        self.waits.end_all();
    }

    /// Gives up everything that the guest holds: nodes, open files, locks.
    pub fn forget_all(&self) {
        self.session.store(0, Ordering::SeqCst);
        self.waits.end_all();
        self.handles.clear();
        self.nodes.clear();
        self.lock_files.store(0, Ordering::SeqCst);
    }

    /// Whether all of these flags were agreed on.
    fn agreed(&self, flags: u64) -> bool {
        self.session.load(Ordering::Relaxed) & flags == flags
    }

    /// The node that a request is about.
    fn node(&self, call: &Call<'_, '_>) -> Result<Arc<Node>, Errno> {
        self.nodes.get(call.header.nodeid)
    }

    /// The folder that a request is about, with its descriptor.
    fn folder(&self, id: u64) -> Result<(Arc<Node>, Arc<OwnedFd>), Errno> {
        let node = self.nodes.get(id)?;
        if !node.is_folder() {
            return Err(Errno::NOTDIR);
        }
        let fd = self.nodes.fd(&node)?;
        Ok((node, fd))
    }

    /// Opens a regular file or a folder by its node. Anything else could be a
    /// device or wait for somebody.
    fn reopen(&self, node: &Node, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !node.is_file() && !node.is_folder() {
            return Err(Errno::NXIO);
        }
        let path = self.nodes.fd(node)?;
        self.reopen_fd(path.as_fd(), flags)
    }

    /// Opens what a descriptor of ours is of.
    fn reopen_fd(&self, fd: std::os::fd::BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        let name = DecInt::from_fd(fd);
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::fs::openat(&self.descriptors, name, flags, Mode::empty()).map_err(|error| {
            match error {
                Errno::MFILE => Errno::NFILE,
                other => other,
            }
        })
    }

    /// Attributes of a node.
    fn stat(&self, node: &Node) -> Result<Statx, Errno> {
        let fd = self.nodes.fd(node)?;
        crate::node::stat_fd(fd.as_fd())
    }
}

/// Writes an answer; the number of bytes. A guest that left no room for it gets
/// none.
fn answer(chain: &Chain<'_>, header: &InHeader, payload: Result<&[u8], Errno>) -> usize {
    let (error, payload) = match payload {
        Ok(payload) => (0, payload),
        Err(error) => (-error.raw_os_error(), &[][..]),
    };
    let len = OUT_HEADER + payload.len();
    if chain.writable_len() < len {
        return 0;
    }
    let out = OutHeader {
        len: len as u32,
        error,
        unique: header.unique,
    };
    chain.write(0, out.as_bytes());
    chain.write(OUT_HEADER, payload);
    len
}

/// Writes the header before data that is in place already.
fn finish(chain: &Chain<'_>, header: &InHeader, direct: usize) -> usize {
    let len = OUT_HEADER + direct;
    let out = OutHeader {
        len: len as u32,
        error: 0,
        unique: header.unique,
    };
    chain.write(0, out.as_bytes());
    len
}
