//! Program, arguments and working directory.

use super::{Context, invalid};
use crate::error::{Error, Kind, Result};

/// Entry point and command as Docker combines them: an entry point that the user
/// gives drops the image's command too; an empty one resets the image's.
pub(super) fn args(cx: &Context<'_>) -> Result<Vec<String>> {
    let user_args = &cx.options.args;
    let args: Vec<String> = match &cx.options.entrypoint {
        Some(entrypoint) if entrypoint.iter().all(String::is_empty) => user_args.clone(),
        Some(entrypoint) => entrypoint.iter().chain(user_args).cloned().collect(),
        None => {
            let rest = if user_args.is_empty() {
                &cx.image.cmd
            } else {
                user_args
            };
            cx.image.entrypoint.iter().chain(rest).cloned().collect()
        }
    };
    let Some(program) = args.first() else {
        let message = format!(
            "nothing to run: neither the image {:?} nor the command line names a program",
            cx.image.name
        );
        let hint = format!(
            "give a command, as in `isola run {} /bin/sh`",
            cx.image.name
        );
        return Err(Error::new(Kind::Invalid, message).hint(hint));
    };
    if program.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            "the program to run is an empty string",
        ));
    }
    if let Some(arg) = args.iter().find(|arg| arg.contains('\0')) {
        return Err(invalid(
            "argument",
            arg,
            "a NUL byte can't be passed to a program",
        ));
    }
    Ok(args)
}

/// The working directory.
pub(super) fn cwd(cx: &Context<'_>) -> Result<String> {
    let (flag, cwd) = match &cx.options.workdir {
        Some(cwd) => ("--workdir", cwd.as_str()),
        None if cx.image.working_dir.is_empty() => return Ok("/".to_owned()),
        None => ("the image's WORKDIR", cx.image.working_dir.as_str()),
    };
    if cwd.starts_with('/') && !cwd.contains('\0') {
        return Ok(cwd.to_owned());
    }
    Err(invalid(
        flag,
        cwd,
        "the working directory must be an absolute path",
    ))
}
