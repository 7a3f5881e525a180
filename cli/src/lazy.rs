//! Flags of verbs that nobody called are not defined.
//!
//! There are a hundred verbs, and to define the flags of all of them takes longer than
//! many a verb itself. A verb is only called by its name as a word of its own, so while
//! [`defining`] is given the words of a command line, a verb in a [`Lazy`] whose name is
//! none of them is there without its flags.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsString;
use std::ops::Deref;

use clap::{ArgMatches, Args, Command, FromArgMatches};

thread_local! {
    static WORDS: RefCell<Option<HashSet<OsString>>> = const { RefCell::new(None) };
}

/// Makes a definition in which only verbs among the words have flags.
pub(crate) fn defining(words: &[OsString], define: impl FnOnce() -> Command) -> Command {
    WORDS.set(Some(words.iter().cloned().collect()));
    let command = define();
    WORDS.set(None);
    command
}

/// Whether each verb of these matches was among the words by its own name: by an alias
/// one is called whose flags are not there.
pub(crate) fn covers(words: &[OsString], matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((name, within)) => words.iter().any(|word| word == name) && covers(words, within),
        None => true,
    }
}

fn is_called(name: &str) -> bool {
    WORDS.with_borrow(|words| {
        let Some(words) = words else { return true };
        words.contains(std::ffi::OsStr::new(name))
    })
}

/// The flags of a verb.
#[derive(Debug)]
pub(crate) struct Lazy<A>(A);

impl<A> Deref for Lazy<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

impl<A: FromArgMatches> FromArgMatches for Lazy<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches(matches).map(Lazy)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches_mut(matches).map(Lazy)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<A: Args> Args for Lazy<A> {
    fn augment_args(command: Command) -> Command {
        match is_called(command.get_name()) {
            true => A::augment_args(command),
            false => command,
        }
    }

    fn augment_args_for_update(command: Command) -> Command {
        A::augment_args_for_update(command)
    }
}
