//! What runs in the pipelines of others: the action for GitHub and the hooks of pre-commit.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::needs::PYTHON_PACKAGES;
use crate::support::process;
use crate::support::recorder::PROGRAM;
use crate::support::recordings::{allow, profile, recording, repository, run};

/// A repository with a recording, and with a profile that lacks one of its calls.
fn stale(folder: &Path) {
    recording(
        &folder.join("recordings/app.json"),
        &[run(1, &["read", "openat"])],
    );
    profile(
        &folder.join("profiles/app.json"),
        &json!([allow(&["read", "exit", "exit_group"])]),
    );
}

/// The PATH, with the folder of the program under test in front.
fn path() -> String {
    let folder = Path::new(PROGRAM).parent().unwrap();
    format!("{}:{}", folder.display(), process::path())
}

fn git(folder: &Path, args: &str) {
    let mut git = Command::new("git");
    git.args([
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "init.defaultBranch=main",
    ]);
    let output = git
        .args(args.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A job of GitHub's runner: a checkout, and the files by which a step speaks to the runner.
struct Job {
    folder: tempfile::TempDir,
}

impl Job {
    fn new() -> Job {
        let folder = tempfile::tempdir().unwrap();
        for name in ["checkout", "temp"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Job { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A step of the action.
    fn step(&self, step: &str, env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(repository().join("deploy/action.sh"));
        command
            .arg(step)
            .current_dir(self.path("checkout"))
            .env("PATH", path());
        for (name, file) in [
            ("RUNNER_TEMP", "temp"),
            ("GITHUB_OUTPUT", "output"),
            ("GITHUB_PATH", "path"),
            ("GITHUB_STEP_SUMMARY", "summary"),
        ] {
            command.env(name, self.path(file));
        }
        command.envs(env.iter().copied()).output().unwrap()
    }

    fn output(&self, name: &str) -> Option<String> {
        let all = fs::read_to_string(self.path("output")).unwrap();
        let line = all
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.map(str::to_owned)
    }
}

#[apply(test)]
#[needs(program("git"))]
fn the_action_checks_recordings_and_writes_what_people_read() {
    let job = Job::new();
    let checkout = job.path("checkout");
    stale(&checkout);
    git(&checkout, "init -q");
    git(&checkout, "add .");
    git(&checkout, "commit -q -m a");
    git(&checkout, "update-ref refs/remotes/origin/main HEAD");
    profile(
        &checkout.join("profiles/app.json"),
        &json!([allow(&["read", "exit", "exit_group", "mount"])]),
    );
    let env = [
        ("INPUT_PROFILE", "profiles/app.json"),
        ("INPUT_RECORDING", "recordings/app.json"),
        ("GITHUB_BASE_REF", "main"),
    ];
    let step = job.step("check", &env);
    let stdout = String::from_utf8_lossy(&step.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&step.stderr).into_owned();
    assert_eq!(step.status.code(), Some(1), "{stdout}{stderr}");
    // The annotation is on the profile's line.
    let annotation = stdout
        .lines()
        .find(|line| line.starts_with("::error "))
        .unwrap();
    assert!(
        annotation.contains("file=profiles/app.json") && annotation.contains("openat"),
        "{stdout}"
    );
    assert_eq!(job.output("status").unwrap(), "1");
    let read = |name| fs::read_to_string(job.output(name).unwrap()).unwrap();
    let comment = read("comment");
    assert!(
        comment.contains("does not allow 1 recorded call: openat"),
        "{comment}"
    );
    // Against the base branch.
    assert!(comment.contains("| wider | + mount |"), "{comment}");
    assert_eq!(fs::read_to_string(job.path("summary")).unwrap(), comment);
    assert!(read("report").starts_with("<!DOCTYPE html>"));
    assert!(read("junit").contains("<failure"));
    let sarif: Value = serde_json::from_str(&read("sarif")).unwrap();
    let sarif: serde_sarif::sarif::Sarif = serde_json::from_value(sarif).unwrap();
    assert!(!sarif.runs[0].results.as_ref().unwrap().is_empty());
    // The recording of the repository is as it was.
    let mut status = Command::new("git");
    let status = status
        .args(["status", "--porcelain", "recordings"])
        .current_dir(&checkout)
        .output();
    assert_eq!(status.unwrap().stdout, b"");
}

#[apply(test)]
fn the_action_runs_a_command() {
    let job = Job::new();
    let checkout = job.path("checkout");
    stale(&checkout);
    let env = |command| {
        [
            ("INPUT_PROFILE", "profiles/app.json"),
            ("INPUT_COMMAND", command),
            ("INPUT_OPTIONS", "--any-status --backend ptrace"),
        ]
    };
    let step = job.step("check", &env("echo said by the workload; exit 3"));
    let stdout = String::from_utf8_lossy(&step.stdout).into_owned();
    assert_eq!(step.status.code(), Some(1), "{stdout}");
    assert!(stdout.starts_with("said by the workload\n"), "{stdout}");
    assert!(stdout.contains("execve"), "{stdout}");
    let comment = fs::read_to_string(job.output("comment").unwrap()).unwrap();
    assert!(
        comment.contains("execve") && comment.contains("1 run"),
        "{comment}"
    );
    // Trouble is not a finding.
    let step = job.step(
        "check",
        &[("INPUT_PROFILE", "missing.json"), ("INPUT_COMMAND", "true")],
    );
    assert_eq!(step.status.code(), Some(2));
    assert_eq!(job.output("status").unwrap(), "2");
}

#[apply(test)]
#[needs(program("curl"))]
fn the_action_installs_a_release_with_the_right_checksum_only() {
    let job = Job::new();
    let machine = std::env::consts::ARCH;
    let release = job.path("server/owner/sc-record/releases/download/v1.2.3");
    fs::create_dir_all(&release).unwrap();
    let file = release.join(format!("sc-record-{machine}"));
    fs::write(&file, "#!/bin/sh\necho released\n").unwrap();
    let sum = Command::new("sha256sum")
        .arg(file.file_name().unwrap())
        .current_dir(&release)
        .output();
    fs::write(release.join("SHA256SUMS"), sum.unwrap().stdout).unwrap();
    let server = format!("file://{}", job.path("server").display());
    let env = [
        ("INPUT_VERSION", "1.2.3"),
        ("GITHUB_SERVER_URL", &server),
        ("GITHUB_ACTION_REPOSITORY", "owner/sc-record"),
    ];
    let step = job.step("install", &env);
    assert!(
        step.status.success(),
        "{}",
        String::from_utf8_lossy(&step.stderr)
    );
    let folder = fs::read_to_string(job.path("path")).unwrap();
    let installed = Command::new(Path::new(folder.trim()).join("sc-record"))
        .output()
        .unwrap();
    assert_eq!(installed.stdout, b"released\n");
    fs::write(&file, "#!/bin/sh\necho changed\n").unwrap();
    assert!(!job.step("install", &env).status.success());
    // Without a version, one that is installed is taken.
    let before = fs::read_to_string(job.path("path")).unwrap();
    assert!(job.step("install", &[]).status.success());
    assert_eq!(fs::read_to_string(job.path("path")).unwrap(), before);
}

#[apply(test)]
fn the_action_passes_on_what_its_script_takes_and_gives() {
    let text = fs::read_to_string(repository().join("action.yml")).unwrap();
    let action: Value = serde_saphyr::from_str(&text).unwrap();
    let script = fs::read_to_string(repository().join("deploy/action.sh")).unwrap();
    for name in action["inputs"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("inputs.{name} ")), "{name}");
        let variable = format!("INPUT_{}", name.to_uppercase());
        assert_eq!(
            text.contains(&format!("{variable}:")),
            script.contains(&variable),
            "{name}"
        );
    }
    for (name, output) in action["outputs"].as_object().unwrap() {
        assert_eq!(
            output["value"],
            format!("${{{{ steps.check.outputs.{name} }}}}")
        );
        assert!(script.contains(&format!("output {name} ")), "{name}");
    }
    let scripts = [
        "deploy/action.sh",
        "deploy/pre-commit.sh",
        "deploy/nextest-runner.sh",
    ];
    for script in scripts {
        let mode = fs::metadata(repository().join(script))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{script}");
    }
}

#[apply(test)]
#[needs(program("git"), python_package("pre_commit"))]
fn the_hooks_of_pre_commit_find_stale_and_faulty_profiles() {
    let folder = tempfile::tempdir().unwrap();
    let (hooks, project) = (folder.path().join("hooks"), folder.path().join("project"));
    fs::create_dir_all(hooks.join("deploy")).unwrap();
    for file in [".pre-commit-hooks.yaml", "deploy/pre-commit.sh"] {
        fs::copy(repository().join(file), hooks.join(file)).unwrap();
    }
    git(&hooks, "init -q");
    git(&hooks, "add .");
    git(&hooks, "commit -q -m a");
    git(&hooks, "tag v1");
    stale(&project.join("service a"));
    let config = json!({"repos": [{"repo": hooks, "rev": "v1", "hooks": [
        {"id": "sc-record-lint", "args": ["--target", "crun", "--libseccomp", "2.5.4"]},
        {"id": "sc-record-check"},
    ]}]});
    fs::write(project.join(".pre-commit-config.yaml"), config.to_string()).unwrap();
    git(&project, "init -q");
    git(&project, "add .");
    let ran = || {
        let mut command = Command::new("python3");
        command.args(["-m", "pre_commit", "run", "--all-files", "--color", "never"]);
        command
            .current_dir(&project)
            .env("PATH", path())
            .env("PYTHONPATH", PYTHON_PACKAGES);
        command.env("PRE_COMMIT_HOME", folder.path().join("cache"));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.success(),
            text + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (succeeded, text) = ran();
    assert!(
        !succeeded && text.contains("openat is not in the profile"),
        "{text}"
    );
    assert!(text.contains("[SCR002 missing-runtime-call]"), "{text}");
    assert_eq!(text.matches("Failed").count(), 2, "{text}");
    let calls = ["read", "openat"];
    profile(
        &project.join("service a/profiles/app.json"),
        &json!([allow(&calls)]),
    );
    let (_, text) = ran();
    assert_eq!(text.matches("Passed").count(), 1, "{text}");
}

/// The calls of each test of a recording that are named like this, by the label.
fn tests_with(recording: &Path, name: &str) -> BTreeMap<String, bool> {
    let recording: Value = serde_json::from_slice(&fs::read(recording).unwrap()).unwrap();
    let runs = recording["runs"].as_array().unwrap().iter();
    let tests = runs.map(|run| {
        let calls = run["syscalls"].as_object().unwrap().values();
        let has_it = calls.clone().any(|calls| calls.get(name).is_some());
        (run["labels"]["test"].as_str().unwrap().to_owned(), has_it)
    });
    tests.collect()
}

fn expected(tests: &[(&str, bool)]) -> BTreeMap<String, bool> {
    let tests = tests.iter();
    tests
        .map(|(test, has_it)| ((*test).to_owned(), *has_it))
        .collect()
}

#[apply(test)]
#[needs(python_package("pytest"))]
fn each_test_of_pytest_is_a_run_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let tests = "import os, pytest\n\n\
                 def test_links(tmp_path):\n    os.symlink('x', tmp_path / 'y')\n\n\
                 @pytest.mark.parametrize('number', [1, 2])\n\
                 def test_computes(number):\n    assert number == 1, 'more'\n\n\
                 def test_dies():\n    os.abort()\n\n\
                 @pytest.mark.skip(reason='no')\n\
                 def test_skipped():\n    pass\n";
    fs::write(folder.path().join("test_it.py"), tests).unwrap();
    // As pip installs it.
    let plugin = repository().join("deploy/pytest-sc-record");
    let installed = folder.path().join("installed");
    let info = installed.join("pytest_sc_record-0.1.0.dist-info");
    fs::create_dir_all(&info).unwrap();
    let project = fs::read_to_string(plugin.join("pyproject.toml")).unwrap();
    let entry = project
        .split("[project.entry-points.pytest11]")
        .nth(1)
        .unwrap();
    let entry = entry.split("\n[").next().unwrap().replace('"', "");
    fs::write(info.join("entry_points.txt"), format!("[pytest11]{entry}")).unwrap();
    fs::write(
        info.join("METADATA"),
        "Metadata-Version: 2.1\nName: pytest-sc-record\nVersion: 0.1.0\n",
    )
    .unwrap();
    let module = "pytest_sc_record.py";
    fs::copy(plugin.join(module), installed.join(module)).unwrap();
    let ran = |options: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-m", "pytest", "-p", "no:cacheprovider"]);
        command
            .args(options)
            .current_dir(folder.path())
            .env("PATH", path());
        command.env(
            "PYTHONPATH",
            format!("{PYTHON_PACKAGES}:{}", installed.display()),
        );
        let output = command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // As without the recorder, where the test that dies is left out: it would end all.
    let recorded = ran(&["--sc-record", "app"]);
    assert!(
        recorded.contains("2 failed, 2 passed, 1 skipped"),
        "{recorded}"
    );
    assert!(recorded.contains("AssertionError: more"), "{recorded}");
    assert!(
        recorded.contains("its process ended with status 134"),
        "{recorded}"
    );
    let file = folder.path().join("recordings/app.json");
    let all = [
        ("test_it.py::test_links", true),
        ("test_it.py::test_computes[1]", false),
        ("test_it.py::test_computes[2]", false),
        ("test_it.py::test_dies", false),
        ("test_it.py::test_skipped", false),
    ];
    assert_eq!(tests_with(&file, "symlink"), expected(&all));
    let before = fs::read(&file).unwrap();
    let plain = ran(&["--deselect", "test_it.py::test_dies"]);
    assert!(
        plain.contains("1 failed, 2 passed, 1 skipped, 1 deselected"),
        "{plain}"
    );
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[apply(test)]
#[needs(nextest())]
fn each_test_of_nextest_is_a_run_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let manifest =
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    let tests = [
        "links() { std::os::unix::fs::symlink(\"x\", std::env::var(\"LINK\").unwrap()).unwrap(); }",
        "computes() { assert_eq!(1 + 1, 2); }",
        "fails() { panic!(); }",
    ];
    let tests = tests.map(|test| format!("#[{}] fn {test}\n", "test"));
    fs::write(folder.path().join("src/lib.rs"), tests.concat()).unwrap();
    let runner = format!(
        "CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER",
        std::env::consts::ARCH.to_uppercase()
    );
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["nextest", "run", "--no-fail-fast"])
        .current_dir(folder.path());
    command.env("PATH", format!("{PYTHON_PACKAGES}/bin:{}", path()));
    command.env(runner, repository().join("deploy/nextest-runner.sh"));
    command.env("CARGO_TARGET_DIR", folder.path().join("target"));
    let output = command
        .env("LINK", folder.path().join("link"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("3 tests run: 2 passed, 1 failed"),
        "{stderr}"
    );
    let file = folder.path().join("recordings/tests.json");
    let all = [
        ("app links", true),
        ("app computes", false),
        ("app fails", false),
    ];
    assert_eq!(tests_with(&file, "symlink"), expected(&all));
}
