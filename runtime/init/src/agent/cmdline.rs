//! What the kernel's command line tells the agent.

/// Way to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// vsock to the host's port 1024.
    Vsock,
    /// The virtio-serial port `org.isola.agent`.
    VirtioPort,
}

/// Reads `isola.transport=`; the last one counts, vsock is the default.
pub(super) fn transport(cmdline: &str) -> Transport {
    let values = cmdline.split_ascii_whitespace();
    let mut values = values.filter_map(|word| word.strip_prefix("isola.transport="));
    match values.next_back() {
        Some("virtio-port") => Transport::VirtioPort,
        _ => Transport::Vsock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        for (line, expected) in [
            ("", Transport::Vsock),
            (
                "quiet isola.transport=virtio-port panic=-1\n",
                Transport::VirtioPort,
            ),
            (
                "isola.transport=virtio-port isola.transport=vsock",
                Transport::Vsock,
            ),
            ("xisola.transport=virtio-port", Transport::Vsock),
            ("isola.transport=pigeon", Transport::Vsock),
        ] {
            assert_eq!(transport(line), expected, "{line:?}");
        }
    }
}
