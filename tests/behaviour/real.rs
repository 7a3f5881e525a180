//! A distribution's servers and clients on one network: an instance behind the wall
//! under test and a container, each with the other.

use isola_tests::{Env, HOST, Wall, behaviours, in_lab, until};

use crate::networks::create;

behaviours![
    Every web_servers_by_name_and_one_volume,
    Every redis_and_python_by_name_and_port,
    Every iperf3_both_ways,
    Every postgres_moves_from_wall_to_wall,
    // Three boots and two recoveries on a processor that is emulated twice over: it was
    // not at its end after 20 minutes, on a machine with other work.
    NotInLab postgres_killed_while_it_writes,
];

const SLEEP: &[&str] = &["sleep", "10000"];

/// Starts a program of the image `debian` behind the wall under test.
fn under_test(env: &Env, name: &str, options: &[&str], program: &[&str]) {
    let fixed = ["run", "-d", "--name", name, "--memory=512m"];
    env.isola([&fixed, options, &["debian"], program].concat())
        .ok();
}

/// Starts one as a container.
fn container(env: &Env, name: &str, options: &[&str], program: &[&str]) {
    let options = [&["--isolation=container"], options].concat();
    under_test(env, name, &options, program);
}

/// Runs a command until it succeeds: a server that was started does not listen yet,
/// and PostgreSQL behind a software processor takes a minute.
fn ask(env: &Env, name: &str, command: &str) -> String {
    env.exec(name, &["sh", "-c", &repeated(command)])
        .ok()
        .stdout
}

fn repeated(command: &str) -> String {
    format!(
        "end=$(($(date +%s) + 200)); \
         until {command}; do [ $(date +%s) -lt $end ] || exit 1; sleep 0.2; done"
    )
}

fn sh(env: &Env, name: &str, script: &str) -> String {
    env.exec(name, &["sh", "-c", script]).ok().stdout
}

/// `aa` behind the wall under test and `bb`, a container.
const BOTH: [(&str, &str); 2] = [("aa", "bb"), ("bb", "aa")];

/// Each serves what is in the volume: what the other one has written into it.
fn web_servers_by_name_and_one_volume(env: &Env) {
    env.add_debian();
    env.host().with_neighbour();
    create(env, "lan", &[]);
    let nginx = ["nginx", "-g", "daemon off;"];
    let options = ["--network=lan", "-v", "www:/var/www/html"];
    container(env, "bb", &options, &nginx);
    under_test(
        env,
        "aa",
        &[&options[..], &["-p", "8080:80"]].concat(),
        &nginx,
    );
    for (one, other) in BOTH {
        // The volume was filled from the image by the first that used it.
        let url = format!("http://{other}/index.nginx-debian.html");
        let page = ask(env, one, &format!("curl -sS -m 20 {url} 2>/dev/null"));
        assert!(page.contains("<title>Welcome to nginx!</title>"), "{page}");
        let script = format!(
            "echo by {one} > /var/www/html/{one} && chown www-data /var/www/html/{one} && \
             chmod 600 /var/www/html/{one} && curl -sS -m 20 http://{other}/{one}"
        );
        assert_eq!(sh(env, one, &script), format!("by {one}\n"));
    }
    // A published port, by the host's address: from a neighbour and, by the way back
    // through the bridge, from itself.
    for name in ["bb", "aa"] {
        let seen = sh(env, name, &format!("curl -sS -m 20 http://{HOST}:8080/bb"));
        assert_eq!(seen, "by bb\n", "{name}");
    }
    let owners = sh(env, "aa", "cd /var/www/html; stat -c %U:%a aa bb");
    assert_eq!(owners, "www-data:600\nwww-data:600\n");
}

/// A client of a published port: what it has sent comes back in a page of Redis.
const PYTHON: &str = "import socket, sys\n\
    s = socket.create_connection((sys.argv[1], 7000), timeout=20)\n\
    s.sendall(b'GET colour\\r\\nQUIT\\r\\n')\n\
    print(s.makefile('rb').read())";

fn redis_and_python_by_name_and_port(env: &Env) {
    env.add_debian();
    env.host().with_neighbour();
    create(env, "lan", &[]);
    let redis = ["redis-server", "--protected-mode", "no", "--dir", "/tmp"];
    container(env, "bb", &["--network=lan"], &redis);
    let options = ["--network=lan", "-p", "7000:6379"];
    under_test(env, "aa", &options, &redis);
    for (one, other) in BOTH {
        let asked = format!("redis-cli -h {other} ping 2>/dev/null");
        assert!(ask(env, one, &asked).ends_with("PONG\n"));
        let script = format!(
            "redis-cli -h {other} set colour {one}; redis-cli -h {other} incr count; \
             redis-cli -h {other} get colour"
        );
        assert_eq!(sh(env, one, &script), format!("OK\n1\n{one}\n"));
    }
    for name in ["aa", "bb"] {
        let seen = env.exec(name, &["python3", "-c", PYTHON, HOST]).ok();
        let expected = "b'$2\\r\\nbb\\r\\n+OK\\r\\n'\n";
        assert_eq!(seen.stdout, expected, "{name}");
    }
}

fn iperf3_both_ways(env: &Env) {
    env.add_debian();
    create(env, "lan", &[]);
    let bytes: u64 = match env.wall() {
        Wall::Container => 200_000_000,
        _ => 20_000_000,
    };
    let serve = ["iperf3", "-s"];
    container(env, "bb", &["--network=lan"], &serve);
    under_test(env, "aa", &["--network=lan"], &serve);
    for (one, other) in BOTH {
        for way in ["", "-R"] {
            let command = format!("iperf3 -c {other} -n {bytes} -P 2 -J {way} > /tmp/report");
            ask(env, one, &command);
            let report = sh(env, one, "cat /tmp/report");
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            // The sender ends when the last bytes are in its own buffers, and the
            // receiver counts up to then: megabytes less, where a processor is slow.
            let sums = ["sum_sent", "sum_received"].map(|sum| &report["end"][sum]["bytes"]);
            let [sent, received] = sums.map(|bytes| bytes.as_u64().unwrap_or_default());
            assert!(
                sent >= bytes && received > bytes / 4,
                "{one} to {other} {way}: {sent} sent, {received} received of {bytes}"
            );
        }
    }
}

/// Starts PostgreSQL with its data in a volume, which is made if it is empty.
const POSTGRES: &str = "set -e
    programs=$(echo /usr/lib/postgresql/*/bin)
    as() { exec setpriv --reuid=postgres --regid=postgres --init-groups \"$@\"; }
    if ! [ -f /pg/data/postmaster.opts ]; then
        install -d -o postgres -g postgres -m 700 /pg/data
        (as $programs/initdb -D /pg/data -A trust -U postgres --no-locale)
        echo 'host all all all trust' >> /pg/data/pg_hba.conf
    fi
    as $programs/postgres -D /pg/data -c listen_addresses='*' -c unix_socket_directories=/tmp";

/// The options of such a server. SIGINT is its fast, orderly end.
const SERVER: &[&str] = &["--network=lan", "-v", "pg:/pg", "--stop-signal=SIGINT"];

/// Asks the server `pg` from the container `client`.
fn sql(env: &Env, query: &str) -> String {
    let command = ["psql", "-h", "pg", "-U", "postgres", "-XAtqc", query];
    let output = env.exec("client", &command).ok();
    output.stdout.trim().to_owned()
}

/// Waits for the server. In the lab a guest's processor is emulated twice over, and a
/// start takes longer than one command may.
fn comes_up(env: &Env) {
    let rounds = if in_lab() { 4 } else { 1 };
    let script = repeated("pg_isready -q -h pg");
    let up = (0..rounds).any(|_| env.exec("client", &["sh", "-c", &script]).code == 0);
    let log = || env.isola(["logs", "pg"]);
    assert!(up, "PostgreSQL does not come up: {:?}", log());
}

/// A network, and a client on it.
fn client(env: &Env) {
    env.add_debian();
    create(env, "lan", &[]);
    container(env, "client", &["--network=lan"], SLEEP);
}

fn postgres_moves_from_wall_to_wall(env: &Env) {
    client(env);
    let start = [
        container as fn(&Env, &str, &[&str], &[&str]),
        under_test,
        container,
    ];
    for (round, start) in start.into_iter().enumerate() {
        start(env, "pg", SERVER, &["sh", "-c", POSTGRES]);
        comes_up(env);
        match round {
            0 => sql(
                env,
                "create table rows as select generate_series(1, 1000) as row",
            ),
            _ => sql(env, "insert into rows select generate_series(1, 1000)"),
        };
        let expected = (1000 * (round + 1)).to_string();
        assert_eq!(sql(env, "select count(*) from rows"), expected);
        // All of it goes through fsync(2), or the server ends with a panic.
        assert_eq!(sql(env, "show fsync"), "on");
        sql(env, "checkpoint");
        let script = "cd /pg/data; find . ! -user postgres -o ! -group postgres | wc -l; \
                      stat -c %U:%a . PG_VERSION";
        let owners = sh(env, "pg", script);
        assert_eq!(owners, "0\npostgres:700\npostgres:600\n");
        env.isola(["stop", "-t", "60", "pg"]).ok();
        assert_eq!(env.inspect("pg", "{{.State.ExitCode}}"), "0");
        env.isola(["rm", "pg"]).ok();
    }
}

/// Two clients' transactions until the server is gone, and what they were told. A
/// machine that is killed takes no leave of its peers: they have to notice.
const BENCH: &str = "cd /tmp; rm -f told.*; pgbench -h pg -U postgres -n -c 2 -T 600 -l \
                     --log-prefix=told 'dbname=postgres tcp_user_timeout=10000 \
                     keepalives_idle=3 keepalives_interval=3' > /dev/null 2>&1; \
                     cat told.* | wc -l";

fn postgres_killed_while_it_writes(env: &Env) {
    client(env);
    // The data is made by a container: on a software processor that takes minutes.
    container(env, "pg", SERVER, &["sh", "-c", POSTGRES]);
    comes_up(env);
    let fill = "pgbench -h pg -U postgres -i -q -s 1 postgres";
    env.exec("client", &["sh", "-c", fill]).ok();
    env.isola(["stop", "-t", "60", "pg"]).ok();
    env.isola(["rm", "pg"]).ok();
    under_test(env, "pg", SERVER, &["sh", "-c", POSTGRES]);
    comes_up(env);
    // Its first process; then, where there is one, the machine that it runs in.
    let ways: [fn(&Env); 2] = [
        |env| drop(env.isola(["kill", "-s", "KILL", "pg"]).ok()),
        |env| {
            let pid = env.inspect("pg", "{{.State.Pid}}").parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        },
    ];
    let count = "select count(*) from pgbench_history";
    for kill in ways {
        let before: u64 = sql(env, count).parse().unwrap();
        let bench = env.start(["exec", "client", "sh", "-c", BENCH]);
        until("transactions", || {
            sql(env, count).parse::<u64>().unwrap() > before + 50
        });
        kill(env);
        let told = bench.wait().ok().stdout;
        let told: u64 = told.trim().parse().unwrap();
        assert!(told >= 50, "{told} transactions");
        env.isola(["wait", "pg"]).ok();
        env.isola(["start", "pg"]).ok();
        comes_up(env);
        let log = env.isola(["logs", "pg"]).ok();
        let log = [log.stdout, log.stderr].concat();
        assert!(log.contains("automatic recovery in progress"), "{log}");
        // What a client was told is there; of each of the two one more may be.
        let found = sql(env, count).parse::<u64>().unwrap() - before;
        assert!((told..=told + 2).contains(&found), "{found} of {told}");
        let sums = "select (select sum(delta) from pgbench_history) \
                    = all (array[(select sum(abalance) from pgbench_accounts), \
                    (select sum(tbalance) from pgbench_tellers), \
                    (select sum(bbalance) from pgbench_branches)])";
        assert_eq!(sql(env, sums), "t");
    }
}
