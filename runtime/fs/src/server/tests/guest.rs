//! A guest without a machine: requests and answers in plain buffers.

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use vm_memory::VolatileSlice;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::chain::Chain;
use crate::server::{Options, Server, Worker};
use crate::wire::*;

pub(super) struct Guest {
    pub(super) server: Arc<Server>,
    worker: Worker,
    pub(super) caller: (u32, u32),
    pub(super) last_unique: u64,
}

static UNIQUE: AtomicU64 = AtomicU64::new(2);

/// Tests need root: without it files can't be made in others' names.
pub(super) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

pub(super) fn server(root: &Path, open_files: usize, cached: &[&str]) -> Arc<Server> {
    let path = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(path, flags, Mode::empty()).unwrap()
    };
    let server = Server::new(Options {
        root: path(root),
        descriptors: path(Path::new("/proc/self/fd")),
        cached: cached
            .iter()
            .map(|name| CString::new(*name).unwrap())
            .collect(),
        open_files,
    });
    Arc::new(server.unwrap())
}

impl Guest {
    pub(super) fn new(root: &Path) -> Guest {
        let guest = Guest::raw(server(root, 1024, &["cached"]));
        guest.mounted()
    }

    /// Before INIT.
    pub(super) fn raw(server: Arc<Server>) -> Guest {
        let worker = server.worker().unwrap();
        Guest {
            server,
            worker,
            caller: (0, 0),
            last_unique: 0,
        }
    }

    pub(super) fn mounted(mut self) -> Guest {
        let init = InitIn {
            major: 7,
            minor: MINOR,
            max_readahead: 1 << 20,
            flags: u32::MAX,
        };
        let more = InitMore { flags2: u32::MAX };
        let init = parts(&[init.as_bytes(), more.as_bytes()]);
        let out: InitOut = self.ask(op::INIT, 0, &init).unwrap();
        assert_eq!((out.major, out.minor), (7, MINOR));
        self
    }

    /// Sends a request as it is; the whole answer.
    pub(super) fn send(&mut self, request: &mut [u8], room: usize) -> Vec<u8> {
        let mut out = vec![0xaa; room];
        let mut chain = Chain::default();
        // In pieces, as guests do.
        let cut = request.len().min(40);
        let (head, tail) = request.split_at_mut(cut);
        chain.push_readable(VolatileSlice::from(head));
        chain.push_readable(VolatileSlice::from(tail));
        let (head, tail) = out.split_at_mut(room.min(16));
        chain.push_writable(VolatileSlice::from(head));
        chain.push_writable(VolatileSlice::from(tail));
        let len = self.server.serve(&mut self.worker, &chain, &mut || true);
        drop(chain);
        out.truncate(len);
        out
    }

    pub(super) fn request(&mut self, opcode: u32, nodeid: u64, body: &[u8]) -> Vec<u8> {
        self.last_unique = UNIQUE.fetch_add(2, Ordering::SeqCst);
        let header = InHeader {
            len: 40 + body.len() as u32,
            opcode,
            unique: self.last_unique,
            nodeid,
            uid: self.caller.0,
            gid: self.caller.1,
            ..InHeader::default()
        };
        parts(&[header.as_bytes(), body])
    }

    /// Sends a request; the answer's payload.
    pub(super) fn bytes(
        &mut self,
        opcode: u32,
        nodeid: u64,
        body: &[u8],
    ) -> Result<Vec<u8>, Errno> {
        let mut request = self.request(opcode, nodeid, body);
        let out = self.send(&mut request, 1 << 17);
        let (header, payload) = OutHeader::read_from_prefix(&out).unwrap();
        assert_eq!(header.len as usize, out.len());
        assert_eq!(header.unique, self.last_unique);
        match header.error {
            0 => Ok(payload.to_vec()),
            error => {
                assert!(payload.is_empty());
                Err(Errno::from_raw_os_error(-error))
            }
        }
    }

    pub(super) fn ask<T: FromBytes>(
        &mut self,
        opcode: u32,
        nodeid: u64,
        body: &[u8],
    ) -> Result<T, Errno> {
        let payload = self.bytes(opcode, nodeid, body)?;
        Ok(T::read_from_bytes(&payload).map_err(|_| "length").unwrap())
    }

    pub(super) fn lookup(&mut self, parent: u64, name: &str) -> Result<EntryOut, Errno> {
        self.ask(op::LOOKUP, parent, &text(name))
    }

    pub(super) fn mkdir(&mut self, parent: u64, name: &str, mode: u32) -> Result<EntryOut, Errno> {
        let body = MkdirIn { mode, umask: 0o022 };
        self.ask(op::MKDIR, parent, &with(&body, &[name]))
    }

    pub(super) fn create(
        &mut self,
        parent: u64,
        name: &str,
        flags: i32,
    ) -> Result<CreateOut, Errno> {
        let body = CreateIn {
            flags: flags as u32,
            mode: libc::S_IFREG | 0o666,
            umask: 0o022,
            open_flags: 0,
        };
        self.ask(op::CREATE, parent, &with(&body, &[name]))
    }

    pub(super) fn open(&mut self, node: u64, flags: i32) -> Result<OpenOut, Errno> {
        let body = OpenIn {
            flags: flags as u32,
            open_flags: 0,
        };
        self.ask(op::OPEN, node, body.as_bytes())
    }

    pub(super) fn write(&mut self, fh: u64, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        self.write_flags(fh, offset, data, 0)
    }

    pub(super) fn write_flags(
        &mut self,
        fh: u64,
        offset: u64,
        data: &[u8],
        write_flags: u32,
    ) -> Result<u32, Errno> {
        let body = WriteIn {
            fh,
            offset,
            size: data.len() as u32,
            write_flags,
            ..WriteIn::default()
        };
        let out: WriteOut = self.ask(op::WRITE, 0, &parts(&[body.as_bytes(), data]))?;
        Ok(out.size)
    }

    pub(super) fn read(&mut self, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let body = ReadIn {
            fh,
            offset,
            size,
            ..ReadIn::default()
        };
        self.bytes(op::READ, 0, body.as_bytes())
    }

    pub(super) fn release(&mut self, fh: u64) -> Result<(), Errno> {
        let body = ReleaseIn {
            fh,
            ..ReleaseIn::default()
        };
        self.bytes(op::RELEASE, 0, body.as_bytes()).map(drop)
    }

    pub(super) fn stat(&mut self, node: u64) -> Result<Attr, Errno> {
        let out: AttrOut = self.ask(op::GETATTR, node, GetattrIn::default().as_bytes())?;
        Ok(out.attr)
    }

    pub(super) fn setattr(&mut self, node: u64, set: SetattrIn) -> Result<Attr, Errno> {
        let out: AttrOut = self.ask(op::SETATTR, node, set.as_bytes())?;
        Ok(out.attr)
    }

    /// Names of a folder in the host's order.
    pub(super) fn list(&mut self, node: u64, plus: bool, size: u32) -> Vec<String> {
        let fh = self
            .ask::<OpenOut>(op::OPENDIR, node, OpenIn::default().as_bytes())
            .unwrap()
            .fh;
        let (mut names, mut offset) = (Vec::new(), 0);
        let opcode = if plus { op::READDIRPLUS } else { op::READDIR };
        loop {
            let body = ReadIn {
                fh,
                offset,
                size,
                ..ReadIn::default()
            };
            let out = self.bytes(opcode, node, body.as_bytes()).unwrap();
            if out.is_empty() {
                break;
            }
            assert!(out.len() <= size as usize);
            let mut rest = &out[..];
            while !rest.is_empty() {
                if plus {
                    rest = &rest[size_of::<EntryOut>()..];
                }
                let (entry, name) = Dirent::read_from_prefix(rest).unwrap();
                names.push(String::from_utf8(name[..entry.namelen as usize].to_vec()).unwrap());
                offset = entry.off;
                rest = &rest[(24 + entry.namelen as usize).next_multiple_of(8)..];
            }
        }
        let body = ReleaseIn {
            fh,
            ..ReleaseIn::default()
        };
        self.bytes(op::RELEASEDIR, node, body.as_bytes()).unwrap();
        names
    }
}

pub(super) fn parts(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    parts(&[text.as_bytes(), b"\0"])
}

pub(super) fn with<T: IntoBytes + Immutable>(body: &T, names: &[&str]) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    names.iter().for_each(|name| bytes.extend(text(name)));
    bytes
}
