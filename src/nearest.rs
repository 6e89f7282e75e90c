//! Suggests the intended name for a mistyped one.

/// The candidate with the fewest edits from `text`: at most one per three characters.
pub fn nearest<C: AsRef<str>>(text: &str, candidates: impl IntoIterator<Item = C>) -> Option<C> {
    let near = candidates.into_iter().filter_map(|candidate| {
        let edits = strsim::damerau_levenshtein(text, candidate.as_ref());
        (edits <= text.chars().count().div_ceil(3)).then_some((edits, candidate))
    });
    Some(near.min_by_key(|(edits, _)| *edits)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_near_if_few_of_its_characters_are_wrong() {
        let verbs = ["check", "merge", "generate", "run"];
        assert_eq!(nearest("genrate", verbs), Some("generate"));
        assert_eq!(nearest("chekc", verbs), Some("check"));
        assert_eq!(nearest("rnu", verbs), Some("run"));
        assert_eq!(nearest("make", verbs), None);
        assert_eq!(nearest("", verbs), None);
    }
}
