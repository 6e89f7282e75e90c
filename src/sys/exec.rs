//! Executes a command under a filter: execve(2) is the only system call after loading the filter.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::inherited;
use super::seccomp::{LoadError, LoadFilter};

/// A command, prepared for execve(2) in a process that must not allocate.
pub(crate) struct ExecImage {
    path: CString,
    /// The strings that the pointers lead to.
    _argv: Vec<CString>,
    argv: Vec<*const c_char>,
    /// The fallback of execvp(3) for a file that the kernel can't execute: a shell that reads it.
    script: Vec<*const c_char>,
}

const SHELL: &CStr = c"/bin/sh";

impl ExecImage {
    /// The command at `path` with these arguments, the zeroth included.
    pub(crate) fn new(path: CString, argv: Vec<CString>) -> ExecImage {
        // The strings don't move when their owners do.
        let to_argv = pointers(argv.iter().map(CString::as_c_str));
        let to_script = pointers([SHELL, &path].into_iter());
        let script = [&to_script[..2], to_argv.get(1..).unwrap_or(&[])].concat();
        ExecImage {
            path,
            _argv: argv,
            argv: to_argv,
            script,
        }
    }

    pub(super) fn path(&self) -> &CStr {
        &self.path
    }

    /// Calls execve(2). Returns only if that fails, with errno set.
    pub(super) fn execute(&self) {
        // SAFETY: the arrays end with a null and lead to strings that `self` owns; `environ` is the inherited array.
        unsafe {
            libc::execve(self.path.as_ptr(), self.argv.as_ptr(), environ.cast());
            if Errno::last() == Errno::ENOEXEC {
                libc::execve(SHELL.as_ptr(), self.script.as_ptr(), environ.cast());
            }
        }
    }

    /// The arguments of the call, as a filter sees them.
    pub(crate) fn args(&self) -> [u64; 6] {
        // SAFETY: this is a read. A write would be that of std::env::set_var, which is unsafe: its caller must ensure
        // that no other thread reads the environment. This crate doesn't call it.
        let environment = unsafe { environ };
        let pointers = [
            self.path.as_ptr().addr(),
            self.argv.as_ptr().addr(),
            environment.addr(),
        ];
        let mut args = [0; 6];
        for (arg, pointer) in args.iter_mut().zip(pointers) {
            *arg = pointer as u64;
        }
        args
    }
}

fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const c_char> {
    strings
        .map(CStr::as_ptr)
        .chain([std::ptr::null()])
        .collect()
}

unsafe extern "C" {
    /// The environment as it was inherited, entries without `=` included (environ(7)).
    static environ: *const *const c_char;
}

/// Restores the state in which the process was started, loads the filter, and executes the command. With
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, `deliver` borrows the listener's descriptor. It must neither make system calls nor
/// allocate.
///
/// Returns if the filter was not loaded. If execve(2) fails, the process ends.
pub(crate) fn load_and_exec(
    filter: &LoadFilter<'_>,
    image: &ExecImage,
    deliver: impl FnOnce(RawFd),
) -> LoadError {
    inherited::restore();
    match filter.load() {
        Err(error) => return error,
        Ok(fd) if filter.flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 => deliver(fd),
        Ok(_) => {}
    }
    image.execute();
    die(&image.path, Errno::last())
}

/// Ends the process with env(1)'s status for a command that can't be executed. The filter may refuse write(2), and even
/// exit(2); then abort(3) ends it by an invalid instruction.
pub(super) fn die(path: &CStr, errno: Errno) -> ! {
    let parts = [
        b"sc-record: error: can't execute ",
        path.to_bytes(),
        b": ",
        errno.desc().as_bytes(),
        b"\n",
    ];
    for part in parts {
        // SAFETY: the part is valid for reading.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    exit_process(if errno == Errno::ENOENT { 127 } else { 126 })
}

/// Ends all threads of the process at once, without destructors or handlers, by the means that the filter leaves.
pub(crate) fn exit_process(status: i32) -> ! {
    // SAFETY: no pointers; the calls end the thread or return.
    unsafe {
        libc::syscall(libc::SYS_exit_group, status);
        libc::syscall(libc::SYS_exit, status);
        libc::abort()
    }
}
