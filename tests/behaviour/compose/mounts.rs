//! Mounts of services, each from the file to what is found within.

use isola_tests::{Env, behaviours};

use super::Stack;
use super::attributes::{Seen, check_seen, service};

behaviours![Every mounts_are_as_asked_for];

const MOUNTS: &[Seen] = &[
    (
        "- ./folder:/folder:ro",
        "cat /folder/a; touch /folder/b 2>&1 | grep -o 'Read-only file system'",
        "from the host\nRead-only file system",
    ),
    (
        "- {type: bind, source: ./folder/a, target: /etc/single, read_only: true}",
        "cat /etc/single",
        "from the host",
    ),
    (
        "- './made/here:/made'",
        "ls /made; touch /made/x && echo kept",
        "kept",
    ),
    (
        "- data:/data",
        "echo of the volume > /data/x; mkdir -p /data/sub; echo below > /data/sub/y; cat /data/x",
        "of the volume",
    ),
    (
        "- {type: volume, source: data, target: /again, read_only: true}",
        "cat /again/x; touch /again/z 2>&1 | grep -o 'Read-only file system'",
        "of the volume\nRead-only file system",
    ),
    ("- /unnamed", "touch /unnamed/x && echo fine", "fine"),
    (
        "- {type: tmpfs, target: /memory, tmpfs: {size: 2m, mode: 0750}}",
        "df -k /memory | tail -n 1 | awk '{print $2}'; stat -c %a /memory",
        "2048\n750",
    ),
    (
        "- {type: volume, source: filled, target: /bin/../home, volume: {nocopy: true}}",
        "ls -A /home | wc -l",
        "0",
    ),
    (
        "- './folder:/cached:cached'",
        "cat /cached/a",
        "from the host",
    ),
];

fn mounts_are_as_asked_for(env: &Env) {
    let mut text = service("aa", []);
    text.push_str("    init: true\n    volumes:\n");
    for (line, ..) in MOUNTS {
        text.push_str(&format!("      {line}\n"));
    }
    let text = format!(
        "services:
{text}  bb:
    image: box
    init: true
    command: sleep 1000
    volumes_from: ['aa:ro']
  cc:
    image: box
    init: true
    command: sleep 1000
    profiles: [later]
    volumes: [{{type: volume, source: data, target: /sub, volume: {{subpath: sub}}}}]
volumes:
  data: {{labels: {{whose: ours}}}}
  filled: {{name: filled-volume}}
"
    );
    let stack = Stack::new(env, &text);
    stack.put("folder/a", "from the host\n");
    stack.run(&["up", "-d"]).ok();
    check_seen(&stack, "aa", MOUNTS);
    assert!(env.files().join("proj/made/here/x").is_file());
    let from = [
        (
            "volumes_from",
            "cat /data/x; cat /folder/a",
            "of the volume\nfrom the host",
        ),
        (
            "volumes_from: ro",
            "touch /data/z 2>&1 | grep -o 'Read-only file system'",
            "Read-only file system",
        ),
    ];
    check_seen(&stack, "bb", &from);
    stack.run(&["up", "-d", "cc"]).ok();
    check_seen(&stack, "cc", &[("subpath", "cat /sub/y", "below")]);
    let volume = |name: &str, template: &str| {
        let words = ["volume", "inspect", "--format", template, name];
        env.isola(words).ok().stdout.trim().to_owned()
    };
    assert_eq!(volume("proj_data", "{{.Labels.whose}}"), "ours");
    assert_eq!(volume("filled-volume", "{{.Name}}"), "filled-volume");
    stack.down();
}
