//! Registries: Debian's, on loopback, with skopeo as another client.

#[path = "registry/server.rs"]
mod server;

#[path = "../../images/tests/suite/support/fake.rs"]
#[allow(dead_code)]
mod fake;

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use isola_tests::{Env, Output, behaviours};

use fake::{Fake, Reply, Seen, Served};
use server::Registry;

behaviours![
    Every what_is_missing_is_pulled,
    Once pushed_and_pulled_images_are_the_same,
    Once tls_and_logins,
    Once client_certificates_are_shown,
    Once skopeo_and_isola_understand_each_other,
    Once a_missing_image_is_one_clear_error,
    Once a_killed_pull_leaves_nothing_but_what_is_used_again,
    Once helpers_keep_logins,
    Once usage_and_history_are_told,
];

fn inspect(env: &Env, image: &str, field: &str) -> String {
    let words = ["inspect", "--type", "image", "--format", field, image];
    env.isola(words).ok().stdout.trim().to_owned()
}

fn names(env: &Env) -> String {
    let words = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    env.isola(words).ok().stdout
}

/// Runs the program with these variables.
fn with(env: &Env, variables: &[(&str, &Path)], words: &[&str], input: &[u8]) -> Output {
    let mut command = env.command(words);
    command.envs(variables.iter().copied());
    Output::of(&mut command, input)
}

fn what_is_missing_is_pulled(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/team/box:1", registry.host);
    env.isola(["tag", "box", &name]).ok();
    env.isola(["push", "-q", &name]).ok();
    env.isola(["rmi", &name, "box"]).ok();
    env.isola(["run", "--rm", "--pull", "never", &name, "true"])
        .fails(125, "no such image");
    let output = env.isola(["run", "--rm", &name, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n", "the pull says nothing there");
    drop(registry);
    let output = env.isola(["run", "--rm", &name, "echo", "still"]).ok();
    assert_eq!(output.stdout, "still\n");
    env.isola(["run", "--rm", "--pull", "always", &name, "true"])
        .fails(125, "cannot reach the registry");
    env.isola(["run", "--rm", "--platform", "linux/arm64", &name, "true"])
        .fails(125, "linux/arm64");
}

fn pushed_and_pulled_images_are_the_same(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/team/box:1", registry.host);
    env.isola(["tag", "box", &name]).ok();
    let id = inspect(env, "box", "{{.Id}}");
    let digest = inspect(env, "box", "{{.Descriptor.digest}}");
    let pushed = env.isola(["push", &name]).ok();
    assert!(pushed.stdout.contains(&digest), "{pushed:?}");
    assert_eq!(pushed.stderr, "", "no progress without a terminal");
    // Again, and below another name, which takes the blobs over.
    env.isola(["push", &name]).ok();
    let other = format!("{}/other/box:2", registry.host);
    env.isola(["tag", "box", &other]).ok();
    env.isola(["push", &other]).ok();
    let raw = env
        .isola(["manifest", "inspect", "--raw", &other])
        .ok()
        .stdout;
    let shown = env.isola(["manifest", "inspect", &other]).ok().stdout;
    assert!(raw.contains("schemaVersion") && shown.contains("\"schemaVersion\": 2"));
    env.isola(["rmi", "-f", &id]).ok();
    assert_eq!(names(env), "");
    let pulled = env.isola(["pull", &other]).ok();
    assert!(
        pulled.stdout.contains(&format!("Digest: {digest}")),
        "{pulled:?}"
    );
    assert!(
        pulled.stdout.contains("Downloaded newer image"),
        "{pulled:?}"
    );
    let again = env.isola(["pull", &other]).ok();
    assert!(again.stdout.contains("is up to date"), "{again:?}");
    assert_eq!(
        env.isola(["pull", "-q", &other]).ok().stdout,
        format!("{other}\n")
    );
    assert_eq!(inspect(env, &other, "{{.Id}}"), id);
    assert_eq!(inspect(env, &other, "{{.Descriptor.digest}}"), digest);
    let by_digest = format!("{}/team/box@{digest}", registry.host);
    env.isola(["pull", &by_digest]).ok();
    let output = env.isola(["run", "--rm", &by_digest, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n");
    let listed = env
        .isola(["images", "--digests", "--format", "{{.Digest}}"])
        .ok();
    assert!(listed.stdout.contains(&digest), "{listed:?}");
}

fn tls_and_logins(env: &Env) {
    let folder = env.files();
    let registry = Registry::with_tls(env, Some(("user", "secret")), false);
    let name = format!("{}/box", registry.host);
    env.isola(["tag", "box", &name]).ok();
    let docker = folder.join("docker");
    let settings = folder.join("config.toml");
    let variables = [
        ("DOCKER_CONFIG", docker.as_path()),
        ("ISOLA_CONFIG", settings.as_path()),
    ];
    std::fs::write(&settings, "").unwrap();
    with(env, &variables, &["push", &name], b"").fails(1, "certificate");
    std::fs::write(&settings, registry.trusted(&folder)).unwrap();
    with(env, &variables, &["push", &name], b"").fails(1, "denied access");
    let login = [
        "login",
        "-u",
        "user",
        "--password-stdin",
        registry.host.as_str(),
    ];
    with(env, &variables, &login, b"wrong\n").fails(1, "denied access to a login");
    assert!(!docker.exists(), "a wrong password is not kept");
    assert_eq!(
        with(env, &variables, &login, b"secret\n").ok().stdout,
        "Login Succeeded\n"
    );
    with(env, &variables, &["push", &name], b"").ok();
    env.isola(["rmi", &name, "box"]).ok();
    with(env, &variables, &["pull", &name], b"").ok();
    let logout = ["logout", registry.host.as_str()];
    assert!(
        with(env, &variables, &logout, b"")
            .ok()
            .stdout
            .contains("Removing")
    );
    assert!(
        with(env, &variables, &logout, b"")
            .ok()
            .stdout
            .contains("Not logged in")
    );
    with(env, &variables, &["pull", &name], b"").fails(1, "denied access");
    assert_eq!(
        env.isola(["run", "--rm", &name, "echo", "fine"])
            .ok()
            .stdout,
        "fine\n"
    );
}

fn client_certificates_are_shown(env: &Env) {
    let folder = env.files();
    let registry = Registry::with_tls(env, None, true);
    let name = format!("{}/box", registry.host);
    env.isola(["tag", "box", &name]).ok();
    let settings = folder.join("config.toml");
    let variables = [("ISOLA_CONFIG", settings.as_path())];
    std::fs::write(&settings, registry.trusted(&folder)).unwrap();
    let output = with(env, &variables, &["push", &name], b"").exits(1);
    assert!(
        output.stderr.starts_with("error: cannot reach"),
        "{output:?}"
    );
    std::fs::write(&settings, registry.trusted_with_client(&folder)).unwrap();
    with(env, &variables, &["push", &name], b"").ok();
}

fn skopeo(env: &Env, words: &[&str]) {
    let mut command = Command::new("skopeo");
    env.host().enter(&mut command);
    let output = command.arg("--insecure-policy").args(words).output();
    let output = output.unwrap_or_else(|e| panic!("skopeo is needed for this test: {e}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn skopeo_and_isola_understand_each_other(env: &Env) {
    let folder = env.files();
    let registry = Registry::plain(env);
    let archive = folder.join("box.tar");
    let archive = archive.to_str().unwrap();
    env.isola(["save", "-o", archive, "box"]).ok();
    for (number, form) in ["oci", "v2s2"].into_iter().enumerate() {
        for compression in ["gzip", "zstd"] {
            if (form, compression) == ("v2s2", "zstd") {
                // Docker's own manifests know no zstd.
                continue;
            }
            let name = format!("{}/from-skopeo:{number}-{compression}", registry.host);
            let to = format!("docker://{name}");
            let from = format!("oci-archive:{archive}");
            skopeo(
                env,
                &[
                    "copy",
                    "--dest-tls-verify=false",
                    "--format",
                    form,
                    "--dest-compress-format",
                    compression,
                    "--dest-compress",
                    &from,
                    &to,
                ],
            );
            env.isola(["pull", &name]).ok();
            let output = env.isola(["run", "--rm", &name, "echo", form]).ok();
            assert_eq!(output.stdout, format!("{form}\n"));
            let digest = inspect(env, &name, "{{.Descriptor.digest}}");
            // What came from skopeo goes back as it is, and skopeo reads it.
            let back = format!("{}/from-isola:{number}-{compression}", registry.host);
            env.isola(["tag", &name, &back]).ok();
            let pushed = env.isola(["push", &back]).ok();
            assert!(pushed.stdout.contains(&digest), "{pushed:?}");
            let copy = folder.join(format!("copy-{number}-{compression}"));
            let to = format!("dir:{}", copy.display());
            let from = format!("docker://{back}");
            skopeo(
                env,
                &[
                    "copy",
                    "--src-tls-verify=false",
                    "--preserve-digests",
                    &from,
                    &to,
                ],
            );
            let ours = env
                .isola(["manifest", "inspect", "--raw", &back])
                .ok()
                .stdout;
            let theirs = std::fs::read_to_string(copy.join("manifest.json")).unwrap();
            assert_eq!(ours, theirs);
        }
    }
}

fn a_missing_image_is_one_clear_error(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/box:1", registry.host);
    env.isola(["tag", "box", &name]).ok();
    env.isola(["push", &name]).ok();
    let unknown = format!("{}/box:2", registry.host);
    env.isola(["pull", &unknown])
        .fails(1, &format!("has no image {unknown}"));
    env.isola(["run", "--rm", &unknown]).fails(125, &unknown);
    env.isola(["push", &unknown]).fails(1, "no such image");
    env.isola(["pull", "Not A Name"])
        .fails(1, "is not an image name");
    env.isola(["pull", "127.0.0.1:1/box"])
        .fails(1, "cannot reach the registry 127.0.0.1:1");
    let error = env
        .isola(["pull", "--format", "json", &unknown])
        .exits(1)
        .stderr;
    assert!(error.contains("\"code\":\"E0201\""), "{error}");
    assert_eq!(names(env).lines().count(), 2);
}

/// The small image as a registry has it.
fn served(env: &Env) -> Served {
    let archive = env.files().join("served.tar");
    env.isola(["save", "-o", archive.to_str().unwrap(), "box"])
        .ok();
    let mut served: Served = HashMap::new();
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let Some(hex) = path
            .strip_prefix("blobs/sha256/")
            .filter(|hex| !hex.is_empty())
        else {
            continue;
        };
        let digest = format!("sha256:{hex}");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        served.insert(format!("/v2/box/blobs/{digest}"), ("x", bytes.clone()));
        if digest == inspect(env, "box", "{{.Descriptor.digest}}") {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            served.insert("/v2/box/manifests/latest".into(), (kind, bytes));
        }
    }
    served
}

fn a_killed_pull_leaves_nothing_but_what_is_used_again(env: &Env) {
    let served = served(env);
    let large = served.values().map(|(_, bytes)| bytes.len()).max().unwrap();
    let bytes: Vec<_> = served.values().map(|(_, bytes)| bytes.clone()).collect();
    let whole = bytes
        .into_iter()
        .find(|bytes| bytes.len() == large)
        .unwrap();
    let path = served
        .iter()
        .find(|(_, (_, bytes))| bytes.len() == large)
        .unwrap()
        .0
        .clone();
    let mischief = move |seen: &Seen| {
        let slow = seen.path == path && seen.before == 0;
        slow.then(|| Reply::Slow(whole.clone(), 100_000))
    };
    let fake = env.host().inside(|| Fake::new(served, Box::new(mischief)));
    env.isola(["rmi", "box"]).ok();
    let count = |folder: &str| {
        let path = env.root().join("images").join(folder);
        std::fs::read_dir(path).unwrap().count()
    };
    let name = format!("{}/box", fake.host);
    let pull = env.start(["pull", &name]);
    let until = Instant::now() + Duration::from_secs(60);
    while count("tmp") < 2 {
        assert!(Instant::now() < until, "the pull does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    pull.signal(9);
    pull.wait();
    assert_eq!(names(env), "");
    assert_eq!((count("layers"), count("blobs/sha256")), (0, 0));
    assert!(count("tmp") > 0, "the pull was over before it was killed");
    env.isola(["pull", &name]).ok();
    assert_eq!(count("tmp"), 0, "what the killed one left is gone");
    let output = env.isola(["run", "--rm", &name, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n");
}

fn helpers_keep_logins(env: &Env) {
    use std::os::unix::fs::PermissionsExt;
    let folder = env.files();
    let registry = Registry::with_tls(env, Some(("user", "secret")), false);
    let settings = folder.join("config.toml");
    std::fs::write(&settings, registry.trusted(&folder)).unwrap();
    // A helper that keeps its one secret in a file beside it.
    let helper = folder.join("docker-credential-test");
    let kept = folder.join("kept.json");
    let text = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat > {kept} ;;\nerase) rm {kept} ;;\n\
         get) cat {kept} 2> /dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;;\nesac\n",
        kept = kept.display()
    );
    std::fs::write(&helper, text).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let docker = folder.join("docker");
    std::fs::create_dir_all(&docker).unwrap();
    let config = format!("{{\"credHelpers\": {{\"{}\": \"test\"}}}}", registry.host);
    std::fs::write(docker.join("config.json"), &config).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let variables = [
        ("DOCKER_CONFIG", docker.as_path()),
        ("ISOLA_CONFIG", settings.as_path()),
        ("PATH", Path::new(&path)),
    ];
    let name = format!("{}/box", registry.host);
    env.isola(["tag", "box", &name]).ok();
    with(env, &variables, &["push", &name], b"").fails(1, "denied access");
    let login = [
        "login",
        "-u",
        "user",
        "-p",
        "secret",
        registry.host.as_str(),
    ];
    let output = with(env, &variables, &login, b"").ok();
    assert_eq!(output.stderr, "", "nothing to warn of");
    assert_eq!(
        std::fs::read_to_string(docker.join("config.json")).unwrap(),
        config
    );
    with(env, &variables, &["push", &name], b"").ok();
    with(env, &variables, &["logout", &registry.host], b"").ok();
    assert!(!kept.exists());
    std::fs::remove_file(&helper).unwrap();
    with(env, &variables, &["push", &name], b"").fails(1, "docker-credential-test");
}

fn usage_and_history_are_told(env: &Env) {
    env.isola(["tag", "box", "box:2"]).ok();
    env.isola(["create", "--name", "aa", "box"]).ok();
    let table = env.isola(["system", "df"]).ok().stdout;
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[1].starts_with("Images") && lines[2].starts_with("Containers"),
        "{table}"
    );
    let active = env
        .isola(["system", "df", "--format", "{{.Active}}/{{.TotalCount}}"])
        .ok();
    assert_eq!(active.stdout, "1/1\n0/1\n");
    assert!(
        env.isola(["system", "df", "-v"])
            .ok()
            .stdout
            .contains("box:2")
    );
    let steps = env
        .isola(["history", "--format", "{{.ID}} {{.Size}}", "box"])
        .ok()
        .stdout;
    let (id, size) = steps.lines().next().unwrap().split_once(' ').unwrap();
    assert_eq!(
        id,
        env.isola(["images", "-q", "box"])
            .ok()
            .stdout
            .lines()
            .next()
            .unwrap()
    );
    assert!(steps.contains("MB"), "{size} of {steps}");
    env.isola(["image", "prune", "--all", "--force"]).ok();
    assert!(names(env).contains("box:2"), "it is in use");
    let output = env
        .isola(["system", "prune", "--all", "--force"])
        .ok()
        .stdout;
    assert!(output.contains("Total reclaimed space"), "{output}");
    assert_eq!(names(env), "");
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
}
