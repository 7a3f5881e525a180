//! `isola cp`: what goes where (pure), archives made from the host's files,
//! archives laid out on the host, and the channels that they travel through.

mod channel;
mod end;
mod item;
mod pack;
mod plan;
mod transfer;
mod unpack;

pub(crate) use end::End;
pub(crate) use transfer::Transfer;
