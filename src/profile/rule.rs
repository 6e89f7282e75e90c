//! A rule of a profile: names, comparisons of arguments, and an action.

use std::fmt;

use super::Action;
use crate::escape::is_plain;

/// How many arguments a system call has (`struct seccomp_data`, seccomp(2)).
pub const ARGS: usize = 6;

/// A profile's action for some system calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    names: Vec<String>,
    action: Action,
    args: Vec<ArgCmp>,
}

/// Why a rule is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A rule is about at least one call.
    #[error("a rule needs at least one name")]
    NoNames,
    /// A name is empty.
    #[error("a name is empty")]
    EmptyName {
        /// Which of the names, from 0.
        index: usize,
    },
    /// A name has characters that control or format text.
    #[error("a name has characters that control or format text")]
    UnprintableName {
        /// Which of the names, from 0.
        index: usize,
    },
}

impl Rule {
    /// A rule for the calls with these names, where the arguments compare as `args` say ([`Rule::alternatives`]).
    ///
    /// Names are not checked against any table: which of them exist is up to the kernel and the ABI.
    pub fn new(names: Vec<String>, action: Action, args: Vec<ArgCmp>) -> Result<Rule, RuleError> {
        if names.is_empty() {
            return Err(RuleError::NoNames);
        }
        if let Some(index) = names.iter().position(String::is_empty) {
            return Err(RuleError::EmptyName { index });
        }
        if let Some(index) = names.iter().position(|name| !is_plain(name)) {
            return Err(RuleError::UnprintableName { index });
        }
        Ok(Rule {
            names,
            action,
            args,
        })
    }

    /// The same rule with other comparisons.
    #[must_use]
    pub fn with_args(&self, args: Vec<ArgCmp>) -> Rule {
        Rule {
            args,
            ..self.clone()
        }
    }

    /// The same rule for this call only; `None` if it isn't about it.
    #[must_use]
    pub fn only(&self, name: &str) -> Option<Rule> {
        let name = self.names.iter().find(|n| *n == name)?;
        Some(Rule {
            names: vec![name.clone()],
            action: self.action,
            args: self.args.clone(),
        })
    }

    /// The names of the calls, as they were given. They hold for every ABI of the profile that has a call of the name.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The answer.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// The comparisons, as they were given. None: any arguments.
    #[must_use]
    pub fn args(&self) -> &[ArgCmp] {
        &self.args
    }

    /// What the comparisons mean: the rule holds if all comparisons of one of the alternatives do. A rule without
    /// comparisons has one empty alternative, which always holds.
    ///
    /// Comparisons of different arguments must all hold. But if any argument is compared twice, each comparison of the
    /// rule is an alternative of its own: libseccomp can't have one argument twice in a rule, and runc and crun make
    /// one rule of each comparison then (`matchCall` in runc's `libcontainer/seccomp/seccomp_linux.go`).
    #[must_use]
    pub fn alternatives(&self) -> Vec<&[ArgCmp]> {
        let mut seen = [false; ARGS];
        let twice = (self.args.iter()).any(|arg| std::mem::replace(&mut seen[arg.index()], true));
        if twice {
            self.args.chunks(1).collect()
        } else {
            vec![&self.args]
        }
    }

    /// Whether the rule holds for a call with these arguments. The name is not compared.
    #[must_use]
    pub fn holds(&self, args: &[u64; ARGS]) -> bool {
        let mut alternatives = self.alternatives().into_iter();
        alternatives.any(|all| all.iter().all(|arg| arg.holds(args[arg.index()])))
    }

    /// Whether the rule holds for a call of which some arguments are known; `None` if that depends on the others.
    #[must_use]
    pub fn may_hold(&self, args: &[Option<u64>; ARGS]) -> Option<bool> {
        let mut holds = Some(false);
        for all in self.alternatives() {
            let each = all.iter().map(|arg| Some(arg.holds(args[arg.index()]?)));
            let mut together = Some(true);
            for one in each {
                match one {
                    Some(false) => together = Some(false),
                    None if together == Some(true) => together = None,
                    _ => {}
                }
            }
            match together {
                Some(true) => return together,
                None => holds = None,
                Some(false) => {}
            }
        }
        holds
    }
}

/// How an argument is compared. Values are unsigned 64-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// Not equal.
    Ne,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Equal.
    Eq,
    /// Greater than or equal.
    Ge,
    /// Greater than.
    Gt,
    /// Equal under a mask: the first value is the mask, the second the expected value.
    MaskedEq,
}

impl fmt::Display for Op {
    /// The OCI name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Ne => "SCMP_CMP_NE",
            Op::Lt => "SCMP_CMP_LT",
            Op::Le => "SCMP_CMP_LE",
            Op::Eq => "SCMP_CMP_EQ",
            Op::Ge => "SCMP_CMP_GE",
            Op::Gt => "SCMP_CMP_GT",
            Op::MaskedEq => "SCMP_CMP_MASKED_EQ",
        })
    }
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArgCmp {
    index: u8,
    op: Op,
    value: u64,
    value_two: Option<u64>,
}

/// An index that no argument has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no argument {index}: system calls have arguments 0 to 5")]
pub struct NoSuchArg {
    /// The index.
    pub index: u64,
}

impl ArgCmp {
    /// Compares argument `index` (from 0) with `value`. `value_two` is read for [`Op::MaskedEq`] only; it is 0 if absent.
    pub fn new(
        index: u64,
        op: Op,
        value: u64,
        value_two: Option<u64>,
    ) -> Result<ArgCmp, NoSuchArg> {
        match u8::try_from(index) {
            Ok(small) if usize::from(small) < ARGS => Ok(ArgCmp {
                index: small,
                op,
                value,
                value_two,
            }),
            _ => Err(NoSuchArg { index }),
        }
    }

    /// The same comparison with other values.
    #[must_use]
    pub fn with_values(self, value: u64, value_two: Option<u64>) -> ArgCmp {
        ArgCmp {
            value,
            value_two,
            ..self
        }
    }

    /// Which argument: 0 to 5.
    #[must_use]
    pub fn index(&self) -> usize {
        usize::from(self.index)
    }

    /// How it is compared.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// What it is compared with; the mask of [`Op::MaskedEq`].
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The expected value under the mask of [`Op::MaskedEq`]. Files may have it with other ops, which ignore it.
    #[must_use]
    pub fn value_two(&self) -> Option<u64> {
        self.value_two
    }

    /// Whether the comparison holds for an argument. The kernel gives filters the whole registers: an `int` argument can
    /// carry junk in its upper half.
    #[must_use]
    pub fn holds(&self, arg: u64) -> bool {
        match self.op {
            Op::Ne => arg != self.value,
            Op::Lt => arg < self.value,
            Op::Le => arg <= self.value,
            Op::Eq => arg == self.value,
            Op::Ge => arg >= self.value,
            Op::Gt => arg > self.value,
            // Expected bits outside of the mask are ignored, as libseccomp does.
            Op::MaskedEq => arg & self.value == self.value_two.unwrap_or(0) & self.value,
        }
    }
}

impl fmt::Display for ArgCmp {
    /// As a condition: `arg0 & 0xff == 0x1`, `arg1 != 0x2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ArgCmp { index, value, .. } = self;
        let sign = match self.op {
            Op::MaskedEq => {
                let expected = self.value_two.unwrap_or(0);
                return write!(f, "arg{index} & {value:#x} == {expected:#x}");
            }
            Op::Ne => "!=",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Eq => "==",
            Op::Ge => ">=",
            Op::Gt => ">",
        };
        write!(f, "arg{index} {sign} {value:#x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::shorthand::{arg, rule};

    #[test]
    fn comparisons_of_different_arguments_must_all_hold() {
        let rule = rule("clone", Action::Allow, "arg0 == 1, arg2 > 5");
        assert!(rule.holds(&[1, 0, 6, 0, 0, 0]));
        assert!(!rule.holds(&[1, 0, 5, 0, 0, 0]));
        assert!(!rule.holds(&[2, 0, 6, 0, 0, 0]));
    }

    #[test]
    fn an_argument_compared_twice_makes_each_comparison_an_alternative() {
        let rule = rule("clone", Action::Allow, "arg0 == 1, arg0 == 2, arg1 == 3");
        assert!(rule.holds(&[1, 0, 0, 0, 0, 0]));
        assert!(rule.holds(&[2, 0, 0, 0, 0, 0]));
        assert!(rule.holds(&[0, 3, 0, 0, 0, 0]));
        assert!(!rule.holds(&[0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn without_comparisons_a_rule_always_holds() {
        assert!(rule("clone", Action::Allow, "").holds(&[7; ARGS]));
    }

    #[test]
    fn a_mask_hides_bits_of_the_argument_and_of_what_is_expected() {
        let masked = arg("arg0 & 0xff == 0x101");
        assert!(masked.holds(0xffff_ff01));
        assert!(!masked.holds(0x02));
        assert!(arg("arg0 & 0xff").holds(0x100));
    }

    #[test]
    fn what_makes_no_rule_is_refused() {
        let of = |names| Rule::new(names, Action::Allow, vec![]);
        assert_eq!(of(vec![]), Err(RuleError::NoNames));
        let empty = of(vec!["a".into(), String::new()]);
        assert_eq!(empty, Err(RuleError::EmptyName { index: 1 }));
        for index in [6, 255, 256, u64::MAX] {
            let compared = ArgCmp::new(index, Op::Eq, 0, None);
            assert_eq!(compared, Err(NoSuchArg { index }));
        }
    }
}
