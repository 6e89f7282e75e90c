//! The comparisons of a profile on ABIs with 32-bit arguments: what doesn't fit is refused for that ABI.

use super::CompileError;
use crate::profile::narrow::{has_32_bit_args, narrow_arg};
use crate::profile::{ArgCmp, Place, Profile};
use crate::syscall::Arch;

/// The profile with values as wide as the ABI's arguments.
pub(super) fn narrow(profile: &Profile, arch: Arch) -> Result<Profile, CompileError> {
    let mut narrowed = profile.clone();
    if !has_32_bit_args(arch) {
        return Ok(narrowed);
    }
    for (rule_index, rule) in narrowed.rules.iter_mut().enumerate() {
        let args = rule.args().iter().enumerate().map(|(arg_index, arg)| {
            narrow_arg(arg).ok_or_else(|| CompileError::TooWide {
                place: Place::Arg {
                    rule: rule_index,
                    arg: arg_index,
                },
                comparison: arg.to_string(),
                arch,
            })
        });
        let args: Vec<ArgCmp> = args.collect::<Result<_, _>>()?;
        if args != rule.args() {
            *rule = rule.with_args(args);
        }
    }
    Ok(narrowed)
}
