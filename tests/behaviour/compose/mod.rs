//! Stacks from compose files: `isola compose` as a user of Docker Compose knows it.
//! Each behaviour runs with all services behind one wall; `mixed` has both.

use std::path::PathBuf;

use isola_tests::{Env, Output, Running, Terminal};

pub(crate) mod amounts;
pub(crate) mod attributes;
pub(crate) mod bad;
pub(crate) mod build;
pub(crate) mod changes;
pub(crate) mod checklist;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod habits;
pub(crate) mod hooks;
pub(crate) mod images;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod order;
pub(crate) mod real;
pub(crate) mod rollback;
pub(crate) mod screen;
pub(crate) mod single;
pub(crate) mod stack;
pub(crate) mod verbs;
pub(crate) mod watch;

/// What most services of these tests are. In a stack's text the line `IDLE` stands for it.
const IDLE: &str = "    image: box\n    init: true\n    command: sleep 1000\n";

/// A compose file in a folder of its own.
pub(crate) struct Stack<'a> {
    env: &'a Env,
    folder: PathBuf,
}

impl<'a> Stack<'a> {
    /// The folder is called `proj`, so the project is.
    pub(crate) fn new(env: &'a Env, text: &str) -> Stack<'a> {
        let folder = env.files().join("proj");
        std::fs::create_dir_all(&folder).expect("a folder");
        let stack = Stack { env, folder };
        stack.write(text);
        stack
    }

    /// The same, and all of it runs.
    pub(crate) fn up(env: &'a Env, text: &str) -> Stack<'a> {
        let stack = Stack::new(env, text);
        stack.run(&["up", "-d"]).ok();
        stack
    }

    /// Replaces the file.
    pub(crate) fn write(&self, text: &str) {
        self.put("compose.yaml", &text.replace("    IDLE\n", IDLE));
    }

    /// What a program prints that is run in a service.
    pub(crate) fn inside(&self, service: &str, program: &[&str]) -> String {
        let words = [&["exec", "-T", service], program].concat();
        self.run(&words).ok().stdout
    }

    /// Writes another file beside it.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn words<'w>(&self, words: &[&'w str]) -> Vec<String> {
        let file = self.folder.join("compose.yaml");
        let first = [
            "compose".to_owned(),
            "-f".to_owned(),
            file.to_string_lossy().into_owned(),
        ];
        first
            .into_iter()
            .chain(words.iter().map(|word: &&'w str| (*word).to_owned()))
            .collect()
    }

    /// Runs a verb to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.env.isola(self.words(words))
    }

    /// The same with something on standard input.
    pub(crate) fn run_with(&self, words: &[&str], input: &[u8]) -> Output {
        self.env.isola_with(self.words(words), input)
    }

    /// Starts a verb and goes on.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.env.start(self.words(words))
    }

    /// Starts a verb on a terminal of its own.
    pub(crate) fn on_terminal(&self, words: &[&str]) -> Terminal {
        Terminal::start(self.env.command(self.words(words)))
    }

    /// The ids of the project's instances, running or not, in order.
    pub(crate) fn ids(&self, services: &[&str]) -> Vec<String> {
        let words = [&["ps", "-aq"], services].concat();
        let text = self.run(&words).ok().stdout;
        text.lines().map(str::to_owned).collect()
    }

    /// Names and states of the project's instances.
    pub(crate) fn states(&self) -> Vec<String> {
        let words = ["ps", "-a", "--format", "{{.Name}} {{.State}}"];
        self.run(&words)
            .ok()
            .stdout
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// What a service wrote, without names in front.
    pub(crate) fn logs(&self, service: &str) -> String {
        self.run(&["logs", "--no-log-prefix", service]).ok().stdout
    }

    /// Takes all of it away.
    pub(crate) fn down(&self) {
        self.run(&["down", "-v", "-t", "1"]).ok();
    }
}
