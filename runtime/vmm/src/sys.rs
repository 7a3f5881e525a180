//! The system calls that have no safe wrapper: taking over inherited
//! descriptors, closing the rest, and reading and writing guest memory without
//! a copy.
#![allow(unsafe_code)]

use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use kvm_ioctls::Kvm;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice};
use vmm_sys_util::eventfd::EventFd;

/// Most slices that one system call takes here (the kernel's limit is 1024).
pub(crate) const MAX_SLICES: usize = 256;

/// Takes over a descriptor that the parent left open.
///
/// The caller must call this once per descriptor number: it becomes the owner.
pub(crate) fn take_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_GETFD touches no memory; a number that is no
    // descriptor gives EBADF.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and no other value in this process owns it:
    // it came from the parent, and callers take each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Ends the process at once.
pub(crate) fn exit(code: u8) -> ! {
    // SAFETY: `_exit` takes no memory and does not return.
    unsafe { libc::_exit(code.into()) }
}

/// The descriptor of an event counter.
pub(crate) fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as the counter, which is borrowed as
    // long as the result.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// `/dev/kvm`, opened by somebody else.
pub(crate) fn kvm(fd: OwnedFd) -> Kvm {
    // SAFETY: ownership of an open descriptor passes over. That it is `/dev/kvm`
    // shows with the first ioctl, which fails on anything else.
    unsafe { Kvm::from_raw_fd(fd.into_raw_fd()) }
}

/// Closes every descriptor that is not in `keep`, which must be sorted.
pub(crate) fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let mut first: u32 = 0;
    let ranges = keep.iter().filter_map(|fd| u32::try_from(*fd).ok());
    for kept in ranges {
        if kept > first {
            close_range(first, kept - 1)?;
        }
        first = kept.saturating_add(1);
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: close_range touches no memory. The process owns no descriptor in the
    // range yet: this runs before any is taken over or made.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Reads at `offset` into guest memory; the number of bytes, which may be short.
pub(crate) fn read_at<B: BitmapSlice>(
    fd: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_, B>],
    offset: u64,
) -> io::Result<usize> {
    transfer(slices, true, |iov, count| {
        // SAFETY: `transfer` gives vectors that point to live guest memory.
        unsafe { libc::preadv(fd.as_raw_fd(), iov, count, offset as libc::off_t) }
    })
}

/// Writes guest memory at `offset`; the number of bytes, which may be short.
pub(crate) fn write_at<B: BitmapSlice>(
    fd: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_, B>],
    offset: u64,
) -> io::Result<usize> {
    transfer(slices, false, |iov, count| {
        // SAFETY: as in `read_at`.
        unsafe { libc::pwritev(fd.as_raw_fd(), iov, count, offset as libc::off_t) }
    })
}

/// Receives from a socket into guest memory without waiting.
pub(crate) fn receive<B: BitmapSlice>(
    fd: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_, B>],
) -> io::Result<usize> {
    transfer(slices, true, |iov, count| {
        let message = message(iov, count);
        // SAFETY: the message points to vectors of live guest memory and to nothing else.
        unsafe { libc::recvmsg(fd.as_raw_fd(), &mut { message }, libc::MSG_DONTWAIT) }
    })
}

/// Sends guest memory to a socket without waiting and without SIGPIPE.
pub(crate) fn send<B: BitmapSlice>(
    fd: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_, B>],
) -> io::Result<usize> {
    transfer(slices, false, |iov, count| {
        let message = message(iov, count);
        // SAFETY: as in `receive`.
        unsafe {
            libc::sendmsg(
                fd.as_raw_fd(),
                &message,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        }
    })
}

/// Reads one packet into memory; beyond [`MAX_SLICES`] slices it is cut.
pub(crate) fn read_packet<B: BitmapSlice>(
    fd: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_, B>],
) -> io::Result<usize> {
    transfer(slices, true, |iov, count| {
        // SAFETY: as in `read_at`.
        unsafe { libc::readv(fd.as_raw_fd(), iov, count) }
    })
}

/// Writes memory as one packet; beyond [`MAX_SLICES`] slices it is cut.
pub(crate) fn write_packet<B: BitmapSlice>(
    fd: BorrowedFd<'_>,
    slices: &[VolatileSlice<'_, B>],
) -> io::Result<usize> {
    transfer(slices, false, |iov, count| {
        // SAFETY: as in `read_at`.
        unsafe { libc::writev(fd.as_raw_fd(), iov, count) }
    })
}

fn message(iov: *const libc::iovec, count: libc::c_int) -> libc::msghdr {
    // SAFETY: zeros are a valid msghdr: no name, no vectors, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iov.cast_mut();
    message.msg_iovlen = count as usize;
    message
}

/// Makes vectors of the slices and hands them to `call`, again when a signal
/// interrupts it. The kernel copies; other threads and the guest may change the
/// memory meanwhile, which is why no Rust reference to it exists.
fn transfer<B: BitmapSlice>(
    slices: &[VolatileSlice<'_, B>],
    write_to_memory: bool,
    call: impl Fn(*const libc::iovec, libc::c_int) -> isize,
) -> io::Result<usize> {
    let count = slices.len().min(MAX_SLICES);
    let guards: Vec<_> = slices[..count]
        .iter()
        .map(|slice| slice.ptr_guard_mut())
        .collect();
    let vectors: Vec<libc::iovec> = guards
        .iter()
        .map(|guard| libc::iovec {
            iov_base: guard.as_ptr().cast(),
            iov_len: guard.len(),
        })
        .collect();
    loop {
        let done = call(vectors.as_ptr(), count as libc::c_int);
        if let Ok(done) = usize::try_from(done) {
            if write_to_memory {
                mark_dirty(slices, done);
            }
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn mark_dirty<B: BitmapSlice>(slices: &[VolatileSlice<'_, B>], mut bytes: usize) {
    for slice in slices {
        let here = bytes.min(slice.len());
        slice.bitmap().mark_dirty(0, here);
        bytes -= here;
    }
}

/// A file read by position, so that several processes may share the description.
pub(crate) struct Positioned<'a> {
    file: BorrowedFd<'a>,
    position: u64,
    size: u64,
}

impl<'a> Positioned<'a> {
    /// Starts at the beginning.
    pub(crate) fn new(file: BorrowedFd<'a>) -> io::Result<Positioned<'a>> {
        let size = rustix::fs::fstat(file)?.st_size;
        Ok(Positioned {
            file,
            position: 0,
            size: u64::try_from(size).unwrap_or(0),
        })
    }

    /// Size of the file in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = rustix::io::pread(self.file, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Positioned<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl ReadVolatile for Positioned<'_> {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        buffer: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        let slice = buffer.subslice(0, buffer.len())?;
        let count =
            read_at(self.file, &[slice], self.position).map_err(VolatileMemoryError::IOError)?;
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_positioned_file_leaves_the_shared_offset_alone() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut reader = Positioned::new(file.as_fd()).unwrap();
        assert_eq!(reader.size(), 10);
        reader.seek(SeekFrom::Start(4)).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "456789");
        assert!(reader.seek(SeekFrom::End(-11)).is_err());
        assert_eq!(file.stream_position().unwrap(), 10);
    }

    #[test]
    fn a_number_that_is_no_descriptor_is_refused() {
        assert_eq!(
            take_fd(987_654).unwrap_err().raw_os_error(),
            Some(libc::EBADF)
        );
    }
}
