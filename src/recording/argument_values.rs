//! The values of the arguments of one call, collected while the run goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::clock::whole_ms;
use super::executable_index::{ExecutableIndex, IndexSet, NOBODY};
use super::run::{ArgumentValues, MAX_VALUES, ValueTally};
use crate::syscall::Syscall;
use crate::syscall::arguments::{Argument, CallArguments};

/// The values of one argument.
#[derive(Clone, Debug)]
struct Values {
    register: u8,
    argument: &'static Argument,
    seen: Vec<Value>,
    /// The place of the latest value: most calls have the same as the one before.
    latest: usize,
    many: bool,
}

#[derive(Clone, Debug)]
struct Value {
    bits: u64,
    count: u64,
    first: Option<Duration>,
    executables: IndexSet,
}

/// The values of all arguments of a call that carry a choice.
#[derive(Clone, Debug)]
pub(super) struct CallValues {
    /// How many calls had their arguments reported.
    calls: u64,
    values: Vec<Values>,
}

impl CallValues {
    /// `None` if no argument of the call carries a choice.
    pub(super) fn new(syscall: Syscall) -> Option<CallValues> {
        let name = syscall.name()?;
        let registers = CallArguments::named(&name)?.registers(&name, syscall.arch);
        let values = registers.map(|(register, argument)| Values {
            register,
            argument,
            seen: Vec::new(),
            latest: 0,
            many: false,
        });
        Some(CallValues {
            calls: 0,
            values: values.collect(),
        })
    }

    pub(super) fn add(
        &mut self,
        args: &[u64; 6],
        count: u64,
        first: Option<Duration>,
        executable: ExecutableIndex,
    ) {
        self.calls = self.calls.saturating_add(count);
        for values in &mut self.values {
            let register = usize::from(values.register);
            let value = values.argument.cut(args[register]);
            values.add(value, count, first, executable);
        }
    }

    /// The executables of each value.
    pub(super) fn executables(&mut self) -> impl Iterator<Item = &mut IndexSet> {
        let values = self.values.iter_mut().flat_map(|values| &mut values.seen);
        values.map(|value| &mut value.executables)
    }

    /// The values by register, if those of all `calls` were reported. Those that are many are, however many were not reported.
    pub(super) fn finish(
        &self,
        calls: u64,
        start: Duration,
        path_of: impl Fn(ExecutableIndex) -> Option<PathBuf>,
    ) -> BTreeMap<u8, ArgumentValues> {
        let all = self
            .values
            .iter()
            .filter(|values| self.calls == calls || values.many);
        let finished = all.map(|values| {
            let each = values.seen.iter().map(|value| {
                let executables = value.executables.iter().filter_map(&path_of);
                let tally = ValueTally {
                    count: value.count,
                    first_ms: (value.first).map(|first| whole_ms(first.saturating_sub(start))),
                    executables: executables.collect(),
                };
                (value.bits, tally)
            });
            let all = if values.many {
                ArgumentValues::Many
            } else {
                ArgumentValues::Each(each.collect())
            };
            (values.register, all)
        });
        finished.collect()
    }
}

impl Values {
    fn add(
        &mut self,
        value: u64,
        count: u64,
        first: Option<Duration>,
        executable: ExecutableIndex,
    ) {
        if self.many {
            return;
        }
        let is_latest = |seen: &Value| seen.bits == value;
        if !self.seen.get(self.latest).is_some_and(is_latest) {
            let found = self.seen.iter().position(is_latest);
            self.latest = found.unwrap_or(self.seen.len());
        }
        if let Some(seen) = self.seen.get_mut(self.latest) {
            seen.count = seen.count.saturating_add(count);
            seen.first = super::seen::earliest(seen.first, first);
            if executable != NOBODY {
                seen.executables.insert(executable);
            }
            return;
        }
        if self.seen.len() >= MAX_VALUES {
            self.many = true;
            self.seen = Vec::new();
            return;
        }
        let mut executables = IndexSet::default();
        if executable != NOBODY {
            executables.insert(executable);
        }
        self.seen.push(Value {
            bits: value,
            count,
            first,
            executables,
        });
    }
}
