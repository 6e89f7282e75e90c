//! A drop-in for a unit of systemd (`systemd.exec(5)`): `SystemCallFilter=`, `SystemCallErrorNumber=`,
//! `SystemCallArchitectures=`, and `SystemCallLog=` for a profile that logs. The actions are to execute a call, to log it, to deny
//! it with an errno, and to kill the process. Of arguments, only those are compared that a setting of its own restricts
//! ([`restriction`]).
//!
//! systemd puts `@default` into every list of allowed calls. So a written list begins with that group, removes
//! it again, and then adds the profile's own calls: lines are applied in order (`seccomp_parse_syscall_filter`,
//! `src/shared/seccomp-util.c`). A call with an errno of its own goes into a line with `~`, which in a list of allowed
//! calls sets its errno.
//!
//! A filter of systemd applies to all ABIs of the machine, unless `SystemCallArchitectures=` excludes them. A profile
//! without ABIs is for the native one, which is written as `native`.

mod groups;
mod read;
mod restriction;
mod write;

pub use self::groups::groups_of_systemd;
use super::row::{FormatReader, FormatRow, Writer};

pub(super) const ROW: FormatRow = FormatRow {
    name: "systemd",
    extension: "conf",
    about: "Drop-in for a systemd unit",
    is_oci: false,
    json: |_| false,
    line: |line| line == "[Service]" || line.starts_with("SystemCall"),
    read: FormatReader::Text(read::parse),
    write: Writer::Text(write::render),
    companion: None,
    edit: None,
};
