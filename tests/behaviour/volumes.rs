//! Volumes, bind mounts and tmpfs.

use std::os::unix::fs::MetadataExt;

use isola_tests::{Env, LayerFile, behaviours, layer_with};

behaviours![
    Once volumes_are_made_listed_and_removed,
    Once volumes_that_can_not_be,
    Every a_named_volume_outlives_its_instances,
    Every image_content_is_copied_into_empty_volumes_only,
    Every unnamed_volumes_go_with_their_instance,
    Every read_only_and_parts_of_a_volume,
    Every volumes_of_other_instances,
    Every a_size_limit_holds,
    Guests a_volume_that_is_a_disk,
    Container a_disk_is_for_guests_only,
    Every a_volume_in_use_stays,
    Once volumes_go_out_and_come_in_as_archives,
    Every folders_and_files_of_the_host,
    Every absent_sources,
    Every a_tmpfs_has_its_size_and_mode,
    Once mounts_that_can_not_be,
    Every a_killed_supervisor_lets_volumes_go,
];

fn volume(env: &Env, words: &[&str]) -> String {
    let output = env.isola([&["volume"], words].concat()).ok();
    output.stdout
}

fn sh(env: &Env, options: &[&str], script: &str) -> String {
    env.run(options, &["sh", "-c", script]).ok().stdout
}

fn volumes_are_made_listed_and_removed(env: &Env) {
    let words = ["create", "--label", "team=a", "--opt", "size=16M", "data"];
    assert_eq!(volume(env, &words), "data\n");
    assert_eq!(volume(env, &["create", "data"]), "data\n", "it is there");
    let unnamed = volume(env, &["create"]).trim().to_owned();
    assert_eq!(unnamed.len(), 64);
    let all = env.json(&["volume", "inspect", "data"]);
    assert_eq!(all[0]["Name"], "data");
    assert_eq!(all[0]["Driver"], "local");
    assert_eq!(all[0]["Labels"], serde_json::json!({"team": "a"}));
    assert_eq!(all[0]["Options"], serde_json::json!({"size": "16M"}));
    let ls = |filter: &str| volume(env, &["ls", "-q", "--filter", filter]);
    assert_eq!(ls("label=team=a"), "data\n");
    assert_eq!(ls("name=dat"), "data\n");
    assert_eq!(ls("dangling=true").lines().count(), 2);
    env.isola(["create", "-v", "data:/data", "--name", "aa", "box"])
        .ok();
    assert_eq!(ls("dangling=true").trim(), unnamed);
    assert_eq!(ls("dangling=false"), "data\n");
    let pruned = volume(env, &["prune", "-f"]);
    assert!(pruned.contains(&unnamed), "{pruned}");
    volume(env, &["create", "free"]);
    volume(env, &["prune", "-f"]);
    assert_eq!(volume(env, &["ls", "-q"]), "data\nfree\n");
    volume(env, &["prune", "-f", "-a"]);
    assert_eq!(volume(env, &["ls", "-q"]), "data\n");
    env.isola(["rm", "aa"]).ok();
    assert_eq!(volume(env, &["rm", "data"]), "data\n");
    env.isola(["volume", "rm", "data"]).fails(1, "data");
    env.isola(["volume", "rm", "-f", "data"]).ok();
    assert_eq!(volume(env, &["ls", "-q"]), "");
}

fn volumes_that_can_not_be(env: &Env) {
    volume(env, &["create", "--opt", "size=16M", "data"]);
    let long = "x".repeat(256);
    for name in ["../x", "..", "a/b", "", "-x", ".x", "a b", "x\n", &long] {
        env.isola(["volume", "create", "--", name]).exits(1);
    }
    for name in ["../x", "a b", ".x"] {
        let mount = format!("{name}:/data");
        if !name.starts_with('.') {
            env.run(&["-v", &mount], &["true"]).exits(125);
        }
        let mount = format!("type=volume,src={name},dst=/data");
        env.run(&["--mount", &mount], &["true"]).fails(125, name);
        env.isola(["volume", "rm", name]).exits(1);
        env.isola(["volume", "inspect", name]).exits(1);
    }
    for (options, why) in [
        (&["--opt=nosuch=1"][..], "nosuch"),
        (&["--opt=size=x"], "size"),
        (&["--opt=size=1K"], "size"),
        (&["--opt=size=1G", "--opt=block=1G"], "exclude"),
        (&["--opt=type=nfs"], "nfs"),
        (&["--opt=device=/tmp"], "o=bind"),
        (&["--opt=o=bind", "--opt=device=/no/such"], "/no/such"),
        (&["--driver=nosuch"], "nosuch"),
        (&["--label="], "label"),
    ] {
        env.isola([&["volume", "create"], options, &["new"]].concat())
            .fails(1, why);
    }
    env.isola(["volume", "create", "--opt=size=32M", "data"])
        .fails(1, "data");
    for verb in ["export", "rm"] {
        env.isola(["volume", verb, "nosuch"]).fails(1, "nosuch");
    }
    let output = env.isola(["volume", "inspect", "nosuch"]).exits(1);
    assert!(output.stderr.contains("nosuch"), "{output:?}");
    env.isola_with(["volume", "import", "nosuch", "-"], b"")
        .fails(1, "nosuch");
    assert_eq!(volume(env, &["ls", "-q"]), "data\n");
}

fn a_named_volume_outlives_its_instances(env: &Env) {
    let first = "echo one > /data/file; chown app:2000 /data/file; chmod 640 /data/file;
        ln -s file /data/link; mkfifo /data/pipe; mkdir -m 700 /data/folder";
    sh(env, &["-v", "data:/data"], first);
    let second = "cat /data/link; stat -c '%u:%g %a' /data/file; stat -c '%a' /data/folder;
        test -p /data/pipe && echo pipe; echo two >> /data/file";
    let seen = sh(env, &["-v", "data:/data"], second);
    assert_eq!(seen, "one\n1000:2000 640\n700\npipe\n");
    assert_eq!(volume(env, &["ls", "-q"]), "data\n");
    let all = env.json(&["volume", "inspect", "data"]);
    let folder = std::path::PathBuf::from(all[0]["Mountpoint"].as_str().unwrap());
    let file = folder.join("file");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\n");
    let found = file.metadata().unwrap();
    assert_eq!((found.uid(), found.gid()), (1000, 2000));
    volume(env, &["rm", "data"]);
    assert!(!folder.exists());
}

/// An image with a volume at /data, and content for it.
fn image_with_volume(env: &Env) {
    let file = |path, mode, owner, content| LayerFile {
        path,
        mode,
        owner,
        content,
    };
    let layer = layer_with(&[
        file("data/", 0o750, 1000, b""),
        file("data/first", 0o604, 2000, b"image\n"),
    ]);
    let change = ["--change", "VOLUME /data", "--change", "ENV PATH=/bin"];
    env.isola_with([&["import"], &change[..], &["-", "vol"]].concat(), &layer)
        .ok();
}

fn run_vol(env: &Env, options: &[&str], script: &str) -> String {
    let words = [&["run", "--rm"], options, &["vol", "sh", "-c", script]].concat();
    env.isola(words).ok().stdout
}

const SHOW: &str = "stat -c '%u %a' /data; for f in $(ls /data); do stat -c '%n %u %a' /data/$f; cat /data/$f; done";

fn image_content_is_copied_into_empty_volumes_only(env: &Env) {
    image_with_volume(env);
    let copied = "1000 750\n/data/first 2000 604\nimage\n";
    assert_eq!(run_vol(env, &["-v", "data:/data"], SHOW), copied);
    run_vol(
        env,
        &["-v", "data:/data"],
        "rm /data/first; echo own > /data/own",
    );
    let seen = run_vol(env, &["-v", "data:/data"], "ls /data");
    assert_eq!(seen, "own\n", "a volume that has content keeps it");
    let seen = run_vol(env, &["-v", "bare:/data:nocopy"], "ls /data");
    assert_eq!(seen, "");
    let mount = "type=volume,src=long,dst=/data,volume-nocopy";
    assert_eq!(run_vol(env, &["--mount", mount], "ls /data"), "");
    // What the image has elsewhere, too; and a bind mount hides it.
    assert_eq!(
        run_vol(env, &["-v", "etc:/etc"], "ls /etc/plain"),
        "/etc/plain\n"
    );
    let files = env.files();
    let bind = format!("{}:/data", files.display());
    assert_eq!(run_vol(env, &["-v", &bind], "ls /data"), "");
}

fn unnamed_volumes_go_with_their_instance(env: &Env) {
    image_with_volume(env);
    let names = || volume(env, &["ls", "-q"]);
    assert_eq!(run_vol(env, &[], "cat /data/first"), "image\n");
    assert_eq!(names(), "", "--rm");
    let words = ["create", "--name=aa", "-v=/more", "-v=named:/named", "vol"];
    let script = "cat /data/first; echo x >> /data/first; echo y > /more/y; echo z > /named/z";
    env.isola([&words[..], &["sh", "-c", script]].concat()).ok();
    assert_eq!(names().lines().count(), 3);
    assert_eq!(env.isola(["start", "-a", "aa"]).ok().stdout, "image\n");
    let again = env.isola(["start", "-a", "aa"]).ok().stdout;
    assert_eq!(again, "image\nx\n", "they outlive a stop");
    let all = env.json(&["inspect", "aa"]);
    let mounts = all[0]["Mounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 3, "{mounts:?}");
    env.isola(["rm", "aa"]).ok();
    assert_eq!(names().lines().count(), 3, "rm alone keeps them");
    volume(env, &["prune", "-f"]);
    assert_eq!(names(), "named\n");
    let words = ["create", "--name=bb", "-v=named:/named", "vol", "true"];
    env.isola(words).ok();
    env.isola(["rm", "-v", "bb"]).ok();
    assert_eq!(names(), "named\n", "rm -v takes those without a name");
}

fn read_only_and_parts_of_a_volume(env: &Env) {
    let script = "mkdir -p /data/in/deep; echo part > /data/in/file; ln -s /etc /data/out";
    sh(env, &["-v", "data:/data"], script);
    let script = "cat /data/in/file; echo x > /data/in/file || echo refused; touch /data/y 2>&1";
    let output = env.run(&["-v", "data:/data:ro"], &["sh", "-c", script]);
    let output = output.exits(1).stdout;
    assert!(output.starts_with("part\nrefused\n"), "{output}");
    assert!(output.to_lowercase().contains("read-only"), "{output}");
    let mount = "type=volume,src=data,dst=/part,volume-subpath=in";
    let script = "ls /part; echo more > /part/more; ls /part/..";
    let output = sh(env, &["--mount", mount], script);
    assert!(output.starts_with("deep\nfile\n"), "{output}");
    assert!(output.contains("\nbin\n"), "{output}");
    let mount = "type=volume,src=data,dst=/one,volume-subpath=in/file,readonly";
    let script = "cat /one; echo x > /one || echo refused";
    assert_eq!(sh(env, &["--mount", mount], script), "part\nrefused\n");
    for (path, why) in [
        ("../x", ".."),
        ("/etc", "inside"),
        ("nosuch", "nosuch"),
        ("out", "out"),
    ] {
        let mount = format!("type=volume,src=data,dst=/part,volume-subpath={path}");
        env.run(&["--mount", &mount], &["true"]).fails(125, why);
    }
}

fn volumes_of_other_instances(env: &Env) {
    let files = env.files();
    std::fs::write(files.join("host"), "host\n").unwrap();
    let bind = format!("{}:/bind", files.display());
    let options = [
        "-v",
        "data:/data",
        "-v",
        "/own",
        "-v",
        &bind,
        "--tmpfs",
        "/tmpfs",
    ];
    env.detached("aa", &options, &["sleep", "1000"]);
    env.exec("aa", &["sh", "-c", "echo d > /data/d; echo o > /own/o"])
        .ok();
    let script =
        "cat /data/d /own/o /bind/host; test -e /tmpfs || echo none; echo w > /data/w || echo ro";
    let seen = sh(env, &["--volumes-from", "aa"], script);
    assert_eq!(seen, "d\no\nhost\nnone\n");
    env.exec("aa", &["cat", "/data/w"]).ok();
    let seen = sh(env, &["--volumes-from", "aa:ro"], script);
    assert_eq!(seen, "d\no\nhost\nnone\nro\n");
    let from = ["create", "--name=bb", "--volumes-from=aa:ro", "box", "true"];
    env.isola(from).ok();
    let binds = env.inspect("aa", "{{json .HostConfig.Binds}}");
    assert_eq!(binds, serde_json::json!(["data:/data", bind]).to_string());
    let shown = "{{json .HostConfig.VolumesFrom}} {{json .HostConfig.Binds}}";
    assert_eq!(env.inspect("bb", shown), r#"["aa:ro"] []"#);
    env.run(&["--volumes-from", "nosuch"], &["true"])
        .fails(125, "nosuch");
    env.run(&["--volumes-from", "aa:odd"], &["true"])
        .fails(125, "odd");
}

fn a_size_limit_holds(env: &Env) {
    volume(env, &["create", "--opt", "size=16M", "data"]);
    let script = "dd if=/dev/zero of=/data/big bs=1M count=32 2>&1; du -k /data/big | cut -f1";
    let output = sh(env, &["-v", "data:/data"], script);
    assert!(output.contains("No space left"), "{output}");
    let used: u64 = output.lines().last().unwrap().trim().parse().unwrap();
    assert!((8_000..16_384).contains(&used), "{output}");
    let seen = sh(
        env,
        &["-v", "data:/data"],
        "ls /data; rm /data/big; echo new > /data/new; cat /data/new",
    );
    assert_eq!(seen, "big\nnew\n");
    let mount = "type=volume,src=other,dst=/data,volume-opt=size=16M,volume-label=a=b";
    let script = "df -k /data | tail -1 | awk '{print $2}'";
    let size: u64 = sh(env, &["--mount", mount], script).trim().parse().unwrap();
    assert!((8_000..16_385).contains(&size), "{size}");
    let all = env.json(&["volume", "inspect", "other"]);
    assert_eq!(all[0]["Labels"], serde_json::json!({"a": "b"}));
}

fn a_volume_that_is_a_disk(env: &Env) {
    let mount = "type=volume,src=db,dst=/db,volume-opt=block=64M";
    let script = "echo row > /db/row; chown app /db/row; echo ready; sleep 1000";
    env.ready("aa", &["--mount", mount], &["sh", "-c", script]);
    let mounts = env.exec("aa", &["grep", " /db ", "/proc/mounts"]).ok();
    assert!(mounts.stdout.contains(" ext4 "), "{mounts:?}");
    // One guest at a time.
    env.run(&["--mount", mount], &["true"]).fails(125, "db");
    env.isola(["volume", "rm", "db"]).fails(1, "in use");
    env.exec("aa", &["sync"]).ok();
    env.isola(["kill", "aa"]).ok();
    env.isola(["wait", "aa"]).ok();
    let script = "cat /db/row; stat -c %u /db/row;
        dd if=/dev/zero of=/db/big bs=1M count=100 2>&1 | grep -c 'No space'";
    assert_eq!(sh(env, &["-v", "db:/db"], script), "row\n1000\n1\n");
    let script = "touch /db/x 2>/dev/null || echo refused; ls /db/row";
    let seen = sh(env, &["-v", "db:/db:ro"], script);
    assert_eq!(seen, "refused\n/db/row\n");
}

fn a_disk_is_for_guests_only(env: &Env) {
    let mount = "type=volume,src=db,dst=/db,volume-opt=block=64M";
    env.run(&["--mount", mount], &["true"])
        .fails(125, "isolation container");
    assert_eq!(volume(env, &["ls", "-q"]), "");
    volume(env, &["create", "--opt=block=64M", "db"]);
    env.run(&["-v", "db:/db"], &["true"]).fails(125, "db");
}

fn a_volume_in_use_stays(env: &Env) {
    env.detached("aa", &["-v", "data:/data"], &["sleep", "1000"]);
    env.isola(["volume", "rm", "data"]).fails(1, "in use");
    env.isola(["volume", "prune", "-f", "-a"]).ok();
    env.isola(["stop", "-t", "0", "aa"]).ok();
    env.isola(["volume", "rm", "data"]).fails(1, "in use");
    env.isola(["volume", "prune", "-f", "-a"]).ok();
    assert_eq!(volume(env, &["ls", "-q"]), "data\n");
    env.isola(["rm", "aa"]).ok();
    volume(env, &["rm", "data"]);
}

fn volumes_go_out_and_come_in_as_archives(env: &Env) {
    let own = ["--isolation=container", "-v", "data:/data"];
    let script =
        "echo one > /data/file; chown app /data/file; ln -s file /data/link; mkdir /data/f";
    sh(env, &own, script);
    let archive = env.files().join("data.tar");
    volume(env, &["export", "-o", archive.to_str().unwrap(), "data"]);
    volume(env, &["create", "copy"]);
    let bytes = std::fs::read(&archive).unwrap();
    env.isola_with(["volume", "import", "copy", "-"], &bytes)
        .ok();
    let own = ["--isolation=container", "-v", "copy:/data"];
    let seen = sh(env, &own, "cat /data/link; stat -c %u /data/file; ls /data");
    assert_eq!(seen, "one\n1000\nf\nfile\nlink\n");
    for (broken, why) in [(&b"no archive at all"[..], ""), (&bytes[..700], "")] {
        let words = ["volume", "import", "copy", "-"];
        env.isola_with(words, broken).fails(1, why);
    }
    // An archive that leads out.
    let mut hostile = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    hostile
        .append_link(&mut header, "out", env.files())
        .unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    hostile
        .append_data(&mut header, "out/escaped", &b"x"[..])
        .unwrap();
    let hostile = hostile.into_inner().unwrap();
    let _ = env.isola_with(["volume", "import", "copy", "-"], &hostile);
    assert!(!env.files().join("escaped").exists(), "out of the volume");
}

fn folders_and_files_of_the_host(env: &Env) {
    let files = env.files();
    std::fs::create_dir(files.join("folder")).unwrap();
    std::fs::write(files.join("folder/in"), "from the host\n").unwrap();
    std::fs::write(files.join("single"), "a file\n").unwrap();
    let folder = format!("{}:/folder", files.join("folder").display());
    let single = format!("{}:/etc/single", files.join("single").display());
    let fixed = format!(
        "type=bind,source={},target=/fixed,readonly",
        files.join("folder").display()
    );
    let script = "cat /folder/in /etc/single; echo out > /folder/out; chown 1000:2000 /folder/out;
        chmod 601 /folder/out; echo more >> /etc/single; cat /fixed/out;
        echo x > /fixed/x || echo refused; mv /folder/in /folder/moved; mkdir /folder/made";
    let options = ["-v", &folder, "-v", &single, "--mount", &fixed];
    let seen = sh(env, &options, script);
    assert_eq!(seen, "from the host\na file\nout\nrefused\n");
    let out = files.join("folder/out").metadata().unwrap();
    assert_eq!(
        (out.uid(), out.gid(), out.mode() & 0o7777),
        (1000, 2000, 0o601)
    );
    let single = std::fs::read_to_string(files.join("single")).unwrap();
    assert_eq!(single, "a file\nmore\n");
    assert!(files.join("folder/moved").exists() && !files.join("folder/in").exists());
    assert!(files.join("folder/made").is_dir());
    assert!(!files.join("folder/x").exists());
    // A user inside is that user outside.
    std::fs::set_permissions(
        files.join("folder"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let words = ["touch", "/folder/no"];
    let output = env.run(&["-u", "app", "-v", &folder], &words).exits(1);
    assert!(output.stderr.contains("ermission"), "{output:?}");
}

fn absent_sources(env: &Env) {
    let absent = env.files().join("a/b");
    let short = format!("{}:/x", absent.display());
    let long = format!("type=bind,src={},dst=/x", absent.display());
    env.run(&["--mount", &long], &["true"])
        .fails(125, absent.to_str().unwrap());
    assert!(!absent.exists());
    sh(env, &["-v", &short], "touch /x/y");
    assert!(absent.join("y").exists());
}

fn a_tmpfs_has_its_size_and_mode(env: &Env) {
    let options = [
        "--mount",
        "type=tmpfs,dst=/a,tmpfs-size=1m,tmpfs-mode=1730",
        "--tmpfs",
        "/b:size=2m,mode=700",
        "--mount",
        "type=tmpfs,dst=/c,readonly",
    ];
    let script = "for f in /a /b; do stat -c %a $f; df -k $f | tail -1 | awk '{print $2}'; done;
        dd if=/dev/zero of=/a/big bs=1M count=2 2>&1 | grep -c 'No space'; touch /c/x || echo refused";
    let seen = sh(env, &options, script);
    assert_eq!(seen, "1730\n1024\n700\n2048\n1\nrefused\n");
}

fn mounts_that_can_not_be(env: &Env) {
    for (options, why) in [
        (&["-v=data"][..], "data"),
        (&["-v=data:relative"], "relative"),
        (&["-v=:/x"], "source"),
        (&["-v=a:/x:/y:z"], "SOURCE"),
        (&["-v=data:/x:odd"], "odd"),
        (&["-v=data:/x:rshared"], "rshared"),
        (&["-v=/tmp:/x:nocopy"], "nocopy"),
        (&["-v=data:/"], "/"),
        (&["-v=data:/proc/x"], "/proc"),
        (&["-v=aa:/x", "-v=bb:/x"], "/x"),
        (&["--mount=type=odd,dst=/x"], "odd"),
        (&["--mount=type=volume,src=data"], "target"),
        (&["--mount=type=bind,dst=/x"], "source"),
        (
            &["--mount=type=bind,src=/tmp,dst=/x,tmpfs-size=1"],
            "tmpfs-size",
        ),
        (&["--mount=type=tmpfs,src=x,dst=/x"], "source"),
        (&["--mount=type=tmpfs,dst=/x,tmpfs-size=x"], "tmpfs-size"),
        (&["--mount=type=tmpfs,dst=/x,tmpfs-mode=9"], "9"),
        (&["--mount=type=volume,dst=/x,odd=1"], "odd"),
        (
            &["--mount=type=volume,src=data,dst=/x,volume-driver=nfs"],
            "nfs",
        ),
        (
            &["--mount=type=volume,src=data,dst=/x,volume-opt=nosuch=1"],
            "nosuch",
        ),
        (
            &["--mount=type=volume,src=data,dst=/x,readonly=maybe"],
            "readonly",
        ),
        (
            &["--mount=type=bind,src=/tmp,dst=/x,bind-propagation=odd"],
            "odd",
        ),
        (&["--tmpfs=/x:size=x"], "size"),
    ] {
        env.run(options, &["true"]).fails(125, why);
    }
    assert_eq!(
        volume(env, &["ls", "-q"]),
        "",
        "no volume was made for them"
    );
}

fn a_killed_supervisor_lets_volumes_go(env: &Env) {
    volume(env, &["create", "--opt", "size=16M", "small"]);
    let mut options = vec!["-v", "data:/data", "-v", "small:/small"];
    let mut files = vec!["/data/x", "/small/x"];
    if env.wall().is_guest() {
        options.extend([
            "--mount",
            "type=volume,src=disk,dst=/disk,volume-opt=block=16M",
        ]);
        files.push("/disk/x");
    }
    let words = files.join(" ");
    env.detached("aa", &options, &["sleep", "1000"]);
    let script = format!("for f in {words}; do echo x > $f; done; sync");
    env.exec("aa", &["sh", "-c", &script]).ok();
    let pid = env.inspect("aa", "{{.State.SupervisorPid}}");
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    isola_tests::until("exited", || {
        env.inspect("aa", "{{.State.Status}}") == "exited"
    });
    // All of them can be had again, also by another wall.
    let options = ["--isolation=container", "-v=data:/data", "-v=small:/small"];
    assert_eq!(sh(env, &options, "cat /data/x /small/x"), "x\nx\n");
    env.isola(["start", "aa"]).ok();
    let seen = env.exec("aa", &[&["cat"][..], &files].concat()).ok();
    assert_eq!(seen.stdout, "x\n".repeat(files.len()));
    env.isola(["rm", "-f", "aa"]).ok();
    for name in volume(env, &["ls", "-q"]).lines() {
        volume(env, &["rm", name]);
    }
}
