//! Archives that are imported into volumes.

use std::fs::File;
use std::os::fd::AsFd;

use super::images::{fix_checksums, names, scratch, tarball};
use super::{Run, Target};

pub(crate) fn target() -> Target {
    Target {
        name: "volume",
        seeds: vec![tarball()],
        make: maker,
        fix: fix_checksums,
    }
}

fn maker() -> Run {
    Box::new(|input| {
        let folder = scratch();
        let into = folder.path().join("into");
        let opened = std::fs::create_dir(&into).and_then(|()| File::open(&into));
        let opened = opened.unwrap_or_else(|error| panic!("no folder: {error}"));
        let answer = isola_volume::check_archive(input, opened.as_fd());
        assert_eq!(names(folder.path()), ["into"], "something outside");
        match answer {
            Ok(()) => "taken".into(),
            Err(error) => {
                assert_eq!(error.message.lines().count(), 1, "{error:?}");
                // What every answer has in front would hide how they differ.
                let why = error.message.rsplit(": ").next();
                why.unwrap_or_default().to_owned()
            }
        }
    })
}
