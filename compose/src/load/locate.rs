//! Which files, which folder, which variables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Loader, Result};
use crate::diagnostic::{Diagnostic, NO_FILE, Place, Severity};
use crate::dotenv;
use crate::forms::{absolute, clean};

/// Names that are looked for, the first found wins.
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// Names of files that are taken with one of those, the first found wins.
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) directory: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Loader<'_> {
    pub(super) fn locate(&mut self) -> Result<Located> {
        let request = self.request;
        let folder = &request.folder;
        let given = request
            .project_directory
            .as_ref()
            .map(|directory| clean(&folder.join(directory)));
        let first = request.files.first().filter(|file| *file != Path::new("-"));
        let beside = first.and_then(|file| Some(clean(&folder.join(file)).parent()?.to_owned()));
        let start = given.clone().or(beside).unwrap_or_else(|| folder.clone());
        // `.env` may name the files, and the files tell which `.env` it is.
        let mut environment = self.environment(&start)?;
        let files = self.find_files(&start, &environment)?;
        let directory = given.unwrap_or_else(|| match files.first() {
            Some(file) if file != Path::new("-") => file.parent().unwrap_or(folder).to_owned(),
            _ => folder.clone(),
        });
        if directory != start {
            for (name, value) in self.environment(&directory)? {
                environment.entry(name).or_insert(value);
            }
        }
        Ok(Located {
            directory,
            files,
            environment,
        })
    }

    fn find_files(
        &mut self,
        start: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Vec<PathBuf>> {
        let folder = &self.request.folder;
        let home = self.home.clone();
        let place = |file: &str| match file {
            "-" => PathBuf::from(file),
            file => absolute(folder, home.as_deref(), file),
        };
        let given = self
            .request
            .files
            .iter()
            .map(|file| file.to_string_lossy().into_owned());
        let mut files: Vec<String> = given.collect();
        if files.is_empty()
            && let Some(list) = environment.get("COMPOSE_FILE")
        {
            files = match environment
                .get("COMPOSE_PATH_SEPARATOR")
                .map_or(":", String::as_str)
            {
                "" => vec![list.clone()],
                separator => list.split(separator).map(str::to_owned).collect(),
            };
            files.retain(|file| !file.is_empty());
        }
        let remote = |file: &&String| file.contains("://") || file.starts_with("git@");
        if let Some(file) = files.iter().find(remote) {
            let message = format!("{file}: compose files from the net are not supported");
            let hint = "fetch it first and give its path";
            return Err(self.sink.stop(Diagnostic::outside(message, hint)));
        }
        match files.is_empty() {
            true => self.usual_files(start),
            false => Ok(files.iter().map(|file| place(file)).collect()),
        }
    }

    /// In the folder or the nearest one above it.
    fn usual_files(&mut self, start: &Path) -> Result<Vec<PathBuf>> {
        for folder in start.ancestors() {
            let there = |names: &[&str]| -> Vec<PathBuf> {
                let paths = names.iter().map(|name| folder.join(name));
                paths.filter(|path| self.files.is_file(path)).collect()
            };
            let found = there(&NAMES);
            let Some(file) = found.first() else {
                continue;
            };
            let mut files = vec![file.clone()];
            let overrides = there(&OVERRIDES);
            files.extend(overrides.first().cloned());
            for (list, kind) in [(&found, "compose files"), (&overrides, "override files")] {
                if let [used, _, ..] = list.as_slice() {
                    let message = format!("several {kind} are here; {} is used", used.display());
                    let diagnostic =
                        Diagnostic::outside(message, "remove the others, or choose by -f");
                    self.sink.all.push(diagnostic.severity(Severity::Warning));
                }
            }
            return Ok(files);
        }
        let message = format!("{NO_FILE}{} or above it", start.display());
        let hint = "write a compose.yaml, or give one by -f";
        Err(self.sink.stop(Diagnostic::outside(message, hint)))
    }

    /// The user's variables, over those of `--env-file`, `COMPOSE_ENV_FILES` or
    /// the folder's `.env`.
    fn environment(&mut self, directory: &Path) -> Result<BTreeMap<String, String>> {
        let request = self.request;
        let mut files: Vec<PathBuf> = request.env_files.clone();
        if files.is_empty()
            && let Some(list) = request.environment.get("COMPOSE_ENV_FILES")
        {
            files = list
                .split(',')
                .filter(|file| !file.is_empty())
                .map(PathBuf::from)
                .collect();
        }
        let disabled = request.environment.get("COMPOSE_DISABLE_ENV_FILE");
        let disabled = disabled.is_some_and(|value| matches!(value.as_str(), "1" | "true"));
        if files.is_empty() {
            let usual = directory.join(".env");
            files.extend(Some(usual).filter(|path| !disabled && self.files.is_file(path)));
        }
        let paths = files.iter().map(|file| file.to_string_lossy());
        let home = self.home.clone();
        let paths = paths.map(|file| absolute(&request.folder, home.as_deref(), &file));
        let mut environment = self.env_files(paths, &request.environment)?;
        environment.extend(request.environment.clone());
        Ok(environment)
    }

    /// Variables of several files: later ones win, and may use those of earlier ones.
    /// `outer` wins over all of them where they are used.
    pub(super) fn env_files(
        &mut self,
        paths: impl Iterator<Item = PathBuf>,
        outer: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        let mut environment = BTreeMap::new();
        for path in paths {
            let lookup = |name: &str| outer.get(name).or(environment.get(name)).cloned();
            let pairs = self.env_file(&path, &lookup, false)?;
            let set = pairs.into_iter();
            environment.extend(set.filter_map(|(name, value)| Some((name, value?))));
        }
        Ok(environment)
    }

    /// Reads a file of variables.
    pub(super) fn env_file(
        &mut self,
        path: &Path,
        outer: &dyn Fn(&str) -> Option<String>,
        raw: bool,
    ) -> Result<dotenv::Pairs> {
        let content = self.files.read(path).map_err(|error| {
            let message = format!("cannot read the variables in {}: {error}", path.display());
            let hint = "files of variables are named by --env-file, COMPOSE_ENV_FILES and env_file";
            self.sink.stop(Diagnostic::outside(message, hint))
        })?;
        let text = String::from_utf8_lossy(&content);
        let parsed = match raw {
            true => dotenv::parse_raw(&text, outer),
            false => dotenv::parse(&text, outer),
        };
        parsed.map_err(|fault| {
            let shown = path.strip_prefix(&self.request.folder).unwrap_or(path);
            let place = Place {
                file: self.sink.sources.add(shown),
                line: fault.line,
                column: fault.column,
            };
            self.sink.stop(Diagnostic::error(
                place,
                fault.wrong.message,
                fault.wrong.hint,
            ))
        })
    }
}
