//! Network device (virtio 1.2, section 5.1) on a tap device.
//!
//! Each queue pair is a [`Lane`] with a thread of its own, so that a flood keeps
//! nothing busy but that thread. The device itself does what happens seldom: it
//! starts and stops lanes and answers commands.

mod control;
mod features;
mod lane;
mod receive;
mod serve;
mod tap;
mod transmit;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net as spec;

use super::queue::Virtqueue;
use super::{Broken, Device, Work};
use crate::config::MAX_QUEUE_PAIRS;
use crate::memory::Memory;
use features::{Agreed, has};
use lane::Lane;
use tap::{Abilities, Tap};

pub(crate) use serve::Server;

/// Bytes of `struct virtio_net_hdr_v1`, in front of every packet.
const HEADER: usize = 12;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Longest packet: 64 KiB in an Ethernet frame with a VLAN tag, and the header.
const MAX_PACKET: usize = HEADER + ETHERNET + 4 + 65535;
/// Descriptors of a queue. A packet of 64 KiB takes 17 to 43 buffers of Linux.
const QUEUE_SIZE: u16 = 256;
/// Receiving and sending for each pair, then the control queue.
const QUEUES: [u16; 2 * MAX_QUEUE_PAIRS + 1] = [QUEUE_SIZE; _];

/// A network device.
#[derive(Debug)]
pub(crate) struct Net {
    name: String,
    config: [u8; 12],
    offered: u64,
    lanes: Vec<Arc<Lane>>,
    /// Where the driver has its control queue.
    control: Option<usize>,
}

impl Net {
    /// A device with this address on the queues of one tap device, at least one.
    ///
    /// # Errors
    /// A descriptor is no queue of a tap device, or its flags are others than those
    /// that [`crate::config::Nic`] names.
    pub(crate) fn new(queues: Vec<OwnedFd>, mac: [u8; 6], mtu: Option<u16>) -> io::Result<Net> {
        let many = queues.len() > 1;
        let taps: io::Result<Vec<Tap>> = queues.into_iter().map(|fd| Tap::new(fd, many)).collect();
        let taps = taps?;
        let abilities = taps.first().map_or(Ok(Abilities::default()), Tap::probe)?;
        Ok(Net::assemble(taps, abilities, mac, mtu))
    }

    fn assemble(taps: Vec<Tap>, abilities: Abilities, mac: [u8; 6], mtu: Option<u16>) -> Net {
        let pairs = taps.len();
        let [a, b, c, d, e, f] = mac;
        let lane = |(index, tap)| Arc::new(Lane::new(tap, index == 0));
        Net {
            name: format!("network device {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
            config: config(mac, pairs, mtu),
            offered: features::offered(pairs, mtu.is_some(), abilities),
            lanes: taps.into_iter().enumerate().map(lane).collect(),
            control: None,
        }
    }

    /// One for each queue pair.
    fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }

    /// Has no lane touch its queues any more.
    fn stop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.stop());
    }

    /// Whether and where a driver with these features has its control queue.
    fn control_queue(&self, features: u64) -> Option<usize> {
        let place = if has(features, spec::VIRTIO_NET_F_MQ) {
            2 * self.lanes.len()
        } else {
            2
        };
        has(features, spec::VIRTIO_NET_F_CTRL_VQ).then_some(place)
    }
}

/// `struct virtio_net_config` up to the MTU. The link is always up: what the tap
/// device is connected to is not known here.
fn config(mac: [u8; 6], pairs: usize, mtu: Option<u16>) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..6].copy_from_slice(&mac);
    bytes[6..8].copy_from_slice(&(spec::VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
    bytes[8..10].copy_from_slice(&(pairs as u16).to_le_bytes());
    bytes[10..].copy_from_slice(&mtu.unwrap_or(0).to_le_bytes());
    bytes
}

impl Device for Net {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn kind(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn features(&self) -> u64 {
        self.offered
    }

    fn queue_sizes(&self) -> &'static [u16] {
        let pairs = self.lanes.len().min(MAX_QUEUE_PAIRS);
        if pairs > 1 {
            &QUEUES[..2 * pairs + 1]
        } else {
            &QUEUES[..2]
        }
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn needed_queues(&self, features: u64) -> usize {
        let data = if has(features, spec::VIRTIO_NET_F_MQ) {
            2 * self.lanes.len()
        } else {
            2
        };
        self.control_queue(features)
            .map_or(data, |control| control + 1)
    }

    fn activate(&mut self, features: u64, queues: &[Virtqueue]) {
        let agreed = Agreed::new(features);
        self.control = self.control_queue(features);
        let data = self.control.unwrap_or(queues.len());
        let pairs = queues[..data].chunks_exact(2);
        // Until the driver says otherwise it uses the first pair.
        for (index, (lane, pair)) in self.lanes.iter().zip(pairs).enumerate() {
            lane.start(agreed, pair, index == 0);
        }
    }

    fn reset(&mut self) {
        self.stop();
        self.control = None;
        for lane in self.lanes.iter().skip(1) {
            lane.want(false);
        }
    }

    fn process(
        &mut self,
        queue: usize,
        queues: &mut [Virtqueue],
        memory: &Memory,
    ) -> Result<Work, Broken> {
        if self.control != Some(queue) {
            // The lanes' threads have the others.
            return Ok(Work::default());
        }
        queues[queue].drain(memory, |chain| {
            if let Some(pairs) = control::command(chain, self.lanes.len(), memory)? {
                for (index, lane) in self.lanes.iter().enumerate() {
                    lane.want(index < pairs);
                }
            }
            Ok(Some(1))
        })
    }
}

#[cfg(test)]
mod tests;
