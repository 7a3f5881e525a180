//! Images: made, named, saved, loaded, removed, and broken ones refused.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use isola_tests::{Env, Ledger, Output, behaviours, busybox_layer};

behaviours![
    Once saved_and_loaded_images_are_the_same,
    Once import_takes_instructions,
    Once names_and_removal,
    Once an_image_in_use_stays,
    Once unknown_images_are_an_error,
    Once broken_archives_are_refused,
    Once a_flipped_bit_is_found,
    Once a_flipped_bit_in_a_layer_is_found,
    Once a_full_disk_leaves_nothing,
];

fn id(env: &Env, image: &str) -> String {
    let words = ["inspect", "--type", "image", "--format", "{{.Id}}", image];
    env.isola(words).ok().stdout
}

fn names(env: &Env) -> String {
    let words = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    env.isola(words).ok().stdout
}

fn saved_and_loaded_images_are_the_same(env: &Env) {
    let file = env.files().join("box.tar");
    let file = file.to_str().unwrap();
    let before = id(env, "box");
    env.isola(["save", "-o", file, "box"]).ok();
    env.isola(["rmi", "box"]).ok();
    assert_eq!(names(env), "");
    env.isola(["load", "-i", file]).ok();
    assert_eq!(names(env), "box:latest\n");
    assert_eq!(id(env, "box"), before);
    let output = env.isola(["run", "--rm", "box", "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n");
    env.isola(["load", "-i", file]).ok();
    assert_eq!(names(env), "box:latest\n", "loading twice changes nothing");
}

fn import_takes_instructions(env: &Env) {
    let changes = [
        "ENV PATH=/bin A=\"two words\"",
        "WORKDIR /tmp",
        "USER app",
        "ENTRYPOINT [\"/bin/sh\", \"-c\"]",
        "CMD [\"id -u; pwd; echo $A\"]",
        "LABEL kind=odd",
        "STOPSIGNAL SIGINT",
    ];
    let mut words = vec!["import"];
    words.extend(changes.iter().flat_map(|change| ["-c", *change]));
    words.extend(["-", "odd:1"]);
    env.isola_with(words, &busybox_layer()).ok();
    let output = env.isola(["run", "--rm", "odd:1"]).ok();
    assert_eq!(output.stdout, "1000\n/tmp\ntwo words\n");
    let output = env.isola(["run", "--rm", "odd:1", "echo $#"]).ok();
    assert_eq!(output.stdout, "0\n");
    let output = env.isola(["run", "--rm", "--entrypoint", "/bin/pwd", "odd:1"]);
    assert_eq!(output.ok().stdout, "/tmp\n");
    let labels = "{{index .Config.Labels \"kind\"}}";
    assert_eq!(env.inspect("odd:1", labels), "odd");
    for wrong in ["RUN true", "NOSUCH x", "ENV"] {
        let words = ["import", "-c", wrong, "-", "odd:2"];
        let output = env.isola_with(words, &busybox_layer());
        assert_ne!(output.code, 0, "{wrong}");
    }
    assert_eq!(names(env), "odd:1\nbox:latest\n");
}

fn names_and_removal(env: &Env) {
    env.isola(["tag", "box", "example.test/some/name:v1"]).ok();
    assert_eq!(id(env, "example.test/some/name:v1"), id(env, "box"));
    env.isola(["rmi", "box"]).ok();
    assert_eq!(names(env), "example.test/some/name:v1\n");
    env.isola(["run", "--rm", "example.test/some/name:v1", "true"])
        .ok();
    env.isola(["rmi", "example.test/some/name:v1"]).ok();
    assert_eq!(names(env), "");
    let blobs = files(&env.root().join("images"), "erofs");
    assert!(blobs.is_empty(), "layers of removed images: {blobs:?}");
}

fn an_image_in_use_stays(env: &Env) {
    env.isola(["create", "--name", "aa", "box", "echo", "fine"])
        .ok();
    env.isola(["rmi", "box"]).fails(1, "in use by aa");
    assert_eq!(env.isola(["start", "-a", "aa"]).ok().stdout, "fine\n");
    env.isola(["rm", "aa"]).ok();
    env.isola(["rmi", "box"]).ok();
}

fn unknown_images_are_an_error(env: &Env) {
    env.isola(["rmi", "nosuch"]).fails(1, "nosuch");
    env.isola(["tag", "nosuch", "xx"]).fails(1, "nosuch");
    env.isola(["save", "-o", "/dev/null", "nosuch"])
        .fails(1, "nosuch");
    env.isola(["create", "--pull", "never", "nosuch"])
        .fails(125, "nosuch");
}

fn broken_archives_are_refused(env: &Env) {
    let file = env.files().join("box.tar");
    env.isola(["save", "-o", file.to_str().unwrap(), "box"])
        .ok();
    let whole = std::fs::read(&file).unwrap();
    env.isola(["rmi", "box"]).ok();
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 1;
    for (what, bytes) in [
        ("cut", &whole[..middle]),
        ("flipped", &flipped[..]),
        ("no archive", b"no archive"),
        ("empty", b""),
    ] {
        let output = env.isola_with(["load"], bytes);
        assert_eq!(output.code, 1, "{what}: {output:?}");
        let clear = output
            .stderr
            .lines()
            .any(|line| line.starts_with("error: "));
        assert!(clear, "{what}: {output:?}");
        assert_eq!(names(env), "", "{what}");
    }
    env.isola_with(["load"], &whole).ok();
}

fn a_flipped_bit_is_found(env: &Env) {
    let blobs = files(&env.root().join("images"), "");
    let small = blobs
        .into_iter()
        .filter(|path| {
            path.parent()
                .is_some_and(|folder| folder.ends_with("sha256"))
        })
        .filter(|path| path.metadata().is_ok_and(|data| data.len() < 64 * 1024))
        .collect::<Vec<_>>();
    assert!(!small.is_empty(), "no manifest or configuration");
    for path in small {
        // A file of its own: the other tests share this one.
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let output = env.isola(["run", "--rm", "box", "true"]);
        assert_eq!(output.code, 125, "{}: {output:?}", path.display());
        std::fs::write(&path, whole).unwrap();
        env.run(&[], &["true"]).ok();
    }
}

fn a_flipped_bit_in_a_layer_is_found(env: &Env) {
    let mut blobs = files(&env.root().join("images/blobs"), "");
    blobs.sort_by_key(|path| path.metadata().unwrap().len());
    let layer = blobs.last().unwrap();
    let mut bytes = std::fs::read(layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    // A file of its own: the other tests share this one.
    std::fs::remove_file(layer).unwrap();
    std::fs::write(layer, bytes).unwrap();
    let file = env.files().join("box.tar");
    env.isola(["save", "-o", file.to_str().unwrap(), "box"])
        .fails(1, "digest");
    assert!(!file.exists(), "half an archive");
}

/// A small file system, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(env: &Env, size: &str) -> Disk {
        let path = env.files().join("disk");
        std::fs::create_dir(&path).unwrap();
        let disk = Disk(path);
        disk.mount(&format!("size={size}"));
        disk
    }

    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "small"]);
        assert!(mount.arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn a_full_disk_leaves_nothing(env: &Env) {
    let disk = Disk::new(env, "1m");
    let root = disk.0.join("root");
    let isola = |words: &[&str], input: &[u8]| {
        Output::of(env.command(words).env("ISOLA_ROOT", &root), input)
    };
    let full = |output: Output, code| {
        let output = output.exits(code);
        let said =
            |line: &str| line.starts_with("error: ") && line.to_lowercase().contains("no space");
        assert!(output.stderr.lines().any(said), "{output:?}");
    };
    let kept = || {
        let all = files(&disk.0, "").into_iter();
        let size = all.map(|path| path.metadata().unwrap().len()).sum::<u64>();
        size / 1024
    };
    let archive = busybox_layer();
    full(isola(&["import", "-", "box"], &archive), 1);
    assert_eq!(kept(), 0, "{:?}", files(&disk.0, ""));
    disk.mount("remount,size=32m");
    isola(&["import", "-", "box"], &archive).ok();
    // The image is there, and no room for a record.
    let fill = std::fs::File::create(disk.0.join("fill")).unwrap();
    while (&fill).write(&[0; 4096]).is_ok() {}
    let before = kept();
    for words in [
        &["run", "--rm", "box", "true"][..],
        &["create", "box", "true"],
    ] {
        full(isola(words, b""), 125);
        assert_eq!(kept(), before);
    }
    Ledger::new(&root).check();
}

/// Files below a folder with this end of name.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}
