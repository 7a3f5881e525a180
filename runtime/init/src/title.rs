//! The command line that others see of a process that stays a copy of its maker: it
//! would tell the sandbox about the host.
#![allow(unsafe_code)]

/// Where the kernel reads /proc/PID/cmdline: a part of the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Title {
    start: usize,
    end: usize,
}

impl Title {
    /// This process's, which a child has at the same place.
    pub(crate) fn find() -> Option<Title> {
        parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Writes another text, in a child that reads its arguments no more.
    pub(crate) fn set(&self, text: &str) {
        let length = self.end - self.start;
        // SAFETY: the kernel gave the bounds of this process's argument area, which stays mapped
        // and writable; nothing reads the arguments as strings any more.
        let area = unsafe { std::slice::from_raw_parts_mut(self.start as *mut u8, length) };
        let kept = text.len().min(length.saturating_sub(2));
        area.fill(0);
        area[..kept].copy_from_slice(&text.as_bytes()[..kept]);
        // A last byte that is not zero says that the text ends at the first zero.
        if let Some(last) = area.last_mut() {
            *last = b' ';
        }
    }
}

/// Fields 48 and 49 of proc_pid_stat(5): arg_start and arg_end.
fn parse(stat: &str) -> Option<Title> {
    // The name in field 2 may have blanks and brackets in it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.trim_end().split(' ').skip(45);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    (start != 0 && start < end).then_some(Title { start, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_that_of_the_arguments() {
        let title = Title::find().unwrap();
        let arguments: usize = std::env::args_os().map(|argument| argument.len() + 1).sum();
        assert_eq!(title.end - title.start, arguments);
        assert!(parse("1 (a) b) S 1").is_none());
    }
}
