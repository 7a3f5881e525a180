//! What is wrong with a file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// A position in one of the files that were read: the file's index in
/// [`Sources`], line and column from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The files that were read, in order.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    names: Vec<PathBuf>,
}

impl Sources {
    /// Remembers a file and gives its index.
    pub(crate) fn add(&mut self, path: &Path) -> u32 {
        self.names.push(path.to_owned());
        u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX)
    }

    /// The file at an index.
    pub(crate) fn name(&self, file: u32) -> &Path {
        let index = usize::try_from(file).unwrap_or(usize::MAX);
        self.names
            .get(index)
            .map_or(Path::new(""), PathBuf::as_path)
    }

    /// `FILE:LINE:COLUMN`
    pub fn show(&self, place: Place) -> String {
        let name = self.name(place.file).display();
        format!("{name}:{}:{}", place.line, place.column)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// Something in it has no effect here, or probably not the wished one.
    Warning,
    /// Something was read as something else.
    Note,
}

/// One thing to tell about a file: what, where, and what may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where; `None` for what comes from the command line or the environment.
    pub place: Option<Place>,
    /// What, in one line, without the place.
    pub message: String,
    /// The next step.
    pub hint: String,
}

impl Diagnostic {
    /// An error at a place.
    pub(crate) fn error(
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            place: Some(place),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// An error of the command line or the environment.
    pub(crate) fn outside(message: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
        Diagnostic {
            place: None,
            ..Diagnostic::error(Place::default(), message, hint)
        }
    }

    /// The same with another severity.
    pub(crate) fn severity(self, severity: Severity) -> Diagnostic {
        Diagnostic { severity, ..self }
    }

    /// `FILE:LINE:COLUMN: message`
    pub fn line(&self, sources: &Sources) -> String {
        match self.place {
            Some(place) => format!("{}: {}", sources.show(place), self.message),
            None => self.message.clone(),
        }
    }
}

/// Collects diagnostics, so that one run tells about all errors.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) sources: Sources,
    pub(crate) all: Vec<Diagnostic>,
}

impl Sink {
    /// An error at a place.
    pub(crate) fn error(
        &mut self,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.all.push(Diagnostic::error(place, message, hint));
    }

    /// A warning at a place.
    pub(crate) fn warn(
        &mut self,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let diagnostic = Diagnostic::error(place, message, hint);
        self.all.push(diagnostic.severity(Severity::Warning));
    }

    /// A note at a place.
    pub(crate) fn note(
        &mut self,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let diagnostic = Diagnostic::error(place, message, hint);
        self.all.push(diagnostic.severity(Severity::Note));
    }

    /// Whether the file can't be used.
    pub(crate) fn failed(&self) -> bool {
        self.all
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// `Err` when something so far can't be used.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        match self.failed() {
            true => Err(Stop),
            false => Ok(()),
        }
    }

    /// Takes a diagnostic and stops.
    pub(crate) fn stop(&mut self, diagnostic: Diagnostic) -> Stop {
        self.all.push(diagnostic);
        Stop
    }
}

/// There is no point in going on; the sink knows why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop;

/// How the message begins that there is no file.
pub(crate) const NO_FILE: &str = "no compose file in ";

/// Why a project can't be used: all diagnostics, errors first.
#[derive(Clone, Debug)]
pub struct Invalid {
    /// Errors, then warnings and notes, each in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// For showing places.
    pub sources: Sources,
}

impl Invalid {
    /// Whether all that is wrong is that there is no file.
    pub fn is_without_file(&self) -> bool {
        let mut errors = self
            .diagnostics
            .iter()
            .filter(|it| it.severity == Severity::Error);
        errors.all(|it| it.message.starts_with(NO_FILE))
    }

    pub(crate) fn new(sink: Sink) -> Invalid {
        let mut diagnostics = sink.all;
        diagnostics.sort_by_key(|diagnostic| (diagnostic.severity, diagnostic.place));
        diagnostics.dedup();
        Invalid {
            diagnostics,
            sources: sink.sources,
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            let severity = match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            writeln!(f, "{severity}: {}", diagnostic.line(&self.sources))?;
            writeln!(f, "hint: {}", diagnostic.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// The candidate that a misspelt word probably meant: one letter in three may
/// differ, and neighbours that changed places count once.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint with the probable word, or with all of them.
pub(crate) fn hint_among<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(candidate) = did_you_mean(word, candidates.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    let mut all: Vec<&str> = candidates.into_iter().collect();
    all.sort_unstable();
    match all.len() {
        0 => "there are none".into(),
        1..=12 => format!("there are {}", all.join(", ")),
        count => format!("there are {} and {} more", all[..10].join(", "), count - 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_are_found() {
        for (word, meant) in [
            ("port", Some("ports")),
            ("imgae", Some("image")),
            ("volume", Some("volumes")),
            ("zzz", None),
        ] {
            assert_eq!(
                did_you_mean(word, ["ports", "image", "volumes"]),
                meant,
                "{word}"
            );
        }
    }
}
