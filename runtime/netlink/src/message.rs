//! One netlink message (netlink(7)): a header of 16 bytes, the family's fixed
//! header, attributes.

use netlink_bindings::utils::find_attr;
use rustix::io::Errno;

use crate::error::Refusal;

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG` of linux/netlink.h.
const ERROR_TEXT: u16 = 1;

/// A message to the kernel. Lengths and sequence numbers are filled in when it is
/// sent.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of the given type and `NLM_F_` flags whose payload begins with
    /// the family's fixed header.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Message {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        Message { bytes }
    }

    /// Where attributes are written, as the `Push` types of `netlink-bindings`
    /// want it.
    pub fn attributes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The finished bytes, padded to the alignment of a next message.
    pub(crate) fn finish(mut self, sequence: u32, flags: u16) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let all = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        self.bytes[6..8].copy_from_slice(&all.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// Splits what one recv(2) returned.
pub(crate) fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let payload = bytes.get(HEADER..length)?;
        let reply = Reply {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(reply)
    })
}

impl Reply<'_> {
    /// The outcome that an `NLMSG_ERROR` or `NLMSG_DONE` carries: a negative error
    /// number, for an error the header of the refused message, then attributes.
    pub(crate) fn outcome(&self) -> Result<(), Refusal> {
        let code = u32_at(self.payload, 0).map_or(0, |code| code as i32);
        if code >= 0 {
            return Ok(());
        }
        let mut text = String::new();
        if self.flags & libc::NLM_F_ACK_TLVS as u16 != 0 {
            let skip = if self.kind == libc::NLMSG_DONE as u16 {
                4
            } else if self.flags & libc::NLM_F_CAPPED as u16 != 0 {
                4 + HEADER
            } else {
                let refused = u32_at(self.payload, 4).unwrap_or(0) as usize;
                4 + refused.next_multiple_of(4)
            };
            let attributes = self.payload.get(skip..).unwrap_or_default();
            if let Some(words) = find_attr(attributes, ERROR_TEXT) {
                let words = words.split(|byte| *byte == 0).next().unwrap_or_default();
                text = String::from_utf8_lossy(words).into_owned();
            }
        }
        Err(Refusal {
            errno: Errno::from_raw_os_error(code.saturating_neg()),
            text,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_ne_bytes(word))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_ne_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_split_again() {
        let mut two = Message::new(7, 0, &[1, 2, 3]).finish(5, 4);
        two.extend(Message::new(8, 2, &[]).finish(6, 0));
        let all: Vec<_> = replies(&two).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].kind, all[0].sequence, all[0].payload),
            (7, 5, &[1_u8, 2, 3][..])
        );
        assert_eq!(all[0].flags, 4 | libc::NLM_F_REQUEST as u16);
        assert_eq!((all[1].kind, all[1].sequence), (8, 6));
    }

    #[test]
    fn a_cut_reply_ends_the_list() {
        let one = Message::new(7, 0, &[1, 2, 3, 4]).finish(1, 0);
        for end in 0..one.len() {
            assert_eq!(replies(&one[..end]).count(), 0, "{end}");
        }
        assert_eq!(replies(&[0; 32]).count(), 0, "a length of nothing");
    }

    #[test]
    fn the_kernels_words_are_found() {
        let mut payload = (-17_i32).to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        payload.extend([9, 0, 1, 0]);
        payload.extend(b"taken\0\0\0");
        let reply = Reply {
            kind: libc::NLMSG_ERROR as u16,
            flags: (libc::NLM_F_ACK_TLVS | libc::NLM_F_CAPPED) as u16,
            sequence: 1,
            payload: &payload,
        };
        let refusal = reply.outcome().unwrap_err();
        assert_eq!(refusal.errno, Errno::EXIST);
        assert_eq!(refusal.text, "taken");
        assert_eq!(
            refusal.of("add it").to_string(),
            "cannot add it: File exists (os error 17): taken"
        );
    }
}
