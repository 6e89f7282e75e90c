//! A seccomp audit record, as the kernel's `audit_seccomp` writes it (kernel/auditsc.c) and as `ausearch -i` prints it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_LOG};

use super::{names, time};
use crate::input::text::{digits, lossy, nr_of, number};
use crate::syscall::{Arch, Syscall};

/// An audit record of type 1326 (`AUDIT_SECCOMP`): a filter logged a system call. It borrows from its text, except for names
/// that must be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The time, in milliseconds; `None` if the text has no readable one.
    pub time: Option<SystemTime>,
    /// The serial number of the audit event. Records of all types share one sequence, which starts at boot.
    pub serial: Option<u64>,
    /// The login uid, if set.
    pub auid: Option<u32>,
    /// The real uid.
    pub uid: Option<u32>,
    /// The real gid.
    pub gid: Option<u32>,
    /// The login session, if any.
    pub ses: Option<u32>,
    /// The label of the security module, such as `docker-default (enforce)`.
    pub subj: Option<&'a [u8]>,
    /// The process (not the thread), in the initial pid namespace.
    pub pid: i32,
    /// The thread's name (at most 15 bytes).
    pub comm: Cow<'a, [u8]>,
    /// The file that the process executes, relative to its root, if the kernel gave one. Container runtimes execute themselves
    /// from a mount of that file alone, whose path is `/`: then it is the name of the thread.
    pub exe: Option<Cow<'a, [u8]>>,
    /// The action's signal, or 0.
    pub sig: Option<i32>,
    /// The system call.
    pub syscall: Syscall,
    /// Whether the call was made in compat mode.
    pub compat: Option<bool>,
    /// The address of the next instruction.
    pub ip: Option<u64>,
    /// The filter's action, `SECCOMP_RET_*` without its data.
    pub action: u32,
}

/// Why a text is not a valid record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRecord {
    /// There is no `audit(TIME:SERIAL):`.
    #[error("the record has no audit(TIME:SERIAL)")]
    NoHeader,
    /// A required field is missing.
    #[error("the record has no {0}=: it may be truncated")]
    Missing(&'static str),
    /// A field's value is invalid.
    #[error("{0}={1} is not a valid value")]
    Value(&'static str, String),
    /// The architecture is unknown.
    #[error("arch={0} is not a known architecture")]
    UnknownArch(String),
    /// The call's name is unknown, in a record with names instead of numbers.
    #[error("{name} is not a system call of {arch}")]
    UnknownName {
        /// The ABI of the call.
        arch: Arch,
        /// The name.
        name: String,
    },
}

/// How the values of a record are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// By the kernel: numbers, and names in quotes or hexadecimal.
    Kernel,
    /// By `ausearch -i`: names, without quotes, with their spaces.
    Interpreted,
}

impl<'a> Record<'a> {
    /// Parses a record that starts with `audit(TIME:SERIAL):`: the payload of a netlink message, or the rest of a line.
    pub fn parse(text: &'a [u8]) -> Result<Record<'a>, BadRecord> {
        let header = text.strip_prefix(b"audit(").ok_or(BadRecord::NoHeader)?;
        let end = memchr::memchr(b')', header).ok_or(BadRecord::NoHeader)?;
        let (stamp, body) = (&header[..end], &header[end + 1..]);
        let body = body.strip_prefix(b" ").unwrap_or(body);
        let body = body.strip_prefix(b":").ok_or(BadRecord::NoHeader)?;
        let (style, time, serial) = if let Some((time, serial)) = self::stamp(stamp) {
            (Style::Kernel, Some(time), Some(serial))
        } else {
            let colon = memchr::memrchr(b':', stamp).ok_or(BadRecord::NoHeader)?;
            let time = time::of_locale(&stamp[..colon]);
            (Style::Interpreted, time, digits(&stamp[colon + 1..]))
        };
        Record::parse_body(body, style, time, serial)
    }

    /// Parses a record without its header, as in a journal, which keeps time and serial number elsewhere.
    pub fn parse_headless(
        body: &'a [u8],
        time: Option<SystemTime>,
        serial: Option<u64>,
    ) -> Result<Record<'a>, BadRecord> {
        Record::parse_body(body, Style::Kernel, time, serial)
    }

    fn parse_body(
        body: &'a [u8],
        style: Style,
        time: Option<SystemTime>,
        serial: Option<u64>,
    ) -> Result<Record<'a>, BadRecord> {
        let fields = Fields::read(body, style);
        let pid = fields.required(FieldKey::Pid)?;
        let arch = fields.required(FieldKey::Arch)?;
        let syscall = fields.required(FieldKey::Syscall)?;
        let code = fields.required(FieldKey::Code)?;
        // rsyslog writes auditd's separator as #.
        let code = &code[..memchr::memchr(b'#', code).unwrap_or(code.len())];
        let id = |key| fields.get(key).and_then(id);
        let comm = decoded(fields.get(FieldKey::Comm).unwrap_or_default(), style);
        let exe = match fields.get(FieldKey::Exe).unwrap_or_default() {
            b"(null)" | b"?" | b"" => None,
            exe => Some(decoded(exe, style)),
        };
        Ok(Record {
            time,
            serial,
            auid: id(FieldKey::Auid),
            uid: id(FieldKey::Uid),
            gid: id(FieldKey::Gid),
            ses: id(FieldKey::Ses),
            subj: fields.get(FieldKey::Subj),
            pid: (number(pid).and_then(|pid| i32::try_from(pid).ok()))
                .ok_or_else(|| bad("pid", pid))?,
            exe: exe.map(|exe| match &*exe {
                b"/" if !comm.is_empty() => comm.clone(),
                _ => exe,
            }),
            comm,
            sig: fields.get(FieldKey::Sig).and_then(signal),
            syscall: call(arch, syscall)?,
            compat: fields.get(FieldKey::Compat).map(|compat| compat != b"0"),
            ip: fields.get(FieldKey::Ip).and_then(prefixed_hex),
            action: (prefixed_hex(code).and_then(|code| u32::try_from(code).ok()))
                .or_else(|| names::action(code))
                .ok_or_else(|| bad("code", code))?,
        })
    }

    /// Whether the filter allowed the call.
    #[must_use]
    pub fn was_allowed(&self) -> bool {
        matches!(self.action, SECCOMP_RET_LOG | SECCOMP_RET_ALLOW)
    }
}

/// The fields to read, in the kernel's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldKey {
    Auid,
    Uid,
    Gid,
    Ses,
    Subj,
    Pid,
    Comm,
    Exe,
    Sig,
    Arch,
    Syscall,
    Compat,
    Ip,
    Code,
}

impl FieldKey {
    const COUNT: usize = FieldKey::Code as usize + 1;

    fn of(name: &[u8]) -> Option<FieldKey> {
        Some(match name {
            b"auid" => FieldKey::Auid,
            b"uid" => FieldKey::Uid,
            b"gid" => FieldKey::Gid,
            b"ses" => FieldKey::Ses,
            b"subj" => FieldKey::Subj,
            b"pid" => FieldKey::Pid,
            b"comm" => FieldKey::Comm,
            b"exe" => FieldKey::Exe,
            b"sig" => FieldKey::Sig,
            b"arch" => FieldKey::Arch,
            b"syscall" => FieldKey::Syscall,
            b"compat" => FieldKey::Compat,
            b"ip" => FieldKey::Ip,
            b"code" => FieldKey::Code,
            _ => return None,
        })
    }

    /// Whether a value can contain spaces: a label, or a name that is neither quoted nor hexadecimal.
    fn has_spaces(self, style: Style) -> bool {
        match self {
            FieldKey::Subj => true,
            FieldKey::Comm | FieldKey::Exe => style == Style::Interpreted,
            _ => false,
        }
    }
}

/// The values of the fields, undecoded.
struct Fields<'a>([Option<&'a [u8]>; FieldKey::COUNT]);

impl<'a> Fields<'a> {
    /// Reads the fields. Of duplicates, the last counts: in the kernel's order, fields that a user can choose (the label, the
    /// names) come before the others.
    fn read(body: &'a [u8], style: Style) -> Fields<'a> {
        // auditd adds decoded fields after this byte (log_format = ENRICHED).
        let body = &body[..memchr::memchr(0x1d, body).unwrap_or(body.len())];
        let mut fields = Fields([None; FieldKey::COUNT]);
        // The field whose value can continue, and where the value starts.
        let mut open: Option<(FieldKey, usize)> = None;
        let mut from = 0;
        while from < body.len() {
            let length = memchr::memchr(b' ', &body[from..]).unwrap_or(body.len() - from);
            let token = &body[from..from + length];
            let equals = token.iter().take(8).position(|&byte| byte == b'=');
            let known = equals.and_then(|equals| Some((FieldKey::of(&token[..equals])?, equals)));
            if let Some((key, equals)) = known {
                fields.0[key as usize] = Some(&token[equals + 1..]);
                open = key.has_spaces(style).then_some((key, from + equals + 1));
            } else if let Some((key, start)) = open
                && !token.is_empty()
            {
                fields.0[key as usize] = Some(&body[start..from + length]);
            }
            from += length + 1;
        }
        fields
    }

    fn get(&self, key: FieldKey) -> Option<&'a [u8]> {
        self.0[key as usize]
    }

    fn required(&self, key: FieldKey) -> Result<&'a [u8], BadRecord> {
        let name = match key {
            FieldKey::Pid => "pid",
            FieldKey::Arch => "arch",
            FieldKey::Syscall => "syscall",
            _ => "code",
        };
        self.get(key).ok_or(BadRecord::Missing(name))
    }
}

/// The time and the serial number in a header of the kernel: `1364481363.243:24287`.
pub(crate) fn stamp(text: &[u8]) -> Option<(SystemTime, u64)> {
    let dot = memchr::memchr(b'.', text)?;
    let colon = dot + memchr::memchr(b':', &text[dot..])?;
    let secs = digits(&text[..dot])?;
    let ms = digits(&text[dot + 1..colon]).filter(|_| colon - dot == 4)?;
    let serial = digits(&text[colon + 1..])?;
    let since_1970 = Duration::from_secs(secs).checked_add(Duration::from_millis(ms))?;
    Some((SystemTime::UNIX_EPOCH.checked_add(since_1970)?, serial))
}

/// The system call that the fields `arch` and `syscall` name.
pub(crate) fn call(arch: &[u8], syscall: &[u8]) -> Result<Syscall, BadRecord> {
    let by_number = std::str::from_utf8(arch)
        .ok()
        .and_then(|arch| u32::from_str_radix(arch.strip_prefix("0x").unwrap_or(arch), 16).ok())
        .and_then(Arch::from_audit);
    let arch = (by_number.or_else(|| names::arch(arch)))
        .ok_or_else(|| BadRecord::UnknownArch(lossy(arch)))?;
    if let Some(nr) = number(syscall) {
        return nr_of(nr)
            .and_then(|nr| Syscall::from_audit(arch.audit(), nr))
            .ok_or_else(|| bad("syscall", syscall));
    }
    names::syscall(arch, syscall).ok_or_else(|| BadRecord::UnknownName {
        arch,
        name: lossy(syscall),
    })
}

/// Decodes a name. The kernel writes it in quotes, or in hexadecimal if it has a space, a quote, a control character or a
/// non-ASCII byte (`audit_log_untrustedstring`).
fn decoded(value: &[u8], style: Style) -> Cow<'_, [u8]> {
    match value {
        [b'"', inner @ .., b'"'] => Cow::Borrowed(inner),
        _ if style == Style::Interpreted => Cow::Borrowed(value),
        _ => unhex(value).map_or(Cow::Borrowed(value), Cow::Owned),
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    let byte = |&[high, low]: &[u8; 2]| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// A uid, gid or session; -1 means none.
fn id(text: &[u8]) -> Option<u32> {
    let id = number(text)?;
    u32::try_from(id).ok().filter(|&id| id != u32::MAX)
}

fn signal(text: &[u8]) -> Option<i32> {
    if let Some(number) = number(text) {
        return i32::try_from(number).ok();
    }
    match std::str::from_utf8(text).ok()? {
        "SIG0" => Some(0),
        name => (name.parse::<nix::sys::signal::Signal>().ok()).map(|signal| signal as i32),
    }
}

fn prefixed_hex(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"0x")?;
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, &byte| {
        Some(number << 4 | u64::from(char::from(byte).to_digit(16)?))
    })
}

fn bad(field: &'static str, value: &[u8]) -> BadRecord {
    BadRecord::Value(field, lossy(value))
}

/// The serial number of a record of any type, from `audit(` on.
pub(crate) fn serial(record: &[u8]) -> Option<u64> {
    let header = record.strip_prefix(b"audit(")?;
    let end = memchr::memchr(b')', header)?;
    Some(stamp(&header[..end])?.1)
}
