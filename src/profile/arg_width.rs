//! Comparisons on ABIs with 32-bit arguments.
//!
//! libseccomp compares the lower half of the argument there and drops the upper half of the value: a rule for `0x1_0000_0001`
//! would match 1. Here, a value that doesn't fit is an error.

use super::{ArgCmp, Op, Place, Rule};
use crate::syscall::Arch;

/// A comparison with a value that the ABI's arguments can't have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {comparison}: the value is too wide for the 32-bit arguments of {arch}")]
pub struct TooWide {
    /// The comparison's place in the profile.
    pub place: Place,
    /// The comparison.
    pub comparison: String,
    /// The ABI.
    pub arch: Arch,
}

/// Whether libseccomp compares 32 bits of the ABI's arguments (`ARCH_SIZE_32` in its `arch-*.c`). It does so for x32 and MIPS
/// n32 too, whose registers have 64.
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

/// A rule, the profile's `index`th, with values as wide as the ABI's arguments.
pub(crate) fn fit_rule(rule: &Rule, index: usize, arch: Arch) -> Result<Rule, TooWide> {
    if !has_32_bit_args(arch) || rule.args().is_empty() {
        return Ok(rule.clone());
    }
    let args = rule.args().iter().enumerate().map(|(arg_index, arg)| {
        fit_arg(arg).ok_or_else(|| TooWide {
            place: Place::Arg {
                rule: index,
                arg: arg_index,
            },
            comparison: arg.to_string(),
            arch,
        })
    });
    Ok(rule.with_args(args.collect::<Result<_, _>>()?))
}

/// The equivalent comparison of a 32-bit argument, if there is one.
fn fit_arg(arg: &ArgCmp) -> Option<ArgCmp> {
    let value = match arg.op() {
        // A masked argument is no wider than the argument.
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

/// A negative `int`: -1 in a file for 64 and 32 bits is `0xffff_ffff_ffff_ffff`.
fn signed(value: u64) -> Option<u64> {
    let int = i32::try_from(value.cast_signed()).ok()?;
    Some(u64::from(int.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(op: Op, value: u64, value_two: Option<u64>) -> Option<(u64, Option<u64>)> {
        let arg = ArgCmp::new(0, op, value, value_two).unwrap();
        fit_arg(&arg).map(|arg| (arg.value(), arg.value_two()))
    }

    #[test]
    fn values_that_fit_are_unchanged() {
        for op in [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Ge, Op::Gt] {
            assert_eq!(fitted(op, 0xffff_ffff, None), Some((0xffff_ffff, None)));
        }
        assert_eq!(
            fitted(Op::MaskedEq, 0xff, Some(0x12)),
            Some((0xff, Some(0x12)))
        );
    }

    #[test]
    fn a_negative_int_is_the_same_at_both_widths() {
        let minus_two = (-2_i64).cast_unsigned();
        assert_eq!(fitted(Op::Eq, minus_two, None), Some((0xffff_fffe, None)));
        assert_eq!(
            fitted(Op::MaskedEq, u64::MAX, Some(minus_two)),
            Some((0xffff_ffff, Some(0xffff_fffe)))
        );
        // Greater than all 32-bit arguments, so an order comparison would change its meaning.
        assert_eq!(fitted(Op::Gt, minus_two, None), None);
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for op in [Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Ge, Op::Gt] {
            assert_eq!(fitted(op, 1 << 32, None), None);
        }
        assert_eq!(fitted(Op::MaskedEq, u64::MAX, Some(1 << 32)), None);
        // The mask leaves out the upper half.
        assert_eq!(
            fitted(Op::MaskedEq, 0xff, Some(1 << 32)),
            Some((0xff, Some(0)))
        );
        assert_eq!(
            fitted(Op::MaskedEq, 0xff << 32, Some(0)),
            Some((0, Some(0)))
        );
    }
}
