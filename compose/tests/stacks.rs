//! Whole stacks: what comes out of them, as a person would compare it.

mod common;

use common::{Memory, folder, load, request};

/// Reads a stack of `tests/stacks` and gives what `config` prints, after its
/// warnings.
fn stack(name: &str, change: impl FnOnce(&mut isola_compose::Request)) -> String {
    let files = folder(name);
    let mut request = request(&format!("/srv/{name}"));
    change(&mut request);
    let model = match isola_compose::load(&request, &files) {
        Ok(model) => model,
        Err(invalid) => return invalid.to_string(),
    };
    let mut text = String::new();
    for note in &model.notes {
        text.push_str(&format!(
            "# {}\n#   {}\n",
            note.line(&model.sources),
            note.hint
        ));
    }
    if request.interpolate {
        let project = model.project().expect("it is typed");
        assert_eq!(project.name, model.name);
        assert_eq!(project.services.len(), model.services().len());
        canonical_is_a_fixed_point(&model, &request);
    }
    text + &model.to_yaml()
}

/// What is printed reads as what it was printed from.
fn canonical_is_a_fixed_point(model: &isola_compose::Model, request: &isola_compose::Request) {
    for text in [model.to_yaml(), model.to_json()] {
        let files = Memory::from([("/again/compose.yaml", text.as_str())]);
        let mut again = isola_compose::Request::new("/again".into(), request.environment.clone());
        again.profiles = vec!["*".into()];
        again.default_walls = request.default_walls.clone();
        let again = isola_compose::load(&again, &files)
            .unwrap_or_else(|invalid| panic!("{invalid}\n{text}"));
        assert_eq!(again.to_yaml(), model.to_yaml());
        assert_eq!(again.to_json(), model.to_json());
        for service in model.services() {
            assert_eq!(again.hash(service), model.hash(service), "{service}");
        }
    }
}

#[test]
fn shop() {
    insta::assert_snapshot!(stack("shop", |_| {}));
}

#[test]
fn shop_in_guests() {
    let text = stack("shop", |request| {
        request.walls = vec!["vm,emulated".into(), "proxy=container".into()];
        request.services = vec!["app".into()];
    });
    insta::assert_snapshot!(text);
}

#[test]
fn shop_with_variables_left() {
    insta::assert_snapshot!(stack("shop", |request| {
        request.interpolate = false;
        request.consistency = false;
    }));
}

#[test]
fn queue() {
    insta::assert_snapshot!(stack("queue", |_| {}));
}

#[test]
fn layers() {
    insta::assert_snapshot!(stack("layers", |_| {}));
}

#[test]
fn parts() {
    insta::assert_snapshot!(stack("parts", |_| {}));
}

#[test]
fn dev_with_a_profile() {
    insta::assert_snapshot!(stack("dev", |request| {
        request.profiles = vec!["docs".into()];
        request
            .environment
            .insert("HTTP_PROXY".into(), "http://proxy:3128".into());
    }));
}

#[test]
fn every_attribute() {
    let text = stack("every", |request| request.profiles = vec!["*".into()]);
    insta::assert_snapshot!(text);
}

#[test]
fn json_has_the_order_of_compose() {
    let files = [(
        "compose.yaml",
        "services:\n  b: {image: x, command: a b}\n  a: {build: .}\n",
    )];
    let model = load(&files, |_| {}).unwrap();
    insta::assert_snapshot!(model.to_json());
}
