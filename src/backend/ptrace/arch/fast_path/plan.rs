//! How the code around a call can be changed, by what the file has there. Any doubt means: not at all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::rc::Rc;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

use super::stub::{CALL, INT3, JUMP, MOVABLE};
use super::unwind::{Elf, Segment};

/// How far `jmp rel8` reaches, and a bit.
const NEAR: u64 = 160;
/// The largest function that is decoded, and the largest segment that is searched for branches.
const LARGEST_FUNCTION: u64 = 1 << 18;
const LARGEST_SEGMENT: u64 = 8 << 20;

/// The bytes of `syscall`.
pub(super) const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// How a call is replaced by a jump to a chunk. Addresses are the file's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// `jmp rel8` to this padding, which has room for `jmp rel32`.
    Cave {
        address: u64,
        /// What is there.
        padding: [u8; JUMP as usize],
    },
    /// `jmp rel32` instead of the first of the instructions before the call, which can be executed elsewhere and
    /// again. The others and the call stay for those that jump there, with another number perhaps.
    Moved {
        instructions: Vec<u8>,
        /// They set the number. Otherwise there is one, as long as the jump.
        set_number: bool,
    },
}

/// An [`Image`] that several address spaces have.
pub(super) type SharedImage = Rc<RefCell<Image>>;

/// An ELF file with its calls.
#[derive(Debug)]
pub(super) struct Image {
    elf: Elf,
    plans: HashMap<u64, Option<Plan>>,
    caves: Vec<u64>,
    /// The first address of the segment that was last searched for branches, and how far from there their targets are, sorted.
    branches: Option<(u64, Vec<u32>)>,
}

impl Image {
    pub(super) fn open(file: File) -> Option<Image> {
        Some(Image {
            elf: Elf::open(file)?,
            plans: HashMap::new(),
            caves: Vec::new(),
            branches: None,
        })
    }

    /// The address in the file's own terms of what is at this offset of the file, in a segment of code.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        let address = |segment: &Segment| {
            let inside = offset.checked_sub(segment.offset)?;
            let address = segment.addresses.start.checked_add(inside)?;
            (segment.is_code && segment.addresses.contains(&address)).then_some(address)
        };
        self.elf.segments.iter().find_map(address)
    }

    /// How a call at this address is replaced.
    pub(super) fn plan(&mut self, site: u64) -> Option<Plan> {
        if let Some(plan) = self.plans.get(&site) {
            return plan.clone();
        }
        let plan = self.make_plan(site);
        if let Some(Plan::Cave { address, .. }) = plan {
            self.caves.push(address);
        }
        self.plans.insert(site, plan.clone());
        plan
    }

    fn make_plan(&mut self, site: u64) -> Option<Plan> {
        let mut bytes = [0; 2];
        self.elf.read(site, &mut bytes)?;
        if bytes != SYSCALL {
            return None;
        }
        let around = site.saturating_sub(NEAR)..site + NEAR;
        let functions = if self.elf.has_functions() {
            self.elf.functions_near(&around)?
        } else {
            Vec::new()
        };
        // Half of a jump across two lines of the cache might be seen.
        let in_one_line = site % 64 != 63;
        let Some(function) = functions.iter().find(|function| function.contains(&site)) else {
            return self.find_run(site).filter(|_| in_one_line);
        };
        let instructions = self.decode(function)?;
        let index = instructions
            .iter()
            .position(|instruction| instruction.ip() == site)?;
        if instructions[index].code() != Code::Syscall {
            return None;
        }
        let cave = in_one_line.then(|| self.find_cave(site, &functions));
        let cave = cave.flatten();
        cave.or_else(|| self.find_moved(site, &instructions, index))
    }

    /// All instructions of a function; `None` if they aren't valid or don't end with it.
    fn decode(&self, function: &Range<u64>) -> Option<Vec<Instruction>> {
        if function.end.checked_sub(function.start)? > LARGEST_FUNCTION {
            return None;
        }
        let bytes = self.elf.read_range(function)?;
        decode(&bytes, function.start)
    }

    fn take(&self, site: u64, address: u64) -> Option<Plan> {
        // As seen from behind the jump.
        let distance = address.wrapping_sub(site + CALL).cast_signed();
        let is_used = |used: &u64| address < used + JUMP && *used < address + JUMP;
        // A page that the workload discards has the file's bytes again: those of the call and of the padding, or neither.
        let is_near = i8::try_from(distance).is_ok()
            && [address, address + JUMP - 1].map(page) == [page(site); 2];
        if !is_near || self.caves.iter().any(is_used) {
            return None;
        }
        let mut padding = [0; JUMP as usize];
        self.elf.read(address, &mut padding)?;
        Some(Plan::Cave { address, padding })
    }

    /// Looks for padding between functions.
    fn find_cave(&self, site: u64, functions: &[Range<u64>]) -> Option<Plan> {
        let fits = |pair: &[Range<u64>]| {
            let [before, after] = pair else {
                return None;
            };
            let gap = before.end..after.start;
            // Longer gaps have functions without unwind data.
            if gap
                .end
                .checked_sub(gap.start)
                .is_none_or(|length| !(JUMP..64).contains(&length))
            {
                return None;
            }
            let mut places = (gap.start..=gap.end - JUMP).filter_map(|at| self.take(site, at));
            let plan = places.next()?;
            let is_padding = decode(&self.elf.read_range(&gap)?, gap.start)?
                .iter()
                .all(is_nop);
            // Else what is before could run into it.
            let ends = self.decode(before)?.last().is_some_and(ends_path);
            (is_padding && ends).then_some(plan)
        };
        functions.windows(2).find_map(fits)
    }

    /// Looks for a run of breakpoints up to an aligned address, which is how Go pads functions. They have no unwind data.
    fn find_run(&self, site: u64) -> Option<Plan> {
        const ALIGNMENT: usize = 16;
        let start = site.saturating_sub(NEAR) & !(ALIGNMENT as u64 - 1);
        let bytes = self.elf.read_range(&(start..start + 2 * NEAR))?;
        let runs = (ALIGNMENT..bytes.len())
            .step_by(ALIGNMENT)
            .filter_map(|end| {
                let before = &bytes[..end];
                let length = before
                    .iter()
                    .rev()
                    .take_while(|&&byte| byte == INT3)
                    .count();
                (length >= JUMP as usize && bytes.get(end) != Some(&INT3))
                    .then(|| end - length..end)
            });
        let mut places = runs.flat_map(|run| run.start..=run.end - JUMP as usize);
        places.find_map(|at| self.take(site, start + at as u64))
    }

    /// Looks for instructions before a call that can be moved: the first of them has room for `jmp rel32`, so that nobody
    /// can be in the middle of that.
    fn find_moved(&mut self, site: u64, function: &[Instruction], index: usize) -> Option<Plan> {
        let mut sets_number = false;
        let mut first = None;
        // Executed again, they must do the same.
        let (mut written, mut read) = (vec![], vec![]);
        for instruction in function[..index].iter().rev() {
            if site - instruction.ip() > MOVABLE as u64 {
                return None;
            }
            let (writes, reads) = can_move(instruction)?;
            if writes == Register::RAX {
                // Once, by the number itself.
                if sets_number || instruction.code() != Code::Mov_r32_imm32 {
                    return None;
                }
                sets_number = true;
            }
            written.push(writes);
            read.extend(reads);
            if instruction.len() as u64 >= JUMP {
                first = Some(instruction.ip()..instruction.next_ip());
                break;
            }
        }
        let kept = |register: &Register| *register != Register::RAX && !written.contains(register);
        if !read.iter().all(kept) || written.contains(&Register::RSP) {
            return None;
        }
        let first = first.filter(|first| sets_number || site - first.start == JUMP)?;
        // What is replaced is in one line, as above.
        if first.start / 64 != (first.start + JUMP - 1) / 64
            || self.is_branched_to(first.start + 1..first.end, function)?
        {
            return None;
        }
        let instructions = self.elf.read_range(&(first.start..site))?;
        Some(Plan::Moved {
            instructions,
            set_number: sets_number,
        })
    }

    /// Whether anything in the segment can be a branch to these addresses. Takes some data for branches, too, but not in the function
    /// with these instructions.
    fn is_branched_to(&mut self, targets: Range<u64>, function: &[Instruction]) -> Option<bool> {
        let holds = |segment: &&Segment| segment.addresses.contains(&targets.start);
        let segment = self.elf.segments.iter().find(holds)?.addresses.clone();
        if segment.end - segment.start > LARGEST_SEGMENT {
            return None;
        }
        if (self.branches.as_ref()).is_none_or(|(start, _)| *start != segment.start) {
            let targets = branch_targets(&self.elf.read_range(&segment)?);
            self.branches = Some((segment.start, targets));
        }
        let (start, all) = self.branches.as_ref()?;
        let first = u32::try_from(targets.start - start).ok()?;
        let next = all.get(all.partition_point(|target| *target < first));
        let long = next.is_some_and(|next| targets.contains(&(start + u64::from(*next))));

        let near = targets.start.saturating_sub(NEAR).max(segment.start)
            ..(targets.start + NEAR).min(segment.end);
        let bytes = self.elf.read_range(&near)?;
        let is_in_another = |at: u64| {
            let next = function.partition_point(|instruction| instruction.next_ip() <= at);
            let instruction = function.get(next).filter(|of| of.ip() <= at);
            instruction.is_some_and(|of| of.flow_control() == FlowControl::Next)
        };
        let short = bytes.windows(2).zip(near.start..).any(|(pair, at)| {
            // Jcc, LOOPcc, JRCXZ, JMP.
            let distance = i64::from(pair[1].cast_signed());
            matches!(pair[0], 0x70..=0x7f | 0xe0..=0xe3 | 0xeb)
                && targets.contains(&(at + 2).wrapping_add_signed(distance))
                && !is_in_another(at)
        });
        Some(short || long)
    }
}

/// Where everything in this code that can be CALL, JMP or Jcc with a distance of 32 bits leads, as far as that is in the code.
fn branch_targets(code: &[u8]) -> Vec<u32> {
    let mut targets: Vec<u32> = memchr::memchr2_iter(0xe8, 0xe9, code)
        .chain(memchr::memchr_iter(0x0f, code).filter_map(|at| {
            // 0f 80 to 0f 8f.
            (code.get(at + 1)? & 0xf0 == 0x80).then_some(at + 1)
        }))
        .filter_map(|at| {
            let end = at + 5;
            let distance = i32::from_le_bytes(code.get(at + 1..end)?.try_into().ok()?);
            let target = i64::try_from(end).ok()? + i64::from(distance);
            let is_inside = |target: &u32| (*target as usize) < code.len();
            u32::try_from(target).ok().filter(is_inside)
        })
        .collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// The number of a page: mappings of files begin at pages.
fn page(address: u64) -> u64 {
    address >> 12
}

fn decode(bytes: &[u8], address: u64) -> Option<Vec<Instruction>> {
    let decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let instructions: Vec<_> = decoder.into_iter().collect();
    let valid = instructions
        .iter()
        .all(|instruction| !instruction.is_invalid());
    valid.then_some(instructions)
}

fn is_nop(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
}

/// Whether nothing behind the instruction is executed after it.
fn ends_path(instruction: &Instruction) -> bool {
    let mnemonic = instruction.mnemonic();
    // A function ends with a call only if that doesn't return.
    let ends = [
        Mnemonic::Ret,
        Mnemonic::Jmp,
        Mnemonic::Call,
        Mnemonic::Ud2,
        Mnemonic::Hlt,
    ];
    ends.contains(&mnemonic)
}

/// The register that an instruction writes and those that it reads, if that is all that it does, and it does the same at another
/// address. Half registers count as whole.
fn can_move(instruction: &Instruction) -> Option<(Register, Vec<Register>)> {
    let registers =
        |count: u32| (0..count).all(|operand| instruction.op_kind(operand) == OpKind::Register);
    let reads = match instruction.code() {
        Code::Mov_r32_imm32 | Code::Mov_r64_imm64 => vec![],
        Code::Mov_rm64_imm32 | Code::Mov_rm32_imm32 if registers(1) => vec![],
        // It is 0 then.
        Code::Xor_rm32_r32 | Code::Xor_r32_rm32
            if registers(2) && instruction.op0_register() == instruction.op1_register() =>
        {
            vec![]
        }
        Code::Mov_rm64_r64 | Code::Mov_r64_rm64 | Code::Mov_rm32_r32 | Code::Mov_r32_rm32
            if registers(2) =>
        {
            vec![instruction.op1_register()]
        }
        Code::Lea_r64_m if !instruction.is_ip_rel_memory_operand() => {
            vec![instruction.memory_base(), instruction.memory_index()]
        }
        _ => return None,
    };
    let written = whole(instruction.op0_register())?;
    let reads = reads.into_iter().filter(|read| *read != Register::None);
    let reads: Option<Vec<_>> = reads.map(whole).collect();
    reads.map(|reads| (written, reads))
}

/// The register that this one is, or is a half of. `None` for those that a call changes, but rax: what is moved would be
/// executed with other values in them the second time.
fn whole(register: Register) -> Option<Register> {
    let first = |first: Register, of: Register| register as u32 - first as u32 + of as u32;
    let whole = match register {
        _ if (Register::EAX..=Register::R15D).contains(&register) => {
            first(Register::EAX, Register::RAX)
        }
        _ if (Register::RAX..=Register::R15).contains(&register) => register as u32,
        _ => return None,
    };
    let whole = Register::try_from(usize::try_from(whole).ok()?).ok()?;
    (whole != Register::RCX && whole != Register::R11).then_some(whole)
}

#[cfg(test)]
mod tests;
