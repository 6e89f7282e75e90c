//! Calls that would end the recording, hide calls from it, or show the workload that it is recorded.

use nix::sys::signal::{Signal, kill};

use super::engine::{Engine, Seccomp, Stops};
use super::registers::{self, Registers};
use super::stop::{Died, Stopped};
use super::wakes::{SLEEPS, Sleep};
use crate::backend::proc;
use crate::syscall::{Arch, Syscall};

/// A call that needs more than to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Clone,
    Clone3,
    Prctl,
    Seccomp,
    Ptrace,
    /// One that a signal ends with EINTR.
    Sleep(Sleep),
}

/// The numbers of the [`Special`] calls in each ABI of this machine.
pub(super) struct Specials(Vec<(Syscall, Special)>);

impl Specials {
    pub(super) fn new() -> Specials {
        let names = [
            ("clone", Special::Clone),
            ("clone3", Special::Clone3),
            ("prctl", Special::Prctl),
            ("seccomp", Special::Seccomp),
            ("ptrace", Special::Ptrace),
        ];
        let sleeps = SLEEPS.map(|(name, sleep)| (name, Special::Sleep(sleep)));
        let of_arch = |arch| {
            names
                .iter()
                .chain(&sleeps)
                .filter_map(move |(name, special)| {
                    Some((Syscall::from_name(arch, name)?, *special))
                })
        };
        let arches = [Arch::X86_64, Arch::X86, Arch::X32];
        let mut specials: Vec<_> = arches.into_iter().flat_map(of_arch).collect();
        specials.sort_unstable_by_key(|(syscall, _)| *syscall);
        Specials(specials)
    }

    pub(super) fn get(&self, syscall: Syscall) -> Option<Special> {
        let index = self
            .0
            .binary_search_by_key(&syscall, |(syscall, _)| *syscall)
            .ok()?;
        self.0.get(index).map(|(_, special)| *special)
    }
}

/// What is to be done when a call returns.
#[derive(Clone, Debug)]
pub(super) enum OnExit {
    /// If it succeeded, a filter of the workload's own is loaded.
    OwnFilter { all_threads: bool },
    /// `PR_GET_SECCOMP` must not tell of the recording filter.
    HideFilter,
    /// If it failed, the recorder is why.
    Tracing,
    /// If it made a task, no stop told of that: the task escaped.
    Unfollowed,
    /// The tracee gets back what was changed.
    Undo(Undo),
}

/// A change of a tracee's registers or memory that it must not find.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    /// Of an argument of a call, counted from 0.
    Argument {
        arch: Arch,
        index: usize,
        was: u64,
        is: u64,
    },
    /// Of a word of memory.
    Memory { address: u64, was: u64, is: u64 },
}

impl Undo {
    pub(super) fn apply(&self, stopped: &Stopped) {
        match *self {
            Undo::Argument {
                arch,
                index,
                was,
                is,
            } => {
                // It dies as it likes.
                let Ok(mut registers) = Registers::read(stopped) else {
                    return;
                };
                if registers.argument(arch, index) == is {
                    registers.set_argument(arch, index, was);
                    let _: Result<(), Died> = registers.write(stopped);
                }
            }
            Undo::Memory { address, was, is } => {
                if registers::read_word(stopped, address) == Some(is) {
                    registers::write_word(stopped, address, was);
                }
            }
        }
    }
}

const ESCAPED: &str = "a task made another with CLONE_UNTRACED, which could not be followed";

/// `CLONE_UNTRACED` (clone(2)).
const CLONE_UNTRACED: u64 = 0x0080_0000;

/// At the entry of a special call. Returns what is to be done at its exit.
pub(super) fn at_entry(
    engine: &mut Engine<'_>,
    stopped: &Stopped,
    special: Special,
    syscall: Syscall,
    args: [u64; 6],
) -> Result<Option<OnExit>, Died> {
    let [first, second, third, ..] = args;
    // These take ints: the kernel doesn't look at the upper half of the registers.
    let int = |argument: u64| argument & 0xffff_ffff;
    Ok(match special {
        Special::Clone if first & CLONE_UNTRACED != 0 => {
            let is = first & !CLONE_UNTRACED;
            let mut registers = Registers::read(stopped)?;
            registers.set_argument(syscall.arch, 0, is);
            registers.write(stopped)?;
            Some(OnExit::Undo(Undo::Argument {
                arch: syscall.arch,
                index: 0,
                was: first,
                is,
            }))
        }
        // The flags are the first 64 bits of struct clone_args.
        Special::Clone3 => match registers::read_word(stopped, first) {
            Some(was) if was & CLONE_UNTRACED != 0 => {
                let is = was & !CLONE_UNTRACED;
                if !registers::write_word(stopped, first, is) {
                    engine.lost(ESCAPED.to_owned());
                }
                Some(OnExit::Undo(Undo::Memory {
                    address: first,
                    was,
                    is,
                }))
            }
            // A program that can't be read, under a recorder without CAP_SYS_PTRACE.
            None => Some(OnExit::Unfollowed),
            Some(_) => None,
        },
        Special::Prctl if int(first) == PR_GET_SECCOMP => Some(OnExit::HideFilter),
        Special::Prctl if int(first) == PR_SET_SECCOMP => match second {
            SECCOMP_MODE_STRICT => return enter_strict_mode(engine, stopped),
            SECCOMP_MODE_FILTER => Some(OnExit::OwnFilter { all_threads: false }),
            _ => None,
        },
        Special::Seccomp => match int(first) {
            SECCOMP_SET_MODE_STRICT if int(second) == 0 && third == 0 => {
                return enter_strict_mode(engine, stopped);
            }
            SECCOMP_SET_MODE_FILTER => Some(OnExit::OwnFilter {
                all_threads: second & libc::SECCOMP_FILTER_FLAG_TSYNC != 0,
            }),
            _ => None,
        },
        Special::Ptrace if TRACING.contains(&first) => Some(OnExit::Tracing),
        Special::Clone | Special::Prctl | Special::Ptrace | Special::Sleep(_) => None,
    })
}

/// At the exit of a call, which returns this value.
pub(super) fn at_exit(
    engine: &mut Engine<'_>,
    stopped: &Stopped,
    on_exit: OnExit,
    value: i64,
) -> Result<(), Died> {
    match on_exit {
        // Zero, or the descriptor of a listener. A positive number can also be the thread that TSYNC failed for, and to
        // see more stops than needed does no harm.
        OnExit::OwnFilter { all_threads } if value >= 0 => {
            let tracee = engine.tracee_of(stopped);
            tracee.seccomp = Seccomp::Filter;
            tracee.stops = Stops::Syscalls;
            if all_threads {
                for (_, sibling) in engine.siblings(stopped.task()) {
                    sibling.seccomp = Seccomp::Filter;
                }
            }
        }
        OnExit::HideFilter if value == SECCOMP_MODE_FILTER.cast_signed() => {
            if engine.uses_filter() && engine.tracee_of(stopped).seccomp == Seccomp::Disabled {
                let mut registers = Registers::read(stopped)?;
                registers.set_result(0);
                registers.write(stopped)?;
            }
        }
        OnExit::Tracing if value == -i64::from(libc::EPERM) => {
            engine.lost(
                "a task called ptrace(2) to trace or be traced, and was refused because the recorder traces it: a debugger \
                 or tracer in the workload can't work under the ptrace backend"
                    .to_owned(),
            );
        }
        OnExit::Unfollowed if value > 0 => engine.lost(ESCAPED.to_owned()),
        OnExit::Undo(undo) => undo.apply(stopped),
        OnExit::OwnFilter { .. } | OnExit::HideFilter | OnExit::Tracing | OnExit::Unfollowed => {}
    }
    Ok(())
}

// linux/prctl.h, linux/seccomp.h.
const PR_GET_SECCOMP: u64 = 21;
const PR_SET_SECCOMP: u64 = 22;
const SECCOMP_MODE_STRICT: u64 = 1;
const SECCOMP_MODE_FILTER: u64 = 2;
const SECCOMP_SET_MODE_STRICT: u64 = 0;
const SECCOMP_SET_MODE_FILTER: u64 = 1;

/// `PTRACE_TRACEME`, `PTRACE_ATTACH`, `PTRACE_SEIZE` (linux/ptrace.h).
const TRACING: [u64; 3] = [0, 16, 0x4206];

/// Strict mode can't be had together with a filter: the kernel would answer EINVAL because of ours. So the call is
/// skipped with the answer 0, and the recorder, which sees every call of the task, does what strict mode does.
fn enter_strict_mode(engine: &mut Engine<'_>, stopped: &Stopped) -> Result<Option<OnExit>, Died> {
    let uses_filter = engine.uses_filter();
    let tracee = engine.tracee_of(stopped);
    if uses_filter && tracee.seccomp == Seccomp::Disabled {
        let mut registers = Registers::read(stopped)?;
        registers.skip_call();
        registers.set_result(0);
        registers.write(stopped)?;
        tracee.seccomp = Seccomp::Strict;
        tracee.stops = Stops::Syscalls;
    }
    Ok(None)
}

/// A filter of the workload's own answered `SECCOMP_RET_TRACE`, for a tracer that isn't there: the call fails with
/// ENOSYS, as it would without the recorder (seccomp(2)).
pub(super) fn refuse_without_tracer(stopped: &Stopped) -> Result<(), Died> {
    let mut registers = Registers::read(stopped)?;
    registers.skip_call();
    registers.set_result(-i64::from(libc::ENOSYS));
    registers.write(stopped)
}

/// At the entry of a call in strict mode (seccomp(2); `__secure_computing_strict` of the kernel): a task that calls
/// anything but a few calls ends with SIGKILL, alone.
pub(super) fn enforce_strict_mode(stopped: &Stopped, syscall: Syscall) -> Result<(), Died> {
    let sigreturn = match syscall.arch {
        Arch::X86 => "sigreturn",
        _ => "rt_sigreturn",
    };
    let allowed = ["read", "write", "exit", sigreturn];
    if (syscall.name()).is_some_and(|name| allowed.contains(&name.as_ref())) {
        return Ok(());
    }
    let process = proc::process_of(stopped.task()).ok_or(Died)?;
    let exit = Syscall::from_name(syscall.arch, "exit");
    match exit {
        // A signal would end its siblings too. That it was one is not seen of a thread.
        Some(exit) if proc::threads_of(process).len() > 1 => {
            let mut registers = Registers::read(stopped)?;
            registers.set_call(exit.audit_nr());
            registers.write(stopped)
        }
        // It doesn't execute its call any more. It may be gone already.
        _ => {
            let _ = kill(stopped.pid(), Signal::SIGKILL);
            Ok(())
        }
    }
}
