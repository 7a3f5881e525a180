//! Frames on their way to the asking side.

use std::collections::VecDeque;

use isola_proto::{Event, Failure, Frame, Kind};

/// Bytes of output that may wait here before no more is read from processes.
const ROOM: usize = 128 * 1024;

/// The queue of frames that [`crate::stream::Peer::next_frame`] takes from.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.payload.len();
        self.frames.push_back(frame);
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.push(Frame::message(Kind::Event, event));
    }

    /// A request that named a channel failed.
    pub(super) fn channel_failed(&mut self, channel: u32, failure: Failure) {
        self.event(&Event::Failed {
            channel,
            id: 0,
            failure,
        });
    }

    /// A request that had an id failed; 0 is none in particular.
    pub(super) fn request_failed(&mut self, id: u32, failure: Failure) {
        self.event(&Event::Failed {
            channel: 0,
            id,
            failure,
        });
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.payload.len();
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes < ROOM
    }
}
