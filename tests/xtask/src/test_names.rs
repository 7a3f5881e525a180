//! The names of a test program's tests.

use std::collections::BTreeSet;
use std::process::Command;

use crate::Result;
use crate::process::capture;

/// Those that a program has, and those that are wanted of them.
#[derive(Debug)]
pub(crate) struct Names {
    all: Vec<String>,
    /// Those that the filters let through.
    pub(crate) wanted: Vec<String>,
}

impl Names {
    /// Asks a program, which is given with its variables and without arguments.
    pub(crate) fn of(program: &Command, filter: &[String]) -> Result<Names> {
        let mut list = Command::new(program.get_program());
        let variables = program.get_envs();
        list.envs(variables.filter_map(|(name, value)| Some((name, value?))))
            .args(["--list", "--format", "terse"]);
        let text = capture(&mut list)?;
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(Names::new(names.map(str::to_owned).collect(), filter))
    }

    fn new(all: Vec<String>, filter: &[String]) -> Names {
        let passes = |name: &&String| filter.is_empty() || filter.iter().any(|f| name.contains(f));
        let wanted = all.iter().filter(passes).cloned().collect();
        Names { all, wanted }
    }

    /// The wanted tests in portions of about the same size; files with many slow tests
    /// are spread over all of them.
    pub(crate) fn portions(&self, most: usize) -> Vec<Vec<String>> {
        let number = self.wanted.len().div_ceil(most.max(1));
        let portion = |first| self.wanted.iter().skip(first).step_by(number).cloned();
        (0..number).map(|first| portion(first).collect()).collect()
    }

    /// Arguments that let the program run these tests only: it takes one filter, but
    /// any number of names to skip.
    pub(crate) fn arguments(&self, only: &[String]) -> Vec<String> {
        let only: BTreeSet<_> = only.iter().collect();
        if only.len() == self.all.len() {
            return Vec::new();
        }
        let mut words = vec!["--exact".to_owned()];
        for name in self.all.iter().filter(|name| !only.contains(name)) {
            words.extend(["--skip".to_owned(), name.clone()]);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filter: &[&str]) -> Names {
        let all = ["vm::a", "vm::b", "vm::ab", "container::a", "container::b"];
        let owned = |words: &[&str]| {
            words
                .iter()
                .map(|word| word.to_string())
                .collect::<Vec<_>>()
        };
        Names::new(owned(&all), &owned(filter))
    }

    fn run_by(names: &Names, only: &[String]) -> Vec<String> {
        let arguments = names.arguments(only);
        let skipped = |name: &&String| arguments.contains(name);
        let run = names.all.iter().filter(|name| !skipped(name));
        run.cloned().collect()
    }

    #[test]
    fn portions_are_each_test_once() {
        assert!(names(&[]).arguments(&names(&[]).wanted).is_empty());
        let vm = names(&["vm"]);
        assert_eq!(run_by(&vm, &vm.wanted), ["vm::a", "vm::b", "vm::ab"]);
        for filter in [&[][..], &["a"], &["vm", "b"], &["nothing"]] {
            let names = names(filter);
            for most in 1..7 {
                let portions = names.portions(most);
                assert!(
                    portions
                        .iter()
                        .all(|portion| (1..=most).contains(&portion.len()))
                );
                let mut run: Vec<_> = portions
                    .iter()
                    .flat_map(|portion| run_by(&names, portion))
                    .collect();
                run.sort();
                let mut wanted = names.wanted.clone();
                wanted.sort();
                assert_eq!(run, wanted);
            }
        }
    }
}
