//! Parses the table that strace -c prints, and -C at the end (`src/count.c`).

/// A table that is being read.
#[derive(Debug)]
pub(super) struct CountTable {
    columns: Vec<Column>,
    /// Whether the line under the header was read.
    in_rows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Calls,
    /// Empty if zero.
    Errors,
    Name,
    Other,
}

/// A line of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TableRow<'a> {
    /// A name, and its number of calls.
    Calls(&'a str, u64),
    /// A line of dashes.
    Rule,
    /// The line of totals, which ends the table.
    End,
    /// Not a line of the table.
    Bad,
}

/// The mode of the next table: `System call usage summary for 32 bit mode:`. The first table is that of the native mode.
pub(super) fn mode(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let mode = line.strip_prefix("System call usage summary for ")?;
    mode.strip_suffix(" mode:")
}

impl CountTable {
    /// Parses the header of a table.
    pub(super) fn start(line: &[u8]) -> Option<CountTable> {
        let line = std::str::from_utf8(line).ok()?.replace("% time", "%time");
        let columns: Option<Vec<Column>> = (line.split_ascii_whitespace())
            .map(|head| match head {
                "calls" => Some(Column::Calls),
                "errors" => Some(Column::Errors),
                "syscall" => Some(Column::Name),
                "%time" | "seconds" | "usecs/call" | "shortest" | "longest" => Some(Column::Other),
                _ => None,
            })
            .collect();
        let columns = columns.filter(|columns| columns.contains(&Column::Name))?;
        Some(CountTable {
            columns,
            in_rows: false,
        })
    }

    pub(super) fn row<'a>(&mut self, line: &'a [u8]) -> TableRow<'a> {
        let Ok(line) = std::str::from_utf8(line) else {
            return TableRow::Bad;
        };
        let is_rule = !line.is_empty() && line.bytes().all(|byte| matches!(byte, b'-' | b' '));
        if is_rule {
            self.in_rows = true;
            return TableRow::Rule;
        }
        let fields = line.split_ascii_whitespace().count();
        let no_errors = fields + 1 == self.columns.len() && self.columns.contains(&Column::Errors);
        if !self.in_rows || !(no_errors || fields == self.columns.len()) {
            return TableRow::Bad;
        }
        let columns = self
            .columns
            .iter()
            .filter(|&&column| !no_errors || column != Column::Errors);
        let mut name = "";
        // Without the column, at least one.
        let mut calls = Some(1);
        for (column, field) in columns.zip(line.split_ascii_whitespace()) {
            match column {
                Column::Name => name = field,
                Column::Calls => calls = field.parse().ok(),
                Column::Errors | Column::Other => {}
            }
        }
        match calls {
            Some(_) if name == "total" => TableRow::End,
            Some(calls) if calls > 0 => TableRow::Calls(name, calls),
            _ => TableRow::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<String> {
        let mut lines = text.lines();
        let mut table = CountTable::start(lines.next().unwrap().as_bytes()).unwrap();
        lines
            .map(|line| format!("{:?}", table.row(line.as_bytes())))
            .collect()
    }

    #[test]
    fn the_default_table_and_one_with_chosen_columns() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 42.03    0.000153          76         2           clone
  0.00    0.000000           0         3         1 execve
------ ----------- ----------- --------- --------- ----------------
100.00    0.000364           5        62         1 total";
        let expected = [
            "Rule",
            "Calls(\"clone\", 2)",
            "Calls(\"execve\", 3)",
            "Rule",
            "End",
        ];
        assert_eq!(rows(table), expected);
        let table = "\
syscall           longest     calls    errors
---------------- -------- --------- ---------
futex            0.000115         1          
execve           0.000115         3         1
---------------- -------- --------- ---------
total            0.023103        62         1";
        let expected = [
            "Rule",
            "Calls(\"futex\", 1)",
            "Calls(\"execve\", 3)",
            "Rule",
            "End",
        ];
        assert_eq!(rows(table), expected);
        assert_eq!(rows("syscall\n-----\nread"), ["Rule", "Calls(\"read\", 1)"]);
    }

    #[test]
    fn invalid_tables_are_recognised() {
        assert!(CountTable::start(b"calls errors").is_none());
        assert!(CountTable::start(b"the syscall table").is_none());
        assert_eq!(rows("calls syscall\n1 read"), ["Bad"]);
        assert_eq!(
            rows("calls syscall\n----\nx read\n0 read\nread\n1 2 read"),
            ["Rule", "Bad", "Bad", "Bad", "Bad"]
        );
        assert_eq!(
            mode(b"System call usage summary for 32 bit mode:"),
            Some("32 bit")
        );
        assert_eq!(mode(b"System call"), None);
    }
}
