//! How long it takes to read a project of many services: `cargo run --release -p
//! isola-compose --example many [SERVICES]`. Tells; judges nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use isola_compose::{Files, Request, load};

struct One(String);

impl Files for One {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn is_file(&self, path: &Path) -> bool {
        path.ends_with("compose.yaml")
    }
}

fn text(count: usize) -> String {
    let mut text = String::from("x-env: &env\n  LOG: info\n  ZONE: ${ZONE:-eu}\nservices:\n");
    for index in 0..count {
        let before = index.saturating_sub(1);
        let port = 10_000 + index;
        text.push_str(&format!(
            "  service{index}:
    image: registry.example.org/team/service{index}:1.${{MINOR:-0}}
    command: serve --port 8000 --name \"service {index}\"
    environment:
      <<: *env
      NAME: service{index}
      PEER: http://service{before}:8000/
    ports: [\"{port}:8000\"]
    volumes: [\"data{index}:/var/lib/data\", \"./conf/{index}:/etc/service:ro\"]
    networks: [front, back]
    healthcheck: {{test: [\"CMD\", \"check\"], interval: 10s, timeout: 1s, retries: 3}}
    deploy: {{resources: {{limits: {{cpus: \"0.5\", memory: 128M}}}}}}
    restart: unless-stopped
    labels: [team=core, index={index}]
"
        ));
        if index > 0 {
            text.push_str(&format!("    depends_on: [service{before}]\n"));
        }
    }
    text.push_str("networks: {front: , back: {internal: true}}\nvolumes:\n");
    for index in 0..count {
        text.push_str(&format!("  data{index}:\n"));
    }
    text
}

fn main() {
    let count = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(500);
    let files = One(text(count));
    let request = Request::new("/srv/many".into(), BTreeMap::new());
    let mut spans: Vec<[Duration; 3]> = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        let model = match load(&request, &files) {
            Ok(model) => model,
            Err(invalid) => return eprint!("{invalid}"),
        };
        let loaded = start.elapsed();
        let project = model.project();
        let typed = start.elapsed();
        let length = model.to_yaml().len();
        spans.push([loaded, typed, start.elapsed()]);
        assert!(project.is_ok() && length > 0);
    }
    spans.sort();
    let middle = spans[spans.len() / 2];
    println!(
        "{count} services, {} KiB: read and checked {:.1?}, typed after {:.1?}, printed after {:.1?} (medians of {})",
        files.0.len() / 1024,
        middle[0],
        middle[1],
        middle[2],
        spans.len()
    );
}
