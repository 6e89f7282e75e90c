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
mod plan;
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
use nix::sys::ptrace as requests;
use rustc_hash::FxHashMap;

use self::executables::Executables;
use self::images::Images;
use self::mapping_calls::{Effect, MAPS, Maps, pages};
use self::space::{Looked, Space};
use self::stub::{CALL, NUMBERS, overlaps_window, window_of};
use self::window::{has_code_in_window, is_free, map_window};
use self::writers::{CanWrite, Writers, is_memory};
use crate::backend::Interest;
use crate::backend::proc::{self, Mapping};
use crate::backend::ptrace::special_table::{Limit, Sleep, SpecialCall, SpecialTable};
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::backend::ptrace::tracee::Again;
use crate::event::Task;
use crate::sys::ptrace::SyscallOp;
use crate::syscall::{Arch, Syscall};

/// After so many calls of a number, it is worth to change code for it.
const WORTH: u8 = 8;

/// Numbers that always stop, beside the special ones: their arguments matter, they don't return as others do, or they name no
/// call.
const ALWAYS_STOP: [&str; 6] = [
    "execveat",
    "rt_sigreturn",
    "restart_syscall",
    "personality",
    "pkey_mprotect",
    "io_uring_register",
];

const WRITTEN: &str = "a process with threads opened the memory of a process for writing, and can have changed in the meantime which calls \
     are seen (--no-patch prevents that)";

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

    /// What the recording may have missed, once.
    pub(in crate::backend::ptrace) fn loss(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.is_lost).then_some(WRITTEN)
    }

    /// The other tasks with the same memory.
    pub(in crate::backend::ptrace) fn sharers(&self, task: Task) -> Vec<Task> {
        let Some(space) = self.spaces.get(&task) else {
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
        if !self.is_writable {
            match self.writers.look(syscall, || arguments(stopped))? {
                CanWrite::IfMemory => return Ok(Entered::Then(AtExit::Opened)),
                CanWrite::Yes if self.may_be_written() => return Ok(Entered::SeeAll),
                CanWrite::Yes | CanWrite::No => {}
            }
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
            AtExit::Look => {
                space.borrow_mut().forget_lost(task, &(0..u64::MAX));
                let aliased = has_code_in_window(&proc::mappings(task));
                Ok((None, aliased && self.must_see_all(stopped)))
            }
            AtExit::Opened => {
                let is_opened = value >= 0 && !self.is_writable && is_memory(task, value);
                if !is_opened {
                    return Ok((None, false));
                }
                // Another thread can have written through the descriptor.
                self.is_lost = space.borrow().is_changed() && !self.sharers(task).is_empty();
                Ok((None, self.may_be_written()))
            }
        }
    }

    /// The workload can write to windows from now on, those of any process. Returns whether there are any.
    fn may_be_written(&mut self) -> bool {
        self.is_writable = true;
        self.end();
        for space in self.spaces.values() {
            let mut space = space.borrow_mut();
            space.sees_all |= space.is_changed();
        }
        !self.all_seen().is_empty()
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

    /// A task stopped, not at a call. Returns whether its latest call was made without a stop. If it returns from that, it is
    /// then as if it had stopped. `again` is the call that it was to enter again: it can have done so without a stop.
    pub(in crate::backend::ptrace) fn stopped(
        &mut self,
        stopped: &Stopped,
        again: &mut Option<Again>,
    ) -> Result<bool, Died> {
        let Some(space) = self.changed_space(stopped) else {
            return Ok(false);
        };
        let space = space.borrow();
        let mut registers = registers(stopped)?;
        let ip = registers.rip;
        let is_entered = again.take_if(|again| again.ip != ip + CALL).is_some();
        let as_stopping = space.as_stopping(ip);
        if let Some(place) = as_stopping {
            registers.rip = place;
        }
        let is_shown = space.closed && to_original(&space, &mut registers);
        if let Some(again) = again {
            again.ip = registers.rip + CALL;
        }
        if is_shown || as_stopping.is_some() {
            write(stopped, registers)?;
        }
        Ok(is_entered || as_stopping.is_some())
    }

    /// A task stopped at a call. Where the chunks may go, it must not return to one.
    pub(in crate::backend::ptrace) fn stopped_at_call(
        &mut self,
        stopped: &Stopped,
    ) -> Result<(), Died> {
        let space = self.spaces.get(&stopped.task());
        if space.is_some_and(|space| space.borrow().closed) {
            self.show_original(stopped)?;
        }
        Ok(())
    }

    /// Whether a task that is to enter a call again hasn't done so yet. `ip` is the address after the call.
    pub(in crate::backend::ptrace) fn is_before_call(
        &mut self,
        stopped: &Stopped,
        ip: u64,
    ) -> Result<bool, Died> {
        let at = registers(stopped)?.rip;
        let space = self.space(stopped.task());
        let original = space.borrow().original(at);
        let original = original.map_or(at, |(original, _)| original);
        Ok(original == ip.wrapping_sub(CALL))
    }

    /// The registers of a stopped task will be seen by the workload.
    pub(in crate::backend::ptrace) fn show_original(
        &mut self,
        stopped: &Stopped,
    ) -> Result<(), Died> {
        let Some(space) = self.changed_space(stopped) else {
            return Ok(());
        };
        let mut registers = registers(stopped)?;
        if to_original(&space.borrow(), &mut registers) {
            write(stopped, registers)?;
        }
        Ok(())
    }

    /// Whether the SIGTRAP of a stopped task comes from changed code alone: the task goes on then. It is of a breakpoint that
    /// was there while code was changed, and that fork(2) of another thread can have copied; or of a step into code that the
    /// workload doesn't know, while each instruction traps. Such a workload sees the original code from then on.
    pub(in crate::backend::ptrace) fn is_of_changed_code(
        &mut self,
        stopped: &Stopped,
    ) -> Result<bool, Died> {
        let Some(space) = self.changed_space(stopped) else {
            return Ok(false);
        };
        let mut registers = registers(stopped)?;
        let ip = registers.rip;
        let goes_on_at = match cause_of_trap(stopped) {
            Some(SI_KERNEL) => {
                let address = ip.wrapping_sub(1);
                let was_ours = space.borrow().was_changed(address)
                    && space.borrow_mut().is_whole(stopped.task(), address);
                was_ours.then_some(address)
            }
            Some(TRAP_TRACE) => {
                let original = space.borrow().original(ip);
                space.borrow_mut().close(stopped.task());
                original.map(|(original, _)| original)
            }
            _ => None,
        };
        if let Some(address) = goes_on_at {
            registers.rip = address;
            write(stopped, registers)?;
        }
        Ok(goes_on_at.is_some())
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

/// The `si_code` of the instruction `int3`.
const SI_KERNEL: i32 = 0x80;
/// The `si_code` of an instruction under the trap flag.
const TRAP_TRACE: i32 = 2;

fn cause_of_trap(stopped: &Stopped) -> Option<i32> {
    let info = requests::getsiginfo(stopped.pid()).ok()?;
    Some(info.si_code)
}

/// Makes the registers those that the task would have in the original code. Returns whether they weren't.
fn to_original(space: &Space, registers: &mut user_regs_struct) -> bool {
    let Some((original, is_after_call)) = space.original(registers.rip) else {
        return false;
    };
    registers.rip = original;
    if is_after_call {
        // A call leaves the address after it there.
        registers.rcx = original;
    }
    true
}

fn copy(space: &RefCell<Space>) -> Rc<RefCell<Space>> {
    let mut space = space.borrow().clone();
    (space.executed_by, space.mapping) = (None, false);
    Rc::new(RefCell::new(space))
}

/// The arguments of the call that a task enters, as wide as the ABI's.
fn arguments(stopped: &Stopped) -> Result<[u64; 6], Died> {
    match stopped.syscall_info()?.op {
        SyscallOp::Entry { args, .. } => Ok(args),
        _ => Err(Died),
    }
}

fn registers(stopped: &Stopped) -> Result<user_regs_struct, Died> {
    requests::getregs(stopped.pid()).map_err(|_| Died)
}

fn write(stopped: &Stopped, registers: user_regs_struct) -> Result<(), Died> {
    requests::setregs(stopped.pid(), registers).map_err(|_| Died)
}

/// Whether the code segment is that of 64-bit programs.
fn is_64_bit(registers: &user_regs_struct) -> bool {
    registers.cs == 0x33
}

/// Whether calls of the workload can be allowed: all code is where it can be seen, because memory that isn't mapped as code can't
/// be executed.
pub(in crate::backend::ptrace) fn can_allow() -> bool {
    let personality = std::fs::read_to_string("/proc/self/personality").unwrap_or_default();
    u64::from_str_radix(personality.trim(), 16).is_ok_and(|flags| flags & READ_IMPLIES_EXEC == 0)
}

/// Whether the call that makes a task gives it the same memory. If that is not known, it is taken for a copy: what is then known of it
/// may be incomplete, and what isn't known isn't changed.
fn shares_memory(stopped: &Stopped) -> bool {
    const CLONE_VM: u64 = 0x100;
    let Ok(registers) = registers(stopped) else {
        return false;
    };
    match registers.orig_rax {
        56 => registers.rdi & CLONE_VM != 0,
        // vfork(2), of 64 and 32 bits.
        58 | 190 => true,
        435 => (stopped.read_word(registers.rdi)).is_some_and(|flags| flags & CLONE_VM != 0),
        // clone(2) of 32 bits.
        120 => registers.rbx & CLONE_VM != 0,
        _ => false,
    }
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
