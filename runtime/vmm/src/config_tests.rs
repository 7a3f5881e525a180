use super::*;

fn config() -> VmConfig {
    VmConfig {
        kvm_fd: 3,
        kernel_fd: 4,
        initrd_fd: None,
        cmdline: "console=ttyS0".into(),
        memory_bytes: 128 << 20,
        vcpus: 1,
        disks: vec![Disk {
            segments: vec![
                Segment::Bytes(vec![7; 512]),
                Segment::File {
                    fd: 9,
                    offset: 0,
                    len: 1000,
                },
                Segment::Zero { len: 24 },
            ],
            readonly: true,
            serial: "layers".into(),
        }],
        vsock: Some(Vsock {
            cid: 3,
            listener_fd: Some(8),
            ports: vec![Port { port: 1024, fd: 7 }],
        }),
        nics: vec![Nic {
            queues: vec![10, 11],
            mac: [2, 0, 0, 0, 0, 0x1f],
            mtu: Some(1400),
        }],
        shares: Some(Share {
            socket_fd: 12,
            tag: "isola".into(),
            queues: 1,
        }),
        console: Console {
            output_fd: 1,
            input_fd: Some(9),
        },
        entropy: true,
        status_fd: None,
        control_fd: Some(5),
    }
}

fn share(config: &mut VmConfig) -> &mut Share {
    config.shares.as_mut().unwrap()
}

#[test]
fn a_sound_configuration_passes_and_survives_json() {
    let config = config();
    assert_eq!(config.validate(), Ok(()));
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains("\"bytes\":\"0707"));
    assert_eq!(serde_json::from_str::<VmConfig>(&text).unwrap(), config);
    assert_eq!(config.descriptors(), [1, 3, 4, 5, 7, 8, 9, 10, 11, 12]);
    assert!(text.contains("\"mac\":\"02000000001f\""));
    assert_eq!(config.device_count(), 5);
}

#[test]
fn what_makes_no_machine_is_refused() {
    type Change = fn(&mut VmConfig);
    let table: &[(Change, &str)] = &[
        (|c| c.memory_bytes = 4095 << 20 | 1, "multiple of 4096"),
        (|c| c.memory_bytes = 4096, "at least"),
        (|c| c.vcpus = 0, "vCPUs"),
        (|c| c.vcpus = 65, "vCPUs"),
        (|c| c.cmdline = "a\0b".into(), "command line"),
        (|c| c.cmdline = "a".repeat(2048), "command line"),
        (|c| c.disks = vec![c.disks[0].clone(); 17], "devices"),
        (|c| c.disks[0].readonly = false, "file segments only"),
        (
            |c| c.disks[0].segments.push(Segment::Zero { len: 1 }),
            "multiple of 512",
        ),
        (
            |c| c.disks[0].segments.push(Segment::Zero { len: 0 }),
            "empty",
        ),
        (|c| c.disks[0].segments.clear(), "above 0"),
        (
            |c| c.disks[0].segments.push(Segment::Zero { len: u64::MAX }),
            "overflows",
        ),
        (
            |c| {
                c.disks[0].segments[1] = Segment::File {
                    fd: 9,
                    offset: u64::MAX - 10,
                    len: 1000,
                }
            },
            "overflows",
        ),
        (|c| c.disks[0].serial = "x".repeat(21), "serial"),
        (|c| c.vsock.as_mut().unwrap().cid = 2, "context id"),
        (
            |c| {
                c.vsock
                    .as_mut()
                    .unwrap()
                    .ports
                    .push(Port { port: 1024, fd: 6 })
            },
            "twice",
        ),
        (|c| c.nics[0].queues.clear(), "1 to 16 queues"),
        (|c| c.nics[0].queues = (10..27).collect(), "1 to 16 queues"),
        (|c| c.nics[0].queues = vec![10, 10], "twice"),
        (|c| c.nics[0].mac = [0; 6], "no single device"),
        (|c| c.nics[0].mac[0] = 0xff, "no single device"),
        (|c| c.nics[0].mtu = Some(67), "MTU"),
        (|c| c.nics = vec![c.nics[0].clone(); 16], "devices"),
        (|c| c.nics[0].queues[1] = -7, "descriptor -7"),
        (|c| share(c).tag.clear(), "1 to 36"),
        (|c| share(c).tag = "x".repeat(37), "1 to 36"),
        (|c| share(c).tag = "a\0".into(), "1 to 36"),
        (|c| share(c).queues = 0, "1 to 16 queues"),
        (|c| share(c).queues = 17, "1 to 16 queues"),
        (|c| share(c).socket_fd = -3, "descriptor -3"),
        (|c| c.status_fd = Some(-1), "descriptor -1"),
    ];
    for (change, expected) in table {
        let mut config = config();
        change(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} has no {expected:?}");
    }
}

#[test]
fn only_the_whole_word_switches_acpi_off() {
    for (line, expected) in [
        ("quiet acpi=off panic=-1", true),
        ("acpi=off", true),
        ("", false),
        ("acpi=offline myacpi=off", false),
    ] {
        let config = VmConfig {
            cmdline: line.into(),
            ..config()
        };
        assert_eq!(config.without_acpi(), expected, "{line:?}");
    }
}
