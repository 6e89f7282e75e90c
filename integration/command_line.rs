//! The command line itself: help, mistyped names, and the files that `make install` installs with the program.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::recorder::PROGRAM;
use crate::support::recordings::{repository, sc_record};

/// The words of a line after which `--help` prints the help of a verb.
const VERBS: &[&str] = &[
    "",
    "agent",
    "baseline",
    "check",
    "completions",
    "container",
    "container run",
    "convert",
    "diff",
    "explain",
    "generate",
    "hook",
    "import",
    "import audit",
    "import strace",
    "inspect",
    "lint",
    "log-profile",
    "merge",
    "minimize",
    "pull",
    "push",
    "reach",
    "report",
    "resolve",
    "run",
    "stats",
    "verify",
    "watch",
];

#[apply(test)]
fn every_verb_has_its_help() {
    for verb in VERBS {
        let output = Command::new(PROGRAM)
            .args(verb.split_whitespace())
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb}");
        let name = ["help", &verb.replace(' ', "_")].join("_");
        insta::assert_snapshot!(name, String::from_utf8(output.stdout).unwrap());
    }
}

#[apply(test)]
fn every_verb_has_a_manual_page_with_all_its_options() {
    let folder = TempDir::new().unwrap();
    let output = sc_record(
        &repository(),
        &format!("manpages {}", folder.path().display()),
    );
    assert!(output.status.success(), "{output:?}");
    for verb in VERBS {
        let name = format!("sc-record {verb}").trim_end().replace(' ', "-");
        let page = fs::read_to_string(folder.path().join(format!("{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        let page = page.replace("\\-", "-");
        let mut help = Command::new(PROGRAM);
        let help = help.args(verb.split_whitespace()).arg("--help").output();
        let help = String::from_utf8(help.unwrap().stdout).unwrap();
        let options = help
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with('-'));
        let options = options.filter_map(|line| {
            let mut words = line.split([' ', ',', '=', '[']);
            words.find(|word| word.starts_with("--"))
        });
        for option in options {
            assert!(page.contains(option), "{name}: {option}");
        }
    }
}

/// Its stderr and its status.
fn refusal(line: &str) -> (String, Option<i32>) {
    let output = sc_record(&repository(), line);
    let said = String::from_utf8(output.stderr).unwrap();
    (said, output.status.code())
}

#[apply(test)]
fn help_is_a_verb() {
    for verb in ["", "check", "import strace"] {
        let asked = sc_record(&repository(), &format!("help {verb}"));
        let given = sc_record(&repository(), &format!("{verb} --help"));
        assert_eq!(
            String::from_utf8(asked.stdout),
            String::from_utf8(given.stdout)
        );
        assert_eq!(asked.status.code(), Some(0), "{verb}");
    }
}

#[apply(test)]
fn a_mistyped_name_is_answered_with_the_nearest() {
    let check = |line: &str, status: i32, hint: &str| {
        let (said, code) = refusal(line);
        assert!(said.contains(hint), "{line}: {said}");
        assert_eq!(code, Some(status), "{line}: {said}");
    };
    // Verbs: without one, a command is recorded.
    check(
        "genrate recordings/git.json",
        127,
        "did you mean the verb generate?",
    );
    check(
        "chekc profiles/git.json -- git",
        127,
        "did you mean the verb check?",
    );
    check("hlep", 127, "did you mean the verb help?");
    check("record -- git", 127, "there is no verb for recording");
    check("recrod -- git", 127, "there is no verb for recording");
    check("help genrate", 2, "'generate'");
    check("help record", 2, "there is no verb for recording");
    check("help recrod", 2, "there is no verb for recording");
    check("import adit x", 2, "'audit'");
    // Calls.
    check("resolve opnat", 1, "did you mean openat?");
    check("resolve x86:statt64", 1, "did you mean stat64?");
    check(
        "inspect profiles/git.json --call opnat",
        2,
        "did you mean openat?",
    );
    check("explain profiles/git.json opnat", 2, "did you mean openat?");
    check(
        "check profiles/git.json recordings/git.json --tolerate umaks",
        2,
        "did you mean umask?",
    );
    check(
        "verify profiles/git.json --inject muont",
        2,
        "did you mean mount?",
    );
    // Formats, rules and targets.
    check("convert profiles/git.json -f sytemd", 2, "'systemd'");
    check("lint profiles/git.json --target dokcer", 2, "'docker'");
    check(
        "lint profiles/git.json --allow mising-exit",
        2,
        "'missing-exit'",
    );
}

#[apply(test)]
fn a_word_unlike_any_verb_gets_the_hint_about_commands() {
    let (said, code) = refusal("sc-record-surely-no-such-program");
    assert!(said.contains("needs its path"), "{said}");
    assert_eq!(code, Some(127));
    // Under a verb, a command is no mistyped verb.
    let (said, _) = refusal("run profiles/git.json -- chekc");
    assert!(said.contains("needs its path"), "{said}");
}

/// Installs the program under test as `make install` does.
fn installed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let release = folder.path().join("target/release");
    fs::create_dir_all(&release).unwrap();
    std::os::unix::fs::symlink(PROGRAM, release.join("sc-record")).unwrap();
    let status = Command::new("make")
        // The program is already built.
        .args(["-s", "install", "CARGO=true"])
        .arg(format!("PREFIX={}/prefix", folder.path().display()))
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env_remove("DESTDIR")
        .env_remove("MAKEFLAGS")
        .current_dir(repository())
        .status()
        .unwrap();
    assert!(status.success());
    folder
}

#[apply(test)]
#[needs(program("make"), program("man"))]
fn every_verb_has_a_manual_page() {
    let folder = installed();
    let pages = folder.path().join("prefix/share/man/man1");
    let mut expected: BTreeSet<String> = VERBS
        .iter()
        .map(|verb| {
            format!("sc-record {verb}.1")
                .replace(" .", ".")
                .replace(' ', "-")
        })
        .collect();
    for page in fs::read_dir(pages).unwrap() {
        let page = page.unwrap();
        assert!(
            expected.remove(page.file_name().to_str().unwrap()),
            "{page:?}"
        );
        let man = Command::new("man")
            .args(["--warnings", "--pager=cat", "--local-file"])
            .arg(page.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&man.stderr), "", "{page:?}");
        let text = String::from_utf8(man.stdout).unwrap();
        assert!(
            text.contains("SYNOPSIS") && text.contains("--help"),
            "{text}"
        );
    }
    assert_eq!(expected, BTreeSet::new(), "pages that are missing");
}

/// Lines, and all completions that TAB offers at their ends.
const OFFERS: &[(&str, &str)] = &[
    ("sc-record ch", "check"),
    ("sc-record m", "merge minimize"),
    ("sc-record --until e", "exit"),
    ("sc-record check --al", "--allow-incomplete"),
    ("sc-record log-profile --a", "--arch --assume"),
    ("sc-record import a", "audit"),
    ("sc-record import audit --co", "--comm"),
    ("sc-record convert x -f s", "seccompiler spo systemd"),
    ("sc-record convert x --format s", "seccompiler spo systemd"),
    ("sc-record lint --target c", "containerd crun"),
    ("sc-record help exp", "explain"),
    // The words after -- belong to another command.
    ("sc-record -- sc-record check --al", "--allow-incomplete"),
    ("sc-record check x -- sc-record import a", "audit"),
];

/// Runs a shell that prints its completions for each line of stdin.
fn offers(folder: &Path, shell: &[&str]) {
    let prefix = folder.join("prefix");
    let scripts = repository().join("integration/completions");
    fs::copy(scripts.join("zshrc"), folder.join(".zshrc")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut child = Command::new("timeout")
        .arg("60")
        .args(shell)
        .current_dir(scripts)
        .env("HOME", folder)
        .env("ZDOTDIR", folder)
        .env("PREFIX", &prefix)
        .env("PATH", format!("{}/bin:{path}", prefix.display()))
        .env(
            "XDG_DATA_DIRS",
            format!("{}/share:/usr/local/share:/usr/share", prefix.display()),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for (line, _) in OFFERS {
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let sorted = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let offered: Vec<_> = printed.lines().map(sorted).collect();
    let expected: Vec<_> = OFFERS.iter().map(|(_, offers)| sorted(offers)).collect();
    assert_eq!(offered, expected, "{shell:?}: {printed}");
}

#[apply(test)]
#[needs(program("make"), program("bash"))]
fn bash_completes_verbs_options_and_commands() {
    let folder = installed();
    offers(folder.path(), &["bash", "--norc", "offers.bash"]);
}

#[apply(test)]
#[needs(program("make"), program("zsh"))]
fn zsh_completes_verbs_options_and_commands() {
    let folder = installed();
    offers(folder.path(), &["zsh", "-f", "offers.zsh"]);
}

#[apply(test)]
#[needs(program("make"), program("fish"))]
fn fish_completes_verbs_options_and_commands() {
    let folder = installed();
    let script = "while read -l line; echo (complete -C $line | string replace -r '\\t.*' ''); end";
    offers(folder.path(), &["fish", "-c", script]);
}

#[apply(test)]
fn options_that_conflict_are_refused() {
    let (said, _) = refusal("--pid -1");
    assert!(said.contains("-1 is not in 1.."), "{said}");
    let (said, code) = refusal(&"x".repeat(300));
    assert!(
        said.contains("File name too long") && !said.contains("chmod"),
        "{said}"
    );
    assert_eq!(code, Some(126));
    let (said, code) = refusal("--log-mode --pid 1 --container abc");
    assert!(said.contains("cannot be used with"), "{said}");
    assert_eq!(code, Some(125));
}
