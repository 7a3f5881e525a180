//! The serial port. Bytes from the guest wait in a small buffer until the event
//! loop has written them; while it is full the writing vCPU waits, so a flood
//! costs the guest time and the host no memory.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vm_superio::Trigger;
use vm_superio::serial::{Serial, SerialEvents};
use vmm_sys_util::eventfd::EventFd;

/// Bytes that wait at most. vCPUs that write at the same moment may add one each.
const BUFFER: usize = 64 * 1024;
/// Offset of the register that takes and gives characters.
const DATA: u8 = 0;

/// The serial port with its buffer.
pub(crate) struct Console {
    serial: Mutex<Serial<Irq, Drained, Sink>>,
    output: Arc<Output>,
}

struct Irq(EventFd);

impl Trigger for Irq {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Tells the event loop that the guest took all input.
struct Drained(EventFd);

impl SerialEvents for Drained {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}
    fn in_buffer_empty(&self) {
        // It can only fail when the counter is full, and then the loop wakes anyway.
        let _ = self.0.write(1);
    }
}

struct Output {
    bytes: Mutex<VecDeque<u8>>,
    room: Condvar,
    filled: EventFd,
}

struct Sink(Arc<Output>);

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut bytes = lock(&self.0.bytes);
        if bytes.is_empty() {
            self.0.filled.write(1)?;
        }
        bytes.extend(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the event loop needs of a new console.
pub(crate) struct Wakers {
    /// Readable when output waits.
    pub(crate) filled: EventFd,
    /// Readable when the guest took all input.
    pub(crate) drained: EventFd,
}

impl Console {
    /// A serial port whose interrupt is `irq`.
    pub(crate) fn new(irq: EventFd) -> io::Result<(Console, Wakers)> {
        let filled = EventFd::new(libc::EFD_NONBLOCK)?;
        let drained = EventFd::new(libc::EFD_NONBLOCK)?;
        let wakers = Wakers {
            filled: filled.try_clone()?,
            drained: drained.try_clone()?,
        };
        let output = Arc::new(Output {
            bytes: Mutex::default(),
            room: Condvar::new(),
            filled,
        });
        let serial = Serial::with_events(Irq(irq), Drained(drained), Sink(output.clone()));
        Ok((
            Console {
                serial: Mutex::new(serial),
                output,
            },
            wakers,
        ))
    }

    /// Reads a register; called by vCPUs.
    pub(crate) fn read(&self, offset: u8) -> u8 {
        lock(&self.serial).read(offset)
    }

    /// Writes a register; called by vCPUs. Waits while the output buffer is full.
    pub(crate) fn write(&self, offset: u8, value: u8) {
        if offset == DATA {
            let bytes = lock(&self.output.bytes);
            let full = |bytes: &mut VecDeque<u8>| bytes.len() >= BUFFER;
            drop(
                self.output
                    .room
                    .wait_while(bytes, full)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
        // An interrupt that can't be raised is one that is already pending.
        let _ = lock(&self.serial).write(offset, value);
    }

    /// Bytes of input that fit now.
    pub(crate) fn input_room(&self) -> usize {
        lock(&self.serial).fifo_capacity()
    }

    /// Gives input to the guest; no more than [`Console::input_room`] bytes.
    pub(crate) fn input(&self, bytes: &[u8]) {
        let _ = lock(&self.serial).enqueue_raw_bytes(bytes);
    }

    /// Hands waiting output to `write` until there is none, `write` fails, or a
    /// buffer's worth was written: then true, for there may be more. `Ok(0)` from
    /// `write` means that it is to be dropped.
    pub(crate) fn flush(
        &self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let mut total = 0;
        loop {
            let mut bytes = lock(&self.output.bytes);
            if bytes.is_empty() || total >= BUFFER {
                return Ok(!bytes.is_empty());
            }
            // Only the event loop takes bytes away, so the copy stays the head of
            // the buffer while the lock is free for vCPUs.
            let head = bytes.as_slices().0.to_vec();
            if head.is_empty() {
                bytes.make_contiguous();
                continue;
            }
            drop(bytes);
            let done = match write(&head) {
                Ok(0) => head.len(),
                other => other?,
            };
            lock(&self.output.bytes).drain(..done);
            total += done;
            self.output.room.notify_all();
        }
    }
}

/// Takes a lock; a thread that panicked ends the process, so what it left does not
/// matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn console() -> (Arc<Console>, Wakers) {
        let (console, wakers) = Console::new(EventFd::new(libc::EFD_NONBLOCK).unwrap()).unwrap();
        (Arc::new(console), wakers)
    }

    #[test]
    fn output_comes_out_in_order() {
        let (console, wakers) = console();
        b"hello".iter().for_each(|byte| console.write(DATA, *byte));
        assert_eq!(wakers.filled.read().unwrap(), 1);
        let mut seen = Vec::new();
        console
            .flush(|bytes| {
                seen.push(bytes[0]);
                Ok(1)
            })
            .unwrap();
        assert_eq!(seen, b"hello");
    }

    #[test]
    fn a_flood_waits_for_the_reader() {
        let (console, _wakers) = console();
        let written = Arc::new(AtomicUsize::new(0));
        let total = 3 * BUFFER;
        let writer = std::thread::spawn({
            let (console, written) = (console.clone(), written.clone());
            move || {
                for _ in 0..total {
                    console.write(DATA, b'x');
                    written.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(written.load(Ordering::SeqCst), BUFFER);
        let mut read = 0;
        while read < total {
            console
                .flush(|bytes| {
                    read += bytes.len();
                    Ok(bytes.len())
                })
                .unwrap();
        }
        writer.join().unwrap();
    }

    #[test]
    fn input_is_bounded_and_asks_for_more() {
        let (console, wakers) = console();
        let room = console.input_room();
        console.input(&vec![b'a'; room]);
        assert_eq!(console.input_room(), 0);
        (0..room).for_each(|_| assert_eq!(console.read(DATA), b'a'));
        assert_eq!(wakers.drained.read().unwrap(), 1);
    }
}
