//! `isola login`

use std::io::{self, BufRead, IsTerminal, Read, Write};

use isola_images::registry::{Credentials, KeptIn, registry_name};

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_line;
use crate::terminal::RawMode;

/// Log in to a registry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name; asked for if not given
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or token; others can see it in the list of processes
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Registry HOST[:PORT]; docker.io if not given
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola login registry.example.org:5000
  isola login --username me --password-stdin registry.example.org < token
  isola login -u me";

/// Longest name or password.
const MAX_SECRET: u64 = 64 << 10;

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let registry = registry_name(args.registry.as_deref().unwrap_or_default())?;
    let client = context.registries()?;
    if args.password_stdin && args.username.is_none() {
        return Err(Failure::new(
            Code::Usage,
            "--password-stdin needs the name, too: --username NAME",
        ));
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask("Username: ", false)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => from_stdin()?,
        None => ask("Password: ", true)?,
    };
    if user.is_empty() || password.is_empty() || user.contains(':') {
        let message = "a login needs a name without a colon, and a password";
        return Err(Failure::new(Code::Invalid, message));
    }
    match client.login(&registry, &Credentials::Password { user, password })? {
        KeptIn::File(path) => {
            let _ = writeln!(
                io::stderr(),
                "warning: the password is kept unencrypted in {}; a credential helper keeps it better",
                path.display()
            );
        }
        KeptIn::Helper(_) => {}
    }
    print_line("Login Succeeded")?;
    Ok(Exit::OK)
}

/// All of it, without the line's end.
fn from_stdin() -> Result<String> {
    let mut text = String::new();
    let mut stdin = io::stdin().lock().take(MAX_SECRET);
    stdin
        .read_to_string(&mut text)
        .map_err(|error| Failure::system("read the password", error))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks on the terminal.
fn ask(question: &str, secret: bool) -> Result<String> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Code::Usage,
            "there is no terminal to ask for name and password on",
        )
        .hint("give them with --username and --password-stdin"));
    }
    let failed = |error| Failure::system("read from the terminal", error);
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{question}");
    let _ = stderr.flush();
    if secret {
        let answer = hidden();
        let _ = writeln!(stderr);
        return answer;
    }
    let mut line = String::new();
    let mut stdin = io::stdin().lock().take(MAX_SECRET);
    stdin.read_line(&mut line).map_err(failed)?;
    Ok(line.trim().to_owned())
}

/// A line that is not shown. In raw mode the keys that end the process come as
/// bytes, so the terminal is itself again in any case.
fn hidden() -> Result<String> {
    let _raw = RawMode::enter()?;
    let mut bytes = Vec::new();
    for byte in io::stdin().lock().take(MAX_SECRET).bytes() {
        match byte.map_err(|error| Failure::system("read from the terminal", error))? {
            b'\r' | b'\n' | 4 => break,
            3 => return Err(Failure::new(Code::Usage, "interrupted").exit(130)),
            8 | 0x7f => drop(bytes.pop()),
            21 => bytes.clear(),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| Failure::new(Code::Invalid, "the password is not UTF-8"))
}
