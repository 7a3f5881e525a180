//! Files and folders that the guest knows by number.
//!
//! A node is found by device, inode number and mount, and holds an O_PATH
//! descriptor, so that renames on the host change nothing for it. When descriptors
//! get scarce, those of nodes that were not used lately are closed. A node that
//! lost its descriptor is looked for under the name that it had last; it is opened
//! again only if what is there is the same file, and is stale otherwise.

pub(crate) use crate::open::{open_beneath, stat_fd};
use crate::wire::ROOT;
use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags, statx};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Most nodes at once: about 300 MiB of memory.
const MAX_NODES: usize = 1 << 20;

/// Deepest way back to a node that lost its descriptor.
const MAX_DEPTH: usize = 4096;

/// STATX_MNT_ID (Linux 5.8).
pub(crate) const MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x1000);

/// Locks a mutex; data behind one is never left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    device: (u32, u32),
    inode: u64,
    mount: u64,
}

/// Tells a file from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    kind: u16,
    born: (i64, u32),
}

/// A file's state, as far as it shows changes of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) modified: (i64, u32),
    pub(crate) changed: (i64, u32),
    pub(crate) size: u64,
}

/// A file or folder.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: u64,
    key: Key,
    identity: Identity,
    /// How often the guest was told of it.
    lookups: AtomicU64,
    /// The root and the shares stay.
    pinned: bool,
    /// How long the guest may remember attributes and names.
    pub(crate) patience: Duration,
    place: Mutex<Option<(u64, CString)>>,
    fd: Mutex<Option<Arc<OwnedFd>>>,
    used: AtomicBool,
    /// Open handles; a node with some keeps its descriptor.
    pub(crate) opened: AtomicUsize,
    /// What the guest's cached pages are of.
    pub(crate) cached: Mutex<Option<Version>>,
    /// Open file descriptions that hold POSIX locks, by owner.
    pub(crate) locks: Mutex<HashMap<u64, Arc<OwnedFd>>>,
}

impl Node {
    /// Its type, a value of `S_IFMT`.
    pub(crate) fn kind(&self) -> u32 {
        u32::from(self.identity.kind)
    }

    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind() == libc::S_IFREG
    }

    /// Whether it is a folder.
    pub(crate) fn is_folder(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// Whether it lies on another mount than `parent`.
    pub(crate) fn is_mount_below(&self, parent: &Node) -> bool {
        self.key.mount != parent.key.mount
    }
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<u64, Arc<Node>>,
    by_key: HashMap<Key, Arc<Node>>,
    last_id: u64,
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    table: RwLock<Table>,
    /// Names of shares whose attributes the guest may remember.
    patient: Vec<CString>,
    /// Number of open descriptors and the most there should be.
    open: AtomicUsize,
    limit: usize,
}

/// Time for which names and attributes of `patient` shares are remembered.
const PATIENCE: Duration = Duration::from_secs(1);

impl Nodes {
    /// A table with the root. At most about `limit` descriptors stay open.
    pub(crate) fn new(root: OwnedFd, patient: Vec<CString>, limit: usize) -> Result<Nodes, Errno> {
        let stat = stat_fd(root.as_fd())?;
        if u32::from(stat.stx_mode) & libc::S_IFMT != libc::S_IFDIR {
            return Err(Errno::NOTDIR);
        }
        let node = Arc::new(new_node(ROOT, root, &stat, None, true, Duration::ZERO));
        let mut table = Table {
            last_id: ROOT,
            ..Table::default()
        };
        table.by_key.insert(node.key, node.clone());
        table.by_id.insert(ROOT, node);
        Ok(Nodes {
            table: RwLock::new(table),
            patient,
            open: AtomicUsize::new(1),
            limit: limit.max(16),
        })
    }

    /// Forgets everything but the root.
    pub(crate) fn clear(&self) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.by_id.retain(|id, _| *id == ROOT);
        table.by_key.retain(|_, node| node.id == ROOT);
        self.open.store(1, Ordering::Relaxed);
        if let Some(root) = table.by_id.get(&ROOT) {
            lock(&root.locks).clear();
        }
    }

    /// Closes what is not in use.
    #[cfg(test)]
    pub(crate) fn shrink(&self) {
        self.close_unused();
        self.close_unused();
    }

    /// Number of nodes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.read().by_id.len()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node with this number.
    pub(crate) fn get(&self, id: u64) -> Result<Arc<Node>, Errno> {
        self.read().by_id.get(&id).cloned().ok_or(Errno::STALE)
    }

    /// The descriptor of a node, opened again if it was closed.
    pub(crate) fn fd(&self, node: &Node) -> Result<Arc<OwnedFd>, Errno> {
        node.used.store(true, Ordering::Relaxed);
        if let Some(fd) = &*lock(&node.fd) {
            return Ok(fd.clone());
        }
        self.open_again(node)
    }

    /// Walks up to a node that has its descriptor, then down again.
    fn open_again(&self, node: &Node) -> Result<Arc<OwnedFd>, Errno> {
        let mut names = vec![];
        let mut below: Option<Arc<Node>> = None;
        let start = loop {
            let current = below.as_deref().unwrap_or(node);
            if let Some(fd) = &*lock(&current.fd) {
                break fd.clone();
            }
            let (parent, name) = lock(&current.place).clone().ok_or(Errno::STALE)?;
            if names.len() == MAX_DEPTH {
                return Err(Errno::STALE);
            }
            let parent = self.get(parent)?;
            names.push((below.replace(parent), name));
        };
        let mut fd = start;
        for (current, name) in names.into_iter().rev() {
            let current = current.as_deref().unwrap_or(node);
            let opened = self.open_path(fd.as_fd(), &name)?;
            let stat = stat_fd(opened.as_fd())?;
            if Key::of(&stat) != current.key || Identity::of(&stat) != current.identity {
                return Err(Errno::STALE);
            }
            fd = self.set_fd(current, opened);
        }
        Ok(fd)
    }

    fn set_fd(&self, node: &Node, fd: OwnedFd) -> Arc<OwnedFd> {
        let mut slot = lock(&node.fd);
        if slot.is_none() {
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        slot.get_or_insert_with(|| Arc::new(fd)).clone()
    }

    /// Opens one name in a folder, whatever it is, without following anything.
    fn open_path(&self, folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
        let open = || open_beneath(folder, name, OFlags::PATH, Mode::empty());
        match open() {
            Err(Errno::MFILE) => {
                self.close_unused();
                open().map_err(|error| match error {
                    Errno::MFILE => Errno::NFILE,
                    other => other,
                })
            }
            other => other,
        }
    }

    /// Closes descriptors of nodes that were not used since the last time.
    fn close_unused(&self) {
        for node in self.read().by_id.values() {
            let idle = !node.used.swap(false, Ordering::Relaxed);
            let busy = node.opened.load(Ordering::Relaxed) > 0 || lock(&node.place).is_none();
            if idle && !busy && node.id != ROOT && lock(&node.fd).take().is_some() {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Looks a name up and counts that the guest knows it.
    pub(crate) fn look_up(
        &self,
        parent: &Arc<Node>,
        name: &CStr,
    ) -> Result<(Arc<Node>, Statx), Errno> {
        let folder = self.fd(parent)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let stat = statx(
            &*folder,
            name,
            flags,
            StatxFlags::BASIC_STATS | StatxFlags::BTIME | MOUNT,
        )?;
        // A known node needs no descriptor: its own keeps its number from being
        // given to another file.
        if let Some(node) = self.known(&stat) {
            if lock(&node.fd).is_none() {
                *lock(&node.place) = Some((parent.id, name.to_owned()));
            }
            return Ok((node, stat));
        }
        let fd = self.open_path(folder.as_fd(), name)?;
        self.add(parent, Some(name), fd)
    }

    fn known(&self, stat: &Statx) -> Option<Arc<Node>> {
        let table = self.read();
        let node = table.by_key.get(&Key::of(stat))?;
        if node.identity != Identity::of(stat) {
            return None;
        }
        node.lookups.fetch_add(1, Ordering::Relaxed);
        Some(node.clone())
    }

    /// Adds what an O_PATH descriptor is of, found in `parent` under `name`, if it
    /// has one, and counts that the guest knows it.
    pub(crate) fn add(
        &self,
        parent: &Node,
        name: Option<&CStr>,
        fd: OwnedFd,
    ) -> Result<(Arc<Node>, Statx), Errno> {
        let stat = stat_fd(fd.as_fd())?;
        if self.open.load(Ordering::Relaxed) >= self.limit {
            self.close_unused();
        }
        let place = name.map(|name| (parent.id, name.to_owned()));
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let known = table.by_key.get(&Key::of(&stat));
        if let Some(node) = known.filter(|node| node.identity == Identity::of(&stat)) {
            node.lookups.fetch_add(1, Ordering::Relaxed);
            *lock(&node.place) = place;
            self.set_fd(node, fd);
            return Ok((node.clone(), stat));
        }
        if table.by_id.len() >= MAX_NODES {
            return Err(Errno::NFILE);
        }
        table.last_id += 1;
        let share = parent.id == ROOT;
        let patience = match name {
            Some(name) if share && self.patient.iter().any(|one| **one == *name) => PATIENCE,
            _ => parent.patience,
        };
        let node = Arc::new(new_node(table.last_id, fd, &stat, place, share, patience));
        self.open.fetch_add(1, Ordering::Relaxed);
        table.by_key.insert(node.key, node.clone());
        table.by_id.insert(node.id, node.clone());
        Ok((node, stat))
    }

    /// The guest knows a node `count` times less.
    pub(crate) fn forget(&self, id: u64, count: u64) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(node) = table.by_id.get(&id).cloned() else {
            return;
        };
        let left = node.lookups.load(Ordering::Relaxed).saturating_sub(count);
        node.lookups.store(left, Ordering::Relaxed);
        if left > 0 || node.pinned {
            return;
        }
        table.by_id.remove(&id);
        if table
            .by_key
            .get(&node.key)
            .is_some_and(|other| other.id == id)
        {
            table.by_key.remove(&node.key);
        }
        if lock(&node.fd).is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn new_node(
    id: u64,
    fd: OwnedFd,
    stat: &Statx,
    place: Option<(u64, CString)>,
    pinned: bool,
    patience: Duration,
) -> Node {
    Node {
        id,
        key: Key::of(stat),
        identity: Identity::of(stat),
        lookups: AtomicU64::new(1),
        pinned,
        patience,
        place: Mutex::new(place),
        fd: Mutex::new(Some(Arc::new(fd))),
        used: AtomicBool::new(true),
        opened: AtomicUsize::new(0),
        cached: Mutex::new(None),
        locks: Mutex::new(HashMap::new()),
    }
}

impl Key {
    fn of(stat: &Statx) -> Key {
        Key {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mount: stat.stx_mnt_id,
        }
    }
}

impl Identity {
    fn of(stat: &Statx) -> Identity {
        Identity {
            kind: stat.stx_mode & libc::S_IFMT as u16,
            born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
        }
    }
}

impl Version {
    /// The state that attributes show.
    pub(crate) fn of(stat: &Statx) -> Version {
        Version {
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            size: stat.stx_size,
        }
    }
}
