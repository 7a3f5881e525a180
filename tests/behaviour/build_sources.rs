//! Where a build's files come from, when it is not a folder: addresses, repositories,
//! archives; and what images of other platforms are made of.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use isola_tests::{Env, behaviours, until};

use crate::build::{build, context};
use crate::clients::skopeo;
use crate::registry::Registry;

behaviours![
    Once files_come_from_addresses,
    Once archives_of_every_kind_are_taken,
    Once contexts_come_from_addresses,
    Once contexts_come_from_repositories,
    Once repositories_are_added,
    Once images_of_other_platforms,
    Once several_platforms_at_once,
    Once results_go_to_registries_and_archives,
];

/// A server of files on the test's own loopback.
struct Server {
    child: Child,
    host: &'static str,
}

impl Server {
    fn files(env: &Env, folder: &Path) -> Server {
        let mut command = Command::new("busybox");
        command.args(["httpd", "-f", "-p", "127.0.0.1:8001", "-h"]);
        Server::start(env, command.arg(folder), "127.0.0.1:8001")
    }

    fn repositories(env: &Env, folder: &Path) -> Server {
        let mut command = Command::new("git");
        command.args([
            "daemon",
            "--listen=127.0.0.1",
            "--port=8002",
            "--export-all",
        ]);
        let base = format!("--base-path={}", folder.display());
        Server::start(env, command.arg(base), "127.0.0.1:8002")
    }

    fn start(env: &Env, command: &mut Command, host: &'static str) -> Server {
        env.host().enter(command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|e| panic!("{command:?} is needed for this test: {e}"));
        let server = Server { child, host };
        until("the server answers", || {
            env.host().inside(|| TcpStream::connect(host).is_ok())
        });
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // git daemon has a helper, which ends with it.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn sh(env: &Env, image: &str, script: &str) -> String {
    let words = ["run", "--rm", "--network=none", image, "sh", "-c", script];
    env.isola(words).ok().stdout
}

/// A tool of the host, in a folder.
fn tool(folder: &Path, program: &str, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(words).current_dir(folder);
    for (name, value) in [
        ("GIT_AUTHOR_NAME", "n"),
        ("GIT_AUTHOR_EMAIL", "n@h.test"),
        ("GIT_COMMITTER_NAME", "n"),
        ("GIT_COMMITTER_EMAIL", "n@h.test"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ALLOW_PROTOCOL", "file"),
    ] {
        command.env(name, value);
    }
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("{program} is needed for this test: {e}"));
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn dockerfile(env: &Env, text: &str) -> std::path::PathBuf {
    context(env, &[("Dockerfile", text)])
}

fn files_come_from_addresses(env: &Env) {
    let served = env.files().join("served");
    std::fs::create_dir(&served).unwrap();
    std::fs::write(served.join("a.txt"), "served\n").unwrap();
    tool(
        &served,
        "touch",
        &["-d", "2020-01-02 03:04:05 UTC", "a.txt"],
    );
    tool(&served, "tar", &["-czf", "a.tgz", "a.txt"]);
    let server = Server::files(env, &served);
    let at = |name: &str| format!("http://{}/{name}", server.host);
    let sum = tool(&served, "sha256sum", &["a.txt"]);
    let sum = sum.split(' ').next().unwrap();
    let text = format!(
        "FROM box\nADD {0} {1} /plain/\nADD --chmod=755 --chown=app {0} /set\n\
         ADD --checksum=sha256:{sum} {0} /checked/\nADD --unpack=true {1} /unpacked/\n",
        at("a.txt"),
        at("a.tgz")
    );
    let folder = dockerfile(env, &text);
    build(env, &folder, "added", &[]).ok();
    let script = "stat -c '%n %a %u %Y' /plain/a.txt /plain/a.tgz /set /checked/a.txt | sed 's/\\(tgz.*\\) .*/\\1/'; cat /unpacked/a.txt";
    assert_eq!(
        sh(env, "added", script),
        "/plain/a.txt 600 0 1577934245\n/plain/a.tgz 600 0\n/set 755 1000 1577934245\n\
         /checked/a.txt 600 0 1577934245\nserved\n"
    );
    let again = build(env, &folder, "added", &[]).ok();
    assert_eq!(
        again.stderr.matches("CACHED").count(),
        4,
        "{}",
        again.stderr
    );
    // What has changed there is another file.
    std::fs::write(served.join("a.txt"), "changed\n").unwrap();
    let why = format!("should have the digest sha256:{sum}");
    build(env, &folder, "added", &[]).fails(1, &why);
    for (line, why) in [
        (format!("ADD {} /x/", at("none")), "404 Not Found"),
        (
            "ADD http://127.0.0.1:1/x /x".into(),
            "Dockerfile:2:5: cannot download http://127.0.0.1:1/x",
        ),
        (
            format!("ADD --keep-git-dir {} /x", at("a.txt")),
            "--keep-git-dir is for repositories",
        ),
    ] {
        let folder = dockerfile(env, &format!("FROM box\n{line}\n"));
        build(env, &folder, "bad", &[]).fails(1, why);
    }
}

fn archives_of_every_kind_are_taken(env: &Env) {
    let folder = dockerfile(env, "FROM box\nCOPY in /in\n");
    std::fs::write(folder.join("in"), "packed").unwrap();
    tool(&folder, "tar", &["-cf", "../whole.tar", "Dockerfile", "in"]);
    let whole = env.files().join("whole.tar");
    let whole = whole.to_str().unwrap();
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let packed = env.files().join(program);
        let out = std::fs::File::create(&packed).unwrap();
        let mut command = Command::new(program);
        let status = command.args(["-c", "-q", whole]).stdout(out).status();
        assert!(
            status.unwrap().success(),
            "{program} is needed for this test"
        );
        let bytes = std::fs::read(&packed).unwrap();
        // A context, and what ADD unpacks, and an image.
        env.isola_with(["build", "-q", "-t", program, "-"], &bytes)
            .ok();
        assert_eq!(sh(env, program, "cat /in"), "packed");
        let folder = dockerfile(env, "FROM box\nADD packed /out/\n");
        std::fs::copy(&packed, folder.join("packed")).unwrap();
        build(env, &folder, program, &[]).ok();
        assert_eq!(sh(env, program, "cat /out/in"), "packed");
        env.isola(["import", packed.to_str().unwrap(), "imported"])
            .ok();
        let listed = env.isola(["image", "diff", "imported"]).ok().stdout;
        assert_eq!(listed, "A /Dockerfile\nA /in\n");
    }
}

fn contexts_come_from_addresses(env: &Env) {
    let served = dockerfile(env, "FROM box\nCOPY in /in\n");
    std::fs::write(served.join("in"), "far").unwrap();
    std::fs::write(served.join("alone"), "FROM box\nENV X=1\n").unwrap();
    tool(&served, "tar", &["-czf", "c.tar.gz", "Dockerfile", "in"]);
    let server = Server::files(env, &served);
    let at = |name: &str| format!("http://{}/{name}", server.host);
    env.isola(["build", "-q", "-t", "far", &at("c.tar.gz")])
        .ok();
    assert_eq!(sh(env, "far", "cat /in"), "far");
    env.isola(["build", "-q", "-t", "alone", &at("alone")]).ok();
    assert_eq!(sh(env, "alone", "echo $X"), "1\n");
    let more = format!("more={}", at("c.tar.gz"));
    let words = ["build", "-q", "-t", "named", "--build-context", &more, "-"];
    env.isola_with(words, b"FROM box\nCOPY --from=more in /named\n")
        .ok();
    assert_eq!(sh(env, "named", "cat /named"), "far");
    env.isola(["build", &at("none")]).fails(1, "404 Not Found");
    env.isola(["build", "-f", "Other", &at("c.tar.gz")])
        .fails(1, "holds no Other");
}

/// A repository with a tag, a branch, a submodule and what git could be led astray by.
fn repository(env: &Env) -> std::path::PathBuf {
    let folder = env.files().join("repositories");
    let app = folder.join("app");
    for name in ["lib", "app/server"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let git = |name: &str, words: &[&str]| tool(&folder.join(name), "git", words);
    std::fs::write(folder.join("lib/l"), "library\n").unwrap();
    git("lib", &["init", "-q", "-b", "main"]);
    git("lib", &["add", "."]);
    git("lib", &["commit", "-qm", "one"]);
    for (name, content) in [
        ("Dockerfile", "FROM box\nCOPY . /src/\n"),
        (".dockerignore", "ignored\n"),
        ("ignored", "no"),
        (".gitattributes", "kept export-ignore\n*.x filter=evil\n"),
        ("kept", "yes"),
        ("a.x", "plain"),
        ("server/Dockerfile", "FROM box\nCOPY run /only\n"),
        ("server/run", "run"),
    ] {
        std::fs::write(app.join(name), content).unwrap();
    }
    tool(&app, "chmod", &["755", "server/run"]);
    std::os::unix::fs::symlink("/etc/passwd", app.join("absolute")).unwrap();
    git("app", &["init", "-q", "-b", "main"]);
    git("app", &["add", "."]);
    git("app", &["commit", "-qm", "one"]);
    git("app", &["tag", "v1"]);
    git("app", &["submodule", "--quiet", "add", "../lib", "module"]);
    git("app", &["commit", "-qm", "two"]);
    git(".", &["clone", "-q", "--bare", "app", "app.git"]);
    git("app.git", &["update-server-info"]);
    folder
}

fn contexts_come_from_repositories(env: &Env) {
    let folder = repository(env);
    let at = |rest: &str| format!("file://{}/app.git{rest}", folder.display());
    let listing =
        "cd /src && find . -type f | sort; readlink absolute; cat module/l; stat -c %a server/run";
    env.isola([
        "build",
        "-q",
        "-t",
        "main",
        &format!("file://{}/app", folder.display()),
    ])
    .ok();
    assert_eq!(
        sh(env, "main", listing),
        "./.dockerignore\n./.gitattributes\n./.gitmodules\n./Dockerfile\n./a.x\n./kept\n./module/l\n\
         ./server/Dockerfile\n./server/run\n/etc/passwd\nlibrary\n755\n"
    );
    env.isola(["build", "-q", "-t", "tag", &at("#v1")]).ok();
    assert_eq!(
        sh(env, "tag", "ls /src/module 2>/dev/null; cat /src/a.x"),
        "plain"
    );
    let commit = tool(&folder.join("app"), "git", &["rev-parse", "v1"]);
    for reference in [&commit[..], &commit[..9]] {
        env.isola(["build", "-q", "-t", "commit", &at(&format!("#{reference}"))])
            .ok();
        assert_eq!(
            env.inspect("commit", "{{.Id}}"),
            env.inspect("tag", "{{.Id}}")
        );
    }
    env.isola(["build", "-q", "-t", "part", &at("#main:server")])
        .ok();
    assert_eq!(sh(env, "part", "cat /only"), "run");
    // The same with names.
    for (rest, name) in [
        (format!("?tag=v1&commit={commit}"), "tag"),
        (format!("?commit={commit}"), "tag"),
        ("?branch=main&subdir=server".into(), "part"),
    ] {
        env.isola(["build", "-q", "-t", "named", &at(&rest)]).ok();
        let id = |name: &str| env.inspect(name, "{{.Id}}");
        assert_eq!(id("named"), id(name), "{rest}");
    }
    for (rest, why) in [
        ("?branch=v1", "cannot fetch refs/heads/v1 of file://"),
        (
            "?branch=main&commit=0123456",
            "should be at the commit 0123456",
        ),
        ("?nosuch=1", "nosuch is none of ref, branch, tag"),
        ("#none", "cannot fetch none of file://"),
        ("#main:none", "has no folder none"),
        ("#main:../x", "leads out of the repository"),
        ("#--upload-pack=x", "is no branch, tag or commit"),
        (
            "#0123456789012345678901234567890123456789",
            "it has no such commit",
        ),
    ] {
        env.isola(["build", "-q", &at(rest)]).fails(1, why);
    }
    let out = env.isola(["build", "-q", "https://user:hidden@127.0.0.1:1/x.git"]);
    assert!(!out.stderr.contains("hidden"), "{}", out.stderr);
    out.fails(1, "cannot fetch https://127.0.0.1:1/x.git");
}

fn repositories_are_added(env: &Env) {
    let folder = repository(env);
    let daemon = Server::repositories(env, &folder);
    // Without git on the other side: neither part of a history nor single commits.
    let files = Server::files(env, &folder);
    let commit = tool(&folder.join("app"), "git", &["rev-parse", "v1"]);
    let text = format!(
        "FROM box\nADD git://{0}/app.git#v1 /all/\nADD http://{1}/app.git#v1:server /part\n\
         ADD --keep-git-dir=true --checksum={commit} http://{1}/app.git#v1 /kept/\n\
         ADD --chown=app --exclude=server git://{0}/app.git /main/\n",
        daemon.host, files.host
    );
    let context = dockerfile(env, &text);
    build(env, &context, "added", &[]).ok();
    let script = "ls -A /all | wc -l; ls /part; cat /kept/.git/HEAD; ls -d /main/server 2>/dev/null; \
                  stat -c %u /main/module/l";
    assert_eq!(
        sh(env, "added", script),
        format!("8\nDockerfile\nrun\n{commit}\n1000\n")
    );
    let again = build(env, &context, "added", &[]).ok();
    assert_eq!(
        again.stderr.matches("CACHED").count(),
        4,
        "{}",
        again.stderr
    );
    // Git understands what was kept.
    let out = env.files().join("out");
    build(env, &context, "added", &["-o", out.to_str().unwrap()]).ok();
    let kept = out.join("kept");
    let (safe, kept) = (format!("safe.directory={}", kept.display()), &kept);
    let status = tool(kept, "git", &["-c", &safe, "status", "--short"]);
    assert_eq!(status, "");
    for (line, why) in [
        (
            format!(
                "ADD --checksum=0123456789 git://{}/app.git /x/",
                daemon.host
            ),
            "should be at the commit 0123456789",
        ),
        (
            format!("ADD file://{}/app.git /x/", folder.display()),
            "can't name repositories of this machine",
        ),
        (
            "ADD git@127.0.0.1:x.git /x/".into(),
            "the build was given no agent",
        ),
        (
            "ADD ssh://-oProxyCommand=x/y /x/".into(),
            "it is no address of a repository",
        ),
    ] {
        let context = dockerfile(env, &format!("FROM box\n{line}\n"));
        build(env, &context, "bad", &[]).fails(1, why);
    }
}

fn images_of_other_platforms(env: &Env) {
    let registry = Registry::plain(env);
    let foreign = format!("{}/foreign:1", registry.host);
    let text = "FROM scratch\nARG TARGETPLATFORM TARGETVARIANT BUILDPLATFORM\nCOPY Dockerfile /d\n\
                LABEL target=$TARGETPLATFORM variant=$TARGETVARIANT build=$BUILDPLATFORM\n";
    let folder = dockerfile(env, text);
    build(
        env,
        &folder,
        &foreign,
        &["--platform=linux/arm/v7", "--push"],
    )
    .ok();
    let facts = "{{.Os}}/{{.Architecture}}/{{.Variant}} {{.Config.Labels.target}} \
                 {{.Config.Labels.variant}} {{.Config.Labels.build}}";
    assert_eq!(
        env.inspect(&foreign, facts),
        "linux/arm/v7 linux/arm/v7 v7 linux/amd64"
    );
    env.isola(["rmi", &foreign]).ok();
    // A stage for this machine makes what the other's image gets.
    let text = format!(
        "FROM --platform=$BUILDPLATFORM box AS tool\nARG TARGETARCH\nRUN echo $TARGETARCH > /made\n\
         FROM {foreign}\nCOPY --from=tool /made /made\n"
    );
    let folder = dockerfile(env, &text);
    let options = ["--platform=linux/arm/v7", "--network=none"];
    build(env, &folder, "crossed", &options).ok();
    assert_eq!(env.inspect("crossed", "{{.Architecture}}"), "arm");
    let out = env.files().join("out");
    build(
        env,
        &folder,
        "crossed",
        &[&options[..], &["-o", out.to_str().unwrap()]].concat(),
    )
    .ok();
    assert_eq!(std::fs::read_to_string(out.join("made")).unwrap(), "arm\n");
    env.isola(["run", "--rm", "crossed", "true"])
        .fails(125, "linux/arm");
    let folder = dockerfile(env, &format!("FROM {foreign}\nRUN true\n"));
    build(env, &folder, "bad", &options).fails(1, "Dockerfile:2:1: the stage is for linux/arm/v7");
    build(env, &folder, "bad", &[]).fails(1, "is here for linux/arm/v7 and not for linux/amd64");
    // A name that stands for this machine's image keeps doing so.
    let both = format!("{}/both:1", registry.host);
    env.isola(["tag", &foreign, &both]).ok();
    env.isola(["push", "-q", &both]).ok();
    env.isola(["tag", "box", &both]).ok();
    let folder = dockerfile(env, &format!("FROM {both}\nCOPY Dockerfile /x\n"));
    build(env, &folder, "other", &options).ok();
    assert_eq!(env.inspect(&both, "{{.Architecture}}"), "amd64");
    assert_eq!(env.inspect("other", "{{.Architecture}}"), "arm");
    build(env, &folder, "bad", &["--platform=a/b/c/d"]).fails(1, "is not a platform");
}

/// One name for all: an index, which registries, archives and folders get as a whole.
fn several_platforms_at_once(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/all:1", registry.host);
    let text = "FROM --platform=$BUILDPLATFORM box AS tool\nARG TARGETPLATFORM\n\
                RUN --network=none echo $TARGETPLATFORM > /made\n\
                FROM scratch\nCOPY --from=tool /made /made\n";
    let folder = dockerfile(env, text);
    let platforms = "--platform=linux/arm64,linux/amd64,linux/arm/v7,linux/arm64";
    let file = env.files().join("id");
    let iidfile = format!("--iidfile={}", file.display());
    let built = build(env, &folder, &name, &[platforms, "--push", &iidfile]).ok();
    let id = built.stdout.trim().to_owned();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    assert!(
        built.stderr.contains("[linux/arm/v7 tool 3/3]"),
        "{}",
        built.stderr
    );
    assert_eq!(
        build(env, &folder, &name, &[platforms]).ok().stdout.trim(),
        id,
        "all steps were done before"
    );
    // Here it stands for this machine's image.
    assert_eq!(env.inspect(&name, "{{.Architecture}}"), "amd64");
    assert_eq!(env.inspect(&id, "{{.Architecture}}"), "amd64");
    let listed = |raw: &str| {
        let index: serde_json::Value = serde_json::from_str(raw).unwrap();
        let platforms: Vec<String> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["platform"]["architecture"].as_str().unwrap().to_owned())
            .collect();
        platforms.join(" ")
    };
    let from = format!("docker://{name}");
    let raw = skopeo(env, &["inspect", "--raw", "--tls-verify=false", &from]);
    assert_eq!(listed(&raw), "arm64 amd64 arm");
    std::fs::write(env.files().join("raw"), &raw).unwrap();
    let digest = tool(&env.files(), "skopeo", &["manifest-digest", "raw"]);
    assert_eq!(digest.trim(), id);
    // All of it is kept, and is sent again unchanged.
    env.isola(["builder", "prune", "-f"]).ok();
    env.isola(["image", "prune", "-f"]).ok();
    let again = format!("{}/again:1", registry.host);
    env.isola(["tag", &name, &again]).ok();
    let pushed = env.isola(["push", &again]).ok();
    assert!(pushed.stdout.contains(&id), "{}", pushed.stdout);
    env.isola(["rmi", &name, &again]).ok();
    env.isola(["pull", "-q", "--platform=linux/arm64", &again])
        .ok();
    assert_eq!(env.inspect(&again, "{{.Architecture}}"), "arm64");
    env.isola(["system", "check"]).ok();
    // An archive has them all, a folder one below another.
    let archive = env.files().join("all.tar");
    let output = format!("type=oci,dest={}", archive.display());
    build(env, &folder, "archived:1", &[platforms, "-o", &output]).ok();
    env.isola(["load", "-i", archive.to_str().unwrap()]).ok();
    assert_eq!(env.inspect("archived:1", "{{.Architecture}}"), "amd64");
    let out = env.files().join("out");
    let output = out.display().to_string();
    build(env, &folder, "x", &[platforms, "-o", &output]).ok();
    for (folder, made) in [
        ("linux_amd64", "linux/amd64\n"),
        ("linux_arm64", "linux/arm64\n"),
        ("linux_arm_v7", "linux/arm/v7\n"),
    ] {
        assert_eq!(
            std::fs::read_to_string(out.join(folder).join("made")).unwrap(),
            made
        );
    }
    build(env, &folder, "x", &[platforms, "-o", "-"]).fails(1, "the files of one platform");
    build(env, &folder, "x", &["--platform=linux/amd64,a/b/c/d"]).fails(1, "is not a platform");
}

fn results_go_to_registries_and_archives(env: &Env) {
    let registry = Registry::plain(env);
    let name = |tag: &str| format!("{}/made:{tag}", registry.host);
    let folder = dockerfile(env, "FROM box\nCOPY Dockerfile /d\n");
    build(env, &folder, &name("1"), &["--push"]).ok();
    build(env, &folder, &name("2"), &["-o", "type=registry"]).ok();
    let output = format!("type=image,push=true,name={}", name("3"));
    build(env, &folder, "local", &["-o", "type=image"]).ok();
    env.isola(["build", "-q", "-o", &output, folder.to_str().unwrap()])
        .ok();
    for tag in ["1", "2", "3"] {
        env.isola(["rmi", &name(tag)]).ok();
        env.isola(["pull", "-q", &name(tag)]).ok();
        assert_eq!(
            env.inspect(&name(tag), "{{.Id}}"),
            env.inspect("local", "{{.Id}}")
        );
    }
    env.isola(["build", "--push", folder.to_str().unwrap()])
        .fails(1, "a registry needs a name");
    // An archive is written, and the store has no further image for it.
    let before = env.isola(["images", "-q"]).ok().stdout;
    for kind in ["docker", "oci"] {
        let archive = env.files().join(kind);
        let output = format!("type={kind},dest={}", archive.display());
        build(env, &folder, "archived:1", &["-o", &output]).ok();
        assert_eq!(env.isola(["images", "-q"]).ok().stdout, before);
        let from = format!("{kind}-archive:{}", archive.display());
        let words = ["inspect", "--config", "--raw", &from];
        assert!(tool(&env.files(), "skopeo", &words).contains("\"rootfs\""));
        let load = env.isola(["load", "-i", archive.to_str().unwrap()]).ok();
        assert_eq!(load.stdout, "Loaded image: archived:1\n");
        env.isola(["rmi", "archived:1"]).ok();
    }
}
