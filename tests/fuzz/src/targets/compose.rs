//! Compose files, with a `.env` and a file that may be included or extended.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use isola_compose::{Files, Request, load};

use super::Target;

pub(super) fn target() -> Target {
    let seeds = [FIRST, SECOND, THIRD].map(|text| text.as_bytes().to_vec());
    Target {
        name: "compose",
        seeds: seeds.to_vec(),
        make: || Box::new(read),
        fix: super::nothing,
    }
}

const FIRST: &str = "x-a: &a {image: x, ulimits: {nofile: {soft: 1, hard: 2}}}
services:
  web:
    <<: *a
    ports: [\"${P:-80}-82:8000-8002/udp\", {target: 1, published: 5-9}]
    volumes: [\"./a:/b:ro,z\", v:/c, {type: tmpfs, target: /d, tmpfs: {size: 1m}}]
    depends_on: {db: {condition: service_healthy, required: false}}
    command: sh -c \"a 'b' $$c\"
    isolation: vm,emulated
  db: {extends: web, healthcheck: {test: x, interval: 1m30s}, ports: !reset []}
volumes: {v: }
";
const SECOND: &str = "name: n
include: [other.yaml]
services:
  a: {build: {context: ., args: [A, B=1]}, environment: [X, Y=${Z?no}], runtime: kata}
  b: {extends: {file: other.yaml, service: o}, networks: {n: {ipv4_address: 10.0.0.2}}}
networks: {n: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}
---
services: {a: {deploy: {replicas: 2, resources: {limits: {cpus: .5, memory: 1.5g}}}}}
";
const THIRD: &str = "A=1 # x\nexport B=\"${A:-x}\\n\"\nC='y\nz'\nD: e\nF\n";

/// Every file is the input, so that it is included and extended by itself, too.
struct Everywhere(Vec<u8>);

impl Files for Everywhere {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn is_file(&self, path: &Path) -> bool {
        ["compose.yaml", "other.yaml"]
            .iter()
            .any(|name| path.ends_with(name))
    }
}

/// What is accepted can be typed, and prints as a project that reads as itself.
fn read(input: &[u8]) -> String {
    let files = Everywhere(input.to_vec());
    let mut request = Request::new("/p".into(), BTreeMap::new());
    if input.first().is_some_and(|byte| byte.is_ascii_uppercase()) {
        request.env_files = vec!["given.env".into()];
    }
    let model = match load(&request, &files) {
        Ok(model) => model,
        Err(invalid) => {
            assert!(!invalid.diagnostics.is_empty());
            let kinds = invalid
                .diagnostics
                .iter()
                .map(|diagnostic| diagnostic.hint.as_str());
            return kinds.take(3).collect();
        }
    };
    model.project().expect("what is accepted can be typed");
    let text = model.to_yaml();
    let again = Everywhere(text.clone().into_bytes());
    request.env_files.clear();
    request.profiles = vec!["*".into()];
    match load(&request, &again) {
        Ok(again) => assert_eq!(again.to_yaml(), text),
        Err(invalid) => panic!("{invalid}\n{text}"),
    }
    format!("{} {}", model.services().len(), text.len() / 64)
}
