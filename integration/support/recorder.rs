//! The recorder under test, used only by its command line and files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use sc_record::syscall::{Arch, Syscall};
use serde_json::Value;

use super::Calls;
use super::process::{Ended, Room};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sc-record");

/// The files of a recording.
pub(crate) struct Files {
    pub(crate) recording: PathBuf,
    pub(crate) profile: PathBuf,
}

impl Files {
    pub(crate) fn new(room: &Room) -> Files {
        let directory = room.directory();
        Files {
            recording: directory.join("recording.json"),
            profile: directory.join("profile.json"),
        }
    }

    /// `sc-record OPTIONS -r … -o … -- `, without a workload yet.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, options: &[S]) -> Command {
        let mut command = Command::new(PROGRAM);
        // A random one is one of those that `own_filter_forges` guesses in one of about 800 recordings.
        command.env("SC_RECORD_TEST_KEY", "23130");
        self.arguments(&mut command, options);
        command
    }

    /// Adds the same arguments to any command, which may start the recorder as another user.
    pub(crate) fn arguments<S: AsRef<OsStr>>(&self, command: &mut Command, options: &[S]) {
        command.args(options).args(["--progress", "never"]);
        command.arg("-r").arg(&self.recording);
        command.arg("-o").arg(&self.profile).arg("--");
    }

    /// The latest stored run.
    pub(crate) fn run(&self) -> Run {
        let text = std::fs::read_to_string(&self.recording)
            .unwrap_or_else(|error| panic!("{}: {error}", self.recording.display()));
        let file: Value = serde_json::from_str(&text).unwrap();
        Run(file["runs"].as_array().unwrap().last().unwrap().clone())
    }
}

/// A stored run.
pub(crate) struct Run(pub(crate) Value);

impl Run {
    pub(crate) fn calls(&self) -> Calls {
        let mut calls = Calls::new();
        for (arch, of_arch) in self.0["syscalls"].as_object().unwrap() {
            let arch: Arch = arch.parse().unwrap();
            for (name, tally) in of_arch.as_object().unwrap() {
                let syscall = Syscall::parse(arch, name).unwrap();
                calls.insert(syscall, tally["count"].as_u64().unwrap());
            }
        }
        calls
    }

    /// The names of the programs that made each call.
    pub(crate) fn callers(&self) -> BTreeMap<Syscall, Vec<String>> {
        let file_name = |path: &Value| {
            let path = path.as_str().unwrap();
            path.rsplit('/').next().unwrap().to_owned()
        };
        let arches = self.0["syscalls"].as_object().unwrap().iter();
        let calls = arches.flat_map(|(arch, of_arch)| {
            let arch: Arch = arch.parse().unwrap();
            let calls = of_arch.as_object().unwrap().iter();
            calls.map(move |(name, tally)| {
                let syscall = Syscall::parse(arch, name).unwrap();
                let programs = tally["executables"].as_array().unwrap();
                (syscall, programs.iter().map(file_name).collect())
            })
        });
        calls.collect()
    }

    /// Why it is incomplete; empty if it is complete.
    pub(crate) fn incomplete_because(&self) -> Vec<String> {
        let reasons = self.0["incomplete_because"].as_array().unwrap();
        let reasons: Vec<_> = reasons
            .iter()
            .map(|reason| reason.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            self.0["complete"].as_bool(),
            Some(reasons.is_empty()),
            "{}",
            self.0
        );
        reasons
    }
}

/// Records a command to its end.
pub(crate) fn record(room: &Room, options: &[&str], command: &[PathBuf]) -> (Ended, Files) {
    let files = Files::new(room);
    let ended = room.run(files.command(options).args(command));
    (ended, files)
}
