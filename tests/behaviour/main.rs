//! Behaviours of the built program, each on every wall that it applies to. Names
//! are `WALL::FILE::BEHAVIOUR`; a word on the command line picks those that hold it.

// These are tests, which the lint does not see without `#[test]`.
#![allow(clippy::unwrap_used)]

mod attacks;
mod build;
mod build_bad;
mod build_layouts;
mod build_peers;
mod build_sources;
mod clients;
mod compose;
mod content;
mod crash;
mod debian;
mod events;
mod health;
mod images;
mod life;
mod limits;
mod namespaces;
mod naming;
mod networks;
mod ports;
mod process;
mod real;
mod registry;
mod resources;
mod shares;
mod streams;
mod volumes;
mod walls;

use isola_tests::{Behaviour, Env, Wall, in_lab, walls};
use libtest_mimic::{Arguments, Trial};

/// Every file's behaviours.
const ALL: &[(&str, &[Behaviour])] = &[
    ("process", process::ALL),
    ("life", life::ALL),
    ("health", health::ALL),
    ("events", events::ALL),
    ("streams", streams::ALL),
    ("limits", limits::ALL),
    ("resources", resources::ALL),
    ("walls", walls::ALL),
    ("attacks", attacks::ALL),
    ("crash", crash::ALL),
    ("images", images::ALL),
    ("build", build::ALL),
    ("build_bad", build_bad::ALL),
    ("build_layouts", build_layouts::ALL),
    ("build_peers", build_peers::ALL),
    ("build_sources", build_sources::ALL),
    ("debian", debian::ALL),
    ("real", real::ALL),
    ("networks", networks::ALL),
    ("namespaces", namespaces::ALL),
    ("naming", naming::ALL),
    ("ports", ports::ALL),
    ("volumes", volumes::ALL),
    ("shares", shares::ALL),
    ("registry", registry::ALL),
    ("clients", clients::ALL),
    ("content", content::ALL),
    ("compose_stack", compose::stack::ALL),
    ("compose_changes", compose::changes::ALL),
    ("compose_order", compose::order::ALL),
    ("compose_single", compose::single::ALL),
    ("compose_files", compose::files::ALL),
    ("compose_build", compose::build::ALL),
    ("compose_real", compose::real::ALL),
    ("compose_rollback", compose::rollback::ALL),
    ("compose_screen", compose::screen::ALL),
    ("compose_events", compose::events::ALL),
    ("compose_hooks", compose::hooks::ALL),
    ("compose_watch", compose::watch::ALL),
    ("compose_verbs", compose::verbs::ALL),
    ("compose_habits", compose::habits::ALL),
    ("compose_attributes", compose::attributes::ALL),
    ("compose_limits", compose::limits::ALL),
    ("compose_mounts", compose::mounts::ALL),
    ("compose_namespaces", compose::namespaces::ALL),
    ("compose_images", compose::images::ALL),
    ("compose_amounts", compose::amounts::ALL),
    ("compose_bad", compose::bad::ALL),
    ("compose_checklist", compose::checklist::ALL),
];

/// What depends on the version of cgroups: the lab has the second alone, and nothing
/// else there is new to containers.
const ON_CGROUPS: [&str; 6] = [
    "process",
    "life",
    "limits",
    "resources",
    "crash",
    "namespaces",
];
/// What makes many guests for something that the lab's wall has no say in.
const ABOVE_WALLS: &[&str] = &[
    "compose_changes",
    "compose_single",
    "compose_files",
    "compose_rollback",
    "compose_screen",
    "compose_events",
    "compose_verbs",
    "compose_habits",
];

fn worth_the_lab(wall: Wall, file: &str) -> bool {
    match wall {
        Wall::Container => ON_CGROUPS.contains(&file),
        _ => !ABOVE_WALLS.contains(&file),
    }
}

fn main() {
    isola_tests::run_probe_if_called();
    isola_tests::hear_interrupts();
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for wall in walls() {
        for (file, behaviours) in ALL {
            // The lab is slow: a guest there is emulated twice over.
            if in_lab() && !worth_the_lab(wall, file) {
                continue;
            }
            let wanted = behaviours
                .iter()
                .filter(|behaviour| behaviour.on.includes(wall));
            trials.extend(wanted.map(|behaviour| trial(wall, file, *behaviour)));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    isola_tests::remove_shared();
    conclusion.exit();
}

fn trial(wall: Wall, file: &str, behaviour: Behaviour) -> Trial {
    let name = format!("{}::{file}::{}", wall.name(), behaviour.name);
    Trial::test(name.clone(), move || {
        // QEMU's software CPU, on which every guest of these tests runs in the end,
        // loses a guest now and then, and the lab's clock jumps under load. What fails
        // is tried twice more, and it is said; what is broken fails every time.
        for _ in 0..2 {
            if std::panic::catch_unwind(|| attempt(wall, behaviour)).is_ok() {
                return Ok(());
            }
            eprintln!("{name}: FAILED; one more try");
        }
        attempt(wall, behaviour);
        Ok(())
    })
}

fn attempt(wall: Wall, behaviour: Behaviour) {
    let env = Env::new(wall);
    (behaviour.test)(&env);
    env.finish();
}
