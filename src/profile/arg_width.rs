//! Comparisons on ABIs with 32-bit arguments.
//!
//! libseccomp compares the lower half of the argument there and drops the upper half of the value: a rule for `0x1_0000_0001`
//! would match 1. Here, a value that doesn't fit is an error.

use super::{ArgCmp, Op, ProfilePart, Rule};
use crate::syscall::Arch;

/// A comparison with a value that the ABI's arguments can't have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {comparison}: the value is too wide for the 32-bit arguments of {arch}")]
pub struct TooWide {
    /// The comparison's place in the profile.
    pub place: ProfilePart,
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
            place: ProfilePart::Arg {
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
    use crate::profile::shorthand::arg;

    fn check(compared: &str, fitted: Option<&str>) {
        let found = fit_arg(&arg(compared)).map(|arg| arg.to_string());
        assert_eq!(found.as_deref(), fitted, "{compared}");
    }

    #[test]
    fn values_that_fit_are_unchanged() {
        for sign in ["==", "!=", "<", "<=", ">=", ">"] {
            let compared = format!("arg0 {sign} 0xffffffff");
            check(&compared, Some(&compared));
        }
        check("arg0 & 0xff == 0x12", Some("arg0 & 0xff == 0x12"));
    }

    #[test]
    fn a_negative_int_is_the_same_at_both_widths() {
        let minus_two = "0xfffffffffffffffe";
        check(&format!("arg0 == {minus_two}"), Some("arg0 == 0xfffffffe"));
        let masked = "arg0 & 0xffffffff == 0xfffffffe";
        check(&format!("arg0 & -1 == {minus_two}"), Some(masked));
        // Greater than all 32-bit arguments, so an order comparison would change its meaning.
        check(&format!("arg0 > {minus_two}"), None);
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for sign in ["==", "!=", "<", "<=", ">=", ">", "& -1 =="] {
            check(&format!("arg0 {sign} 0x100000000"), None);
        }
        // The mask leaves out the upper half.
        check("arg0 & 0xff == 0x100000000", Some("arg0 & 0xff == 0x0"));
        check("arg0 & 0xff00000000 == 0x0", Some("arg0 & 0x0 == 0x0"));
    }
}
