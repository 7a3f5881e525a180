//! Text to project. Nothing here looks at the machine but through [`Files`], and
//! nothing is changed: the same files and variables give the same project.

mod bases;
mod extend;
mod file;
mod finish;
mod include;
mod locate;
mod name;
mod select;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use isola_runtime::workload::Isolation;

use crate::builds;
use crate::diagnostic::{Diagnostic, Invalid, Sink, Sources, Stop};
use crate::merge;
use crate::project::Project;
use crate::schema::PROJECT;
use crate::walls;
use crate::yaml::{Data, Node, parse};

pub(crate) use bases::built_upon;
pub(crate) use locate::Located;

/// What files say. The path `-` is standard input.
pub trait Files {
    /// The content of a file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Whether there is a file (not a folder).
    fn is_file(&self, path: &Path) -> bool;
}

/// Files of the host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

/// Compose files have kilobytes; what is larger is some other file.
const LARGEST: u64 = 16 << 20;

impl Files for Host {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        use std::io::Read;
        let mut content = Vec::new();
        let read = match path == Path::new("-") {
            true => io::stdin().take(LARGEST + 1).read_to_end(&mut content)?,
            false => std::fs::File::open(path)?
                .take(LARGEST + 1)
                .read_to_end(&mut content)?,
        };
        if read as u64 > LARGEST {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "more than 16 MiB",
            ));
        }
        Ok(content)
    }

    fn is_file(&self, path: &Path) -> bool {
        // A pipe (`-f <(program)`) is as good as a file.
        std::fs::metadata(path).is_ok_and(|meta| !meta.is_dir())
    }
}

/// What the user asks for: flags and surroundings.
#[derive(Clone, Debug)]
pub struct Request {
    /// The folder the user is in, absolute.
    pub folder: PathBuf,
    /// The user's environment.
    pub environment: BTreeMap<String, String>,
    /// `-f`, in order; none: `COMPOSE_FILE`, or the usual names.
    pub files: Vec<PathBuf>,
    /// `--project-directory`
    pub project_directory: Option<PathBuf>,
    /// `-p`
    pub project_name: Option<String>,
    /// `--env-file`
    pub env_files: Vec<PathBuf>,
    /// `--profile`; `*` is all.
    pub profiles: Vec<String>,
    /// Only these services and what they depend on; none: all.
    pub services: Vec<String>,
    /// `--as`
    pub walls: Vec<String>,
    /// Networks, volumes and so on that no service uses stay.
    pub unused: bool,
    /// Walls of services that name none.
    pub default_walls: Vec<Isolation>,
    /// Variables are replaced by their values.
    pub interpolate: bool,
    /// References, names and ports are checked against each other.
    pub consistency: bool,
    /// What files leave out is written in: names, defaults, the default network.
    pub normalize: bool,
    /// Paths become absolute.
    pub resolve_paths: bool,
    /// `env_file` and `label_file` are read into `environment` and `labels`.
    pub resolve_env: bool,
}

impl Request {
    /// What no flag changes.
    pub fn new(folder: PathBuf, environment: BTreeMap<String, String>) -> Request {
        Request {
            folder,
            environment,
            files: Vec::new(),
            project_directory: None,
            project_name: None,
            env_files: Vec::new(),
            profiles: Vec::new(),
            services: Vec::new(),
            walls: Vec::new(),
            unused: false,
            default_walls: vec![Isolation::Container],
            interpolate: true,
            consistency: true,
            normalize: true,
            resolve_paths: true,
            resolve_env: true,
        }
    }
}

/// A project as a tree in canonical form, and what was learnt on the way.
#[derive(Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its folder, absolute.
    pub directory: PathBuf,
    /// Its files, absolute, without included ones.
    pub files: Vec<PathBuf>,
    /// Variables: the user's environment over `.env`.
    pub environment: BTreeMap<String, String>,
    /// All profiles that services name, in order.
    pub profiles: Vec<String>,
    /// All services of the files, also those that are off.
    pub all_services: Vec<String>,
    /// Variables that the files use.
    pub variables: BTreeMap<String, Variable>,
    /// Warnings and notes.
    pub notes: Vec<Diagnostic>,
    /// For showing places of notes.
    pub sources: Sources,
    pub(crate) tree: Node,
    /// Services that are off and that others are built upon.
    pub(crate) bases: Option<Node>,
    pub(crate) interpolated: bool,
}

/// A variable that files use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// Without it the files can't be used.
    pub required: bool,
    /// What stands for it when it is absent.
    pub default: String,
    /// What stands for it when it is there.
    pub alternate: String,
}

/// Reads a project.
///
/// # Errors
/// Everything that is wrong with it, with places and hints.
pub fn load(request: &Request, files: &dyn Files) -> Result<Model, Invalid> {
    let mut loader = Loader {
        request,
        files,
        sink: Sink::default(),
        home: request.environment.get("HOME").cloned(),
        variables: BTreeMap::new(),
        unset: BTreeSet::new(),
        extended: HashMap::new(),
    };
    match loader.run() {
        Ok(mut model) => {
            model.notes = std::mem::take(&mut loader.sink.all);
            model.notes.sort_by_key(|note| (note.severity, note.place));
            model.notes.dedup();
            model.sources = std::mem::take(&mut loader.sink.sources);
            Ok(model)
        }
        Err(Stop) => Err(Invalid::new(loader.sink)),
    }
}

impl Model {
    /// `FILE:LINE:COLUMN: ` of what is at these keys (or numbers of items), or of the
    /// nearest that is there above it; empty when nothing of it was written in a file.
    pub fn place(&self, keys: &[&str]) -> String {
        let mut node = &self.tree;
        let mut place = None;
        for key in keys {
            let next = match &node.data {
                Data::Map(map) => map.get(*key).map(|entry| &entry.node),
                Data::List(list) => key.parse().ok().and_then(|index: usize| list.get(index)),
                _ => None,
            };
            let Some(next) = next else { break };
            node = next;
            place = Some(node.place);
        }
        place
            .filter(|place| place.line > 0)
            .map_or(String::new(), |place| {
                format!("{}: ", self.sources.show(place))
            })
    }

    /// The project as it is typed.
    ///
    /// # Errors
    /// Values that still have variables (`interpolate: false`).
    pub fn project(&self) -> Result<Project, Invalid> {
        let mut project = self.typed(&self.tree)?;
        if let Some(bases) = &self.bases {
            let bases = self.typed(bases)?;
            project.bases = bases.services;
            project.secrets.extend(bases.secrets);
        }
        Ok(project)
    }

    fn typed(&self, tree: &Node) -> Result<Project, Invalid> {
        let typed = serde_yaml::to_value(tree).and_then(serde_yaml::from_value);
        typed.map_err(|error| {
            let hint = "variables must be replaced before a project can be used";
            let diagnostic =
                Diagnostic::outside(format!("the project can't be typed: {error}"), hint);
            Invalid {
                diagnostics: vec![diagnostic],
                sources: self.sources.clone(),
            }
        })
    }
}

pub(crate) struct Loader<'a> {
    pub(crate) request: &'a Request,
    pub(crate) files: &'a dyn Files,
    pub(crate) sink: Sink,
    pub(crate) home: Option<String>,
    pub(crate) variables: BTreeMap<String, Variable>,
    /// Variables that were told to be absent.
    unset: BTreeSet<String>,
    /// Services of files that `extends` names.
    extended: HashMap<PathBuf, Rc<Node>>,
}

type Result<T, E = Stop> = std::result::Result<T, E>;

impl Loader<'_> {
    fn run(&mut self) -> Result<Model> {
        let mut located = self.locate()?;
        let mut documents = Vec::new();
        for path in located.files.clone() {
            for document in self.parse_file(&path)? {
                documents.push((path.clone(), document));
            }
        }
        let name = self.project_name(&located, &documents)?;
        let variable = ("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
        located.environment.extend([variable]);
        let mut tree = merge::empty();
        let scope = Scope {
            directory: &located.directory,
            environment: &located.environment,
            included: &located.files,
        };
        for (path, document) in documents {
            self.apply(&mut tree, &path, document, &scope)?;
        }
        self.sink.check()?;
        merge::settle(&mut tree, &PROJECT);
        let sink = &mut self.sink;
        merge::required(&tree, &PROJECT, "", &mut |place, message, hint| {
            sink.error(place, message, hint);
        });
        self.sink.check()?;
        self.complete(tree, name, located)
    }

    /// What is done once all files are one tree.
    fn complete(&mut self, mut tree: Node, name: String, located: Located) -> Result<Model> {
        walls::apply(&mut tree, &self.request.walls, &mut self.sink)?;
        let profiles = select::all_profiles(&tree);
        let all_services = select::all_services(&tree);
        self.complete_services(&mut tree);
        let whole = self.has_bases(&tree).then(|| tree.clone());
        self.select(&mut tree, &located)?;
        self.finish(&mut tree, &name, &located)?;
        let bases = whole.map(|whole| self.bases(whole, &tree, &name, &located));
        let bases = bases.transpose()?.flatten();
        walls::check(&tree, &self.request.default_walls, &mut self.sink);
        builds::check(&tree, &mut self.sink);
        if self.request.consistency {
            crate::consistency::check(&tree, &mut self.sink);
        }
        self.sink.check()?;
        merge::arrange(&mut tree, &PROJECT);
        Ok(Model {
            name,
            directory: located.directory,
            files: located.files,
            environment: located.environment,
            profiles,
            all_services,
            variables: std::mem::take(&mut self.variables),
            notes: Vec::new(),
            sources: Sources::default(),
            tree,
            bases,
            interpolated: self.request.interpolate,
        })
    }

    /// Reads and parses a file.
    pub(crate) fn parse_file(&mut self, path: &Path) -> Result<Vec<Node>> {
        let text = self.read_text(path)?;
        let shown = path.strip_prefix(&self.request.folder).unwrap_or(path);
        let index = self.sink.sources.add(shown);
        parse(index, &text).map_err(|diagnostic| self.sink.stop(diagnostic))
    }

    fn read_text(&mut self, path: &Path) -> Result<String> {
        let hint = "compose files are given by -f, COMPOSE_FILE, or are called compose.yaml";
        let content = self.files.read(path).map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            self.sink.stop(Diagnostic::outside(message, hint))
        })?;
        String::from_utf8(content).map_err(|_| {
            let message = format!("{} is no text in UTF-8", path.display());
            self.sink.stop(Diagnostic::outside(message, hint))
        })
    }
}

/// What holds for some files: where paths start, which variables there are, and
/// which files led here.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) included: &'a [PathBuf],
}
