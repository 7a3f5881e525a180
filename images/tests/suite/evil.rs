//! Archives that want more than they should.

use std::path::Path;

use isola_images::{Error, LayerFormat, Limits};

use crate::support::{Head, Packing, Tar, content, load, oci_archive, pack, store};

/// What an error says, the layer it happened in left out.
fn reason(error: &Error) -> String {
    match error {
        Error::Layer { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn escapes() -> Vec<(&'static str, Tar, &'static str)> {
    let tar = Tar::default;
    let sparse = |map: &str, size: &str| {
        let records = [
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.size", size.as_bytes()),
        ];
        Tar::default().pax(&records).file("x", b"12345")
    };
    vec![
        ("dots", tar().file("../x", b""), "its name leads upwards"),
        (
            "dots inside",
            tar().file("a/../../x", b""),
            "its name leads upwards",
        ),
        (
            "dots that stay",
            tar().file("a/../x", b""),
            "its name leads upwards",
        ),
        (
            "absolute",
            tar().file("/etc/x", b""),
            "its name is absolute",
        ),
        ("absolute folder", tar().dir("/etc"), "its name is absolute"),
        (
            "through an absolute link",
            tar().symlink("l", "/etc").file("l/x", b""),
            "written through `l`",
        ),
        (
            "through a link upwards",
            tar().symlink("l", "../../etc").file("l/x", b""),
            "leaves the root",
        ),
        (
            "through links through links",
            tar()
                .dir("a")
                .symlink("a/l", "..")
                .symlink("m", "a/l/..")
                .file("m/x", b""),
            "leaves the root",
        ),
        (
            "through a loop",
            tar().symlink("a", "b").symlink("b", "a").file("a/x", b""),
            "too many links",
        ),
        (
            "a folder through a link",
            tar().symlink("l", "/tmp").dir("l/x"),
            "written through `l`",
        ),
        (
            "a whiteout through a link",
            tar().symlink("l", "/tmp").file("l/.wh.x", b""),
            "written through `l`",
        ),
        (
            "a whiteout upwards",
            tar().file(".wh...", b""),
            "whiteout without a name",
        ),
        (
            "a whiteout of nothing",
            tar().file("a/.wh.", b""),
            "whiteout without a name",
        ),
        (
            "hard link upwards",
            tar().hard_link("x", "../../etc/shadow"),
            "leads upwards",
        ),
        (
            "hard link absolute",
            tar().hard_link("x", "/etc/shadow"),
            "is absolute",
        ),
        (
            "hard link through a link",
            tar().symlink("l", "/etc").hard_link("x", "l/shadow"),
            "written through `l`",
        ),
        (
            "hard link to nothing",
            tar().hard_link("x", "y"),
            "not in this layer",
        ),
        (
            "hard link to a hidden file",
            tar().file(".wh.y", b"").hard_link("x", "y"),
            "not in this layer",
        ),
        (
            "hard link to a folder",
            tar().dir("y").hard_link("x", "y"),
            "hard link to a folder",
        ),
        (
            "hard link to the root",
            tar().hard_link("x", "."),
            "hard link to the root",
        ),
        (
            "below a file",
            tar().file("a", b"").file("a/b", b""),
            "not a folder",
        ),
        (
            "root as a file",
            tar().file("./", b"").symlink(".", "/etc"),
            "root must be a folder",
        ),
        (
            "long in pax",
            tar().pax(&[("path", b"../../x")]).file("ok", b""),
            "leads upwards",
        ),
        (
            "a NUL in the name",
            tar().pax(&[("path", b"a\0b")]).file("ok", b""),
            "NUL byte",
        ),
        ("an empty link", tar().symlink("l", ""), "link to nothing"),
        (
            "a user too large",
            tar().pax(&[("uid", b"4294967295")]).file("x", b""),
            "number of a user",
        ),
        (
            "a negative group",
            tar().pax(&[("gid", b"-1")]).file("x", b""),
            "number of a group",
        ),
        (
            "a device too large",
            tar().entry(
                b'3',
                "x",
                b"",
                &Head {
                    device: (4096, 0),
                    ..Head::default()
                },
            ),
            "cannot exist",
        ),
        (
            "an unknown type",
            tar().entry(b'Z', "x", b"", &Head::default()),
            "type `Z`",
        ),
        ("sparse beyond its end", sparse("0,5", "4"), "sparse map"),
        ("sparse out of order", sparse("9,2,0,3", "20"), "sparse map"),
        (
            "sparse that overlaps",
            sparse("0,3,2,2", "20"),
            "sparse map",
        ),
        (
            "sparse with too little data",
            sparse("0,9", "20"),
            "does not fit its data",
        ),
        (
            "sparse that wraps around",
            sparse("18446744073709551615,5", "20"),
            "sparse map",
        ),
        (
            "sparse with half a pair",
            sparse("0,5,7", "20"),
            "odd count",
        ),
        (
            "a damaged header",
            tar().file("a", b"").raw(&[1; 512]),
            "checksum",
        ),
        (
            "a damaged extended header",
            tar().entry(b'x', "p", b"99 a=b\n", &Head::default()),
            "extended header",
        ),
    ]
}

#[test]
fn archives_that_leave_their_root_are_refused() {
    let outside = ["/etc/x", "/x", "/tmp/x"].map(Path::new);
    assert!(
        outside.iter().all(|path| !path.exists()),
        "the test cannot tell what it finds"
    );
    for format in [LayerFormat::Erofs, LayerFormat::Directory] {
        let (_dir, store) = store(format);
        for (name, tar, expected) in escapes() {
            let layer = tar.end();
            let error =
                load(&store, &oci_archive(&[layer], Packing::Gzip, "evil")).expect_err(name);
            assert!(reason(&error).contains(expected), "{name}: {error}");
            assert_eq!(content(&store), [""; 0], "{name} has left something");
            assert!(store.list().unwrap().is_empty(), "{name}");
        }
    }
    assert!(outside.iter().all(|path| !path.exists()));
}

#[test]
fn truncated_layers_are_refused() {
    let (_dir, store) = store(LayerFormat::Erofs);
    let whole = Tar::default().file("a", &[7; 3000]).end();
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let packed = pack(&whole, packing);
        let cut = if packing == Packing::Plain {
            1000
        } else {
            packed.len() - 5
        };
        let mut parts = crate::support::parts(std::slice::from_ref(&whole), packing);
        parts.blobs = vec![packed[..cut].to_vec()];
        let error = load(&store, &crate::support::archive(&parts.oci("x"))).expect_err("truncated");
        assert!(matches!(error, Error::Layer { .. }), "{packing:?}: {error}");
        assert_eq!(content(&store), [""; 0]);
    }
}

#[test]
fn bombs_are_refused() {
    let small = Limits {
        entries: 100,
        total_size: 1 << 20,
        file_size: 1 << 30,
        metadata: 20_000,
        ratio: 20,
        ratio_from: 64 << 10,
        depth: 8,
        name: 64,
        path: 200,
    };
    let many = |count: usize, name: &dyn Fn(usize) -> String| {
        (0..count).fold(Tar::default(), |tar, i| tar.file(&name(i), b""))
    };
    let wide = Limits {
        metadata: 1 << 30,
        ..small.clone()
    };
    let loose = Limits {
        ratio: 1_000_000,
        ..wide.clone()
    };
    let sparse = |size: &[u8]| {
        Tar::default()
            .pax(&[("GNU.sparse.size", size), ("GNU.sparse.map", b"")])
            .file("x", b"")
    };
    for (name, tar, limits, expected) in [
        (
            "many entries",
            many(101, &|i| i.to_string()),
            &wide,
            "the number of entries",
        ),
        (
            "names",
            many(99, &|i| format!("{i:060}/{i:035}")),
            &small,
            "names, links and attributes",
        ),
        (
            "deep",
            Tar::default().file("1/2/3/4/5/6/7/8/9", b""),
            &wide,
            "the depth of a path",
        ),
        (
            "a long name",
            many(1, &|_| "n".repeat(65)),
            &wide,
            "the length of a name",
        ),
        (
            "zeros",
            Tar::default().file("x", &vec![0; 512 << 10]),
            &wide,
            "the ratio",
        ),
        (
            "much",
            Tar::default().file("x", &vec![0; 1100 << 10]),
            &loose,
            "the unpacked size",
        ),
        (
            "after the end",
            Tar::default().raw(&vec![0; 4 << 20]),
            &loose,
            "the size of the tar stream",
        ),
        ("holes", sparse(b"9000000000000"), &wide, "the size of `x`"),
        (
            "a huge extended header",
            Tar::default().entry(b'x', "p", &vec![b'x'; 3 << 20], &Head::default()),
            &loose,
            "an extended header",
        ),
    ] {
        for format in [LayerFormat::Erofs, LayerFormat::Directory] {
            let (_dir, store) = store(format);
            let store = store.with_limits(limits.clone());
            let layer = Tar::default().raw(&tar_bytes(&tar)).end();
            let error =
                load(&store, &oci_archive(&[layer], Packing::Zstd, "bomb")).expect_err(name);
            assert!(reason(&error).contains(expected), "{name}: {error}");
            assert_eq!(content(&store), [""; 0], "{name} has left something");
        }
    }
}

fn tar_bytes(tar: &Tar) -> Vec<u8> {
    tar.bytes().to_vec()
}

#[test]
fn a_full_disk_leaves_nothing() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let none = None::<&str>;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .expect("this test mounts and needs root");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..1_000_000u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let archive = oci_archive(
        &[Tar::default().file("x", &noise).end()],
        Packing::Plain,
        "big",
    );
    // Too small for the blob, and large enough for it but not for the layer.
    for size in ["size=1m", "size=6m"] {
        mount(
            Some("tmpfs"),
            dir.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size),
        )
        .unwrap();
        for format in [LayerFormat::Erofs, LayerFormat::Directory] {
            let store = isola_images::Store::open(&dir.path().join("store"), format).unwrap();
            let error = load(&store, &archive).expect_err(size);
            assert!(matches!(error, Error::NoSpace { .. }), "{error}");
            assert_eq!(content(&store), [""; 0]);
            assert!(store.list().unwrap().is_empty());
        }
        umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
    }
}
