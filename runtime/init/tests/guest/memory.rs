//! A guest whose RAM is used up.

use isola_proto::{Event, ExitStatus, Request};

use crate::machine::Machine;
use crate::parts::{Kernel, Parts};
use crate::{booted, exec, process, sandbox};

#[test]
fn a_guest_that_runs_out_of_memory_says_so() {
    for kernel in Kernel::all() {
        let Some(parts) = Parts::of(kernel) else {
            return;
        };
        let mut machine = booted(&parts);
        machine.request(&Request::Start {
            channel: 1,
            spec: sandbox(process(&["sleep", "1000"])),
        });
        exec(&mut machine, 2, process(&["true"]));
        let oom = |machine: &mut Machine, channel| {
            machine.event(|event| match event {
                Event::Exited {
                    channel: of,
                    status,
                    oom_killed,
                } if *of == channel => Some((*status, *oom_killed)),
                _ => None,
            })
        };
        assert_eq!(oom(&mut machine, 2), (ExitStatus::Code(0), false));
        // The first holds its memory for good, since nobody reads from it. Which of
        // the two is killed is the kernel's choice.
        let script = "dd if=/dev/zero bs=150M count=1 2>&- | sleep 1000 >&- 2>&- & \
                      exec dd if=/dev/zero of=/dev/null bs=150M count=4";
        exec(&mut machine, 3, process(&["sh", "-c", script]));
        assert!(oom(&mut machine, 3).1, "{}", machine.console());
        machine.request(&Request::Shutdown);
        machine.until_off();
    }
}
