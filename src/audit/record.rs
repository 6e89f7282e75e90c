//! One record of seccomp(2): the text that the kernel's `audit_seccomp` writes (kernel/auditsc.c), and what `ausearch -i`
//! makes of it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::{names, time};
use crate::audit::text::{digits, lossy, nr_of, number};
use crate::syscall::{Arch, Syscall};

/// What `code=` holds when the action was `SECCOMP_RET_LOG` (linux/seccomp.h).
pub const SECCOMP_RET_LOG: u32 = 0x7ffc_0000;
/// What `code=` holds when the action was `SECCOMP_RET_ALLOW`.
pub const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;

/// One audit record of type 1326 (`AUDIT_SECCOMP`): a task entered a system call, and a filter wanted that noted.
///
/// Nothing is copied, unless a name has to be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When; the kernel gives milliseconds. `None` where the text has no time, or one that can't be read.
    pub time: Option<SystemTime>,
    /// The serial number of the audit event, since boot, counted over records of all types.
    pub serial: Option<u64>,
    /// The login uid; `None` where it is not set.
    pub auid: Option<u32>,
    /// The real uid.
    pub uid: Option<u32>,
    /// The real gid.
    pub gid: Option<u32>,
    /// The session of the login; `None` where there is none.
    pub ses: Option<u32>,
    /// The label of the security module: `docker-default (enforce)`.
    pub subj: Option<&'a [u8]>,
    /// The process (not the thread), in the initial pid namespace.
    pub pid: i32,
    /// The name of the thread (at most 15 bytes).
    pub comm: Cow<'a, [u8]>,
    /// The file that the process executes, as seen from its root; `None` where the kernel gave none.
    pub exe: Option<Cow<'a, [u8]>>,
    /// The signal that the action sends, or 0.
    pub sig: Option<i32>,
    /// What was called.
    pub syscall: Syscall,
    /// Whether it was called in a compat mode.
    pub compat: Option<bool>,
    /// The address of the instruction after the call.
    pub ip: Option<u64>,
    /// The filter's action, `SECCOMP_RET_*` without its data.
    pub action: u32,
}

/// Why a text is not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRecord {
    /// There is no `audit(TIME:SERIAL):`.
    #[error("the record has no audit(TIME:SERIAL)")]
    NoHeader,
    /// A field that every record has is not there.
    #[error("the record has no {0}=: it may have been cut off")]
    Missing(&'static str),
    /// A field's value makes no sense.
    #[error("{0}={1} can't be read")]
    Value(&'static str, String),
    /// There is no name for the architecture.
    #[error("arch={0} is not an architecture that is known here")]
    UnknownArch(String),
    /// A record that somebody wrote names in has one that is unknown.
    #[error("{name} is not a system call of {arch}")]
    UnknownName {
        /// The ABI of the call.
        arch: Arch,
        /// What it is called.
        name: String,
    },
}

/// How the values of a record are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// By the kernel: numbers; names are in quotes, or hexadecimal.
    Kernel,
    /// By `ausearch -i`: names, without quotes, spaces and all.
    Interpreted,
}

impl<'a> Record<'a> {
    /// Reads a record from `audit(TIME:SERIAL):` on: the payload of a netlink message, or the rest of a line of text.
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

    /// Reads a record without its header, which was told elsewhere: that of a journal.
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
        let pid = fields.required(Key::Pid)?;
        let arch = fields.required(Key::Arch)?;
        let syscall = fields.required(Key::Syscall)?;
        let code = fields.required(Key::Code)?;
        // rsyslog writes the separator before what auditd adds so.
        let code = &code[..memchr::memchr(b'#', code).unwrap_or(code.len())];
        let id = |key| fields.get(key).and_then(id);
        Ok(Record {
            time,
            serial,
            auid: id(Key::Auid),
            uid: id(Key::Uid),
            gid: id(Key::Gid),
            ses: id(Key::Ses),
            subj: fields.get(Key::Subj),
            pid: (number(pid).and_then(|pid| i32::try_from(pid).ok()))
                .ok_or_else(|| bad("pid", pid))?,
            comm: decoded(fields.get(Key::Comm).unwrap_or_default(), style),
            exe: (fields.get(Key::Exe))
                .filter(|exe| !matches!(*exe, b"(null)" | b"?" | b""))
                .map(|exe| decoded(exe, style)),
            sig: fields.get(Key::Sig).and_then(signal),
            syscall: call(arch, syscall)?,
            compat: fields.get(Key::Compat).map(|compat| compat != b"0"),
            ip: fields.get(Key::Ip).and_then(prefixed_hex),
            action: (prefixed_hex(code).and_then(|code| u32::try_from(code).ok()))
                .or_else(|| names::action(code))
                .ok_or_else(|| bad("code", code))?,
        })
    }

    /// Whether the call was let through: the action only said that it should be noted.
    #[must_use]
    pub fn was_allowed(&self) -> bool {
        matches!(self.action, SECCOMP_RET_LOG | SECCOMP_RET_ALLOW)
    }
}

/// The fields that are read, in the kernel's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
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

impl Key {
    const COUNT: usize = Key::Code as usize + 1;

    fn of(name: &[u8]) -> Option<Key> {
        Some(match name {
            b"auid" => Key::Auid,
            b"uid" => Key::Uid,
            b"gid" => Key::Gid,
            b"ses" => Key::Ses,
            b"subj" => Key::Subj,
            b"pid" => Key::Pid,
            b"comm" => Key::Comm,
            b"exe" => Key::Exe,
            b"sig" => Key::Sig,
            b"arch" => Key::Arch,
            b"syscall" => Key::Syscall,
            b"compat" => Key::Compat,
            b"ip" => Key::Ip,
            b"code" => Key::Code,
            _ => return None,
        })
    }

    /// Whether a value can have spaces: a label can, and so can a name that is neither quoted nor hexadecimal.
    fn has_spaces(self, style: Style) -> bool {
        match self {
            Key::Subj => true,
            Key::Comm | Key::Exe => style == Style::Interpreted,
            _ => false,
        }
    }
}

/// The values of the fields, as they are in the text.
struct Fields<'a>([Option<&'a [u8]>; Key::COUNT]);

impl<'a> Fields<'a> {
    /// Reads the fields. Of one that is there twice the later counts: in the kernel's order what others can choose (the
    /// label, the names) precedes what matters.
    fn read(body: &'a [u8], style: Style) -> Fields<'a> {
        // What auditd adds for its readers (log_format = ENRICHED) follows this byte.
        let body = &body[..memchr::memchr(0x1d, body).unwrap_or(body.len())];
        let mut fields = Fields([None; Key::COUNT]);
        // The field whose value may go on, and where that starts.
        let mut open: Option<(Key, usize)> = None;
        let mut from = 0;
        while from < body.len() {
            let length = memchr::memchr(b' ', &body[from..]).unwrap_or(body.len() - from);
            let token = &body[from..from + length];
            let equals = token.iter().take(8).position(|&byte| byte == b'=');
            let known = equals.and_then(|equals| Some((Key::of(&token[..equals])?, equals)));
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

    fn get(&self, key: Key) -> Option<&'a [u8]> {
        self.0[key as usize]
    }

    fn required(&self, key: Key) -> Result<&'a [u8], BadRecord> {
        let name = match key {
            Key::Pid => "pid",
            Key::Arch => "arch",
            Key::Syscall => "syscall",
            _ => "code",
        };
        self.get(key).ok_or(BadRecord::Missing(name))
    }
}

/// The time and the serial number of a header that the kernel wrote: `1364481363.243:24287`.
pub(crate) fn stamp(text: &[u8]) -> Option<(SystemTime, u64)> {
    let dot = memchr::memchr(b'.', text)?;
    let colon = dot + memchr::memchr(b':', &text[dot..])?;
    let secs = digits(&text[..dot])?;
    let ms = digits(&text[dot + 1..colon]).filter(|_| colon - dot == 4)?;
    let serial = digits(&text[colon + 1..])?;
    let since_1970 = Duration::from_secs(secs).checked_add(Duration::from_millis(ms))?;
    Some((SystemTime::UNIX_EPOCH.checked_add(since_1970)?, serial))
}

/// The call that two fields name.
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

/// A name as it was before the kernel wrote it: in quotes, or hexadecimal where it has a space, a quote, a control
/// character or a byte that isn't ASCII (`audit_log_untrustedstring`).
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

/// A uid, a gid or a session: -1 means that there is none.
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
