//! Rules in short, for tests.

use super::{Action, ArgCmp, ErrnoRet, Op, Rule};

pub(crate) const EPERM: Action = Action::Errno(ErrnoRet::EPERM);
pub(crate) const ENOSYS: Action = Action::Errno(ErrnoRet::ENOSYS);

/// A rule from names and comparisons: `rule("read write", Action::Allow, "arg0 != 1, arg1 & 0xff == 2")`.
pub(crate) fn rule(names: &str, action: Action, args: &str) -> Rule {
    let names = names.split_whitespace().map(str::to_owned);
    let args = args.split(", ").filter(|arg| !arg.is_empty()).map(arg);
    Rule::new(names.collect(), action, args.collect()).unwrap()
}

/// A rule that allows calls with any arguments.
pub(crate) fn allow(names: &str) -> Rule {
    rule(names, Action::Allow, "")
}

/// A comparison as it is displayed; -1 is the greatest value.
pub(crate) fn arg(text: &str) -> ArgCmp {
    let value = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None if text == "-1" => u64::MAX,
        None => text.parse().unwrap(),
    };
    let words: Vec<&str> = text.split(' ').collect();
    let index = words[0].strip_prefix("arg").unwrap().parse().unwrap();
    let op = match words[1] {
        "!=" => Op::Ne,
        "<" => Op::Lt,
        "<=" => Op::Le,
        "==" => Op::Eq,
        ">=" => Op::Ge,
        ">" => Op::Gt,
        "&" => Op::MaskedEq,
        other => panic!("{other} in {text}"),
    };
    let expected = words.get(4).map(|expected| value(expected));
    ArgCmp::new(index, op, value(words[2]), expected).unwrap()
}
