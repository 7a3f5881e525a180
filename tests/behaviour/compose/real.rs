//! Stacks of a distribution's own programs in images that the stacks build themselves:
//! all services as containers, all behind the wall under test, and mixed, with the
//! same result. The data moves from wall to wall with its volume.

use std::io::{Read, Write};
use std::net::TcpStream;

use isola_tests::{Env, behaviours, until};

use super::Stack;

behaviours![
    Every a_shop_of_nginx_python_and_postgresql,
    Every a_queue_of_redis_and_three_workers,
    Every two_networks_with_an_internal_backend,
];

/// Walls of three services, one round each.
fn rounds(env: &Env) -> Vec<[&'static str; 3]> {
    let own = env.wall().name();
    match env.wall().is_guest() {
        false => vec![[own; 3]],
        true => vec![
            [own; 3],
            [own, "container", own],
            ["container", own, "container"],
        ],
    }
}

const SHOP: &str = "
services:
  db:
    build: {context: ./db, isolation: container, network: none, secrets: [password]}
    stop_signal: SIGINT
    stop_grace_period: 2m
    mem_limit: 512m
    volumes: ['pg:/pg']
    healthcheck: {test: [CMD, pg_isready, -q, -h, 127.0.0.1], interval: 1s, retries: 1000}
  app:
    build: {context: ./app, isolation: container}
    init: true
    mem_limit: 512m
    secrets: [password]
    depends_on: {db: {condition: service_healthy}}
    healthcheck:
      test: [CMD, curl, -fsS, -o, /dev/null, 'http://127.0.0.1:8000/health']
      interval: 1s
      retries: 1000
  web:
    build: {context: ./web, isolation: container}
    mem_limit: 512m
    ports: ['8080:80']
    depends_on: {app: {condition: service_healthy}}
    healthcheck:
      test: [CMD, curl, -fsS, -o, /dev/null, 'http://127.0.0.1/health']
      interval: 1s
      retries: 1000
volumes:
  pg:
secrets:
  password: {environment: PASSWORD}
";

const DB: &str = "FROM debian
RUN install -d -o postgres -g postgres -m 700 /pg/data
USER postgres
RUN --mount=type=secret,id=password,mode=0444 \\
    $(echo /usr/lib/postgresql/*/bin)/initdb -D /pg/data -U postgres --no-locale \\
      -A scram-sha-256 --pwfile=/run/secrets/password && \\
    echo 'host all all all scram-sha-256' >> /pg/data/pg_hba.conf
CMD exec $(echo /usr/lib/postgresql/*/bin)/postgres -D /pg/data \\
    -c listen_addresses='*' -c unix_socket_directories=/tmp
";

const APP: &str = "import os, socket, subprocess
secret = open('/run/secrets/password').read()
surroundings = dict(os.environ, PGPASSWORD=secret)
def sql(query):
    words = ['psql', '-h', 'db', '-U', 'postgres', '-XAtqc', query]
    return subprocess.run(words, env=surroundings, capture_output=True, text=True, check=True).stdout
sql('create table if not exists visits (at serial)')
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('', 8000))
server.listen()
while True:
    client, _ = server.accept()
    path = client.recv(65536).split()[1].decode()
    body = 'well'
    if path != '/health':
        sql('insert into visits default values')
        body = 'visit ' + sql('select count(*) from visits').strip()
    client.sendall(f'HTTP/1.0 200 OK\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}'.encode())
    client.close()
";

/// What the host's port 8080 answers.
fn page(env: &Env) -> String {
    env.host().inside(|| {
        let mut stream = TcpStream::connect("127.0.0.1:8080").expect("a published port");
        stream
            .write_all(b"GET / HTTP/1.0\r\nHost: shop\r\n\r\n")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
            .rsplit("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

fn a_shop_of_nginx_python_and_postgresql(env: &Env) {
    env.add_debian();
    let stack = Stack::new(env, SHOP);
    stack.put(".env", "PASSWORD=not for everybody\n");
    stack.put("db/Dockerfile", DB);
    stack.put("app/app.py", APP);
    stack.put(
        "app/Dockerfile",
        "FROM debian\nCOPY app.py /app.py\nCMD [\"python3\", \"/app.py\"]\n",
    );
    stack.put(
        "web/site",
        "server { listen 80; location / { proxy_pass http://app:8000; } }\n",
    );
    stack.put(
        "web/Dockerfile",
        "FROM debian\nCOPY site /etc/nginx/sites-available/default\n\
         CMD [\"nginx\", \"-g\", \"daemon off;\"]\n",
    );
    for (round, [db, app, web]) in rounds(env).into_iter().enumerate() {
        let walls = format!("db={db},app={app},web={web}");
        stack.run(&["--as", &walls, "up", "-d", "--wait"]).ok();
        assert_eq!(page(env), format!("visit {}", 2 * round + 1), "{walls}");
        assert_eq!(page(env), format!("visit {}", 2 * round + 2), "{walls}");
        let alone = [
            "exec",
            "-T",
            "web",
            "sh",
            "-c",
            "PGPASSWORD=guess psql -w -h db -U postgres -c 'select 1' 2>&1; true",
        ];
        let refused = stack.run(&alone).ok().stdout;
        assert!(
            refused.contains("password authentication failed"),
            "{refused}"
        );
        for (service, wall) in [("db", db), ("app", app), ("web", web)] {
            let isolation = env.inspect(&format!("proj-{service}-1"), "{{.Isolation}}");
            assert_eq!(isolation, wall);
        }
        stack.run(&["stop", "db"]).ok();
        assert_eq!(env.inspect("proj-db-1", "{{.State.ExitCode}}"), "0");
        stack.run(&["down", "-t", "1"]).ok();
    }
    stack.down();
}

const QUEUE: &str = "
services:
  redis:
    build: {dockerfile_inline: 'FROM debian', isolation: container}
    command: redis-server --bind 0.0.0.0 --protected-mode no --dir /data
    stop_grace_period: 1m
    mem_limit: 256m
    volumes: ['data:/data']
    healthcheck: {test: [CMD, redis-cli, ping], interval: 1s, retries: 1000}
  worker:
    build: {context: ./worker, isolation: container}
    init: true
    mem_limit: 256m
    scale: 3
    depends_on: {redis: {condition: service_healthy}}
volumes:
  data:
";

const WORKER: &str = "redis-cli -h redis rpush here $(hostname) > /dev/null
while :; do
    job=$(redis-cli -h redis blpop jobs 0 | tail -n 1)
    redis-cli -h redis multi > /dev/null
    printf 'incrby sum %s\\nrpush done %s\\n' $job $job | redis-cli -h redis > /dev/null
done
";

fn a_queue_of_redis_and_three_workers(env: &Env) {
    env.add_debian();
    let stack = Stack::new(env, QUEUE);
    stack.put("worker/work", WORKER);
    stack.put(
        "worker/Dockerfile",
        "FROM debian\nCOPY work /work\nCMD [\"sh\", \"/work\"]\n",
    );
    let redis = |words: &[&str]| {
        let words = [&["exec", "-T", "redis", "redis-cli"], words].concat();
        stack.run(&words).ok().stdout.trim().to_owned()
    };
    for (round, [one, two, _]) in rounds(env).into_iter().enumerate() {
        let walls = format!("redis={one},worker={two}");
        stack.run(&["--as", &walls, "up", "-d", "--wait"]).ok();
        until("three workers", || redis(&["llen", "here"]) == "3");
        let jobs: Vec<String> = (1..=6).map(|job: u32| job.to_string()).collect();
        let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
        redis(&[&["rpush", "jobs"], &jobs[..]].concat());
        let done = (6 * (round + 1)).to_string();
        until("the work is done", || redis(&["llen", "done"]) == done);
        assert_eq!(
            redis(&["get", "sum"]),
            (21 * (round + 1)).to_string(),
            "{walls}"
        );
        redis(&["del", "here"]);
        stack.run(&["--as", &walls, "scale", "worker=1"]).ok();
        assert_eq!(stack.ids(&["worker"]).len(), 1);
        // It writes its data when it is asked to end.
        stack.run(&["stop", "redis"]).ok();
        assert_eq!(env.inspect("proj-redis-1", "{{.State.ExitCode}}"), "0");
        stack.run(&["down", "-t", "1"]).ok();
    }
    stack.down();
}

const TWO: &str = "
services:
  store:
    build: {dockerfile_inline: 'FROM debian', isolation: container}
    image: own/tools
    command: redis-server --bind 0.0.0.0 --protected-mode no --dir /tmp --save ''
    mem_limit: 256m
    networks: [back]
    healthcheck: {test: [CMD, redis-cli, ping], interval: 1s, retries: 1000}
  web:
    image: own/tools
    init: true
    mem_limit: 256m
    command: sleep 1000
    networks: [front, back]
    depends_on: {store: {condition: service_healthy}}
  visitor:
    image: own/tools
    init: true
    mem_limit: 256m
    command: sleep 1000
    networks: [front]
networks:
  front:
  back: {internal: true}
";

fn two_networks_with_an_internal_backend(env: &Env) {
    env.add_debian();
    let stack = Stack::new(env, TWO);
    for [store, web, visitor] in rounds(env) {
        let walls = format!("store={store},web={web},visitor={visitor}");
        stack.run(&["--as", &walls, "up", "-d", "--wait"]).ok();
        let sh = |service: &str, script: &str| {
            let output = stack.run(&["exec", "-T", service, "sh", "-c", script]);
            output.ok().stdout.trim().to_owned()
        };
        let ask = "timeout 20 redis-cli -h store ping 2>&1 | tail -n 1";
        assert_eq!(sh("web", ask), "PONG", "{walls}");
        let answer = sh("visitor", ask);
        assert!(answer.contains("Could not connect"), "{walls}: {answer}");
        assert_eq!(
            sh("visitor", "getent hosts web > /dev/null && echo known"),
            "known"
        );
        // The backend has no way out, the front has.
        assert_eq!(sh("store", "ip route show default"), "", "{walls}");
        assert!(sh("visitor", "ip route show default").starts_with("default via"));
        stack.down();
    }
}
