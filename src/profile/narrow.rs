//! The comparisons of a profile on ABIs with 32-bit arguments.
//!
//! libseccomp compares the lower halves there and drops the upper half of the value: a rule for `0x1_0000_0001`
//! would hold for 1. Here a value must fit, or else it is not compared at all.

use super::{ArgCmp, Op};
use crate::syscall::Arch;

/// Whether libseccomp takes the ABI's arguments for 32 bits wide (`ARCH_SIZE_32` in its `arch-*.c`). For x32 and MIPS n32
/// too, although their registers have 64.
pub(crate) fn has_32_bit_args(arch: Arch) -> bool {
    match arch {
        Arch::X86
        | Arch::X32
        | Arch::Arm
        | Arch::Riscv32
        | Arch::S390
        | Arch::Ppc
        | Arch::Mips
        | Arch::Mipsel
        | Arch::Mips64n32
        | Arch::Mipsel64n32
        | Arch::Parisc
        | Arch::M68k
        | Arch::Sh
        | Arch::Sheb
        | Arch::Sparc => true,
        Arch::X86_64
        | Arch::Aarch64
        | Arch::Riscv64
        | Arch::S390x
        | Arch::Ppc64le
        | Arch::Ppc64
        | Arch::Loongarch64
        | Arch::Mips64
        | Arch::Mipsel64
        | Arch::Parisc64
        | Arch::Sparc64 => false,
    }
}

/// The same comparison of a 32-bit argument; `None` if there is none.
pub(crate) fn narrow_arg(arg: &ArgCmp) -> Option<ArgCmp> {
    let value = match arg.op() {
        // What a mask leaves of an argument is no wider than the argument.
        Op::MaskedEq => lower(arg.value()),
        Op::Eq | Op::Ne => unsigned(arg.value()).or(signed(arg.value()))?,
        Op::Lt | Op::Le | Op::Ge | Op::Gt => unsigned(arg.value())?,
    };
    let value_two = match (arg.op(), arg.value_two()) {
        (Op::MaskedEq, Some(expected)) => {
            let seen = expected & arg.value();
            Some(unsigned(seen).or(signed(seen))?)
        }
        (_, value_two) => value_two,
    };
    Some(arg.with_values(value, value_two))
}

fn lower(value: u64) -> u64 {
    value & u64::from(u32::MAX)
}

fn unsigned(value: u64) -> Option<u64> {
    (value == lower(value)).then_some(value)
}

/// A negative `int`: -1 in a file for 64 and 32 bits is
/// `0xffff_ffff_ffff_ffff`.
fn signed(value: u64) -> Option<u64> {
    let narrow = i32::try_from(value.cast_signed()).ok()?;
    Some(u64::from(narrow.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(op: Op, value: u64, value_two: Option<u64>) -> Option<(u64, Option<u64>)> {
        let arg = ArgCmp::new(0, op, value, value_two).unwrap();
        narrow_arg(&arg).map(|arg| (arg.value(), arg.value_two()))
    }

    #[test]
    fn what_fits_stays() {
        for op in [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Ge, Op::Gt] {
            assert_eq!(narrowed(op, 0xffff_ffff, None), Some((0xffff_ffff, None)));
        }
        assert_eq!(
            narrowed(Op::MaskedEq, 0xff, Some(0x12)),
            Some((0xff, Some(0x12)))
        );
    }

    #[test]
    fn a_negative_int_is_the_same_at_both_widths() {
        let minus_two = (-2_i64).cast_unsigned();
        assert_eq!(narrowed(Op::Eq, minus_two, None), Some((0xffff_fffe, None)));
        assert_eq!(
            narrowed(Op::MaskedEq, u64::MAX, Some(minus_two)),
            Some((0xffff_ffff, Some(0xffff_fffe)))
        );
        // It is greater than all 32-bit arguments: an order would turn around.
        assert_eq!(narrowed(Op::Gt, minus_two, None), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for op in [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Ge, Op::Gt] {
            assert_eq!(narrowed(op, 1 << 32, None), None);
        }
        assert_eq!(narrowed(Op::MaskedEq, u64::MAX, Some(1 << 32)), None);
        // The upper half is not looked at.
        assert_eq!(
            narrowed(Op::MaskedEq, 0xff, Some(1 << 32)),
            Some((0xff, Some(0)))
        );
        assert_eq!(
            narrowed(Op::MaskedEq, 0xff << 32, Some(0)),
            Some((0, Some(0)))
        );
    }
}
