//! Builds on images of folders that are OCI image layouts.

use std::path::{Path, PathBuf};
use std::process::Command;

use isola_tests::{Env, behaviours};
use serde_json::{Value, json};

use crate::build::{build, context};
use crate::clients::skopeo;

behaviours![
    Once layouts_are_built_upon,
    Once layouts_hold_images_of_platforms,
    Once bad_layouts_are_told,
];

/// An image of a file, in a layout, under a tag.
fn add(env: &Env, layout: &Path, tag: &str) {
    let content = format!("from {tag}\n");
    let folder = context(
        env,
        &[("Dockerfile", "FROM box\nCOPY f /f\n"), ("f", &content)],
    );
    let archive = env.files().join("made.tar");
    let archive = archive.to_str().unwrap();
    let out = format!("type=oci,dest={archive}");
    env.isola(["build", "-o", &out, folder.to_str().unwrap()])
        .ok();
    let to = format!("oci:{}:{tag}", layout.display());
    skopeo(env, &["copy", "-q", &format!("oci-archive:{archive}"), &to]);
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn digest(layout: &Path, number: usize) -> String {
    let index = read(&layout.join("index.json"));
    index["manifests"][number]["digest"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    layout.join("blobs/sha256").join(hex)
}

fn given(name: &str, layout: &Path, rest: &str) -> String {
    format!(
        "--build-context={name}=oci-layout://{}{rest}",
        layout.display()
    )
}

fn sh(env: &Env, image: &str, script: &str) -> String {
    env.isola(["run", "--rm", image, "sh", "-c", script])
        .ok()
        .stdout
}

fn nameless(env: &Env) -> String {
    let words = [
        "image",
        "ls",
        "-q",
        "--no-trunc",
        "--filter",
        "dangling=true",
    ];
    env.isola(words).ok().stdout
}

fn layouts_are_built_upon(env: &Env) {
    let layout = env.files().join("layout");
    add(env, &layout, "one");
    add(env, &layout, "two");
    env.isola(["image", "prune", "-f"]).ok();
    let text = "FROM base AS first\nRUN --mount=from=other,target=/m cat /f /m/f > /both\n\
                FROM box\nCOPY --from=first /both /both\nCOPY --from=other /f /f\n";
    let folder = context(env, &[("Dockerfile", text)]);
    let by_tag = [
        given("base", &layout, ":one"),
        given("other", &layout, ":two"),
    ];
    let by_digest = [
        given("base", &layout, &format!("@{}", digest(&layout, 0))),
        given("other", &layout, &format!("@{}", digest(&layout, 1))),
    ];
    let names = env
        .isola(["image", "ls", "--format", "{{.Repository}}"])
        .ok()
        .stdout;
    build(env, &folder, "made", &[&by_tag[0], &by_tag[1]]).ok();
    assert_eq!(
        sh(env, "made", "cat /both /f"),
        "from one\nfrom two\nfrom two\n"
    );
    // What was built upon is there, and nobody's.
    assert_eq!(nameless(env).lines().count(), 2);
    // It is the same by another name, and again without what was swept meanwhile.
    let id = env.inspect("made", "{{.Id}}");
    env.isola(["image", "prune", "-f"]).ok();
    assert_eq!(nameless(env), "");
    build(env, &folder, "again", &[&by_digest[0], &by_digest[1]]).ok();
    assert_eq!(env.inspect("again", "{{.Id}}"), id);
    env.isola(["rmi", "made", "again"]).ok();
    env.isola(["image", "prune", "-f"]).ok();
    let left = env
        .isola(["image", "ls", "--format", "{{.Repository}}"])
        .ok();
    assert_eq!(left.stdout, names);
}

fn layouts_hold_images_of_platforms(env: &Env) {
    let layout = env.files().join("layout");
    std::fs::create_dir(&layout).unwrap();
    let folder = context(
        env,
        &[
            (
                "Dockerfile",
                "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /which\n",
            ),
            ("amd64", "amd64\n"),
            ("arm64", "arm64\n"),
            ("riscv64", "riscv64\n"),
        ],
    );
    let archive = env.files().join("all.tar");
    let out = format!("type=oci,dest={}", archive.display());
    let platforms = "--platform=linux/arm64,linux/riscv64,linux/amd64";
    env.isola(["build", platforms, "-o", &out, folder.to_str().unwrap()])
        .ok();
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(&layout);
    assert!(tar.status().unwrap().success());
    let folder = context(
        env,
        &[("Dockerfile", "FROM box\nCOPY --from=it /which /which\n")],
    );
    let native = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    build(env, &folder, "it", &[&given("it", &layout, "")]).ok();
    assert_eq!(sh(env, "it", "cat /which"), format!("{native}\n"));
    // The one that is asked for by its digest is not for this machine.
    let index = read(&blob(&layout, &digest(&layout, 0)));
    let mut other = index["manifests"].as_array().unwrap().iter().rev();
    let other = other.find(|found| found["platform"]["architecture"] == "riscv64");
    let other = other.unwrap()["digest"].as_str().unwrap();
    build(
        env,
        &folder,
        "it",
        &[&given("it", &layout, &format!("@{other}"))],
    )
    .fails(1, "is not made for linux/");
    let folder = context(
        env,
        &[(
            "Dockerfile",
            "FROM --platform=linux/riscv64 it\nLABEL a=b\n",
        )],
    );
    build(env, &folder, "it", &[&given("it", &layout, "")]).ok();
    assert_eq!(env.inspect("it", "{{.Architecture}}"), "riscv64");
}

fn bad_layouts_are_told(env: &Env) {
    let layout = env.files().join("layout");
    add(env, &layout, "one");
    let one = digest(&layout, 0);
    let manifest = blob(&layout, &one);
    let layer = read(&manifest)["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let layer = blob(&layout, &layer);
    let folder = context(env, &[("Dockerfile", "FROM it\n")]);
    let refused = |rest: &str, why: &str, hint: &str| {
        let output = build(env, &folder, "it", &[&given("it", &layout, rest)]);
        assert!(output.stderr.contains(hint), "{hint}: {}", output.stderr);
        output.fails(1, why);
    };
    refused("/none", "there is no such folder", "PATH:TAG");
    refused("/index.json", "it is no folder", "isola load");
    refused(
        "/blobs",
        "it has no oci-layout",
        "is a folder with oci-layout",
    );
    refused(
        ":none",
        "no image in it has the tag none",
        "name one of :one",
    );
    let wrong = format!("@sha256:{}", "0".repeat(64));
    refused(&wrong, "it has no blobs/sha256/0000", "is a folder with");
    refused(
        "@sha256:12",
        "sha256:12 is no SHA-256 digest",
        "PATH@sha256:DIGEST",
    );

    // A Dockerfile names no folder of the host.
    let own = format!("FROM oci-layout://{}\n", layout.display());
    let text = context(env, &[("Dockerfile", &own)]);
    build(env, &text, "it", &[]).fails(1, "oci-layout");
    context(env, &[("Dockerfile", "FROM it\n")]);

    let swap = |path: &Path, change: &dyn Fn(), why: &str| {
        let aside = path.with_extension("aside");
        std::fs::copy(path, &aside).unwrap();
        change();
        refused("", why, "hint:");
        let _ = std::fs::remove_file(path);
        std::fs::rename(&aside, path).unwrap();
    };
    let link = |target: &Path, path: &Path| {
        std::fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[20] ^= 1;
    let flipped = || std::fs::write(&manifest, &bytes).unwrap();
    swap(
        &manifest,
        &flipped,
        "is damaged: its content has the digest",
    );
    swap(
        &layer,
        &|| std::fs::write(&layer, "short").unwrap(),
        "5 bytes instead of",
    );
    // The right content, but somewhere else.
    let outside = env.files().join("outside");
    std::fs::copy(&layer, &outside).unwrap();
    swap(
        &layer,
        &|| link(&outside, &layer),
        "it has no blobs/sha256/",
    );
    swap(
        &layer,
        &|| link(Path::new("/proc/self/fd/0"), &layer),
        "it has no blobs/sha256/",
    );
    let pipe = || {
        std::fs::remove_file(&layer).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(&layer)
                .status()
                .unwrap()
                .success()
        );
    };
    swap(&layer, &pipe, "is no file");
    let index = layout.join("index.json");
    swap(
        &index,
        &|| std::fs::write(&index, "{").unwrap(),
        "its index.json: ",
    );
    let itself = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": one, "size": 5}
    ]});
    let lies = || std::fs::write(&index, itself.to_string()).unwrap();
    swap(&index, &lies, "bytes instead of 5");
    add(env, &layout, "two");
    context(env, &[("Dockerfile", "FROM it\n")]);
    refused(
        "",
        "it holds 2 images, and none was named",
        "name one of :one, :two",
    );
    // Nothing of all that is left, and what is there works.
    assert_eq!(nameless(env), "");
    build(env, &folder, "it", &[&given("it", &layout, ":one")]).ok();
    assert_eq!(sh(env, "it", "cat /f"), "from one\n");
}
