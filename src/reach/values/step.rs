//! What one instruction changes.

use iced_x86::{
    FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::state::{Escaped, RSP, State};
use super::{Atom, Values};
use crate::reach::code::site;

const RAX: usize = 0;
const RCX: usize = 1;
const RBP: usize = 5;
const R11: usize = 11;

/// What a call may change (System V ABI, x86-64, figure 3.4): rax, rcx, rdx, rsi, rdi and r8 to r11.
const CALLER_SAVED: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/// Changes states as the instructions of a function do.
pub(super) struct Follower {
    /// The stack whose address the function computed so far.
    pub(super) escaped: Escaped,
    /// Whether calls keep no registers, as in Go.
    keeps_none: bool,
    info: InstructionInfoFactory,
}

impl Follower {
    pub(super) fn new(keeps_none: bool) -> Follower {
        Follower {
            escaped: Escaped::NONE,
            keeps_none,
            info: InstructionInfoFactory::new(),
        }
    }

    pub(super) fn step(&mut self, one: &Instruction, state: &mut State) {
        use Mnemonic as M;
        if site(one).is_some() {
            for register in [RAX, RCX, R11] {
                state.registers[register] = Values::Any;
            }
            return;
        }
        match one.mnemonic() {
            _ if matches!(
                one.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            ) =>
            {
                for register in (0..16).filter(|register| *register != RSP) {
                    if self.keeps_none || CALLER_SAVED.contains(&register) {
                        state.registers[register] = Values::Any;
                    }
                }
            }
            M::Push | M::Pop | M::Leave => self.stack(one, state),
            M::Xchg => {
                let (a, b) = (self.operand(one, 0, state), self.operand(one, 1, state));
                self.assign(one, 0, b, state);
                self.assign(one, 1, a, state);
            }
            M::Cdqe => {
                state.registers[RAX] = extended(&state.registers[RAX], 4, true);
            }
            // The operands of these are only read.
            M::Cmp | M::Test | M::Nop | M::Endbr64 => {}
            _ => match self.result(one, state) {
                Some(values) => self.assign(one, 0, values, state),
                None => self.other(one, state),
            },
        }
    }

    /// What an instruction writes to its first operand, if that is all that it does.
    fn result(&mut self, one: &Instruction, state: &State) -> Option<Values> {
        use Mnemonic as M;
        let is_same = one.op_count() == 2
            && one.op0_kind() == OpKind::Register
            && one.op1_kind() == OpKind::Register
            && one.op0_register() == one.op1_register();
        let first = || self.operand(one, 0, state);
        let second = || self.operand(one, 1, state);
        let values = match one.mnemonic() {
            M::Mov => second(),
            M::Lea => {
                let base = number(one.memory_base()).map(|base| &state.registers[base]);
                let is_array = one.memory_index() != Register::None;
                let values = address(one, state);
                if is_array && base.is_some_and(Values::has_frame) {
                    self.escaped = Escaped::ALL;
                }
                values
            }
            M::Xor | M::Sub if is_same => Values::number(0),
            M::Sbb if is_same => Values::of(vec![Atom::Number(0), Atom::Number(u64::MAX)]),
            M::Add => {
                let (a, b) = (first(), second());
                shifted(&a, &b, i64::wrapping_add).unwrap_or_else(|| a.both(&b, u64::wrapping_add))
            }
            M::Sub => {
                let (a, b) = (first(), second());
                shifted(&a, &b, i64::wrapping_sub).unwrap_or_else(|| a.both(&b, u64::wrapping_sub))
            }
            M::Or if second() == Values::number(u64::MAX) => Values::number(u64::MAX),
            M::And => first().both(&second(), |a, b| a & b),
            M::Or => first().both(&second(), |a, b| a | b),
            M::Xor => first().both(&second(), |a, b| a ^ b),
            M::Inc => first().numbers(|value| value.wrapping_add(1)),
            M::Dec => first().numbers(|value| value.wrapping_sub(1)),
            M::Neg => first().numbers(u64::wrapping_neg),
            M::Not => first().numbers(|value| !value),
            M::Movzx => extended(&second(), operand_size(one, 1), false),
            M::Movsx | M::Movsxd => extended(&second(), operand_size(one, 1), true),
            _ if is_conditional_move(one) => first().join(&second()),
            _ if is_condition(one) => Values::of(vec![Atom::Number(0), Atom::Number(1)]),
            _ => return None,
        };
        Some(values)
    }

    fn stack(&mut self, one: &Instruction, state: &mut State) {
        match one.mnemonic() {
            Mnemonic::Push => {
                let values = self.operand(one, 0, state);
                move_stack(-8, state);
                match state.registers[RSP].frame() {
                    Some(offset) => state.store(offset, 8, values),
                    None => state.lose(),
                }
            }
            Mnemonic::Pop => {
                let frame = state.registers[RSP].frame();
                let values = frame.map(|offset| state.slot(offset, 8, &self.escaped));
                move_stack(8, state);
                self.assign(one, 0, values.unwrap_or(Values::Any), state);
            }
            // leave
            _ => {
                let frame = state.registers[RBP].frame();
                let values = frame.map(|offset| state.slot(offset, 8, &self.escaped));
                let above = frame.map(|offset| vec![Atom::Frame(offset.wrapping_add(8))]);
                state.registers[RSP] = above.map_or(Values::Any, Values::of);
                state.registers[RBP] = values.unwrap_or(Values::Any);
            }
        }
    }

    /// An instruction that is not followed: what it writes is not known.
    fn other(&mut self, one: &Instruction, state: &mut State) {
        let info = self.info.info(one);
        let registers = info.used_registers().iter();
        let written: Vec<usize> = registers
            .filter(|used| writes(used.access()))
            .filter_map(|used| number(used.register()))
            .collect();
        let mut stores = Vec::new();
        let used = info.used_memory().iter();
        for used in used.filter(|used| writes(used.access())) {
            let Some(register) = number(used.base()) else {
                continue;
            };
            let base = &state.registers[register];
            let size = length(used.memory_size().size());
            match base.frame() {
                Some(frame) if used.index() == Register::None && size > 0 => {
                    stores.push(Some((
                        frame.wrapping_add(used.displacement().cast_signed()),
                        size,
                    )));
                }
                Some(_) => stores.push(None),
                None if is_stack(register, state) => stores.push(None),
                None => {}
            }
        }
        for store in stores {
            match store {
                Some((offset, size)) => state.forget(offset, size),
                None => state.lose(),
            }
        }
        for register in written {
            state.registers[register] = Values::Any;
        }
    }

    /// The values of an operand.
    fn operand(&self, one: &Instruction, n: u32, state: &State) -> Values {
        let size = operand_size(one, n);
        match one.op_kind(n) {
            OpKind::Register => match number(one.op_register(n)) {
                Some(register) if !is_high_byte(one.op_register(n)) => {
                    narrow(&state.registers[register], size)
                }
                _ => Values::Any,
            },
            OpKind::Memory => match slot_of(one, state) {
                Some(offset) => narrow(&state.slot(offset, size, &self.escaped), size),
                None => Values::Any,
            },
            OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Values::number(one.immediate(n)),
            _ => Values::Any,
        }
    }

    fn assign(&mut self, one: &Instruction, n: u32, values: Values, state: &mut State) {
        let size = operand_size(one, n);
        match one.op_kind(n) {
            OpKind::Register => {
                let register = one.op_register(n);
                let Some(number) = number(register) else {
                    return;
                };
                if number != RSP
                    && number != RBP
                    && let Values::Of(atoms) = &values
                {
                    for atom in atoms {
                        if let Atom::Frame(offset) = atom {
                            self.escaped.add(*offset);
                        }
                    }
                }
                let old = &state.registers[number];
                state.registers[number] = match size {
                    8 => values,
                    4 => narrow(&values, 4),
                    _ if is_high_byte(register) => Values::Any,
                    _ => {
                        let mask = (1_u64 << (size * 8)) - 1;
                        old.both(&values, |old, new| old & !mask | new & mask)
                    }
                };
            }
            OpKind::Memory => {
                if let Values::Of(atoms) = &values {
                    for atom in atoms {
                        if let Atom::Frame(offset) = atom {
                            self.escaped.add(*offset);
                        }
                    }
                }
                if let Some(offset) = slot_of(one, state) {
                    if size >= 4 {
                        state.store(offset, size, narrow(&values, size));
                    } else {
                        state.forget(offset & !3, 4);
                    }
                    return;
                }
                let base = number(one.memory_base());
                if base.is_some_and(|base| is_stack(base, state)) {
                    state.lose();
                }
            }
            _ => {}
        }
    }
}

fn move_stack(by: i64, state: &mut State) {
    state.registers[RSP] = state.registers[RSP].map(|atom| match atom {
        Atom::Frame(offset) => Some(Atom::Frame(offset.wrapping_add(by))),
        _ => None,
    });
}

/// Whether an address in this register is on the stack: that of rsp is, also when it is not known.
fn is_stack(register: usize, state: &State) -> bool {
    register == RSP || state.registers[register].has_frame()
}

/// The offset of the memory that an instruction refers to, if it is on the stack.
fn slot_of(one: &Instruction, state: &State) -> Option<i64> {
    if one.memory_index() != Register::None || one.segment_prefix() != Register::None {
        return None;
    }
    let frame = state.registers[number(one.memory_base())?].frame()?;
    Some(frame.wrapping_add(one.memory_displacement64().cast_signed()))
}

/// The address that an instruction computes.
fn address(one: &Instruction, state: &State) -> Values {
    if one.is_ip_rel_memory_operand() {
        return Values::number(one.memory_displacement64());
    }
    let displacement = one.memory_displacement64();
    let base = match one.memory_base() {
        Register::None => Values::number(0),
        register => number(register).map_or(Values::Any, |n| state.registers[n].clone()),
    };
    let base = base.map(|atom| match atom {
        Atom::Number(value) => Some(Atom::Number(value.wrapping_add(displacement))),
        Atom::Frame(value) => Some(Atom::Frame(value.wrapping_add_unsigned(displacement))),
        Atom::Entry(place) => (displacement == 0).then_some(Atom::Entry(place)),
    });
    match number(one.memory_index()) {
        None => base,
        Some(index) => {
            let scale = u64::from(one.memory_index_scale());
            let index = state.registers[index].numbers(|value| value.wrapping_mul(scale));
            base.both(&index, u64::wrapping_add)
        }
    }
}

/// A sum or difference of a stack address and a number.
fn shifted(a: &Values, b: &Values, by: impl Fn(i64, i64) -> i64) -> Option<Values> {
    let Values::Of(numbers) = b else { return None };
    let [Atom::Number(number)] = numbers[..] else {
        return None;
    };
    a.has_frame().then(|| {
        a.map(|atom| match atom {
            Atom::Frame(offset) => Some(Atom::Frame(by(offset, number.cast_signed()))),
            _ => None,
        })
    })
}

/// Values of that size, made as large as a register.
fn extended(values: &Values, size: i64, signed: bool) -> Values {
    values.map(|atom| match atom {
        Atom::Number(value) => Some(Atom::Number(extend(value, size, signed))),
        // The kernel takes the lower 32 bits of a number.
        Atom::Entry(place) if size >= 4 => Some(Atom::Entry(place)),
        _ => None,
    })
}

fn extend(value: u64, size: i64, signed: bool) -> u64 {
    let shift = 64 - size * 8;
    if signed {
        ((value << shift).cast_signed() >> shift).cast_unsigned()
    } else {
        value << shift >> shift
    }
}

/// The low part of values. That of an unknown value is only kept if it can still be a system call's number.
fn narrow(values: &Values, size: i64) -> Values {
    if size == 8 {
        return values.clone();
    }
    values.map(|atom| match atom {
        Atom::Number(value) => Some(Atom::Number(extend(value, size, false))),
        Atom::Entry(place) if size == 4 => Some(Atom::Entry(place)),
        _ => None,
    })
}

fn length(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn operand_size(one: &Instruction, n: u32) -> i64 {
    match one.op_kind(n) {
        OpKind::Register => length(one.op_register(n).size()),
        OpKind::Memory => length(one.memory_size().size()),
        _ => 8,
    }
}

/// `cmov` with any condition.
fn is_conditional_move(one: &Instruction) -> bool {
    use Mnemonic::{
        Cmova, Cmovae, Cmovb, Cmovbe, Cmove, Cmovg, Cmovge, Cmovl, Cmovle, Cmovne, Cmovno, Cmovnp,
        Cmovns, Cmovo, Cmovp, Cmovs,
    };
    matches!(
        one.mnemonic(),
        Cmova
            | Cmovae
            | Cmovb
            | Cmovbe
            | Cmove
            | Cmovg
            | Cmovge
            | Cmovl
            | Cmovle
            | Cmovne
            | Cmovno
            | Cmovnp
            | Cmovns
            | Cmovo
            | Cmovp
            | Cmovs
    )
}

/// `set` with any condition.
fn is_condition(one: &Instruction) -> bool {
    use Mnemonic::{
        Seta, Setae, Setb, Setbe, Sete, Setg, Setge, Setl, Setle, Setne, Setno, Setnp, Setns, Seto,
        Setp, Sets,
    };
    matches!(
        one.mnemonic(),
        Seta | Setae
            | Setb
            | Setbe
            | Sete
            | Setg
            | Setge
            | Setl
            | Setle
            | Setne
            | Setno
            | Setnp
            | Setns
            | Seto
            | Setp
            | Sets
    )
}

pub(super) fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::BH | Register::CH | Register::DH
    )
}

/// The number of a general register, whatever part of it is named.
fn number(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}
