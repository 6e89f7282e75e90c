//! The functions of an object: where each begins and ends, what it refers to, and where it calls the kernel.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

use rustc_hash::FxHashSet;

use super::elf::{Elf, Start, Target};

/// Functions of other objects that never return.
const NEVER_RETURN: [&[u8]; 12] = [
    b"abort",
    b"exit",
    b"_exit",
    b"_Exit",
    b"__assert_fail",
    b"__stack_chk_fail",
    b"__chk_fail",
    b"__fortify_fail",
    b"pthread_exit",
    b"__cxa_throw",
    b"__cxa_rethrow",
    b"_Unwind_Resume",
];

/// The most jumps by tables in an object.
const MAX_TABLE_EDGES: usize = 1 << 22;

/// The instruction of jumps by a table, which is not known.
const NOWHERE: u64 = u64::MAX;

/// How a function refers to code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A call, which returns.
    Call,
    /// A jump, or the end of a function without one.
    Jump,
    /// It computes or loads the address: it may be called later, from anywhere.
    Address,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    /// The instruction.
    pub(super) at: u64,
    pub(super) kind: Kind,
    pub(super) to: Target,
    /// The chunk of this object that it leads to.
    pub(super) lands: Option<usize>,
}

impl Edge {
    fn new(at: u64, kind: Kind, to: Target) -> Edge {
        Edge {
            at,
            kind,
            to,
            lands: None,
        }
    }
}

/// An instruction that calls the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Site {
    pub(super) at: u64,
    /// Whether it is a call of the 32-bit ABI: `int 0x80` or `sysenter`.
    pub(super) is_32_bit: bool,
}

/// A function, or a part of one.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) edges: Vec<Edge>,
    pub(super) sites: Vec<Site>,
    /// Addresses of data that it refers to.
    data: Vec<u64>,
    /// Whether a call of it can come back.
    pub(super) returns: bool,
}

/// All code of an object.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// By address. They cover all code.
    pub(super) chunks: Vec<Chunk>,
    /// Addresses of data that code refers to, sorted: where tables can begin.
    data: Vec<u64>,
}

impl Scanned {
    /// Reads all code. The error says why it can't be followed.
    pub(super) fn of(elf: &Elf) -> Result<Scanned, String> {
        let mut first = Vec::new();
        for bounds in bounds(elf, &elf.starts) {
            first.push(Scan::new(elf, &elf.starts, bounds).sweep());
        }
        // What has no frame description is divided at the addresses that are called or taken. It can be data.
        let edges = first.iter().flat_map(|chunk| &chunk.edges);
        let targets = edges
            .map(|edge| edge.to)
            .chain(elf.pointers.iter().copied());
        let unframed = targets.filter_map(|to| match to {
            Target::Here(at) if elf.is_code(at) && !is_within(&elf.frames, at) => Some(at),
            _ => None,
        });
        let unframed = unframed.map(|at| Start { at, is_edge: false });
        let mut starts: Vec<Start> = unframed.chain(elf.starts.iter().copied()).collect();
        starts.sort_unstable_by_key(|start| (start.at, !start.is_edge));
        starts.dedup_by_key(|start| start.at);
        let mut framed = first.into_iter();
        let mut all = Scanned::default();
        for bounds in bounds(elf, &starts) {
            let chunk = if is_within(&elf.frames, bounds.start) {
                framed.find(|chunk| chunk.start == bounds.start)
            } else {
                None
            };
            all.chunks
                .push(chunk.unwrap_or_else(|| Scan::new(elf, &starts, bounds).walk()));
        }
        all.follow_tables(elf)?;
        all.find_landings();
        all.find_returns(elf);
        Ok(all)
    }

    /// The chunk with that address.
    pub(super) fn find(&self, address: u64) -> Option<usize> {
        let index = self.chunks.partition_point(|chunk| chunk.end <= address);
        let chunk = self.chunks.get(index)?;
        (chunk.start <= address).then_some(index)
    }

    fn follow_tables(&mut self, elf: &Elf) -> Result<(), String> {
        let data = self.chunks.iter().flat_map(|chunk| &chunk.data);
        self.data = data.copied().collect();
        self.data.sort_unstable();
        self.data.dedup();
        let mut left = MAX_TABLE_EDGES;
        for number in 0..self.chunks.len() {
            let chunk = &self.chunks[number];
            let (start, end) = (chunk.start, chunk.end);
            let tables = chunk.data.iter().flat_map(|at| self.table(elf, *at));
            let outside = tables.filter(|to| !(start..end).contains(to));
            let edges = outside.map(|to| Edge::new(NOWHERE, Kind::Jump, Target::Here(to)));
            let edges: Vec<Edge> = edges.take(left + 1).collect();
            left =
                (left.checked_sub(edges.len())).ok_or("its tables of addresses are too large")?;
            self.chunks[number].edges.extend(edges);
        }
        Ok(())
    }

    fn find_landings(&mut self) {
        for number in 0..self.chunks.len() {
            let mut edges = std::mem::take(&mut self.chunks[number].edges);
            for edge in &mut edges {
                if let Target::Here(at) = edge.to {
                    edge.lands = self.find(at);
                }
            }
            self.chunks[number].edges = edges;
        }
    }

    /// A function returns if it has the instruction for it, or jumps to one that does.
    fn find_returns(&mut self, elf: &Elf) {
        let mut jumpers: Vec<Vec<usize>> = vec![Vec::new(); self.chunks.len()];
        let mut work: Vec<usize> = Vec::new();
        for (number, chunk) in self.chunks.iter_mut().enumerate() {
            for edge in chunk.edges.iter().filter(|edge| edge.kind == Kind::Jump) {
                match (edge.to, edge.lands) {
                    (_, Some(to)) => jumpers[to].push(number),
                    (Target::Import(name), None) => chunk.returns |= can_return(&elf.names[name]),
                    (Target::Here(_), None) => chunk.returns = true,
                }
            }
            work.extend(chunk.returns.then_some(number));
        }
        while let Some(number) = work.pop() {
            for jumper in std::mem::take(&mut jumpers[number]) {
                if !self.chunks[jumper].returns {
                    self.chunks[jumper].returns = true;
                    work.push(jumper);
                }
            }
        }
    }

    /// Whether a call can come back.
    pub(super) fn comes_back(&self, elf: &Elf, call: &Edge) -> bool {
        match (call.to, call.lands.map(|chunk| &self.chunks[chunk])) {
            (Target::Import(name), _) => can_return(&elf.names[name]),
            (Target::Here(at), Some(chunk)) => chunk.returns || chunk.start != at,
            (Target::Here(_), None) => true,
        }
    }

    /// The addresses of code in the table that begins at an address, if there is one: offsets of 32 bits from its start, as in
    /// position-independent code, or addresses.
    pub(super) fn table(&self, elf: &Elf, address: u64) -> Vec<u64> {
        let next = self.data.partition_point(|one| *one <= address);
        let limit = self.data.get(next).map_or(u64::MAX, |next| next - address);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = elf.at(&elf.data, address);
        let bytes = &bytes[..bytes.len().min(limit)];
        let offsets = bytes.chunks_exact(4).filter_map(|word| word.first_chunk());
        let targets =
            offsets.map(|word| address.wrapping_add_signed(i32::from_le_bytes(*word).into()));
        let mut found: Vec<u64> = targets.take_while(|to| elf.is_code(*to)).collect();
        let words = (0..bytes.len() as u64).step_by(8);
        let words = words.map_while(|skip| match elf.words.get(&address.wrapping_add(skip)) {
            Some(Target::Here(to)) if elf.is_code(*to) => Some(*to),
            _ => None,
        });
        found.extend(words);
        found
    }
}

fn can_return(name: &[u8]) -> bool {
    !NEVER_RETURN.contains(&name)
}

/// Where a chunk begins and ends.
#[derive(Clone, Copy)]
struct Bounds {
    start: u64,
    end: u64,
    /// Where the next code with a frame description begins, or the area ends.
    limit: u64,
    /// Whether no function continues across its end.
    ends_at_edge: bool,
}

fn bounds<'a>(elf: &'a Elf, starts: &'a [Start]) -> impl Iterator<Item = Bounds> + 'a {
    elf.code.iter().flat_map(move |area| {
        let from = starts.partition_point(|start| start.at < area.start);
        let to = starts.partition_point(|start| start.at < area.end);
        let of_area = &starts[from..to];
        of_area.iter().enumerate().map(move |(index, start)| {
            let next = of_area.get(index + 1);
            let frame = elf.frames.partition_point(|(from, _)| *from <= start.at);
            let limit = elf.frames.get(frame).map_or(area.end, |(from, _)| *from);
            Bounds {
                start: start.at,
                end: next.map_or(area.end, |next| next.at),
                limit: limit.min(area.end),
                ends_at_edge: next.is_none_or(|next| next.is_edge),
            }
        })
    })
}

/// Whether sorted ranges have an address. They may overlap in hostile files only.
fn is_within(ranges: &[(u64, u64)], address: u64) -> bool {
    let index = ranges.partition_point(|(start, _)| *start <= address);
    index > 0 && address < ranges[index - 1].1
}

/// The instructions of a range. Bytes that are none are passed over one by one.
pub(super) fn decode(elf: &Elf, start: u64, end: u64, mut each: impl FnMut(&Instruction)) {
    let bytes = elf.at(&elf.code, start);
    let length = usize::try_from(end - start).unwrap_or(usize::MAX);
    let bytes = &bytes[..bytes.len().min(length)];
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        let position = decoder.position();
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            let next = position + 1;
            if decoder.set_position(next).is_err() {
                return;
            }
            decoder.set_ip(start.wrapping_add(next as u64));
            continue;
        }
        each(&instruction);
    }
}

/// The calls of the kernel that an instruction makes.
pub(super) fn site(instruction: &Instruction) -> Option<Site> {
    let is_32_bit = match instruction.code() {
        Code::Syscall => false,
        Code::Sysenter => true,
        Code::Int_imm8 if instruction.immediate8() == 0x80 => true,
        _ => return None,
    };
    let at = instruction.ip();
    Some(Site { at, is_32_bit })
}

/// The address in memory that an instruction refers to without registers.
pub(super) fn memory(instruction: &Instruction) -> Option<u64> {
    let operands = (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory);
    let is_plain = instruction.segment_prefix() == Register::None;
    if !operands || !is_plain {
        return None;
    }
    let is_absolute =
        instruction.is_ip_rel_memory_operand() || instruction.memory_base() == Register::None;
    is_absolute.then(|| instruction.memory_displacement64())
}

/// The immediates of an instruction that can be addresses.
pub(super) fn immediates(instruction: &Instruction) -> impl Iterator<Item = u64> + '_ {
    (0..instruction.op_count()).filter_map(|n| match instruction.op_kind(n) {
        OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64 => {
            Some(instruction.immediate(n))
        }
        _ => None,
    })
}

/// Whether the next instruction may follow.
pub(super) fn continues(instruction: &Instruction) -> bool {
    let leaves = matches!(
        instruction.flow_control(),
        FlowControl::Return
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Exception
    );
    !leaves && instruction.mnemonic() != Mnemonic::Hlt
}

struct Scan<'a> {
    elf: &'a Elf,
    bounds: Bounds,
    starts: &'a [Start],
    chunk: Chunk,
}

impl<'a> Scan<'a> {
    fn new(elf: &'a Elf, starts: &'a [Start], bounds: Bounds) -> Scan<'a> {
        Scan {
            elf,
            bounds,
            starts,
            chunk: Chunk {
                start: bounds.start,
                end: bounds.end,
                edges: Vec::new(),
                sites: Vec::new(),
                data: Vec::new(),
                returns: false,
            },
        }
    }

    fn done(mut self) -> Chunk {
        let chunk = &mut self.chunk;
        chunk.data.sort_unstable();
        chunk.data.dedup();
        chunk.sites.sort_unstable();
        chunk.sites.dedup();
        self.chunk
    }

    /// Reads all instructions, one after the other.
    fn sweep(mut self) -> Chunk {
        let mut falls = true;
        let Bounds { start, end, .. } = self.bounds;
        let mut last = start;
        decode(self.elf, start, end, |instruction| {
            self.instruction(instruction);
            last = instruction.ip();
            let is_call = site(instruction).is_none()
                && matches!(
                    instruction.flow_control(),
                    FlowControl::Call | FlowControl::IndirectCall
                );
            falls = continues(instruction)
                && !matches!(instruction.mnemonic(), Mnemonic::Int3 | Mnemonic::Nop)
                // A compiled function ends by a call only if that never returns.
                && !(is_call && self.bounds.ends_at_edge);
        });
        if falls {
            self.fall(last, end);
        }
        self.done()
    }

    /// Reads the instructions that follow from the first: other bytes may be data.
    fn walk(mut self) -> Chunk {
        let Bounds {
            start, end, limit, ..
        } = self.bounds;
        let bytes = self.elf.at(&self.elf.code, start);
        let length = usize::try_from(limit - start).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(length)];
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let mut seen = FxHashSet::default();
        let mut work = vec![start];
        while let Some(first) = work.pop() {
            let mut block: Vec<Instruction> = Vec::new();
            let mut at = first;
            loop {
                if (at >= end && self.is_start(at)) || at >= limit {
                    let last = block.last().map_or(first, Instruction::ip);
                    self.fall(last, at);
                    break;
                }
                if !seen.insert(at) {
                    break;
                }
                let Ok(position) = usize::try_from(at - start) else {
                    break;
                };
                if decoder.set_position(position).is_err() {
                    break;
                }
                decoder.set_ip(at);
                let instruction = decoder.decode();
                if instruction.is_invalid() {
                    // Data, perhaps after a call that never returns.
                    let calls = |one: &Instruction| {
                        matches!(
                            one.flow_control(),
                            FlowControl::Call | FlowControl::IndirectCall
                        )
                    };
                    let code = block.iter().rposition(calls).map_or(0, |last| last + 1);
                    block.truncate(code);
                    break;
                }
                block.push(instruction);
                if is_near_branch(&instruction) && instruction.flow_control() != FlowControl::Call {
                    let to = instruction.near_branch_target();
                    if (start..end).contains(&to) {
                        work.push(to);
                    }
                }
                if instruction.flow_control() == FlowControl::IndirectBranch
                    && memory(&instruction)
                        .is_none_or(|address| !self.elf.words.contains_key(&address))
                {
                    // Where it leads is not known.
                    return self.sweep();
                }
                if !continues(&instruction) {
                    break;
                }
                at = instruction.next_ip();
            }
            for one in &block {
                self.instruction(one);
            }
        }
        self.done()
    }

    fn is_start(&self, address: u64) -> bool {
        self.starts
            .binary_search_by_key(&address, |start| start.at)
            .is_ok()
    }

    /// The code goes on in the next chunk.
    fn fall(&mut self, at: u64, to: u64) {
        if self.elf.is_code(to) {
            self.edge(at, Kind::Jump, Target::Here(to));
        }
    }

    fn edge(&mut self, at: u64, kind: Kind, to: Target) {
        self.chunk.edges.push(Edge::new(at, kind, to));
    }

    fn instruction(&mut self, instruction: &Instruction) {
        let at = instruction.ip();
        if let Some(site) = site(instruction) {
            self.chunk.sites.push(site);
            return;
        }
        let flow = instruction.flow_control();
        if is_near_branch(instruction) {
            let to = instruction.near_branch_target();
            let kind = if flow == FlowControl::Call {
                Kind::Call
            } else {
                Kind::Jump
            };
            // A jump within the function is no edge. A call of itself is: it passes arguments.
            if kind == Kind::Call || to < self.bounds.start || to >= self.bounds.end {
                self.edge(at, kind, Target::Here(to));
            }
            return;
        }
        self.chunk.returns |= flow == FlowControl::Return;
        let kind = match flow {
            FlowControl::IndirectCall => Kind::Call,
            FlowControl::IndirectBranch => Kind::Jump,
            _ => Kind::Address,
        };
        let address = memory(instruction);
        self.chunk.returns |= flow == FlowControl::IndirectBranch
            && address.is_none_or(|address| !self.elf.words.contains_key(&address));
        if let Some(address) = address {
            if let Some(&to) = self.elf.words.get(&address) {
                self.edge(at, kind, to);
            }
            if self.elf.is_code(address) {
                if instruction.mnemonic() == Mnemonic::Lea {
                    self.edge(at, Kind::Address, Target::Here(address));
                }
            } else {
                self.chunk.data.push(address);
            }
        }
        // `jmp *table(,%rax,8)`
        if instruction.memory_index() != Register::None && self.elf.is_fixed {
            self.chunk.data.push(instruction.memory_displacement64());
        }
        if self.elf.is_fixed {
            for value in immediates(instruction) {
                if self.elf.is_code(value) {
                    self.edge(at, Kind::Address, Target::Here(value));
                } else {
                    self.chunk.data.push(value);
                }
            }
        }
    }
}

pub(super) fn is_near_branch(instruction: &Instruction) -> bool {
    matches!(
        instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    ) && instruction.op_count() > 0
}
