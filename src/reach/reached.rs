//! The calls that a program can make, by a walk over the functions that can run.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use rustc_hash::{FxHashMap, FxHashSet};

use super::code::Site;
use super::graph::{Graph, LOOK_UP, Node};
use super::numbers::{Call, Numbers};

/// The C library's functions that load libraries.
const OPEN: [&[u8]; 2] = [b"dlopen", b"dlmopen"];

/// What a program can do.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// The functions that lead to each call, from where the way starts.
    pub(super) calls: FxHashMap<Call, Vec<Node>>,
    /// Where a number is not known: the function that passes it on, the one that calls the kernel, and its instruction.
    pub(super) unresolved: Vec<(Node, Node, Site)>,
    /// Functions that load libraries.
    pub(super) opens: Vec<Node>,
}

impl Reached {
    pub(super) fn of(graph: &Graph<'_>) -> Reached {
        let numbers = Numbers::of(graph);
        let named = |names: [&[u8]; 2]| -> FxHashSet<Node> {
            names
                .iter()
                .flat_map(|name| graph.functions(name))
                .copied()
                .collect()
        };
        let (look_up, open) = (named(LOOK_UP), named(OPEN));
        let mut looked_up = FxHashSet::default();
        let mut reached = Reached::default();
        let mut parents: FxHashMap<Node, Option<Node>> = FxHashMap::default();
        let mut queue = VecDeque::new();
        for root in graph.roots() {
            for node in root {
                if let Entry::Vacant(one) = parents.entry(node) {
                    one.insert(None);
                    queue.push_back(node);
                }
            }
            while let Some(node) = queue.pop_front() {
                reached.visit(node, &numbers, &parents);
                let mut add = |to: Node| {
                    if let Entry::Vacant(one) = parents.entry(to) {
                        one.insert(Some(node));
                        queue.push_back(to);
                    }
                };
                for edge in graph.edges(node) {
                    for &to in graph.targets(node.0, edge) {
                        add(to);
                        if to.0 == node.0 {
                            continue;
                        }
                        if open.contains(&to) && reached.opens.last() != Some(&node) {
                            reached.opens.push(node);
                        }
                        if look_up.contains(&to) && looked_up.insert(node.0) {
                            graph.looked_up(node.0).into_iter().for_each(&mut add);
                        }
                    }
                }
            }
        }
        reached
    }

    fn visit(&mut self, node: Node, numbers: &Numbers, parents: &FxHashMap<Node, Option<Node>>) {
        for &(call, of) in numbers.calls.get(&node).into_iter().flatten() {
            // Functions are visited by their distance, so the first way is the shortest.
            self.calls.entry(call).or_insert_with(|| {
                let parent = |at: &Node| parents.get(at).copied().flatten();
                let mut way: Vec<Node> = std::iter::successors(Some(node), parent).collect();
                way.reverse();
                way.extend((of != node).then_some(of));
                way
            });
        }
        for &(of, site) in numbers.unresolved.get(&node).into_iter().flatten() {
            self.unresolved.push((node, of, site));
        }
    }
}
