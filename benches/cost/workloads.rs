//! The workloads.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::unistd::{Uid, User};

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Not made to do nothing but calls.
    pub(crate) is_real: bool,
    pub(crate) load: Load,
}

/// The workload that does nothing, so that only the start-up of a tool remains.
pub(crate) const START_UP: &str = "start-up: /bin/true";

pub(crate) enum Load {
    /// A command, whose time counts.
    Command(Vec<String>),
    /// A server, that runs under the tool, and its client, which doesn't and whose time counts.
    Server {
        command: Vec<String>,
        /// Succeeds when the server can be used.
        ready: Vec<String>,
        client: Vec<String>,
        stop: Vec<String>,
    },
}

/// All workloads that can run here, and why the others can't.
pub(crate) fn all(work: &Path, quick: bool) -> Result<(Vec<Workload>, Vec<String>)> {
    let scale = if quick { 10 } else { 1 };
    let path = work.display();
    for program in ["getppid", "many", "paced"] {
        compile(program, work)?;
    }
    make_repository(&work.join("repository"), 300)?;
    make_sources(work)?;
    let transactions = make_transactions(work, 2_000 / scale)?;
    let calls = 500_000 / scale;
    let bytes = 20_000 / scale;
    let forks = 300 / scale;
    let imports = "import asyncio, email, http.server, json, sqlite3, unittest, xml.dom.minidom";
    let loops =
        |body: &str| format!("n=0; while [ $n -lt {forks} ]; do {body}; n=$((n + 1)); done");
    let mut workloads = vec![
        synthetic(START_UP, "/bin/true")?,
        synthetic("getppid, 1 thread", &format!("{path}/getppid {calls}"))?,
        synthetic(
            "getppid, 2 threads",
            &format!("{path}/getppid {} 2", calls / 2),
        )?,
        synthetic(
            "getppid, 8 threads",
            &format!("{path}/getppid {} 8", calls / 8),
        )?,
        synthetic(
            "dd bs=1",
            &format!("dd if=/dev/zero of=/dev/null bs=1 count={bytes} status=none"),
        )?,
        real("find", "find /usr/share")?,
        real(
            "tar",
            &format!("tar -cf {path}/x.tar /usr/share/zoneinfo /usr/share/perl"),
        )?,
        synthetic("300 subshells", &format!("sh -c '{}'", loops("(:)")))?,
        synthetic(
            "300 × /bin/true from sh",
            &format!("sh -c '{}'", loops("/bin/true")),
        )?,
        synthetic(
            "1,000 processes a second",
            &format!("{path}/paced {} 1000 /bin/true", 1_000 / scale),
        )?,
        real(
            "git log --stat",
            &format!("/usr/bin/git -C {path}/repository log --stat"),
        )?,
        real(
            "gcc",
            &format!("gcc -O2 -o {path}/program {path}/program.c"),
        )?,
        real("make, 30 files", &format!("make -s -B -C {path}/sources"))?,
        real(
            "cargo build",
            &format!(
                "sh -c 'rm -rf {path}/crate/target; cargo build -q --offline --manifest-path {path}/crate/Cargo.toml'"
            ),
        )?,
        real(
            "python3, imports",
            &format!("/usr/bin/python3 -I -c '{imports}'"),
        )?,
        real(
            "sqlite3, transactions",
            &format!("sqlite3 -batch {path}/database '.read {transactions}'"),
        )?,
    ];
    let requests = 20_000 / scale;
    let others = [
        ("java", java(work, 1_000 / scale)),
        ("node", node(4_000 / scale)),
        ("go", go(work, 2_000 / scale)),
        ("redis", redis(requests)),
        ("nginx", nginx(work, requests)),
        ("postgres", postgres(work, 500 / scale)),
    ];
    let mut unavailable = Vec::new();
    for (name, workload) in others {
        match workload {
            Ok(workload) => workloads.push(workload),
            Err(why) => unavailable.push(format!("{name}: {why:#}")),
        }
    }
    Ok((workloads, unavailable))
}

/// Processes one after the other, then calls.
pub(crate) fn many(work: &Path, processes: u32, calls: u32) -> Result<Workload> {
    synthetic(
        "many",
        &format!("{}/many {processes} {calls}", work.display()),
    )
}

fn synthetic(name: &'static str, line: &str) -> Result<Workload> {
    Ok(Workload {
        name,
        is_real: false,
        load: Load::Command(words(line)?),
    })
}

fn real(name: &'static str, line: &str) -> Result<Workload> {
    let workload = synthetic(name, line)?;
    Ok(Workload {
        is_real: true,
        ..workload
    })
}

fn words(line: &str) -> Result<Vec<String>> {
    shlex::split(line).context("a command line")
}

fn server(name: &'static str, [command, ready, client, stop]: [&str; 4]) -> Result<Workload> {
    let load = Load::Server {
        command: words(command)?,
        ready: words(ready)?,
        client: words(client)?,
        stop: words(stop)?,
    };
    Ok(Workload {
        name,
        is_real: true,
        load,
    })
}

fn compile(program: &str, work: &Path) -> Result<()> {
    let source = format!(
        "{}/benches/workloads/{program}.c",
        env!("CARGO_MANIFEST_DIR")
    );
    run(&words(&format!(
        "gcc -O2 -pthread -o {}/{program} {source}",
        work.display()
    ))?)
}

/// A git repository with a history, the same every time.
fn make_repository(path: &Path, commits: u32) -> Result<()> {
    let mut history = String::new();
    for n in 0..commits {
        let time = 1_000_000_000 + n * 60;
        history += &format!(
            "commit refs/heads/main\ncommitter Bench <bench@example.org> {time} +0000\ndata <<EOF\nCommit {n}\nEOF\n"
        );
        for file in 0..3 {
            history += &format!("M 644 inline dir{}/file{file}\ndata <<EOF\n", n % 10);
            history.extend((0..60).map(|line| format!("line {}\n", (line * 7 + n * file) % 101)));
            history += "\nEOF\n";
        }
    }
    let path = path.display();
    run(&words(&format!("/usr/bin/git init -q -b main {path}"))?)?;
    let mut command = Command::new("/usr/bin/git");
    command
        .args(["-C", &path.to_string(), "fast-import", "--quiet"])
        .stdin(Stdio::piped());
    let mut import = command.spawn()?;
    import
        .stdin
        .take()
        .context("a pipe")?
        .write_all(history.as_bytes())?;
    ensure!(import.wait()?.success(), "git fast-import failed");
    Ok(())
}

/// A C program, one of 30 files with its Makefile, and a crate without dependencies.
fn make_sources(work: &Path) -> Result<()> {
    let program =
        "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(getenv(\"HOME\")); }\n";
    fs::write(work.join("program.c"), program)?;
    let sources = work.join("sources");
    fs::create_dir(&sources)?;
    for n in 0..30 {
        fs::write(
            sources.join(format!("f{n}.c")),
            format!("int f{n}(int x) {{ return x * {n}; }}\n"),
        )?;
    }
    let makefile =
        "OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\nlib.a: $(OBJECTS)\n\tar rc $@ $^\n";
    fs::write(sources.join("Makefile"), makefile)?;
    let package = work.join("crate");
    fs::create_dir_all(package.join("src"))?;
    fs::write(
        package.join("Cargo.toml"),
        "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n",
    )?;
    fs::write(
        package.join("src/main.rs"),
        "fn main() { println!(\"{:?}\", std::env::args().collect::<Vec<_>>()); }\n",
    )?;
    Ok(())
}

/// A script of SQL that doesn't wait for the disk; where it is.
fn make_transactions(work: &Path, count: u32) -> Result<String> {
    let mut sql = "PRAGMA synchronous = OFF;\nDROP TABLE IF EXISTS t;\n\
                   CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, name TEXT);\n"
        .to_owned();
    for n in 0..count {
        let number = n * 7919 % 1_000;
        sql += &format!(
            "INSERT INTO t (n, name) VALUES ({number}, 'row {n}');\n\
             SELECT count(*) FROM t WHERE n = {number};\n"
        );
    }
    let path = work.join("transactions.sql");
    fs::write(&path, sql)?;
    Ok(path.display().to_string())
}

fn java(work: &Path, times: u32) -> Result<Workload> {
    let path = work.display();
    run(&words(&format!(
        "javac -d {path} {}/benches/workloads/SmallFiles.java",
        env!("CARGO_MANIFEST_DIR")
    ))?)?;
    real(
        "java, files in 8 threads",
        &format!("java -cp {path} SmallFiles {path} {times}"),
    )
}

fn node(requests: u32) -> Result<Workload> {
    run(&words("node --version")?)?;
    let folder = env!("CARGO_MANIFEST_DIR");
    real(
        "node, requests to itself",
        &format!("node {folder}/benches/workloads/requests.js {requests}"),
    )
}

fn go(work: &Path, requests: u32) -> Result<Workload> {
    let path = work.display();
    let folder = env!("CARGO_MANIFEST_DIR");
    run(&words(&format!(
        "env SC_RECORD_REAL={path} sh {folder}/integration/real/programs/build.sh go_server"
    ))?)?;
    let command = format!("{path}/bin/go_server {path}/go.socket");
    let curl = format!("curl -sf --unix-socket {path}/go.socket");
    server(
        "go server, curl",
        [
            &command,
            &format!("{curl} -o {path}/answer http://go/?ready"),
            &format!("{curl} -Z --parallel-max 8 -o {path}/answer http://go/?[1-{requests}]"),
            // The recorder has the same words among its own.
            &format!("pkill -xf '{command}'"),
        ],
    )
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn redis(requests: u32) -> Result<Workload> {
    run(&words("redis-benchmark --version")?)?;
    let port = free_port()?;
    server(
        "redis, redis-benchmark",
        [
            &format!("redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no"),
            &format!("redis-cli -p {port} ping"),
            &format!("redis-benchmark -p {port} -n {requests} -c 10 -t set,get -q"),
            // It closes the connection instead of an answer.
            &format!("sh -c 'redis-cli -p {port} shutdown nosave || :'"),
        ],
    )
}

fn nginx(work: &Path, requests: u32) -> Result<Workload> {
    run(&words("nginx -v")?)?;
    run(&words("ab -V")?)?;
    let (path, port) = (work.display(), free_port()?);
    fs::write(work.join("index.html"), "hello\n")?;
    let root = if Uid::effective().is_root() {
        "user root;"
    } else {
        ""
    };
    fs::write(
        work.join("nginx.conf"),
        format!(
            "{root} daemon off; pid {path}/nginx.pid; error_log {path}/nginx.log; events {{}}\n\
             http {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fcgi; \
             uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi; server {{ listen 127.0.0.1:{port}; root {path}; }} }}\n"
        ),
    )?;
    let nginx = format!("nginx -c {path}/nginx.conf -e {path}/nginx.log");
    server(
        "nginx, ab",
        [
            &nginx,
            &format!("curl -sf -o /dev/null http://127.0.0.1:{port}/"),
            &format!("ab -q -n {requests} -c 8 http://127.0.0.1:{port}/index.html"),
            &format!("{nginx} -s quit"),
        ],
    )
}

fn postgres(work: &Path, transactions: u32) -> Result<Workload> {
    let user = User::from_name("postgres")?.context("no user postgres")?;
    ensure!(
        Uid::effective().is_root(),
        "needs root, to become the user postgres"
    );
    let versions = fs::read_dir("/usr/lib/postgresql").context("postgresql is not installed")?;
    let newest = versions
        .flatten()
        .map(|entry| entry.path())
        .max()
        .context("no version")?;
    let (programs, port) = (newest.join("bin"), free_port()?);
    let programs = programs.display();
    // The user must get into it.
    let home = tempfile::Builder::new()
        .prefix("sc-record-bench-postgres.")
        .tempdir_in(work)?
        .keep();
    run(&words(&format!("chmod 711 {}", work.display()))?)?;
    chown(&home, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    let home = home.display();
    let of_user = "setpriv --reuid postgres --regid postgres --init-groups";
    run(&words(&format!(
        "{of_user} {programs}/initdb -D {home}/data"
    ))?)?;
    // Without waiting for the disk (-F), whose time would be all that differs.
    let command = format!(
        "{of_user} {programs}/postgres -F -D {home}/data -p {port} -k {home} -c listen_addresses="
    );
    let stop = format!("{of_user} {programs}/pg_ctl stop -m fast -D {home}/data");
    // The tables, once.
    let load = format!(
        "{of_user} {programs}/pg_ctl start -w -s -l {home}/log -D {home}/data -o \"-p {port} -k {home} -c listen_addresses=\""
    );
    run(&words(&load)?)?;
    let filled = run(&words(&format!(
        "{of_user} {programs}/pgbench -i -q -h {home} -p {port} postgres"
    ))?);
    run(&words(&stop)?)?;
    filled?;
    server(
        "postgres, pgbench",
        [
            &command,
            &format!("{programs}/pg_isready -h {home} -p {port}"),
            &format!(
                "{of_user} {programs}/pgbench -n -c 2 -t {transactions} -h {home} -p {port} postgres"
            ),
            &stop,
        ],
    )
}

/// Runs a command that must succeed.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let output = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output();
    let output = output.with_context(|| words[0].clone())?;
    let messages = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words:?}: {messages}");
    Ok(())
}
