//! Calls by names that hold on every machine.

use nix::sys::personality::{self, Persona};
use sc_record::syscall::{Arch, Syscall};

/// Calls that newer ABIs such as aarch64 lack, and those that libc makes there.
const REPLACED: [(&str, &str); 11] = [
    ("access", "faccessat"),
    ("alarm", "setitimer"),
    ("dup2", "dup3"),
    ("epoll_wait", "epoll_pwait"),
    ("fork", "clone"),
    ("getpgrp", "getpgid"),
    ("open", "openat"),
    ("pause", "ppoll"),
    ("pipe", "pipe2"),
    ("poll", "ppoll"),
    ("vfork", "clone"),
];

/// The ABI of this machine's 32-bit programs.
pub(crate) const COMPAT: Arch = match Arch::NATIVE {
    Arch::Aarch64 => Arch::Arm,
    _ => Arch::X86,
};

/// The name of this machine's own ABI in recordings and reports.
pub(crate) const NATIVE: &str = Arch::NATIVE.name();

/// `native` and `compat` for the ABIs of this machine, the name of another.
pub(crate) fn abi(name: &str) -> &str {
    if name == NATIVE {
        "native"
    } else if name == COMPAT.name() {
        "compat"
    } else {
        name
    }
}

/// The name of the call that libc makes on this ABI where it makes the named one on `x86_64`.
pub(crate) fn name(arch: Arch, name: &'static str) -> &'static str {
    if arch != Arch::Aarch64 {
        return name;
    }
    let replaced = REPLACED.iter().find(|(lacked, _)| *lacked == name);
    replaced.map_or(name, |(_, made)| made)
}

/// A call as `ABI/NAME`, with `native` and `compat` for the ABIs of this machine, and its name by [`name`].
pub(crate) fn call(text: &'static str) -> Syscall {
    let (arch, named) = text.split_once('/').unwrap();
    let arch = match arch {
        "native" => Arch::NATIVE,
        "compat" => COMPAT,
        other => other.parse().unwrap(),
    };
    Syscall::parse(arch, name(arch, named)).unwrap()
}

/// Lets the programs that this thread starts from now on make the same calls to load libc each time. Debian's libc for aarch64 is
/// aligned to 64 KiB: ld.so unmaps what is before it, unless the kernel's random address is a multiple of that.
pub(crate) fn load_libraries_at_the_same_addresses() {
    if cfg!(target_arch = "aarch64") {
        use_no_random_addresses();
    }
}

/// Lets the programs that this thread starts from now on have the same addresses each time.
pub(crate) fn use_no_random_addresses() {
    let persona = personality::get().unwrap();
    personality::set(persona | Persona::ADDR_NO_RANDOMIZE).unwrap();
}
