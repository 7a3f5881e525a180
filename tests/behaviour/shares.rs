//! One volume behind two walls at once, and guests that try to leave what they share.

use std::os::unix::fs::symlink;

use isola_tests::{Env, behaviours, until};

behaviours![
    Every what_one_writes_the_other_sees,
    Every locks_hold_across_walls,
    Every mapped_files_are_shared,
    Every changes_are_told,
    Guests a_guest_stays_in_its_shares,
    Guests a_guest_can_not_write_what_is_read_only,
    Guests many_shares_of_one_guest,
];

/// An instance behind this run's wall and a container, with the volume `data`.
fn pair(env: &Env) {
    let options = ["-v", "data:/data"];
    env.detached("aa", &options, &["sleep", "1000"]);
    let options = ["--isolation=container", "-v", "data:/data"];
    env.detached("bb", &options, &["sleep", "1000"]);
}

fn sh(env: &Env, name: &str, script: &str) -> String {
    env.exec(name, &["sh", "-c", script]).ok().stdout
}

fn what_one_writes_the_other_sees(env: &Env) {
    pair(env);
    for (one, other) in [("aa", "bb"), ("bb", "aa")] {
        sh(
            env,
            one,
            "cd /data; echo first > file; chown app:2000 file; mkdir -p d",
        );
        let seen = sh(
            env,
            other,
            "cd /data; cat file; stat -c '%u:%g %s' file; ls",
        );
        assert_eq!(seen, "first\n1000:2000 6\nd\nfile\n", "{one} to {other}");
        // Over and over: nothing is remembered that is no longer so.
        for round in 0..5 {
            sh(
                env,
                one,
                &format!("cd /data; echo {round} >> file; echo {round} > n{round}"),
            );
            let seen = sh(
                env,
                other,
                &format!("cd /data; tail -n 1 file; cat n{round}"),
            );
            assert_eq!(seen, format!("{round}\n{round}\n"));
        }
        sh(
            env,
            one,
            "cd /data; mv n0 moved; rm n1; echo short > file; ln n2 hard",
        );
        let seen = sh(
            env,
            other,
            "cd /data; cat moved file; ls n0 n1 2>/dev/null; stat -c %h n2",
        );
        assert_eq!(seen, "0\nshort\n2\n");
        sh(env, other, "rm -r /data/*");
        assert_eq!(sh(env, one, "ls /data"), "");
    }
}

fn locks_hold_across_walls(env: &Env) {
    pair(env);
    for kind in ["flock", "posix"] {
        for (one, other) in [("aa", "bb"), ("bb", "aa")] {
            let take = ["probe", kind, "/data/lock"];
            let hold = [&["exec", "-i", one][..], &take, &["hold"]].concat();
            let mut holder = env.start(hold);
            holder.expect("locked");
            let seen = env.exec(other, &take).ok().stdout;
            assert_eq!(seen, "busy\n", "{kind} of {one}");
            holder.close_stdin();
            holder.wait().ok();
            let seen = env.exec(other, &take).ok().stdout;
            assert_eq!(seen, "locked\n", "{kind} of {one}");
        }
    }
    // A lock ends with its holder, however that ends.
    let mut holder = env.start(["exec", "-i", "aa", "probe", "flock", "/data/lock", "hold"]);
    holder.expect("locked");
    env.isola(["kill", "aa"]).ok();
    env.isola(["wait", "aa"]).ok();
    until("it is free", || {
        let output = env.exec("bb", &["probe", "flock", "/data/lock"]);
        output.stdout == "locked\n"
    });
}

fn mapped_files_are_shared(env: &Env) {
    pair(env);
    for (one, other) in [("aa", "bb"), ("bb", "aa")] {
        env.exec(one, &["probe", "map", "/data/map", one]).ok();
        assert_eq!(sh(env, other, "cat /data/map"), *one);
    }
    // A program that is run from there, too.
    sh(env, "bb", "cp /bin/busybox /data/busybox");
    let seen = env.exec("aa", &["/data/busybox", "echo", "ran"]).ok();
    assert_eq!(seen.stdout, "ran\n");
}

fn changes_are_told(env: &Env) {
    pair(env);
    let mut watcher = env.start(["exec", "aa", "probe", "watch", "/data"]);
    watcher.expect("ready");
    // A guest's kernel is told of no changes by others; `isola capabilities` says so.
    let teller = match env.wall().is_guest() {
        true => "aa",
        false => "bb",
    };
    sh(env, teller, "echo x > /data/new");
    watcher.expect("new");
}

fn a_guest_stays_in_its_shares(env: &Env) {
    let files = env.files();
    std::fs::create_dir(files.join("share")).unwrap();
    std::fs::write(files.join("secret"), "secret\n").unwrap();
    std::fs::write(files.join("share/own"), "own\n").unwrap();
    // What the host has put there, and what the guest makes itself.
    symlink("../secret", files.join("share/up")).unwrap();
    symlink(files.join("secret"), files.join("share/absolute")).unwrap();
    symlink("/proc/self/root", files.join("share/magic")).unwrap();
    let share = format!("{}:/share", files.join("share").display());
    let secret = files.join("secret").display().to_string();
    let script = format!(
        "cd /share; cat own;
        for f in up absolute magic{secret} ../secret ../../secret made/secret; do
            ln -sfn {files} made 2>/dev/null; cat $f 2>/dev/null; done;
        for tag in isola share 0; do mkdir -p /m; mount -t virtiofs $tag /m 2>/dev/null &&
            find /m -maxdepth 4 2>/dev/null | grep -v '^/m/[0-9]*/' ; done;
        find /m /share -xdev -follow -name secret -maxdepth 6 2>/dev/null; echo end",
        files = files.display()
    );
    let options = ["--privileged", "-v", &share];
    let output = env.run(&options, &["sh", "-c", &script]).ok().stdout;
    assert!(output.starts_with("own\n"), "{output}");
    assert!(output.ends_with("end\n"), "{output}");
    assert!(!output.contains("secret"), "out of the share: {output}");
    // Names that the guest makes are the host's only inside of the share.
    let script = "cd /share; ln -s /nosuch/made-by-guest link; echo x > link; mkdir a; mv a ..";
    let _ = env.run(&options, &["sh", "-c", script]);
    assert!(!files.join("a").exists());
    assert!(files.join("share/link").symlink_metadata().is_ok());
}

fn a_guest_can_not_write_what_is_read_only(env: &Env) {
    let files = env.files();
    std::fs::create_dir_all(files.join("fixed")).unwrap();
    std::fs::create_dir_all(files.join("free")).unwrap();
    let fixed = format!("{}:/fixed:ro", files.join("fixed").display());
    let free = format!("{}:/free", files.join("free").display());
    // With all that root has in the guest: the host says no.
    let script = "mount -o remount,rw /fixed 2>/dev/null; touch /fixed/x 2>/dev/null;
        mkdir /m; mount -t virtiofs isola /m 2>/dev/null;
        for d in /m/*; do touch $d/y 2>/dev/null; done; touch /free/z; echo end";
    let options = ["--privileged", "-v", &fixed, "-v", &free];
    let output = env.run(&options, &["sh", "-c", script]).ok().stdout;
    assert_eq!(output, "end\n");
    let left = std::fs::read_dir(files.join("fixed")).unwrap().count();
    assert_eq!(left, 0, "written through a read-only share");
    assert!(files.join("free/z").exists());
}

fn many_shares_of_one_guest(env: &Env) {
    let files = env.files();
    let mut options = Vec::new();
    for number in 0..12 {
        let folder = files.join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("name"), format!("{number}\n")).unwrap();
        options.push(format!("--volume={}:/s/{number}", folder.display()));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let script =
        "for n in 0 1 2 3 4 5 6 7 8 9 10 11; do cat /s/$n/name; echo $n > /s/$n/back; done";
    let output = env.run(&options, &["sh", "-c", script]).ok().stdout;
    let expected: String = (0..12).map(|number| format!("{number}\n")).collect();
    assert_eq!(output, expected);
    for number in 0..12 {
        let back = std::fs::read_to_string(files.join(format!("{number}/back")));
        assert_eq!(back.unwrap(), format!("{number}\n"));
    }
}
