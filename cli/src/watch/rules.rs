//! Rules of `develop.watch`, and what changed files mean by them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use isola_build::Ignore;
use isola_compose::project::{Hook, Project, Service, WatchRule};

use crate::error::{Code, Failure, Result};

/// What editors and version control leave for moments, or for themselves; as Compose
/// has it.
const PASSING: &[&str] = &[
    "**/.git",
    "**/*~",
    "**/.*.sw?",
    "**/.*.swpx",
    "**/4913",
    "**/#*#",
    "**/.#*",
    "**/*___jb_tmp___",
    "**/*___jb_old___",
    "**/.~*",
    "**/*.kate-swp",
    "**/.goutputstream-*",
];

/// What is done when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// It is copied.
    Sync,
    /// It is copied, and the service started again.
    SyncRestart,
    /// It is copied, and a command run.
    SyncExec,
    /// The service is started again.
    Restart,
    /// The image is built anew, and instances made of it.
    Rebuild,
}

impl Action {
    fn parse(text: &str) -> Option<Action> {
        Some(match text {
            "sync" => Action::Sync,
            "sync+restart" => Action::SyncRestart,
            "sync+exec" => Action::SyncExec,
            "restart" => Action::Restart,
            "rebuild" => Action::Rebuild,
            _ => return None,
        })
    }

    fn copies(self) -> bool {
        matches!(self, Action::Sync | Action::SyncRestart | Action::SyncExec)
    }
}

/// One rule of a service.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    service: String,
    /// The folder or file, as it is called in reality.
    path: PathBuf,
    action: Action,
    target: String,
    exec: Option<Hook>,
    ignore: Ignore,
    include: Ignore,
    /// What the service's build does not see, from the build's folder on.
    unbuilt: Option<(PathBuf, Ignore)>,
    initial: bool,
}

/// All rules of a project.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    all: Vec<Rule>,
    passing: Ignore,
}

/// What a batch of changes asks for, by service.
pub(crate) type Batch = BTreeMap<String, Asked>;

/// What is to be done with one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// Files of the host and where they go, without those that are gone.
    pub(crate) copy: BTreeMap<PathBuf, BTreeSet<String>>,
    /// Paths behind the wall of what is gone.
    pub(crate) remove: BTreeSet<String>,
    /// Commands, each once.
    pub(crate) exec: Vec<Hook>,
    /// It is started again.
    pub(crate) restart: bool,
    /// Its image is built anew.
    pub(crate) rebuild: bool,
    /// How many files.
    pub(crate) changes: usize,
}

impl Rules {
    /// Those of the named services, or of all.
    ///
    /// # Errors
    /// A pattern that is none, a path that is not there, a rule that can't be carried
    /// out, or no rules at all.
    pub(crate) fn of(project: &Project, services: &[String]) -> Result<Rules> {
        let passing: Vec<String> = PASSING.iter().map(|text| (*text).to_owned()).collect();
        let passing = Ignore::of_patterns(&passing).map_err(Failure::internal)?;
        let mut all = Vec::new();
        for (name, service) in &project.services {
            if !services.is_empty() && !services.contains(name) {
                continue;
            }
            let Some(develop) = &service.develop else {
                continue;
            };
            for (index, rule) in develop.watch.iter().enumerate() {
                let about = format!("services.{name}.develop.watch[{index}]");
                all.extend(Rule::of(name, service, rule).map_err(|failure| failure.about(&about))?);
            }
        }
        if all.is_empty() {
            let message = "no service that is meant has a rule to watch files by";
            return Err(Failure::new(Code::ComposeFile, message)
                .hint("give one a `develop.watch` section with `path` and `action`"));
        }
        Ok(Rules { all, passing })
    }

    /// The folders and files to be looked after.
    pub(crate) fn roots(&self) -> BTreeSet<&Path> {
        self.all.iter().map(|rule| rule.path.as_path()).collect()
    }

    /// Whether some rule may care for what is at, or in, a path.
    pub(crate) fn cares(&self, path: &Path) -> bool {
        self.all.iter().any(|rule| {
            rule.below(path)
                .is_some_and(|rest| !rule.leaves_out(path, &rest, &self.passing, true))
        })
    }

    /// What is to be done about paths that have changed; `initial` are all files that
    /// there are when it begins.
    pub(crate) fn batch<'a>(
        &self,
        paths: impl IntoIterator<Item = &'a PathBuf>,
        initial: bool,
    ) -> Batch {
        let mut batch = Batch::new();
        for path in paths {
            let there = std::fs::symlink_metadata(path).is_ok();
            let mut counted = BTreeSet::new();
            for rule in self.all.iter().filter(|rule| rule.initial || !initial) {
                let Some(rest) = rule.below(path) else {
                    continue;
                };
                if rule.leaves_out(path, &rest, &self.passing, false) {
                    continue;
                }
                let asked = batch.entry(rule.service.clone()).or_default();
                if counted.insert(&rule.service) {
                    asked.changes += 1;
                }
                asked.add(rule, path, &rest, there, initial);
            }
        }
        batch
    }
}

impl Asked {
    fn add(&mut self, rule: &Rule, path: &Path, rest: &str, there: bool, initial: bool) {
        if rule.action.copies() {
            let inside = rule.inside(rest);
            match there {
                true => {
                    let to = self.copy.entry(path.to_owned()).or_default();
                    to.insert(inside);
                }
                // The whole of what is watched may be away for a moment.
                false if rest.is_empty() => {}
                false => drop(self.remove.insert(inside)),
            }
        }
        if initial {
            return;
        }
        self.rebuild |= rule.action == Action::Rebuild;
        self.restart |= matches!(rule.action, Action::Restart | Action::SyncRestart);
        if let (Action::SyncExec, Some(hook)) = (rule.action, &rule.exec)
            && !self.exec.contains(hook)
        {
            self.exec.push(hook.clone());
        }
    }
}

impl Rule {
    /// None where a bind mount shows the files already.
    fn of(name: &str, service: &Service, rule: &WatchRule) -> Result<Option<Rule>> {
        let wrong = |message: String| Failure::new(Code::ComposeFile, message);
        let action = Action::parse(&rule.action)
            .ok_or_else(|| wrong(format!("there is no action {:?}", rule.action)))?;
        if action == Action::Rebuild && service.build.is_none() {
            return Err(
                wrong("a service without `build` can't be rebuilt".to_owned())
                    .hint("take another action, or give the service a `build` section"),
            );
        }
        let path = std::fs::canonicalize(&rule.path)
            .map_err(|error| Failure::system(format!("watch {}", rule.path), error))?;
        let bound = service.volumes.iter().any(|mount| {
            let source = mount.source.as_ref().filter(|_| mount.kind == "bind");
            source
                .and_then(|source| std::fs::canonicalize(source).ok())
                .is_some_and(|source| path.starts_with(source))
        });
        if action.copies() && bound {
            eprintln!(
                "warning: services.{name}: {} is shown by a bind mount already, and not watched",
                rule.path
            );
            return Ok(None);
        }
        if action == Action::SyncExec
            && rule
                .exec
                .as_ref()
                .and_then(|hook| hook.command.as_ref())
                .is_none_or(Vec::is_empty)
        {
            return Err(wrong("sync+exec needs a command".to_owned())
                .hint("write `exec: {command: [...]}`"));
        }
        let patterns = |list: &[String]| {
            Ignore::of_patterns(list).map_err(|why| wrong(format!("a pattern: {why}")))
        };
        Ok(Some(Rule {
            service: name.to_owned(),
            action,
            target: rule.target.clone().unwrap_or_default(),
            exec: rule.exec.clone(),
            ignore: patterns(&rule.ignore)?,
            include: patterns(&rule.include)?,
            unbuilt: unbuilt(service)?,
            initial: rule.initial_sync && action.copies(),
            path,
        }))
    }

    /// The rest of a path that is watched by this rule.
    fn below(&self, path: &Path) -> Option<String> {
        let rest = path.strip_prefix(&self.path).ok()?;
        Some(rest.to_string_lossy().into_owned())
    }

    /// `folder`: something below may be wanted though the path itself is not.
    fn leaves_out(&self, path: &Path, rest: &str, passing: &Ignore, folder: bool) -> bool {
        let excludes = |ignore: &Ignore, rest: &str| {
            ignore.excludes(rest) && !(folder && ignore.brings_back())
        };
        let unbuilt = self.unbuilt.as_ref().is_some_and(|(context, ignore)| {
            path.strip_prefix(context)
                .is_ok_and(|rest| excludes(ignore, &rest.to_string_lossy()))
        });
        let included = folder || self.include.is_empty() || self.include.excludes(rest);
        unbuilt || excludes(passing, rest) || excludes(&self.ignore, rest) || !included
    }

    /// Where it is behind the wall.
    fn inside(&self, rest: &str) -> String {
        match rest.is_empty() {
            true => self.target.clone(),
            false => format!("{}/{rest}", self.target.trim_end_matches('/')),
        }
    }
}

/// `.dockerignore` of the folder that a service is built from.
fn unbuilt(service: &Service) -> Result<Option<(PathBuf, Ignore)>> {
    let Some(build) = &service.build else {
        return Ok(None);
    };
    let Ok(context) = std::fs::canonicalize(&build.context) else {
        return Ok(None);
    };
    let file = build.dockerfile.as_deref().unwrap_or("Dockerfile");
    let own = context.join(format!("{file}.dockerignore"));
    let found = [own, context.join(".dockerignore")];
    let Some(file) = found.iter().find(|path| path.is_file()) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::system(format!("read {}", file.display()), error))?;
    let ignore = Ignore::parse(&text).map_err(|(line, why)| {
        Failure::new(
            Code::Dockerfile,
            format!("{}:{line}: {why}", file.display()),
        )
    })?;
    Ok(Some((context, ignore)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(folder: &Path, watch: Vec<WatchRule>) -> Rules {
        std::fs::create_dir_all(folder.join("src/sub")).unwrap();
        std::fs::write(folder.join(".dockerignore"), "*.log\nsrc/gen\n").unwrap();
        let mut project = Project::default();
        let service = Service {
            build: Some(isola_compose::project::Build {
                context: folder.to_string_lossy().into_owned(),
                ..Default::default()
            }),
            develop: Some(isola_compose::project::Develop { watch }),
            ..Service::default()
        };
        project.services.insert("web".to_owned(), service);
        Rules::of(&project, &[]).unwrap()
    }

    fn rule(folder: &Path, action: &str) -> WatchRule {
        WatchRule {
            path: folder.join("src").to_string_lossy().into_owned(),
            action: action.to_owned(),
            target: Some("/app/".to_owned()),
            ..WatchRule::default()
        }
    }

    #[test]
    fn files_go_where_rules_say() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let watch = WatchRule {
            ignore: vec!["node_modules".to_owned()],
            ..rule(&root, "sync")
        };
        let rules = rules(&root, vec![watch]);
        for name in ["a.py", "sub/b.py"] {
            std::fs::write(root.join("src").join(name), "x").unwrap();
        }
        let path = |name: &str| root.join("src").join(name);
        let all = [
            "a.py",
            "sub/b.py",
            "gone",
            "x.log",
            "gen/x",
            "node_modules/x",
            ".a.py.swp",
            "a.py~",
            ".git/x",
        ];
        let paths: Vec<PathBuf> = all.map(path).into();
        let batch = rules.batch(&paths, false);
        let asked = &batch["web"];
        let copy: Vec<(&PathBuf, Vec<&String>)> = asked
            .copy
            .iter()
            .map(|(path, to)| (path, to.iter().collect()))
            .collect();
        assert_eq!(copy.len(), 2, "{copy:?}");
        assert_eq!(copy[0].1, ["/app/a.py"]);
        assert_eq!(copy[1].1, ["/app/sub/b.py"]);
        // `*.log` stands for those of the build's folder itself.
        let removed: Vec<&String> = asked.remove.iter().collect();
        assert_eq!(removed, ["/app/gone", "/app/x.log"]);
        assert!(!asked.restart && !asked.rebuild);
        assert!(rules.cares(&path("sub")) && !rules.cares(&path("gen")));
        assert!(!rules.cares(&root), "above it is of no interest");
        assert!(rules.batch(&paths, true).is_empty(), "not at the start");
    }

    #[test]
    fn several_rules_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let only = WatchRule {
            include: vec!["*.conf".to_owned()],
            ..rule(&root, "sync+restart")
        };
        let first = WatchRule {
            initial_sync: true,
            ..rule(&root, "sync")
        };
        let rules = rules(&root, vec![first, only, rule(&root, "rebuild")]);
        std::fs::write(root.join("src/a.conf"), "x").unwrap();
        let paths = [root.join("src/a.conf")];
        let batch = rules.batch(&paths, false);
        let asked = &batch["web"];
        assert!(asked.restart && asked.rebuild);
        assert_eq!(asked.changes, 1);
        let gone = [root.join("src/b.txt")];
        let batch = rules.batch(&gone, false);
        assert!(!batch["web"].restart, "*.conf alone");
        let start = &rules.batch(&paths, true)["web"];
        assert!(start.copy.len() == 1 && !start.restart && !start.rebuild);
    }
}
