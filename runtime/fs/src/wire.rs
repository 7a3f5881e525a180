//! FUSE's messages as they lie in memory: protocol 7.39 of Linux's
//! `include/uapi/linux/fuse.h`, in the byte order of the machine.

#![allow(missing_docs)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Major version of the protocol.
pub const MAJOR: u32 = 7;
/// Minor version that is answered.
pub const MINOR: u32 = 39;
/// Oldest minor version that is served (Linux 5.4).
pub const OLDEST_MINOR: u32 = 31;
/// Node number of the root.
pub const ROOT: u64 = 1;

/// Declares structures that are copied from or to the guest as they are.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $(pub $field: $kind,)* }
    )*};
}

messages! {
    /// `fuse_in_header`
    InHeader { len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32, extensions: u16, padding: u16, }
    /// `fuse_out_header`
    OutHeader { len: u32, error: i32, unique: u64, }
    /// `fuse_attr`
    Attr {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64,
        atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, nlink: u32,
        uid: u32, gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    /// `fuse_entry_out`
    EntryOut {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nsec: u32, attr_valid_nsec: u32, attr: Attr,
    }
    /// `fuse_attr_out`
    AttrOut { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: Attr, }
    /// `fuse_init_in` up to what every served version has.
    InitIn { major: u32, minor: u32, max_readahead: u32, flags: u32, }
    /// What `fuse_init_in` has behind that since 7.36.
    InitMore { flags2: u32, }
    /// `fuse_init_out`
    InitOut {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16,
        congestion_threshold: u16, max_write: u32, time_gran: u32, max_pages: u16,
        map_alignment: u16, flags2: u32, max_stack_depth: u32, unused: [u32; 6],
    }
    /// `fuse_forget_in`
    ForgetIn { nlookup: u64, }
    /// `fuse_batch_forget_in`
    BatchForgetIn { count: u32, dummy: u32, }
    /// `fuse_forget_one`
    ForgetOne { nodeid: u64, nlookup: u64, }
    /// `fuse_getattr_in`
    GetattrIn { flags: u32, dummy: u32, fh: u64, }
    /// `fuse_setattr_in`
    SetattrIn {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64, atime: u64,
        mtime: u64, ctime: u64, atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    /// `fuse_mknod_in`
    MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32, }
    /// `fuse_mkdir_in`
    MkdirIn { mode: u32, umask: u32, }
    /// `fuse_rename_in`
    RenameIn { newdir: u64, }
    /// `fuse_rename2_in`
    Rename2In { newdir: u64, flags: u32, padding: u32, }
    /// `fuse_link_in`
    LinkIn { oldnodeid: u64, }
    /// `fuse_open_in`
    OpenIn { flags: u32, open_flags: u32, }
    /// `fuse_create_in`
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32, }
    /// `fuse_open_out`
    OpenOut { fh: u64, open_flags: u32, padding: u32, }
    /// Answer to CREATE and TMPFILE.
    CreateOut { entry: EntryOut, open: OpenOut, }
    /// `fuse_release_in`
    ReleaseIn { fh: u64, flags: u32, release_flags: u32, lock_owner: u64, }
    /// `fuse_flush_in`
    FlushIn { fh: u64, unused: u32, padding: u32, lock_owner: u64, }
    /// `fuse_read_in`
    ReadIn { fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32, }
    /// `fuse_write_in`
    WriteIn { fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32, }
    /// `fuse_write_out`
    WriteOut { size: u32, padding: u32, }
    /// `fuse_statfs_out`
    StatfsOut {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, bsize: u32,
        namelen: u32, frsize: u32, padding: u32, spare: [u32; 6],
    }
    /// `fuse_fsync_in`
    FsyncIn { fh: u64, flags: u32, padding: u32, }
    /// `fuse_setxattr_in`
    SetxattrIn { size: u32, flags: u32, more: u32, padding: u32, }
    /// `fuse_setxattr_in` without FUSE_SETXATTR_EXT.
    SetxattrShortIn { size: u32, flags: u32, }
    /// `fuse_getxattr_in`, and the answer to a question for a length.
    GetxattrIn { size: u32, padding: u32, }
    /// `fuse_lk_in`
    LkIn { fh: u64, owner: u64, lock: Lock, flags: u32, padding: u32, }
    /// `fuse_file_lock`
    Lock { start: u64, end: u64, kind: u32, pid: u32, }
    /// `fuse_access_in`
    AccessIn { mask: u32, padding: u32, }
    /// `fuse_interrupt_in`
    InterruptIn { unique: u64, }
    /// `fuse_fallocate_in`
    FallocateIn { fh: u64, offset: u64, len: u64, mode: u32, padding: u32, }
    /// `fuse_lseek_in`
    LseekIn { fh: u64, offset: u64, whence: u32, padding: u32, }
    /// `fuse_lseek_out`
    LseekOut { offset: u64, }
    /// `fuse_copy_file_range_in`
    CopyFileRangeIn { fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64, }
    /// `fuse_dirent` without the name.
    Dirent { ino: u64, off: u64, namelen: u32, kind: u32, }
}

/// Operations.
pub mod op {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const GETLK: u32 = 31;
    pub const SETLK: u32 = 32;
    pub const SETLKW: u32 = 33;
    pub const ACCESS: u32 = 34;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
    pub const SYNCFS: u32 = 50;
    pub const TMPFILE: u32 = 51;
}

/// Flags of INIT, both words in one.
pub mod init {
    pub const ASYNC_READ: u64 = 1 << 0;
    pub const POSIX_LOCKS: u64 = 1 << 1;
    pub const ATOMIC_O_TRUNC: u64 = 1 << 3;
    pub const BIG_WRITES: u64 = 1 << 5;
    pub const DONT_MASK: u64 = 1 << 6;
    pub const FLOCK_LOCKS: u64 = 1 << 10;
    pub const AUTO_INVAL_DATA: u64 = 1 << 12;
    pub const DO_READDIRPLUS: u64 = 1 << 13;
    pub const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub const ASYNC_DIO: u64 = 1 << 15;
    pub const PARALLEL_DIROPS: u64 = 1 << 18;
    pub const POSIX_ACL: u64 = 1 << 20;
    pub const MAX_PAGES: u64 = 1 << 22;
    pub const CACHE_SYMLINKS: u64 = 1 << 23;
    pub const SUBMOUNTS: u64 = 1 << 27;
    pub const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub const SETXATTR_EXT: u64 = 1 << 29;
    pub const INIT_EXT: u64 = 1 << 30;
    pub const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
}

/// Flags of messages.
pub mod flag {
    /// GETATTR: `fh` is set.
    pub const GETATTR_FH: u32 = 1 << 0;
    /// SETATTR: what is valid.
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const FH: u32 = 1 << 6;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
    pub const KILL_SUIDGID: u32 = 1 << 11;
    /// OPEN: the caller may not keep suid and sgid bits.
    pub const OPEN_KILL_SUIDGID: u32 = 1 << 0;
    /// Answer to OPEN: reads and writes go by the page cache.
    pub const DIRECT_IO: u32 = 1 << 0;
    /// Answer to OPEN: cached pages are still good.
    pub const KEEP_CACHE: u32 = 1 << 1;
    /// Answer to OPEN, with DIRECT_IO: several may write at once.
    pub const PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
    /// WRITE: from the page cache, possibly through another file's handle.
    pub const WRITE_CACHE: u32 = 1 << 0;
    pub const WRITE_KILL_SUIDGID: u32 = 1 << 2;
    /// RELEASE: `lock_owner` is set.
    pub const RELEASE_FLUSH: u32 = 1 << 0;
    /// SETLK: flock(2).
    pub const LK_FLOCK: u32 = 1 << 0;
    /// FSYNC: data only.
    pub const FDATASYNC: u32 = 1 << 0;
    /// SETXATTR: clear the sgid bit with a new access list.
    pub const ACL_KILL_SGID: u32 = 1 << 0;
    /// Attributes: a mount point.
    pub const SUBMOUNT: u32 = 1 << 0;
}
