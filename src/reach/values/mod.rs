//! Which values registers and the stack can have: a forward analysis of one function.
//!
//! It relies on what compilers guarantee: a call keeps the registers that the ABI says, and nothing writes a function's stack but
//! the function itself, or code that got an address there from it.

mod function;
mod state;
mod step;

pub(super) use function::Function;

/// The most values that are told apart.
const MAX_VALUES: usize = 64;

/// The register of the number.
pub(super) const RAX: u8 = 0;

/// Where a function gets a value from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// The register of that number.
    Register(u8),
    /// The stack, at that offset from its pointer.
    Stack(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    Number(u64),
    /// What the place held when the function was entered.
    Entry(Place),
    /// The stack pointer at the entry, plus an offset.
    Frame(i64),
}

/// The values that something can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Any,
    /// Sorted. Empty: it is never reached.
    Of(Vec<Atom>),
}

impl Values {
    /// None: it is never reached.
    pub(super) const NONE: Values = Values::Of(Vec::new());

    fn number(number: u64) -> Values {
        Values::Of(vec![Atom::Number(number)])
    }

    fn of(mut atoms: Vec<Atom>) -> Values {
        atoms.sort_unstable();
        atoms.dedup();
        if atoms.len() > MAX_VALUES {
            return Values::Any;
        }
        Values::Of(atoms)
    }

    fn join(&self, other: &Values) -> Values {
        match (self, other) {
            (Values::Of(some), Values::Of(more)) => {
                Values::of(some.iter().chain(more).copied().collect())
            }
            _ => Values::Any,
        }
    }

    /// Adds values. Returns whether there are more now.
    fn add(&mut self, other: &Values) -> bool {
        match (&*self, other) {
            (Values::Any, _) => return false,
            (Values::Of(mine), Values::Of(theirs))
                if theirs.iter().all(|atom| mine.binary_search(atom).is_ok()) =>
            {
                return false;
            }
            _ => {}
        }
        *self = self.join(other);
        true
    }

    fn map(&self, each: impl Fn(Atom) -> Option<Atom>) -> Values {
        match self {
            Values::Any => Values::Any,
            Values::Of(atoms) => match atoms.iter().map(|atom| each(*atom)).collect() {
                Some(atoms) => Values::of(atoms),
                None => Values::Any,
            },
        }
    }

    /// The numbers alone, changed.
    fn numbers(&self, each: impl Fn(u64) -> u64) -> Values {
        self.map(|atom| match atom {
            Atom::Number(number) => Some(Atom::Number(each(number))),
            _ => None,
        })
    }

    fn both(&self, other: &Values, each: impl Fn(u64, u64) -> u64) -> Values {
        let (Values::Of(some), Values::Of(more)) = (self, other) else {
            return Values::Any;
        };
        if some.len() * more.len() > MAX_VALUES {
            return Values::Any;
        }
        let pairs = some.iter().flat_map(|a| more.iter().map(move |b| (*a, *b)));
        let values = pairs.map(|pair| match pair {
            (Atom::Number(a), Atom::Number(b)) => Some(Atom::Number(each(a, b))),
            _ => None,
        });
        values
            .collect::<Option<Vec<_>>>()
            .map_or(Values::Any, Values::of)
    }

    /// The one offset from the stack pointer at the entry.
    fn frame(&self) -> Option<i64> {
        match self {
            Values::Of(atoms) => match atoms[..] {
                [Atom::Frame(offset)] => Some(offset),
                _ => None,
            },
            Values::Any => None,
        }
    }

    fn has_frame(&self) -> bool {
        match self {
            Values::Any => false,
            Values::Of(atoms) => atoms.iter().any(|atom| matches!(atom, Atom::Frame(_))),
        }
    }
}
