//! The values of all registers and of the stack at one instruction.

use std::collections::BTreeMap;

use super::{Atom, Place, Values};
use crate::reach::code::Kind;

/// The number of the stack pointer.
pub(super) const RSP: usize = 4;

/// The largest store on the stack that is followed, in bytes.
const MAX_STORE: i64 = 64;

/// The values of everything at one instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::reach) struct State {
    pub(super) registers: [Values; 16],
    /// By their offset from the stack pointer at the entry, with their size.
    slots: BTreeMap<i64, (i64, Values)>,
    /// Whether the stack may have been written anywhere.
    lost: bool,
}

impl State {
    pub(super) fn entry() -> State {
        let mut numbers = 0..;
        let mut registers = std::array::from_fn(|_| {
            let number = numbers.next().unwrap_or_default();
            Values::Of(vec![Atom::Entry(Place::Register(number))])
        });
        registers[RSP] = Values::Of(vec![Atom::Frame(0)]);
        State {
            registers,
            slots: BTreeMap::new(),
            lost: false,
        }
    }

    pub(super) fn any() -> State {
        State {
            registers: std::array::from_fn(|_| Values::Any),
            slots: BTreeMap::new(),
            lost: true,
        }
    }

    /// The values at a place, as the function that is called or jumped to from here finds them.
    pub(in crate::reach) fn at(&self, place: Place, kind: Kind, escaped: &Escaped) -> Values {
        match place {
            Place::Register(number) => self.registers[usize::from(number & 15)].clone(),
            Place::Stack(offset) => {
                let below = if kind == Kind::Call { 8 } else { 0 };
                let frame = self.registers[RSP].frame();
                let at = frame.and_then(|frame| frame.checked_add(offset.saturating_sub(below)));
                at.map_or(Values::Any, |at| self.slot(at, 4, escaped))
            }
        }
    }

    pub(super) fn slot(&self, offset: i64, size: i64, escaped: &Escaped) -> Values {
        if escaped.has(offset) {
            return Values::Any;
        }
        match self.slots.get(&offset) {
            Some((stored, values)) if *stored >= size => values.clone(),
            Some(_) => Values::Any,
            None => self.unwritten(offset),
        }
    }

    /// What a slot has that nothing was stored in.
    fn unwritten(&self, offset: i64) -> Values {
        if self.lost || offset < 0 {
            return Values::Any;
        }
        Values::Of(vec![Atom::Entry(Place::Stack(offset))])
    }

    /// Something was stored on the stack, but it is not known where.
    pub(super) fn lose(&mut self) {
        self.slots.clear();
        self.lost = true;
    }

    pub(super) fn store(&mut self, offset: i64, size: i64, values: Values) {
        self.forget(offset, size);
        self.slots.insert(offset, (size, values));
    }

    /// What is stored in a range is not known any more.
    pub(super) fn forget(&mut self, offset: i64, size: i64) {
        let end = offset.saturating_add(size);
        if size > MAX_STORE {
            return self.lose();
        }
        for at in offset.saturating_sub(MAX_STORE)..end {
            if let Some((size, values)) = self.slots.get_mut(&at)
                && at.saturating_add(*size) > offset
            {
                *values = Values::Any;
            } else if at >= offset && !self.lost && at % 4 == 0 {
                self.slots.insert(at, (4, Values::Any));
            }
        }
    }

    /// Adds what another way here brings. Returns whether it adds anything.
    pub(super) fn join(&mut self, other: &State) -> bool {
        let mut changed = false;
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            changed |= mine.add(theirs);
        }
        let new: Vec<i64> = (other.slots.keys().copied())
            .filter(|key| !self.slots.contains_key(key))
            .collect();
        for key in new {
            let unwritten = self.unwritten(key);
            if unwritten != Values::Any || !self.lost {
                self.slots.insert(key, (8, unwritten));
                changed = true;
            }
        }
        for (key, (size, values)) in &mut self.slots {
            match other.slots.get(key) {
                Some((stored, theirs)) => {
                    changed |= *size > *stored;
                    *size = (*size).min(*stored);
                    changed |= values.add(theirs);
                }
                None => changed |= values.add(&other.unwritten(*key)),
            }
        }
        changed |= other.lost && !self.lost;
        self.lost |= other.lost;
        changed
    }
}

/// The stack whose address the function computes: from the lowest offset up, for locals and for arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reach) struct Escaped {
    locals: i64,
    arguments: i64,
}

impl Escaped {
    pub(super) const NONE: Escaped = Escaped {
        locals: 0,
        arguments: i64::MAX,
    };

    pub(super) const ALL: Escaped = Escaped {
        locals: i64::MIN,
        arguments: 0,
    };

    pub(super) fn add(&mut self, offset: i64) {
        if offset < 0 {
            self.locals = self.locals.min(offset);
        } else {
            self.arguments = self.arguments.min(offset);
        }
    }

    fn has(&self, offset: i64) -> bool {
        (self.locals..0).contains(&offset) || offset >= self.arguments
    }
}
