//! An address space and what was changed in it.

mod eager;

use std::ops::Range;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::executables::SharedExecutable;
use super::memory::Memory;
use super::plan::{Plan, SYSCALL, SharedImage};
use super::stub::{
    CALL, CHUNK, Chunk, INT3, JUMP, NOTHING, NUMBERS, WINDOW, chunks, jump_to, sets, short_jump_to,
    window_of,
};
use crate::backend::proc::{self, Mapping};
use crate::event::Task;

/// A mapping of a file's code.
#[derive(Clone, Debug)]
struct Module {
    addresses: Range<u64>,
    offset: u64,
    inode: u64,
    image: SharedImage,
}

impl Module {
    /// `None` if the mapping isn't private, somebody can write to it, or its file isn't known.
    fn of(mapping: &Mapping, open: impl FnOnce(&Mapping) -> Option<SharedImage>) -> Option<Module> {
        if mapping.permissions != *b"r-xp" {
            return None;
        }
        Some(Module {
            addresses: mapping.range.clone(),
            offset: mapping.offset,
            inode: mapping.inode,
            image: open(mapping)?,
        })
    }

    /// The offset in the file of what is at an address.
    fn offset_of(&self, address: u64) -> Option<u64> {
        address
            .checked_sub(self.addresses.start)?
            .checked_add(self.offset)
    }

    /// How a call is replaced here; `None`: not at all.
    fn target(&self, site: u64) -> Option<Target> {
        let mut image = self.image.borrow_mut();
        let address = image.address_of(self.offset_of(site)?)?;
        let target = match image.plan(address)? {
            Plan::Cave {
                address: cave,
                padding,
            } => {
                let cave = site.wrapping_add(cave.wrapping_sub(address));
                Target {
                    cave: Some((cave, padding)),
                    moved: Vec::new(),
                    set_number: false,
                    from: cave,
                }
            }
            Plan::Moved {
                instructions,
                set_number,
            } => Target {
                cave: None,
                set_number,
                from: site.checked_sub(instructions.len() as u64)?,
                moved: instructions,
            },
        };
        let mut ends = [site, site + CALL - 1, target.from, target.from + JUMP - 1].into_iter();
        let is_inside = ends.all(|address| self.addresses.contains(&address));
        is_inside.then_some(target)
    }
}

/// A [`Plan`] where a file is mapped.
struct Target {
    /// Where the jump to the first chunk is, and what was there, if not before the call.
    cave: Option<(u64, [u8; JUMP as usize])>,
    /// The instructions before the call that are moved, and whether they set the number.
    moved: Vec<u8>,
    set_number: bool,
    /// Where the jump to the first chunk is.
    from: u64,
}

impl Target {
    /// Whether a call of this number can go to a chunk: moved instructions can have another one in them.
    fn can_make(&self, number: u16) -> bool {
        !self.set_number || sets(&self.moved, number)
    }

    fn chunk(&self, site: u64) -> Option<Chunk> {
        let moved = u8::try_from(self.moved.len()).ok()?;
        Some(Chunk { site, moved })
    }
}

/// A call that goes to chunks.
#[derive(Clone, Debug)]
struct Site {
    /// The numbers that have a chunk.
    numbers: Vec<u16>,
    /// The first chunk.
    first: u64,
    /// The latest chunk.
    last: u64,
    /// Where the jump to the first chunk is, if not before the call.
    cave: Option<u64>,
    /// Where the code was changed, and what was there.
    place: u64,
    original: Vec<u8>,
}

impl Site {
    /// Whether the jumps to the chunk are there: the code can have been unmapped without a stop. fork(2) can have copied a breakpoint.
    fn is_there(&self, memory: &Memory, site: u64) -> Option<bool> {
        let (jump, in_cave) = match self.cave {
            Some(cave) => {
                let in_cave = memory.has(cave, &jump_to(cave, self.first)?);
                (short_jump_to(site, cave)?.to_vec(), in_cave)
            }
            None => (jump_to(self.place, self.first)?.to_vec(), true),
        };
        let is_at_place = [jump[0], INT3].into_iter().any(|first| {
            let rests = [&jump, &self.original];
            rests
                .iter()
                .any(|rest| memory.has(self.place, &[&[first], &rest[1..]].concat()))
        });
        Some(in_cave && is_at_place)
    }
}

/// The most numbers of one site.
const MOST_NUMBERS: usize = 32;

/// What was changed. Address spaces that fork(2) made share it until they differ.
#[derive(Clone, Debug, Default)]
struct Changes {
    windows: Vec<u64>,
    /// Windows that can't be had.
    refused: Vec<u64>,
    modules: Vec<Module>,
    sites: FxHashMap<u64, Site>,
    chunks: FxHashMap<u64, Chunk>,
}

impl Changes {
    /// A free chunk for a number that code at `from` reaches, and that reaches the site.
    fn free_chunk(&self, number: u16, from: u64, site: u64) -> Option<u64> {
        let windows = self.windows.iter();
        let mut all = windows.flat_map(|&window| chunks(window, number));
        all.find(|&chunk| {
            !self.chunks.contains_key(&chunk)
                && jump_to(from, chunk).is_some()
                && jump_to(chunk, site).is_some()
                && jump_to(chunk + CHUNK, site).is_some()
        })
    }
}

/// An address space.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
pub(super) struct Space {
    /// How often each number stops until its call is looked at.
    left: [u8; NUMBERS as usize],
    /// What `left` begins with the next time.
    pause: [u8; NUMBERS as usize],
    /// Nothing is changed any more.
    pub(super) closed: bool,
    /// A window is being mapped.
    pub(super) mapping: bool,
    /// A task that executed a program has this one.
    pub(super) executed_by: Option<Task>,
    /// Its tasks stop at each call whatever the filter allows.
    pub(super) sees_all: bool,
    /// What its tasks execute, if something may be known of that.
    pub(super) executable: Option<SharedExecutable>,
    /// The calls that are known of its executable are yet to be changed.
    pub(super) is_new: bool,
    /// Its calls are learned for later images of its executable.
    pub(super) learns: bool,
    changes: Rc<Changes>,
}

/// What came of a call that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// The next ones of this number and from the same place don't stop.
    Changed,
    /// Nothing can be done.
    Nothing,
    /// A window must be mapped first, here.
    NeedsWindow(u64),
}

impl Space {
    pub(super) fn new(after: impl Fn() -> u8) -> Space {
        Space {
            left: std::array::from_fn(|_| after()),
            pause: [1; NUMBERS as usize],
            closed: false,
            mapping: false,
            executed_by: None,
            sees_all: false,
            executable: None,
            is_new: false,
            learns: false,
            changes: Rc::default(),
        }
    }

    pub(super) fn is_changed(&self) -> bool {
        !self.changes.windows.is_empty()
    }

    /// Whether calls of code that is mapped now can be known, and changed.
    pub(super) fn awaits_code(&self) -> bool {
        let knows = |of: &SharedExecutable| of.borrow().has_calls();
        !self.closed && self.is_changed() && self.executable.as_ref().is_some_and(knows)
    }

    /// Whether a call with this number, which stopped, is to be looked at.
    pub(super) fn is_due(&mut self, number: u16) -> bool {
        let number = usize::from(number);
        let Some(left) = self.left.get_mut(number) else {
            return false;
        };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        // Places where nothing can be done cost less and less.
        *left = self.pause[number];
        self.pause[number] = self.pause[number].saturating_mul(2).min(64);
        true
    }

    /// The chunk that this address is in, and the place in it.
    fn chunk_at(&self, address: u64) -> Option<(u64, &Chunk)> {
        let start = address & !(CHUNK - 1);
        self.changes.chunks.get(&start).map(|chunk| (start, chunk))
    }

    /// For the address after a call that didn't stop: that after the one that stops, in the same chunk.
    pub(super) fn as_stopping(&self, ip: u64) -> Option<u64> {
        let (start, _) = self.chunk_at(ip)?;
        (ip == Chunk::after_silent(start)).then(|| Chunk::after_stopping(start))
    }

    /// The address that the workload knows, for one that it doesn't, and whether a call has just returned there.
    pub(super) fn original(&self, ip: u64) -> Option<(u64, bool)> {
        if let Some((start, chunk)) = self.chunk_at(ip) {
            let original = chunk.original(ip - start);
            return Some((original, original == chunk.site + CALL));
        }
        let mut sites = self.changes.sites.iter();
        sites.find_map(|(&site, of)| (of.cave == Some(ip)).then_some((site, false)))
    }

    /// Whether code at this address was changed, so that there may have been a breakpoint for a moment.
    pub(super) fn was_changed(&self, address: u64) -> bool {
        self.chunk_at(address).is_some()
            || self
                .changes
                .sites
                .values()
                .any(|site| site.place == address)
    }

    /// Whether there is no breakpoint at a changed address any more. One that fork(2) copied is replaced by what was there before;
    /// after [`close`](Self::close), it is the workload's own.
    pub(super) fn is_whole(&mut self, task: Task, address: u64) -> bool {
        let Some(memory) = Memory::open(task) else {
            return false;
        };
        if !memory.has(address, &[INT3]) {
            return true;
        }
        let mut sites = self.changes.sites.values();
        let site = sites.find(|site| site.place == address);
        let restored = match (site, self.chunk_at(address)) {
            _ if self.closed => None,
            (Some(site), _) => memory.replace(site.place, &site.original),
            (None, Some((start, _))) if address == Chunk::next(start) => {
                memory.replace(address, &NOTHING)
            }
            _ => None,
        };
        restored.is_some()
    }

    /// Whether a range touches a window.
    pub(super) fn touches_window(&self, range: &Range<u64>) -> bool {
        let touches = |&window: &u64| range.start < window + WINDOW && window < range.end;
        self.changes.windows.iter().any(touches)
    }

    /// Whether a range is that of a window.
    pub(super) fn is_window(&self, range: &Range<u64>) -> bool {
        let windows = &self.changes.windows;
        windows.contains(&range.start) && range.end - range.start == WINDOW
    }

    pub(super) fn has_sites_in(&self, range: &Range<u64>) -> bool {
        self.changes.sites.keys().any(|site| range.contains(site))
    }

    /// What is in this range will be gone.
    pub(super) fn forget(&mut self, range: &Range<u64>) {
        let overlaps = |module: &Module| {
            module.addresses.start < range.end && range.start < module.addresses.end
        };
        if self.changes.modules.iter().any(overlaps) || self.has_sites_in(range) {
            let changes = Rc::make_mut(&mut self.changes);
            changes.modules.retain(|module| !overlaps(module));
            changes.sites.retain(|site, _| !range.contains(site));
        }
    }

    /// Code in this range can have been unmapped without a stop.
    pub(super) fn forget_lost(&mut self, task: Task, range: &Range<u64>) {
        let overlaps = |module: &Module| {
            module.addresses.start < range.end && range.start < module.addresses.end
        };
        if self.changes.modules.iter().any(overlaps) || self.has_sites_in(range) {
            let memory = Memory::open(task);
            let changes = Rc::make_mut(&mut self.changes);
            changes.modules.retain(|module| !overlaps(module));
            changes.sites.retain(|&site, of| {
                let is_there = |memory: &Memory| of.is_there(memory, site) == Some(true);
                !range.contains(&site) || memory.as_ref().is_some_and(is_there)
            });
        }
    }

    /// Restores the workload's code, and changes it no more.
    pub(super) fn close(&mut self, task: Task) {
        self.closed = true;
        if self.changes.sites.is_empty() {
            return;
        }
        let Some(memory) = Memory::open(task) else {
            return;
        };
        for (&site, of) in &self.changes.sites {
            if of.is_there(&memory, site) == Some(true) {
                memory.replace(of.place, &of.original);
            }
        }
    }

    pub(super) fn window_mapped(&mut self, window: u64, is_there: bool) {
        let changes = Rc::make_mut(&mut self.changes);
        let list = if is_there {
            &mut changes.windows
        } else {
            &mut changes.refused
        };
        list.push(window);
    }

    /// Looks at the call of a stopped task with this number and this address after it. `open` opens the file of a mapping.
    pub(super) fn look(
        &mut self,
        task: Task,
        number: u16,
        ip: u64,
        open: impl FnOnce(&Mapping) -> Option<SharedImage>,
    ) -> Looked {
        let site = match self.chunk_at(ip) {
            Some((_, chunk)) => chunk.site,
            None => ip.wrapping_sub(CALL),
        };
        let looked = match self.changes.sites.get(&site) {
            // It stopped before the code was changed.
            Some(known) if known.numbers.contains(&number) => return Looked::Nothing,
            Some(known) => self.add_number(task, site, &known.clone(), number),
            None => self.add_site(task, site, number, open),
        };
        let looked = looked.unwrap_or(Looked::Nothing);
        if looked == Looked::Changed {
            self.pause[usize::from(number)] = 1;
            self.left[usize::from(number)] = 1;
        }
        looked
    }

    /// Adds a number to a site that has chunks for others.
    fn add_number(&mut self, task: Task, site: u64, known: &Site, number: u16) -> Option<Looked> {
        if known.cave.is_none() || known.numbers.len() >= MOST_NUMBERS {
            return None;
        }
        let from = Chunk::next(known.last);
        let address = self.changes.free_chunk(number, from, site)?;
        let chunk = Chunk { site, moved: 0 };
        let memory = Memory::open(task)?;
        memory.write(address, &chunk.code(address, number, &[])?)?;
        let changes = Rc::make_mut(&mut self.changes);
        changes.chunks.insert(address, chunk);
        memory.replace(from, &jump_to(from, address)?)?;
        let known = changes.sites.get_mut(&site)?;
        known.numbers.push(number);
        known.last = address;
        Some(Looked::Changed)
    }

    fn add_site(
        &mut self,
        task: Task,
        site: u64,
        number: u16,
        open: impl FnOnce(&Mapping) -> Option<SharedImage>,
    ) -> Option<Looked> {
        let module = self.module(task, site, open)?;
        let target = module.target(site)?;
        let Target {
            cave, moved, from, ..
        } = &target;
        let from = *from;
        if !target.can_make(number) {
            return None;
        }
        let memory = Memory::open(task)?;
        let first = site - moved.len() as u64;
        if !memory.has(first, &[moved, &SYSCALL[..]].concat())
            || cave.is_some_and(|(cave, padding)| !memory.has(cave, &padding))
        {
            return None;
        }
        let Some(address) = self.changes.free_chunk(number, from, site) else {
            let window = window_of(from);
            let tried = [&self.changes.windows, &self.changes.refused];
            let is_tried = tried.iter().any(|windows| windows.contains(&window));
            return (!is_tried).then_some(Looked::NeedsWindow(window));
        };
        let chunk = target.chunk(site)?;
        let jump = jump_to(from, address)?;
        memory.write(address, &chunk.code(address, number, moved)?)?;
        // All that is there is replaced by a jump to the chunk, or to the padding that has one.
        let (place, original, jump) = if moved.is_empty() {
            memory.write(from, &jump)?;
            (site, SYSCALL.to_vec(), short_jump_to(site, from)?.to_vec())
        } else {
            (first, moved.get(..jump.len())?.to_vec(), jump.to_vec())
        };
        let changes = Rc::make_mut(&mut self.changes);
        changes.chunks.insert(address, chunk);
        let known = Site {
            numbers: vec![number],
            first: address,
            last: address,
            cave: cave.map(|(cave, _)| cave),
            place,
            original,
        };
        changes.sites.insert(site, known);
        memory.replace(place, &jump)?;
        Some(Looked::Changed)
    }

    /// The mapping of a site.
    fn module(
        &mut self,
        task: Task,
        site: u64,
        open: impl FnOnce(&Mapping) -> Option<SharedImage>,
    ) -> Option<Module> {
        let holds = |module: &&Module| module.addresses.contains(&site);
        if let Some(module) = self.changes.modules.iter().find(holds) {
            return Some(module.clone());
        }
        let mappings = proc::mappings(task);
        let mapping = mappings.iter().find(|m| m.range.contains(&site))?;
        let module = Module::of(mapping, open)?;
        Rc::make_mut(&mut self.changes).modules.push(module.clone());
        Some(module)
    }
}
