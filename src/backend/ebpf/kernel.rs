//! The programs in the kernel, and what they counted.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData, RingBuf};
use aya::programs::{BtfTracePoint, Iter, Program, ProgramError};
use aya::{Ebpf, EbpfLoader};

use super::cgroups::{CgroupKey, NamePart};
use super::counts::{Counted, Counts};
use super::kernel_types;
use super::loading::{no_btf, of_loading, of_map, of_program, take};
use super::watched::watched;
use crate::backend::proc;
use crate::backend::{Interest, Unavailable};
use crate::event::Task;
use crate::sys::allocator::map_large_blocks;

/// The programs as clang made them of `record.bpf.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/record.bpf.o"));

/// Which tasks the recording begins with.
#[derive(Clone, Debug)]
pub(super) enum Begin {
    /// A child of the recorder that waits to execute the command: until then only execve(2) counts.
    Waiting(Task),
    /// A process that runs, with its descendants.
    Running(Task),
    /// Those of a scope, and those that enter it later.
    Inside(Inside),
}

/// A scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Inside {
    /// With their names.
    pub(super) cgroups: Vec<(CgroupKey, OsString)>,
    /// Cgroups that are made later are in scope if their names contain this.
    pub(super) named: Option<NamePart>,
    /// The inode number.
    pub(super) pid_namespace: Option<u32>,
    /// The container's program is not executed yet: who enters before that is a container runtime.
    pub(super) enters: bool,
    /// Tasks that are moved out of the cgroups are no longer in scope.
    pub(super) leaves: bool,
    /// The calls of each cgroup of version 2 are counted by themselves.
    pub(super) by_cgroup: bool,
}

impl Inside {
    /// The calls of each cgroup that is in scope by its name are counted by themselves.
    pub(super) fn by_container(&self) -> bool {
        matches!(self.named, Some(NamePart::Id))
    }

    /// Takes the cgroups into the scope. Returns the names of containers by their numbers.
    fn begin(&self, cgroups: &mut Map) -> Result<HashMap<u64, Option<Arc<Path>>>, Unavailable> {
        let mut in_scope: BpfHashMap<_, CgroupKey, u32> =
            BpfHashMap::try_from(cgroups).map_err(of_map)?;
        let mut containers = HashMap::new();
        for ((cgroup, name), number) in self.cgroups.iter().zip(1..=RUNNING) {
            in_scope.insert(cgroup, number, 0).map_err(of_map)?;
            if self.by_container() {
                containers.insert(u64::from(number), Some(Path::new(name).into()));
            }
        }
        Ok(containers)
    }
}

/// The maximum length of the text that is searched in names of cgroups: the length of an id.
const MAX_NAME: usize = 64;

/// For each byte, its places in what names contain, as bits; and the bit of the last one.
fn places(named: Option<&NamePart>) -> ([u64; 256], u64) {
    let mut places = [0; 256];
    let mut last = 0;
    match named {
        None => {}
        Some(NamePart::Text(text)) => {
            for (place, byte) in text.bytes().take(MAX_NAME).enumerate() {
                last = 1 << place;
                places[usize::from(byte)] |= last;
            }
        }
        Some(NamePart::Id) => {
            last = 1 << (MAX_NAME - 1);
            for digit in *b"0123456789abcdef" {
                places[usize::from(digit)] = u64::MAX;
            }
        }
    }
    (places, last)
}

/// The programs, loaded and attached. They are gone when this is dropped, or the process ends.
pub(super) struct Kernel {
    ebpf: Ebpf,
    counts: Counts,
    totals: Array<MapData, Totals>,
    ended: RingBuf<MapData>,
    /// Whether programs that entered the scope are recorded unless they are container runtimes. They are known at the end.
    takes_entering: bool,
}

/// How many containers that run already have numbers, as in `record/shared.h`.
const RUNNING: u32 = 1 << 14;

/// `struct totals`.
type Totals = [u64; 7];
const LIVING: usize = 0;
const LOST_CALLS: usize = 1;
const LOST_TASKS: usize = 2;
const OVERWRITTEN: usize = 3;
const LOST_IMAGES: usize = 4;

impl Kernel {
    /// Loads the programs, attaches them, and takes the tasks of the scope into it.
    pub(super) fn load(begin: &Begin, interest: &Interest) -> Result<Kernel, Unavailable> {
        let (root, inside) = match begin {
            Begin::Waiting(task) | Begin::Running(task) => {
                (task.0.cast_unsigned(), &Inside::default())
            }
            Begin::Inside(inside) => (0, inside),
        };
        let is_waiting = u8::from(matches!(begin, Begin::Waiting(_)));
        let (places, last_place) = places(inside.named.as_ref());
        let pid_namespace = inside.pid_namespace.unwrap_or_default();
        let own_mounts = namespace_of(proc::myself(), "mnt").unwrap_or_default();
        let marks_the_dead = proc::kernel_version().is_some_and(|version| version >= (5, 17));
        let marks_the_dead = u8::from(marks_the_dead);
        let enters = u8::from(inside.enters);
        let leaves = u8::from(inside.leaves);
        let by_cgroup = u8::from(inside.by_cgroup);
        let by_container = u8::from(inside.by_container());
        let recorder = std::process::id();
        let watched = watched(interest);
        map_large_blocks();
        let mut loader = EbpfLoader::new();
        // It has read all types of the kernel: that memory is free before others are read.
        loader.btf(None);
        let btf = kernel_types::read().ok_or_else(no_btf)?;
        if !interest.has_arguments() {
            loader.map_max_entries("values", 1);
        }
        // For a test of `spare`.
        #[cfg(debug_assertions)]
        if let Ok(entries) = std::env::var("SC_RECORD_TEST_COUNTS")
            && let Ok(entries) = entries.parse()
        {
            loader.map_max_entries("counts", entries);
        }
        let ebpf = loader
            .btf(Some(&btf))
            .allow_unsupported_maps()
            .override_global("watched", &watched[..], true)
            .override_global("root", &root, true)
            .override_global("root_is_waiting", &is_waiting, true)
            .override_global("recorder", &recorder, true)
            .override_global("pid_namespace", &pid_namespace, true)
            .override_global("own_mounts", &own_mounts, true)
            .override_global("marks_the_dead", &marks_the_dead, true)
            .override_global("begins_entering", &enters, true)
            .override_global("tasks_leave", &leaves, true)
            .override_global("by_cgroup", &by_cgroup, true)
            .override_global("by_container", &by_container, true)
            .override_global("places", &places[..], true)
            .override_global("last_place", &last_place, true)
            .load(OBJECT);
        let mut ebpf = ebpf.map_err(of_loading)?;

        // Programs need it until they are loaded.
        let mut in_scope = take(&mut ebpf, "cgroups")?;
        let containers = inside.begin(&mut in_scope)?;
        let vsyscall = [("vsyscall_entered", "page_fault_user")];
        // Whatever takes a task into the scope comes after what notices its end.
        let tracepoints = [
            ("exited", "sched_process_exit"),
            ("executed", "sched_process_exec"),
            ("call_left", "sys_exit"),
            ("call_entered", "sys_enter"),
            ("forked", "sched_process_fork"),
        ];
        let vsyscall = vsyscall.into_iter().filter(|_| has_vsyscall_page());
        let moves = [("removed", "cgroup_rmdir"), ("moved", "cgroup_attach_task")];
        let moves = moves.into_iter().filter(|_| root == 0);
        let made = (last_place != 0).then_some(("made", "cgroup_mkdir"));
        let cgroups = moves.chain(made);
        for (program, tracepoint) in tracepoints.into_iter().chain(vsyscall).chain(cgroups) {
            let program: &mut BtfTracePoint = named(&mut ebpf, program)?;
            program.load(tracepoint, &btf).map_err(of_program)?;
            program.attach().map_err(of_program)?;
        }
        let program: &mut BtfTracePoint = named(&mut ebpf, "submitted")?;
        match program.load("io_uring_submit_req", &btf) {
            // It had another name before Linux 6.3, and without CONFIG_IO_URING it is missing.
            Err(ProgramError::Btf(_)) => {}
            found => {
                found.map_err(of_program)?;
                program.attach().map_err(of_program)?;
            }
        }
        let program: &mut Iter = named(&mut ebpf, "begin")?;
        program.load("task", &btf).map_err(of_program)?;
        // Twice: the first pass may miss a task whose parent was not in scope yet when it made it.
        for _ in 0..2 {
            let link = program.attach().map_err(of_program)?;
            let link = program.take_link(link).map_err(of_program)?;
            let mut file = link.into_file().map_err(Unavailable::failed)?;
            (file.read_to_end(&mut Vec::new())).map_err(Unavailable::failed)?;
        }

        Ok(Kernel {
            counts: Counts::new(&mut ebpf, containers)?,
            totals: Array::try_from(take(&mut ebpf, ".bss")?).map_err(of_map)?,
            ended: RingBuf::try_from(take(&mut ebpf, "ended")?).map_err(of_map)?,
            takes_entering: !inside.enters,
            ebpf,
        })
    }

    /// Delivers what is left: the calls of programs that entered the scope, and did not turn out to be container runtimes.
    pub(super) fn read_last(&mut self, counted: Counted<'_>) -> Result<(), Unavailable> {
        self.counts.read(self.takes_entering, counted)
    }

    /// Delivers what was counted since the last time.
    pub(super) fn read(&mut self, counted: Counted<'_>) -> Result<(), Unavailable> {
        self.counts.read(false, counted)
    }

    /// How many tasks of the scope have not exited.
    pub(super) fn living(&self) -> Result<u64, Unavailable> {
        Ok(self.totals()?[LIVING])
    }

    /// Takes the message that nobody is left.
    pub(super) fn heard(&mut self) {
        while self.ended.next().is_some() {}
    }

    /// What may be missing, each as a sentence for the user.
    pub(super) fn losses(&self) -> Result<Vec<String>, Unavailable> {
        let totals = self.totals()?;
        let counted = [
            (
                Some(totals[LOST_CALLS]),
                "the kernel had no memory to count calls",
            ),
            (
                Some(totals[LOST_TASKS]),
                "the kernel had no memory to follow tasks",
            ),
            (
                Some(totals[OVERWRITTEN]),
                "a tracer of the workload's skipped calls that a seccomp filter passed to it",
            ),
            (
                Some(totals[LOST_IMAGES]),
                "the kernel had no memory for the paths of executables",
            ),
            (
                self.missed(),
                "the kernel did not run the counting program for calls",
            ),
        ];
        Ok(counted
            .into_iter()
            .filter_map(|(count, what)| match count {
                Some(0) => None,
                Some(count) => Some(format!("{what} ({count})")),
                None => Some(format!("{what}, or does not say so (recursion_misses)")),
            })
            .collect())
    }

    fn totals(&self) -> Result<Totals, Unavailable> {
        self.totals.get(&0, 0).map_err(of_map)
    }

    /// How often the kernel skipped a program because another run of it had not ended on the same processor
    /// (`recursion_misses` in `/proc/self/fdinfo`, Linux 5.12); `None` if it can't be read.
    fn missed(&self) -> Option<u64> {
        let of_program = |program: &Program| {
            let Ok(fd) = program.fd() else {
                // Not loaded, as not needed here.
                return Some(0);
            };
            let fd = fd.as_fd().as_raw_fd();
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("recursion_misses:"))?;
            line.trim().parse::<u64>().ok()
        };
        self.ebpf
            .programs()
            .map(|(_, program)| of_program(program))
            .sum()
    }
}

/// Readable when the last task has exited.
impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

/// The inode number of a namespace of a process.
pub(super) fn namespace_of(process: Task, kind: &str) -> Option<u32> {
    let file = std::fs::metadata(format!("/proc/{process}/ns/{kind}")).ok()?;
    u32::try_from(file.ino()).ok()
}

/// Whether the vsyscall page is there (`vsyscall=` of the kernel's command line).
fn has_vsyscall_page() -> bool {
    std::fs::read("/proc/self/maps")
        .is_ok_and(|maps| memchr::memmem::find(&maps, b"[vsyscall]").is_some())
}

fn named<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, Unavailable>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name);
    let program = program.ok_or_else(|| Unavailable::Feature(format!("program {name}")))?;
    program.try_into().map_err(of_program)
}
