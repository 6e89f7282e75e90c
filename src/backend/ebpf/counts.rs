//! What the programs counted: each call is delivered once, and the kernel keeps nothing of containers and cgroups that are gone, and
//! little of executables that nobody executes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aya::maps::{
    HashMap as BpfHashMap, Map, MapData, MapError, PerCpuHashMap, PerCpuValues, Queue,
};
use aya::{Ebpf, Pod};
use nix::time::{ClockId, clock_gettime};

use super::loading::{of_map, take};
use super::watched::{ARCHES, ARGUMENTS, in_registers};
use crate::backend::Unavailable;
use crate::event::Event;
use crate::syscall::{Operation, Syscall};

/// `struct call`: the halves of the cgroup's id, the image, the ABI, the number; here, 1 in what is unused there says that it is of
/// the map `spare`.
type Call = [u32; 6];
/// `struct call_with_arguments`: a [`Call`], and the arguments, each in two halves.
type CallWithArguments = [u32; 6 + 2 * ARGUMENTS];
/// `struct count`: the calls, and the time of the first in nanoseconds since boot.
type Count = [u64; 2];
/// `struct image_key`.
type ImageKey = [u64; 3];
/// `struct written_path`: the key, the length, the tasks, the flags, the names.
type WrittenPath = [u8; NAMES + 4096 + 256];

/// Who made a call, as bits beside the ABI.
const RUNTIME: u32 = 2;
const ENTERING: u32 = 4;

/// `ABI_IO_URING`: an operation of `io_uring`, whose number is its opcode.
const IO_URING: u32 = 8;

/// How many calls and executables the kernel may hold before those of executables that nobody executes are removed: a quarter of
/// what it has room for, since more come until they are read again.
const MANY_CALLS: usize = 1 << 16;
const MANY_IMAGES: usize = 1 << 12;

/// Receives what was counted: the path of the cgroup or the name of the container, if they are counted by themselves and it is
/// known, and the calls.
pub(super) type Counted<'a> = &'a mut dyn FnMut(Option<&Arc<Path>>, Event);

/// The watched arguments of a call, each in two halves, the lower one first.
type Halves = [u32; 2 * ARGUMENTS];

/// A call, its watched arguments, and how often it was made.
struct Entry {
    call: Call,
    args: Option<Halves>,
    calls: u64,
    /// In nanoseconds since boot.
    first: Option<u64>,
}

pub(super) struct Counts {
    calls: PerCpuHashMap<MapData, Call, Count>,
    spare: PerCpuHashMap<MapData, Call, Count>,
    values: PerCpuHashMap<MapData, CallWithArguments, Count>,
    images: BpfHashMap<MapData, ImageKey, u32>,
    paths: BpfHashMap<MapData, u32, WrittenPath>,
    cgroup_paths: BpfHashMap<MapData, u64, WrittenPath>,
    runtimes: BpfHashMap<MapData, u32, u8>,
    gone: Queue<MapData, u64>,
    /// What is gone, and may have tasks that were moved elsewhere.
    leaving: Vec<u64>,
    /// How many calls the kernel held at the last time.
    in_kernel: usize,
    /// What was delivered.
    delivered: HashMap<(Call, Option<Halves>), u64>,
    /// Of what is gone: calls of programs that entered it, and did not turn out to be container runtimes so far.
    entered: Vec<Entry>,
    executables: HashMap<u32, Option<Arc<Path>>>,
    cgroups: HashMap<u64, Option<Arc<Path>>>,
}

impl Counts {
    /// `containers`: the names of those that run already, by their numbers.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        containers: HashMap<u64, Option<Arc<Path>>>,
    ) -> Result<Counts, Unavailable> {
        fn map<M: TryFrom<Map, Error = MapError>>(
            ebpf: &mut Ebpf,
            name: &str,
        ) -> Result<M, Unavailable> {
            M::try_from(take(ebpf, name)?).map_err(of_map)
        }
        Ok(Counts {
            calls: map(ebpf, "counts")?,
            spare: map(ebpf, "spare")?,
            values: map(ebpf, "values")?,
            images: map(ebpf, "images")?,
            paths: map(ebpf, "paths")?,
            cgroup_paths: map(ebpf, "cgroup_paths")?,
            runtimes: map(ebpf, "runtimes")?,
            gone: map(ebpf, "gone")?,
            leaving: Vec::new(),
            in_kernel: 0,
            delivered: HashMap::new(),
            entered: Vec::new(),
            executables: HashMap::new(),
            cgroups: containers,
        })
    }

    /// Delivers what was counted since the last time. `takes_entering`: also the calls of programs that entered the scope, and
    /// did not turn out to be container runtimes.
    pub(super) fn read(
        &mut self,
        takes_entering: bool,
        counted: Counted<'_>,
    ) -> Result<(), Unavailable> {
        let boot = boot_time();
        // First: these make no more calls.
        let gone = self.gone();
        let gone_images = self.gone_images()?;
        let mut entries = self.entries()?;
        self.in_kernel = entries.len();
        if takes_entering {
            entries.append(&mut self.entered);
        }
        for (place, entry) in entries.into_iter().enumerate() {
            let [low, high, image, abi, ..] = entry.call;
            let cgroup = u64::from(high) << 32 | u64::from(low);
            let key = (entry.call, entry.args);
            let known = self.delivered.get(&key).copied().unwrap_or_default();
            let count = entry.calls.saturating_sub(known);
            let may_be_runtime = abi & ENTERING != 0;
            let is_runtime = may_be_runtime && self.runtimes.get(&image, 0).is_ok();
            let is_too_early = may_be_runtime && (is_runtime || !takes_entering);
            let is_gone =
                place < self.in_kernel && (gone.contains(&cgroup) || gone_images.contains(&image));
            if count > 0 && !is_runtime && (!is_too_early || is_gone) {
                let cgroup = self.cgroup(cgroup);
                let executable = self.executable(image);
                if !is_too_early {
                    counted(cgroup.as_ref(), event(&entry, count, executable, boot));
                }
            }
            if is_gone {
                self.remove(&entry)?;
                self.delivered.remove(&key);
                if is_too_early && !is_runtime {
                    self.entered.push(entry);
                }
            } else if !is_too_early {
                self.delivered.insert(key, entry.calls);
            }
        }
        for cgroup in gone {
            // A container without a name had no room for it.
            let _ = self.cgroup_paths.remove(&cgroup);
        }
        self.remove_images(&gone_images)
    }

    /// What is gone, without a task that can call anything.
    fn gone(&mut self) -> HashSet<u64> {
        while let Ok(cgroup) = self.gone.pop(0) {
            self.leaving.push(cgroup);
        }
        let paths = &self.cgroup_paths;
        let has_ended = |cgroup: &mut u64| living(paths, *cgroup) == 0;
        self.leaving.extract_if(.., has_ended).collect()
    }

    /// If there are many: the executables that nobody executes. Who executes one again gives it another number.
    fn gone_images(&mut self) -> Result<HashSet<u32>, Unavailable> {
        let mut gone = HashSet::new();
        if self.in_kernel < MANY_CALLS && self.paths.keys().count() < MANY_IMAGES {
            return Ok(gone);
        }
        let images: Vec<u32> = self.paths.keys().filter_map(Result::ok).collect();
        for image in images {
            let Ok(written) = self.paths.get(&image, 0) else {
                continue;
            };
            if number_at(&written, LIVING) != 0 {
                continue;
            }
            let key = key_of(&written);
            if self.images.get(&key, 0).is_ok_and(|known| known == image) {
                self.images.remove(&key).map_err(of_map)?;
            }
            // Who found it there before has held it by now.
            if living(&self.paths, image) == 0 {
                gone.insert(image);
            }
        }
        Ok(gone)
    }

    /// Removes executables whose calls are delivered. Who executed one did not turn out to be a container runtime later.
    fn remove_images(&mut self, gone: &HashSet<u32>) -> Result<(), Unavailable> {
        if gone.is_empty() {
            return Ok(());
        }
        let mut runtimes = HashSet::new();
        for image in gone {
            if self.runtimes.remove(image).is_ok() {
                runtimes.insert(*image);
            }
            self.paths.remove(image).map_err(of_map)?;
        }
        let image_of = |entry: &Entry| entry.call[2];
        (self.entered).retain(|entry| !runtimes.contains(&image_of(entry)));
        let needed: HashSet<u32> = self.entered.iter().map(image_of).collect();
        (self.executables).retain(|image, _| !gone.contains(image) || needed.contains(image));
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>, Unavailable> {
        let calls = self.calls.iter().map(|entry| {
            let (call, per_cpu) = entry?;
            Ok(Entry::new(call, None, &per_cpu))
        });
        let spare = self.spare.iter().map(|entry| {
            let ([low, high, image, abi, nr, _], per_cpu) = entry?;
            let call = [low, high, image, abi, nr, 1];
            Ok(Entry::new(call, None, &per_cpu))
        });
        let values = self.values.iter().map(|entry| {
            let ([low, high, image, abi, nr, unused, args @ ..], per_cpu) = entry?;
            let call = [low, high, image, abi, nr, unused];
            Ok(Entry::new(call, Some(args), &per_cpu))
        });
        calls
            .chain(spare)
            .chain(values)
            .collect::<Result<_, MapError>>()
            .map_err(of_map)
    }

    fn remove(&mut self, entry: &Entry) -> Result<(), Unavailable> {
        let removed = match entry.args {
            None if entry.call[5] == 1 => {
                let [low, high, image, abi, nr, _] = entry.call;
                self.spare.remove(&[low, high, image, abi, nr, 0])
            }
            None => self.calls.remove(&entry.call),
            Some(args) => {
                let mut key = CallWithArguments::default();
                let (call, halves) = key.split_at_mut(entry.call.len());
                call.copy_from_slice(&entry.call);
                halves.copy_from_slice(&args);
                self.values.remove(&key)
            }
        };
        removed.map_err(of_map)
    }

    fn cgroup(&mut self, cgroup: u64) -> Option<Arc<Path>> {
        (self.cgroups.entry(cgroup))
            .or_insert_with(|| path_of(&self.cgroup_paths, cgroup))
            .clone()
    }

    fn executable(&mut self, image: u32) -> Option<Arc<Path>> {
        (self.executables.entry(image))
            .or_insert_with(|| path_of(&self.paths, image))
            .clone()
    }
}

impl Entry {
    fn new(call: Call, args: Option<Halves>, per_cpu: &PerCpuValues<Count>) -> Entry {
        let counts = per_cpu.iter().filter(|[calls, _]| *calls > 0);
        Entry {
            call,
            args,
            calls: counts.clone().map(|[calls, _]| calls).sum(),
            first: counts.map(|[_, first]| *first).min(),
        }
    }
}

fn event(entry: &Entry, count: u64, executable: Option<Arc<Path>>, boot: SystemTime) -> Event {
    let [_, _, _, abi, nr, _] = entry.call;
    let arch = ARCHES[usize::try_from(abi & 1).unwrap_or_default()];
    let syscall = Syscall::from_audit_nr(arch, nr.cast_signed());
    if abi & RUNTIME != 0 {
        Event::Runtime { syscall, count }
    } else if abi == IO_URING {
        Event::Submitted {
            operation: Operation(u8::try_from(nr).unwrap_or(u8::MAX)),
            executable,
            count,
        }
    } else {
        Event::Counted {
            syscall,
            executable,
            count,
            first: entry.first.map(|first| boot + Duration::from_nanos(first)),
            args: entry.args.map(|halves| {
                let of = |place: usize| {
                    u64::from(halves[2 * place]) | u64::from(halves[2 * place + 1]) << 32
                };
                in_registers(syscall, std::array::from_fn(of))
            }),
        }
    }
}

/// The fields of a [`WrittenPath`].
const LENGTH: usize = 24;
const LIVING: usize = 28;
const IS_WHOLE: usize = 32;
const IS_DELETED: usize = 33;
const NAMES: usize = 40;

fn number_at(written: &WrittenPath, place: usize) -> u32 {
    let bytes = written[place..].first_chunk().copied();
    bytes.map(u32::from_ne_bytes).unwrap_or_default()
}

fn key_of(written: &WrittenPath) -> ImageKey {
    std::array::from_fn(|place| {
        let bytes = written[8 * place..].first_chunk().copied();
        bytes.map(u64::from_ne_bytes).unwrap_or_default()
    })
}

/// How many tasks of a container have not exited, or how often an executable is held.
fn living<K: Pod>(paths: &BpfHashMap<MapData, K, WrittenPath>, of: K) -> u32 {
    let written = paths.get(&of, 0);
    written.map_or(0, |written| number_at(&written, LIVING))
}

/// The path that the kernel wrote down for an image or a cgroup; `None` if it did not have all of it.
fn path_of<K: Pod>(paths: &BpfHashMap<MapData, K, WrittenPath>, of: K) -> Option<Arc<Path>> {
    let written = paths.get(&of, 0).ok()?;
    let length = usize::try_from(number_at(&written, LENGTH)).ok()?;
    let names = written.get(NAMES..NAMES + length)?;
    if written[IS_WHOLE] == 0 {
        return None;
    }
    let mut path = Vec::with_capacity(names.len() + 16);
    for name in names
        .split(|&byte| byte == 0)
        .rev()
        .filter(|name| !name.is_empty())
    {
        path.push(b'/');
        path.extend(name);
    }
    if written[IS_DELETED] != 0 {
        path.extend(b" (deleted)");
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Some(PathBuf::from(OsString::from_vec(path)).into())
}

/// When the machine started, by today's clock.
fn boot_time() -> SystemTime {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    SystemTime::now() - since.unwrap_or_default()
}
