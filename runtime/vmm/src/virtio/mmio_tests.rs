use super::*;
use crate::memory;
use crate::virtio::rng::Rng;
use vm_memory::{Bytes, GuestAddress};

fn transport() -> Transport<Rng> {
    let line = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    Transport::new(
        Rng,
        memory::allocate(2 << 20, false).unwrap(),
        line,
        libc::EFD_NONBLOCK,
    )
    .unwrap()
}

fn read(transport: &Transport<Rng>, offset: u32) -> u32 {
    let mut data = [0; 4];
    transport.read(offset.into(), &mut data);
    u32::from_le_bytes(data)
}

fn write(transport: &Transport<Rng>, offset: u32, value: u32) {
    transport.write(offset.into(), &value.to_le_bytes());
}

fn set_up(transport: &Transport<Rng>, queue_base: u32) {
    write(transport, reg::VIRTIO_MMIO_STATUS, 0);
    write(transport, reg::VIRTIO_MMIO_STATUS, 3);
    write(transport, reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    write(transport, reg::VIRTIO_MMIO_DRIVER_FEATURES, 1);
    write(transport, reg::VIRTIO_MMIO_STATUS, 0xb);
    write(transport, reg::VIRTIO_MMIO_QUEUE_SEL, 0);
    write(transport, reg::VIRTIO_MMIO_QUEUE_NUM, 16);
    write(transport, reg::VIRTIO_MMIO_QUEUE_DESC_LOW, queue_base);
    write(
        transport,
        reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW,
        queue_base + 0x1000,
    );
    write(
        transport,
        reg::VIRTIO_MMIO_QUEUE_USED_LOW,
        queue_base + 0x2000,
    );
    write(transport, reg::VIRTIO_MMIO_QUEUE_READY, 1);
}

#[test]
fn a_driver_brings_the_device_up_and_gets_its_buffer_back() {
    let transport = transport();
    assert_eq!(
        read(&transport, reg::VIRTIO_MMIO_MAGIC_VALUE).to_le_bytes(),
        *b"virt"
    );
    assert_eq!(read(&transport, reg::VIRTIO_MMIO_VERSION), 2);
    assert_eq!(read(&transport, reg::VIRTIO_MMIO_DEVICE_ID), 4);
    assert_eq!(read(&transport, reg::VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
    set_up(&transport, 0x1000);
    assert_eq!(read(&transport, reg::VIRTIO_MMIO_STATUS), 0xb);
    // A writable buffer of 8 bytes at 0x8000, available.
    let put = |at: u64, bytes: &[u8]| {
        transport
            .memory
            .write_slice(bytes, GuestAddress(at))
            .unwrap()
    };
    put(0x1000, &0x8000u64.to_le_bytes());
    put(0x1008, &8u32.to_le_bytes());
    put(0x100c, &2u16.to_le_bytes());
    put(0x2002, &1u16.to_le_bytes());
    transport.ring(0);
    assert_eq!(
        read(&transport, reg::VIRTIO_MMIO_INTERRUPT_STATUS),
        0,
        "processed before DRIVER_OK"
    );
    write(&transport, reg::VIRTIO_MMIO_STATUS, 0xf);
    assert_eq!(transport.bells()[0].read().unwrap(), 1);
    transport.ring(0);
    assert_eq!(read(&transport, reg::VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    write(&transport, reg::VIRTIO_MMIO_INTERRUPT_ACK, 1);
    assert_eq!(read(&transport, reg::VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    assert_eq!(transport.interrupt.line.read().unwrap(), 1);
    let used: u16 = transport.memory.read_obj(GuestAddress(0x3002)).unwrap();
    assert_eq!(used, 1);
}

#[test]
fn features_that_were_not_offered_are_not_accepted() {
    let transport = transport();
    for (low, high) in [(1, 1), (0, 0), (0, 3)] {
        write(&transport, reg::VIRTIO_MMIO_STATUS, 0);
        write(&transport, reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
        write(&transport, reg::VIRTIO_MMIO_DRIVER_FEATURES, low);
        write(&transport, reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        write(&transport, reg::VIRTIO_MMIO_DRIVER_FEATURES, high);
        write(&transport, reg::VIRTIO_MMIO_STATUS, 0xb);
        assert_eq!(
            read(&transport, reg::VIRTIO_MMIO_STATUS),
            3,
            "{low:#x} {high:#x}"
        );
    }
}

#[test]
fn queues_outside_of_memory_stop_the_device_until_a_reset() {
    let transport = transport();
    for base in [0x7fff_0000, (2 << 20) - 0x2000] {
        set_up(&transport, base);
        write(&transport, reg::VIRTIO_MMIO_STATUS, 0xf);
        assert_eq!(
            read(&transport, reg::VIRTIO_MMIO_STATUS),
            0x4f,
            "base {base:#x}"
        );
        assert_eq!(read(&transport, reg::VIRTIO_MMIO_INTERRUPT_STATUS), 2);
        transport.ring(0);
    }
    set_up(&transport, 0x1000);
    write(&transport, reg::VIRTIO_MMIO_STATUS, 0xf);
    assert_eq!(read(&transport, reg::VIRTIO_MMIO_STATUS), 0xf);
}

#[test]
fn odd_accesses_do_nothing() {
    let transport = transport();
    for (offset, len) in [
        (0, 1),
        (1, 4),
        (2, 2),
        (0x70, 8),
        (0xffc, 8),
        (0xfff, 1),
        (0x103, 4),
    ] {
        let mut data = vec![0xaa; len];
        transport.read(offset, &mut data);
        assert_eq!(data, vec![0; len], "read of {len} at {offset:#x}");
        transport.write(offset, &data);
    }
    write(&transport, reg::VIRTIO_MMIO_QUEUE_SEL, u32::MAX);
    assert_eq!(read(&transport, reg::VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    write(&transport, reg::VIRTIO_MMIO_QUEUE_NUM, u32::MAX);
    write(&transport, reg::VIRTIO_MMIO_QUEUE_NOTIFY, u32::MAX);
}
