//! `isola completion`

use clap_complete::env::Shells;

use crate::complete::VARIABLE;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_bytes;

/// Print what makes a shell complete the verbs, flags and names of isola
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

const EXAMPLES: &str = "Examples:
  isola completion bash > /etc/bash_completion.d/isola
  isola completion zsh > \"${fpath[1]}/_isola\"
  isola completion fish > ~/.config/fish/completions/isola.fish";

pub(crate) fn run(args: &Args, _: &Context) -> Result<Exit> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell).ok_or_else(|| {
        Failure::new(
            Code::Invalid,
            format!("there is no completion for {}", args.shell),
        )
    })?;
    shell
        .write_registration(VARIABLE, "isola", "isola", "isola", &mut script)
        .map_err(|error| Failure::system("write the completion", error))?;
    print_bytes(&script)?;
    Ok(Exit::OK)
}
