//! Archives of images and of root file systems.

use std::path::Path;

use isola_images::{ImportSource, LayerFormat, Limits, Store};
use tempfile::TempDir;

use super::{Run, Target};

/// Inputs after which a store is made anew, so that it stays small.
const STORE_LIFE: u32 = 500;

pub(crate) fn targets() -> Vec<Target> {
    let layer = tarball();
    vec![
        Target {
            name: "layer",
            seeds: vec![layer.clone()],
            make: || maker(LayerFormat::Erofs, import),
            fix: fix_checksums,
        },
        Target {
            name: "layer-folder",
            seeds: vec![layer.clone()],
            make: || maker(LayerFormat::Directory, import),
            fix: fix_checksums,
        },
        Target {
            name: "archive",
            seeds: saved(&layer).into_iter().collect(),
            make: || maker(LayerFormat::Erofs, load),
            fix: fix_checksums,
        },
        text("manifest", &[MANIFEST, INDEX], || {
            Box::new(isola_images::fuzz::manifest)
        }),
        text("image-config", &[CONFIG], || {
            Box::new(isola_images::fuzz::config)
        }),
        text("answer", ANSWERS, || Box::new(isola_images::fuzz::answer)),
    ]
}

/// A text that a registry sends.
fn text(name: &'static str, seeds: &[&str], make: fn() -> Run) -> Target {
    Target {
        name,
        seeds: seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect(),
        make,
        fix: super::nothing,
    }
}

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,
"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":32,
"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],
"annotations":{"a":"b"},"subject":null}"#;

const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",
"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":480,
"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
"platform":{"os":"linux","architecture":"amd64","variant":"v2"}},
{"mediaType":"application/vnd.oci.image.index.v1+json","size":9,
"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
"platform":{"os":"unknown","architecture":"unknown"},
"annotations":{"vnd.docker.reference.type":"attestation-manifest"}}]}"#;

const CONFIG: &str = r#"{"created":"2024-01-01T00:00:00Z","architecture":"amd64","os":"linux",
"config":{"User":"1:2","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["/a"],"Cmd":["b"],
"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"l":"m"},"StopSignal":"SIGTERM",
"Healthcheck":{"Test":["CMD","x"],"Interval":1000000000,"Retries":3},"Shell":["/bin/sh","-c"]},
"rootfs":{"type":"layers","diff_ids":
["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},
"history":[{"created":"2024-01-01T00:00:00Z","created_by":"RUN x","empty_layer":true}]}"#;

const ANSWERS: &[&str] = &[
    "Bearer realm=\"https://auth.test/token\",service=\"a\",scope=\"repository:x:pull\"",
    "Basic realm=\"a \\\"b\\\"\", Bearer realm=c",
    "https://blobs.test:8443/a/b?c=d&e=%20f",
    "//other.test/x",
    "/v2/x/../y?z",
    "uploads/1",
];

/// A folder in memory, where there is one.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    match made {
        Ok(folder) => folder,
        Err(error) => panic!("no temporary folder: {error}"),
    }
}

fn open(folder: &Path, format: LayerFormat) -> Store {
    let limits = Limits {
        total_size: 64 << 20,
        metadata: 16 << 20,
        entries: 10_000,
        ..Limits::default()
    };
    match Store::open(folder, format) {
        Ok(store) => store.with_limits(limits),
        Err(error) => panic!("no store: {error}"),
    }
}

fn maker(format: LayerFormat, try_one: fn(&Store, &[u8]) -> Result<(), String>) -> Run {
    let mut folder = scratch();
    let mut runs = 0;
    Box::new(move |input| {
        runs += 1;
        if runs % STORE_LIFE == 0 {
            folder = scratch();
        }
        let root = folder.path().join("store");
        let store = open(&root, format);
        let before = files(&root);
        let answer = try_one(&store, input);
        let outside: Vec<_> = names(folder.path());
        assert_eq!(outside, ["store"], "something outside of the store");
        match answer {
            Ok(()) => "taken".into(),
            Err(error) => {
                assert_eq!(files(&root), before, "left behind after: {error}");
                error
            }
        }
    })
}

fn import(store: &Store, input: &[u8]) -> Result<(), String> {
    store
        .import(ImportSource::Tar(&mut &*input), None, &[])
        .map(drop)
        .map_err(|e| e.to_string())
}

fn load(store: &Store, input: &[u8]) -> Result<(), String> {
    store
        .load(input, &|_| ())
        .map(drop)
        .map_err(|e| e.to_string())
}

/// How many files a store holds, those that are only locked left out.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| !entry.file_name().to_string_lossy().ends_with(".lock"))
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            _ => 1,
        })
        .sum()
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Gives every header of a tar archive the checksum that it needs (POSIX
/// "ustar": the sum of the header's bytes, the field itself taken as blanks).
pub(crate) fn fix_checksums(input: &mut [u8]) {
    for header in input.chunks_exact_mut(512) {
        if header[257..262] == *b"ustar" {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
            header[154] = 0;
        }
    }
}

/// A little of everything that a layer can hold.
pub(crate) fn tarball() -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(1000);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        let _ = header.set_device_major(1).and(header.set_device_minor(3));
        let _ = match link {
            "" => out.append_data(&mut header, path, content),
            _ => out.append_link(&mut header, path, link),
        };
    };
    use tar::EntryType as Kind;
    add(Kind::Directory, "etc/", "", b"");
    add(
        Kind::Regular,
        "etc/passwd",
        "",
        b"root:x:0:0::/root:/bin/sh\n",
    );
    add(Kind::Link, "etc/hard", "etc/passwd", b"");
    add(Kind::Symlink, "etc/soft", "../etc/passwd", b"");
    add(Kind::Char, "dev/null", "", b"");
    add(Kind::Fifo, "dev/fifo", "", b"");
    add(Kind::Regular, "etc/.wh.gone", "", b"");
    add(Kind::Regular, "opt/.wh..wh..opq", "", b"");
    add(
        Kind::Regular,
        &format!("{}/x", "long".repeat(40)),
        "",
        &[7; 5000],
    );
    let pax = b"30 SCHILY.xattr.user.a=some b\n27 mtime=1700000000.123456\n";
    add(Kind::XHeader, "pax", "", pax);
    add(Kind::Regular, "etc/attr", "", b"x");
    out.into_inner().unwrap_or_default()
}

/// An archive with an image made of `layer`.
fn saved(layer: &[u8]) -> Option<Vec<u8>> {
    let folder = scratch();
    let store = open(&folder.path().join("store"), LayerFormat::Erofs);
    let name = "seed:1".parse().ok()?;
    store
        .import(ImportSource::Tar(&mut &*layer), Some(&name), &[])
        .ok()?;
    let mut out = Vec::new();
    store.save(&["seed:1".into()], None, &mut out).ok()?;
    Some(out)
}
