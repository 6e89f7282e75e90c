//! Messages on stderr. Write errors are ignored, since the exit status is the workload's.

/// Writes one line to stderr.
macro_rules! say {
    ($($arg:tt)*) => {
        crate::ui::say::line(format_args!($($arg)*))
    };
}

/// Writes one line to stderr.
pub(crate) fn line(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // Without stderr, there is no place for the error.
    let _ = std::io::stderr().write_fmt(format_args!("{text}\n"));
}
