//! Registries: Debian's, on loopback.

#[path = "registry/server.rs"]
mod server;

use std::path::Path;

use isola_tests::{Env, Output, behaviours};

pub(crate) use server::Registry;

behaviours![
    Every what_is_missing_is_pulled,
    Once pushed_and_pulled_images_are_the_same,
    Once all_tags_of_a_repository,
    Once tls_and_logins,
    Once client_certificates_are_shown,
    Once a_missing_image_is_one_clear_error,
    Once helpers_keep_logins,
];

pub(crate) fn inspect(env: &Env, image: &str, field: &str) -> String {
    let words = ["inspect", "--type", "image", "--format", field, image];
    env.isola(words).ok().stdout.trim().to_owned()
}

pub(crate) fn names(env: &Env) -> String {
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

fn all_tags_of_a_repository(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/team/box", registry.host);
    let tags = ["1", "2", "latest"].map(|tag| format!("{name}:{tag}"));
    env.isola(["push", "-a", &name]).fails(1, "no such image");
    for tag in &tags {
        env.isola(["tag", "box", tag]).ok();
    }
    let other = format!("{name}x:1");
    env.isola(["tag", "box", &other]).ok();
    let pushed = env.isola(["push", "-q", "--all-tags", &name]).ok();
    let all = tags.map(|tag| format!("{tag}\n")).concat();
    assert_eq!(pushed.stdout, all);
    env.isola(["rmi", "-f", &inspect(env, "box", "{{.Id}}")])
        .ok();
    let pulled = env.isola(["pull", "-q", "-a", &name]).ok();
    assert_eq!(pulled.stdout, all);
    assert_eq!(names(env).lines().count(), 3);
    env.isola(["pull", "-a", &format!("{name}:1")])
        .fails(1, "a tag or digest makes no sense");
    env.isola(["pull", "-a", &format!("{name}y")])
        .fails(1, "has no image");
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

fn a_missing_image_is_one_clear_error(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/box:1", registry.host);
    env.isola(["tag", "box", &name]).ok();
    env.isola(["push", &name]).ok();
    let unknown = format!("{}/box:2", registry.host);
    env.isola(["pull", &unknown])
        .fails(1, &format!("has no image {unknown}"));
    env.isola(["run", "--rm", &unknown]).fails(125, &unknown);
    // What is wrong without it is said before the registry is asked.
    env.isola(["run", "--rm", "-p", "1:2:3:4", &unknown])
        .fails(125, "cannot publish");
    env.isola(["run", "--rm", "--memory", "1x", &unknown])
        .fails(125, "not a size");
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
