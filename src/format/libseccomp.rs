//! A C source that loads the profile with libseccomp: `cc -o app app.c -lseccomp`, then `./app CMD`; or a function to
//! call (`-D SC_RECORD_NO_MAIN`). It does what `sc-record run` does: it merges one filter per ABI; calls of other ABIs kill
//! the process; calls through socketcall(2) and ipc(2) are handled the same way. It can't check libseccomp's program
//! (`--export-bpf` writes it, for `sc-record inspect`).
//!
//! C is read only if sc-record wrote it: the part with the profile is read, and the whole text must equal what would be
//! written for that profile.

mod read;
mod write;

use self::write::MARK;
use super::row::{FormatReader, FormatRow, Writer};

pub(super) const ROW: FormatRow = FormatRow {
    name: "libseccomp",
    extension: "c",
    about: "C source that loads the profile with libseccomp",
    is_oci: false,
    json: |_| false,
    line: |line| line.contains(MARK),
    read: FormatReader::Text(read::parse),
    write: Writer::Text(write::render),
    companion: None,
    edit: None,
};
