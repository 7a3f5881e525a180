//! Whole values, as they go to `isola-init`.

use isola_proto::spec::{SandboxSpec, TermSize};

use super::*;

/// A specification as JSON, with the filter's length in the filter's place.
fn show(spec: &SandboxSpec) -> String {
    let mut value = serde_json::to_value(spec).unwrap();
    let seccomp = &mut value["process"]["seccomp"];
    *seccomp = format!(
        "{} instructions",
        if seccomp.as_array().unwrap().is_empty() {
            "no"
        } else {
            "some"
        }
    )
    .into();
    serde_json::to_string_pretty(&value).unwrap()
}

fn surroundings() -> Surroundings {
    Surroundings {
        hosts: "127.0.0.1 localhost metal".to_owned(),
        resolv_conf: "nameserver 192.0.2.1\n".to_owned(),
        terminal: TermSize { rows: 24, cols: 80 },
        addresses: Vec::new(),
        nameservers: Vec::new(),
        host_gateway: None,
        sources: Vec::new(),
    }
}

/// With a link to a network.
fn linked() -> Surroundings {
    let addresses = ["172.20.0.2", "fd00::2"].map(|text| text.parse().unwrap());
    Surroundings {
        addresses: addresses.into(),
        nameservers: vec!["172.20.0.1".parse().unwrap()],
        host_gateway: "172.20.0.1".parse().ok(),
        resolv_conf: "search example.org\nnameserver 192.0.2.1\n".to_owned(),
        ..surroundings()
    }
}

#[test]
fn a_container_on_a_network_with_volumes() {
    let options = options(
        r#"{"hostname":"web","add-host":["up:host-gateway"],"dns-option":["ndots:2"],
        "volume":["data:/d/e:ro","/srv:/d"],"mount":["type=volume,src=logs,dst=/l,volume-subpath=a"]}"#,
    );
    let workload = container(&options).unwrap();
    let found = ["/run/isola/shares/0", "/srv", "/run/isola/shares/1/a"];
    let surroundings = Surroundings {
        sources: found.map(|path| Some(path.to_owned())).into(),
        ..linked()
    };
    let spec = sandbox_spec(&workload, &surroundings);
    insta::assert_snapshot!(serde_json::to_string_pretty(&spec.root).unwrap());
}

#[test]
fn a_plain_container() {
    let workload = container(&Options::default()).unwrap();
    insta::assert_snapshot!(show(&sandbox_spec(&workload, &surroundings())));
}

#[test]
fn a_container_with_much_said() {
    let workload = container(&options(
        r#"{"privileged":true,"network":["host"],"tty":true,"interactive":true,"init":true,"read-only":true,
        "add-host":["db:10.0.0.5"],"volume":["/srv:/a/b/c:ro","/srv:/sys","/srv:/etc/hostname"],
        "tmpfs":["/a","/dev/shm:size=1m"],"domainname":"lan","oom-score-adj":7,"cap-drop":["MKNOD"]}"#,
    ));
    insta::assert_snapshot!(show(&sandbox_spec(&workload.unwrap(), &surroundings())));
}

#[test]
fn a_guest_differs_by_its_data_only() {
    let options = Options::default();
    let container = sandbox_spec(&container(&options).unwrap(), &surroundings());
    let mut guest = sandbox_spec(&behind(Isolation::Vm, &options).unwrap(), &surroundings());
    assert_eq!(
        guest,
        sandbox_spec(
            &behind(Isolation::Emulated, &options).unwrap(),
            &surroundings()
        )
    );
    // The host's own hard limit does not bound a guest.
    guest.process.rlimits.clone_from(&container.process.rlimits);
    assert_eq!(guest, container);
}
