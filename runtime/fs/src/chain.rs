//! A request's buffers: what the guest wrote for us, and where our answer goes.

use vm_memory::VolatileSlice;

/// Pieces of memory that others (the guest) may change at any time. Everything is
/// read once and copied before it is checked.
#[derive(Debug, Default)]
pub struct Chain<'m> {
    readable: Side<'m>,
    writable: Side<'m>,
}

#[derive(Debug, Default)]
struct Side<'m> {
    slices: Vec<VolatileSlice<'m>>,
    len: usize,
}

impl<'m> Side<'m> {
    fn push(&mut self, slice: VolatileSlice<'m>) {
        if !slice.is_empty() {
            self.len = self.len.saturating_add(slice.len());
            self.slices.push(slice);
        }
    }

    fn part(&self, mut offset: usize, mut len: usize) -> Vec<VolatileSlice<'m>> {
        let mut part = Vec::with_capacity(self.slices.len());
        for slice in &self.slices {
            if len == 0 {
                break;
            }
            if offset >= slice.len() {
                offset -= slice.len();
                continue;
            }
            let here = (slice.len() - offset).min(len);
            if let Ok(piece) = slice.subslice(offset, here) {
                part.push(piece);
            }
            len -= here;
            offset = 0;
        }
        part
    }
}

impl<'m> Chain<'m> {
    /// Adds a buffer to what is read.
    pub fn push_readable(&mut self, slice: VolatileSlice<'m>) {
        self.readable.push(slice);
    }

    /// Adds a buffer to what is written.
    pub fn push_writable(&mut self, slice: VolatileSlice<'m>) {
        self.writable.push(slice);
    }

    /// Bytes that can be read.
    pub fn readable_len(&self) -> usize {
        self.readable.len
    }

    /// Bytes that can be written.
    pub fn writable_len(&self) -> usize {
        self.writable.len
    }

    /// The memory behind `len` readable bytes from `offset` on.
    pub(crate) fn readable(&self, offset: usize, len: usize) -> Vec<VolatileSlice<'m>> {
        self.readable.part(offset, len)
    }

    /// The memory behind `len` writable bytes from `offset` on.
    pub(crate) fn writable(&self, offset: usize, len: usize) -> Vec<VolatileSlice<'m>> {
        self.writable.part(offset, len)
    }

    /// Copies readable bytes from `offset` on; the number of bytes.
    pub(crate) fn read(&self, mut offset: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in &self.readable.slices {
            if done == out.len() {
                break;
            }
            if offset >= slice.len() {
                offset -= slice.len();
                continue;
            }
            if let Ok(rest) = slice.offset(offset) {
                done += rest.copy_to(&mut out[done..]);
            }
            offset = 0;
        }
        done
    }

    /// Copies bytes to `offset` of the writable side; the number of bytes.
    pub(crate) fn write(&self, mut offset: usize, bytes: &[u8]) -> usize {
        let mut done = 0;
        for slice in &self.writable.slices {
            if done == bytes.len() {
                break;
            }
            if offset >= slice.len() {
                offset -= slice.len();
                continue;
            }
            if let Ok(rest) = slice.offset(offset) {
                let here = rest.len().min(bytes.len() - done);
                rest.copy_from(&bytes[done..done + here]);
                done += here;
            }
            offset = 0;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_run_on_over_the_pieces() {
        let (mut one, mut two, mut three) = (*b"abc", *b"defg", [0u8; 5]);
        let mut chain = Chain::default();
        chain.push_readable(VolatileSlice::from(&mut one[..]));
        chain.push_readable(VolatileSlice::from(&mut two[..]));
        chain.push_writable(VolatileSlice::from(&mut three[..]));
        assert_eq!((chain.readable_len(), chain.writable_len()), (7, 5));
        let mut out = [0; 4];
        assert_eq!(chain.read(2, &mut out), 4);
        assert_eq!(&out, b"cdef");
        assert_eq!(chain.read(6, &mut out), 1);
        assert_eq!(chain.read(7, &mut out), 0);
        assert_eq!(chain.readable(1, 4).len(), 2);
        assert_eq!(chain.readable(9, 4).len(), 0);
        assert_eq!(chain.write(3, b"xyz"), 2);
        assert_eq!(three, *b"\0\0\0xy");
    }
}
