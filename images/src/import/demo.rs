//! The built-in image: enough of a system to run a few static programs.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::About;
use crate::changes::RunConfig;
use crate::digest::ImageId;
use crate::error::{Error, Result};
use crate::layer::tar::EntryKind;
use crate::layer::write::{NewEntry, TarWriter};
use crate::store::{DEMO, Store};

const FOLDERS: [(&str, u32); 17] = [
    (".", 0o755),
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("home/demo", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

const FILES: [(&str, &str); 4] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         demo:x:1000:1000:demo:/home/demo:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\ndemo:x:1000:\nnogroup:x:65534:\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    ),
    (
        "etc/os-release",
        "NAME=\"Isola demo\"\nID=isola-demo\nPRETTY_NAME=\"Isola demo image\"\n",
    ),
];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The user of /etc/passwd that is not root.
const DEMO_UID: u32 = 1000;

/// A static program of this machine that goes into the built-in image.
#[derive(Clone, Copy, Debug)]
pub struct DemoProgram<'a> {
    /// Its absolute path in the image.
    pub path: &'a str,
    /// Where it is on this machine.
    pub host: &'a Path,
    /// What else it is called: symbolic links beside it.
    pub names: &'a [String],
}

impl Store {
    /// Makes the image `isola/demo` unless it is there already. The first program
    /// is what runs when the user names no command.
    pub fn ensure_demo(&self, programs: &[DemoProgram<'_>]) -> Result<ImageId> {
        match self.resolve(DEMO) {
            Ok(image) => return Ok(image.id),
            Err(Error::DemoNotMade) => {}
            Err(error) => return Err(error),
        }
        let mut config = RunConfig::default();
        config.set_env("PATH", PATH);
        config.cmd = programs.first().map(|it| vec![it.path.to_owned()]);
        config.working_dir = Some("/".into());
        let name = DEMO.parse()?;
        let comment = "built into isola";
        let about = About {
            created: None,
            comment,
            name: Some(&name),
            config: &config,
        };
        self.add_image(&about, |sink| pack(programs, sink))
    }
}

fn pack(programs: &[DemoProgram<'_>], out: impl Write) -> Result<()> {
    let mut tar = TarWriter::new(io::BufWriter::with_capacity(1 << 20, out));
    let failed = |e| Error::Read {
        what: "the built-in image".into(),
        source: e,
    };
    for (path, mode) in FOLDERS {
        let mut folder = NewEntry::plain(path.as_bytes(), EntryKind::Dir, mode);
        if path == "home/demo" {
            (folder.uid, folder.gid) = (DEMO_UID, DEMO_UID);
        }
        tar.entry(&folder).map_err(failed)?;
    }
    for (path, text) in FILES {
        let file = NewEntry::plain(path.as_bytes(), EntryKind::File, 0o644);
        tar.file(&file, text.len() as u64, &mut text.as_bytes())
            .map_err(failed)?;
    }
    for it in programs {
        let read = |e| Error::io("read", it.host, e);
        let mut program = File::open(it.host).map_err(read)?;
        let size = program.metadata().map_err(read)?.len();
        let inside = it.path.trim_start_matches('/');
        let file = NewEntry::plain(inside.as_bytes(), EntryKind::File, 0o755);
        tar.file(&file, size, &mut program).map_err(read)?;
        let (folder, own) = inside.rsplit_once('/').unwrap_or(("", inside));
        for name in it.names {
            let path = format!("{folder}/{name}");
            let path = path.trim_start_matches('/').as_bytes();
            let link = NewEntry {
                link: own.as_bytes(),
                ..NewEntry::plain(path, EntryKind::Symlink, 0o777)
            };
            tar.entry(&link).map_err(failed)?;
        }
    }
    tar.finish().map_err(failed)?;
    Ok(())
}
