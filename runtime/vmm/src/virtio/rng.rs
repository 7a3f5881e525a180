//! Random numbers (virtio 1.2, section 5.4), from getrandom(2).

use rustix::rand::{GetRandomFlags, getrandom};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

use super::queue::Virtqueue;
use super::{Broken, COMMON_FEATURES, Device, Work};
use crate::memory::Memory;

/// Most bytes given for one request; the driver asks again for more.
const MAX_REQUEST: usize = 4096;

/// The random number device. It has no state.
#[derive(Debug, Default)]
pub(crate) struct Rng;

impl Device for Rng {
    fn name(&self) -> String {
        "random number device".into()
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn features(&self) -> u64 {
        COMMON_FEATURES
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[64]
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn activate(&mut self, _features: u64, _queues: &[Virtqueue]) {}

    fn reset(&mut self) {}

    fn process(
        &mut self,
        queue: usize,
        queues: &mut [Virtqueue],
        memory: &Memory,
    ) -> Result<Work, Broken> {
        queues[queue].drain(memory, |chain| {
            let mut bytes = [0; MAX_REQUEST];
            let wanted = chain.writable().len().min(MAX_REQUEST);
            if wanted == 0 {
                return Err(Broken::Chain("has no room for random numbers"));
            }
            // Short or failed reads give what there is; the driver reads the length.
            let got = getrandom(&mut bytes[..wanted], GetRandomFlags::empty()).unwrap_or(0);
            Ok(Some(chain.writable().write(memory, 0, &bytes[..got])))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::queue::testing::{Harness, w};

    #[test]
    fn requests_are_filled_up_to_a_limit() {
        let mut harness = Harness::new(Rng, &[16]);
        harness.add(0, &[w(0x1_0000, 32)]);
        harness.add(0, &[w(0x2_0000, 0x1_0000)]);
        let work = harness.kick(0).unwrap();
        assert!(work.interrupt);
        assert_eq!(harness.used(0), [(0, 32), (1, MAX_REQUEST as u32)]);
        assert_ne!(harness.bytes(0x1_0000, 32), [0; 32]);
        assert_eq!(harness.bytes(0x1_0020, 32), [0; 32]);
        assert_eq!(harness.bytes(0x2_1000, 32), [0; 32]);
    }

    #[test]
    fn a_request_without_room_breaks_the_queue() {
        let mut harness = Harness::new(Rng, &[16]);
        harness.add(0, &[crate::virtio::queue::testing::r(0x1_0000, 32)]);
        assert!(harness.kick(0).is_err());
    }
}
