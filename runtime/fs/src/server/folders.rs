//! Reading folders.

use std::ffi::CStr;

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::Server;
use super::call::Call;
use crate::handle::{Folder, Handle};
use crate::node::lock;
use crate::sys;
use crate::wire::{Dirent, EntryOut, OpenIn, OpenOut, ReadIn};

/// Bytes of entries read from the host at once.
const ENTRIES: usize = 32 << 10;
/// Where the fields of a `struct linux_dirent64` are (getdents(2)).
const OFFSET: usize = 8;
const LENGTH: usize = 16;
const KIND: usize = 18;
const NAME: usize = 19;

/// An entry as the host's kernel gives it.
struct Entry<'a> {
    inode: u64,
    /// Offset of the entry after it.
    next: u64,
    kind: u8,
    name: &'a CStr,
    len: usize,
}

impl Server {
    /// OPENDIR
    pub(super) fn opendir(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let _: OpenIn = call.take()?;
        let (node, _) = self.folder(call.header.nodeid)?;
        self.handles.room()?;
        let fd = self.reopen(&node, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let fh = self.handles.add(Handle::new(fd, node, false))?;
        call.reply(&OpenOut {
            fh,
            ..OpenOut::default()
        })
    }

    /// READDIR, and READDIRPLUS, which looks every name up as well.
    pub(super) fn readdir(&self, call: &mut Call<'_, '_>, plus: bool) -> Result<(), Errno> {
        let asked: ReadIn = call.take()?;
        let handle = self.handles.get(asked.fh)?;
        if !handle.node.is_folder() {
            return Err(Errno::NOTDIR);
        }
        let room = call.room().min(asked.size as usize);
        let mut folder = lock(&handle.folder);
        if asked.offset != folder.offset {
            folder.entries.clear();
            folder.start = 0;
            rustix::fs::seek(handle.fd(), SeekFrom::Start(asked.offset))?;
            folder.offset = asked.offset;
        }
        loop {
            if folder.start >= folder.entries.len() && !fill(&mut folder, &handle)? {
                return Ok(());
            }
            let Folder {
                entries,
                start,
                offset,
            } = &mut *folder;
            let Some(entry) = parse(&entries[*start..]) else {
                return Err(Errno::IO);
            };
            if !self.give(call, &handle, &entry, room, plus) {
                return Ok(());
            }
            *start += entry.len;
            *offset = entry.next;
        }
    }

    /// Adds an entry to the answer, if there is room.
    fn give(
        &self,
        call: &mut Call<'_, '_>,
        handle: &Handle,
        entry: &Entry<'_>,
        room: usize,
        plus: bool,
    ) -> bool {
        let name = entry.name.to_bytes();
        let len = (size_of::<Dirent>() + name.len()).next_multiple_of(8);
        let more = if plus { size_of::<EntryOut>() } else { 0 };
        if call.out.len() + more + len > room {
            return false;
        }
        let mut inode = entry.inode;
        if plus {
            // Node 0 says that the guest shall look the name up itself: it does so
            // for these two, and for a name that has just gone.
            let found = match name {
                b"." | b".." => None,
                _ => self.nodes.look_up(&handle.node, entry.name).ok(),
            };
            let found = found.map(|(node, stat)| self.entry(&handle.node, &node, &stat));
            let found = found.unwrap_or_default();
            if found.nodeid != 0 {
                inode = found.attr.ino;
            }
            call.out.extend_from_slice(found.as_bytes());
        }
        let dirent = Dirent {
            ino: inode,
            off: entry.next,
            namelen: name.len() as u32,
            kind: entry.kind.into(),
        };
        call.out.extend_from_slice(dirent.as_bytes());
        call.out.extend_from_slice(name);
        let padding = len - size_of::<Dirent>() - name.len();
        call.out.extend_from_slice(&[0; 8][..padding]);
        true
    }
}

/// Reads more entries; false at the end of the folder.
fn fill(folder: &mut Folder, handle: &Handle) -> Result<bool, Errno> {
    folder.entries.resize(ENTRIES, 0);
    folder.start = 0;
    let read = sys::read_folder(handle.fd(), &mut folder.entries);
    folder.entries.truncate(*read.as_ref().unwrap_or(&0));
    Ok(read? > 0)
}

fn parse(bytes: &[u8]) -> Option<Entry<'_>> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let len = u16::from_ne_bytes(bytes.get(LENGTH..LENGTH + 2)?.try_into().ok()?);
    let len = usize::from(len);
    Some(Entry {
        inode: number(0)?,
        next: number(OFFSET)?,
        kind: *bytes.get(KIND)?,
        name: CStr::from_bytes_until_nul(bytes.get(NAME..len)?).ok()?,
        len,
    })
}
