//! Follows all ways through a function.

use std::collections::BTreeSet;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};
use rustc_hash::{FxHashMap, FxHashSet};

use super::state::{Escaped, State};
use super::step::{Follower, writes};
use super::{Atom, Place, RAX, Values};
use crate::reach::code::{
    Kind, Scanned, Site, continues, decode, immediates, is_near_branch, memory, site,
};
use crate::reach::elf::{Elf, Target};

/// How often each instruction of a function is followed at most, on average.
const MAX_REPETITIONS: usize = 256;

/// The most instructions before a system call that are looked at before all ways are followed.
const NEAR: usize = 16;

/// The instructions of a function, and how they can be entered.
pub(in crate::reach) struct Function<'a> {
    elf: &'a Elf,
    sites: &'a [Site],
    body: Vec<Instruction>,
    index: FxHashMap<u64, usize>,
    /// Where calls and jumps of other functions lead, the function's start included.
    entries: Vec<usize>,
    /// Where a jump by a table leads.
    by_table: Vec<usize>,
    /// Where anything can lead, with unknown values.
    unknown: Vec<usize>,
    /// Calls that never return.
    last: FxHashSet<u64>,
    /// Instructions that don't only follow the one before.
    leaders: Vec<bool>,
    /// Instructions that some other leads to.
    has_way: Vec<bool>,
}

impl<'a> Function<'a> {
    /// `entries` are the addresses in it that other functions refer to.
    pub(in crate::reach) fn new(
        elf: &'a Elf,
        scanned: &'a Scanned,
        chunk: usize,
        entries: &[u64],
    ) -> Function<'a> {
        let of = &scanned.chunks[chunk];
        let mut body = Vec::new();
        let mut tables = Vec::new();
        decode(elf, of.start, of.end, |instruction| {
            body.push(*instruction);
            tables.extend(memory(instruction).filter(|address| !elf.is_code(*address)));
            if elf.is_fixed {
                tables.extend(immediates(instruction));
                tables.push(instruction.memory_displacement64());
            }
        });
        tables.sort_unstable();
        tables.dedup();
        let all = body.iter().enumerate();
        let index: FxHashMap<u64, usize> = all.map(|(n, one)| (one.ip(), n)).collect();
        let find = |at: &u64| index.get(at).copied();
        let tables = tables.iter().flat_map(|table| scanned.table(elf, *table));
        let mut by_table: Vec<usize> = tables.filter_map(|at| find(&at)).collect();
        let labels = elf.labels(of.start + 1, of.end).iter().filter_map(find);
        let mut unknown: Vec<usize> = labels.collect();
        let edges = &of.edges;
        for edge in edges {
            if let (Kind::Address, Target::Here(at)) = (edge.kind, edge.to) {
                unknown.extend(find(&at).filter(|_| at != of.start));
            }
        }
        let jumps = |one: &Instruction| one.flow_control() == FlowControl::IndirectBranch;
        if !body.iter().any(jumps) {
            unknown.append(&mut by_table);
        }
        let start = std::iter::once(&of.start);
        let entries = start.chain(entries).filter_map(find).collect();
        let calls = edges.iter().filter(|edge| edge.kind == Kind::Call);
        let last = calls.filter(|edge| !scanned.comes_back(elf, edge));
        let mut function = Function {
            elf,
            sites: &of.sites,
            leaders: vec![false; body.len()],
            has_way: vec![false; body.len()],
            last: last.map(|edge| edge.at).collect(),
            body,
            index,
            entries,
            by_table,
            unknown,
        };
        function.mark_leaders();
        function
    }

    fn mark_leaders(&mut self) {
        let entered = self
            .entries
            .iter()
            .chain(&self.by_table)
            .chain(&self.unknown);
        let mut to: Vec<usize> = entered.copied().collect();
        let branches = self.body.iter().filter(|one| is_jump(one));
        to.extend(branches.filter_map(|one| self.index.get(&one.near_branch_target()).copied()));
        for n in to {
            self.leaders[n] = true;
            self.has_way[n] = true;
        }
        for n in 1..self.body.len() {
            let before = &self.body[n - 1];
            let follows = self.goes_on(n - 1);
            self.has_way[n] |= follows;
            self.leaders[n] |= !follows || before.flow_control() != FlowControl::Next;
        }
        // What no instruction leads to, an exception does. Before that can be padding.
        for n in 0..self.body.len() {
            if !self.leaders[n] || self.has_way[n] {
                continue;
            }
            let rest = self.body[n..].iter();
            let padding = rest
                .take_while(|one| one.mnemonic() == Mnemonic::Nop)
                .count();
            let first = n + padding;
            if first < self.body.len() && (padding == 0 || !self.leaders[first]) {
                self.leaders[first] = true;
                self.unknown.push(first);
            }
        }
    }

    /// Whether the instruction after one can follow it.
    fn goes_on(&self, n: usize) -> bool {
        let one = &self.body[n];
        let next = self.body.get(n + 1);
        continues(one)
            && !self.last.contains(&one.ip())
            // Bytes that are no instruction are passed over.
            && next.is_some_and(|next| next.ip() == one.next_ip())
    }

    /// The numbers of the system calls that it makes.
    pub(in crate::reach) fn numbers(&self) -> Vec<(Site, Values)> {
        let near = self
            .sites
            .iter()
            .map(|site| (*site, self.near_number(site.at)));
        let near: Vec<(Site, Option<Values>)> = near.collect();
        let far = near.iter().filter(|(_, values)| values.is_none());
        let far: Vec<u64> = far.map(|(site, _)| site.at).collect();
        let followed = if far.is_empty() {
            None
        } else {
            self.states(&far)
        };
        let with_number = near.into_iter().map(|(site, values)| {
            let values = values.or_else(|| {
                let (found, escaped) = followed.as_ref()?;
                let state = found.get(&site.at)?;
                Some(state.at(Place::Register(RAX), Kind::Jump, escaped))
            });
            let values = values.unwrap_or(Values::Any);
            // The number comes from memory. The function that stored it makes the same call itself if there is one thread.
            let known = self.elf.has_glibc && self.is_setxid(site.at);
            (site, if known { Values::NONE } else { values })
        });
        with_number.collect()
    }

    /// The number, if it is a constant that is set shortly before, without a way around.
    fn near_number(&self, at: u64) -> Option<Values> {
        let n = *self.index.get(&at)?;
        let mut info = InstructionInfoFactory::new();
        let mut after = n;
        for one in self.body[..n].iter().rev().take(NEAR) {
            if self.leaders[after] {
                return None;
            }
            after -= 1;
            let sets = one.op_count() == 2
                && one.op0_kind() == OpKind::Register
                && matches!(one.op0_register(), Register::EAX | Register::RAX);
            let is_number = matches!(
                one.op1_kind(),
                OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64
            );
            match one.mnemonic() {
                Mnemonic::Mov if sets && is_number => {
                    return Some(Values::of(vec![Atom::Number(one.immediate(1))]));
                }
                Mnemonic::Xor if sets && one.op1_register() == one.op0_register() => {
                    return Some(Values::of(vec![Atom::Number(0)]));
                }
                _ => {}
            }
            let is_written = info.info(one).used_registers().iter().any(|used| {
                used.register().full_register() == Register::RAX && writes(used.access())
            });
            if is_written || site(one).is_some() || one.flow_control() != FlowControl::Next {
                return None;
            }
        }
        None
    }

    /// Whether this is where glibc makes a setuid(2) and the like in each thread (`nptl/nptl_setxid.c`).
    fn is_setxid(&self, at: u64) -> bool {
        let before = self.index.get(&at).map(|n| &self.body[..*n]);
        let Some([arguments @ .., number]) = before.and_then(|before| before.last_chunk::<4>())
        else {
            return false;
        };
        let loads = |one: &Instruction, register, displacement| {
            one.mnemonic() == Mnemonic::Mov
                && one.op0_kind() == OpKind::Register
                && one.op0_register() == register
                && one.op1_kind() == OpKind::Memory
                && one.memory_index() == Register::None
                && one.memory_base() == number.memory_base()
                && one.memory_displacement64() == displacement
        };
        let of = [(Register::RDI, 8), (Register::RSI, 16), (Register::RDX, 24)];
        let has = |(register, at)| arguments.iter().any(|one| loads(one, register, at));
        loads(number, Register::EAX, 0) && of.into_iter().all(has)
    }

    /// The states at instructions: before those that call, jump or call the kernel, after others. `None` if there is too much
    /// to follow. A state that is missing is never reached.
    pub(in crate::reach) fn states(
        &self,
        wanted: &[u64],
    ) -> Option<(FxHashMap<u64, State>, Escaped)> {
        let wanted: FxHashSet<u64> = wanted.iter().copied().collect();
        let mut steps = 0;
        let mut follower = Follower::new(self.elf.is_go);
        loop {
            let before = follower.escaped;
            let found = self.follow(&mut follower, &wanted, &mut steps)?;
            if follower.escaped == before {
                return Some((found, before));
            }
        }
    }

    fn follow(
        &self,
        follower: &mut Follower,
        wanted: &FxHashSet<u64>,
        steps: &mut usize,
    ) -> Option<FxHashMap<u64, State>> {
        let mut states: FxHashMap<usize, State> = FxHashMap::default();
        let mut work = BTreeSet::new();
        for n in &self.entries {
            states.insert(*n, State::entry());
            work.insert(*n);
        }
        for n in &self.unknown {
            states.insert(*n, State::any());
            work.insert(*n);
        }
        let mut found = FxHashMap::default();
        while let Some(first) = work.pop_first() {
            let Some(mut state) = states.get(&first).cloned() else {
                continue;
            };
            let mut n = first;
            loop {
                let one = &self.body[n];
                *steps += 1;
                if *steps > MAX_REPETITIONS * self.body.len() {
                    return None;
                }
                let is_wanted = wanted.contains(&one.ip());
                let is_before = one.flow_control() != FlowControl::Next;
                if is_wanted && is_before {
                    join(&mut found, one.ip(), &state);
                }
                follower.step(one, &mut state);
                if is_wanted && !is_before {
                    join(&mut found, one.ip(), &state);
                }
                let branch = is_jump(one).then(|| one.near_branch_target());
                let mut to: Vec<usize> = Vec::new();
                to.extend(branch.and_then(|target| self.index.get(&target)));
                if one.flow_control() == FlowControl::IndirectBranch {
                    to.extend(&self.by_table);
                }
                let goes_on = self.goes_on(n);
                let is_end = !goes_on || self.leaders[n + 1];
                to.extend((goes_on && is_end).then_some(n + 1));
                work.extend(to.into_iter().filter(|to| join(&mut states, *to, &state)));
                if is_end {
                    break;
                }
                n += 1;
            }
        }
        Some(found)
    }
}

/// Adds a state to those that are known. Returns whether it adds anything.
fn join<K: std::hash::Hash + Eq>(states: &mut FxHashMap<K, State>, at: K, state: &State) -> bool {
    if let Some(known) = states.get_mut(&at) {
        return known.join(state);
    }
    states.insert(at, state.clone());
    true
}

fn is_jump(one: &Instruction) -> bool {
    is_near_branch(one) && one.flow_control() != FlowControl::Call
}
