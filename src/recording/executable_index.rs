//! Executables of a run that is being built, by their place in the builder's list, and sets of them.

/// An executable of the builder.
pub(super) type ExecutableIndex = usize;

/// No executable: calls are credited to nobody.
pub(super) const NOBODY: ExecutableIndex = usize::MAX;

/// A set of small numbers, whose size follows the largest.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexSet(Vec<u64>);

impl IndexSet {
    /// Returns whether the index is new.
    pub(super) fn insert(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, index % 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let was = self.0[word];
        self.0[word] |= 1 << bit;
        self.0[word] != was
    }

    /// Returns whether the index was in the set.
    pub(super) fn remove(&mut self, index: usize) -> bool {
        let (word, bit) = (index / 64, index % 64);
        let Some(word) = self.0.get_mut(word) else {
            return false;
        };
        let was = *word;
        *word &= !(1 << bit);
        *word != was
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.0.iter().enumerate();
        words.flat_map(|(word, &bits)| {
            let set = (0..64).filter(move |bit| bits >> bit & 1 == 1);
            set.map(move |bit| word * 64 + bit)
        })
    }
}
