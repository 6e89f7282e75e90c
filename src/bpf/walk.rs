//! Symbolic execution: all paths that a system call with known ABI and number, but unknown arguments, can take through a
//! program.
//!
//! At a branch on an argument, both sides are followed, and each path records the constraint on the word: ranges of the
//! whole word, or the value of some of its bits. If these constraints decide a branch, only one side is followed, so
//! paths that no arguments can take are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use super::disassemble::data_word;
use super::instruction::{AluOp, Comparison, Instruction, MEMORY_WORDS, Operand};
use super::program::Program;

/// The maximum number of paths per system call. To need more, a profile would have to compare one call's arguments hundreds
/// of times.
const MAX_PATHS: usize = 2_000;

/// A path from the start of the program to an instruction that returns.
pub(super) struct ProgramPath {
    pub(super) constraints: Constraints,
    pub(super) returned: SymbolicValue,
}

/// The content of a register or memory word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SymbolicValue {
    Known(u32),
    /// The word of `struct seccomp_data` at this offset.
    Word(u32),
    /// The bits of a word under a mask.
    Bits(u32, u32),
    /// Anything else, as text.
    Computed(Rc<str>),
}

/// Disjoint ranges of a word, ends included, in order and not adjacent.
pub(super) type Ranges = Vec<(u32, u32)>;

/// All values of a word.
pub(super) const FULL: (u32, u32) = (0, u32::MAX);

/// The constraints of a path's branches on the arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    /// By the offset of the word.
    pub(super) ranges: BTreeMap<u32, Ranges>,
    pub(super) bits: BTreeSet<BitConstraint>,
    /// What fits neither, as text.
    pub(super) others: BTreeSet<String>,
}

/// The bits of a word under a mask have a value, or don't have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BitConstraint {
    pub(super) offset: u32,
    pub(super) mask: u32,
    pub(super) value: u32,
    pub(super) equal: bool,
}

/// How much work all questions about a program may take together, in steps of about the same time. Large programs of
/// container engines need a few million.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Budget {
    pub(super) fn new() -> Budget {
        Budget(1 << 26)
    }

    /// Takes steps; `None` if there are no more.
    pub(super) fn take(&mut self, steps: usize) -> Option<()> {
        let left = self.0.checked_sub(steps as u64);
        // What did not suffice once is used up.
        self.0 = left.unwrap_or(0);
        left.map(|_| ())
    }
}

/// The steps that a copy of the machine's state takes.
const COPY: usize = 32;

/// All paths of a system call; `None` if there are more than [`MAX_PATHS`], or if the budget is used up.
pub(super) fn paths(
    program: &Program,
    audit_arch: u32,
    nr: i32,
    budget: &mut Budget,
) -> Option<Vec<ProgramPath>> {
    let zero = SymbolicValue::Known(0);
    let mut pending = vec![Walker {
        next: 0,
        a: zero.clone(),
        x: zero.clone(),
        memory: std::array::from_fn(|_| zero.clone()),
        constraints: Constraints::default(),
    }];
    let mut paths = Vec::new();
    while let Some(mut walker) = pending.pop() {
        let returned = walker.walk(program, audit_arch, nr, &mut pending, budget)?;
        paths.push(ProgramPath {
            constraints: walker.constraints,
            returned,
        });
        if paths.len() + pending.len() > MAX_PATHS {
            return None;
        }
    }
    Some(paths)
}

/// The machine's state on a path that has not returned yet.
#[derive(Clone)]
struct Walker {
    next: usize,
    a: SymbolicValue,
    x: SymbolicValue,
    memory: [SymbolicValue; MEMORY_WORDS],
    constraints: Constraints,
}

impl Walker {
    /// Follows the path to its end, and adds the other sides of undecided branches to `pending`. `None` if they are too many.
    fn walk(
        &mut self,
        program: &Program,
        audit_arch: u32,
        nr: i32,
        pending: &mut Vec<Walker>,
        budget: &mut Budget,
    ) -> Option<SymbolicValue> {
        use SymbolicValue::{Computed, Known, Word};
        loop {
            let instruction = program.instructions().get(self.next).copied();
            self.next += 1;
            budget.take(1)?;
            // A valid program returns.
            match instruction.unwrap_or(Instruction::Return(0)) {
                Instruction::LoadData(0) => self.a = Known(nr.cast_unsigned()),
                Instruction::LoadData(4) => self.a = Known(audit_arch),
                Instruction::LoadData(offset) => self.a = Word(offset),
                Instruction::LoadConstant(constant) => self.a = Known(constant),
                Instruction::LoadIndexConstant(constant) => self.x = Known(constant),
                Instruction::LoadMemory(word) => self.a = self.memory[word].clone(),
                Instruction::LoadIndexMemory(word) => self.x = self.memory[word].clone(),
                Instruction::Store(word) => self.memory[word] = self.a.clone(),
                Instruction::StoreIndex(word) => self.memory[word] = self.x.clone(),
                Instruction::Negate => {
                    self.a = match &self.a {
                        Known(number) => Known(number.wrapping_neg()),
                        other => Computed(format!("-{other}").into()),
                    };
                }
                Instruction::CopyToIndex => self.x = self.a.clone(),
                Instruction::CopyFromIndex => self.a = self.x.clone(),
                Instruction::Alu(op, operand) => {
                    let operand = self.value(operand);
                    match compute(op, &self.a, &operand) {
                        Some(value) => self.a = value,
                        None => return Some(Known(0)),
                    }
                }
                Instruction::Jump(offset) => self.next += offset,
                Instruction::Branch(comparison, operand, jt, jf) => {
                    let operand = self.value(operand);
                    budget.take(self.constraints.size_for(&self.a))?;
                    let holds = self.constraints.decide(comparison, &self.a, &operand);
                    if holds.is_none() {
                        budget.take(COPY + self.constraints.size())?;
                        let mut other = self.clone();
                        (other.constraints).learn(comparison, &self.a, &operand, false);
                        other.next += jf;
                        pending.push(other);
                        (self.constraints).learn(comparison, &self.a, &operand, true);
                    }
                    self.next += if holds.unwrap_or(true) { jt } else { jf };
                }
                Instruction::Return(value) => return Some(Known(value)),
                Instruction::ReturnA => return Some(self.a.clone()),
            }
            if pending.len() > MAX_PATHS {
                return None;
            }
        }
    }

    fn value(&self, operand: Operand) -> SymbolicValue {
        match operand {
            Operand::Constant(constant) => SymbolicValue::Known(constant),
            Operand::Index => self.x.clone(),
        }
    }
}

impl Constraints {
    /// The result of a comparison, if the constraints determine it.
    fn decide(
        &self,
        comparison: Comparison,
        a: &SymbolicValue,
        operand: &SymbolicValue,
    ) -> Option<bool> {
        let SymbolicValue::Known(number) = *operand else {
            return (a == operand && comparison == Comparison::Equal).then_some(true);
        };
        match a {
            SymbolicValue::Known(a) => Some(comparison.holds(*a, number)),
            SymbolicValue::Word(offset) if comparison == Comparison::AnyBit => {
                self.decide_bits(*offset, number, 0).map(|equal| !equal)
            }
            SymbolicValue::Word(offset) => {
                let (holds, fails) = split(self.ranges_of(*offset), comparison, number);
                match (holds.is_empty(), fails.is_empty()) {
                    (true, _) => Some(false),
                    (_, true) => Some(true),
                    _ => None,
                }
            }
            SymbolicValue::Bits(offset, mask) => match comparison {
                Comparison::Equal if number & !mask != 0 => Some(false),
                Comparison::Equal => self.decide_bits(*offset, *mask, number),
                Comparison::AnyBit => {
                    let equal = self.decide_bits(*offset, mask & number, 0);
                    equal.map(|equal| !equal)
                }
                _ => None,
            },
            SymbolicValue::Computed(_) => None,
        }
    }

    /// What a decision about a value goes through.
    fn size_for(&self, a: &SymbolicValue) -> usize {
        match a {
            SymbolicValue::Word(offset) => self.ranges_of(*offset).len() + self.bits.len(),
            SymbolicValue::Bits(..) => self.bits.len(),
            SymbolicValue::Known(_) | SymbolicValue::Computed(_) => 0,
        }
    }

    fn size(&self) -> usize {
        let ranges = self.ranges.values().map(Vec::len).sum::<usize>();
        ranges + self.bits.len() + self.others.len()
    }

    fn ranges_of(&self, offset: u32) -> &[(u32, u32)] {
        self.ranges.get(&offset).map_or(&[FULL], Vec::as_slice)
    }

    /// Whether the bits of a word under a mask have a value, if the constraints determine it.
    fn decide_bits(&self, offset: u32, mask: u32, value: u32) -> Option<bool> {
        if mask == 0 {
            return Some(value == 0);
        }
        if let &[(first, last)] = self.ranges_of(offset)
            && first == last
        {
            return Some(first & mask == value);
        }
        for known in self.bits.iter().filter(|known| known.offset == offset) {
            if known.equal && known.value & mask & known.mask != value & known.mask & mask {
                return Some(false);
            }
            if known.equal && known.mask & mask == mask {
                return Some(true);
            }
            if !known.equal && known.mask == mask && known.value == value {
                return Some(false);
            }
        }
        None
    }

    /// Adds the result of a comparison.
    fn learn(
        &mut self,
        comparison: Comparison,
        a: &SymbolicValue,
        operand: &SymbolicValue,
        holds: bool,
    ) {
        use SymbolicValue::{Bits, Known, Word};
        let (offset, mask, value, equal) = match (a, operand, comparison) {
            (Word(offset), Known(mask), Comparison::AnyBit) => (*offset, *mask, 0, !holds),
            (Word(offset), Known(number), _) => {
                let (if_holds, if_not) = split(self.ranges_of(*offset), comparison, *number);
                let ranges = if holds { if_holds } else { if_not };
                self.ranges.insert(*offset, ranges);
                return;
            }
            (Bits(offset, mask), Known(value), Comparison::Equal) => {
                (*offset, *mask, *value, holds)
            }
            (Bits(offset, mask), Known(bits), Comparison::AnyBit) => {
                (*offset, mask & bits, 0, !holds)
            }
            _ => {
                let text = match (comparison, holds) {
                    (Comparison::Equal, true) => format!("{a} == {operand}"),
                    (Comparison::Equal, false) => format!("{a} != {operand}"),
                    (Comparison::Greater, true) => format!("{a} > {operand}"),
                    (Comparison::Greater, false) => format!("{a} <= {operand}"),
                    (Comparison::GreaterOrEqual, true) => format!("{a} >= {operand}"),
                    (Comparison::GreaterOrEqual, false) => format!("{a} < {operand}"),
                    (Comparison::AnyBit, true) => format!("{a} & {operand} != 0"),
                    (Comparison::AnyBit, false) => format!("{a} & {operand} == 0"),
                };
                self.others.insert(text);
                return;
            }
        };
        self.bits.insert(BitConstraint {
            offset,
            mask,
            value,
            equal,
        });
    }
}

/// The result of a computation; `None` for a division by zero, on which the program returns 0.
fn compute(op: AluOp, a: &SymbolicValue, operand: &SymbolicValue) -> Option<SymbolicValue> {
    use SymbolicValue::{Bits, Computed, Known, Word};
    Some(match (a, operand, op) {
        (Known(a), Known(b), _) => Known(op.apply(*a, *b)?),
        (_, Known(0), AluOp::And) => Known(0),
        (_, Known(u32::MAX), AluOp::And)
        | (_, Known(0), AluOp::Or | AluOp::Xor | AluOp::Add | AluOp::Sub) => a.clone(),
        (Word(offset), Known(mask), AluOp::And) => Bits(*offset, *mask),
        (Bits(offset, first), Known(mask), AluOp::And) => Bits(*offset, first & mask),
        _ => Computed(format!("({a} {} {operand})", op.operator()).into()),
    })
}

/// The parts of ranges for which a comparison with a number holds, and for which it fails.
fn split(ranges: &[(u32, u32)], comparison: Comparison, number: u32) -> (Ranges, Ranges) {
    let (first, last) = match comparison {
        Comparison::Equal => (number, number),
        Comparison::GreaterOrEqual => (number, u32::MAX),
        Comparison::Greater => match number.checked_add(1) {
            Some(first) => (first, u32::MAX),
            None => return (Vec::new(), ranges.to_vec()),
        },
        // The numbers for which it holds are not a range.
        Comparison::AnyBit => return (ranges.to_vec(), ranges.to_vec()),
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

impl fmt::Display for SymbolicValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SymbolicValue::Known(number) => write!(f, "{number:#x}"),
            SymbolicValue::Word(offset) => f.write_str(&data_word(*offset)),
            SymbolicValue::Bits(offset, mask) => {
                write!(f, "({} & {mask:#x})", data_word(*offset))
            }
            SymbolicValue::Computed(text) => f.write_str(text),
        }
    }
}
