//! Programs that are part of this one, run in the child instead of execve: they
//! stay undumpable, and have only the rights that the process was given.

use std::os::fd::AsRawFd;

use isola_proto::Failure;
use isola_proto::spec::Program;

use crate::control::Control;
use crate::{copy_in, copy_out, copy_remove, error, fds, init1, listen, sys};

/// Problems of a copy: they are told on standard error and it goes on; in the end
/// the exit code is 1.
#[derive(Debug, Default)]
pub(crate) struct Problems(u64);

impl Problems {
    /// Tells one problem.
    pub(crate) fn tell(&mut self, what: impl std::fmt::Display) {
        self.0 += 1;
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{what}\n").as_bytes());
    }
}

/// Runs a built-in program and ends the process; returns only when there is none.
pub(crate) fn run_built_in(program: &Program, control: &Control) -> Failure {
    if let Program::Exec { .. } = program {
        return error::failure("not a built-in program");
    }
    if matches!(program, Program::Idle) {
        sys::block_signals();
    }
    // The maker waits for this, as it waits for execve.
    let _ = fds::close_one(control.0.as_raw_fd());
    let mut problems = Problems::default();
    let result = match program {
        Program::Exec { .. } => Ok(()),
        Program::Idle => init1::idle(),
        Program::TarOut { path, follow } => copy_out::write_archive(path, *follow, &mut problems),
        Program::Changes { alone } => copy_out::write_changes(*alone, &mut problems),
        Program::TarIn { path, owners } => copy_in::read_archive(path, *owners, &mut problems),
        Program::Remove { paths } => copy_remove::remove(paths, &mut problems),
        Program::Listen { sockets } => listen::serve(sockets),
    };
    if let Err(failure) = result {
        problems.tell(failure);
    }
    sys::exit(i32::from(problems.0 > 0))
}
