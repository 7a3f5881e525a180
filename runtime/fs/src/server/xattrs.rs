//! Extended attributes: those of users, access control lists and capabilities of
//! programs. Others are the host's own business.

use std::ffi::CStr;

use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::Server;
use super::attributes::killing;
use super::call::Call;
use crate::wire::{GetxattrIn, SetxattrIn, SetxattrShortIn, flag, init};

/// Most bytes of a value or of a list (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const MAX: usize = 64 << 10;
/// Most bytes of a name (XATTR_NAME_MAX).
const MAX_NAME: usize = 255;
const ACL: &[u8] = b"system.posix_acl_access";

fn allowed(name: &[u8]) -> bool {
    let others = [&b"system.posix_acl_default"[..], b"security.capability"];
    name.starts_with(b"user.") || name == ACL || others.contains(&name)
}

/// Refuses what `allowed` does not have.
fn check(name: &CStr) -> Result<(), Errno> {
    match name.to_bytes() {
        name if name.len() > MAX_NAME => Err(Errno::RANGE),
        name if name.starts_with(b"trusted.") => Err(Errno::PERM),
        name if allowed(name) => Ok(()),
        _ => Err(Errno::OPNOTSUPP),
    }
}

impl Server {
    /// SETXATTR
    pub(super) fn setxattr(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked = if self.agreed(init::SETXATTR_EXT) {
            call.take()?
        } else {
            let short: SetxattrShortIn = call.take()?;
            SetxattrIn {
                size: short.size,
                flags: short.flags,
                ..SetxattrIn::default()
            }
        };
        let name = call.text()?;
        check(name)?;
        let value = call.bytes(asked.size as usize)?;
        let flags = XattrFlags::from_bits(asked.flags).ok_or(Errno::INVAL)?;
        let node = self.node(call)?;
        let fd = self.nodes.fd(&node)?;
        // The working folder of each worker is that of our descriptors.
        let set = || setxattr(DecInt::from_fd(&fd), name, value, flags);
        let kill = name.to_bytes() == ACL && asked.more & flag::ACL_KILL_SGID != 0;
        killing(call, kill, std::os::fd::AsFd::as_fd(&fd), set)
    }

    /// GETXATTR
    pub(super) fn getxattr(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: GetxattrIn = call.take()?;
        let name = call.text()?;
        check(name).map_err(|error| match error {
            Errno::PERM => Errno::NODATA,
            other => other,
        })?;
        let fd = self.nodes.fd(&*self.node(call)?)?;
        call.out.resize(MAX, 0);
        let got = getxattr(DecInt::from_fd(&fd), name, &mut call.out[..]);
        call.out.truncate(*got.as_ref().unwrap_or(&0));
        got?;
        give(call, asked.size)
    }

    /// LISTXATTR
    pub(super) fn listxattr(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let asked: GetxattrIn = call.take()?;
        let fd = self.nodes.fd(&*self.node(call)?)?;
        let mut names = vec![0; MAX];
        let len = listxattr(DecInt::from_fd(&fd), &mut names[..])?;
        for name in names[..len].split_inclusive(|byte| *byte == 0) {
            if name.strip_suffix(&[0]).is_some_and(allowed) {
                call.out.extend_from_slice(name);
            }
        }
        give(call, asked.size)
    }

    /// REMOVEXATTR
    pub(super) fn removexattr(&self, call: &mut Call<'_, '_>) -> Result<(), Errno> {
        let name = call.text()?;
        check(name)?;
        let fd = self.nodes.fd(&*self.node(call)?)?;
        removexattr(DecInt::from_fd(&fd), name)
    }
}

/// Answers with what `out` holds, or with its length if the guest asked for that.
fn give(call: &mut Call<'_, '_>, size: u32) -> Result<(), Errno> {
    let len = call.out.len();
    if size == 0 {
        call.out.clear();
        return call.reply(&GetxattrIn {
            size: len as u32,
            padding: 0,
        });
    }
    if len > size as usize {
        call.out.clear();
        return Err(Errno::RANGE);
    }
    Ok(())
}
