//! Images that a stack builds itself.

use isola_tests::{Env, behaviours};

use super::Stack;
use crate::registry::Registry;

behaviours![
    Every what_is_built_is_run_and_built_again_when_it_changes,
    Guests the_wall_of_steps_is_that_of_the_build_or_the_service,
    Once all_of_the_section_counts,
    Once images_are_built_upon_those_of_other_services,
    Once policies_say_when_images_are_built,
    Once what_fails_names_the_service_and_the_line,
    Once what_can_not_be_had_is_refused,
    Once flags_of_build,
    Once what_is_built_is_pushed,
    Once other_platforms_are_built_and_not_run,
];

const ONE: &str = "
services:
  web:
    build: {context: ./app, args: {WORD: first}}
    init: true
";

/// A context whose image tells a word that it was built with.
fn app(stack: &Stack<'_>, word: &str) {
    stack.put(
        "app/Dockerfile",
        "FROM box\nARG WORD\nCOPY said /said\nRUN echo $WORD >> /said\n\
         CMD [\"sh\", \"-c\", \"cat /said; exec sleep 1000\"]\n",
    );
    stack.put("app/said", &format!("{word}\n"));
}

fn image_id(env: &Env, name: &str) -> String {
    env.isola(["inspect", "--type", "image", "--format", "{{.Id}}", name])
        .ok()
        .stdout
}

fn what_is_built_is_run_and_built_again_when_it_changes(env: &Env) {
    let stack = Stack::new(env, ONE);
    app(&stack, "one");
    let up = stack.run(&["up", "-d"]).ok();
    assert!(up.stderr.contains("Image proj-web  Built"), "{}", up.stderr);
    stack.start(&["logs", "-f", "web"]).expect("first");
    assert_eq!(stack.logs("web"), "one\nfirst\n");
    let ids = stack.ids(&[]);
    // Nothing to do, nothing said.
    assert_eq!(stack.run(&["up", "-d"]).ok().stderr, "");
    stack.run(&["up", "-d", "--build"]).ok();
    assert_eq!(stack.ids(&[]), ids, "unchanged");
    app(&stack, "two");
    stack.run(&["up", "-d"]).ok();
    assert_eq!(stack.ids(&[]), ids, "nobody asked to build");
    stack.run(&["up", "-d", "--build", "-t", "1"]).ok();
    assert_ne!(stack.ids(&[]), ids, "another image");
    stack.start(&["logs", "-f", "web"]).expect("first");
    assert_eq!(stack.logs("web"), "two\nfirst\n");
    let images = stack.run(&["images"]).ok().stdout;
    assert!(
        images.contains("proj-web-1") && images.contains("proj-web") && images.contains("latest"),
        "{images}"
    );
    let labels = env.inspect("proj-web", "{{json .Config.Labels}}");
    assert!(
        labels.contains("\"com.docker.compose.service\":\"web\""),
        "{labels}"
    );
    stack.run(&["down", "-t", "1", "--rmi", "local"]).ok();
    env.isola(["inspect", "--type", "image", "proj-web"])
        .exits(1);
    stack
        .run(&["up", "-d", "--no-build"])
        .fails(1, "services.web: the image proj-web is not here");
    assert!(stack.states().is_empty());
}

/// Behind which wall a step ran: guests have a kernel of their own.
fn the_wall_of_steps_is_that_of_the_build_or_the_service(env: &Env) {
    let wall = env.wall().name();
    let inline =
        "dockerfile_inline: \"FROM box\\nARG N\\nRUN uname -r > /kernel\\n\", network: none";
    let text = format!(
        "
services:
  aa:
    isolation: container
    build: {{{inline}, args: {{N: 1}}}}
    command: cat /kernel
  bb:
    isolation: {wall}
    build: {{{inline}, args: {{N: 2}}}}
    command: cat /kernel
  cc:
    isolation: {wall}
    build: {{{inline}, args: {{N: 3}}, isolation: container}}
    command: cat /kernel
"
    );
    let stack = Stack::new(env, &text);
    stack.run(&["build", "-q"]).ok();
    let kernel = |name: &str| {
        let words = [
            "run",
            "--rm",
            "--isolation",
            "container",
            name,
            "cat",
            "/kernel",
        ];
        env.isola(words).ok().stdout
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(kernel("proj-aa"), host);
    assert_ne!(kernel("proj-bb"), host, "the service's wall");
    assert_eq!(kernel("proj-cc"), host, "the build says otherwise");
    // From outside, too.
    stack.run(&["--as", wall, "build", "--no-cache", "aa"]).ok();
    assert_ne!(kernel("proj-aa"), host);
}

fn all_of_the_section_counts(env: &Env) {
    let text = "
services:
  aa:
    image: named:1
    build:
      context: ./ctx
      dockerfile: sub/Special
      target: middle
      args: [ONE=1, FROM_ENV]
      labels: {org.example.kind: test}
      tags: ['named:other', 'more:2']
      additional_contexts:
        extra: ./extra
        other: docker-image://box
      secrets:
        - token
        - {source: variable, target: renamed}
      extra_hosts: ['somewhere=192.0.2.77']
      ulimits: {nofile: 321}
      shm_size: 5m
      network: none
  bb:
    build:
      dockerfile_inline: |
        FROM box
        COPY here /here
        CMD [\"cat\", \"/here\"]
secrets:
  token: {file: ./token}
  variable: {environment: FROM_ENV}
";
    let stack = Stack::new(env, text);
    stack.put(".env", "FROM_ENV=env\n");
    stack.put("token", "hush");
    stack.put("here", "inline\n");
    stack.put("extra/file", "extra\n");
    stack.put("ctx/own", "own\n");
    stack.put(
        "ctx/sub/Special",
        "FROM other AS first\nARG ONE\nARG FROM_ENV\nCOPY own /own\nCOPY --from=extra file /extra\n\
         RUN --mount=type=secret,id=token --mount=type=secret,id=renamed \
           (echo $ONE $FROM_ENV; cat /run/secrets/token /run/secrets/renamed; echo; \
           grep 192.0.2.77 /etc/hosts | awk '{print $2}'; ulimit -n; \
           df -k /dev/shm | tail -1 | awk '{print $2}') > /found\n\
         FROM first AS middle\nRUN cat /own /extra >> /found\nFROM nosuch\n",
    );
    stack.run(&["build"]).ok();
    let found = env.isola(["run", "--rm", "named:1", "cat", "/found"]).ok();
    assert_eq!(
        found.stdout,
        "1 env\nhushenv\nsomewhere\n321\n5120\nown\nextra\n"
    );
    let id = image_id(env, "named:1");
    assert_eq!(image_id(env, "named:other"), id);
    assert_eq!(image_id(env, "more:2"), id);
    let kind = "{{index .Config.Labels \"org.example.kind\"}}";
    assert_eq!(env.inspect("named:1", kind), "test");
    let run = stack.run(&["run", "--rm", "-T", "bb"]).ok();
    assert_eq!(run.stdout, "inline\n");
}

fn images_are_built_upon_those_of_other_services(env: &Env) {
    let text = |of_base: &str| {
        format!(
            "
services:
  base:
    profiles: [never]
    build: {{dockerfile_inline: \"FROM box\\nRUN echo base > /base\\n\", network: none{of_base}}}
  web:
    build:
      dockerfile_inline: \"FROM lower\\nCOPY --from=side /side /side\\nCMD cat /base /side\\n\"
      additional_contexts: {{lower: 'service:base', side: 'service:side'}}
  side:
    build: {{dockerfile_inline: \"FROM box\\nRUN echo side > /side\\n\", network: none}}
"
        )
    };
    let stack = Stack::new(env, &text(""));
    stack.run(&["up", "-d", "web"]).ok();
    env.isola(["wait", "proj-web-1"]).ok();
    assert_eq!(stack.logs("web"), "base\nside\n");
    assert_eq!(stack.states(), ["proj-web-1 exited"], "no more is started");
    stack.down();
    stack.write(&text(", additional_contexts: {x: 'service:web'}"));
    stack
        .run(&["config", "-q"])
        .fails(1, "built upon each other in a circle");
    stack.write(&text(", additional_contexts: {x: 'service:nosuch'}"));
    stack.run(&["build", "web"]).fails(1, "compose.yaml:");
    stack.write("services: {a: {image: box}, b: {build: {dockerfile_inline: FROM x, additional_contexts: {x: 'service:a'}}}}");
    stack
        .run(&["build"])
        .fails(1, "the service `a` is not built");
}

fn policies_say_when_images_are_built(env: &Env) {
    let text = |policy: &str| {
        format!(
            "
services:
  web:
    image: own/name
    build: ./app
    init: true
    {policy}
  user:
    image: own/name
    init: true
"
        )
    };
    let stack = Stack::new(env, &text("pull_policy: build"));
    app(&stack, "one");
    stack.run(&["up", "-d"]).ok();
    let ids = stack.ids(&[]);
    app(&stack, "two");
    // `user` has the same image, which is not asked for at a registry.
    stack.run(&["up", "-d", "-t", "1"]).ok();
    for (before, after) in ids.iter().zip(stack.ids(&[])) {
        assert_ne!(*before, after);
    }
    let dry = stack.run(&["up", "-d", "--dry-run"]).ok().stdout;
    assert!(dry.contains("build the image of web"), "{dry}");
    let ids = stack.ids(&[]);
    stack.write(&text("pull_policy: missing"));
    app(&stack, "three");
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_eq!(stack.ids(&[]), ids, "it is here");
    stack
        .run(&["run", "--build", "--rm", "-T", "web", "true"])
        .ok();
    let found = env.isola(["run", "--rm", "own/name", "cat", "/said"]).ok();
    assert_eq!(found.stdout, "three\n\n");
    stack.run(&["create", "--build"]).ok();
    stack.run(&["down", "-t", "1", "--rmi", "local"]).ok();
    env.isola(["inspect", "--type", "image", "own/name"]).ok();
    stack.run(&["up", "-d"]).ok();
    stack.run(&["down", "-t", "1", "--rmi", "all"]).ok();
    env.isola(["inspect", "--type", "image", "own/name"])
        .exits(1);
}

fn what_fails_names_the_service_and_the_line(env: &Env) {
    let text = "
services:
  good:
    build: {dockerfile_inline: \"FROM box\\nRUN sleep 100\\n\", network: none}
  bad:
    build: ./app
  worse:
    image: box
";
    let stack = Stack::new(env, text);
    stack.put("app/Dockerfile", "FROM box\nRUN echo before; exit 7\n");
    let up = stack.run(&["up", "-d"]);
    assert_eq!(up.code, 1);
    let error = up.stderr.lines().find(|line| line.starts_with("error:"));
    let error = error.unwrap_or_default();
    assert!(
        error.contains("services.bad")
            && error.contains("Dockerfile:2")
            && error.contains("ended with exit code 7"),
        "{}",
        up.stderr
    );
    assert!(up.stderr.contains("before"), "{}", up.stderr);
    assert!(stack.states().is_empty(), "nothing was made");
    stack.put("app/Dockerfile", "FROM box\nRUNN x\n");
    stack.run(&["build", "bad"]).fails(1, "Dockerfile:2:1: ");
    stack.write("services: {a: {build: ./nosuch}}");
    stack.run(&["build"]).fails(1, "services.a: ");
    stack.write("services: {a: {build: {dockerfile_inline: \"FROM box\\nRUNN x\\n\"}}}");
    stack
        .run(&["build"])
        .fails(1, "services.a.build.dockerfile_inline:2:1: ");
}

fn what_can_not_be_had_is_refused(env: &Env) {
    for (build, words) in [
        ("privileged: true", "`privileged`"),
        ("entitlements: [network.host]", "network.host"),
        ("network: 'service:x'", "network: service:x"),
        ("network: host, isolation: vm", "behind the wall vm"),
        ("platforms: [linux/arm64]", "linux/arm64"),
        (
            "platforms: [linux/arm64, linux/s390x]",
            "linux/arm64, linux/s390x",
        ),
        ("context: 'https://example.org/x.git'", "example.org"),
        (
            "additional_contexts: {x: 'https://example.org/x.git'}",
            "example.org",
        ),
        ("ssh: [default=/nosuch]", "/nosuch"),
        ("secrets: [lost]", "is not declared"),
        ("isolation: jail", "compose.yaml:"),
        ("tags: ['not a name']", "not a name"),
    ] {
        let text = format!(
            "services:\n  aa:\n    build: {{dockerfile_inline: FROM box, {build}}}\n  bb: {{image: box}}\n"
        );
        let text = match build.starts_with("context") {
            true => text.replace("dockerfile_inline: FROM box, ", ""),
            false => text,
        };
        let stack = Stack::new(env, &text);
        let up = stack.run(&["up", "-d"]).fails(1, words);
        assert!(up.stderr.contains("aa"), "{}", up.stderr);
        assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "", "{build}");
    }
    let two = "
services:
  aa: {image: own, build: {dockerfile_inline: FROM box}}
  bb: {image: own, build: {dockerfile_inline: FROM scratch}}
";
    Stack::new(env, two)
        .run(&["build"])
        .fails(1, "the image own is built by services.aa, too");
    let idle =
        "services: {aa: {build: {dockerfile_inline: FROM box, cache_from: [x], sbom: true}}}";
    let build = Stack::new(env, idle).run(&["build", "-q"]).ok();
    for key in ["cache_from", "sbom"] {
        let words = format!("services.aa.build.{key} has no effect");
        assert!(build.stderr.contains(&words), "{}", build.stderr);
    }
}

/// What copies is built for any platform; what runs a program is not, and nothing of it
/// is run.
fn other_platforms_are_built_and_not_run(env: &Env) {
    let text = "
services:
  aa:
    build:
      dockerfile_inline: |
        FROM scratch
        COPY word /word
      platforms: [linux/arm64]
  bb:
    platform: linux/arm64
    build:
      dockerfile_inline: |
        FROM scratch
        COPY word /word
      platforms: [linux/amd64, linux/arm64]
  cc:
    image: box
    command: sleep 1000
";
    let stack = Stack::new(env, text);
    stack.put("word", "copied\n");
    for service in ["aa", "bb"] {
        let place = match service {
            "aa" => "compose.yaml:8:18: services.aa: ",
            _ => "compose.yaml:10:15: services.bb: ",
        };
        let up = stack.run(&["up", "-d", service]).fails(1, place);
        assert!(up.stderr.contains("not linux/arm64"), "{}", up.stderr);
        assert!(
            up.stderr.contains("hint: `isola compose build`"),
            "{}",
            up.stderr
        );
        let image = format!("proj-{service}");
        env.isola(["inspect", "--type", "image", &image]).exits(1);
        stack.run(&["build", service]).ok();
        let shown = [
            "inspect",
            "--type",
            "image",
            "--format",
            "{{.Os}}/{{.Architecture}}",
            &image,
        ];
        assert_eq!(env.isola(shown).ok().stdout, "linux/arm64\n");
        stack.run(&["up", "-d", service]).fails(1, place);
        stack.run(&["run", "--rm", service]).fails(1, place);
    }
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
    // Others of the project are nobody's hostage.
    stack.run(&["up", "-d", "cc"]).ok();
    stack.down();
    let runs = "services: {aa: {platform: linux/arm64, build: {dockerfile_inline: \"FROM scratch\\nRUN true\\n\"}}}";
    Stack::new(env, runs)
        .run(&["build"])
        .fails(1, "linux/arm64");
    let several = "services: {aa: {build: {dockerfile_inline: FROM box, platforms: [linux/arm64, linux/s390x]}}}";
    Stack::new(env, several).run(&["build"]).fails(
        1,
        "compose.yaml:1:65: services.aa.build: a stack builds an image for one platform",
    );
    let lacks = "services: {aa: {platform: linux/amd64, build: {dockerfile_inline: FROM box, platforms: [linux/arm64]}}}";
    Stack::new(env, lacks).run(&["build"]).fails(
        1,
        "`platforms` has not the service's own platform linux/amd64",
    );
}

fn flags_of_build(env: &Env) {
    let text = "
services:
  web:
    build: ./app
    depends_on: [db]
  db:
    build: {dockerfile_inline: \"FROM box\\nENV X=1\\n\"}
  cache:
    image: box
";
    let stack = Stack::new(env, text);
    app(&stack, "one");
    stack
        .run(&["build", "--build-arg", "WORD=flag", "web"])
        .ok();
    let said = || {
        env.isola(["run", "--rm", "proj-web", "cat", "/said"])
            .ok()
            .stdout
    };
    assert_eq!(said(), "one\nflag\n");
    let missing = ["inspect", "--type", "image", "proj-db"];
    env.isola(missing).exits(1);
    stack.run(&["build", "--with-dependencies", "web"]).ok();
    env.isola(missing).ok();
    let plain = stack.run(&["build", "--no-cache", "-m", "200m"]).ok();
    assert!(!plain.stderr.contains("CACHED"), "{}", plain.stderr);
    assert!(plain.stderr.contains("web #"), "{}", plain.stderr);
    let again = stack.run(&["build"]).ok();
    assert!(again.stderr.contains("CACHED"), "{}", again.stderr);
    let quiet = stack.run(&["build", "--quiet"]).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let json = stack.run(&["build", "--progress", "json", "db"]).ok();
    for line in json.stderr.lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(object.is_object(), "{line}");
    }
    let nothing = stack.run(&["build", "cache"]).ok();
    assert!(nothing.stderr.contains("no service to build"));
    stack.run(&["build", "nosuch"]).fails(1, "nosuch");
}

fn what_is_built_is_pushed(env: &Env) {
    let registry = Registry::plain(env);
    let name = format!("{}/team/app", registry.host);
    let text = format!(
        "
services:
  web:
    image: {name}:1
    build: {{dockerfile_inline: \"FROM box\\nENV A=1\\n\", tags: ['{name}:2']}}
  other:
    build: {{dockerfile_inline: \"FROM box\\nENV A=2\\n\"}}
  cache:
    image: box
"
    );
    let stack = Stack::new(env, &text);
    stack.run(&["build", "--push"]).ok();
    let id = image_id(env, &format!("{name}:1"));
    for tag in ["1", "2"] {
        let tagged = format!("{name}:{tag}");
        env.isola(["rmi", &tagged]).ok();
        env.isola(["pull", "-q", &tagged]).ok();
        assert_eq!(image_id(env, &tagged), id);
    }
    let push = stack.run(&["push", "-q"]).ok().stdout;
    assert_eq!(push, format!("{name}:1\n{name}:2\n"));
}
