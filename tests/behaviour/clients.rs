//! Other programs that speak with registries: what they push we run, and what we
//! push or save they read, with the same digests.

#[path = "clients/peers.rs"]
mod peers;

use std::path::Path;
use std::process::Command;

use isola_tests::{Env, behaviours};

use crate::registry::{Registry, inspect};
use peers::{Docker, Podman};

behaviours![
    Once skopeo_and_isola_understand_each_other,
    Every an_index_goes_through_unchanged,
    NotInLab podman_and_isola_understand_each_other,
    NotInLab docker_and_isola_understand_each_other,
];

/// Runs skopeo, and gives what it says.
pub(crate) fn skopeo(env: &Env, words: &[&str]) -> String {
    let mut command = Command::new("skopeo");
    env.host().enter(&mut command);
    let output = command.arg("--insecure-policy").args(words).output();
    let output = output.unwrap_or_else(|e| panic!("skopeo is needed for this test: {e}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
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

/// An OCI layout in a folder: the small image for this machine and for another.
/// Gives the bytes of its index.
fn layout(env: &Env, folder: &Path) -> Vec<u8> {
    let archive = env.files().join("box.tar");
    env.isola(["save", "-o", archive.to_str().unwrap(), "box"])
        .ok();
    tar::Archive::new(std::fs::File::open(archive).unwrap())
        .unpack(folder)
        .unwrap();
    let keep = |bytes: &[u8]| {
        let path = folder.join("blobs/sha256/new");
        std::fs::write(&path, bytes).unwrap();
        let sum = Command::new("sha256sum").arg(&path).output().unwrap();
        let hex = String::from_utf8(sum.stdout).unwrap();
        let hex = hex.split(' ').next().unwrap().to_owned();
        std::fs::rename(&path, path.with_file_name(&hex)).unwrap();
        format!("sha256:{hex}")
    };
    let read = |digest: &str| {
        let hex = digest.strip_prefix("sha256:").unwrap();
        std::fs::read(folder.join("blobs/sha256").join(hex)).unwrap()
    };
    let here = inspect(env, "box", "{{.Descriptor.digest}}");
    let mut manifest: serde_json::Value = serde_json::from_slice(&read(&here)).unwrap();
    let config = read(manifest["config"]["digest"].as_str().unwrap());
    let config = String::from_utf8(config).unwrap().replace("amd64", "arm64");
    manifest["config"]["digest"] = keep(config.as_bytes()).into();
    let there = keep(manifest.to_string().as_bytes());
    let image = |digest: &str, architecture: &str| {
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": read(digest).len(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [image(&there, "arm64"), image(&here, "amd64")],
    });
    let index = index.to_string().into_bytes();
    let descriptor = serde_json::json!({
        "mediaType": kind, "digest": keep(&index), "size": index.len(),
        "annotations": {"org.opencontainers.image.ref.name": "multi"},
    });
    let top = serde_json::json!({"schemaVersion": 2, "manifests": [descriptor]});
    std::fs::write(folder.join("index.json"), top.to_string()).unwrap();
    index
}

fn an_index_goes_through_unchanged(env: &Env) {
    let registry = Registry::plain(env);
    let folder = env.files().join("layout");
    let index = layout(env, &folder);
    let name = |name: &str| format!("{}/{name}:1", registry.host);
    let copy = |from: &str, to: &str| {
        let flags = [
            "copy",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ];
        let to = format!("docker://{to}");
        skopeo(env, &[&flags[..], &[from, &to]].concat());
    };
    let theirs = |name: &str| {
        let raw = env.isola(["manifest", "inspect", "--raw", name]).ok();
        raw.stdout.into_bytes()
    };
    let multi = name("multi");
    copy(&format!("oci:{}:multi", folder.display()), &multi);
    env.isola(["rmi", "box"]).ok();
    let pulled = env.isola(["pull", "--all-platforms", &multi]).ok().stdout;
    let digest = pulled
        .lines()
        .find_map(|line| line.strip_prefix("Digest: "));
    let digest = digest.unwrap();
    let output = env.isola(["run", "--rm", &multi, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n");
    env.isola(["run", "--rm", "--platform", "linux/arm64", &multi, "true"])
        .fails(125, "linux/arm64");
    env.isola(["tag", &multi, &name("pushed")]).ok();
    let pushed = env.isola(["push", &name("pushed")]).ok();
    assert!(pushed.stdout.contains(digest), "{pushed:?}");
    assert_eq!(theirs(&name("pushed")), index);
    // Through an archive, which skopeo reads, and so do we.
    let archive = env.files().join("multi.tar");
    let archive = archive.to_str().unwrap();
    env.isola(["save", "-o", archive, &multi]).ok();
    copy(&format!("oci-archive:{archive}"), &name("saved"));
    assert_eq!(theirs(&name("saved")), index);
    env.isola(["rmi", &multi, &name("pushed")]).ok();
    env.isola(["load", "-q", "-i", archive]).ok();
    env.isola(["tag", &multi, &name("loaded")]).ok();
    env.isola(["push", "-q", &name("loaded")]).ok();
    assert_eq!(theirs(&name("loaded")), index);
    // One of its images by itself.
    let one = name("one");
    env.isola(["tag", &multi, &one]).ok();
    env.isola(["push", "-q", "--platform", "linux/arm64", &one])
        .ok();
    env.isola(["rmi", &one]).ok();
    env.isola(["pull", &one]).fails(1, "is for linux/arm64");
    env.isola(["system", "check"]).ok();
}

fn digest(env: &Env, name: &str) -> String {
    inspect(env, name, "{{.Descriptor.digest}}")
}

fn podman_and_isola_understand_each_other(env: &Env) {
    let registry = Registry::plain(env);
    let podman = Podman::new(env);
    let ours = format!("{}/ours:1", registry.host);
    let theirs = format!("{}/theirs:1", registry.host);
    env.isola(["tag", "box", &ours]).ok();
    env.isola(["push", "-q", &ours]).ok();
    podman.run(&["pull", "-q", "--tls-verify=false", &ours]);
    let known = podman.run(&["image", "inspect", "--format", "{{.Digest}}", &ours]);
    assert_eq!(known, digest(env, &ours), "what we push they pull");
    assert_eq!(podman.start(&ours, &["echo", "fine"]), "fine");
    podman.run(&["tag", &ours, &theirs]);
    podman.run(&["push", "-q", "--tls-verify=false", &theirs]);
    let output = env.isola(["run", "--rm", &theirs, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n", "what they push we run");
    assert_eq!(digest(env, &theirs), known);
    let archive = env.files().join("podman.tar");
    let archive = archive.to_str().unwrap();
    podman.run(&[
        "save",
        "-q",
        "--format",
        "oci-archive",
        "-o",
        archive,
        &theirs,
    ]);
    let id = inspect(env, &theirs, "{{.Id}}");
    env.isola(["rmi", &theirs]).ok();
    env.isola(["load", "-q", "-i", archive]).ok();
    // podman packs layers anew when it saves; the image is the same.
    assert_eq!(
        inspect(env, &theirs, "{{.Id}}"),
        id,
        "what they save we load"
    );
    podman.run(&["rmi", "-f", &ours, &theirs]);
    let archive = env.files().join("isola.tar");
    let archive = archive.to_str().unwrap();
    env.isola(["save", "-o", archive, &ours]).ok();
    podman.run(&["load", "-q", "-i", archive]);
    assert_eq!(
        podman.start(&ours, &["echo", "fine"]),
        "fine",
        "and they ours"
    );
}

fn docker_and_isola_understand_each_other(env: &Env) {
    let registry = Registry::plain(env);
    let docker = Docker::start(env);
    let ours = format!("{}/ours:1", registry.host);
    let theirs = format!("{}/theirs:1", registry.host);
    env.isola(["tag", "box", &ours]).ok();
    env.isola(["push", "-q", &ours]).ok();
    docker.run(&["pull", "-q", &ours]);
    let field =
        |name: &str, field: &str| docker.run(&["image", "inspect", "--format", field, name]);
    let digests = field(&ours, "{{.RepoDigests}}");
    assert!(digests.contains(&digest(env, &ours)), "{digests}");
    assert_eq!(field(&ours, "{{.Id}}"), inspect(env, &ours, "{{.Id}}"));
    assert!(docker.files(&ours).contains(&"bin/busybox".to_owned()));
    // Docker writes a manifest of its own, with its own media types.
    docker.run(&["tag", &ours, &theirs]);
    docker.run(&["push", "-q", &theirs]);
    let output = env.isola(["run", "--rm", &theirs, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n", "what they push we run");
    let kind = inspect(env, &theirs, "{{.Descriptor.mediaType}}");
    assert_eq!(kind, "application/vnd.docker.distribution.manifest.v2+json");
    let digests = field(&theirs, "{{.RepoDigests}}");
    assert!(digests.contains(&digest(env, &theirs)), "{digests}");
    let back = format!("{}/back:1", registry.host);
    env.isola(["tag", &theirs, &back]).ok();
    let pushed = env.isola(["push", &back]).ok().stdout;
    assert!(
        pushed.contains(&digest(env, &theirs)),
        "as it came: {pushed}"
    );
    let archive = env.files().join("docker.tar");
    let archive = archive.to_str().unwrap();
    docker.run(&["save", "-o", archive, &theirs]);
    env.isola(["rmi", &theirs, &back]).ok();
    env.isola(["load", "-q", "-i", archive]).ok();
    let output = env.isola(["run", "--rm", &theirs, "echo", "fine"]).ok();
    assert_eq!(output.stdout, "fine\n", "what they save we run");
    docker.run(&["rmi", "-f", &ours, &theirs]);
    let archive = env.files().join("isola.tar");
    let archive = archive.to_str().unwrap();
    env.isola(["save", "-o", archive, &ours]).ok();
    docker.run(&["load", "-q", "-i", archive]);
    assert!(docker.files(&ours).contains(&"bin/busybox".to_owned()));
}
