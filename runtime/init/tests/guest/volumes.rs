//! Disks beside the writable layer.

use isola_proto::spec::{Capabilities, MountSource, VOLUMES};
use isola_proto::{ExitStatus, Request};

use crate::machine::Machine;
use crate::parts::Parts;
use crate::{exit, guest_spec, hello, process, sandbox};

fn life(parts: &Parts, script: &str) -> String {
    let mut machine = Machine::start(parts);
    hello(&mut machine);
    let mut guest = guest_spec();
    guest.volumes = vec!["vdc".into()];
    machine.boot(guest).unwrap();
    let mut spec = sandbox(process(&["sh", "-c", script]));
    spec.root.mounts.push(isola_proto::spec::Mount {
        target: "/data".into(),
        source: MountSource::Bind {
            source: format!("{VOLUMES}/0"),
            recursive: true,
            propagation: "rprivate".into(),
        },
        readonly: false,
        nosuid: false,
        nodev: false,
        noexec: false,
    });
    spec.process.capabilities = Capabilities {
        bounding: vec!["CAP_MKNOD".into()],
        effective: vec!["CAP_MKNOD".into()],
        permitted: vec!["CAP_MKNOD".into()],
        ..Capabilities::default()
    };
    machine.request(&Request::Start { channel: 1, spec });
    assert_eq!(exit(&mut machine, 1), ExitStatus::Code(0));
    let text = machine.text(1);
    machine.request(&Request::Shutdown);
    machine.until_off();
    let console = machine.console();
    assert!(!console.contains("isola-agent:"), "{console}");
    parts.assert_clean();
    text
}

#[test]
fn a_volume_is_bound_and_keeps_what_is_written() {
    if std::env::var_os("ISOLA_TEST_PARTS").is_some() {
        eprintln!("SKIPPED: the parts that were brought along have no volume");
        return;
    }
    let Some(mut parts) = Parts::find() else {
        return;
    };
    parts.add_volume();
    let script = "echo kept > /data/file; chmod 4755 /data/file; mknod /data/null c 1 3 || exit 1; \
                  echo x > /data/null && echo a device; ls /run/isola; cat /proc/self/mounts";
    let text = life(&parts, script);
    let line = text.lines().find(|line| line.contains(" /data ")).unwrap();
    assert!(line.starts_with("/dev/vdc /data ext4 rw,nodev"), "{text}");
    assert!(!line.contains("nosuid"), "{text}");
    assert!(!text.contains("a device"), "{text}");
    assert_eq!(text.matches("/dev/vd").count(), 1, "{text}");
    let text = life(&parts, "cat /data/file; ls -l /data/file");
    assert!(text.starts_with("kept\n-rwsr-xr-x"), "{text}");
}

#[test]
fn volumes_and_shares_that_are_not_there_are_named() {
    for (volume, tag, word) in [
        (Some("../vdb"), None, "no name of a block device"),
        (Some("vda2"), None, "can't mount the ext4 on vda2"),
        (None, Some("a/b"), "no tag of a virtio-fs device"),
        (None, Some("isola"), "(isola): "),
    ] {
        let Some(parts) = Parts::find() else { return };
        let mut machine = Machine::start(&parts);
        hello(&mut machine);
        let mut guest = guest_spec();
        guest.volumes = volume.into_iter().map(String::from).collect();
        guest.shares = tag.map(String::from);
        let error = machine.boot(guest).unwrap_err();
        assert!(error.contains(word), "{error}");
        machine.request(&Request::Shutdown);
        machine.until_off();
        parts.assert_clean();
    }
}
