//! The command line of sc-record.
fn main() {}
