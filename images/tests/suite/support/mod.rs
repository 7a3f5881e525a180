//! Tar streams and archives made by hand, and comparing of file trees.

pub(crate) mod fake;
pub(crate) mod registry;
pub(crate) mod tree;

use std::io::Write;
use std::path::Path;

use isola_images::{Digest, LayerFormat, Store};

/// A tar stream, with nothing checked.
#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

/// What a header says beyond name and type.
#[derive(Clone)]
pub(crate) struct Head<'a> {
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: u64,
    pub(crate) link: &'a str,
    pub(crate) device: (u32, u32),
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_600_000_000,
            link: "",
            device: (0, 0),
        }
    }
}

impl Tar {
    pub(crate) fn entry(mut self, flag: u8, name: &str, data: &[u8], head: &Head<'_>) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_mode(head.mode);
        header.set_uid(head.uid);
        header.set_gid(head.gid);
        header.set_mtime(head.mtime);
        header.set_size(data.len() as u64);
        header.set_device_major(head.device.0).unwrap();
        header.set_device_minor(head.device.1).unwrap();
        let bytes = header.as_mut_bytes();
        bytes[156] = flag;
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes[157..157 + head.link.len()].copy_from_slice(head.link.as_bytes());
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.data(data)
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// An extended header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length += 1;
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.entry(b'x', "pax", &body, &Head::default())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(b'0', name, data, &Head::default())
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(
            b'5',
            name,
            b"",
            &Head {
                mode: 0o755,
                ..Head::default()
            },
        )
    }

    pub(crate) fn symlink(self, name: &str, link: &str) -> Self {
        self.entry(
            b'2',
            name,
            b"",
            &Head {
                mode: 0o777,
                link,
                ..Head::default()
            },
        )
    }

    pub(crate) fn hard_link(self, name: &str, link: &str) -> Self {
        self.entry(
            b'1',
            name,
            b"",
            &Head {
                link,
                ..Head::default()
            },
        )
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// How the layers of an archive are compressed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

pub(crate) fn pack(data: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => data.to_vec(),
        Packing::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(data, 1).unwrap(),
    }
}

/// An image's parts: the configuration and the layers as they are stored.
pub(crate) struct Parts {
    pub(crate) config: Vec<u8>,
    pub(crate) blobs: Vec<Vec<u8>>,
    packing: Packing,
}

pub(crate) fn parts(layers: &[Vec<u8>], packing: Packing) -> Parts {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    let config = serde_json::json!({
        "created": "2026-01-02T03:04:05Z", "architecture": "amd64", "os": "linux",
        "config": { "Cmd": ["/bin/true"], "Env": ["A=b"], "Healthcheck": { "Test": ["CMD", "/ok"], "Interval": 5 } },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let blobs = layers.iter().map(|layer| pack(layer, packing)).collect();
    Parts {
        config: config.to_string().into_bytes(),
        blobs,
        packing,
    }
}

impl Parts {
    pub(crate) fn manifest(&self) -> Vec<u8> {
        let suffix = match self.packing {
            Packing::Plain => "",
            Packing::Gzip => "+gzip",
            Packing::Zstd => "+zstd",
        };
        let descriptor = |kind: &str, content: &[u8]| {
            serde_json::json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": Digest::of(content), "size": content.len(),
            })
        };
        let layer = |blob: &Vec<u8>| descriptor(&format!("layer.v1.tar{suffix}"), blob);
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", &self.config),
            "layers": self.blobs.iter().map(layer).collect::<Vec<_>>(),
        });
        manifest.to_string().into_bytes()
    }

    /// An OCI archive, as files by name.
    pub(crate) fn oci(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let manifest = self.manifest();
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": Digest::of(&manifest), "size": manifest.len(),
                "annotations": { "org.opencontainers.image.ref.name": name },
            }],
        });
        let blob = |content: &Vec<u8>| {
            (
                format!("blobs/sha256/{}", Digest::of(content).hex()),
                content.clone(),
            )
        };
        let mut files: Vec<_> = self.blobs.iter().map(blob).collect();
        files.push(blob(&self.config));
        files.push(blob(&manifest));
        files.push((
            "oci-layout".into(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ));
        files.push(("index.json".into(), index.to_string().into_bytes()));
        files
    }
}

/// Files as an archive.
pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let tar = files.iter().fold(Tar::default(), |tar, (name, content)| {
        tar.file(name, content)
    });
    tar.end()
}

/// An OCI archive of an image with these layers.
pub(crate) fn oci_archive(layers: &[Vec<u8>], packing: Packing, name: &str) -> Vec<u8> {
    archive(&parts(layers, packing).oci(name))
}

/// A store in a folder that goes with the test.
pub(crate) fn store(format: LayerFormat) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), format).unwrap();
    (dir, store)
}

pub(crate) fn load(
    store: &Store,
    archive: &[u8],
) -> isola_images::Result<Vec<isola_images::Loaded>> {
    store.load(archive, &|_| ())
}

/// Names of all blobs, layers and temporary files of a store.
pub(crate) fn content(store: &Store) -> Vec<String> {
    let mut names = Vec::new();
    for dir in ["blobs/sha256", "layers", "tmp"] {
        for entry in std::fs::read_dir(store.root().join(dir)).unwrap() {
            names.push(format!("{dir}/{}", entry.unwrap().file_name().display()));
        }
    }
    names.sort();
    names
}

/// Runs a tool that a test needs.
pub(crate) fn run(program: &str, args: &[&dyn AsRef<std::ffi::OsStr>]) {
    let output = std::process::Command::new(program)
        .args(args.iter().map(|a| a.as_ref()))
        .output();
    let output = output.unwrap_or_else(|e| panic!("{program} is needed for this test: {e}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program}: {}\n{stderr}",
        output.status
    );
}

pub(crate) fn fsck(image: &Path) {
    run("fsck.erofs", &[&image]);
}
