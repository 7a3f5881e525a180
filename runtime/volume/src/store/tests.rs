//! Volumes as records: no kernel is needed.

use super::*;

fn spec(name: &str) -> VolumeSpec {
    VolumeSpec {
        name: Some(name.to_owned()),
        ..VolumeSpec::default()
    }
}

#[test]
fn volumes_are_made_found_and_removed() {
    let root = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(root.path()).unwrap();
    let made = volumes.create(&spec("db")).unwrap();
    assert_eq!(volumes.create(&spec("db")).unwrap(), made);
    assert_eq!(volumes.find("db").unwrap(), Some(made));
    let anonymous = volumes.create(&VolumeSpec::default()).unwrap();
    assert!(anonymous.anonymous && anonymous.name.len() == 64);
    assert_eq!(anonymous.labels[ANONYMOUS], "");
    assert_eq!(volumes.list().unwrap().volumes.len(), 2);
    let error = volumes.create(&spec("../x")).unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    let error = volumes
        .remove("db", |_| vec!["0123456789abcdef".to_owned()])
        .unwrap_err();
    assert_eq!(error.message, "volume 'db' is in use by 0123456789ab");
    volumes.remove("db", |_| Vec::new()).unwrap();
    assert_eq!(
        volumes.remove("db", |_| Vec::new()).unwrap_err().kind,
        Kind::NoSuch
    );
    assert_eq!(volumes.take("db", "one").unwrap_err().kind, Kind::NoSuch);
}

#[test]
fn the_same_name_with_other_options_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(root.path()).unwrap();
    let mut bind = spec("src");
    for (key, value) in [
        ("type", "none"),
        ("o", "bind"),
        ("device", folder.path().to_str().unwrap()),
    ] {
        bind.options.insert(key.to_owned(), value.to_owned());
    }
    volumes.create(&bind).unwrap();
    volumes.create(&bind).unwrap();
    volumes.create(&spec("src")).unwrap();
    let mut other = spec("src");
    other.options.insert("size".to_owned(), "16M".to_owned());
    let error = volumes.create(&other).unwrap_err();
    assert_eq!(error.kind, Kind::Conflict, "{error}");
    let shown = volumes.inspect("src", true).unwrap();
    assert_eq!(shown.mountpoint, folder.path().to_str().unwrap());
    assert_eq!(shown.usage_data.unwrap().size, -1);
    volumes.remove("src", |_| Vec::new()).unwrap();
    assert!(folder.path().is_dir(), "what is not ours is left");
}

#[test]
fn what_a_killed_command_left_is_not_seen_and_swept() {
    let root = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(root.path()).unwrap();
    for left in [".new-1/_data", ".gone-2/_data/x"] {
        std::fs::create_dir_all(volumes.folder.join(left)).unwrap();
    }
    std::fs::create_dir_all(volumes.folder.join("hurt")).unwrap();
    std::fs::write(volumes.folder.join("hurt/record.json"), "{").unwrap();
    let listing = volumes.list().unwrap();
    assert!(listing.volumes.is_empty());
    assert!(listing.damaged[0].message.contains("is damaged"));
    volumes.remove("hurt", |_| Vec::new()).unwrap();
    let left: Vec<_> = std::fs::read_dir(&volumes.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn holders_are_named_until_they_let_go() {
    let root = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(root.path()).unwrap();
    volumes.create(&spec("db")).unwrap();
    let one = volumes.take("db", "one").unwrap();
    let again = volumes.take("db", "one").unwrap();
    let two = volumes.take("db", "two").unwrap();
    assert_eq!(one.name(), "db");
    assert_eq!(
        *one.data(),
        crate::Data::Folder(volumes.folder.join("db/_data"))
    );
    drop(one);
    assert_eq!(volumes.users("db"), ["one", "two"]);
    let error = volumes.remove("db", |_| Vec::new()).unwrap_err();
    assert!(error.message.ends_with("in use by one, two"), "{error}");
    assert_eq!(error.kind, Kind::Conflict);
    assert!(two.disk(false).is_err() && two.mount(root.path(), false).is_err());
    drop((again, two));
    assert!(volumes.users("db").is_empty());
    volumes.remove("db", |_| Vec::new()).unwrap();
}
