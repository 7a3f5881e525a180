//! Names: looking up, making, removing, moving.

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, makedev};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::Server;
use super::call::Call;
use crate::wire::{LinkIn, MkdirIn, MknodIn, Rename2In, RenameIn};

/// Longest target of a symbolic link.
const PATH_MAX: usize = 4096;

impl Server {
    /// LOOKUP
    pub(super) fn lookup(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let name = call.name()?;
        self.reply_entry(call, name)
    }

    /// Looks a name up in the request's folder and answers with it.
    fn reply_entry(&self, call: &mut Call<'_, '_>, name: &std::ffi::CStr) -> Result<(), Errno> {
        let parent = self.node(call)?;
        if !parent.is_folder() {
            return Err(Errno::NOTDIR);
        }
        let (node, stat) = self.nodes.look_up(&parent, name)?;
        call.reply(&self.entry(&parent, &node, &stat))
    }

    /// READLINK
    pub(super) fn readlink(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let node = self.node(call)?;
        if node.kind() != libc::S_IFLNK {
            return Err(Errno::INVAL);
        }
        let fd = self.nodes.fd(&node)?;
        call.out.resize(PATH_MAX, 0);
        let len = rustix::fs::readlinkat_raw(&*fd, c"", &mut call.out[..])?;
        call.out.truncate(len);
        Ok(())
    }

    /// SYMLINK
    pub(super) fn symlink(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let name = call.name()?;
        let target = call.text()?;
        let (_, folder) = self.folder(call.header.nodeid)?;
        let make = || rustix::fs::symlinkat(target, &*folder, name);
        call.creds.make(call.caller(), 0, make)?;
        self.reply_entry(call, name)
    }

    /// MKNOD
    pub(super) fn mknod(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: MknodIn = call.take()?;
        let name = call.name()?;
        let kind = FileType::from_raw_mode(asked.mode);
        let device = match kind {
            FileType::CharacterDevice | FileType::BlockDevice => makedev(
                asked.rdev >> 8 & 0xfff,
                asked.rdev & 0xff | asked.rdev >> 12 & !0xff,
            ),
            FileType::RegularFile | FileType::Fifo | FileType::Socket => 0,
            _ => return Err(Errno::INVAL),
        };
        let (_, folder) = self.folder(call.header.nodeid)?;
        let mode = Mode::from_raw_mode(asked.mode & 0o7777);
        let make = || rustix::fs::mknodat(&*folder, name, kind, mode, device);
        call.creds.make(call.caller(), asked.umask, make)?;
        self.reply_entry(call, name)
    }

    /// MKDIR
    pub(super) fn mkdir(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: MkdirIn = call.take()?;
        let name = call.name()?;
        let (_, folder) = self.folder(call.header.nodeid)?;
        let mode = Mode::from_raw_mode(asked.mode & 0o7777);
        let make = || rustix::fs::mkdirat(&*folder, name, mode);
        call.creds.make(call.caller(), asked.umask, make)?;
        self.reply_entry(call, name)
    }

    /// UNLINK and RMDIR
    pub(super) fn unlink(&self, call: &mut Call<'_, '_>, folder: bool) -> Result<(), Errno> {
        let name = call.name()?;
        let (_, parent) = self.folder(call.header.nodeid)?;
        let flags = if folder {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        rustix::fs::unlinkat(&*parent, name, flags)
    }

    /// RENAME and RENAME2
    pub(super) fn rename(&self, call: &mut Call<'_, '_>, with_flags: bool) -> Result<(), Errno> {
        let (to, flags) = if with_flags {
            let asked: Rename2In = call.take()?;
            (asked.newdir, asked.flags)
        } else {
            (call.take::<RenameIn>()?.newdir, 0)
        };
        let (old, new) = (call.name()?, call.name()?);
        let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
        let flags = RenameFlags::from_bits(flags)
            .filter(|flags| known.contains(*flags))
            .ok_or(Errno::INVAL)?;
        let (_, from) = self.folder(call.header.nodeid)?;
        let (_, to) = self.folder(to)?;
        rustix::fs::renameat_with(&*from, old, &*to, new, flags)
    }

    /// LINK
    pub(super) fn link(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: LinkIn = call.take()?;
        let name = call.name()?;
        let (_, folder) = self.folder(call.header.nodeid)?;
        let file = self.nodes.get(asked.oldnodeid)?;
        let fd = self.nodes.fd(&file)?;
        // The name leads to the very file; AT_EMPTY_PATH would need a capability.
        rustix::fs::linkat(
            &self.descriptors,
            DecInt::from_fd(&fd),
            &*folder,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?;
        self.reply_entry(call, name)
    }
}
