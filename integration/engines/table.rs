//! The tables of docs/containers.md that tests write.

use std::path::PathBuf;

use crate::support::recordings::repository;

/// A table between these two lines.
pub(super) struct Table(pub(super) [&'static str; 2]);

impl Table {
    /// Whether tests write the tables, and don't compare them.
    pub(super) fn are_written() -> bool {
        std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always")
    }

    pub(super) fn read(&self) -> String {
        self.split().1
    }

    pub(super) fn write(&self, table: &str) {
        let (before, _, after) = self.split();
        std::fs::write(
            page(),
            [&before, self.0[0], table, self.0[1], &after].concat(),
        )
        .unwrap();
    }

    /// The page before the table, the table, and the page after it.
    fn split(&self) -> (String, String, String) {
        let text = std::fs::read_to_string(page()).unwrap();
        let (before, rest) = text.split_once(self.0[0]).unwrap();
        let (table, after) = rest.split_once(self.0[1]).unwrap();
        (before.to_owned(), table.to_owned(), after.to_owned())
    }
}

fn page() -> PathBuf {
    repository().join("docs/containers.md")
}
