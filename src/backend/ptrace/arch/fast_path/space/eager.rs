//! Changes all calls that are known of an executable at once, in few large writes.
//!
//! Nobody else may run in the address space meanwhile.

use std::io::IoSliceMut;
use std::ops::Range;
use std::rc::Rc;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::super::executables::Call;
use super::super::memory::Memory;
use super::super::plan::{SYSCALL, SharedImage};
use super::super::stub::{CALL, Chunk, jump_to, short_jump_to};
use super::{Changes, MOST_NUMBERS, Module, Site, Space};
use crate::backend::proc::Mapping;
use crate::event::Task;

/// The number of the page of an address.
fn page(address: u64) -> u64 {
    address >> 12
}

impl Space {
    /// A call of a stopped task might be made without a stop in the next image of its executable.
    pub(in super::super) fn learn(
        &mut self,
        task: Task,
        number: u16,
        ip: u64,
        open: impl FnOnce(&Mapping) -> Option<SharedImage>,
    ) {
        let site = match self.chunk_at(ip) {
            Some((_, chunk)) => chunk.site,
            None => ip.wrapping_sub(CALL),
        };
        let Some(module) = self.module(task, site, open) else {
            // Such as generated code. Looking for its mapping takes time.
            self.learns = false;
            return;
        };
        if let (Some(offset), Some(executable)) = (module.offset_of(site), &self.executable) {
            let call = Call { offset, number };
            let mut executable = executable.borrow_mut();
            executable.learn(module.inode, &module.image, call);
        }
    }

    /// Changes the known calls of the code in these mappings. Returns whether there were any.
    pub(in super::super) fn change_known(
        &mut self,
        task: Task,
        mappings: &[Mapping],
        mut open: impl FnMut(&Mapping) -> Option<SharedImage>,
    ) -> bool {
        let Some(executable) = self.executable.clone() else {
            return false;
        };
        let executable = executable.borrow();
        let mut is_changed = false;
        for mapping in mappings {
            if let Some((image, calls)) = executable.calls_in(mapping, &mut open)
                && let Some(module) = Module::of(mapping, |_| Some(image))
            {
                is_changed |= self.change_all(task, module, &calls).is_some();
            }
        }
        is_changed
    }

    /// Changes these calls. `None`: nothing was changed.
    fn change_all(&mut self, task: Task, module: Module, calls: &[Call]) -> Option<()> {
        let mut changes = Changes::clone(&self.changes);
        let mut edits = Edits::default();
        for calls in calls.chunk_by(|a, b| a.offset == b.offset) {
            let numbers = calls.iter().map(|call| call.number);
            changes.add_known(&module, calls.first()?.offset, numbers, &mut edits);
        }
        edits.write(task)?;
        let holds = |known: &Module| known.addresses == module.addresses;
        if !changes.modules.iter().any(holds) {
            changes.modules.push(module);
        }
        self.changes = Rc::new(changes);
        Some(())
    }
}

impl Changes {
    /// Adds a site with chunks for these numbers, unless it has some already.
    fn add_known(
        &mut self,
        module: &Module,
        offset: u64,
        numbers: impl Iterator<Item = u16>,
        edits: &mut Edits,
    ) -> Option<()> {
        let site = (module.addresses.start).checked_add(offset.checked_sub(module.offset)?)?;
        if self.sites.contains_key(&site) {
            return None;
        }
        let target = module.target(site)?;
        let mut chunks: Vec<(u64, u16, [u8; 32])> = Vec::new();
        let most = if target.cave.is_some() {
            MOST_NUMBERS
        } else {
            1
        };
        for number in numbers.filter(|of| target.can_make(*of)).take(most) {
            let from = match chunks.last() {
                Some((last, ..)) => Chunk::next(*last),
                None => target.from,
            };
            let Some(address) = self.free_chunk(number, from, site) else {
                break;
            };
            if let Some((last, _, code)) = chunks.last_mut() {
                Chunk::go_on(code, jump_to(Chunk::next(*last), address)?)?;
            }
            let chunk = target.chunk(site)?;
            chunks.push((address, number, chunk.code(address, number, &target.moved)?));
        }
        let (first, last) = (chunks.first()?.0, chunks.last()?.0);
        let jump = jump_to(target.from, first)?;
        let (place, original) = if let Some((cave, padding)) = target.cave {
            edits.code(cave, &padding, &jump);
            edits.code(site, &SYSCALL, &short_jump_to(site, cave)?);
            (site, SYSCALL.to_vec())
        } else {
            let all = [&target.moved[..], &SYSCALL].concat();
            edits.code(target.from, &all, &jump);
            (target.from, target.moved.get(..jump.len())?.to_vec())
        };
        for (address, _, code) in &chunks {
            edits.chunk(*address, code);
            self.chunks.insert(*address, target.chunk(site)?);
        }
        let known = Site {
            numbers: chunks.iter().map(|(_, number, _)| *number).collect(),
            first,
            last,
            cave: target.cave.map(|(cave, _)| cave),
            place,
            original,
        };
        self.sites.insert(site, known);
        Some(())
    }
}

/// Bytes that are to be written.
struct Edit {
    address: u64,
    /// What must be there; more than is written perhaps. Empty for chunks: nothing looks at what was there.
    old: Vec<u8>,
    new: Vec<u8>,
}

/// What is to be written, in any order.
#[derive(Default)]
struct Edits {
    chunks: Vec<Edit>,
    code: Vec<Edit>,
}

impl Edits {
    fn chunk(&mut self, address: u64, new: &[u8]) {
        let (old, new) = (Vec::new(), new.to_vec());
        self.chunks.push(Edit { address, old, new });
    }

    fn code(&mut self, address: u64, old: &[u8], new: &[u8]) {
        let (old, new) = (old.to_vec(), new.to_vec());
        self.code.push(Edit { address, old, new });
    }

    /// Writes everything: chunks, and then the jumps to them. `None`: no code was changed.
    fn write(mut self, task: Task) -> Option<()> {
        let mut spans = spans(&mut self.chunks);
        let before_code = spans.len();
        spans.extend(self::spans(&mut self.code));
        let mut bytes = read(task, &spans)?;
        let edits = self.chunks.iter().chain(&self.code);
        let mut places: Vec<(usize, &Edit)> = Vec::new();
        for edit in edits {
            let span = spans.iter().position(|span| span.contains(&edit.address))?;
            places.push((span, edit));
        }
        let at = |span: usize, edit: &Edit, length: usize| {
            let start = usize::try_from(edit.address - spans[span].start).ok()?;
            Some(start..start.checked_add(length)?)
        };
        for (span, edit) in &places {
            if bytes[*span].get(at(*span, edit, edit.old.len())?)? != edit.old {
                return None;
            }
        }
        for (span, edit) in &places {
            let place = at(*span, edit, edit.new.len())?;
            bytes[*span].get_mut(place)?.copy_from_slice(&edit.new);
        }
        let memory = Memory::open(task)?;
        for (index, (span, bytes)) in spans.iter().zip(&bytes).enumerate() {
            let is_written = memory.write(span.start, bytes).is_some();
            if !is_written && index < before_code {
                return None;
            }
        }
        Some(())
    }
}

/// The ranges that have all of these edits, each of consecutive pages.
fn spans(edits: &mut [Edit]) -> Vec<Range<u64>> {
    edits.sort_unstable_by_key(|edit| edit.address);
    let mut spans: Vec<Range<u64>> = Vec::new();
    for edit in edits {
        let end = edit.address + edit.old.len().max(edit.new.len()) as u64;
        match spans.last_mut() {
            Some(last) if page(edit.address) <= page(last.end - 1) + 1 => {
                last.end = last.end.max(end);
            }
            _ => spans.push(edit.address..end),
        }
    }
    spans
}

fn read(task: Task, spans: &[Range<u64>]) -> Option<Vec<Vec<u8>>> {
    let length = |span: &Range<u64>| (span.end - span.start) as usize;
    let mut bytes: Vec<Vec<u8>> = spans.iter().map(|span| vec![0; length(span)]).collect();
    let remote: Vec<_> = (spans.iter())
        .map(|span| RemoteIoVec {
            base: span.start as usize,
            len: length(span),
        })
        .collect();
    let mut local: Vec<_> = bytes.iter_mut().map(|of| IoSliceMut::new(of)).collect();
    let read = process_vm_readv(Pid::from_raw(task.0), &mut local, &remote).ok()?;
    (read == spans.iter().map(length).sum::<usize>()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn nothing_is_written_unless_all_code_is_as_expected() {
        let myself = Task(nix::unistd::gettid().as_raw());
        let memory = vec![0x5a_u8; 5 * 4096];
        let start = memory.as_ptr() as u64;
        for (expected, is_written) in [(0x5b, false), (0x5a, true)] {
            let mut edits = Edits::default();
            edits.chunk(start + 100, &[1; 32]);
            edits.code(start + 2 * 4096, &[0x5a; 7], &[2; 5]);
            edits.code(start + 4 * 4096, &[expected], &[3]);
            assert_eq!(edits.write(myself).is_some(), is_written);
            let changed = black_box(&memory).iter().filter(|&&byte| byte != 0x5a);
            assert_eq!(changed.count(), if is_written { 38 } else { 0 });
        }
        assert_eq!(black_box(&memory)[100..132], [1; 32]);
        assert_eq!(
            black_box(&memory)[2 * 4096..2 * 4096 + 7],
            [2, 2, 2, 2, 2, 0x5a, 0x5a]
        );
    }

    #[test]
    fn consecutive_pages_are_written_together() {
        let check = |addresses: &[u64], expected: &[(u64, u64)]| {
            let edit = |&address: &u64| Edit {
                address,
                old: Vec::new(),
                new: vec![0; 32],
            };
            let mut edits: Vec<_> = addresses.iter().map(edit).collect();
            let spans = spans(&mut edits).into_iter();
            let ends: Vec<_> = spans.map(|span| (span.start, span.end)).collect();
            assert_eq!(ends, expected);
        };
        check(&[0x2fe0, 0x1000, 0x1fe0], &[(0x1000, 0x3000)]);
        check(&[0x1000, 0x3000], &[(0x1000, 0x1020), (0x3000, 0x3020)]);
        check(&[], &[]);
    }
}
