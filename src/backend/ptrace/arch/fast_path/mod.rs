//! The fast path: calls of a known number are made without a stop.
//!
//! The recording filter allows a call whose address says that it may have its number (`stub`). Once a task has called a
//! number several times, the instruction that did it is changed into a jump to a chunk of code at such an address (`plan`
//! says how, by the file that the code comes from; `space` does it, and keeps what was done). The chunk makes calls of this number
//! itself, and other numbers stop as before. So the first calls of every number stop in each process image, and nothing
//! is missing but their count.
//!
//! Nothing of that is done where anything is in doubt, and it is never needed: calls that stop are always right.
#![allow(
    clippy::cast_possible_truncation,
    reason = "an usize has as many bits as a register"
)]

mod executables;
mod images;
mod mapping_calls;
mod memory;
mod original;
mod plan;
mod registers;
mod space;
mod stub;
mod unwind;
mod window;
mod writers;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use libc::sock_filter;
use nix::libc::user_regs_struct;
use rustc_hash::FxHashMap;

use self::executables::Executables;
use self::images::Images;
use self::mapping_calls::{Effect, MAPS, Maps, pages};
use self::registers::{is_64_bit, registers, shares_memory, write};
use self::space::{Looked, Space};
use self::stub::{CALL, NUMBERS, overlaps_window, window_of};
use self::window::{has_code_in_window, is_free, map_window};
use self::writers::Writers;
use crate::backend::Interest;
use crate::backend::proc::{self, Mapping};
use crate::backend::ptrace::special_table::{Limit, Sleep, SpecialCall, SpecialTable};
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::event::Task;
use crate::syscall::{Arch, Syscall};

/// After so many calls of a number, it is worth to change code for it.
const WORTH: u8 = 8;

/// Numbers that always stop, beside the special ones: their arguments matter, they don't return as others do, or they name no
/// call. Who sends signals until another thread has answered (Go's runtime) must not be much faster than that one, which stops for
/// each.
const ALWAYS_STOP: [&str; 7] = [
    "tgkill",
    "execveat",
    "rt_sigreturn",
    "restart_syscall",
    "personality",
    "pkey_mprotect",
    "io_uring_register",
];

/// `sys/mman.h`
const MAP_ANONYMOUS: u64 = 0x20;
/// `sys/personality.h`
const READ_IMPLIES_EXEC: u64 = 0x040_0000;

/// What to do at the exit of a call.
#[derive(Debug)]
pub(in crate::backend::ptrace) enum AtExit {
    /// The call was made into one that maps a window. It is made itself after that.
    Window {
        registers: Box<user_regs_struct>,
        window: u64,
        syscall: Syscall,
        /// Those before it.
        mappings: Vec<Mapping>,
    },
    /// It may have mapped code of this length.
    Mapped(u64),
    /// Whatever it did.
    Look,
    /// It may have mapped shared memory where nothing was.
    Attached,
    /// It may have opened a process's memory to write to it.
    Opened,
}

/// What the engine is to do with a call.
#[derive(Debug)]
pub(in crate::backend::ptrace) enum Entered {
    Nothing,
    /// At its exit, too.
    Then(AtExit),
    /// From now on, all tasks with the same memory and [those that must](FastPath::all_seen) stop at all their calls; and the caller goes
    /// on when all of them have stopped once.
    SeeAll,
}

/// What is known of the process images of the workload.
#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
pub(in crate::backend::ptrace) struct FastPath {
    always_stop: [bool; NUMBERS as usize],
    maps: Vec<(Syscall, Maps)>,
    writers: Writers,
    personality: Option<Syscall>,
    spaces: FxHashMap<Task, Rc<RefCell<Space>>>,
    images: Images,
    executables: Executables,
    /// Something was changed.
    is_used: bool,
    /// Nothing is changed any more.
    is_over: bool,
    /// The workload may write to windows.
    is_writable: bool,
    /// It may have done so unseen.
    is_lost: bool,
    after: fn() -> u8,
}

/// The part of the recording filter that allows known calls of an ABI; see [`stub::filter`].
pub(in crate::backend::ptrace) fn filter(arch: Arch) -> Vec<sock_filter> {
    match arch {
        Arch::X86_64 => stub::filter().to_vec(),
        _ => Vec::new(),
    }
}

impl FastPath {
    /// `None` if the recording filter allows no call.
    pub(in crate::backend::ptrace) fn new(
        allowed: bool,
        specials: &SpecialTable,
        interest: Option<&Interest>,
    ) -> Option<FastPath> {
        let always = ALWAYS_STOP.map(|name| Syscall::from_name(Arch::X86_64, name));
        let mut maps = Vec::new();
        for (name, what) in MAPS {
            for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
                maps.extend(Syscall::from_name(arch, name).map(|syscall| (syscall, what)));
            }
        }
        let writers = Writers::new();
        let always_stop = std::array::from_fn(|nr| {
            let call = i32::try_from(nr).map(|nr| Syscall {
                arch: Arch::X86_64,
                nr,
            });
            call.is_ok_and(|call| {
                always.contains(&Some(call))
                    || writers.always_stops(call)
                    || maps
                        .iter()
                        .any(|(of, what)| *of == call && !what.may_be_known())
                    || specials.get(call).is_some_and(always_stops)
                    || interest.is_some_and(|of| of.wants(call) || of.wants_arguments(call))
                    || call.name().is_none()
            })
        });
        allowed.then(|| FastPath {
            always_stop,
            maps,
            writers,
            personality: Syscall::from_name(Arch::X86_64, "personality"),
            spaces: HashMap::default(),
            images: Images::default(),
            executables: Executables::default(),
            is_used: false,
            is_over: false,
            is_writable: false,
            is_lost: false,
            after: after(),
        })
    }

    /// Whether calls aren't counted any more, for the first time.
    pub(in crate::backend::ptrace) fn is_used(&mut self) -> bool {
        std::mem::take(&mut self.is_used)
    }

    fn space(&mut self, task: Task) -> Rc<RefCell<Space>> {
        let unknown = || {
            let mut space = Space::new(|| u8::MAX);
            space.closed = true;
            Rc::new(RefCell::new(space))
        };
        Rc::clone(self.spaces.entry(task).or_insert_with(unknown))
    }

    /// A task executed a program, which is recorded as `path`. Returns whether it must stop at all its calls, and whether it had to before only because of
    /// where its code was.
    pub(in crate::backend::ptrace) fn executed(
        &mut self,
        stopped: &Stopped,
        path: &Path,
    ) -> (bool, bool) {
        let task = stopped.task();
        let before = self.spaces.remove(&task);
        let saw_all = before.is_some_and(|space| space.borrow().sees_all);
        let mut space = Space::new(self.after);
        space.executed_by = Some(task);
        space.sees_all = has_code_in_window(&proc::mappings(task));
        space.closed = space.sees_all || self.is_over;
        let sees_all = space.sees_all;
        if let Some(executable) = self.executables.executed(task, path) {
            space.is_new = executable.borrow().has_calls();
            space.learns = true;
            space.executable = Some(executable);
        }
        self.spaces.insert(task, Rc::new(RefCell::new(space)));
        (sees_all, saw_all)
    }

    /// A task made another one.
    pub(in crate::backend::ptrace) fn forked(&mut self, stopped: &Stopped, child: Task) {
        let executed = (self.spaces.get(&child))
            .is_some_and(|space| space.borrow().executed_by == Some(child));
        if executed {
            return;
        }
        let space = self.space(stopped.task());
        let space = if shares_memory(stopped) {
            space
        } else {
            copy(&space)
        };
        self.spaces.insert(child, space);
    }

    /// A task stopped before its maker reported it.
    pub(in crate::backend::ptrace) fn met_early(&mut self, task: Task) {
        let process = proc::process_of(task).filter(|process| *process != task);
        let shared = process.and_then(|process| self.spaces.get(&process));
        let space = match shared {
            Some(space) => Rc::clone(space),
            None => match proc::parent_of(task).and_then(|parent| self.spaces.get(&parent)) {
                Some(space) => {
                    let space = copy(space);
                    // It may have had another parent.
                    let mut unknown = space.borrow_mut();
                    (unknown.executable, unknown.is_new, unknown.learns) = (None, false, false);
                    drop(unknown);
                    space
                }
                None => return,
            },
        };
        self.spaces.insert(task, space);
    }

    pub(in crate::backend::ptrace) fn gone(&mut self, task: Task) {
        self.spaces.remove(&task);
    }

    /// The tasks that must stop at all their calls, because the filter may allow some that aren't known.
    pub(in crate::backend::ptrace) fn all_seen(&self) -> Vec<Task> {
        let spaces = self.spaces.iter();
        spaces
            .filter(|(_, space)| space.borrow().sees_all)
            .map(|(&task, _)| task)
            .collect()
    }

    /// The other tasks with the same memory.
    pub(in crate::backend::ptrace) fn sharers(&self, task: Task) -> Vec<Task> {
        let space = self.spaces.get(&task);
        let Some(space) = space.filter(|space| Rc::strong_count(space) > 1) else {
            return Vec::new();
        };
        let others = self.spaces.iter();
        others
            .filter(|(other, of)| **other != task && Rc::ptr_eq(of, space))
            .map(|(&other, _)| other)
            .collect()
    }

    /// A task is at the entry of a call, which was counted. `is_credited`: for the executable that it runs. `may_change`: its
    /// calls may be changed.
    pub(in crate::backend::ptrace) fn entered(
        &mut self,
        stopped: &Stopped,
        syscall: Syscall,
        is_credited: bool,
        may_change: bool,
    ) -> Result<Entered, Died> {
        let number = u16::try_from(syscall.nr).unwrap_or(NUMBERS);
        if syscall.arch == Arch::X86_64
            && is_credited
            && let Some(space) = self.spaces.get(&stopped.task())
            && let Some(executable) = &space.borrow().executable
        {
            executable.borrow_mut().recorded(number);
        }
        if let Some(entered) = self.may_write(stopped, syscall)? {
            return Ok(entered);
        }
        let maps = self.maps.iter().find(|(of, _)| *of == syscall);
        let maps = maps.map(|&(_, what)| what);
        if let Some(what) = maps
            && let Some(entered) = self.maps(stopped, syscall, what)?
        {
            return Ok(entered);
        }
        let always = self.always_stop.get(usize::from(number));
        if syscall.arch != Arch::X86_64 || always != Some(&false) {
            if self.personality == Some(syscall) {
                return self.changes_personality(stopped);
            }
            return Ok(Entered::Nothing);
        }
        if !may_change {
            return Ok(Entered::Nothing);
        }
        let Some(space) = self.spaces.get(&stopped.task()) else {
            return Ok(Entered::Nothing);
        };
        let space = Rc::clone(space);
        let is_alone = is_alone(&space);
        let mut space = space.borrow_mut();
        if space.closed || space.mapping {
            return Ok(Entered::Nothing);
        }
        let is_due = space.is_due(number);
        if !is_due && !space.is_new && !space.learns {
            return Ok(Entered::Nothing);
        }
        let registers = registers(stopped)?;
        if !is_64_bit(&registers) {
            (space.is_new, space.learns) = (false, false);
            return Ok(Entered::Nothing);
        }
        // As above: it is not mmap(2).
        if space.is_new && maps.is_none() {
            space.is_new = false;
            let window = window_of(registers.rip);
            if is_alone && !space.touches_window(&(window..window + 1)) {
                return map_window_of(&mut space, stopped, registers, window, syscall);
            }
        }
        if space.learns {
            let images = &mut self.images;
            let task = stopped.task();
            space.learn(task, number, registers.rip, |of| images.open(task, of));
        }
        if !is_due {
            return Ok(Entered::Nothing);
        }
        match self.look(&mut space, stopped.task(), number, registers.rip) {
            Looked::Nothing | Looked::Changed => Ok(Entered::Nothing),
            // This site may soon map code, which must not be taken for this call, entered again. Another call will map it.
            Looked::NeedsWindow(_) if maps.is_some() => Ok(Entered::Nothing),
            Looked::NeedsWindow(window) => {
                map_window_of(&mut space, stopped, registers, window, syscall)
            }
        }
    }

    fn look(&mut self, space: &mut Space, task: Task, number: u16, ip: u64) -> Looked {
        // Another thread may run into the breakpoint that is there for a moment.
        let is_noticed = |other: &Task| proc::runs_without(*other, libc::SIGTRAP);
        if self.sharers(task).iter().any(is_noticed) {
            return Looked::Nothing;
        }
        let images = &mut self.images;
        let looked = space.look(task, number, ip, |mapping| images.open(task, mapping));
        self.is_used |= looked == Looked::Changed;
        looked
    }

    /// A call with an [`AtExit`] returned. Returns the call that is entered again and the address after it, and whether all tasks with this memory must stop at all
    /// their calls from now on.
    pub(in crate::backend::ptrace) fn exited(
        &mut self,
        stopped: &Stopped,
        at_exit: AtExit,
        value: i64,
    ) -> Result<(Option<(Syscall, u64)>, bool), Died> {
        let task = stopped.task();
        let space = self.space(task);
        match at_exit {
            AtExit::Window {
                mut registers,
                window,
                syscall,
                mappings,
            } => {
                let is_alone = is_alone(&space);
                let mut space = space.borrow_mut();
                space.mapping = false;
                let is_mapped = value.cast_unsigned() == window;
                space.window_mapped(window, is_mapped);
                if is_alone && is_mapped && !space.closed {
                    self.change_known(&mut space, task, &mappings);
                }
                let ip = registers.rip;
                if let Ok(number) = u16::try_from(syscall.nr) {
                    self.look(&mut space, task, number, ip);
                }
                // As before the call.
                registers.rax = registers.orig_rax;
                registers.orig_rax = u64::MAX;
                registers.rip = ip.wrapping_sub(CALL);
                write(stopped, *registers)?;
                Ok((Some((syscall, ip)), false))
            }
            AtExit::Mapped(length) => {
                // Not an error.
                let start = value.cast_unsigned();
                let is_mapped = !(-4095..0).contains(&value);
                if is_mapped {
                    space.borrow_mut().forget(&pages(start, length));
                }
                if is_mapped && overlaps_window(start, length) {
                    return Ok((None, self.must_see_all(stopped)));
                }
                if is_mapped && is_alone(&space) && space.borrow().awaits_code() {
                    let code = pages(start, length);
                    let mut mappings = proc::mappings(task);
                    mappings.retain(|of| of.range.start < code.end && code.start < of.range.end);
                    self.change_known(&mut space.borrow_mut(), task, &mappings);
                }
                Ok((None, false))
            }
            AtExit::Look | AtExit::Attached => {
                space.borrow_mut().forget_lost(task, &(0..u64::MAX));
                let mut mappings = proc::mappings(task);
                if matches!(at_exit, AtExit::Attached) {
                    mappings.retain(|of| !space.borrow().is_window(&of.range));
                }
                let aliased = has_code_in_window(&mappings);
                Ok((None, aliased && self.must_see_all(stopped)))
            }
            AtExit::Opened => Ok((None, self.opened(task, value))),
        }
    }

    /// Changes the calls in these mappings that are known of the executable.
    fn change_known(&mut self, space: &mut Space, task: Task, mappings: &[Mapping]) {
        let images = &mut self.images;
        self.is_used |= space.change_known(task, mappings, |of| images.open(task, of));
    }

    /// Code of the workload can be where calls are allowed.
    fn must_see_all(&mut self, stopped: &Stopped) -> bool {
        let space = self.space(stopped.task());
        let mut space = space.borrow_mut();
        space.close(stopped.task());
        !std::mem::replace(&mut space.sees_all, true)
    }

    /// A call that changes mappings. `None`: there is nothing more to do for it.
    fn maps(
        &mut self,
        stopped: &Stopped,
        syscall: Syscall,
        what: Maps,
    ) -> Result<Option<Entered>, Died> {
        let task = stopped.task();
        let space = self.space(task);
        if syscall.arch != Arch::X86_64 {
            // 32-bit code that changes mappings of a 64-bit program.
            if space.borrow().is_changed() {
                self.close(stopped)?;
            }
            return Ok(Some(match what {
                Maps::Unmap => Entered::Nothing,
                _ => Entered::Then(AtExit::Look),
            }));
        }
        let r = registers(stopped)?;
        let Effect {
            is_code,
            replaced,
            moved_or_protected,
            then,
        } = Effect::of(what, &r);
        if what == Maps::Map && !is_code && replaced.is_empty() {
            return Ok(None);
        }
        let loses_window = replaced.iter().any(|of| space.borrow().touches_window(of));
        let has_sites = |range| space.borrow().has_sites_in(range);
        if loses_window || moved_or_protected && replaced.iter().any(has_sites) {
            self.close(stopped)?;
        }
        for range in &replaced {
            match what {
                // Where code was unmapped without a stop, other code can begin now.
                Maps::Protect if is_code => space.borrow_mut().forget_lost(task, range),
                Maps::Protect => {}
                _ => space.borrow_mut().forget(range),
            }
        }
        if loses_window && !self.sharers(stopped.task()).is_empty() {
            self.must_see_all(stopped);
            return Ok(Some(Entered::SeeAll));
        }
        let is_aliased = is_code && then.is_none() && overlaps_window(r.rdi, r.rsi);
        if is_aliased && self.must_see_all(stopped) {
            return Ok(Some(Entered::SeeAll));
        }
        // A file of which calls may be known.
        let is_library = is_code && what == Maps::Map && r.r10 & MAP_ANONYMOUS == 0;
        let awaits = is_library && space.borrow().awaits_code();
        let then = then.or_else(|| awaits.then_some(AtExit::Mapped(r.rsi)));
        Ok(then.map(Entered::Then))
    }

    fn changes_personality(&mut self, stopped: &Stopped) -> Result<Entered, Died> {
        const QUERY: u64 = 0xffff_ffff;
        let r = registers(stopped)?;
        if r.rdi & QUERY == QUERY || r.rdi & READ_IMPLIES_EXEC == 0 {
            return Ok(Entered::Nothing);
        }
        self.close(stopped)?;
        // Also after an exec(2): not because of where code is.
        Ok(Entered::SeeAll)
    }

    /// Restores all code, and changes no more: sockets have limits, and for calls that wait for those the time of their entry matters.
    pub(in crate::backend::ptrace) fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            for (&task, space) in &self.spaces {
                space.borrow_mut().close(task);
            }
        }
    }

    /// Restores the code of a stopped task, and changes it no more.
    pub(in crate::backend::ptrace) fn close(&mut self, stopped: &Stopped) -> Result<(), Died> {
        let space = self.space(stopped.task());
        if space.borrow().closed {
            return Ok(());
        }
        space.borrow_mut().close(stopped.task());
        self.show_original(stopped)
    }

    /// Whether code of a task was changed.
    pub(in crate::backend::ptrace) fn is_changed(&self, task: Task) -> bool {
        let space = self.spaces.get(&task);
        space.is_some_and(|space| space.borrow().is_changed())
    }

    fn changed_space(&self, stopped: &Stopped) -> Option<Rc<RefCell<Space>>> {
        let space = self.spaces.get(&stopped.task())?;
        let is_changed = space.borrow().is_changed();
        is_changed.then(|| Rc::clone(space))
    }
}

/// Makes a call one that maps a window, if that can be had.
fn map_window_of(
    space: &mut Space,
    stopped: &Stopped,
    registers: user_regs_struct,
    window: u64,
    syscall: Syscall,
) -> Result<Entered, Died> {
    let mappings = proc::mappings(stopped.task());
    if !is_free(stopped.task(), &mappings, window) {
        space.window_mapped(window, false);
        return Ok(Entered::Nothing);
    }
    space.mapping = true;
    let then = map_window(stopped, registers, window, syscall, mappings)?;
    Ok(Entered::Then(then))
}

/// Whether no other task has the same memory as the one whose space is held here, and in the list.
fn is_alone(space: &Rc<RefCell<Space>>) -> bool {
    Rc::strong_count(space) == 2
}

fn copy(space: &RefCell<Space>) -> Rc<RefCell<Space>> {
    let mut space = space.borrow().clone();
    (space.executed_by, space.mapping) = (None, false);
    Rc::new(RefCell::new(space))
}

/// Whether calls of the workload can be allowed: all code is where it can be seen, because memory that isn't mapped as code can't
/// be executed.
pub(in crate::backend::ptrace) fn can_allow() -> bool {
    let personality = std::fs::read_to_string("/proc/self/personality").unwrap_or_default();
    u64::from_str_radix(personality.trim(), 16).is_ok_and(|flags| flags & READ_IMPLIES_EXEC == 0)
}

fn always_stops(special: SpecialCall) -> bool {
    // What has a limit among its arguments must be entered again with what is left of it, and the time of its entry is known
    // only if it stopped.
    let has_no_limit = |limit| matches!(limit, Limit::Receive | Limit::Send);
    match special {
        SpecialCall::Final => false,
        SpecialCall::Sleep(Sleep { limit, .. }) => !has_no_limit(limit),
        _ => true,
    }
}

/// After how many calls of a number its code is changed. Tests want it sooner, or at random.
fn after() -> fn() -> u8 {
    #[cfg(debug_assertions)]
    match std::env::var("SC_RECORD_TEST_FAST_PATH").as_deref() {
        Ok("at once") => return || 1,
        Ok("at random") => {
            return || {
                use std::hash::{BuildHasher, RandomState};
                1 + RandomState::new().hash_one(0).to_le_bytes()[0] % 10
            };
        }
        _ => {}
    }
    || WORTH
}
