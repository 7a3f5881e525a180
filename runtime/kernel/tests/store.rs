//! Kernels are added, chosen, listed, removed; an initramfs is packed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use isola_kernel::{Error, Format, Kernels, Source};

/// The smallest file that passes for a vmlinux.
fn vmlinux(folder: &Path, release: &str) -> PathBuf {
    let mut image = vec![0; 64];
    image[..6].copy_from_slice(b"\x7fELF\x02\x01");
    image[0x10] = 2;
    image[0x12] = 62;
    image.extend_from_slice(format!("Linux version {release} (a@b)\0").as_bytes());
    let path = folder.join(format!("vmlinux-{release}"));
    fs::write(&path, image).unwrap();
    path
}

#[test]
fn a_kernel_of_the_users_own() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = Kernels::open(folder.path().join("a/kernels"));
    assert!(matches!(kernels.default_kernel(), Err(Error::NoKernel(_))));
    assert!(kernels.list().unwrap().is_empty());

    let first = kernels.use_path(&vmlinux(folder.path(), "6.1.0")).unwrap();
    assert_eq!(
        (first.source, first.format),
        (Source::User, Format::Vmlinux)
    );
    assert_eq!(first.version, "6.1.0");
    assert!(first.default);
    let second = kernels.use_path(&vmlinux(folder.path(), "6.12.0")).unwrap();
    assert_eq!(kernels.default_kernel().unwrap(), second);
    // Taking the same file again changes nothing.
    kernels.use_path(&vmlinux(folder.path(), "6.12.0")).unwrap();
    assert_eq!(kernels.list().unwrap().len(), 2);

    assert!(kernels.choose(&first.name).unwrap().default);
    assert!(!kernels.get(&second.name).unwrap().default);
    kernels.remove(&first.name).unwrap();
    // The choice went with it, and one of the user's is never taken unasked.
    assert!(matches!(kernels.default_kernel(), Err(Error::NoKernel(_))));
    assert!(matches!(
        kernels.remove(&first.name),
        Err(Error::Unknown(_))
    ));
    assert!(matches!(kernels.choose("../x"), Err(Error::Unknown(_))));
}

#[test]
fn what_is_no_kernel_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = Kernels::open(folder.path().join("kernels"));
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    for path in [&script, &std::env::current_exe().unwrap()] {
        let error = kernels.use_path(path).unwrap_err();
        assert!(matches!(error, Error::NotAKernel { .. }), "{error}");
        assert!(error.hint().is_some());
    }
    assert!(matches!(
        kernels.use_path(&folder.path().join("absent")),
        Err(Error::Io { .. })
    ));
    assert!(kernels.list().unwrap().is_empty());
}

#[test]
fn the_remains_of_a_killed_command_go_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = Kernels::open(folder.path());
    let remains = folder.path().join("tmp-dead");
    fs::create_dir_all(remains.join("source/deep")).unwrap();
    fs::write(remains.join("record.json"), "{").unwrap();
    assert!(kernels.list().unwrap().is_empty(), "never listed");
    kernels.use_path(&vmlinux(folder.path(), "6.1.0")).unwrap();
    assert!(!remains.exists());
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("tmp-"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_damaged_record_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = Kernels::open(folder.path());
    fs::create_dir(folder.path().join("x")).unwrap();
    fs::write(folder.path().join("x/record.json"), "{").unwrap();
    let error = kernels.list().unwrap_err();
    assert!(error.to_string().contains("x/record.json"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("isola kernel rm x"));
    for name in ["../kernels", ".", "", "x/../x"] {
        assert!(
            matches!(kernels.remove(name), Err(Error::Unknown(_))),
            "{name}"
        );
    }
    kernels.remove("x").unwrap();
    assert!(kernels.list().unwrap().is_empty());
}

#[test]
fn the_initramfs_is_packed_once_per_agent() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = Kernels::open(folder.path().join("kernels"));
    let kernel = kernels.use_path(&vmlinux(folder.path(), "6.1.0")).unwrap();
    let agent = folder.path().join("agent");
    fs::write(&agent, "first").unwrap();
    let first = kernel.boot_files(&agent).unwrap();
    assert_eq!(first.kernel, kernel.path);
    let text = String::from_utf8_lossy(&fs::read(&first.initramfs).unwrap()).into_owned();
    for part in [
        "init\0",
        "first",
        "dev/console\0",
        "dev/null\0",
        "modules.order\0",
        "TRAILER!!!",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }

    // A killed packer's file goes, the same agent is not packed again.
    let cache = first.initramfs.parent().unwrap();
    fs::write(cache.join("tmp-dead"), "half").unwrap();
    let stamp = fs::metadata(&first.initramfs).unwrap().modified().unwrap();
    assert_eq!(kernel.boot_files(&agent).unwrap(), first);
    assert_eq!(
        fs::metadata(&first.initramfs).unwrap().modified().unwrap(),
        stamp
    );

    fs::write(&agent, "second").unwrap();
    let second = kernel.boot_files(&agent).unwrap();
    assert_ne!(second.initramfs, first.initramfs);
    assert!(!cache.join("tmp-dead").exists());
    assert!(first.initramfs.exists(), "a guest may be starting from it");
    for n in 0..20 {
        fs::write(&agent, format!("agent {n}")).unwrap();
        kernel.boot_files(&agent).unwrap();
    }
    assert!(fs::read_dir(cache).unwrap().count() <= 8);
}

#[test]
fn commands_at_once_do_not_harm_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = Kernels::open(folder.path().join("kernels"));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (kernels, folder) = (&kernels, folder.path());
            scope.spawn(move || {
                let kernel = kernels
                    .use_path(&vmlinux(folder, &format!("6.1.{n}")))
                    .unwrap();
                if n % 2 == 0 {
                    kernels.remove(&kernel.name).unwrap();
                }
            });
        }
    });
    assert_eq!(kernels.list().unwrap().len(), 4);
}
