//! The number of each system call: where the kernel is called, or where a function is called that gets the number from its caller.

use rustc_hash::{FxHashMap, FxHashSet};

use super::code::{Edge, Kind, Site};
use super::elf::Target;
use super::graph::{Graph, Node};
use super::values::{Atom, Function, Place, Values};

/// A system call: its number, and whether it is of the 32-bit ABI.
pub(super) type Call = (u32, bool);

/// How many functions a number is followed through, from the instruction to where it is set.
const MAX_LEVELS: usize = 32;

/// What each function makes.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Its calls, each with the function that has the instruction.
    pub(super) calls: FxHashMap<Node, FxHashSet<(Call, Node)>>,
    /// Instructions that make a call whose number is not known, each with its function.
    pub(super) unresolved: FxHashMap<Node, FxHashSet<(Node, Site)>>,
    /// What a function gets from its callers, which was looked for.
    known: FxHashSet<(Node, Wanted)>,
    /// What is still to be looked for.
    wanted: Vec<(Node, Wanted)>,
}

/// A place with the number for an instruction of a function.
type Wanted = (Place, Node, Site);

impl Numbers {
    pub(super) fn of(graph: &Graph<'_>) -> Numbers {
        let mut numbers = Numbers::default();
        for (number, object) in graph.objects.iter().enumerate() {
            for (chunk, site, values) in &object.numbers {
                let node = (number, *chunk);
                numbers.add(node, values, node, *site);
            }
        }
        if numbers.wanted.is_empty() {
            return numbers;
        }
        let entered = graph.entered();
        for _ in 0..MAX_LEVELS {
            if numbers.wanted.is_empty() {
                return numbers;
            }
            numbers.ask_callers(graph, &entered);
        }
        for (node, (_, of, site)) in std::mem::take(&mut numbers.wanted) {
            numbers.add(node, &Values::Any, of, site);
        }
        numbers
    }

    /// Adds what a function passes as the number for an instruction of `of`.
    fn add(&mut self, node: Node, values: &Values, of: Node, site: Site) {
        let atoms = match values {
            Values::Any => &[Atom::Frame(0)][..],
            Values::Of(atoms) => atoms,
        };
        for atom in atoms {
            match *atom {
                // The kernel takes the lower 32 bits.
                Atom::Number(number) => {
                    let number = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
                    let calls = self.calls.entry(node).or_default();
                    calls.insert(((number, site.is_32_bit), of));
                }
                Atom::Entry(place) => {
                    let wanted = (node, (place, of, site));
                    if self.known.insert(wanted) {
                        self.wanted.push(wanted);
                    }
                }
                Atom::Frame(_) => {
                    let sites = self.unresolved.entry(node).or_default();
                    sites.insert((of, site));
                }
            }
        }
    }

    /// Looks for what is wanted in the callers.
    fn ask_callers(&mut self, graph: &Graph<'_>, entered: &FxHashSet<Node>) {
        let mut wanted = FxHashMap::<Node, Vec<Wanted>>::default();
        for (node, one) in std::mem::take(&mut self.wanted) {
            wanted.entry(node).or_default().push(one);
        }
        let by_pointer = wanted.iter().filter(|(node, _)| entered.contains(node));
        for (node, list) in by_pointer {
            for (_, of, site) in list {
                self.add(*node, &Values::Any, *of, *site);
            }
        }
        let mut callers = FxHashMap::<Node, Vec<(Edge, Node)>>::default();
        for node in graph.nodes() {
            for edge in graph.edges(node) {
                for to in graph.targets(node.0, edge) {
                    if wanted.contains_key(to) {
                        callers.entry(node).or_default().push((*edge, *to));
                    }
                }
            }
        }
        let mut entries = FxHashMap::<Node, Vec<u64>>::default();
        for node in graph.nodes() {
            for edge in graph.edges(node) {
                if let (Target::Here(at), Some(chunk)) = (edge.to, edge.lands)
                    && callers.contains_key(&(node.0, chunk))
                {
                    entries.entry((node.0, chunk)).or_default().push(at);
                }
            }
        }
        let mut callers: Vec<_> = callers.into_iter().collect();
        callers.sort_unstable_by_key(|(node, _)| *node);
        for (caller, edges) in callers {
            let object = graph.objects[caller.0];
            let at: Vec<u64> = edges.iter().map(|(edge, _)| edge.at).collect();
            let ways = entries.get(&caller).map_or(&[][..], Vec::as_slice);
            let function = Function::new(&object.elf, &object.scanned, caller.1, ways);
            let found = function.states(&at);
            for (edge, to) in edges {
                let state = (found.as_ref())
                    .and_then(|(found, escaped)| Some((found.get(&edge.at)?, escaped)));
                for (place, of, site) in &wanted[&to] {
                    let values = match (edge.kind, state) {
                        (Kind::Address, _) | (_, None) => Values::Any,
                        (kind, Some((state, escaped))) => state.at(*place, kind, escaped),
                    };
                    self.add(caller, &values, *of, *site);
                }
            }
        }
    }
}
