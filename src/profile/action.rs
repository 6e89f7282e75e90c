//! The action that a filter takes for a system call.

use std::fmt;

use nix::errno::Errno;

/// The answer of a filter to a system call (seccomp(2), "filter return values").
///
/// The order is the kernel's precedence, strictest first: of several filters' answers the smallest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// End the process as by SIGSYS (Linux 4.14).
    KillProcess,
    /// End the calling thread as by SIGSYS; the other threads run on. `SCMP_ACT_KILL` is another name for it.
    KillThread,
    /// Send SIGSYS to the thread; the call is not executed.
    Trap,
    /// Refuse the call with this errno.
    Errno(ErrnoRet),
    /// Ask the process that holds the listener (Linux 5.0).
    Notify,
    /// Ask the tracer, with this number (`PTRACE_GETEVENTMSG`). Without a tracer the call fails with ENOSYS.
    Trace(u16),
    /// Log the call and execute it (Linux 4.14).
    Log,
    /// Execute the call.
    Allow,
}

impl Action {
    /// Whether the call is executed without anybody being asked.
    #[must_use]
    pub fn executes(self) -> bool {
        matches!(self, Action::Allow | Action::Log)
    }
}

impl fmt::Display for Action {
    /// The OCI name, with the number where there is one: `SCMP_ACT_ERRNO(EPERM)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::KillProcess => f.write_str("SCMP_ACT_KILL_PROCESS"),
            Action::KillThread => f.write_str("SCMP_ACT_KILL_THREAD"),
            Action::Trap => f.write_str("SCMP_ACT_TRAP"),
            Action::Errno(errno) => write!(f, "SCMP_ACT_ERRNO({errno})"),
            Action::Notify => f.write_str("SCMP_ACT_NOTIFY"),
            Action::Trace(message) => write!(f, "SCMP_ACT_TRACE({message})"),
            Action::Log => f.write_str("SCMP_ACT_LOG"),
            Action::Allow => f.write_str("SCMP_ACT_ALLOW"),
        }
    }
}

/// An errno that a filter can answer: 0 (the call seems to succeed) to 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrnoRet(u16);

impl ErrnoRet {
    /// "Operation not permitted": the default of runtimes.
    pub const EPERM: ErrnoRet = ErrnoRet(1);
    /// "Function not implemented": what callers take as the sign to do without the call.
    pub const ENOSYS: ErrnoRet = ErrnoRet(38);
    /// Address family not supported.
    pub const EAFNOSUPPORT: ErrnoRet = ErrnoRet(97);
    /// The kernel makes any greater number into this one (`MAX_ERRNO`, `linux/err.h`).
    pub const MAX: ErrnoRet = ErrnoRet(4095);

    /// The errno with this number; `None` above [`ErrnoRet::MAX`].
    #[must_use]
    pub fn new(number: u32) -> Option<ErrnoRet> {
        match u16::try_from(number) {
            Ok(number) if number <= Self::MAX.0 => Some(ErrnoRet(number)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ErrnoRet {
    /// The name of errno(3), or the number where it has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Errno::from_raw(i32::from(self.0)) {
            Errno::UnknownErrno => write!(f, "{}", self.0),
            errno => write!(f, "{errno:?}"),
        }
    }
}
