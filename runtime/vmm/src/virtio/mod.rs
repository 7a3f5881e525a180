//! Virtio devices (OASIS virtio 1.2): the transport, queues, and the devices'
//! logic, which is tested without a machine.
//!
//! The guest is hostile: whatever it puts into a queue is checked before it is
//! used, and a queue that breaks a rule is not looked at again before a reset.

pub(crate) mod block;
pub(crate) mod mmio;
pub(crate) mod net;
pub(crate) mod queue;
pub(crate) mod rng;
pub(crate) mod share;
pub(crate) mod vsock;

use crate::memory::Memory;
use queue::Virtqueue;

/// Features that every device here has.
pub(crate) const COMMON_FEATURES: u64 = 1 << virtio_bindings::virtio_config::VIRTIO_F_VERSION_1
    | 1 << virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC
    | 1 << virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

/// How the driver broke the rules of a queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the available ring: {0}")]
    Ring(String),
    #[error("a descriptor chain {0}")]
    Chain(&'static str),
}

/// What came of processing a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Buffers were returned and the driver wants an interrupt.
    pub(crate) interrupt: bool,
    /// More is waiting than one turn may take.
    pub(crate) more: bool,
}

impl Work {
    pub(crate) fn and(self, other: Work) -> Work {
        Work {
            interrupt: self.interrupt | other.interrupt,
            more: self.more | other.more,
        }
    }
}

/// The logic of a device, apart from how the guest reaches it.
///
/// To save a device one needs its queues, the accepted features and what `reset`
/// clears; the transport holds the first two.
pub(crate) trait Device: Send {
    /// Name for messages.
    fn name(&self) -> String;
    /// Number of its type (virtio 1.2, chapter 5).
    fn kind(&self) -> u32;
    /// Features that are offered.
    fn features(&self) -> u64;
    /// Largest size of each queue.
    fn queue_sizes(&self) -> &'static [u16];
    /// Configuration space.
    fn config(&self) -> &[u8];
    /// How many of the queues, from the first on, a driver with these features must
    /// have set up.
    fn needed_queues(&self, _features: u64) -> usize {
        self.queue_sizes().len()
    }
    /// Whether somebody else raises the interrupt, for queues alone.
    fn interrupts_by_others(&self) -> bool {
        false
    }
    /// The driver is ready, accepted these features and set these queues up.
    fn activate(&mut self, features: u64, queues: &[Virtqueue]);
    /// The driver gave the device up: forget everything.
    fn reset(&mut self);
    /// The driver rang the bell of a queue.
    fn process(
        &mut self,
        queue: usize,
        queues: &mut [Virtqueue],
        memory: &Memory,
    ) -> Result<Work, Broken>;
}
