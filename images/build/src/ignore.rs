//! `.dockerignore`: what of a context a build does not see.

use crate::glob::Pattern;

/// Patterns; the last one that matches a path or a folder above it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// It brings back (`!`).
    keeps: bool,
    pattern: Pattern,
}

impl Ignore {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The line and what is wrong with its pattern.
    pub fn parse(text: &str) -> Result<Ignore, (usize, String)> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if !line.starts_with('#') {
                rules.extend(rule(line).map_err(|why| (index + 1, why))?);
            }
        }
        Ok(Ignore { rules })
    }

    /// Patterns of `--exclude`.
    ///
    /// # Errors
    /// What is wrong with one.
    pub fn of_patterns(patterns: &[String]) -> Result<Ignore, String> {
        let rules = patterns.iter().map(|pattern| rule(pattern));
        Ok(Ignore {
            rules: rules
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
                .collect(),
        })
    }

    /// Nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the path, relative to the context, is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let path = path.trim_matches('/');
        if path.is_empty() {
            return false;
        }
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        let prefixes: Vec<&str> = ends.map(|end| &path[..end]).collect();
        let last = self
            .rules
            .iter()
            .rev()
            .find(|rule| prefixes.iter().any(|part| rule.pattern.matches(part)));
        last.is_some_and(|rule| !rule.keeps)
    }

    /// Whether something in a folder that is left out may come back.
    pub fn brings_back(&self) -> bool {
        self.rules.iter().any(|rule| rule.keeps)
    }
}

fn rule(line: &str) -> Result<Option<Rule>, String> {
    let line = line.trim();
    let (keeps, pattern) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    if pattern.is_empty() {
        return match keeps {
            true => Err("`!` alone brings nothing back".into()),
            false => Ok(None),
        };
    }
    let mut parts = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // `.` and `/` mean the context itself, which can't be left out.
    if parts.is_empty() {
        return Ok(None);
    }
    Ok(Some(Rule {
        keeps,
        pattern: Pattern::of_path(&parts.join("/"))?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_match_decides() {
        let ignore = Ignore::parse(
            "# comment\n*.o\n/target/\n**/tmp\ndocs/*\n!docs/README.md\n  \nsecret*\n!secret-not\na/./b/../c\n",
        )
        .unwrap();
        for (path, left_out) in [
            ("x.o", true),
            ("d/x.o", false),
            ("target", true),
            ("target/debug/x", true),
            ("src/target", false),
            ("tmp", true),
            ("a/b/tmp/c", true),
            ("docs", false),
            ("docs/a", true),
            ("docs/README.md", false),
            ("secret1", true),
            ("secret-not", false),
            ("a/c", true),
            ("a/b/c", false),
            ("", false),
        ] {
            assert_eq!(ignore.excludes(path), left_out, "{path}");
        }
        assert!(ignore.brings_back());
        let all = Ignore::parse("**\n!src/*.rs\n").unwrap();
        assert!(all.excludes("x") && all.excludes("src/a.c") && !all.excludes("src/a.rs"));
        assert_eq!(Ignore::parse("ok\n[a").unwrap_err().0, 2);
        assert!(Ignore::parse("!").is_err());
    }
}
