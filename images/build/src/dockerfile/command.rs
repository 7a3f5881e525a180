//! Commands in JSON form and in shell form.

/// A command of RUN, CMD or ENTRYPOINT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A JSON array: program and arguments.
    Exec(Vec<String>),
    /// For the shell.
    Shell(String),
}

impl Command {
    /// Reads one. What begins like an array and is none is for the shell.
    pub fn parse(text: &str) -> Command {
        match json(text) {
            Some(words) => Command::Exec(words),
            None => Command::Shell(text.to_owned()),
        }
    }

    /// The arguments to run, with this shell.
    pub fn args(&self, shell: &[String]) -> Vec<String> {
        match self {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) => [shell, std::slice::from_ref(text)].concat(),
        }
    }
}

/// A JSON array of strings.
pub(super) fn json(text: &str) -> Option<Vec<String>> {
    match text.starts_with('[') {
        true => serde_json::from_str(text).ok(),
        false => None,
    }
}
