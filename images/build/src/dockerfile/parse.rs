//! From lines to instructions and stages.

use super::command::{Command, json};
use super::flags::flags;
use super::lines::{self, Line, split};
use super::model::{
    Copy, CopySource, Dockerfile, From, Instruction, Item, Mount, Network, Run, Stage, Word,
};
use super::values::{args, command, list, pairs, words};
use crate::error::{Error, Kind, Place, Result};

/// Bytes of a Dockerfile; more are refused.
const LONGEST: usize = 4 << 20;

/// Keywords, for messages.
const KNOWN: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a Dockerfile.
///
/// # Errors
/// What is wrong, with its place.
pub fn parse(text: &str) -> Result<Dockerfile> {
    if text.len() > LONGEST {
        return Err(Error::new(
            Kind::Dockerfile,
            format!("the Dockerfile has more than {LONGEST} bytes"),
        ));
    }
    let lines::Lines { directives, lines } = split(text)?;
    let escape = directives.escape;
    let mut globals = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    for line in &lines {
        if line.keyword == "FROM" {
            let stage = from(line, escape)?;
            if let Some(name) = &stage.name
                && stages.iter().any(|other| other.name.as_ref() == Some(name))
            {
                let message = format!("there are two stages called {name}");
                return Err(Error::at(line.place, message));
            }
            stages.push(stage);
            continue;
        }
        let item = item(line, escape)?;
        match (stages.last_mut(), item.instruction) {
            (Some(stage), instruction) => stage.items.push(Item {
                instruction,
                ..item
            }),
            (None, Instruction::Arg(args)) => globals.extend(args),
            (None, _) => {
                let message = format!("{} stands before the first FROM", line.keyword);
                return Err(Error::at(line.place, message));
            }
        }
    }
    if stages.is_empty() {
        let end = Place {
            line: text.lines().count().max(1),
            column: 1,
        };
        return Err(Error::at(end, "there is no FROM").hint("`FROM scratch` begins with nothing"));
    }
    Ok(Dockerfile {
        directives,
        globals,
        stages,
    })
}

/// Reads one instruction of an image's ONBUILD.
///
/// # Errors
/// What is wrong with it.
pub fn parse_trigger(text: &str) -> Result<Item> {
    let mut lines = split(text)?.lines.into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        let message = format!("the image's trigger {text:?} is not one instruction");
        return Err(Error::new(Kind::Dockerfile, message));
    };
    allowed_in_trigger(&line.keyword, line.place)?;
    item(&line, '\\')
}

fn from(line: &Line, escape: char) -> Result<Stage> {
    let (flags, at) = flags(line, escape);
    let mut platform = None;
    for flag in flags {
        let place = flag.place;
        match flag.name.as_str() {
            "platform" => {
                platform = Some(Word {
                    text: flag.value()?,
                    place,
                });
            }
            _ => return Err(flag.unknown("FROM")),
        }
    }
    let words = words(line, at, escape);
    let (image, name) = match &words[..] {
        [image] => (image, None),
        [image, as_word, name] if as_word.text.eq_ignore_ascii_case("as") => (image, Some(name)),
        [] => {
            return Err(Error::at(
                line.place,
                "FROM needs an image, a stage or `scratch`",
            ));
        }
        [_, second, ..] => {
            return Err(Error::at(
                second.place,
                "FROM is `FROM IMAGE` or `FROM IMAGE AS NAME`",
            ));
        }
    };
    let name = name.map(stage_name).transpose()?;
    Ok(Stage {
        from: From {
            place: line.place,
            image: image.clone(),
            platform,
        },
        name,
        items: Vec::new(),
    })
}

fn stage_name(word: &Word) -> Result<String> {
    let name = word.text.to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits) {
        return Ok(name);
    }
    Err(Error::at(
        word.place,
        format!(
            "{:?} can't be the name of a stage: a letter, then letters, digits, - _ .",
            word.text
        ),
    ))
}

fn item(line: &Line, escape: char) -> Result<Item> {
    let text = format!("{} {}", line.keyword, line.rest);
    Ok(Item {
        place: line.place,
        text: text.trim_end().to_owned(),
        instruction: instruction(line, escape).map_err(|error| error.or_at(line.place))?,
    })
}

fn instruction(line: &Line, escape: char) -> Result<Instruction> {
    let bare = line.rest.is_empty();
    let keyword = line.keyword.as_str();
    if !KNOWN.contains(&keyword) {
        let message = format!("unknown instruction {keyword}");
        return Err(with_likely(Error::at(line.place, message), keyword));
    }
    if bare && !matches!(keyword, "CMD" | "ENTRYPOINT") {
        return Err(Error::at(
            line.place,
            format!("{keyword} needs an argument"),
        ));
    }
    let rest = || Word {
        text: line.rest.clone(),
        place: line.place_of(0),
    };
    Ok(match keyword {
        "RUN" => Instruction::Run(run(line, escape)?),
        "COPY" | "ADD" => Instruction::Copy(copy(line, escape)?),
        "ENV" => Instruction::Env(pairs(line, escape)?),
        "LABEL" => Instruction::Label(pairs(line, escape)?),
        "ARG" => Instruction::Arg(args(line, escape)?),
        "WORKDIR" => Instruction::Workdir(rest()),
        "USER" => Instruction::User(rest()),
        "STOPSIGNAL" => Instruction::Stopsignal(rest()),
        "CMD" => Instruction::Cmd(command(line)),
        "ENTRYPOINT" => Instruction::Entrypoint(command(line)),
        "EXPOSE" => Instruction::Expose(words(line, 0, escape)),
        "VOLUME" => Instruction::Volume(list(line, 0, escape)),
        "HEALTHCHECK" => Instruction::Healthcheck(line.rest.clone()),
        "SHELL" => match json(&line.rest) {
            Some(words) if !words.is_empty() => Instruction::Shell(words),
            _ => {
                let message = "SHELL needs a JSON array with a program, as [\"/bin/sh\", \"-c\"]";
                return Err(Error::at(line.place_of(0), message));
            }
        },
        "ONBUILD" => Instruction::Onbuild(on_build(line, escape)?),
        _ => Instruction::Maintainer(line.rest.clone()),
    })
}

fn with_likely(error: Error, keyword: &str) -> Error {
    let near = |known: &&&str| {
        let same = known.bytes().zip(keyword.bytes()).filter(|(a, b)| a == b);
        known.len().abs_diff(keyword.len()) <= 1 && same.count() + 2 >= known.len()
    };
    match KNOWN.iter().find(near) {
        Some(known) => error.hint(format!("{known} may be meant")),
        None => error,
    }
}

fn run(line: &Line, escape: char) -> Result<Run> {
    let (flags, at) = flags(line, escape);
    let mut mounts = Vec::new();
    let mut network = Network::Default;
    for flag in flags {
        let place = flag.place;
        match flag.name.as_str() {
            "mount" => {
                let text = flag.value()?;
                // With variables it is read once they have values.
                if !text.contains('$') {
                    Mount::parse(&text)
                        .map_err(|why| Error::at(place, format!("--mount={text}: {why}")))?;
                }
                mounts.push(Word { text, place });
            }
            "network" => {
                let text = flag.value()?;
                network = Network::parse(&text).ok_or_else(|| {
                    Error::at(
                        place,
                        format!("--network is default, none or host, not {text:?}"),
                    )
                })?;
            }
            "security" => {
                if flag.value()? != "sandbox" {
                    let message = "--security=insecure: a build's steps get no further rights";
                    return Err(Error {
                        kind: Kind::Unsupported,
                        ..Error::at(place, message)
                    });
                }
            }
            _ => return Err(flag.unknown("RUN")),
        }
    }
    let text = &line.rest[at..];
    let command = Command::parse(text);
    if text.is_empty() || command == Command::Exec(Vec::new()) {
        return Err(Error::at(line.place, "RUN needs a command"));
    }
    Ok(Run {
        command,
        heredocs: line.heredocs.clone(),
        mounts,
        network,
    })
}

fn copy(line: &Line, escape: char) -> Result<Copy> {
    let add = line.keyword == "ADD";
    let (flags, at) = flags(line, escape);
    let mut listed = list(line, at, escape);
    let dest = listed.pop().filter(|_| !listed.is_empty()).ok_or_else(|| {
        let message = format!("{} needs at least a source and a destination", line.keyword);
        Error::at(line.place, message)
    })?;
    let mut docs = line.heredocs.iter();
    let source = |word: Word| match lines::announced(&word.text) {
        Some(_) if !line.rest[at..].starts_with('[') => match docs.next() {
            Some(doc) => CopySource::Doc(doc.clone()),
            None => CopySource::Path(word),
        },
        _ => CopySource::Path(word),
    };
    let mut copy = Copy {
        add,
        from: None,
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        checksum: None,
        unpack: None,
        keep_git: false,
        sources: listed.into_iter().map(source).collect(),
        dest,
    };
    for flag in flags {
        let place = flag.place;
        let name = flag.name.clone();
        let word = |text| Word { text, place };
        match (name.as_str(), add) {
            ("from", false) => copy.from = Some(word(flag.value()?)),
            ("chown", _) => copy.chown = Some(word(flag.value()?)),
            ("chmod", _) => copy.chmod = Some(word(flag.value()?)),
            ("link", _) => copy.link = flag.switch()?,
            ("parents", false) => copy.parents = flag.switch()?,
            ("exclude", _) => copy.exclude.push(word(flag.value()?)),
            ("checksum", true) => copy.checksum = Some(word(flag.value()?)),
            ("unpack", true) => copy.unpack = Some(flag.switch()?),
            ("keep-git-dir", true) => copy.keep_git = flag.switch()?,
            _ => return Err(flag.unknown(&line.keyword)),
        }
    }
    Ok(copy)
}

fn on_build(line: &Line, escape: char) -> Result<String> {
    let inner = line
        .rest
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    let place = line.place_of(0);
    allowed_in_trigger(&inner, place)?;
    let mut text = line.rest.clone();
    for doc in &line.heredocs {
        text.push_str(&format!("\n{}{}", doc.content, doc.name));
    }
    // It is refused now rather than in somebody's next build.
    let mut lines = split(&text)?.lines;
    if let Some(trigger) = lines.pop().filter(|_| lines.is_empty()) {
        instruction(&trigger, escape).map_err(|mut error| {
            error.at = Some((String::new(), place));
            error
        })?;
    }
    Ok(text)
}

fn allowed_in_trigger(keyword: &str, place: Place) -> Result<()> {
    match keyword {
        "ONBUILD" | "FROM" | "MAINTAINER" => {
            Err(Error::at(place, format!("{keyword} can't follow ONBUILD")))
        }
        _ => Ok(()),
    }
}
