//! Messages of the machine's program.

use std::fs::File;
use std::io;
use std::sync::Arc;

use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut as Handler};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::{GuestAddress, GuestRegionMmap};

use super::queue::{Queue, Rings};
use super::{MAX_QUEUES, Memory, QUEUE_SIZE};
use crate::server::Server;

/// Most pieces of guest memory.
const MAX_REGIONS: u64 = 32;
const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << VIRTIO_RING_F_INDIRECT_DESC
    | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// What the machine's program has told.
pub(super) struct Backend {
    queues: Vec<Arc<Queue>>,
    regions: Vec<(VhostUserMemoryRegion, Arc<GuestRegionMmap>)>,
    memory: Arc<Memory>,
    features: u64,
}

impl Backend {
    /// A device that knows nothing yet.
    pub(super) fn new(server: Arc<Server>) -> Backend {
        Backend {
            queues: (0..MAX_QUEUES)
                .map(|_| Queue::new(server.clone()))
                .collect(),
            regions: Vec::new(),
            memory: Arc::new(Memory::new()),
            features: 0,
        }
    }

    fn queue(&self, index: impl TryInto<usize>) -> Result<&Arc<Queue>> {
        let index = index.try_into().unwrap_or(usize::MAX);
        self.queues.get(index).ok_or(Error::InvalidParam)
    }

    /// The guest's address of what lies at `address` in the machine's program.
    fn translate(&self, address: u64) -> Result<GuestAddress> {
        self.regions
            .iter()
            .find_map(|(region, _)| {
                let offset = address.checked_sub(region.user_addr)?;
                let inside = offset < region.memory_size;
                inside.then(|| GuestAddress(region.guest_phys_addr + offset))
            })
            .ok_or(Error::InvalidParam)
    }

    fn map(&mut self, region: &VhostUserMemoryRegion, file: File) -> Result<()> {
        if self.regions.len() as u64 >= MAX_REGIONS
            || region.user_addr.checked_add(region.memory_size).is_none()
        {
            return Err(Error::InvalidParam);
        }
        let mapped = region.mmap_region(file)?;
        let start = GuestAddress(region.guest_phys_addr);
        let mapped = GuestRegionMmap::new(mapped, start).ok_or(Error::InvalidParam)?;
        self.regions.push((*region, Arc::new(mapped)));
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let mut regions: Vec<_> = self
            .regions
            .iter()
            .map(|(_, region)| region.clone())
            .collect();
        regions.sort_by_key(|region| vm_memory::GuestMemoryRegion::start_addr(&**region));
        let memory = Memory::from_arc_regions(regions).map_err(other)?;
        self.memory = Arc::new(memory);
        for queue in &self.queues {
            queue.set_memory(self.memory.clone());
        }
        Ok(())
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::ReqHandlerError(io::Error::other(error))
}

/// Nothing of this was offered.
fn refused<T>() -> Result<T> {
    Err(Error::InvalidOperation("not offered"))
}

impl Handler for Backend {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        for queue in &self.queues {
            queue.stop();
        }
        self.features = 0;
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(FEATURES)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !FEATURES != 0 {
            return Err(Error::InvalidParam);
        }
        self.features = features;
        let event_index = features >> VIRTIO_RING_F_EVENT_IDX & 1 != 0;
        let enabled = features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0;
        for queue in &self.queues {
            queue.agree(event_index, enabled);
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _: Option<bool>,
    ) -> Result<Option<Vec<u64>>> {
        if regions.len() != files.len() {
            return Err(Error::InvalidParam);
        }
        self.regions.clear();
        for (region, file) in regions.iter().zip(files) {
            self.map(region, file)?;
        }
        self.publish().map(|()| None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num).map_err(|_| Error::InvalidParam)?;
        if size == 0 || size > QUEUE_SIZE || !size.is_power_of_two() {
            return Err(Error::InvalidParam);
        }
        self.queue(index)?.set_size(size);
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _: VhostUserVringAddrFlags,
        descriptors: u64,
        used: u64,
        available: u64,
        _: u64,
    ) -> Result<()> {
        let rings = Rings {
            descriptors: self.translate(descriptors)?,
            available: self.translate(available)?,
            used: self.translate(used)?,
        };
        self.queue(index)?.place(rings).map_err(other)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.queue(index)?.set_base(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let base = self.queue(index)?.stop();
        Ok(VhostUserVringState::new(index, base.into()))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        // Without one the device would have to poll.
        let fd = fd.ok_or(Error::InvalidParam)?;
        let queue = self.queue(index)?;
        queue.start(fd.into()).map_err(Error::ReqHandlerError)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.queue(index)?.set_call(fd.map(Into::into));
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, _: Option<File>) -> Result<()> {
        self.queue(index).map(drop)
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS)
    }

    fn set_protocol_features(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(MAX_QUEUES as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.queue(index)?.enable(enable);
        Ok(())
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MAX_REGIONS)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        _: Option<bool>,
    ) -> Result<Option<u64>> {
        self.map(region, file)?;
        self.publish().map(|()| None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        let known = self.regions.len();
        let (start, size) = (region.guest_phys_addr, region.memory_size);
        self.regions
            .retain(|(other, _)| (other.guest_phys_addr, other.memory_size) != (start, size));
        if self.regions.len() == known {
            return Err(Error::InvalidParam);
        }
        self.publish()
    }

    fn get_config(&mut self, _: u32, _: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        refused()
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        refused()
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        refused()
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        refused()
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        refused()
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        refused()
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        refused()
    }

    fn check_device_state(&mut self) -> Result<()> {
        refused()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        refused()
    }

    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> Result<()> {
        refused()
    }
}
