//! A request under way.

use std::ffi::CStr;

use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::chain::Chain;
use crate::creds::Creds;
use crate::server::Spare;
use crate::wire::{InHeader, WriteIn, op};

/// Bytes of a request's header.
pub(super) const HEADER: usize = size_of::<InHeader>();
/// Bytes of an answer's header.
pub(super) const OUT_HEADER: usize = size_of::<crate::wire::OutHeader>();
/// Where the data of WRITE starts.
pub(super) const WRITE_DATA: usize = HEADER + size_of::<WriteIn>();
/// Most bytes of one name in a folder (NAME_MAX).
const NAME_MAX: usize = 255;
/// Most bytes of a request but for the data of WRITE: an extended attribute with
/// its name is about 64 KiB.
const MAX_BODY: usize = 128 << 10;

/// A request, its parts as yet unread, and where the answer goes.
pub(super) struct Call<'a, 'm> {
    pub(super) header: InHeader,
    pub(super) body: &'a [u8],
    pub(super) out: &'a mut Vec<u8>,
    pub(super) chain: &'a Chain<'m>,
    pub(super) creds: &'a mut Creds,
    pub(super) spare: Spare<'a>,
    /// Bytes of the answer that lie in the guest's memory already.
    pub(super) direct: usize,
}

/// Copies a request out of the guest's memory; of WRITE all but the data.
pub(super) fn copy_body(
    header: &InHeader,
    chain: &Chain<'_>,
    body: &mut Vec<u8>,
) -> Result<(), Errno> {
    let len = header.len as usize;
    if len < HEADER || len > chain.readable_len() {
        return Err(Errno::INVAL);
    }
    let len = match header.opcode {
        op::WRITE => len.min(WRITE_DATA),
        _ if len > HEADER + MAX_BODY => return Err(Errno::TOOBIG),
        _ => len,
    } - HEADER;
    body.resize(len, 0);
    let got = chain.read(HEADER, body);
    body.truncate(got);
    Ok(())
}

impl<'a> Call<'a, '_> {
    /// Takes a structure.
    pub(super) fn take<T: FromBytes>(&mut self) -> Result<T, Errno> {
        let (value, rest) = T::read_from_prefix(self.body).map_err(|_| Errno::INVAL)?;
        self.body = rest;
        Ok(value)
    }

    /// Takes `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Errno> {
        let (bytes, rest) = self.body.split_at_checked(len).ok_or(Errno::INVAL)?;
        self.body = rest;
        Ok(bytes)
    }

    /// Takes a text that ends with a zero.
    pub(super) fn text(&mut self) -> Result<&'a CStr, Errno> {
        let text = CStr::from_bytes_until_nul(self.body).map_err(|_| Errno::INVAL)?;
        self.body = &self.body[text.count_bytes() + 1..];
        Ok(text)
    }

    /// Takes the name of an entry of a folder.
    pub(super) fn name(&mut self) -> Result<&'a CStr, Errno> {
        let name = self.text()?;
        match name.to_bytes() {
            b"" | b"." | b".." => Err(Errno::INVAL),
            bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
            bytes if bytes.len() > NAME_MAX => Err(Errno::NAMETOOLONG),
            _ => Ok(name),
        }
    }

    /// Adds a structure to the answer.
    pub(super) fn reply<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), Errno> {
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    /// Who asks.
    pub(super) fn caller(&self) -> (u32, u32) {
        (self.header.uid, self.header.gid)
    }

    /// Room for an answer behind its header.
    pub(super) fn room(&self) -> usize {
        self.chain.writable_len().saturating_sub(OUT_HEADER)
    }
}
