//! In whose name files are made.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::sys;

/// What the server may do, whatever it was started with.
pub(crate) const WANTED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP);

/// The calling thread's own identity, to which it always comes back.
#[derive(Debug)]
pub(crate) struct Creds {
    caps: CapabilitySets,
    uid: u32,
    gid: u32,
    umask: Option<u32>,
}

impl Creds {
    /// The thread's present identity.
    pub(crate) fn of_this_thread() -> Result<Creds, Errno> {
        Ok(Creds {
            caps: capabilities(None)?,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            umask: None,
        })
    }

    /// Makes something that shall belong to this user and group. The guest's kernel
    /// has checked what they may do, so the right to write anywhere stays.
    pub(crate) fn make<T>(
        &mut self,
        (uid, gid): (u32, u32),
        umask: u32,
        make: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let umask = umask & 0o777;
        if self.umask != Some(umask) {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
            self.umask = Some(umask);
        }
        self.become_caller(uid, gid, true, make)
    }

    /// Does something with the rights of this user and group alone.
    pub(crate) fn ask<T>(
        &self,
        (uid, gid): (u32, u32),
        ask: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.become_caller(uid, gid, false, ask)
    }

    fn become_caller<T>(
        &self,
        uid: u32,
        gid: u32,
        keep: bool,
        work: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if (uid, gid) == (self.uid, self.gid) {
            return work();
        }
        let _back = Back(self);
        if gid != self.gid {
            sys::set_fsgid(gid)?;
        }
        if uid != self.uid {
            // This takes the rights over files out of force...
            sys::set_fsuid(uid)?;
            if keep {
                set_capabilities(None, self.caps)?;
            }
        }
        work()
    }

    /// Does something that must clear suid and sgid bits as it does for callers
    /// without CAP_FSETID.
    pub(crate) fn without_fsetid<T>(
        &self,
        work: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let _back = Back(self);
        let mut caps = self.caps;
        caps.effective.remove(CapabilitySet::FSETID);
        set_capabilities(None, caps)?;
        work()
    }
}

/// Goes back to the thread's own identity.
struct Back<'a>(&'a Creds);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        let back = sys::set_fsuid(self.0.uid)
            .and_then(|()| sys::set_fsgid(self.0.gid))
            .and_then(|()| set_capabilities(None, self.0.caps));
        if back.is_err() {
            // Nothing may be done in a wrong name.
            std::process::abort();
        }
    }
}
