//! Attributes of files.

use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Statx, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid,
};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::Server;
use super::call::Call;
use crate::node::{Node, stat_fd};
use crate::wire::{AccessIn, Attr, AttrOut, EntryOut, GetattrIn, SetattrIn, StatfsOut, flag, init};

/// suid and sgid.
const SET_ID: u16 = 0o6000;

impl Server {
    /// GETATTR
    pub(super) fn getattr(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: GetattrIn = call.take()?;
        let node = self.node(call)?;
        let stat = match asked.flags & flag::GETATTR_FH {
            0 => self.stat(&node)?,
            _ => {
                let handle = self.handles.get(asked.fh)?;
                if handle.node.id != node.id {
                    return Err(Errno::BADF);
                }
                stat_fd(handle.fd())?
            }
        };
        call.reply(&attributes(&node, &stat))
    }

    /// SETATTR
    pub(super) fn setattr(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let set: SetattrIn = call.take()?;
        let node = self.node(call)?;
        let path = self.nodes.fd(&node)?;
        let has = |bits: u32| set.valid & bits != 0;
        if has(flag::MODE) {
            if node.kind() == libc::S_IFLNK {
                return Err(Errno::OPNOTSUPP);
            }
            let mode = Mode::from_raw_mode(set.mode & 0o7777);
            let name = DecInt::from_fd(&path);
            rustix::fs::chmodat(&self.descriptors, name, mode, AtFlags::empty())?;
        }
        if has(flag::UID | flag::GID) {
            let id = |bit, value: u32| (has(bit) && value != u32::MAX).then_some(value);
            let uid = id(flag::UID, set.uid).map(Uid::from_raw);
            let gid = id(flag::GID, set.gid).map(Gid::from_raw);
            rustix::fs::chownat(&*path, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if has(flag::SIZE) {
            self.truncate(call, &node, &set)?;
        }
        if has(flag::ATIME | flag::MTIME) {
            rustix::fs::utimensat(&*path, c"", &times(&set), AtFlags::EMPTY_PATH)?;
        }
        call.reply(&attributes(&node, &stat_fd(path.as_fd())?))
    }

    fn truncate(&self, call: &Call<'_, '_>, node: &Node, set: &SetattrIn) -> Result<(), Errno> {
        if i64::try_from(set.size).is_err() {
            return Err(Errno::FBIG);
        }
        if !node.is_file() {
            return Err(Errno::INVAL);
        }
        let kill = set.valid & flag::KILL_SUIDGID != 0;
        if set.valid & flag::FH != 0 {
            let handle = self.handles.file(set.fh)?;
            if handle.node.id != node.id {
                return Err(Errno::BADF);
            }
            let cut = || rustix::fs::ftruncate(handle.fd(), set.size);
            return killing(call, kill, handle.fd(), cut);
        }
        let file = self.reopen(node, OFlags::WRONLY)?;
        let cut = || rustix::fs::ftruncate(&file, set.size);
        killing(call, kill, file.as_fd(), cut)
    }

    /// STATFS
    pub(super) fn statfs(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let fd = self.nodes.fd(&*self.node(call)?)?;
        let stat = rustix::fs::fstatvfs(&*fd)?;
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        call.reply(&StatfsOut {
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            bsize: small(stat.f_bsize),
            namelen: small(stat.f_namemax),
            frsize: small(stat.f_frsize),
            ..StatfsOut::default()
        })
    }

    /// ACCESS
    pub(super) fn access(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: AccessIn = call.take()?;
        let fd = self.nodes.fd(&*self.node(call)?)?;
        let mode = libc::c_int::try_from(asked.mask).map_err(|_| Errno::INVAL)?;
        call.creds
            .ask(call.caller(), || crate::sys::access(fd.as_fd(), mode))
    }

    /// An entry of a folder as the guest learns of it.
    pub(super) fn entry(&self, parent: &Node, node: &Node, stat: &Statx) -> EntryOut {
        let mut attr = attr(stat);
        if node.is_folder() && node.is_mount_below(parent) && self.agreed(init::SUBMOUNTS) {
            attr.flags |= flag::SUBMOUNT;
        }
        let patience = node.patience.as_secs();
        EntryOut {
            nodeid: node.id,
            entry_valid: patience,
            attr_valid: patience,
            attr,
            ..EntryOut::default()
        }
    }
}

/// Does something that changes content, and clears suid and sgid bits if `kill` says
/// that the caller may not keep them. Files seldom have such bits: then there is
/// nothing to do.
pub(super) fn killing<T>(
    call: &Call<'_, '_>,
    kill: bool,
    file: std::os::fd::BorrowedFd<'_>,
    change: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    if kill && stat_fd(file)?.stx_mode & SET_ID != 0 {
        call.creds.without_fsetid(change)
    } else {
        change()
    }
}

fn times(set: &SetattrIn) -> Timestamps {
    let time = |given: u32, now: u32, seconds: u64, nanoseconds: u32| Timespec {
        // Times before 1970 are below zero.
        tv_sec: seconds as i64,
        tv_nsec: match set.valid {
            valid if valid & now != 0 => UTIME_NOW,
            valid if valid & given != 0 => i64::from(nanoseconds.min(999_999_999)),
            _ => UTIME_OMIT,
        },
    };
    Timestamps {
        last_access: time(flag::ATIME, flag::ATIME_NOW, set.atime, set.atimensec),
        last_modification: time(flag::MTIME, flag::MTIME_NOW, set.mtime, set.mtimensec),
    }
}

fn attributes(node: &Node, stat: &Statx) -> AttrOut {
    AttrOut {
        attr_valid: node.patience.as_secs(),
        attr: attr(stat),
        ..AttrOut::default()
    }
}

fn attr(stat: &Statx) -> Attr {
    Attr {
        ino: stat.stx_ino,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        atime: stat.stx_atime.tv_sec as u64,
        mtime: stat.stx_mtime.tv_sec as u64,
        ctime: stat.stx_ctime.tv_sec as u64,
        atimensec: stat.stx_atime.tv_nsec,
        mtimensec: stat.stx_mtime.tv_nsec,
        ctimensec: stat.stx_ctime.tv_nsec,
        mode: stat.stx_mode.into(),
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: device(stat.stx_rdev_major, stat.stx_rdev_minor),
        blksize: stat.stx_blksize,
        flags: 0,
    }
}

/// A device number in the kernel's 32-bit form.
fn device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}
