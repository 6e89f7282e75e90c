//! The objects of a program with their functions, and which of these lead to which.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Function as Named;
use super::code::{Edge, Scanned, Site};
use super::elf::{Elf, Target};
use super::values::{Function, Values};

/// The C library's functions that look functions up by name.
pub(super) const LOOK_UP: [&[u8]; 2] = [b"dlsym", b"dlvsym"];

/// An object with its functions.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) file_name: String,
    pub(super) elf: Arc<Elf>,
    pub(super) scanned: Scanned,
    /// The number of each system call, with its function.
    pub(super) numbers: Vec<(usize, Site, Values)>,
    /// The functions of names, for other objects.
    exports: Vec<(Vec<u8>, usize)>,
}

impl Object {
    pub(super) fn new(elf: Arc<Elf>, file_name: String) -> Result<Object, String> {
        let scanned = Scanned::of(&elf)?;
        let mut entries = FxHashMap::<usize, Vec<u64>>::default();
        for (number, chunk) in scanned.chunks.iter().enumerate() {
            if !chunk.sites.is_empty() {
                entries.insert(number, Vec::new());
            }
        }
        for edge in scanned.chunks.iter().flat_map(|chunk| &chunk.edges) {
            if let (Target::Here(to), Some(chunk)) = (edge.to, edge.lands)
                && let Some(list) = entries.get_mut(&chunk)
            {
                list.push(to);
            }
        }
        let mut numbers = Vec::new();
        for (chunk, mut list) in entries {
            list.sort_unstable();
            list.dedup();
            let function = Function::new(&elf, &scanned, chunk, &list);
            let all = function.numbers().into_iter();
            numbers.extend(all.map(|(site, values)| (chunk, site, values)));
        }
        numbers.sort_unstable_by_key(|(chunk, site, _)| (*chunk, *site));
        let exports = elf.exports.iter();
        let exports = exports.filter_map(|(name, at)| Some((name.clone(), scanned.find(*at)?)));
        Ok(Object {
            file_name,
            exports: exports.collect(),
            elf,
            scanned,
            numbers,
        })
    }

    pub(super) fn function(&self, chunk: usize) -> Named {
        let start = self.scanned.chunks[chunk].start;
        let symbol = self.elf.functions.get(&start);
        let object = self.file_name.clone();
        Named {
            is_named: symbol.is_some(),
            name: symbol.map_or_else(|| format!("{object}+{start:#x}"), Clone::clone),
            object,
        }
    }
}

/// A function: the numbers of the object and of its chunk.
pub(super) type Node = (usize, usize);

/// The objects of a program.
pub(super) struct Graph<'a> {
    /// The program first.
    pub(super) objects: &'a [&'a Object],
    /// Whether all named functions of an object can be called.
    is_open: &'a [bool],
    /// The functions of names, in all objects.
    named: FxHashMap<&'a [u8], Vec<Node>>,
    /// The functions of the names that each object imports.
    imports: Vec<Vec<&'a [u8]>>,
    /// Every function.
    all: Vec<Vec<Node>>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(objects: &'a [&'a Object], is_open: &'a [bool]) -> Graph<'a> {
        let mut named = FxHashMap::<&[u8], Vec<Node>>::default();
        for (number, object) in objects.iter().enumerate() {
            for (name, chunk) in &object.exports {
                let nodes = named.entry(name).or_default();
                if !nodes.contains(&(number, *chunk)) {
                    nodes.push((number, *chunk));
                }
            }
        }
        let imports = objects
            .iter()
            .map(|object| object.elf.names.iter().map(Vec::as_slice).collect());
        let all = objects.iter().enumerate();
        let all = all.map(|(number, object)| {
            (0..object.scanned.chunks.len())
                .map(|chunk| (number, chunk))
                .collect()
        });
        Graph {
            objects,
            is_open,
            named,
            imports: imports.collect(),
            all: all.collect(),
        }
    }

    /// The functions that an edge leads to: for a name, those of all objects, since any may come first.
    pub(super) fn targets(&self, object: usize, edge: &Edge) -> &[Node] {
        match edge.to {
            Target::Here(_) => self.one(object, edge.lands),
            Target::Import(name) => self.functions(self.imports[object][name]),
        }
    }

    fn one(&self, object: usize, chunk: Option<usize>) -> &[Node] {
        chunk.map_or(&[], |chunk| &self.all[object][chunk..=chunk])
    }

    pub(super) fn functions(&self, name: &[u8]) -> &[Node] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn edges(&self, node: Node) -> &'a [Edge] {
        &self.objects[node.0].scanned.chunks[node.1].edges
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> {
        self.all.iter().flatten().copied()
    }

    /// The functions that code anywhere can call, since data has their addresses.
    fn pointers(&self, object: usize) -> Vec<Node> {
        let this = self.objects[object];
        let mut nodes = Vec::new();
        for &to in &this.elf.pointers {
            match to {
                Target::Import(name) => nodes.extend(self.functions(self.imports[object][name])),
                Target::Here(at) => {
                    let chunk = this.scanned.find(at);
                    // Another address is a label: only the function itself jumps there, by a table.
                    let chunk = chunk.filter(|chunk| this.scanned.chunks[*chunk].start == at);
                    nodes.extend(self.one(object, chunk));
                }
            }
        }
        if self.is_open[object] {
            nodes.extend(this.exports.iter().map(|(_, chunk)| (object, *chunk)));
        }
        nodes
    }

    fn entry(&self, object: usize) -> &[Node] {
        let this = self.objects[object];
        self.one(object, this.scanned.find(this.elf.entry))
    }

    /// The functions whose names an object has as text: it can look them up with dlsym(3).
    pub(super) fn looked_up(&self, object: usize) -> Vec<Node> {
        let elf = &self.objects[object].elf;
        let texts = elf
            .texts
            .iter()
            .flat_map(|area| elf.bytes(area).split(|byte| *byte == 0));
        let names = texts.filter(|text| !text.is_empty());
        names
            .flat_map(|text| self.functions(text))
            .copied()
            .collect()
    }

    /// The functions that are entered without an edge, so with unknown arguments.
    pub(super) fn entered(&self) -> FxHashSet<Node> {
        let mut nodes = FxHashSet::default();
        for (number, object) in self.objects.iter().enumerate() {
            nodes.extend(self.pointers(number));
            nodes.extend(self.entry(number));
            if object
                .elf
                .names
                .iter()
                .any(|name| LOOK_UP.contains(&&name[..]))
            {
                nodes.extend(self.looked_up(number));
            }
        }
        nodes
    }

    /// Where execution begins, by how telling a way from there is.
    pub(super) fn roots(&self) -> Vec<Vec<Node>> {
        let mut roots = vec![self.entry(0).to_vec()];
        for (number, object) in self.objects.iter().enumerate() {
            roots.push(self.pointers(number));
            roots.push(self.entry(number).to_vec());
            if object.elf.is_go {
                // Methods are found by tables of offsets. Go's linker has removed what nothing reaches.
                roots.push(self.all[number].clone());
            }
        }
        roots
    }
}
