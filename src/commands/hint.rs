//! What to do about an error: the last line that the user sees.

use std::error::Error;
use std::path::Path;

use sc_record::atomic_file;
use sc_record::recording::{FileError, MergeError, ParseError};

use super::exit_status::CannotStart;

/// The advice for an error, where there is some. The first cause that has one decides.
pub(crate) fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let cause: &(dyn Error + 'static) = cause;
        None.or_else(|| cause.downcast_ref().copied().map(of_start))
            .or_else(|| cause.downcast_ref().and_then(of_file))
            .or_else(|| cause.downcast_ref().and_then(of_merge))
            .or_else(|| cause.downcast_ref().and_then(of_write))
    })
}

fn of_start(error: CannotStart) -> String {
    match error {
        CannotStart::NotFound => "a program that is not in PATH needs its path: ./NAME",
        CannotStart::CannotExecute => {
            "see that it is executable (chmod +x) and that its interpreter exists"
        }
    }
    .to_owned()
}

fn of_file(error: &FileError) -> Option<String> {
    match error {
        FileError::Parse { path, problem } => Some(of_parse(path, problem)),
        FileError::Write(error) => of_write(error),
        _ => None,
    }
}

fn of_parse(path: &Path, problem: &ParseError) -> String {
    // What git calls a file is relative.
    let path = if path.is_relative() {
        path
    } else {
        Path::new("FILE")
    }
    .display();
    match problem {
        ParseError::Newer { .. } => "use a newer sc-record".to_owned(),
        ParseError::Conflict { .. } => format!(
            "unite both sides: git show :2:./{path} >ours; git show :3:./{path} >theirs; \
             sc-record merge ours theirs -o {path}"
        ),
        _ => "restore the file from version control, or record anew with --fresh".to_owned(),
    }
}

fn of_merge(error: &MergeError) -> Option<String> {
    match error {
        MergeError::Names { .. } => Some("to call them by one name, use -n NAME".to_owned()),
        _ => None,
    }
}

fn of_write(error: &atomic_file::Error) -> Option<String> {
    match error {
        atomic_file::Error::Locked { .. } => {
            Some("`.NAME.lock` beside it is the lock: fuser(1) tells who has it".to_owned())
        }
        _ => None,
    }
}
