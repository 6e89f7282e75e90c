//! Builds the programs of `integration/workloads`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

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

fn built(name: &str) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/workloads");
    let source = sources.join(name).with_extension("c");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("workloads");
    let program = target.join(name);
    let sources_changed = modified(&source).max(modified(&sources.join("workload.h")));
    if program.exists() && modified(&program) > sources_changed {
        return program;
    }
    let options = words(&source, "Build:").unwrap_or_else(|| panic!("{name}.c: no Build: line"));
    let with = words(&source, "Compiler:").map_or("cc".to_owned(), |words| words.concat());
    std::fs::create_dir_all(&target).unwrap();
    // Under a unique name first: other test processes may be building or running it.
    let new = target.join(format!(".{name}.{}", std::process::id()));
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
