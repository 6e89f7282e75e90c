//! Calls that would end the recording, hide calls from it, or show the workload that it is recorded.

use nix::errno::Errno;
use nix::sys::ptrace as requests;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::arch::{CallRegisters, MACHINE, NOTHING, Registers, width};
use super::attach;
use super::clone_args::{self, Arguments};
use super::special_table::SpecialCall;
use super::stop::{Died, Stopped};
use super::tracee::{ArgumentChange, OnExit, Seccomp, Stops, Tracees, Undo};
use crate::backend::{Error, proc};
use crate::event::Task;
use crate::sys::ptrace::{SyscallInfo, SyscallOp};
use crate::syscall::{Arch, Syscall};

pub(super) const ESCAPED: &str =
    "a task created another one with CLONE_UNTRACED, whose first calls were not seen";
const SECOND_TRACER: &str = "a task called ptrace(2) to trace or be traced, and was refused because the recorder traces it: \
     a debugger or tracer in the workload can't work under the ptrace backend";

/// `CLONE_UNTRACED` (clone(2)).
const CLONE_UNTRACED: u64 = 0x0080_0000;

/// Handles the entry of a special call. Returns what to do at its exit.
pub(super) fn at_entry(
    tracees: &mut Tracees,
    stopped: &Stopped,
    special: SpecialCall,
    syscall: Syscall,
    args: [u64; 6],
) -> Result<Option<OnExit>, Died> {
    let [first, second, third, ..] = args;
    // These take ints: the kernel doesn't look at the upper half of the registers.
    let int = |argument: u64| argument & 0xffff_ffff;
    Ok(match special {
        SpecialCall::Clone if args[MACHINE.clone_flags] & CLONE_UNTRACED != 0 => {
            let index = MACHINE.clone_flags;
            let (was, is) = (args[index], args[index] & !CLONE_UNTRACED);
            let changes = vec![ArgumentChange { index, was, is }];
            let undo = Undo::of_arguments(stopped, syscall.arch, changes)?;
            Some(OnExit::Undo(undo))
        }
        SpecialCall::Clone3 => enter_clone3(tracees, stopped, syscall, args)?,
        SpecialCall::Prctl if int(first) == PR_GET_SECCOMP => Some(OnExit::HideFilter),
        SpecialCall::Prctl if int(first) == PR_GET_NO_NEW_PRIVS => Some(OnExit::HideNoNewPrivs),
        SpecialCall::Prctl if int(first) == PR_SET_NO_NEW_PRIVS => Some(OnExit::NoNewPrivs),
        SpecialCall::Prctl if int(first) == PR_SET_SECCOMP => match second {
            SECCOMP_MODE_STRICT => return enter_strict_mode(tracees, stopped),
            SECCOMP_MODE_FILTER if tracees.lacks_privilege(stopped.task()) => {
                refuse_filter(stopped, syscall.arch, third)?
            }
            SECCOMP_MODE_FILTER => Some(OnExit::OwnFilter { all_threads: false }),
            _ => None,
        },
        SpecialCall::Seccomp => match int(first) {
            SECCOMP_SET_MODE_STRICT if int(second) == 0 && third == 0 => {
                return enter_strict_mode(tracees, stopped);
            }
            SECCOMP_SET_MODE_FILTER if tracees.lacks_privilege(stopped.task()) => {
                refuse_filter(stopped, syscall.arch, third)?
            }
            SECCOMP_SET_MODE_FILTER => Some(OnExit::OwnFilter {
                all_threads: second & libc::SECCOMP_FILTER_FLAG_TSYNC != 0,
            }),
            _ => None,
        },
        SpecialCall::Landlock if tracees.lacks_privilege(stopped.task()) => {
            // Without a ruleset and flags it is EBADF, unless the kernel has no Landlock.
            let changes = vec![change(0, first, u64::MAX), change(1, second, 0)];
            Some(OnExit::Refused {
                undo: Undo::of_arguments(stopped, syscall.arch, changes)?,
                fails: Errno::EBADF,
                natively: Errno::EPERM,
            })
        }
        SpecialCall::Ptrace if TRACING.contains(&first) => Some(OnExit::Tracing),
        SpecialCall::SocketOption => {
            tracees.sockets_have_limits |= match syscall.name().as_deref() {
                Some("socketcall") => int(first) == SYS_SETSOCKOPT,
                _ => int(second) == SOL_SOCKET && LIMITS_OF_SOCKETS.contains(&int(third)),
            };
            None
        }
        SpecialCall::Clone
        | SpecialCall::Prctl
        | SpecialCall::Ptrace
        | SpecialCall::Landlock
        | SpecialCall::Sleep(_)
        | SpecialCall::Final => None,
    })
}

/// Handles the exit of a call that returns this value. Returns the loss that it shows, if any.
pub(super) fn at_exit(
    tracees: &mut Tracees,
    stopped: &Stopped,
    on_exit: OnExit,
    value: i64,
) -> Result<Option<&'static str>, Died> {
    let task = stopped.task();
    match on_exit {
        // The result is 0 or the descriptor of a listener. It can also be the thread for which TSYNC failed; more stops
        // than needed do no harm.
        OnExit::OwnFilter { all_threads } if value >= 0 => {
            let tracee = tracees.get(task);
            tracee.seccomp = Seccomp::Filter;
            tracee.stops = Stops::Syscalls;
            let no_new_privs = tracee.no_new_privs;
            if all_threads {
                for (_, sibling) in tracees.siblings(task) {
                    sibling.no_new_privs |= no_new_privs;
                    sibling.seccomp = Seccomp::Filter;
                    sibling.stops = Stops::Syscalls;
                }
            }
        }
        OnExit::StrictMode if value == 0 => tracees.get(task).seccomp = Seccomp::Strict,
        OnExit::HideFilter if value == SECCOMP_MODE_FILTER.cast_signed() => {
            if tracees.use_filter() && tracees.get(task).seccomp == Seccomp::Disabled {
                set_result(stopped, 0)?;
            }
        }
        OnExit::NoNewPrivs if value == 0 => tracees.get(task).no_new_privs = true,
        OnExit::HideNoNewPrivs if value == 1 => {
            if tracees.hide_no_new_privs && !tracees.get(task).no_new_privs {
                set_result(stopped, 0)?;
            }
        }
        OnExit::Refused {
            undo,
            fails,
            natively,
        } => {
            undo.apply(stopped);
            if value == -i64::from(fails as i32) {
                set_result(stopped, -i64::from(natively as i32))?;
            }
        }
        OnExit::Tracing if value == -i64::from(libc::EPERM) => return Ok(Some(SECOND_TRACER)),
        OnExit::Clone3 { undo, .. } => {
            if let Some(undo) = undo {
                undo.apply(stopped);
            }
            if value > 0 && !adopt(tracees, task, value) {
                return Ok(Some(ESCAPED));
            }
        }
        OnExit::Undo(undo) => {
            undo.apply(stopped);
        }
        OnExit::OwnFilter { .. }
        | OnExit::StrictMode
        | OnExit::HideFilter
        | OnExit::NoNewPrivs
        | OnExit::HideNoNewPrivs
        | OnExit::Tracing
        | OnExit::FastPath(_)
        | OnExit::Sleep => {}
    }
    Ok(None)
}

/// Changes the result of a call, at its exit.
fn set_result(stopped: &Stopped, value: i64) -> Result<(), Died> {
    let mut registers = Registers::read(stopped)?;
    registers.set_result(value);
    registers.write(stopped)
}

/// An argument that changes, counted from 0.
fn change(index: usize, was: u64, is: u64) -> ArgumentChange {
    ArgumentChange { index, was, is }
}

/// Makes a call that loads a filter fail with EACCES, which it would without the recorder. The kernel looks for that after
/// the flags, and after the address (EFAULT) and the length of the program (EINVAL).
fn refuse_filter(stopped: &Stopped, arch: Arch, address: u64) -> Result<Option<OnExit>, Died> {
    // The length is the first field of `struct sock_fprog`, whose size depends on the ABI's pointers.
    let mut program = [0; 16];
    let size = if width(arch) == u64::MAX && arch != Arch::X32 {
        16
    } else {
        8
    };
    let readable = stopped.read_memory(address, &mut program[..size]).is_ok();
    let length = u16::from_le_bytes([program[0], program[1]]);
    if !readable || !(1..=BPF_MAXINSNS).contains(&length) {
        return Ok(None);
    }
    let changes = vec![change(2, address, NOTHING & width(arch))];
    Ok(Some(OnExit::Refused {
        undo: Undo::of_arguments(stopped, arch, changes)?,
        fails: Errno::EFAULT,
        natively: Errno::EACCES,
    }))
}

/// Makes sure that clone3(2) makes a task that is followed, whatever other tasks do to its arguments meanwhile.
fn enter_clone3(
    tracees: &mut Tracees,
    stopped: &Stopped,
    syscall: Syscall,
    args: [u64; 6],
) -> Result<Option<OnExit>, Died> {
    let (arch, [address, size, ..]) = (syscall.arch, args);
    let room = tracees
        .room_of(stopped)
        .filter(|room| room.is_below(width(arch)));
    let arguments = (address, size);
    let (changes, copy) =
        match clone_args::copy(stopped, &tracees.copies, room, arguments, CLONE_UNTRACED) {
            Arguments::Refused => return Ok(None),
            Arguments::Unreadable => (vec![change(0, address, NOTHING & width(arch))], None),
            Arguments::TooLong => (vec![change(1, size, u64::from(u32::MAX))], None),
            Arguments::Copied {
                place,
                size: copied,
            } => {
                let changes = vec![change(0, address, place.address), change(1, size, copied)];
                (changes, Some(place))
            }
            Arguments::InPlace => {
                // It may be dying, and nothing of it can be read any more.
                Registers::read(stopped)?;
                // Nobody else can change registers. But the call must be the one that the workload's own filters judge.
                if tracees.get(stopped.task()).seccomp != Seccomp::Filter
                    && let Some(registers) =
                        clone_args::for_clone(stopped, arch, arguments, CLONE_UNTRACED)
                    && let Some(clone) = Syscall::from_name(arch, "clone")
                {
                    let changes = (0..).zip(args.into_iter().zip(registers));
                    let changes = changes.map(|(index, (was, is))| change(index, was, is));
                    let changes = changes.collect();
                    let calls = Some((syscall, clone));
                    let undo = Some(Undo::of_call(stopped, arch, changes, calls)?);
                    return Ok(Some(OnExit::Clone3 { undo, copy: None }));
                }
                let flags = stopped.read_word(address);
                let undo = flags.filter(|was| was & CLONE_UNTRACED != 0).map(|was| {
                    let is = was & !CLONE_UNTRACED;
                    stopped.write_word(address, is);
                    Undo::Memory { address, was, is }
                });
                return Ok(Some(OnExit::Clone3 { undo, copy: None }));
            }
        };
    let undo = Some(Undo::of_arguments(stopped, arch, changes)?);
    Ok(Some(OnExit::Clone3 { undo, copy }))
}

/// Takes in the task that a call made without a stop that reported it. Returns whether all its calls were seen, which is so
/// if the kernel made it a tracee (`CLONE_PTRACE`). Else it is seized at once: it must not go on under a filter without a
/// tracer.
fn adopt(tracees: &mut Tracees, parent: Task, value: i64) -> bool {
    let Some(child) = i32::try_from(value)
        .ok()
        .and_then(|value| proc::created_by(parent, value))
    else {
        return false;
    };
    let seized = attach::seize(child, tracees.options);
    let was_tracee =
        matches!(seized, Err(Error::Traced { tracer, .. }) if attach::is_this_thread(tracer));
    if seized.is_err() && !was_tracee {
        return false;
    }
    let parent = tracees.get(parent);
    let (stops, seccomp, room) = (parent.stops, parent.seccomp, parent.room);
    let no_new_privs = parent.no_new_privs;
    let child_state = tracees.get(child);
    (child_state.stops, child_state.seccomp, child_state.room) = (stops, seccomp, room);
    (child_state.no_new_privs, child_state.early) = (no_new_privs, false);
    child_state.has_threads = true;
    if !was_tracee {
        child_state.interrupt();
        // It dies as it likes.
        let _ = requests::interrupt(Pid::from_raw(child.0));
    }
    was_tracee
}

// linux/prctl.h, linux/seccomp.h, linux/bpf_common.h.
const PR_GET_SECCOMP: u64 = 21;
const PR_SET_SECCOMP: u64 = 22;
const PR_SET_NO_NEW_PRIVS: u64 = 38;
const PR_GET_NO_NEW_PRIVS: u64 = 39;
const BPF_MAXINSNS: u16 = 4096;
const SECCOMP_MODE_STRICT: u64 = 1;
const SECCOMP_MODE_FILTER: u64 = 2;
const SECCOMP_SET_MODE_STRICT: u64 = 0;
const SECCOMP_SET_MODE_FILTER: u64 = 1;

/// `PTRACE_TRACEME`, `PTRACE_ATTACH`, `PTRACE_SEIZE` (linux/ptrace.h).
const TRACING: [u64; 3] = [0, 16, 0x4206];

/// `socket.h`; `SO_RCVTIMEO` and `SO_SNDTIMEO`, with either size of time.
const SOL_SOCKET: u64 = 1;
const LIMITS_OF_SOCKETS: [u64; 4] = [20, 21, 66, 67];
/// `linux/net.h`.
const SYS_SETSOCKOPT: u64 = 14;

/// Strict mode excludes a filter: the recording filter would make the kernel answer EINVAL. So the call is skipped with
/// the result 0, and the recorder, which sees every call of the task, enforces strict mode.
fn enter_strict_mode(tracees: &mut Tracees, stopped: &Stopped) -> Result<Option<OnExit>, Died> {
    let use_filter = tracees.use_filter();
    let tracee = tracees.get(stopped.task());
    if !use_filter || tracee.seccomp != Seccomp::Disabled {
        return Ok(Some(OnExit::StrictMode));
    }
    let mut registers = Registers::read(stopped)?;
    registers.skip_call(0);
    registers.write(stopped)?;
    tracee.seccomp = Seccomp::Strict;
    tracee.stops = Stops::Syscalls;
    Ok(None)
}

/// A filter of the workload's own answered `SECCOMP_RET_TRACE`, but the workload has no tracer: the call fails with
/// ENOSYS, as it would without the recorder (seccomp(2)).
pub(super) fn refuse_without_tracer(stopped: &Stopped) -> Result<(), Died> {
    let mut registers = Registers::read(stopped)?;
    registers.skip_call(-i64::from(libc::ENOSYS));
    registers.write(stopped)
}

/// After a filter's `SECCOMP_RET_TRACE`, the kernel skips a call with a negative number as if the tracer had wanted that
/// (`__seccomp_filter`). Where the result has the register of an argument, the caller would get that argument.
pub(super) fn refuse_negative_number(stopped: &Stopped, info: SyscallInfo) -> Result<(), Died> {
    if MACHINE.result_replaces_argument
        && let SyscallOp::Entry { nr: ..0, .. } = info.op
    {
        let mut registers = Registers::read(stopped)?;
        registers.set_result(-i64::from(libc::ENOSYS));
        registers.write(stopped)?;
    }
    Ok(())
}

/// Enforces strict mode at the entry of a call (seccomp(2); `__secure_computing_strict` of the kernel): four calls are
/// allowed, any other ends the task, but not its siblings, with SIGKILL. Returns whether the call is allowed.
pub(super) fn enforce_strict_mode(stopped: &Stopped, syscall: Syscall) -> Result<bool, Died> {
    let sigreturn = match syscall.arch {
        Arch::X86 | Arch::Arm => "sigreturn",
        _ => "rt_sigreturn",
    };
    let allowed = ["read", "write", "exit", sigreturn];
    if (syscall.name()).is_some_and(|name| allowed.contains(&name.as_ref())) {
        return Ok(true);
    }
    let process = proc::process_of(stopped.task()).ok_or(Died)?;
    let exit = Syscall::from_name(syscall.arch, "exit");
    match exit {
        // A signal would end its siblings too. Nobody can see whether a thread ended by a signal or by exit(2).
        Some(exit) if proc::threads_of(process).len() > 1 => {
            let mut registers = Registers::read(stopped)?;
            registers.set_call(exit.audit_nr());
            registers.write(stopped)?;
        }
        // It ends before it executes its call. It may be gone already.
        _ => {
            let _ = kill(stopped.pid(), Signal::SIGKILL);
        }
    }
    Ok(false)
}
