//! The control queue: how many queue pairs are in use.

use virtio_bindings::virtio_net as spec;

use crate::memory::Memory;
use crate::virtio::Broken;
use crate::virtio::queue::Chain;

/// Bytes of class and command.
const HEADER: usize = 2;

/// Reads a command and answers it; the number of queue pairs to use, if it was a
/// valid one about them.
pub(super) fn command(
    chain: &Chain,
    most: usize,
    memory: &Memory,
) -> Result<Option<usize>, Broken> {
    let mut bytes = [0; HEADER + 2];
    let len = chain.readable().read(memory, 0, &mut bytes);
    if len < HEADER || chain.writable().len() == 0 {
        return Err(Broken::Chain("has no room for a command and its answer"));
    }
    const PAIRS: [u8; HEADER] = [
        spec::VIRTIO_NET_CTRL_MQ as u8,
        spec::VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET as u8,
    ];
    let [class, number, low, high] = bytes;
    let pairs = usize::from(u16::from_le_bytes([low, high]));
    let valid = [class, number] == PAIRS && len == bytes.len() && (1..=most).contains(&pairs);
    let answer = if valid {
        spec::VIRTIO_NET_OK
    } else {
        spec::VIRTIO_NET_ERR
    };
    chain.writable().write(memory, 0, &[answer as u8]);
    Ok(valid.then_some(pairs))
}
