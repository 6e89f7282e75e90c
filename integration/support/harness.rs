//! The runner of these tests: libtest's command line and output, and tests that are ignored for a reason found at run time.
//!
//! libtest decides at compile time which tests are ignored. Here a test declares its needs:
//!
//! ```ignore
//! #[apply(test)]
//! #[needs(capability(SYS_ADMIN), program("nginx"))]
//! fn name() { … }
//! ```
//!
//! [`needs`](super::needs) defines the needs. The runner prints an unmet need beside the test and once more at the end.
//! Where CI runs as root on Debian, a test fails if its unmet need could be met.
//!
//! `SC_RECORD_TEST_LEFT_OUT` names a file with tests to ignore, for a machine where they can't be run: per line the beginning of a
//! name, a space, and the reason.

use std::collections::BTreeMap;
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::needs::{Met, Unmet};
use super::recordings::repository;

/// A test, registered by [`test`].
pub(crate) struct Test {
    /// The function's path, with the name of this binary.
    pub(crate) path: &'static str,
    pub(crate) needs: &'static [fn() -> Met],
    pub(crate) body: fn(),
}

inventory::collect!(Test);

/// Makes a function a test: `#[apply(test)]`.
macro_rules! test {
    ($(#[doc = $doc:expr])* $(#[needs($($need:expr),+ $(,)?)])? fn $name:ident() $body:block) => {
        $(#[doc = $doc])*
        fn $name() $body
        inventory::submit! {
            $crate::support::harness::Test {
                path: concat!(module_path!(), "::", stringify!($name)),
                needs: {
                    #[allow(unused_imports, reason = "a test may need nothing")]
                    use $crate::support::needs::*;
                    &[$($(|| $need),+)?]
                },
                body: $name,
            }
        }
    };
}

/// The ignored tests, and why.
static IGNORED: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());

/// Runs the tests that the command line selects.
pub(crate) fn run() -> ExitCode {
    let args = Arguments::from_args();
    let trials = inventory::iter::<Test>.into_iter().map(|test| {
        // A runner that lists the ignored tests, such as cargo-nextest, then runs each test in its own process.
        let ignored = (args.list || args.ignored) && !can_have_all() && test.unmet().is_some();
        let asked_for = args.ignored || args.include_ignored;
        Trial::ignorable_test(test.name(), move || test.run(asked_for)).with_ignored_flag(ignored)
    });
    let mut trials: Vec<Trial> = trials.collect();
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    let conclusion = libtest_mimic::run(&args, trials);
    let ignored = IGNORED.lock().unwrap_or_else(PoisonError::into_inner);
    if !ignored.is_empty() {
        eprintln!("Ignored, since this machine lacks what they need:");
    }
    for (test, reason) in &*ignored {
        eprintln!("    {test}: {reason}");
    }
    conclusion.exit_code()
}

/// The tests that this machine leaves out: the beginnings of their names, and why.
fn left_out() -> &'static [(String, String)] {
    static LEFT_OUT: OnceLock<Vec<(String, String)>> = OnceLock::new();
    LEFT_OUT.get_or_init(|| {
        let Some(file) = std::env::var_os("SC_RECORD_TEST_LEFT_OUT") else {
            return Vec::new();
        };
        let text = fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines
            .map(|line| {
                let (name, reason) = line.split_once(' ').unwrap();
                (name.to_owned(), reason.trim().to_owned())
            })
            .collect()
    })
}

/// Whether every need that can be met must be met on this machine.
fn can_have_all() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
        && nix::unistd::geteuid().is_root()
        && Path::new("/etc/debian_version").exists()
}

impl Test {
    fn name(&self) -> &'static str {
        self.path
            .split_once("::")
            .map_or(self.path, |(_, name)| name)
    }

    fn unmet(&self) -> Option<Unmet> {
        let name = self.name();
        let left_out = left_out().iter().find(|(start, _)| name.starts_with(start));
        if let Some((_, reason)) = left_out {
            return Some(Unmet::Impossible(reason.clone()));
        }
        self.needs.iter().find_map(|need| need().err())
    }

    /// Runs it in a thread with its name, which starts the message of a panic.
    fn run(&self, even_if_ignored: bool) -> Result<Completion, Failed> {
        match self.unmet() {
            Some(Unmet::Missing(what)) if can_have_all() => {
                return Err(format!("CI must not leave this test out, but there is {what}").into());
            }
            Some(Unmet::Missing(reason) | Unmet::Impossible(reason)) if !even_if_ignored => {
                let mut ignored = IGNORED.lock().unwrap_or_else(PoisonError::into_inner);
                ignored.insert(self.name(), reason.clone());
                return Ok(Completion::ignored_with(reason));
            }
            _ => {}
        }
        let thread = thread::Builder::new().name(self.name().to_owned());
        match thread.spawn(self.body)?.join() {
            Ok(()) => Ok(Completion::Completed),
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// libtest would run such a function; without libtest, the compiler silently drops it.
#[apply(test)]
fn no_test_is_left_to_libtest() {
    let attribute = concat!("#[", "test]");
    let mut folders = vec![repository().join("integration")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                assert!(!text.contains(attribute), "{}", path.display());
            }
        }
    }
}
