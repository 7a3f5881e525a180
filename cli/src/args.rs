//! The command line as a whole: global flags, help, and what its errors end with.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, FromArgMatches, Parser};

use crate::commands::{GROUPS, Verb};
use crate::error::{Code, Exit, Failure};
use crate::lazy;

/// One OCI image, run as a container or as a KVM microVM.
#[derive(Debug, Parser)]
#[command(
    name = "isola",
    version,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub(crate) struct CommandLine {
    /// Data root
    #[arg(
        long,
        global = true,
        env = "ISOLA_ROOT",
        value_name = "DIR",
        hide_env_values = true
    )]
    #[arg(value_hint = clap::ValueHint::DirPath, help_heading = "Global options")]
    pub(crate) root: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// `--format json` was given, so errors are JSON too.
    #[arg(skip)]
    pub(crate) json: bool,
}

/// Reads the command line. Help, version and errors are printed here; the code
/// to end with is then returned.
pub(crate) fn read(words: impl IntoIterator<Item = OsString>) -> Result<CommandLine, Exit> {
    let words: Vec<OsString> = words.into_iter().collect();
    let json = asks_for_json(&words);
    match read_usual(&words).map_or_else(|| read_any(&words), Ok) {
        Ok(parsed) => Ok(CommandLine { json, ..parsed }),
        Err(error) => Err(refuse(&error, json)),
    }
}

/// Reads a command line that is right, by the flags of its verbs alone; nothing where
/// there is more to it.
fn read_usual(words: &[OsString]) -> Option<CommandLine> {
    if words.iter().any(|word| switch_value(word).is_some()) {
        return None;
    }
    let command = lazy::defining(words, CommandLine::command);
    let matches = command.try_get_matches_from(words).ok()?;
    match lazy::covers(words, &matches) {
        true => CommandLine::from_arg_matches(&matches).ok(),
        false => None,
    }
}

/// Reads any, by all flags of all verbs.
fn read_any(words: &[OsString]) -> Result<CommandLine, clap::Error> {
    let mut command = command();
    if words.iter().any(|word| switch_value(word).is_some()) {
        command = with_switch_values(command);
    }
    let matches = command.try_get_matches_from(words)?;
    CommandLine::from_arg_matches(&matches)
}

/// The parser, with verbs under headings in its help.
pub(crate) fn command() -> Command {
    let command = CommandLine::command();
    let text = overview(&command);
    command.help_template(text)
}

fn overview(command: &Command) -> String {
    let mut text = String::from("{about}\n\n{usage-heading} {usage}\n");
    for (heading, verbs) in GROUPS {
        text.push_str(&format!("\n{heading}:\n"));
        for verb in *verbs {
            let about = command.find_subcommand(verb).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {verb:<14}{about}\n"));
        }
    }
    text.push_str(
        "\nOptions:\n{options}\n\nExamples:\n  isola run --rm isola/demo\n  \
         isola run --rm --isolation emulated isola/demo\n  isola doctor\n\n\
         `isola VERB --help` tells more about a verb.",
    );
    text
}

/// Docker takes `--rm=false`; a switch here takes no value unless somebody
/// writes one, so that help stays short.
fn with_switch_values(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_action() {
        clap::ArgAction::SetTrue => arg
            .action(clap::ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(clap::builder::BoolishValueParser::new()),
        _ => arg,
    });
    command.mut_subcommands(with_switch_values)
}

fn switch_value(word: &OsStr) -> Option<&str> {
    let (name, value) = word.to_str()?.split_once('=')?;
    let switch = name.len() > 1 && name.starts_with('-');
    (switch && matches!(value, "true" | "false" | "1" | "0")).then_some(value)
}

/// Whether the verb was asked for JSON. What follows the image of `run` or the
/// instance of `exec` is not ours.
fn asks_for_json(words: &[OsString]) -> bool {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    let mut before = "";
    words.any(|word| {
        let foreign = matches!(word, "run" | "create" | "exec" | "--");
        let json =
            word == "--format=json" || (matches!(before, "--format" | "-f") && word == "json");
        before = if foreign { "" } else { word };
        json
    })
}

/// Prints what clap has to say. Docker's exit codes: 0 for help, 125 for wrong
/// flags, 1 for unknown verbs and wrong numbers of arguments.
fn refuse(error: &clap::Error, json: bool) -> Exit {
    let (message, exit) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return Exit::OK;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return Exit(1);
        }
        ErrorKind::InvalidSubcommand => ("unknown verb".to_owned(), 1),
        ErrorKind::MissingRequiredArgument | ErrorKind::MissingSubcommand => (first_line(error), 1),
        _ => (first_line(error), 125),
    };
    let message = match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(verb))) => {
            format!("{message} {verb:?}")
        }
        _ => message,
    };
    let failure = Failure::new(Code::Usage, message).exit(exit);
    let failure = match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure.hint("`isola --help` lists the verbs, `isola VERB --help` their flags"),
    };
    failure.report(json);
    Exit(failure.exit)
}

/// The message without clap's prefix, usage and tips; continuation lines (names
/// of missing arguments) are joined to it.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("\n\n").next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join(" ")
}

/// "did you mean", from what clap found similar, or a verb with its letters
/// swapped.
fn hint(error: &clap::Error) -> Option<String> {
    if let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) {
        let mut verbs = GROUPS.iter().flat_map(|(_, verbs)| *verbs);
        if let Some(verb) = verbs.find(|verb| sorted(verb) == sorted(typed)) {
            return Some(format!("did you mean {verb}?"));
        }
    }
    let similar = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    let words = match similar.iter().find_map(|kind| error.get(*kind))? {
        ContextValue::String(word) => word.clone(),
        ContextValue::Strings(words) => words.join(", "),
        _ => return None,
    };
    Some(format!("did you mean {words}?"))
}

fn sorted(word: &str) -> Vec<char> {
    let mut letters: Vec<char> = word.chars().collect();
    letters.sort_unstable();
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
        with_switch_values(command()).debug_assert();
    }

    #[test]
    fn every_verb_is_in_the_overview_once() {
        let command = command();
        let mut listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, verbs)| *verbs)
            .copied()
            .collect();
        let mut known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn every_verb_has_three_examples() {
        for verb in command().get_subcommands() {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let examples = help
                .lines()
                .filter(|line| line.starts_with("  ") && line.contains("isola "))
                .count();
            assert!(examples >= 3, "{} has {examples} examples", verb.get_name());
        }
    }

    #[test]
    fn wrong_command_lines_end_with_dockers_codes() {
        for (line, exit) in [
            ("isola run --nosuch x", 125),
            ("isola ps --nosuch", 125),
            ("isola nosuch", 1),
            ("isola stop", 1),
            ("isola run --help", 0),
        ] {
            assert_eq!(read(words(line)).err(), Some(Exit(exit)), "{line}");
        }
    }

    #[test]
    fn flags_of_the_called_verbs_are_enough() {
        for line in [
            "isola run --rm -e A=1 img ps --nosuch",
            "isola --root /x ps -a",
            "isola ps --root /x --format json",
            "isola compose -f a.yaml up -d --wait",
            "isola compose run svc ps",
            "isola image ls",
            "isola network connect lan ps",
        ] {
            let usual = read_usual(&words(line)).expect(line);
            let any = read_any(&words(line)).expect(line);
            assert_eq!(format!("{usual:?}"), format!("{any:?}"), "{line}");
        }
        // By an alias, with a value, wrong, or help: all flags are asked.
        for line in [
            "isola list -a",
            "isola compose convert",
            "isola run --rm=true img",
            "isola nosuch",
            "isola run",
            "isola --help",
            "isola compose up --help",
        ] {
            assert!(read_usual(&words(line)).is_none(), "{line}");
        }
        assert!(matches!(
            read(words("isola compose convert")).unwrap().verb,
            Verb::Compose(_)
        ));
    }

    #[test]
    fn what_follows_the_image_belongs_to_the_command() {
        let line = read(words(
            "isola run --rm=true -it=false img ls --rm -d --format json",
        ))
        .unwrap();
        assert!(!line.json || matches!(line.verb, Verb::Run(_)));
        assert!(read(words("isola ps --format json")).unwrap().json);
        assert!(!read(words("isola run img x --format x json")).unwrap().json);
    }
}
