//! `sc-record container run`: records a container, and runs it again under its profile.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use sc_record::backend::{self, Backend, Ebpf, Scope, Target, remove_cgroups};
use sc_record::command::find_executable;
use sc_record::event::Exit;
use sc_record::format::{Format, render};
use sc_record::profile::{Action, Profile, Runtime, RuntimeCalls};
use sc_record::recording::{Name, Recording, Run};
use sc_record::review::check::{Answers, Evidence, Terms, check};
use sc_record::syscall::Arch;

use super::generate::baselines;
use super::record::keep::Keep;
use super::{exit_status, profile};
use crate::cli::{ContainerArgs, ContainerRunArgs, ContainerWhat, When};
use crate::ui::observation::Observation;
use crate::ui::summary::{Say, count};

pub(super) fn container(args: &ContainerArgs) -> anyhow::Result<u8> {
    match &args.what {
        ContainerWhat::Run(args) => run(args),
    }
}

/// A command line that starts containers.
struct EngineCommand {
    kind: Kind,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Docker's command line, which others have too.
    Docker,
    Podman,
    /// containerd's own.
    Ctr,
}

/// The engines, by their command.
const ENGINES: [(&str, Kind); 4] = [
    ("docker", Kind::Docker),
    ("podman", Kind::Podman),
    ("nerdctl", Kind::Docker),
    ("ctr", Kind::Ctr),
];

impl EngineCommand {
    fn find(given: Option<&Path>) -> anyhow::Result<EngineCommand> {
        if let Some(given) = given {
            let name = given.file_name().unwrap_or_default();
            let known = ENGINES.iter().find(|(engine, _)| name == *engine);
            let (_, kind) = known.with_context(|| {
                format!(
                    "{} is not an engine that is known here: docker, podman, nerdctl, ctr",
                    given.display()
                )
            })?;
            let path = find_executable(given.as_os_str())?;
            return Ok(EngineCommand { kind: *kind, path });
        }
        let mut found = ENGINES.iter().filter_map(|(name, kind)| {
            let path = find_executable(OsStr::new(name)).ok()?;
            Some(EngineCommand { kind: *kind, path })
        });
        found
            .next()
            .context("there is no container engine in PATH: docker, podman, nerdctl, ctr")
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The arguments before those of the user: the profile, and a cgroup with this name.
    fn arguments(&self, profile: &Path, cgroup: &str) -> Vec<OsString> {
        let name = self.path.as_os_str();
        let mut arguments: Vec<OsString> = vec![name.to_owned(), "run".into()];
        if self.kind == Kind::Ctr {
            arguments.extend(["--seccomp".into(), "--seccomp-profile".into()]);
            arguments.push(profile.into());
            arguments.extend(["--cgroup".into(), format!("/{cgroup}").into()]);
            return arguments;
        }
        let mut seccomp = OsString::from("seccomp=");
        seccomp.push(profile);
        let parent = if self.has_systemd_cgroups() {
            format!("{cgroup}.slice")
        } else {
            format!("/{cgroup}")
        };
        arguments.extend(["--security-opt".into(), seccomp]);
        arguments.extend(["--cgroup-parent".into(), parent.into()]);
        arguments
    }

    /// Whether systemd makes the cgroups of containers. The name of a parent is then another one.
    fn has_systemd_cgroups(&self) -> bool {
        let format = match self.kind {
            Kind::Podman => "{{.Host.CgroupManager}}",
            Kind::Docker | Kind::Ctr => "{{.CgroupDriver}}",
        };
        self.info(format) == "systemd"
    }

    /// The runtime that it starts, if baselines of it are known.
    fn runtime(&self) -> Option<Runtime> {
        let name = match self.kind {
            Kind::Ctr => return Some(Runtime::Runc),
            Kind::Podman => self.info("{{.Host.OCIRuntime.Name}}"),
            Kind::Docker => self.info("{{.DefaultRuntime}}"),
        };
        name.parse().ok()
    }

    fn info(&self, format: &str) -> String {
        let mut info = Command::new(&self.path);
        info.args(["info", "--format", format])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let output = info.output().map(|output| output.stdout);
        String::from_utf8_lossy(output.unwrap_or_default().trim_ascii()).into_owned()
    }
}

/// The cgroup in which the containers of this process are started.
struct Cgroup(String);

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove_cgroups(&self.0);
    }
}

fn run(args: &ContainerRunArgs) -> anyhow::Result<u8> {
    let engine = EngineCommand::find(args.engine.as_deref())?;
    for argument in &args.arguments {
        let text = argument.to_string_lossy();
        anyhow::ensure!(
            !text.contains("seccomp=") && text != "--seccomp" && text != "--cgroup-parent",
            "{text}: sc-record gives this option itself"
        );
    }
    let mut keep = Keep::new(&args.keep, default_name(args)?)?;
    keep.prepare()?;

    let room = tempfile::Builder::new().prefix("sc-record-").tempdir()?;
    let file = room.path().join("profile.json");
    // systemd would take a dash for a hierarchy of slices.
    let cgroup = Cgroup(format!("screcord{}x", std::process::id()));
    let mut command = engine.arguments(&file, &cgroup.0);
    command.extend(args.arguments.iter().cloned());
    let target = Target::Command(backend::Command {
        starts: Some(Scope::Container(cgroup.0.clone())),
        ..backend::Command::new(engine.path.clone(), command)
    });
    let verbosity = args.keep.verbosity;
    let observation = Observation::prepare(&target, verbosity, When::Never)?;
    let backends: [Box<dyn Backend>; 1] = [Box::new(Ebpf {
        interest: profile::interest(args.keep.profile),
        ..Ebpf::default()
    })];
    let record = |profile: &Profile| -> anyhow::Result<Run> {
        fs::write(&file, render(Format::Oci, profile)?)
            .with_context(|| format!("can't write {}", file.display()))?;
        let mut run = observation.record(&backends, None, &mut |_| {})?;
        run.labels = args.keep.labels.to_map();
        run.labels.insert("engine".to_owned(), engine.name());
        Ok(run)
    };

    // A filter that allows everything: its notification shows when the runtime has loaded the profile.
    let arches = Profile::log_all([Arch::NATIVE]).listed().collect();
    let everything = Profile::new(Action::Allow).with_architectures(Some(arches));
    let first = record(&everything)?;
    anyhow::ensure!(
        !first.syscalls.is_empty(),
        "no program of the container was executed ({} ended with {})",
        engine.name(),
        ended(first.exit)
    );
    let expected = first.exit;
    let measured = measured(&engine, &first, args.exec);
    let mut keep_run = |run| -> anyhow::Result<Profile> {
        let added = keep.add(run, None)?;
        if let Some(measured) = &measured {
            let calls = measured.clone().with_recorded(&added.recording);
            // It lives as long as the program.
            keep.runtime(Box::leak(Box::new(calls)));
        }
        keep.report(&added, Say::Text)?;
        let mut as_oci = args.keep.profile;
        as_oci.format = Format::Oci;
        let document = profile::of_policy(&added.recording, as_oci, keep.policy())?;
        Ok(document.generated.profile)
    };
    let mut allowed = keep_run(first)?;
    for pass in 1..=args.passes {
        if !observation.again() {
            say!("sc-record: interrupted: the container was not run under its profile");
            observation.saved();
            return Ok(exit_status::TROUBLE);
        }
        if !verbosity.quiet {
            say!("sc-record: running it again under its profile");
        }
        let run = record(&allowed)?;
        let exit = run.exit;
        let lacks = lacks(&run, &allowed)?;
        if lacks.is_empty() {
            observation.saved();
            return Ok(compare(expected, exit, verbosity.quiet));
        }
        let names: Vec<_> = lacks.iter().map(String::as_str).collect();
        say!(
            "sc-record: the profile lacked {}: {}",
            count(names.len() as u64, "call"),
            names.join(", ")
        );
        allowed = keep_run(run)?;
        if pass == args.passes {
            say!(
                "sc-record: the profile has them now, but the container was not run under it: that was the last of {}",
                count(u64::from(args.passes), "pass")
            );
        }
    }
    observation.saved();
    Ok(exit_status::FINDINGS)
}

/// The image's name, if it is the first argument.
fn default_name(args: &ContainerRunArgs) -> anyhow::Result<Name> {
    let image = args.arguments.first().and_then(|first| first.to_str());
    match image.filter(|image| !image.starts_with('-')) {
        Some(image) => {
            let image = image.split('@').next().unwrap_or_default();
            let last = image.rsplit('/').next().unwrap_or_default();
            let name = last.split(':').next().unwrap_or_default();
            Ok(Name::of_command(Path::new(name)))
        }
        None => match &args.keep.name {
            Some(name) => Ok(name.clone()),
            None => anyhow::bail!(
                "options come before the image: give the recording's name with --name"
            ),
        },
    }
}

/// What the runtime of an engine was measured to call. One run shows a part of it, since the threads of runc make varying
/// calls.
fn measured(engine: &EngineCommand, run: &Run, exec: bool) -> Option<RuntimeCalls> {
    let runtime = engine.runtime()?;
    let known = baselines(Path::new(super::baseline::DIRECTORY));
    // With no_new_privs, runtimes give up their privileges before they load the filter.
    let no_new_privs = run
        .runtime
        .keys()
        .all(|call| call.name().as_deref() != Some("capset"));
    Some(RuntimeCalls::of(&known, runtime, no_new_privs, exec))
}

/// The calls of a run that a profile denies, with the arguments that were recorded.
fn lacks(run: &Run, profile: &Profile) -> anyhow::Result<BTreeSet<String>> {
    let answers = Answers::of(profile).context("the profile can't be compiled")?;
    let one = Recording::of(Name::of_command(Path::new("container")), run.clone());
    let evidence = Evidence::of_recording(&one);
    let denied = check(profile, &answers, &evidence, &Terms::default()).denied;
    let denied = denied.iter().map(|finding| finding.syscall.to_string());
    let allowed = profile.allowed();
    let of_runtime = run.runtime.keys().filter(|call| !allowed.contains(call));
    Ok(denied.chain(of_runtime.map(ToString::to_string)).collect())
}

fn compare(expected: Option<Exit>, exit: Option<Exit>, quiet: bool) -> u8 {
    if expected != exit {
        say!(
            "sc-record: under its profile the container ended with {}, and with {} without, although nothing was denied",
            ended(exit),
            ended(expected)
        );
        return exit_status::FINDINGS;
    }
    if !quiet {
        say!(
            "sc-record: the container runs under its profile: nothing was denied, and it ended with {} again",
            ended(exit)
        );
    }
    exit_status::CLEAN
}

fn ended(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(code)) => format!("status {code}"),
        Some(Exit::Signal(signal)) => format!("signal {signal}"),
        None => "an interrupt".to_owned(),
    }
}
