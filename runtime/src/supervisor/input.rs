//! Standard input of the workload. Several clients may be attached; what they
//! send is put into one row and passed on as far as the process takes it.

use std::collections::VecDeque;

use isola_proto::frame::WINDOW;

use super::clients::{Address, ClientId};

/// The row of bytes for the workload.
#[derive(Debug)]
pub(crate) struct Input {
    window: u32,
    queue: VecDeque<(Address, Vec<u8>)>,
    closed: bool,
}

impl Default for Input {
    fn default() -> Self {
        Input {
            window: WINDOW,
            queue: VecDeque::new(),
            closed: false,
        }
    }
}

impl Input {
    /// Bytes from a client; an empty piece closes the input after what is queued.
    pub(crate) fn push(&mut self, from: Address, bytes: Vec<u8>) {
        if !self.closed {
            self.closed = bytes.is_empty();
            self.queue.push_back((from, bytes));
        }
    }

    /// The process took bytes.
    pub(crate) fn credit(&mut self, bytes: u32) {
        self.window = self.window.saturating_add(bytes).min(WINDOW);
    }

    /// The next piece that may be sent, and whom to credit for it.
    pub(crate) fn pop(&mut self) -> Option<(Address, Vec<u8>)> {
        let (from, bytes) = self.queue.front_mut()?;
        let room = self.window as usize;
        if bytes.len() > room {
            if room == 0 {
                return None;
            }
            self.window = 0;
            return Some((*from, bytes.drain(..room).collect()));
        }
        self.window -= u32::try_from(bytes.len()).unwrap_or(self.window);
        self.queue.pop_front()
    }

    /// A client has left; what it had sent still counts.
    pub(crate) fn queued_from(&self, client: ClientId) -> usize {
        self.queue
            .iter()
            .filter(|(from, _)| from.client == client)
            .map(|(_, bytes)| bytes.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Address = Address {
        client: 1,
        channel: 1,
    };

    #[test]
    fn no_more_is_passed_on_than_the_process_takes() {
        let mut input = Input::default();
        input.push(A, vec![1; WINDOW as usize + 10]);
        assert_eq!(input.pop().unwrap().1.len(), WINDOW as usize);
        assert!(input.pop().is_none());
        assert_eq!(input.queued_from(1), 10);
        input.credit(4);
        assert_eq!(input.pop().unwrap().1.len(), 4);
        input.credit(100);
        assert_eq!(input.pop().unwrap().1.len(), 6);
        assert!(input.pop().is_none());
    }

    #[test]
    fn closing_comes_after_what_was_sent_and_ends_the_row() {
        let mut input = Input::default();
        input.push(A, b"x".to_vec());
        input.push(A, Vec::new());
        input.push(A, b"late".to_vec());
        assert_eq!(input.pop().unwrap().1, b"x");
        assert!(input.pop().unwrap().1.is_empty());
        assert!(input.pop().is_none());
    }
}
