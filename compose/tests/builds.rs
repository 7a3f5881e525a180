//! What has to be built for a project, and in which order.

mod common;

use std::collections::BTreeSet;

use common::load;
use isola_compose::{Building, builds};
use isola_runtime::workload::Isolation;

fn planned(text: &str, on: &[&str], wanted: &[&str]) -> Result<Vec<Building>, String> {
    let services = on.iter().map(|name| (*name).to_owned()).collect();
    let model = load(&[("compose.yaml", text)], |request| {
        request.services = services;
    });
    let model = model.map_err(|invalid| invalid.to_string())?;
    let project = model.project().expect("a project");
    let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
    builds(&project, &wanted).map_err(|error| error.message)
}

const STACK: &str = "
name: p
services:
  app:
    isolation: vm
    build:
      context: .
      additional_contexts: {low: 'service:base', side: 'service:tools', files: ./files}
  base:
    profiles: [never]
    build: {dockerfile_inline: FROM x, isolation: emulated}
  tools:
    image: own/tools
    build: ./tools
  again:
    image: own/tools
    build: ./tools
  plain:
    image: x
";

#[test]
fn images_come_after_what_they_are_built_upon() {
    let show = |on: &[&str], wanted: &[&str]| {
        let planned = planned(STACK, on, wanted).expect("a plan");
        let line = |building: &Building| {
            let upon: Vec<String> = building
                .upon
                .iter()
                .map(|(name, image)| format!("{name}={image}"))
                .collect();
            let walls: Vec<&str> = building.walls.iter().map(|wall| wall.name()).collect();
            format!(
                "{} {} [{}] {}",
                building.service,
                building.image,
                walls.join(","),
                upon.join(" ")
            )
        };
        planned.iter().map(line).collect::<Vec<_>>()
    };
    let base = "base p-base [emulated] ";
    let app = "app p-app [vm] low=p-base side=own/tools";
    assert_eq!(
        show(&[], &["app", "again", "plain"]),
        ["again own/tools [] ", base, app]
    );
    // What is off is built all the same, where it is needed.
    assert_eq!(show(&["app"], &["app"]), [base, "tools own/tools [] ", app]);
    assert_eq!(show(&["plain"], &["plain"]), [""; 0]);
}

#[test]
fn labels_are_those_of_compose() {
    let planned = planned(STACK, &[], &["tools"]).expect("a plan");
    let labels: Vec<String> = planned[0]
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        labels[..2],
        [
            "com.docker.compose.project=p",
            "com.docker.compose.service=tools"
        ]
    );
    assert_eq!(planned[0].walls, Vec::<Isolation>::new());
}

#[test]
fn what_can_not_be_built_is_refused() {
    for (build, words) in [
        (
            "privileged: true",
            "services.a.build: `privileged` is not supported",
        ),
        ("entitlements: [e]", "the entitlement e"),
        ("network: other", "`network: other`"),
        (
            "network: host, isolation: [container, vm]",
            "behind the wall vm",
        ),
        (
            "platforms: [linux/arm64, linux/s390x]",
            "one platform, and none of linux/arm64, linux/s390x",
        ),
        ("platforms: [linux/]", "the platform \"linux/\""),
        ("isolation: jail", "compose.yaml:1:"),
        (
            "additional_contexts: {x: 'service:y'}",
            "no such service: y",
        ),
        (
            "additional_contexts: {x: 'service:b'}",
            "the service `b` is not built",
        ),
        (
            "additional_contexts: {x: 'service:a'}",
            "in a circle: a -> a",
        ),
        ("additional_contexts: {x: 'service:c'}", "in a circle"),
    ] {
        let text = format!(
            "{{name: p, services: {{a: {{build: {{context: ., {build}}}}}, b: {{image: x}}, \
             c: {{build: {{context: ., additional_contexts: {{y: 'service:a'}}}}}}}}}}"
        );
        let message = planned(&text, &[], &["a"]).expect_err(build);
        assert!(message.contains(words), "{build}: {message}");
    }
    let text = "{name: p, services: {a: {image: i, build: x}, b: {image: i, build: y}}}";
    let message = planned(text, &[], &["a", "b"]).expect_err("two ways");
    assert!(message.contains("services.b: the image i is built by services.a, too"));
}

#[test]
fn an_image_is_built_for_one_platform() {
    for (service, platform) in [
        ("build: {context: .}", None),
        (
            "platform: linux/arm64, build: {context: .}",
            Some("linux/arm64"),
        ),
        (
            "build: {context: ., platforms: [linux/arm64]}",
            Some("linux/arm64"),
        ),
        (
            "build: {context: ., platforms: [linux/arm64, linux/amd64]}",
            Some("linux/amd64"),
        ),
        (
            "platform: linux/arm64, build: {context: ., platforms: [linux/amd64, linux/arm64]}",
            Some("linux/arm64"),
        ),
    ] {
        let text = format!("{{name: p, services: {{a: {{{service}}}}}}}");
        let planned = planned(&text, &[], &["a"]).expect(service);
        let found = planned[0].platform.as_ref().map(ToString::to_string);
        assert_eq!(found.as_deref(), platform, "{service}");
    }
}

#[test]
fn what_has_no_effect_is_told() {
    let text = "{name: p, services: {a: {build: {context: ., cache_from: [x], cache_to: [y], \
                sbom: true, provenance: false, platforms: [linux/amd64, linux/arm64]}}}}";
    let model = load(&[("compose.yaml", text)], |_| {}).expect("a project");
    let notes: Vec<String> = model
        .notes
        .iter()
        .map(|note| note.message.clone())
        .collect();
    assert_eq!(
        notes,
        [
            "services.a.build.cache_from has no effect",
            "services.a.build.cache_to has no effect",
            "services.a.build.sbom has no effect",
            "services.a.build.platforms has an effect for one alone",
        ]
    );
}
