//! ABIs, with every spelling of every architecture, and the tables of the crate `syscalls`.

use std::fmt;
use std::str::FromStr;

use libseccomp::ScmpArch;
use serde::{Deserialize, Serialize};

/// Declares [`Arch`] once, with every spelling of every architecture.
macro_rules! arches {
    ($($(#[$doc:meta])* $variant:ident = $audit:literal, $name:literal, $oci:expr, $scmp:expr, $table:tt;)*) => {
        /// The ABI of a system call, as the kernel reports it at the call.
        ///
        /// They are ordered as declared, common ones first. Files use this order too.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum Arch {
            $($(#[$doc])* $variant,)*
        }

        impl Arch {
            /// Every known ABI.
            pub const ALL: &[Arch] = &[$(Arch::$variant),*];

            /// The name in recordings, on the command line and in reports: `x86_64`, `x86`, `aarch64`, …
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Arch::$variant => $name,)* }
            }

            /// The name in OCI profiles and in libseccomp: `SCMP_ARCH_X86_64`, … `None` if OCI has none.
            #[must_use]
            pub const fn oci_name(self) -> Option<&'static str> {
                match self { $(Arch::$variant => $oci,)* }
            }

            /// The `AUDIT_ARCH_*` value of `linux/audit.h`: `seccomp_data.arch`, `arch=` of audit records. x32 shares
            /// that of `x86_64`.
            #[must_use]
            pub const fn audit(self) -> u32 {
                match self { $(Arch::$variant => $audit,)* }
            }

            /// libseccomp's token; `None` if it doesn't support the ABI.
            #[must_use]
            pub const fn scmp(self) -> Option<ScmpArch> {
                match self { $(Arch::$variant => $scmp,)* }
            }

            pub(super) fn table_name(self, nr: usize) -> Option<&'static str> {
                let name = match self { $(Arch::$variant => table!(name nr, $table),)* };
                name.and_then(|name| self.corrected(nr, name))
            }

            pub(super) fn table_nr(self, name: &str) -> Option<i32> {
                let in_table = match (self, name) {
                    (Arch::Aarch64 | Arch::Loongarch64, "newfstatat") => "fstatat",
                    _ => name,
                };
                match self { $(Arch::$variant => table!(nr in_table, $table),)* }
                    .filter(|&nr| usize::try_from(nr).ok().and_then(|nr| self.table_name(nr)) == Some(name))
            }
        }
    };
}

/// Looks up a table of the crate `syscalls`; `_` if it has none for the ABI.
macro_rules! table {
    ($what:ident $key:expr, _) => {{
        let _ = $key;
        None
    }};
    (name $nr:expr, $table:ident) => {
        syscalls::$table::Sysno::new($nr).map(|sysno| sysno.name())
    };
    (nr $name:expr, $table:ident) => {
        syscalls::$table::Sysno::from_str($name)
            .ok()
            .map(|sysno| sysno.id())
    };
}

arches! {
    /// 64-bit x86.
    X86_64 = 0xc000_003e, "x86_64", Some("SCMP_ARCH_X86_64"), Some(ScmpArch::X8664), x86_64;
    /// 32-bit x86 (i386), also `int 0x80` from a 64-bit process.
    X86 = 0x4000_0003, "x86", Some("SCMP_ARCH_X86"), Some(ScmpArch::X86), x86;
    /// 32-bit pointers in 64-bit mode; numbers are kept without `__X32_SYSCALL_BIT`.
    X32 = 0xc000_003e, "x32", Some("SCMP_ARCH_X32"), Some(ScmpArch::X32), _;
    /// 64-bit ARM.
    Aarch64 = 0xc000_00b7, "aarch64", Some("SCMP_ARCH_AARCH64"), Some(ScmpArch::Aarch64), aarch64;
    /// 32-bit ARM (EABI).
    Arm = 0x4000_0028, "arm", Some("SCMP_ARCH_ARM"), Some(ScmpArch::Arm), arm;
    /// 64-bit RISC-V.
    Riscv64 = 0xc000_00f3, "riscv64", Some("SCMP_ARCH_RISCV64"), Some(ScmpArch::Riscv64), riscv64;
    /// 32-bit RISC-V.
    Riscv32 = 0x4000_00f3, "riscv32", None, None, riscv32;
    /// 64-bit IBM Z.
    S390x = 0x8000_0016, "s390x", Some("SCMP_ARCH_S390X"), Some(ScmpArch::S390X), s390x;
    /// 31-bit IBM Z.
    S390 = 0x0000_0016, "s390", Some("SCMP_ARCH_S390"), Some(ScmpArch::S390), _;
    /// 64-bit little-endian POWER.
    Ppc64le = 0xc000_0015, "ppc64le", Some("SCMP_ARCH_PPC64LE"), Some(ScmpArch::Ppc64Le), powerpc64;
    /// 64-bit big-endian POWER.
    Ppc64 = 0x8000_0015, "ppc64", Some("SCMP_ARCH_PPC64"), Some(ScmpArch::Ppc64), powerpc64;
    /// 32-bit PowerPC.
    Ppc = 0x0000_0014, "ppc", Some("SCMP_ARCH_PPC"), Some(ScmpArch::Ppc), powerpc;
    /// `LoongArch`, 64 bits.
    Loongarch64 = 0xc000_0102, "loongarch64", Some("SCMP_ARCH_LOONGARCH64"), Some(ScmpArch::Loongarch64), loongarch64;
    /// MIPS o32, big-endian.
    Mips = 0x0000_0008, "mips", Some("SCMP_ARCH_MIPS"), Some(ScmpArch::Mips), mips;
    /// MIPS o32, little-endian.
    Mipsel = 0x4000_0008, "mipsel", Some("SCMP_ARCH_MIPSEL"), Some(ScmpArch::Mipsel), mips;
    /// MIPS n64, big-endian.
    Mips64 = 0x8000_0008, "mips64", Some("SCMP_ARCH_MIPS64"), Some(ScmpArch::Mips64), mips64;
    /// MIPS n64, little-endian.
    Mipsel64 = 0xc000_0008, "mipsel64", Some("SCMP_ARCH_MIPSEL64"), Some(ScmpArch::Mipsel64), mips64;
    /// MIPS n32, big-endian.
    Mips64n32 = 0xa000_0008, "mips64n32", Some("SCMP_ARCH_MIPS64N32"), Some(ScmpArch::Mips64N32), _;
    /// MIPS n32, little-endian.
    Mipsel64n32 = 0xe000_0008, "mipsel64n32", Some("SCMP_ARCH_MIPSEL64N32"), Some(ScmpArch::Mipsel64N32), _;
    /// PA-RISC, 32 bits.
    Parisc = 0x0000_000f, "parisc", Some("SCMP_ARCH_PARISC"), Some(ScmpArch::Parisc), _;
    /// PA-RISC, 64 bits.
    Parisc64 = 0x8000_000f, "parisc64", Some("SCMP_ARCH_PARISC64"), Some(ScmpArch::Parisc64), _;
    /// Motorola 68000.
    M68k = 0x0000_0004, "m68k", Some("SCMP_ARCH_M68K"), Some(ScmpArch::M68k), _;
    /// `SuperH`, little-endian.
    Sh = 0x4000_002a, "sh", Some("SCMP_ARCH_SH"), Some(ScmpArch::Sh), _;
    /// `SuperH`, big-endian.
    Sheb = 0x0000_002a, "sheb", Some("SCMP_ARCH_SHEB"), Some(ScmpArch::Sheb), _;
    /// SPARC, 32 bits.
    Sparc = 0x0000_0002, "sparc", None, None, sparc;
    /// SPARC, 64 bits.
    Sparc64 = 0x8000_002b, "sparc64", None, None, sparc64;
}

impl Arch {
    /// The ABI of this program.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Arch = Arch::X86_64;
    /// The ABI of this program.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Arch = Arch::Aarch64;
    /// The ABI of this program.
    #[cfg(target_arch = "riscv64")]
    pub const NATIVE: Arch = Arch::Riscv64;

    /// Corrects names in which the tables of the crate `syscalls` (0.8) differ from the kernel. A profile with a wrong
    /// name denies the call.
    fn corrected(self, nr: usize, name: &'static str) -> Option<&'static str> {
        match (self, name) {
            // Empty slots of the MIPS tables.
            _ if name.starts_with("unused") || name.starts_with("reserved") => None,
            // arm64 has none of the calls that give 32-bit ABIs 64-bit times (include/uapi/asm-generic/unistd.h).
            (Arch::Aarch64, _) if (403..=423).contains(&nr) => None,
            (Arch::Aarch64 | Arch::Loongarch64, "fstatat") => Some("newfstatat"),
            // The name is a keyword in Rust.
            _ => Some(name.strip_prefix("r#").unwrap_or(name)),
        }
    }

    /// Whether its programs have pointers of 64 bits.
    #[must_use]
    pub fn is_64_bit(self) -> bool {
        /// `__AUDIT_ARCH_64BIT`, `__AUDIT_ARCH_CONVENTION_MIPS64_N32` (linux/audit.h).
        const BITS_64: u32 = 0x8000_0000;
        const N32: u32 = 0x2000_0000;
        self != Arch::X32 && self.audit() & (BITS_64 | N32) == BITS_64
    }

    /// The other ABIs of a kernel whose own is this one: those of its 32-bit programs.
    #[must_use]
    pub const fn companions(self) -> &'static [Arch] {
        match self {
            Arch::X86_64 => &[Arch::X86, Arch::X32],
            Arch::Aarch64 => &[Arch::Arm],
            Arch::S390x => &[Arch::S390],
            Arch::Ppc64 => &[Arch::Ppc],
            Arch::Sparc64 => &[Arch::Sparc],
            Arch::Parisc64 => &[Arch::Parisc],
            Arch::Mips64 => &[Arch::Mips64n32, Arch::Mips],
            Arch::Mipsel64 => &[Arch::Mipsel64n32, Arch::Mipsel],
            _ => &[],
        }
    }

    /// The ABI with this `AUDIT_ARCH_*` value. For that of x32, it is [`Arch::X86_64`].
    #[must_use]
    pub fn from_audit(audit: u32) -> Option<Arch> {
        Self::ALL.iter().copied().find(|arch| arch.audit() == audit)
    }

    /// The ABI with this OCI name.
    #[must_use]
    pub fn from_oci_name(name: &str) -> Option<Arch> {
        Self::ALL
            .iter()
            .copied()
            .find(|arch| arch.oci_name() == Some(name))
    }
}

impl Arch {
    /// Parses any common name of an architecture: this program's, OCI's, Debian's or uname(1)'s, or the audit value
    /// (`c000003e`, which is read as `x86_64`).
    #[must_use]
    pub fn from_any_name(text: &str) -> Option<Arch> {
        let text = text.to_ascii_lowercase();
        let known = || text.parse().ok();
        let oci = || Self::from_oci_name(&text.to_ascii_uppercase());
        let audit = || {
            let digits = text.strip_prefix("0x").unwrap_or(&text);
            Self::from_audit(u32::from_str_radix(digits, 16).ok()?)
        };
        known().or_else(oci).or_else(audit).or(match text.as_str() {
            "amd64" | "x86-64" => Some(Arch::X86_64),
            "i386" | "i486" | "i586" | "i686" => Some(Arch::X86),
            "arm64" => Some(Arch::Aarch64),
            "armel" | "armhf" | "armv6l" | "armv7l" | "armv8l" => Some(Arch::Arm),
            "ppc64el" | "powerpc64le" => Some(Arch::Ppc64le),
            "powerpc64" => Some(Arch::Ppc64),
            "powerpc" => Some(Arch::Ppc),
            "loong64" => Some(Arch::Loongarch64),
            "mips64el" => Some(Arch::Mipsel64),
            "hppa" => Some(Arch::Parisc),
            _ => None,
        })
    }
}

/// The name is not that of an ABI.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown architecture {0:?}")]
pub struct UnknownArch(String);

impl FromStr for Arch {
    type Err = UnknownArch;

    /// Parses [`Arch::name`].
    fn from_str(name: &str) -> Result<Arch, UnknownArch> {
        let found = Self::ALL.iter().copied().find(|arch| arch.name() == name);
        found.ok_or_else(|| UnknownArch(name.to_owned()))
    }
}

impl TryFrom<String> for Arch {
    type Error = UnknownArch;

    fn try_from(name: String) -> Result<Arch, UnknownArch> {
        name.parse()
    }
}

impl From<Arch> for &'static str {
    fn from(arch: Arch) -> &'static str {
        arch.name()
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
