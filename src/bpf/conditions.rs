//! What a filter's program says, explained back: for each ABI, which answer each call gets, and on which conditions.
//!
//! The program is followed with the call and its ABI known and the arguments not: where it branches on them, both ways
//! are followed, with what each way tells of the words that it loaded. What is known of a word is a set of ranges; of its
//! bits under a mask, equality with a number. The ways that end with the same answer are united where that makes one
//! range of two. The result is what the program says, not what somebody meant by it: a way that can't be taken isn't there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use libc::sock_filter;

use super::machine::{self, Alu, MEMORY, Op, Operand, Test};
use super::program::{Program, sign, word};
use crate::profile::Action;
use crate::profile::narrow::has_32_bit_args;
use crate::syscall::{Arch, Syscall};

/// How many ways through the program are followed for one call. A profile would have to compare one call's arguments
/// hundreds of times to need more.
const MAX_WAYS: usize = 2_000;

/// What a filter answers to the calls of an ABI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The ABI.
    pub arch: Arch,
    /// The answer to what isn't in `calls`: every other number.
    pub rest: Outcome,
    /// Calls that get another answer, by number in the ABI's own table.
    pub calls: BTreeMap<i32, Outcome>,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The same whatever its arguments are.
    Always(Action),
    /// It depends.
    Depends {
        /// Ways that lead to an answer: it is given where all conditions of one of them hold.
        ways: Vec<(Vec<Condition>, Action)>,
        /// The answer where none of the ways is taken.
        otherwise: Action,
    },
    /// There are too many ways to follow them all.
    TooMany,
}

impl Outcome {
    /// The answer that doesn't depend on anything.
    #[must_use]
    pub fn always(&self) -> Option<Action> {
        match self {
            Outcome::Always(action) => Some(*action),
            Outcome::Depends { .. } | Outcome::TooMany => None,
        }
    }
}

/// What must hold on a way through a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// An argument (or the instruction pointer) is within one of these ranges, ends included.
    Within {
        /// What it is about.
        what: Subject,
        /// The ranges, in order, not touching.
        ranges: Vec<(u64, u64)>,
    },
    /// The bits of an argument under a mask are these, or aren't.
    Masked {
        /// What it is about.
        what: Subject,
        /// The mask.
        mask: u64,
        /// The bits.
        value: u64,
        /// Whether they are these.
        equal: bool,
    },
    /// Anything else, in the words of the program.
    Other(String),
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An argument: 0 to 5.
    Arg(u8),
    /// The instruction pointer.
    Ip,
    /// A single word of the call's data, by its offset.
    Word(u32),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Arg(index) => write!(f, "arg{index}"),
            Subject::Ip => f.write_str("ip"),
            Subject::Word(offset) => f.write_str(&word(*offset)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Within { what, ranges } => {
                let greatest = match what {
                    Subject::Word(_) => u64::from(u32::MAX),
                    _ => u64::MAX,
                };
                if let [(0, below), (above, last)] = ranges[..]
                    && last == greatest
                    && above.checked_sub(below) == Some(2)
                {
                    return write!(f, "{what} != {:#x}", below + 1);
                }
                let range = |&(first, last): &(u64, u64)| match (first, last) {
                    (first, last) if first == last => format!("{what} == {first:#x}"),
                    (0, last) => format!("{what} <= {last:#x}"),
                    (first, last) if last == greatest => format!("{what} >= {first:#x}"),
                    (first, last) => format!("{first:#x} <= {what} <= {last:#x}"),
                };
                let ranges: Vec<String> = ranges.iter().map(range).collect();
                match &ranges[..] {
                    [one] => f.write_str(one),
                    several => write!(f, "({})", several.join(" || ")),
                }
            }
            Condition::Masked {
                what,
                mask,
                value,
                equal,
            } => {
                let sign = if *equal { "==" } else { "!=" };
                write!(f, "{what} & {mask:#x} {sign} {value:#x}")
            }
            Condition::Other(text) => f.write_str(text),
        }
    }
}

/// A value that a program computes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Known(u32),
    /// A word of the call's data.
    Word(u32),
    /// Bits of a word.
    Bits(u32, u32),
    /// Anything else.
    Computed(Rc<str>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Known(number) => write!(f, "{number:#x}"),
            Value::Word(offset) => f.write_str(&word(*offset)),
            Value::Bits(offset, mask) => write!(f, "({} & {mask:#x})", word(*offset)),
            Value::Computed(text) => f.write_str(text),
        }
    }
}

/// Ranges of a word, in order, not touching.
type Ranges = Vec<(u32, u32)>;

/// What is known on a way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Knowledge {
    words: BTreeMap<u32, Ranges>,
    masks: BTreeSet<(u32, u32, u32, bool)>,
    others: BTreeSet<String>,
}

/// Where a way is, and what it knows.
#[derive(Clone)]
struct State {
    at: usize,
    a: Value,
    x: Value,
    memory: [Value; MEMORY],
    known: Knowledge,
}

/// What a filter says of an ABI's calls, and the ABIs that it tells apart.
#[must_use]
pub fn explain(program: &Program) -> Vec<Table> {
    arches(program)
        .into_iter()
        .map(|arch| table(program, arch))
        .collect()
}

/// The ABIs that a program tells from others, with those that share their audit value; the native one if it looks at none.
pub(crate) fn arches(program: &Program) -> Vec<Arch> {
    let mut named = BTreeSet::new();
    for (number, of) in compared(program.instructions()) {
        if of & bit_of(4) != 0 {
            named.extend(Arch::from_audit(number));
        }
    }
    if named.is_empty() {
        named.insert(Arch::NATIVE);
    }
    if named.contains(&Arch::X86_64) {
        named.insert(Arch::X32);
    }
    named.into_iter().collect()
}

/// The words of the call's data that A can come from, as bits.
type Origins = u32;

fn bit_of(offset: u32) -> Origins {
    1 << (offset / 4)
}

/// The numbers that a program compares A with, and what A can come from there.
fn compared(program: &[sock_filter]) -> Vec<(u32, Origins)> {
    let mut at_entry: Vec<Origins> = vec![0; program.len()];
    let mut comparisons = Vec::new();
    for (at, instruction) in program.iter().enumerate() {
        let mut origins = at_entry[at];
        let mut next = vec![0];
        match machine::decode(*instruction) {
            Some(Op::Load(offset)) => origins = bit_of(offset % machine::DATA),
            Some(Op::Set(_)) => origins = 0,
            // What was put aside can be anything.
            Some(Op::Recall(_) | Op::FromIndex) => origins = Origins::MAX,
            Some(Op::Jump(skip)) => next = vec![skip],
            Some(Op::Branch(_, operand, jt, jf)) => {
                if let Operand::Number(number) = operand {
                    comparisons.push((number, origins));
                }
                next = vec![jt, jf];
            }
            Some(Op::Return(_) | Op::ReturnA) | None => next = Vec::new(),
            Some(_) => {}
        }
        for skip in next {
            if let Some(there) = at_entry.get_mut(at.saturating_add(1).saturating_add(skip)) {
                *there |= origins;
            }
        }
    }
    comparisons
}

/// What a program answers to the calls of an ABI that it doesn't know.
#[must_use]
pub fn other_arches(program: &Program) -> Outcome {
    // No ABI has this value.
    outcome(program.instructions(), 0, 0, false)
}

/// What a program answers to the calls of an ABI.
#[must_use]
pub fn table(program: &Program, arch: Arch) -> Table {
    let instructions = program.instructions();
    // Those of x32 and MIPS n32 are in registers of 64 bits, and libseccomp looks at their lower halves only.
    let narrow =
        has_32_bit_args(arch) && !matches!(arch, Arch::X32 | Arch::Mips64n32 | Arch::Mipsel64n32);
    let of = |nr| {
        let syscall = Syscall { arch, nr };
        outcome(instructions, arch.audit(), syscall.audit_nr(), narrow)
    };
    let rest = of(UNNAMED);
    let mut calls = BTreeMap::new();
    for nr in numbers(program, arch) {
        let outcome = of(nr);
        if outcome != rest {
            calls.insert(nr, outcome);
        }
    }
    Table { arch, rest, calls }
}

/// The numbers that an ABI's calls have, and those that the program compares with, with their neighbours.
fn numbers(program: &Program, arch: Arch) -> BTreeSet<i32> {
    let mut numbers: BTreeSet<i32> = super::samples::numbers(arch).collect();
    let compared = compared(program.instructions()).into_iter();
    for (number, _) in compared.filter(|(_, of)| of & bit_of(0) != 0) {
        let number = number.cast_signed();
        let own = Syscall::from_audit(arch.audit(), number).map(|syscall| syscall.nr);
        for number in own.into_iter().chain([number]) {
            let near = [number.wrapping_sub(1), number, number.wrapping_add(1)];
            let here = |nr: &i32| *nr != UNNAMED && is_own(arch, *nr);
            numbers.extend(near.iter().copied().filter(here));
        }
    }
    numbers
}

/// A number that no call has.
const UNNAMED: i32 = 0x2fff_ffff;

/// Whether the number is one of the ABI, and not of the one that shares its audit value.
fn is_own(arch: Arch, nr: i32) -> bool {
    let syscall = Syscall { arch, nr };
    let audit_nr = syscall.audit_nr();
    let back = Syscall::from_audit(arch.audit(), audit_nr);
    match arch {
        Arch::X86_64 | Arch::X32 => back == Some(syscall) && (0..1 << 20).contains(&nr),
        _ => (0..1 << 20).contains(&nr),
    }
}

/// What a program answers to one call, whatever its arguments. `narrow`: they have no upper halves.
fn outcome(program: &[sock_filter], audit: u32, nr: i32, narrow: bool) -> Outcome {
    let nothing = Value::Known(0);
    let mut states = vec![State {
        at: 0,
        a: nothing.clone(),
        x: nothing.clone(),
        memory: std::array::from_fn(|_| nothing.clone()),
        known: Knowledge::default(),
    }];
    let mut ends: Vec<(Knowledge, Value)> = Vec::new();
    while let Some(mut state) = states.pop() {
        let end = state.run(program, audit, nr, &mut states);
        ends.push((state.known, end));
        if ends.len() + states.len() > MAX_WAYS {
            return Outcome::TooMany;
        }
    }
    united(ends, narrow)
}

impl State {
    /// Follows the way to its end. Where it branches, the other way is put aside.
    fn run(
        &mut self,
        program: &[sock_filter],
        audit: u32,
        nr: i32,
        aside: &mut Vec<State>,
    ) -> Value {
        loop {
            let Some(op) = program.get(self.at).copied().and_then(machine::decode) else {
                // A program that was checked has an end.
                return Value::Known(0);
            };
            self.at += 1;
            match op {
                Op::Load(0) => self.a = Value::Known(nr.cast_unsigned()),
                Op::Load(4) => self.a = Value::Known(audit),
                Op::Load(offset) => self.a = Value::Word(offset),
                Op::Set(number) => self.a = Value::Known(number),
                Op::SetIndex(number) => self.x = Value::Known(number),
                Op::Recall(place) => self.a = self.memory[place % MEMORY].clone(),
                Op::RecallIndex(place) => self.x = self.memory[place % MEMORY].clone(),
                Op::Store(place) => self.memory[place % MEMORY] = self.a.clone(),
                Op::StoreIndex(place) => self.memory[place % MEMORY] = self.x.clone(),
                Op::Negate => {
                    self.a = match &self.a {
                        Value::Known(number) => Value::Known(number.wrapping_neg()),
                        other => Value::Computed(format!("-{other}").into()),
                    };
                }
                Op::ToIndex => self.x = self.a.clone(),
                Op::FromIndex => self.a = self.x.clone(),
                Op::Alu(alu, operand) => {
                    let operand = self.operand(operand);
                    match computed(alu, &self.a, &operand) {
                        Some(value) => self.a = value,
                        None => return Value::Known(0),
                    }
                }
                Op::Jump(skip) => self.at += skip,
                Op::Branch(test, operand, jt, jf) => {
                    let operand = self.operand(operand);
                    let mut other = None;
                    let taken = if let Some(taken) = self.decided(test, &operand) {
                        taken
                    } else {
                        let mut not = self.clone();
                        not.learn(test, &operand, false);
                        not.at += jf;
                        other = Some(not);
                        self.learn(test, &operand, true);
                        true
                    };
                    self.at += if taken { jt } else { jf };
                    aside.extend(other);
                }
                Op::Return(value) => return Value::Known(value),
                Op::ReturnA => return self.a.clone(),
            }
            if aside.len() > MAX_WAYS {
                return Value::Known(0);
            }
        }
    }

    fn operand(&self, operand: Operand) -> Value {
        match operand {
            Operand::Number(number) => Value::Known(number),
            Operand::Index => self.x.clone(),
        }
    }

    /// What a comparison comes to, if that is known.
    fn decided(&self, test: Test, operand: &Value) -> Option<bool> {
        let Value::Known(number) = *operand else {
            return (self.a == *operand && test == Test::Equal).then_some(true);
        };
        match &self.a {
            Value::Known(a) => Some(test.holds(*a, number)),
            Value::Word(offset) if test == Test::AnyBit => {
                self.decided_masked(*offset, number, 0).map(|equal| !equal)
            }
            Value::Word(offset) => {
                let ranges = self.known.words.get(offset).cloned();
                let ranges = ranges.unwrap_or_else(|| vec![(0, u32::MAX)]);
                let (holds, fails) = split(&ranges, test, number);
                match (holds.is_empty(), fails.is_empty()) {
                    (true, _) => Some(false),
                    (_, true) => Some(true),
                    _ => None,
                }
            }
            Value::Bits(offset, mask) => match test {
                Test::Equal if number & !mask != 0 => Some(false),
                Test::Equal => self.decided_masked(*offset, *mask, number),
                Test::AnyBit => self
                    .decided_masked(*offset, mask & number, 0)
                    .map(|equal| !equal),
                _ => None,
            },
            Value::Computed(_) => None,
        }
    }

    /// Whether the bits of a word under a mask are these, if that is known.
    fn decided_masked(&self, offset: u32, mask: u32, value: u32) -> Option<bool> {
        if mask == 0 {
            return Some(value == 0);
        }
        if let Some(&[(first, last)]) = self.known.words.get(&offset).map(Vec::as_slice)
            && first == last
        {
            return Some(first & mask == value);
        }
        for &(of, other, bits, equal) in &self.known.masks {
            if of != offset {
                continue;
            }
            if equal && bits & mask & other != value & other & mask {
                return Some(false);
            }
            if equal && other & mask == mask {
                return Some(true);
            }
            if !equal && other == mask && bits == value {
                return Some(false);
            }
        }
        None
    }

    /// Notes what a branch tells.
    fn learn(&mut self, test: Test, operand: &Value, taken: bool) {
        match (&self.a, operand) {
            (Value::Word(offset), Value::Known(number)) if test == Test::AnyBit => {
                self.known.masks.insert((*offset, *number, 0, !taken));
            }
            (Value::Word(offset), Value::Known(number)) => {
                let ranges = self.known.words.remove(offset);
                let ranges = ranges.unwrap_or_else(|| vec![(0, u32::MAX)]);
                let (holds, fails) = split(&ranges, test, *number);
                let ranges = if taken { holds } else { fails };
                self.known.words.insert(*offset, ranges);
            }
            (Value::Bits(offset, mask), Value::Known(number)) if test == Test::Equal => {
                self.known.masks.insert((*offset, *mask, *number, taken));
            }
            (Value::Bits(offset, mask), Value::Known(number)) if test == Test::AnyBit => {
                self.known.masks.insert((*offset, mask & number, 0, !taken));
            }
            (a, operand) => {
                let sign = match (test, taken) {
                    (Test::Equal, true) => "==",
                    (Test::Equal, false) => "!=",
                    (Test::Greater, true) => ">",
                    (Test::Greater, false) => "<=",
                    (Test::GreaterOrEqual, true) => ">=",
                    (Test::GreaterOrEqual, false) => "<",
                    (Test::AnyBit, _) => "&",
                };
                let said = match (test, taken) {
                    (Test::AnyBit, true) => format!("{a} & {operand} != 0"),
                    (Test::AnyBit, false) => format!("{a} & {operand} == 0"),
                    _ => format!("{a} {sign} {operand}"),
                };
                self.known.others.insert(said);
            }
        }
    }
}

/// What an instruction computes; `None` for a division by zero, which ends the program.
fn computed(alu: Alu, a: &Value, operand: &Value) -> Option<Value> {
    let text = || Value::Computed(format!("({a} {} {operand})", sign(alu)).into());
    Some(match (a, operand, alu) {
        (Value::Known(a), Value::Known(b), _) => Value::Known(alu.apply(*a, *b)?),
        (_, Value::Known(0), Alu::And) => Value::Known(0),
        (_, Value::Known(u32::MAX), Alu::And)
        | (_, Value::Known(0), Alu::Or | Alu::Xor | Alu::Add | Alu::Sub) => a.clone(),
        (Value::Word(offset), Value::Known(mask), Alu::And) => Value::Bits(*offset, *mask),
        (Value::Bits(offset, first), Value::Known(mask), Alu::And) => {
            Value::Bits(*offset, first & mask)
        }
        _ => text(),
    })
}

/// The parts of ranges for which a comparison with a number holds, and fails.
fn split(ranges: &Ranges, test: Test, number: u32) -> (Ranges, Ranges) {
    // The numbers for which it holds.
    let holding = match test {
        Test::Equal => Some((number, number)),
        Test::GreaterOrEqual => Some((number, u32::MAX)),
        Test::Greater => number.checked_add(1).map(|first| (first, u32::MAX)),
        // Its ranges are not ranges.
        Test::AnyBit => return (ranges.clone(), ranges.clone()),
    };
    let Some((first, last)) = holding else {
        return (Vec::new(), ranges.clone());
    };
    let mut holds = Vec::new();
    let mut fails = Vec::new();
    for &(low, high) in ranges {
        let inside = (low.max(first), high.min(last));
        if inside.0 <= inside.1 {
            holds.push(inside);
        }
        if low < first {
            fails.push((low, high.min(first - 1)));
        }
        if high > last {
            fails.push((low.max(last + 1), high));
        }
    }
    (holds, fails)
}

/// The ways with the same answer as one, where that is simpler; the answer that takes the most ways to say is what is
/// left otherwise.
fn united(ends: Vec<(Knowledge, Value)>, narrow: bool) -> Outcome {
    let mut ways: BTreeMap<Action, Vec<Vec<Condition>>> = BTreeMap::new();
    let mut computed = Vec::new();
    for (known, end) in ends {
        match end {
            Value::Known(value) => {
                let ways = ways.entry(machine::action(value)).or_default();
                ways.extend(conditions(&known, narrow));
            }
            other => computed.push((known, other)),
        }
    }
    if !computed.is_empty() {
        return Outcome::TooMany;
    }
    if ways.len() == 1
        && let Some((action, _)) = ways.first_key_value()
    {
        return Outcome::Always(*action);
    }
    for ways in ways.values_mut() {
        unite(ways);
    }
    // What denies is what is left, unless it takes less to say.
    let length = |action: &Action| ways.get(action).map_or(0, Vec::len);
    let most = ways.keys().map(length).max().unwrap_or(0);
    let otherwise = (ways.keys().copied()).find(|action| length(action) == most);
    let Some(otherwise) = otherwise else {
        return Outcome::Always(Action::KillProcess);
    };
    ways.remove(&otherwise);
    let ways = (ways.into_iter().rev())
        .flat_map(|(action, ways)| ways.into_iter().map(move |way| (way, action)));
    Outcome::Depends {
        ways: ways.collect(),
        otherwise,
    }
}

/// What is known of words, as what is known of arguments; `None` for a way that no call takes.
fn conditions(known: &Knowledge, narrow: bool) -> Option<Vec<Condition>> {
    let mut conditions = BTreeSet::new();
    let mut offsets: BTreeSet<u32> = known.words.keys().copied().collect();
    offsets.retain(|offset| *offset >= 8);
    let all = vec![(0, u32::MAX)];
    let mut done = BTreeSet::new();
    for &offset in &offsets {
        let (low, high) = halves(offset);
        if !done.insert(low) {
            continue;
        }
        let lower = known.words.get(&low).unwrap_or(&all);
        let upper = known.words.get(&high).unwrap_or(&all);
        let what = subject(low);
        let zero;
        let upper = if narrow && matches!(what, Subject::Arg(_)) {
            // It is 0.
            if upper.first().is_none_or(|&(first, _)| first != 0) {
                return None;
            }
            zero = vec![(0, 0)];
            &zero
        } else {
            upper
        };
        if let Some(mut ranges) = whole(upper, lower) {
            // There is nothing above.
            if let Some((first, last)) = ranges.last_mut()
                && narrow
                && *last == u64::from(u32::MAX)
                && first < last
            {
                *last = u64::MAX;
            }
            if ranges == [(0, u64::MAX)] {
                continue;
            }
            conditions.insert(Condition::Within { what, ranges });
            continue;
        }
        for (offset, ranges) in [(high, upper), (low, lower)] {
            if *ranges != all {
                let ranges = ranges.iter().map(|&(a, b)| (u64::from(a), u64::from(b)));
                conditions.insert(Condition::Within {
                    what: Subject::Word(offset),
                    ranges: ranges.collect(),
                });
            }
        }
    }
    conditions.extend(masks(&known.masks));
    conditions.extend(known.others.iter().cloned().map(Condition::Other));
    Some(conditions.into_iter().collect())
}

/// The offsets of both halves of what a word is a half of: the lower, and the upper.
fn halves(offset: u32) -> (u32, u32) {
    let start = offset & !7;
    if cfg!(target_endian = "big") {
        (start + 4, start)
    } else {
        (start, start + 4)
    }
}

fn subject(offset: u32) -> Subject {
    match offset & !7 {
        8 => Subject::Ip,
        start => u8::try_from((start - 16) / 8).map_or(Subject::Word(offset), Subject::Arg),
    }
}

/// The ranges of a whole, of those of its halves; `None` where they would be too many.
fn whole(upper: &Ranges, lower: &Ranges) -> Option<Vec<(u64, u64)>> {
    let joined = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    if lower[..] == [(0, u32::MAX)] {
        let ranges = upper.iter();
        let ranges = ranges.map(|&(first, last)| (joined(first, 0), joined(last, u32::MAX)));
        return Some(ranges.collect());
    }
    match upper[..] {
        [(first, last)] if first == last => {
            let ranges = lower.iter();
            Some(
                ranges
                    .map(|&(a, b)| (joined(first, a), joined(first, b)))
                    .collect(),
            )
        }
        _ => None,
    }
}

/// Masks of both halves of an argument are one.
fn masks(masks: &BTreeSet<(u32, u32, u32, bool)>) -> Vec<Condition> {
    let mut whole: BTreeMap<Subject, (u64, u64)> = BTreeMap::new();
    let mut conditions = Vec::new();
    for &(offset, mask, value, equal) in masks {
        let shift = if halves(offset).0 == offset { 0 } else { 32 };
        let (mask, value) = (u64::from(mask) << shift, u64::from(value) << shift);
        if equal {
            let (of_mask, of_value) = whole.entry(subject(offset)).or_default();
            *of_mask |= mask;
            *of_value |= value;
        } else {
            conditions.push(Condition::Masked {
                what: subject(offset),
                mask,
                value,
                equal,
            });
        }
    }
    conditions.extend(
        whole
            .into_iter()
            .map(|(what, (mask, value))| Condition::Masked {
                what,
                mask,
                value,
                equal: true,
            }),
    );
    conditions
}

/// Unites ways that differ in the ranges of one subject only, until there are none left.
fn unite(ways: &mut Vec<Vec<Condition>>) {
    ways.sort();
    ways.dedup();
    while let Some((first, second, united)) = find_union(ways) {
        ways.remove(second);
        ways[first] = united;
    }
    ways.sort();
}

fn find_union(ways: &[Vec<Condition>]) -> Option<(usize, usize, Vec<Condition>)> {
    for first in 0..ways.len() {
        for second in first + 1..ways.len() {
            if let Some(united) = union(&ways[first], &ways[second]) {
                return Some((first, second, united));
            }
        }
    }
    None
}

fn union(one: &[Condition], other: &[Condition]) -> Option<Vec<Condition>> {
    // Where nothing is asked on one way, the other asks in vain.
    if one.iter().all(|condition| other.contains(condition)) {
        return Some(one.to_vec());
    }
    if one.len() != other.len() {
        return None;
    }
    let mut different = one.iter().zip(other).filter(|(a, b)| a != b);
    let (a, b) = different.next()?;
    if different.next().is_some() {
        return None;
    }
    let (
        Condition::Within { what, ranges },
        Condition::Within {
            what: of,
            ranges: more,
        },
    ) = (a, b)
    else {
        return None;
    };
    if what != of {
        return None;
    }
    let mut all: Vec<(u64, u64)> = ranges.iter().chain(more).copied().collect();
    all.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (first, last) in all {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    let greatest = match what {
        Subject::Word(_) => u64::from(u32::MAX),
        _ => u64::MAX,
    };
    let united = Condition::Within {
        what: *what,
        ranges: merged.clone(),
    };
    let rest = one.iter().filter(|condition| *condition != a).cloned();
    // All of it is no condition.
    let mut conditions: Vec<Condition> = rest.collect();
    if merged != [(0, greatest)] {
        conditions.push(united);
    }
    conditions.sort();
    Some(conditions)
}
