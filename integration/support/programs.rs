//! Builds the programs of `integration/workloads`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use sc_record::syscall::{Arch, Syscall};

/// The path of the workload with this name. Builds it unless it is newer than its source.
pub(crate) fn workload(name: &str) -> PathBuf {
    static BUILDS: Mutex<BTreeMap<String, Arc<OnceLock<PathBuf>>>> = Mutex::new(BTreeMap::new());
    let build = Arc::clone(
        BUILDS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .entry(name.to_owned())
            .or_default(),
    );
    build.get_or_init(|| built(name)).clone()
}

/// Arguments of the workload `calls`, which takes numbers: each may begin with the name of a call.
pub(crate) fn calls(arguments: &[&str]) -> Vec<String> {
    let numbered = |&argument: &&str| {
        let end = argument.find(',').unwrap_or(argument.len());
        let (name, rest) = argument.split_at(end);
        match Syscall::from_name(Arch::NATIVE, name) {
            Some(call) => format!("{}{rest}", call.nr),
            None => argument.to_owned(),
        }
    };
    arguments.iter().map(numbered).collect()
}

/// The directory of the workloads' sources.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/workloads")
}

fn source(name: &str) -> PathBuf {
    sources().join(name).with_extension("c")
}

fn program(name: &str) -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.with_file_name("workloads").join(name)
}

/// Whether the program is newer than its sources.
pub(crate) fn is_built(name: &str) -> bool {
    let (source, program) = (source(name), program(name));
    let sources_changed = modified(&source).max(modified(&sources().join("workload.h")));
    program.exists() && modified(&program) > sources_changed
}

/// The only architecture that a workload is for, if its source names one.
pub(crate) fn machine_of(name: &str) -> Option<String> {
    words(&source(name), "Machine:").map(|words| words.concat())
}

/// The program that compiles a workload.
pub(crate) fn compiler_of(name: &str) -> String {
    words(&source(name), "Compiler:").map_or("cc".to_owned(), |words| words.concat())
}

fn built(name: &str) -> PathBuf {
    let (source, program) = (source(name), program(name));
    if is_built(name) {
        return program;
    }
    let options = words(&source, "Build:").unwrap_or_else(|| panic!("{name}.c: no Build: line"));
    let with = compiler_of(name);
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    // Under a unique name first: other test processes may be building or running it.
    let new = program.with_file_name(format!(".{name}.{}", std::process::id()));
    let compiled = Command::new(&with)
        .args(["-O1", "-Wall", "-Wextra", "-Werror"])
        .arg("-o")
        .arg(&new)
        .arg(&source)
        .args(&options)
        .output()
        .expect("the tests need a C compiler: apt-get install gcc libc6-dev");
    assert!(
        compiled.status.success(),
        "{with} {} of {name}.c failed{}:\n{}",
        options.join(" "),
        if options.iter().any(|option| option == "-m32") {
            " (32-bit programs need: apt-get install gcc-multilib)"
        } else {
            ""
        },
        String::from_utf8_lossy(&compiled.stderr)
    );
    std::fs::rename(&new, &program).unwrap();
    program
}

/// The words of a line such as `Build: …` in the comment at the top.
fn words(source: &Path, name: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(source)
        .unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let name = format!(" * {name}");
    let words = text.lines().find_map(|line| line.strip_prefix(&name))?;
    Some(words.split_whitespace().map(str::to_owned).collect())
}

fn modified(path: &Path) -> SystemTime {
    let metadata = std::fs::metadata(path);
    metadata
        .and_then(|metadata| metadata.modified())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
