//! `sc-record [OPTIONS] [--] CMD [ARG]...`: the default verb.

pub(super) mod keep;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use sc_record::backend::{Backend, Ebpf, Follow, Interest, Over, Scope, Target, is_container_init};
use sc_record::engines::Selected;
use sc_record::escape;
use sc_record::event::Task;
use sc_record::profile::Profile;
use sc_record::recording::{Journal, Name, Run};
use sc_record::syscall::{Arch, Syscall};

use self::keep::Keep;
use super::selected::selected;
use super::{exit_status, profile};
use crate::cli::{self, ArgRules, ContainersArg, RecordArgs};
use crate::ui::observation::{self, Observation};
use crate::ui::ready::Ready;
use crate::ui::summary::Say;

/// Records, and gives the exit status of the workload.
pub(super) fn record(args: &RecordArgs) -> anyhow::Result<u8> {
    let ready = Ready::new(args.follow.ready.ready_fd)?;
    let follows =
        args.observe.is_log_mode() && (args.command.is_empty() || args.follow.container.is_some());
    let selected = selected(args.follow.container.as_ref(), args.keep.verbosity.quiet)?;
    let target = target(args, follows, selected.as_ref())?;
    anyhow::ensure!(
        args.follow.duration.is_none() || matches!(target, Target::Scope(_)),
        "--duration needs --log-mode, --container, --cgroup, --each or --all"
    );
    if args.follow.all || args.follow.each || selected.is_some() {
        return record_all(args, &target, follows, ready, selected.as_ref());
    }
    let mut keep = Keep::new(&args.keep, default_name(args, &target))?;
    let mut known = BTreeSet::new();
    if let Some(path) = &args.assume {
        anyhow::ensure!(args.observe.is_log_mode(), "--assume needs --log-mode");
        let assumed = profile::assumed(path)?;
        known = assumed.allowed();
        keep.assume(assumed);
    }
    keep.prepare()?;
    if let (Target::Command(command), None) = (&target, target.scope())
        && starts_containers(&command.argv)
    {
        let client = Path::new(&command.argv[0]).file_name().unwrap_or_default();
        let client = client.display();
        say!(
            "sc-record: warning: {client} is recorded, not the container, which is not its child: sc-record container run --engine {client} -- IMAGE CMD"
        );
    }
    let selects = target.scope() != Some(&Scope::Everything)
        || args.observe.log.read.source.may_be_elsewhere()
        || !(args.follow.comms.is_empty() && args.follow.exes.is_empty());
    if !selects {
        say!(
            "sc-record: warning: the logged calls of every program on this machine go into one recording: --container, --pid, --exe and --comm select"
        );
    }
    let backends = backends(args, &target, follows, known.clone())?;

    let verbosity = args.keep.verbosity;
    let observation = Observation::prepare(&target, verbosity, args.observe.progress)?;
    let observation = observation.announcing(ready);
    let journal = keep.journal()?;
    let mut run = observation.record(&backends, journal.as_ref(), &mut |_| {})?;
    run.labels = args.keep.labels.to_map();
    if let (true, Target::Command(command)) = (args.keep_argv, &target) {
        run.argv = Some(command.argv.clone());
    }
    let status = status(&target, &observation);
    match args.assume.as_deref() {
        None => save(&keep, &observation, run, journal, args.json)?,
        // Without calls there is nothing to keep.
        Some(assumed) if run.syscalls.is_empty() => lacks_nothing(assumed, &run),
        Some(_) => {
            run.not_observed.extend(known);
            save(&keep, &observation, run, journal, args.json)?;
        }
    }
    Ok(status)
}

fn save(
    keep: &Keep,
    observation: &Observation<'_>,
    run: Run,
    journal: Option<Journal>,
    json: bool,
) -> anyhow::Result<()> {
    let added = keep.add(run, journal)?;
    observation.saved();
    keep.report(&added, Say::beside_workload(json))
}

fn lacks_nothing(assumed: &Path, run: &Run) {
    say!(
        "sc-record: {} allows every call that was made",
        assumed.display()
    );
    for why in &run.incomplete_because {
        say!("sc-record: INCOMPLETE, calls may be missing: {why}");
    }
}

/// The status of the command, however many workloads were recorded. That of an attached process is unknown. An interrupted
/// recording has the interrupt's.
fn status(target: &Target, observation: &Observation<'_>) -> u8 {
    let Target::Command(command) = target else {
        return exit_status::CLEAN;
    };
    let status = match command.job.exit() {
        Some(exit) => exit.shell_status(),
        None => 128 + observation.interrupted_by().unwrap_or(libc::SIGINT),
    };
    // A status is a byte, and so are 128 and any signal.
    u8::try_from(status).unwrap_or(exit_status::TOOL_FAILED)
}

fn target(args: &RecordArgs, follows: bool, selected: Option<&Selected>) -> anyhow::Result<Target> {
    let has_command = !args.command.is_empty();
    let follow = &args.follow;
    let containers = match (&follow.container, selected) {
        (Some(ContainersArg::Id(id)), _) => {
            anyhow::ensure!(!follow.each, "--each needs --container KEY=VALUE");
            Some(Scope::Container(id.clone()))
        }
        (_, Some(selected)) if !follow.each => Some(Scope::Containers(selected.over(!has_command))),
        _ if follow.each => Some(Scope::Containers(Over(Arc::new(|| false)))),
        _ => None,
    };
    if has_command {
        let mut target = observation::command(&args.observe, &args.command)?;
        if let Target::Command(command) = &mut target {
            command.starts = containers;
        }
        return Ok(target);
    }
    match (args.pid, containers, &follow.cgroup) {
        (Some(pid), ..) => process(args, Task(pid)),
        (_, Some(containers), _) => Ok(Target::Scope(containers)),
        (_, _, Some(path)) => Ok(Target::Scope(Scope::Cgroup(path.clone()))),
        _ if follows || follow.all => Ok(Target::Scope(Scope::Everything)),
        _ => anyhow::bail!("there is neither a command nor a process"),
    }
}

/// Whether a command is a client that has a container engine start a program.
fn starts_containers(argv: &[OsString]) -> bool {
    let (Some(client), arguments) = (argv.first(), argv.get(1..).unwrap_or_default()) else {
        return false;
    };
    let client = Path::new(client).file_name().unwrap_or_default();
    let starts = |argument: &OsString| {
        ["run", "start", "exec", "create", "compose"]
            .iter()
            .any(|verb| argument == verb)
    };
    ["docker", "podman", "nerdctl", "ctr"]
        .iter()
        .any(|engine| client == *engine)
        && arguments.iter().any(starts)
}

/// A process, or the container whose first process it is.
fn process(args: &RecordArgs, process: Task) -> anyhow::Result<Target> {
    let alone = Target::process(process)?;
    let counts = matches!(
        args.observe.backend,
        cli::BackendArg::Auto | cli::BackendArg::Ebpf
    );
    if args.observe.is_log_mode() || !counts || !is_container_init(process) {
        return Ok(alone);
    }
    let container = Target::Scope(Scope::ContainerOf {
        process,
        has_begun: true,
    });
    match Ebpf::default().probe(&container) {
        Ok(_) => Ok(container),
        Err(_) if args.observe.backend == cli::BackendArg::Ebpf => Ok(container),
        Err(why) => {
            say!(
                "sc-record: warning: process {process} is the first of a container, and processes that enter the container later are not recorded: {}",
                why.chain()
            );
            Ok(alone)
        }
    }
}

/// Records many workloads: one recording per executable, cgroup or container.
fn record_all(
    args: &RecordArgs,
    target: &Target,
    follows: bool,
    ready: Ready,
    selected: Option<&Selected>,
) -> anyhow::Result<u8> {
    anyhow::ensure!(
        args.assume.is_none(),
        "--assume needs the id of one container"
    );
    let backends = backends(args, target, follows, BTreeSet::new())?;
    let verbosity = args.keep.verbosity;
    let observation = Observation::prepare(target, verbosity, args.observe.progress)?;
    let observation = observation.announcing(ready);
    let mut runs = Vec::new();
    observation.record_each(&backends, &mut |run| runs.push(run))?;
    let mut failed = false;
    let names = match selected.map(Selected::containers) {
        Some(Ok(names)) => {
            let of = |run: &Run| run.labels.get("container").cloned().unwrap_or_default();
            runs.retain(|run| names.contains_key(&of(run)));
            if runs.is_empty() {
                anyhow::bail!(nothing_selected(&names));
            }
            names
        }
        Some(Err(error)) => {
            failed = true;
            let error = anyhow::Error::new(error);
            say!("sc-record: error: every container's recording is kept, by its id: {error:#}");
            BTreeMap::new()
        }
        None => BTreeMap::new(),
    };
    runs.sort_by(|a, b| a.program.cmp(&b.program));
    for mut run in runs {
        let container = run.labels.get("container").cloned();
        run.labels.extend(args.keep.labels.to_map());
        let cgroup = run.labels.get("cgroup").cloned();
        let name = match (&container, &cgroup) {
            (Some(container), _) => {
                let name = names.get(container);
                match &args.follow.container {
                    Some(ContainersArg::Selected(selector))
                        if name.is_some() && !args.follow.each =>
                    {
                        Name::of_command(Path::new(selector.value()))
                    }
                    _ => Name::of_command(Path::new(name.unwrap_or(container))),
                }
            }
            (_, Some(cgroup)) => name_of_cgroup(cgroup),
            _ => Name::of_command(&run.program),
        };
        if !verbosity.quiet {
            let program = escape::path(&run.program);
            match (container, cgroup) {
                (Some(container), _) => say!("sc-record: container {container} ({program}):"),
                (_, Some(cgroup)) => say!("sc-record: cgroup {}:", escape::Line(&cgroup)),
                _ => say!("sc-record: {program}:"),
            }
        }
        if let Err(error) = keep::one_of_many(&args.keep, name, run, None) {
            failed = true;
            say!("sc-record: error: {error:#}");
        }
    }
    observation.saved();
    Ok(if failed {
        exit_status::TOOL_FAILED
    } else {
        status(target, &observation)
    })
}

fn nothing_selected(names: &BTreeMap<String, String>) -> String {
    if names.is_empty() {
        return "no such container has run".to_owned();
    }
    let names: Vec<_> = names.values().map(String::as_str).collect();
    format!("no call of {} was recorded", names.join(", "))
}

/// The whole path, as systemd escapes it: the last component may be that of others, too.
fn name_of_cgroup(path: &str) -> Name {
    let name = match path.trim_matches('/') {
        "" => "root".to_owned(),
        path => path.replace('/', "-"),
    };
    (name.parse()).unwrap_or_else(|_| Name::of_command(Path::new(&name)))
}

fn backends(
    args: &RecordArgs,
    target: &Target,
    follows: bool,
    known: BTreeSet<Syscall>,
) -> anyhow::Result<Vec<Box<dyn Backend>>> {
    let ebpf = Ebpf {
        duration: args.follow.duration,
        each: args.follow.per.into(),
        ..Ebpf::default()
    };
    if args.keep.profile.args != ArgRules::Off {
        anyhow::ensure!(
            !args.observe.is_log_mode(),
            "log mode can't record arguments: the kernel's records have none; use --backend ptrace"
        );
        let interest = Interest::in_arguments(args.all_args);
        let mut all = observation::backends(&args.observe, target, &ebpf, known, Some(&interest));
        all.retain(|backend| backend.name() != "log");
        return Ok(all);
    }
    if follows {
        return Ok(vec![Box::new(Follow {
            reading: observation::reading(&args.observe.log.read),
            comms: args.follow.comms.clone(),
            exes: args.follow.exes.clone(),
            logs_others: !known.is_empty(),
            unlogged: &known | &Profile::never_logged([Arch::NATIVE]),
            duration: args.follow.duration,
            idle: args.follow.idle,
            records: None,
        })]);
    }
    let all = observation::backends(&args.observe, target, &ebpf, known, None);
    Ok(all)
}

/// The default name of the recording: that of the target.
fn default_name(args: &RecordArgs, target: &Target) -> Name {
    let follow = &args.follow;
    let program = target.program();
    let name = (follow.exes.first().or(follow.comms.first()).map(Path::new))
        .or_else(|| Some(program.as_path()).filter(|program| !program.as_os_str().is_empty()));
    match (name, target) {
        (Some(name), _) => Name::of_command(name),
        // As long as engines show it.
        (None, target) if let Some(Scope::Container(id)) = target.scope() => {
            Name::of_command(Path::new(&id.chars().take(12).collect::<String>()))
        }
        (None, Target::Scope(Scope::ContainerOf { process, .. })) => {
            Name::of_command(&Target::Process(*process).program())
        }
        (None, Target::Scope(Scope::Cgroup(path))) => Name::of_command(path),
        (None, _) => Name::of_command(Path::new("log")),
    }
}
