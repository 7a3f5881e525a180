//! From a child inside the root to the program: identity, limits, working
//! directory, filter, execve. The same for a first process and for a later one.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use isola_proto::Failure;
use isola_proto::spec::{ProcessSpec, Program};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown};
use rustix::process::{
    DumpableBehavior, Signal, fchdir, getcwd, set_dumpable_behavior,
    set_parent_process_death_signal, umask,
};
use rustix::thread::{
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::capability::Sets;
use crate::control::{Control, Message};
use crate::error::{Setup, failure};
use crate::path::{Tree, clean, file_type};
use crate::title::Title;
use crate::user::User;
use crate::{exec, fds, init1, limits, root, seccomp, sys, user};

/// A process whose values were checked by the maker.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    pub(crate) spec: &'a ProcessSpec,
    sets: Sets,
    args: Vec<CString>,
    env: Vec<CString>,
    title: Option<Title>,
}

impl Checked<'_> {
    /// Lays a name of its own over the maker's command line, when this process is going
    /// to stay what it is instead of executing a program.
    pub(crate) fn hide_title(&self, init: bool) {
        let built_in = !matches!(self.spec.program, Program::Exec { .. });
        if let (true, Some(title)) = (init || built_in, &self.title) {
            title.set(if built_in {
                "isola-builtin"
            } else {
                "isola-init"
            });
        }
    }
}

/// Descriptors of a process to be, by number: the maker's half owns them.
#[derive(Debug)]
pub(crate) struct Descriptors {
    pub(crate) stdio: [RawFd; 3],
    pub(crate) keep: Vec<(RawFd, RawFd)>,
    pub(crate) program: Option<RawFd>,
    /// The standard streams are a terminal.
    pub(crate) terminal: bool,
}

/// Maker's side: everything that can be said without a child.
pub(crate) fn check(spec: &ProcessSpec) -> Result<Checked<'_>, Failure> {
    let args = match &spec.program {
        Program::Exec { args } => exec::c_strings(args, "argument")?,
        _ => Vec::new(),
    };
    if matches!(&spec.program, Program::Exec { args } if args.is_empty()) {
        return Err(failure("there is no program to run"));
    }
    limits::check(&spec.rlimits)?;
    seccomp::check(&spec.seccomp)?;
    if let Some(mask) = spec.umask.filter(|mask| *mask > 0o777) {
        return Err(failure(format!("umask {mask:o} is over 777")));
    }
    if let Some(score) = spec
        .oom_score_adj
        .filter(|score| !(-1000..=1000).contains(score))
    {
        return Err(failure(format!(
            "oom_score_adj {score} is not between -1000 and 1000"
        )));
    }
    Ok(Checked {
        spec,
        sets: Sets::parse(&spec.capabilities)?,
        args,
        env: exec::c_strings(&spec.env, "environment entry")?,
        title: Title::find(),
    })
}

/// Signals, dumps and the tie to the maker of a fresh child. Not dumpable until
/// execve: nobody in a sandbox may trace us or reach our descriptors (CVE-2016-9962).
pub(crate) fn settle_child() -> Result<(), Failure> {
    sys::reset_signals();
    umask(Mode::empty());
    sys::leave_keyring().setup(|| "leave the maker's keyring".to_owned())?;
    die_with_parent().setup(|| "tie the child to its maker".to_owned())
}

/// SIGKILL when the maker ends, and not dumpable. A change of ids undoes both.
pub(crate) fn die_with_parent() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Opens the working directory, making it when asked to.
pub(crate) fn open_cwd(tree: Tree<'_>, spec: &ProcessSpec) -> Result<OwnedFd, Failure> {
    let what = || format!("working directory '{}'", spec.cwd);
    let path = clean(&spec.cwd);
    if spec.create_cwd {
        tree.make_dir(&path).setup(what)
    } else {
        tree.open(&path, OFlags::PATH | OFlags::DIRECTORY)
            .setup(what)
    }
}

/// Tells the maker why it came to nothing, and ends.
pub(crate) fn fail(control: &Control, failure: Failure) -> ! {
    // Without a maker there is nobody to be told.
    let _ = control.send(&Message::Failed(failure));
    sys::exit(125)
}

/// Becomes the process. Never returns: descriptors are closed under the values that
/// own them in the maker's half, which must not be dropped any more.
pub(crate) fn become_it(
    checked: &Checked<'_>,
    descriptors: &Descriptors,
    mut control: Control,
    init: bool,
) -> ! {
    let failure = match prepare(checked, descriptors, &mut control) {
        Ok((program, user)) => {
            let env = exec::with_home(checked.env.clone(), &user.home);
            finish(checked, program, &env, &control, descriptors.terminal, init)
        }
        Err(failure) => failure,
    };
    fail(&control, failure)
}

fn prepare(
    checked: &Checked<'_>,
    descriptors: &Descriptors,
    control: &mut Control,
) -> Result<(Option<OwnedFd>, User), Failure> {
    let spec = checked.spec;
    let user = {
        let root = root::open_current()?;
        user::look_up(Tree(root.as_fd()), spec)?
    };
    give_streams(descriptors, &user);
    let program = arrange(descriptors, control)?;
    enter_cwd(spec)?;
    if descriptors.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .setup(|| "take the terminal".to_owned())?;
    }
    umask(Mode::from_raw_mode(spec.umask.unwrap_or(0o022)));
    limits::apply(&spec.rlimits)?;
    change_identity(checked, &user)?;
    // The maker may have ended while its end was not yet tied to ours again.
    if control.other_end_is_open() {
        Ok((program, user))
    } else {
        sys::exit(125)
    }
}

/// Pipes and terminals become the user's, so that /dev/stdout can be opened by it.
fn give_streams(descriptors: &Descriptors, user: &User) {
    for fd in descriptors.stdio {
        let fd = sys::borrow(fd);
        let ours = descriptors.terminal || file_type(fd).is_ok_and(|kind| kind == FileType::Fifo);
        if ours && user.uid != 0 {
            // A pipe that someone else made may refuse; it can still be read and written.
            let _ = fchown(fd, Some(Uid::from_raw(user.uid)), None);
        }
    }
}

fn arrange(descriptors: &Descriptors, control: &mut Control) -> Result<Option<OwnedFd>, Failure> {
    let mut wanted: Vec<(RawFd, RawFd)> = descriptors.stdio.into_iter().zip(0..).collect();
    wanted.extend(&descriptors.keep);
    let mut private = vec![std::os::fd::AsRawFd::as_raw_fd(&control.0)];
    private.extend(descriptors.program);
    let moved = fds::arrange(&wanted, &private)?;
    let old = std::mem::replace(&mut control.0, sys::adopt(moved[0]));
    // Its number was closed with all others.
    std::mem::forget(old);
    Ok(moved.get(1).map(|fd| sys::adopt(*fd)))
}

fn enter_cwd(spec: &ProcessSpec) -> Result<(), Failure> {
    let what = || format!("working directory '{}'", spec.cwd);
    let root = root::open_current()?;
    let cwd = open_cwd(Tree(root.as_fd()), spec)?;
    fchdir(&cwd).setup(what)?;
    // Outside of the root the kernel would answer "(unreachable)/..." or ENOENT.
    let place = getcwd(Vec::new()).setup(what)?;
    if place.as_bytes().first() != Some(&b'/') {
        return Err(failure(format!("{}: it is outside of the root", what())));
    }
    Ok(())
}

/// User, groups, capabilities. Every step needs a right that a later one drops.
fn change_identity(checked: &Checked<'_>, user: &User) -> Result<(), Failure> {
    let spec = checked.spec;
    if spec.no_new_privileges {
        set_no_new_privs(true).setup(|| "set no_new_privs".to_owned())?;
    }
    checked.sets.drop_bounding()?;
    set_keep_capabilities(true).setup(|| "keep the capabilities".to_owned())?;
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups)
        .map_err(|error| unmapped(format!("groups {:?}", user.groups), error))?;
    let gid = Gid::from_raw(user.gid);
    set_thread_res_gid(gid, gid, gid)
        .map_err(|error| unmapped(format!("group {}", user.gid), error))?;
    let uid = Uid::from_raw(user.uid);
    set_thread_res_uid(uid, uid, uid)
        .map_err(|error| unmapped(format!("user {}", user.uid), error))?;
    checked.sets.apply(lends_admin(checked))?;
    set_keep_capabilities(false).setup(|| "reset keep-capabilities".to_owned())?;
    die_with_parent().setup(|| "tie the child to its maker".to_owned())
}

/// A filter without no_new_privs needs CAP_SYS_ADMIN, which is then given up behind it.
fn lends_admin(checked: &Checked<'_>) -> bool {
    !checked.spec.seccomp.is_empty()
        && !checked.spec.no_new_privileges
        && !checked.sets.keeps_admin()
}

fn unmapped(what: String, error: rustix::io::Errno) -> Failure {
    match error {
        rustix::io::Errno::INVAL => {
            failure(format!("become {what}: not mapped in the user namespace"))
        }
        error => failure(format!(
            "become {what}: {}",
            crate::error::reason(&error.into())
        )),
    }
}

fn finish(
    checked: &Checked<'_>,
    program: Option<OwnedFd>,
    env: &[CString],
    control: &Control,
    terminal: bool,
    init: bool,
) -> Failure {
    // Sent before the filter, which may deny it.
    if let Err(failure) = control
        .send(&Message::Ready)
        .setup(|| "report to the maker".to_owned())
    {
        return failure;
    }
    if !checked.spec.seccomp.is_empty() {
        if let Err(failure) = seccomp::install(&checked.spec.seccomp) {
            return failure;
        }
        if lends_admin(checked)
            && let Err(failure) = checked.sets.drop_admin()
        {
            return failure;
        }
    }
    match &checked.spec.program {
        Program::Exec { .. } => {
            if init
                && let Err(failure) =
                    init1::split(terminal).setup(|| "start the program".to_owned())
            {
                return failure;
            }
            exec::run(program.as_ref().map(AsFd::as_fd), &checked.args, env)
        }
        other => crate::copy::run_built_in(other, control),
    }
}
