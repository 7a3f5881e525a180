//! Switching off and resetting: the ACPI sleep registers, the PC's reset port, the
//! keyboard controller's reset line, and the power button.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;

use crate::boot::acpi::{RESET_VALUE, SLEEP_TYPE_OFF};
use crate::layout::{
    PORT_EVENTS, PORT_KEYBOARD, PORT_KEYBOARD_DATA, PORT_RESET, PORT_SLEEP_CONTROL,
    PORT_SLEEP_STATUS,
};
use crate::outcome::{Outcome, Report};

/// Bit of the sleep control register: go.
const SLEEP_ENABLE: u8 = 1 << 5;
/// Place of the sleep type in it.
const SLEEP_TYPE: u8 = 2;
/// Bit of the reset port: do it.
const RESET_NOW: u8 = 1 << 2;
/// Command of the keyboard controller that pulls the reset line.
const KEYBOARD_RESET: u8 = 0xfe;
/// Bit of the event port.
const POWER_BUTTON: u8 = 1;
/// Reads of the keyboard controller's status in a row after which it tells "ready".
///
/// There is no such controller: all ones is what says so, and drivers then give
/// up at once. But a kernel that resets through it waits up to 65,536 reads for a
/// free buffer without looking for the controller first.
const PATIENCE: u32 = 64;

/// Power management.
#[derive(Debug)]
pub(crate) struct Power {
    events: AtomicU8,
    status_reads: AtomicU32,
    irq: EventFd,
}

impl Power {
    /// `irq` raises the line of the generic event device.
    pub(crate) fn new(irq: EventFd) -> Power {
        Power {
            events: AtomicU8::new(0),
            status_reads: AtomicU32::new(0),
            irq,
        }
    }

    /// Presses the power button.
    pub(crate) fn press_button(&self) -> std::io::Result<()> {
        self.events.fetch_or(POWER_BUTTON, Ordering::SeqCst);
        self.irq.write(1)
    }

    /// Reads a port; `None` if it is not of this device.
    pub(crate) fn read(&self, port: u16) -> Option<u8> {
        match port {
            PORT_EVENTS => Some(self.events.swap(0, Ordering::SeqCst)),
            PORT_SLEEP_CONTROL | PORT_SLEEP_STATUS | PORT_RESET => Some(0),
            PORT_KEYBOARD_DATA => {
                self.status_reads.store(0, Ordering::Relaxed);
                None
            }
            PORT_KEYBOARD if self.status_reads.fetch_add(1, Ordering::Relaxed) >= PATIENCE => {
                Some(0)
            }
            _ => None,
        }
    }

    /// Writes a port; a report if that ends the machine.
    pub(crate) fn write(&self, port: u16, value: u8) -> Option<Report> {
        match port {
            PORT_SLEEP_CONTROL
                if value & SLEEP_ENABLE != 0 && value >> SLEEP_TYPE & 7 == SLEEP_TYPE_OFF =>
            {
                Some(Report::new(Outcome::PoweredOff, "the guest switched off"))
            }
            PORT_RESET if value & RESET_NOW & RESET_VALUE != 0 => Some(Report::new(
                Outcome::Reset,
                "the guest wrote to the reset port",
            )),
            PORT_KEYBOARD if value == KEYBOARD_RESET => Some(Report::new(
                Outcome::Reset,
                "the guest reset through the keyboard controller",
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power() -> Power {
        Power::new(EventFd::new(libc::EFD_NONBLOCK).unwrap())
    }

    #[test]
    fn ports_end_the_machine() {
        let table = [
            (PORT_SLEEP_CONTROL, 0x34, Some(Outcome::PoweredOff)),
            (PORT_SLEEP_CONTROL, 0x14, None),
            (PORT_SLEEP_CONTROL, 0x20, None),
            (PORT_RESET, 0x06, Some(Outcome::Reset)),
            (PORT_RESET, 0x02, None),
            (PORT_KEYBOARD, 0xfe, Some(Outcome::Reset)),
            (PORT_KEYBOARD, 0xd1, None),
            (0x80, 0xfe, None),
        ];
        for (port, value, expected) in table {
            let report = power().write(port, value);
            assert_eq!(
                report.map(|report| report.outcome),
                expected,
                "{value:#x} to {port:#x}"
            );
        }
    }

    #[test]
    fn the_button_is_seen_once() {
        let power = power();
        assert_eq!(power.read(PORT_EVENTS), Some(0));
        power.press_button().unwrap();
        assert_eq!(power.irq.read().unwrap(), 1);
        assert_eq!(power.read(PORT_EVENTS), Some(POWER_BUTTON));
        assert_eq!(power.read(PORT_EVENTS), Some(0));
    }

    #[test]
    fn the_absent_keyboard_controller_does_not_keep_a_reset_waiting() {
        let power = power();
        for _ in 0..PATIENCE {
            assert_eq!(power.read(PORT_KEYBOARD), None);
        }
        assert_eq!(power.read(PORT_KEYBOARD), Some(0));
        assert_eq!(power.read(PORT_KEYBOARD_DATA), None);
        assert_eq!(power.read(PORT_KEYBOARD), None);
    }
}
