//! Dockerfiles as people write them, around a small image.

use std::path::Path;
use std::process::Command;

use isola_tests::busybox_layer;

/// A Dockerfile with its context.
pub(super) struct Case {
    /// Of the image, too.
    pub(super) name: &'static str,
    pub(super) dockerfile: &'static str,
    pub(super) theirs: Theirs,
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Makes what is no text.
    pub(super) prepare: fn(&Path),
    pub(super) options: &'static [&'static str],
    /// It runs programs.
    pub(super) runs: bool,
    /// Paths and fields that differ, and why.
    pub(super) explained: &'static [(&'static str, &'static str)],
}

/// What buildah gets.
pub(super) enum Theirs {
    Same,
    /// The same, said without what it does not know.
    Other(&'static str),
}

pub(super) const NONE: Case = Case {
    name: "",
    dockerfile: "",
    theirs: Theirs::Same,
    files: &[],
    prepare: |_| (),
    options: &[],
    runs: false,
    explained: &[],
};

/// Writes a case's files.
pub(super) fn context(case: &Case, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, content) in case.files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => std::fs::write(path, content).unwrap(),
        }
    }
    (case.prepare)(folder);
}

const DIR: &[(&str, &str)] = &[
    ("a.txt", "a\n"),
    ("b.txt", "b\n"),
    ("with blank.txt", "blank\n"),
    ("link", "-> a.txt"),
    ("dir/in", "in\n"),
    ("dir/run.log", "log\n"),
    ("dir/deep/x.log", "deep log\n"),
    ("dir/deep/y.txt", "y\n"),
    ("dir/up", "-> ../a.txt"),
    ("dir/deep/there", "-> /etc/passwd"),
];

/// Some build on what comes before them.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "base",
        dockerfile: "FROM scratch\nADD root.tar /\nCMD [\"sh\"]\n",
        prepare: |folder| std::fs::write(folder.join("root.tar"), busybox_layer()).unwrap(),
        ..NONE
    },
    Case {
        name: "stages",
        dockerfile: "ARG FROM_IMAGE=base\n\
            FROM ${FROM_IMAGE} AS tools\nWORKDIR /work\nCOPY a.txt b.txt ./\n\
            RUN cat a.txt b.txt > joined && mkdir -p out/deep && mv joined out/deep/ \\\n\
            \x20 # a comment in the middle\n\
            \x20 && ln -s deep/joined out/link && chmod 640 out/deep/joined && ln out/deep/joined out/twice\n\
            FROM tools AS checked\nRUN test -s out/deep/joined && echo ok > /checked\n\
            FROM scratch\nCOPY --from=tools /work/out /opt/out/\nCOPY --from=1 /checked /\n\
            COPY --from=base /etc/passwd /etc/group /etc/\nCMD [\"/opt/out/link\"]\n",
        files: DIR,
        ..NONE
    },
    Case {
        name: "heredocs",
        dockerfile: "FROM base\nARG PORT=80\nCOPY <<EOF <<\"RAW\" /etc/app/\nlisten = ${PORT}\nEOF\n\
            keep = ${PORT}\nRAW\n\
            RUN <<EOT\nset -e\nmkdir /made\nfor n in 1 2 3; do echo $n >> /made/list; done\nEOT\n\
            RUN <<-TABS cat > /tabs\n\tone\n\tTABS\n",
        theirs: Theirs::Other(
            "FROM base\nARG PORT=80\nRUN mkdir /etc/app && echo \"listen = ${PORT}\" > /etc/app/EOF && \
             echo 'keep = ${PORT}' > /etc/app/RAW\n\
             RUN set -e; mkdir /made; for n in 1 2 3; do echo $n >> /made/list; done\nRUN echo one > /tabs\n",
        ),
        runs: true,
        ..NONE
    },
    Case {
        name: "parent",
        dockerfile: "FROM base\nONBUILD ARG COLOUR=blue\nONBUILD COPY a.txt /triggered/\n\
            ONBUILD RUN echo $COLOUR > /colour\nONBUILD ENV FROM_TRIGGER=yes\nENV OWN=1\n",
        files: DIR,
        ..NONE
    },
    Case {
        name: "triggered",
        dockerfile: "FROM parent\nRUN test -f /triggered/a.txt && echo $FROM_TRIGGER$OWN > /after\n",
        files: DIR,
        options: &["--build-arg", "COLOUR=red"],
        runs: true,
        ..NONE
    },
    Case {
        name: "arguments",
        dockerfile: "ARG VERSION=1.2\nARG EARLY=early\nFROM base\nARG VERSION\nARG NAME=app-${VERSION}\nARG UNSET\n\
            ENV A=${NAME:-x} B=\"${UNSET:-fall back}\" C=${NAME:+set} D='single $NAME' E=\\$NAME\n\
            ENV F $NAME with blanks\nENV PATH=/opt/bin:$PATH\n\
            LABEL version=$VERSION \"with blank\"=\"a b\" several.lines=\"one \\\ntwo\"\n\
            RUN echo \"$VERSION $NAME $A ${EARLY:-unseen}\" > /values && env | grep '^[A-F]=' | sort >> /values\n\
            ENV NAME=env-wins\nRUN echo \"$NAME\" >> /values\nWORKDIR /${VERSION}/$NAME\n",
        options: &["--build-arg", "VERSION=2.0"],
        runs: true,
        ..NONE
    },
    Case {
        name: "copies",
        dockerfile: "FROM base\nCOPY --chown=app:extra a.txt /owned/\nCOPY --chown=1234 dir /numbers/\n\
            COPY --chmod=0640 a.txt b.txt /modes/\nCOPY dir/ /plain\nCOPY a.txt /renamed\n\
            COPY dir/deep/*.txt dir/i? /globbed/\nCOPY [\"with blank.txt\", \"/blank dir/\"]\n\
            WORKDIR /w\nCOPY dir rel\nCOPY link /followed\nCOPY . /all/\nRUN mv /plain/in /plain/moved && rm -r /plain/deep\n",
        files: DIR,
        runs: true,
        ..NONE
    },
    Case {
        name: "flags",
        dockerfile: "FROM base\nCOPY --link a.txt /l/\nCOPY --link --chown=app --chmod=600 b.txt /l/\n\
            COPY --exclude=**/*.log dir /x/\nCOPY --parents dir/deep/x.log a.txt /p/\nCOPY --parents dir/./deep/y.txt /q/\n",
        theirs: Theirs::Other(
            "FROM base\nCOPY a.txt /l/\nCOPY --chown=app --chmod=600 b.txt /l/\n\
             COPY dir /x/\nRUN rm /x/run.log /x/deep/x.log\n\
             COPY dir/deep/x.log /p/dir/deep/\nCOPY a.txt /p/\nCOPY dir/deep/y.txt /q/deep/\n",
        ),
        runs: true,
        files: DIR,
        ..NONE
    },
    Case {
        name: "ignored",
        dockerfile: "FROM base\nCOPY . /context/\nCOPY docs /docs/\n",
        files: &[
            (
                ".dockerignore",
                "# comment\n*\n!src\n!docs/*.md\nsrc/**/*.tmp\n!src/keep.tmp\n!Dockerfile\n",
            ),
            ("src/main.c", "x"),
            ("src/a.tmp", "x"),
            ("src/keep.tmp", "x"),
            ("src/deep/b.tmp", "x"),
            ("src/deep/c.c", "x"),
            ("docs/read.md", "x"),
            ("docs/draft.txt", "x"),
            ("secret.env", "x"),
        ],
        ..NONE
    },
    Case {
        name: "settings",
        dockerfile: "FROM base\nMAINTAINER Somebody <some@body.test>\nEXPOSE 80 443/tcp 53/udp 8000-8002\n\
            VOLUME /data /var/log\nVOLUME [\"/more\"]\nSTOPSIGNAL SIGQUIT\n\
            HEALTHCHECK --interval=90s --timeout=5s --start-period=1m --retries=4 CMD test -e /ok || exit 1\n\
            SHELL [\"/bin/sh\", \"-ec\"]\nRUN case $- in *e*) echo stops > /shell;; esac\n\
            ENTRYPOINT [\"/bin/echo\", \"-n\"]\nCMD one two\nLABEL a=1 b=2\nLABEL b=3\nUSER app:extra\n",
        runs: true,
        explained: &[
            ("/data", "buildah makes folders of volumes"),
            ("/more", "buildah makes folders of volumes"),
            ("/var/log", "buildah makes folders of volumes"),
            (
                "Cmd",
                "buildah 1.28 does not use the shell that SHELL names for CMD",
            ),
            ("ExposedPorts", "buildah keeps a range of ports as one name"),
        ],
        ..NONE
    },
    Case {
        name: "users",
        dockerfile: "FROM base\nRUN mkdir /srv && chown app:extra /srv && chmod 2775 /srv && touch /suid && chmod 4755 /suid\n\
            USER app\nWORKDIR /srv\nRUN id -u > who && umask > mask && mkdir sub && touch sub/f && chmod 1700 sub\n\
            USER 4321:99\nRUN id -u > /tmp/number; id -g >> /tmp/number\nWORKDIR relative/path\nUSER root\n\
            RUN rm -rf /home && mkdir -p /home/new && mknod /fifo p && rm /etc/plain\n",
        runs: true,
        explained: &[
            (
                "/srv/relative",
                "buildah makes the folder of WORKDIR as root, BuildKit as the user",
            ),
            ("/srv/relative/path", "the same"),
        ],
        ..NONE
    },
    Case {
        name: "archives",
        dockerfile: "FROM base\nADD a.tar /plain/\nADD a.tar.gz /gz/\nADD --chown=app a.tar.bz2 /bz2/\nADD a.tar.xz /xz/\n\
            COPY a.tar.gz /kept/\nADD a.txt b.txt /files/\nADD single.gz /files/\n",
        files: DIR,
        prepare: archives,
        ..NONE
    },
];

/// An archive, and what compresses it; and a file that is compressed and no archive.
fn archives(folder: &Path) {
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all("dir", folder.join("dir")).unwrap();
    let archive = archive.into_inner().unwrap();
    std::fs::write(folder.join("a.tar"), archive).unwrap();
    for (program, source, target) in [
        ("gzip", "a.tar", "a.tar.gz"),
        ("bzip2", "a.tar", "a.tar.bz2"),
        ("xz", "a.tar", "a.tar.xz"),
        ("gzip", "a.txt", "single.gz"),
    ] {
        let out = std::fs::File::create(folder.join(target)).unwrap();
        let mut command = Command::new(program);
        let status = command
            .arg("-c")
            .arg(folder.join(source))
            .stdout(out)
            .status();
        assert!(
            status.unwrap().success(),
            "{program} is needed for this test"
        );
    }
}
