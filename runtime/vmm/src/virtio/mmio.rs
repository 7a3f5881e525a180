//! The transport over memory mapped registers, version 2 (virtio 1.2, section
//! 4.2.2), the same for every device.
//!
//! Registers are read and written by vCPUs, queues are processed by the thread
//! that owns the device. One lock covers both, so that a reset waits for what is
//! under way. The interrupt registers, which are touched with every interrupt,
//! need no lock.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio as reg;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::QueueT;
use vmm_sys_util::eventfd::EventFd;

use super::queue::Virtqueue;
use super::{Broken, Device, Work};
use crate::devices::Registers;
use crate::memory::Memory;

/// "virt".
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// Any number: there is no registry. "isol".
const VENDOR: u32 = 0x6c6f_7369;
/// Start of the device's own configuration space.
const CONFIG: u64 = reg::VIRTIO_MMIO_CONFIG as u64;
const SHM_LEN_LOW: u32 = 0x0b0;
const SHM_BASE_HIGH: u32 = 0x0bc;

/// A device behind its registers.
pub(crate) struct Transport<D> {
    memory: Memory,
    interrupt: Interrupt,
    bells: Vec<EventFd>,
    inner: Mutex<Inner<D>>,
}

/// The interrupt line with its two registers.
struct Interrupt {
    status: AtomicU32,
    /// Causes that are always shown: others raise the line for them.
    standing: u32,
    line: EventFd,
}

/// All state of a device that a guest can change.
struct Inner<D> {
    device: D,
    queues: Vec<Virtqueue>,
    status: u32,
    accepted: u64,
    device_features_page: u32,
    driver_features_page: u32,
    queue: u32,
    warned: bool,
}

impl Interrupt {
    fn raise(&self, cause: u32) {
        self.status.fetch_or(cause, Ordering::SeqCst);
        // Fails only when the counter is full: then the line is up already.
        let _ = self.line.write(1);
    }
}

impl<D: Device> Transport<D> {
    /// Puts a device behind registers; `line` raises its interrupt. The bells block
    /// when read, or not, as `bell_flags` (eventfd(2)) say.
    pub(crate) fn new(
        device: D,
        memory: Memory,
        line: EventFd,
        bell_flags: i32,
    ) -> io::Result<Transport<D>> {
        let sizes = device.queue_sizes();
        let standing = if device.interrupts_by_others() {
            reg::VIRTIO_MMIO_INT_VRING
        } else {
            0
        };
        let queues: Result<Vec<_>, _> = sizes.iter().map(|size| Virtqueue::new(*size)).collect();
        let bells: Result<Vec<_>, _> = sizes.iter().map(|_| EventFd::new(bell_flags)).collect();
        Ok(Transport {
            memory,
            interrupt: Interrupt {
                status: AtomicU32::new(0),
                standing,
                line,
            },
            bells: bells?,
            inner: Mutex::new(Inner {
                device,
                queues: queues.map_err(io::Error::other)?,
                status: 0,
                accepted: 0,
                device_features_page: 0,
                driver_features_page: 0,
                queue: 0,
                warned: false,
            }),
        })
    }

    /// The bell of each queue: KVM rings it when the driver writes the queue's
    /// number to the notification register.
    pub(crate) fn bells(&self) -> &[EventFd] {
        &self.bells
    }

    /// Processes a queue after its bell rang.
    pub(crate) fn ring(&self, queue: usize) {
        let more = self.with(|device, queues, memory| device.process(queue, queues, memory));
        if more {
            // The rest comes in the next turn.
            let _ = self.bells[queue].write(1);
        }
    }

    /// Lets the device touch its queues; does nothing when the driver is not ready
    /// or has broken a queue. True when `work` left something for another turn.
    pub(crate) fn with(
        &self,
        work: impl FnOnce(&mut D, &mut [Virtqueue], &Memory) -> Result<Work, Broken>,
    ) -> bool {
        let mut inner = self.lock();
        if !inner.is_live() {
            return false;
        }
        let Inner { device, queues, .. } = &mut *inner;
        match work(device, queues, &self.memory) {
            Ok(done) => {
                if done.interrupt {
                    self.interrupt.raise(reg::VIRTIO_MMIO_INT_VRING);
                }
                done.more
            }
            Err(broken) => {
                self.stop(&mut inner, &broken.to_string());
                false
            }
        }
    }

    /// The interrupt line.
    pub(crate) fn line(&self) -> &EventFd {
        &self.interrupt.line
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Raises the interrupt for a device that serves queues by itself.
    pub(crate) fn interrupt(&self) {
        self.interrupt.raise(reg::VIRTIO_MMIO_INT_VRING);
    }

    /// Stops the device because the driver broke a queue that the device serves by
    /// itself; `halt` ends that.
    pub(crate) fn fail(&self, broken: &Broken, halt: impl FnOnce(&mut D)) {
        let mut inner = self.lock();
        if inner.is_live() {
            halt(&mut inner.device);
            self.stop(&mut inner, &broken.to_string());
        }
    }

    /// Calls `look` with the device itself, whatever state the driver is in.
    pub(crate) fn device<T>(&self, look: impl FnOnce(&mut D) -> T) -> T {
        look(&mut self.lock().device)
    }

    /// Marks the device as in need of a reset, and says so once.
    fn stop(&self, inner: &mut Inner<D>, why: &str) {
        inner.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        if !inner.warned {
            inner.warned = true;
            eprintln!(
                "isola-vmm: {}: stopped until the guest resets it: {why}",
                inner.device.name()
            );
        }
        self.interrupt.raise(reg::VIRTIO_MMIO_INT_CONFIG);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<D>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_register(&self, offset: u32) -> u32 {
        if offset == reg::VIRTIO_MMIO_INTERRUPT_STATUS {
            return self.interrupt.status.load(Ordering::SeqCst) | self.interrupt.standing;
        }
        let inner = self.lock();
        match offset {
            reg::VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            reg::VIRTIO_MMIO_VERSION => VERSION,
            reg::VIRTIO_MMIO_DEVICE_ID => inner.device.kind(),
            reg::VIRTIO_MMIO_VENDOR_ID => VENDOR,
            reg::VIRTIO_MMIO_DEVICE_FEATURES => match inner.device_features_page {
                0 => inner.device.features() as u32,
                1 => (inner.device.features() >> 32) as u32,
                _ => 0,
            },
            reg::VIRTIO_MMIO_QUEUE_NUM_MAX => inner
                .selected()
                .map_or(0, |queue| queue.ring.max_size().into()),
            reg::VIRTIO_MMIO_QUEUE_READY => inner
                .selected()
                .map_or(0, |queue| queue.ring.ready().into()),
            reg::VIRTIO_MMIO_STATUS => inner.status,
            // No shared memory regions: length and base are all ones.
            SHM_LEN_LOW..=SHM_BASE_HIGH => u32::MAX,
            // Configuration never changes, so neither does its generation (0).
            _ => 0,
        }
    }

    fn write_register(&self, offset: u32, value: u32) {
        if offset == reg::VIRTIO_MMIO_INTERRUPT_ACK {
            self.interrupt.status.fetch_and(!value, Ordering::SeqCst);
            return;
        }
        if offset == reg::VIRTIO_MMIO_QUEUE_NOTIFY {
            // KVM rings the bells itself; this is for writes of another width.
            if let Some(bell) = self.bells.get(value as usize) {
                let _ = bell.write(1);
            }
            return;
        }
        let mut inner = self.lock();
        match offset {
            reg::VIRTIO_MMIO_DEVICE_FEATURES_SEL => inner.device_features_page = value,
            reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL => inner.driver_features_page = value,
            reg::VIRTIO_MMIO_DRIVER_FEATURES => inner.accept_features(value),
            reg::VIRTIO_MMIO_QUEUE_SEL => inner.queue = value,
            reg::VIRTIO_MMIO_STATUS => self.write_status(&mut inner, value),
            _ => inner.configure_queue(offset, value),
        }
    }

    fn write_status(&self, inner: &mut Inner<D>, value: u32) {
        if value == 0 {
            inner.reset();
            self.interrupt.status.store(0, Ordering::SeqCst);
            return;
        }
        // Bits are only added, and only by the driver's own.
        let known = VIRTIO_CONFIG_S_ACKNOWLEDGE
            | VIRTIO_CONFIG_S_DRIVER
            | VIRTIO_CONFIG_S_FEATURES_OK
            | VIRTIO_CONFIG_S_DRIVER_OK
            | VIRTIO_CONFIG_S_FAILED;
        let mut added = value & known & !inner.status;
        if added & VIRTIO_CONFIG_S_FEATURES_OK != 0 && !inner.features_acceptable() {
            added &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        inner.status |= added;
        if added & VIRTIO_CONFIG_S_DRIVER_OK == 0 {
            return;
        }
        match inner.activate(&self.memory) {
            // Chains may be there already, and their bells may have rung too early.
            Ok(()) => self.bells.iter().for_each(|bell| drop(bell.write(1))),
            Err(why) => self.stop(inner, why),
        }
    }
}

impl<D: Device> Inner<D> {
    /// Whether queues may be processed.
    fn is_live(&self) -> bool {
        self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0
            && self.status & (VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED) == 0
    }

    fn selected(&self) -> Option<&Virtqueue> {
        self.queues.get(self.queue as usize)
    }

    fn accept_features(&mut self, value: u32) {
        if self.status & VIRTIO_CONFIG_S_FEATURES_OK != 0 {
            return;
        }
        let (mask, value) = match self.driver_features_page {
            0 => (0xffff_ffff, u64::from(value)),
            1 => (0xffff_ffff << 32, u64::from(value) << 32),
            _ => return,
        };
        self.accepted = self.accepted & !mask | value;
    }

    fn features_acceptable(&self) -> bool {
        self.accepted & !self.device.features() == 0 && self.accepted >> VIRTIO_F_VERSION_1 & 1 != 0
    }

    /// Takes a queue's registers, before the driver is ready only.
    fn configure_queue(&mut self, offset: u32, value: u32) {
        if self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            return;
        }
        let Some(queue) = self.queues.get_mut(self.queue as usize) else {
            return;
        };
        let ring = &mut queue.ring;
        match offset {
            // A size or address that can't be is not taken; `activate` then fails or
            // the driver finds its queue elsewhere.
            reg::VIRTIO_MMIO_QUEUE_NUM => ring.set_size(u16::try_from(value).unwrap_or(0)),
            reg::VIRTIO_MMIO_QUEUE_READY => ring.set_ready(value == 1),
            reg::VIRTIO_MMIO_QUEUE_DESC_LOW => ring.set_desc_table_address(Some(value), None),
            reg::VIRTIO_MMIO_QUEUE_DESC_HIGH => ring.set_desc_table_address(None, Some(value)),
            reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW => ring.set_avail_ring_address(Some(value), None),
            reg::VIRTIO_MMIO_QUEUE_AVAIL_HIGH => ring.set_avail_ring_address(None, Some(value)),
            reg::VIRTIO_MMIO_QUEUE_USED_LOW => ring.set_used_ring_address(Some(value), None),
            reg::VIRTIO_MMIO_QUEUE_USED_HIGH => ring.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn activate(&mut self, memory: &Memory) -> Result<(), &'static str> {
        if self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 {
            return Err("the driver did not agree on features");
        }
        let event_index = self.accepted >> VIRTIO_RING_F_EVENT_IDX & 1 != 0;
        let needed = self.device.needed_queues(self.accepted);
        for queue in self.queues.iter_mut().take(needed) {
            if !queue.ring.is_valid(memory) || queue.ring.avail_ring() == 0 {
                return Err("a queue lies outside of memory or was not set up");
            }
            queue.ring.set_event_idx(event_index);
        }
        self.device.activate(self.accepted, &self.queues[..needed]);
        Ok(())
    }

    fn reset(&mut self) {
        self.device.reset();
        self.queues.iter_mut().for_each(|queue| queue.ring.reset());
        self.status = 0;
        self.accepted = 0;
        self.device_features_page = 0;
        self.driver_features_page = 0;
        self.queue = 0;
    }
}

impl<D: Device> Registers for Transport<D> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(start) = offset.checked_sub(CONFIG) {
            let inner = self.lock();
            let config = inner.device.config().iter().skip(start as usize);
            data.iter_mut()
                .zip(config)
                .for_each(|(to, from)| *to = *from);
        } else if let (Ok(data), 0) = (<&mut [u8; 4]>::try_from(data), offset % 4) {
            *data = self.read_register(offset as u32).to_le_bytes();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        // No device here has configuration that a driver may write.
        if let (Ok(data), 0) = (<[u8; 4]>::try_from(data), offset % 4)
            && offset < CONFIG
        {
            self.write_register(offset as u32, u32::from_le_bytes(data));
        }
    }
}

#[cfg(test)]
#[path = "mmio_tests.rs"]
mod tests;
