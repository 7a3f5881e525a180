//! `isola cp`: what goes where (pure), archives made from the host's files,
//! archives laid out on the host, and the channels that they travel through.

mod channel;
mod end;
mod item;
mod pack;
mod plan;
mod transfer;
mod unpack;

use std::io::Write;
use std::path::Path;

use crate::error::{Failure, Result};

/// Lays the archive that `write` makes out in a folder of the host, with owners.
pub(crate) fn unpack_tree(
    folder: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let (reader, mut writer) =
        std::io::pipe().map_err(|error| Failure::system("make a pipe", error))?;
    let folder = folder.to_string_lossy();
    let mut unpacker = unpack::Unpacker::open(&folder, plan::Rename::Keep, true)?;
    std::thread::scope(|scope| {
        let laid_out = scope.spawn(move || unpacker.unpack(reader));
        let written = write(&mut writer);
        drop(writer);
        match laid_out.join() {
            // Its reason comes first: a writer that nobody reads only hears so.
            Ok(laid_out) => laid_out.and(written),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

pub(crate) use end::End;
pub(crate) use transfer::Transfer;
