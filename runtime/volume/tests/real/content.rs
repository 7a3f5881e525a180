//! First content from an image.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use isola_volume::Volumes;
use rustix::fs::syncfs;

use crate::support::{Base, child, describe, everything, given_base, root, same, wait};

fn source(base: &Base) -> (std::path::PathBuf, fs::File) {
    let path = base.dir.path().join("image");
    fs::create_dir(&path).unwrap();
    let file = fs::File::open(&path).unwrap();
    (path, file)
}

fn many(path: &Path) {
    for folder in 0..40 {
        let folder = path.join(format!("d{folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..60 {
            fs::write(folder.join(format!("f{file}")), vec![b'x'; 5000]).unwrap();
        }
    }
}

#[test]
fn everything_is_copied_once_into_an_empty_volume() {
    if !root() {
        return;
    }
    for options in [&[][..], &[("size", "32M")]] {
        let base = Base::new();
        let (path, image) = source(&base);
        everything(&path);
        base.create("db", options);
        let held = base.volumes.take("db", "one").unwrap();
        let data = held.open().unwrap();
        assert!(held.copy_up(image.as_fd(), data.as_fd()).unwrap());
        let found = format!("/proc/self/fd/{}/.", std::os::fd::AsRawFd::as_raw_fd(&data));
        same(&describe(Path::new(&found)), &describe(&path));
        fs::remove_file(path.join("empty")).unwrap();
        assert!(
            !held.copy_up(image.as_fd(), data.as_fd()).unwrap(),
            "not empty"
        );
        assert!(Path::new(&found).join("empty").exists());
    }
}

#[test]
fn an_empty_folder_gives_its_owner_and_mode() {
    if !root() {
        return;
    }
    let base = Base::new();
    let (path, image) = source(&base);
    std::os::unix::fs::chown(&path, Some(999), Some(998)).unwrap();
    base.create("db", &[]);
    let held = base.volumes.take("db", "one").unwrap();
    let data = held.open().unwrap();
    assert!(!held.copy_up(image.as_fd(), data.as_fd()).unwrap());
    same(
        &describe(&base.dir.path().join("volumes/db/_data")),
        &describe(&path),
    );
}

#[test]
fn many_starters_copy_once() {
    if !root() {
        return;
    }
    let base = Base::new();
    let (path, image) = source(&base);
    many(&path);
    base.create("db", &[]);
    let copied: usize = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..6)
            .map(|at| {
                let (base, image) = (&base, &image);
                scope.spawn(move || {
                    let held = base.volumes.take("db", &format!("i{at}")).unwrap();
                    let data = held.open().unwrap();
                    let copied = held.copy_up(image.as_fd(), data.as_fd()).unwrap();
                    // Whoever goes on sees all of it.
                    let there = base.dir.path().join("volumes/db/_data");
                    assert!(there.join("d39/f59").exists());
                    usize::from(copied)
                })
            })
            .collect();
        starters
            .into_iter()
            .map(|starter| starter.join().unwrap())
            .sum()
    });
    assert_eq!(copied, 1);
}

#[test]
#[ignore = "run by a_killed_copy_is_started_anew"]
fn child_that_copies() {
    let base = given_base();
    let held = Volumes::open(&base).unwrap().take("db", "child").unwrap();
    let image = fs::File::open(base.join("image")).unwrap();
    held.copy_up(image.as_fd(), held.open().unwrap().as_fd())
        .unwrap();
}

#[test]
fn a_killed_copy_is_started_anew() {
    if !root() {
        return;
    }
    let base = Base::new();
    let (path, image) = source(&base);
    many(&path);
    let data = base.dir.path().join("volumes/db/_data");
    for at in [1, 15, 39] {
        base.create("db", &[]);
        let mut copier = child("content::child_that_copies", base.dir.path());
        let staged = data.join(format!(".isola-filling/d{at}"));
        wait("the copy is under way", || {
            staged.exists() || data.join("d39/f59").exists()
        });
        copier.kill().unwrap();
        copier.wait().unwrap();
        let held = base.volumes.take("db", "next").unwrap();
        let names = fs::read_dir(&data).unwrap().count();
        assert!(names == 0 || names == 40, "{names} is half of it");
        assert!(!data.join(".isola-filling").exists());
        held.copy_up(image.as_fd(), held.open().unwrap().as_fd())
            .unwrap();
        same(&describe(&data), &describe(&path));
        drop(held);
        base.volumes.remove("db", |_| Vec::new()).unwrap();
    }
}

#[test]
fn a_copy_killed_in_its_last_step_is_finished() {
    if !root() {
        return;
    }
    for (phase, expected) in [
        ("moving", "theirs"),
        ("replacing", "ours"),
        ("filling", "theirs"),
    ] {
        let base = Base::new();
        base.create("db", &[]);
        let folder = base.dir.path().join("volumes/db");
        let data = folder.join("_data");
        fs::create_dir_all(data.join(".isola-filling/d")).unwrap();
        fs::write(data.join(".isola-filling/d/new"), "x").unwrap();
        fs::write(data.join(".isola-filling/both"), "ours").unwrap();
        fs::write(data.join("both"), "theirs").unwrap();
        let record = fs::read_to_string(folder.join("record.json")).unwrap();
        let record = record.replacen('{', &format!("{{\"phase\":\"{phase}\","), 1);
        fs::write(folder.join("record.json"), record).unwrap();
        let _held = base.volumes.take("db", "one").unwrap();
        assert_eq!(
            fs::read_to_string(data.join("both")).unwrap(),
            expected,
            "{phase}"
        );
        assert_eq!(data.join("d/new").exists(), phase != "filling");
        assert!(!data.join(".isola-filling").exists());
        let record = fs::read_to_string(folder.join("record.json")).unwrap();
        assert!(!record.contains("phase"));
    }
}

#[test]
fn a_copy_without_room_leaves_the_volume_empty() {
    if !root() {
        return;
    }
    let base = Base::new();
    let (path, image) = source(&base);
    fs::write(path.join("big"), vec![1; 20 << 20]).unwrap();
    base.create("small", &[("size", "16M")]);
    let held = base.volumes.take("small", "one").unwrap();
    let data = held.open().unwrap();
    let error = held.copy_up(image.as_fd(), data.as_fd()).unwrap_err();
    assert!(
        error.message.ends_with("'big': No space left on device"),
        "{error}"
    );
    let found = format!("/proc/self/fd/{}/.", std::os::fd::AsRawFd::as_raw_fd(&data));
    assert_eq!(fs::read_dir(found).unwrap().count(), 0);
    syncfs(&image).unwrap();
}
