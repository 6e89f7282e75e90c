//! Parses the lines of strace(1), 4.5 to 6.x.
//!
//! A line is `[pid N] TIME [NR] [IP] CALL(ARGS) = RESULT`. The part before the call depends on the options. A call that another
//! task's line interrupts continues in a line of its own.

use std::time::Duration;

use crate::input::text::digits;

/// The part before a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leader {
    /// The task's pid; absent if there is only one task.
    pub(super) pid: Option<i32>,
    /// -t, -tt, -ttt.
    pub(super) time: Option<LineTime>,
    /// -r: since the previous line.
    pub(super) since: Option<Duration>,
    /// -n: the kernel's number, as unsigned.
    pub(super) number: Option<u64>,
    /// -i: whether the instruction pointer has 64 bits.
    pub(super) wide: Option<bool>,
}

/// The time of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineTime {
    /// Since midnight of an unknown day.
    OfDay(Duration),
    /// Since 1970.
    Unix(Duration),
}

/// The part after the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// `NAME(…`: the name, and the text after the parenthesis.
    Call(&'a str, &'a [u8]),
    /// `<... NAME resumed>…`: the rest of a call.
    Resumed(&'a str, &'a [u8]),
    /// `????(`: strace couldn't read the number of the call.
    Unavailable,
    /// `+++ exited with N +++`
    Exited(i32),
    /// `+++ killed by SIGNAL +++`
    Killed(&'a str),
    /// `+++ superseded by execve in pid N +++`: a thread took over the task's id.
    Superseded(i32),
    /// `[ Process PID=N runs in M mode. ]`: the ABI of the task's next calls.
    Mode(i32, &'a str),
    /// `strace: Process N attached`.
    Attached(i32),
    /// `strace: Process N detached`
    Detached(i32),
    /// Signals (`--- SIGNAL … ---`), stacks (-k), data (-e read=…), and messages of strace.
    Ignored,
    /// Not a line of strace.
    Unknown,
}

/// Parses a line.
pub(super) fn parse(text: &[u8]) -> (Leader, Body<'_>) {
    if is_data(text) {
        return (Leader::default(), Body::Ignored);
    }
    let (leader, rest) = leader(text);
    (leader, body(rest))
}

/// -k: ` > /lib/x(f+0x1) [0x2]`; -e read=3: ` | 00000  7f …` and ` * 5 bytes in buffer 0`.
fn is_data(text: &[u8]) -> bool {
    matches!(text, [b' ', b'>' | b'|' | b'*', b' ', ..])
}

fn leader(text: &[u8]) -> (Leader, &[u8]) {
    let mut leader = Leader::default();
    let mut rest = text;
    if let Some(after) = text.strip_prefix(b"[pid ") {
        if let Some((pid, after)) = pid(after.trim_ascii_start())
            && let Some(after) = after.strip_prefix(b"] ")
        {
            leader.pid = Some(pid);
            rest = after;
        }
    } else if let Some((pid, after)) = pid(text)
        && let Some(after) = after.strip_prefix(b" ")
    {
        leader.pid = Some(pid);
        rest = after;
    }
    loop {
        rest = rest.trim_ascii_start();
        if rest.starts_with(b"[") {
            match bracket(&mut leader, rest) {
                Some(after) => rest = after,
                None => return (leader, rest),
            }
        } else if let Some(after) = time(&mut leader, rest) {
            rest = after;
        } else {
            return (leader, rest);
        }
    }
}

/// The largest pid of any kernel (`PID_MAX_LIMIT`, proc(5)).
const LARGEST_PID: i32 = 4_194_304;

/// `123`, `123<comm>` (-Y).
fn pid(text: &[u8]) -> Option<(i32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let pid = i32::try_from(digits(&text[..end])?).ok()?;
    let rest = &text[end..];
    let rest = match rest {
        // strace escapes brackets in a name.
        [b'<', ..] => &rest[memchr::memchr(b'>', rest)? + 1..],
        _ => rest,
    };
    (1..=LARGEST_PID).contains(&pid).then_some((pid, rest))
}

/// `[ 257] ` (-n), `[00007f0f26ac8ad7] ` (-i), `[unconfined_u:…] ` (--secontext).
fn bracket<'a>(leader: &mut Leader, text: &'a [u8]) -> Option<&'a [u8]> {
    if text.starts_with(b"[ Process PID=") {
        return None;
    }
    let end = memchr::memmem::find(text, b"] ")?;
    let inner = &text[1..end];
    let is_ip = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte) || *byte == b'?';
    if matches!(inner.len(), 8 | 16) && inner.iter().all(is_ip) {
        leader.wide = Some(inner.len() == 16);
    } else if let number = inner.trim_ascii_start()
        && number.len() <= 20
        && number.iter().all(u8::is_ascii_digit)
    {
        leader.number = std::str::from_utf8(number).ok()?.parse().ok();
    }
    Some(&text[end + 2..])
}

/// `10:00:00.123456 ` (-tt), `1795307191.123456 ` (-ttt), `0.000123 ` (-r), `(+     0.000123) ` (-r and -t).
fn time<'a>(leader: &mut Leader, text: &'a [u8]) -> Option<&'a [u8]> {
    /// A number with fewer digits before the point is a difference, not a time since 1970.
    const UNIX_DIGITS: usize = 9;
    if let Some(since) = text.strip_prefix(b"(+") {
        let end = memchr::memmem::find(since, b") ")?;
        leader.since = Some(seconds(since[..end].trim_ascii_start())?);
        return Some(&since[end + 2..]);
    }
    let end = memchr::memchr(b' ', &text[..text.len().min(32)])?;
    let (word, rest) = (&text[..end], &text[end + 1..]);
    if let [h, hh, b':', m, mm, b':', secs @ ..] = word {
        let minutes = digits(&[*h, *hh])? * 60 + digits(&[*m, *mm])?;
        leader.time = Some(LineTime::OfDay(
            Duration::from_secs(minutes * 60) + seconds(secs)?,
        ));
    } else if word.iter().take_while(|byte| byte.is_ascii_digit()).count() < UNIX_DIGITS {
        leader.since = Some(seconds(word)?);
    } else {
        leader.time = Some(LineTime::Unix(seconds(word)?));
    }
    Some(rest)
}

/// `12`, `12.345`, `12.345678`, `12.345678901`
fn seconds(text: &[u8]) -> Option<Duration> {
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let secs = digits(parts.next()?)?;
    let nanos = match parts.next() {
        Some(fraction) if fraction.len() <= 9 => {
            let scale = 9 - u32::try_from(fraction.len()).ok()?;
            u32::try_from(digits(fraction)?).ok()? * 10_u32.pow(scale)
        }
        Some(_) => return None,
        None => 0,
    };
    Some(Duration::new(secs, nanos))
}

fn body(text: &[u8]) -> Body<'_> {
    match text {
        [b'+', b'+', b'+', b' ', rest @ ..] => end(rest).unwrap_or(Body::Unknown),
        [b'-', b'-', b'-', b' ', ..] if text.ends_with(b" ---") => Body::Ignored,
        [b'<', b'.', b'.', b'.', b' ', rest @ ..] => resumed(rest).unwrap_or(Body::Unknown),
        [b'[', ..] => mode(text).unwrap_or(Body::Unknown),
        [b'?', b'?', b'?', b'?', b'(', ..] => Body::Unavailable,
        _ => match text.strip_prefix(b"strace: ") {
            Some(message) => self::message(message),
            None => call(text).unwrap_or(Body::Unknown),
        },
    }
}

fn call(text: &[u8]) -> Option<Body<'_>> {
    let (name, rest) = name(text)?;
    Some(Body::Call(name, rest.strip_prefix(b"(")?))
}

fn resumed(text: &[u8]) -> Option<Body<'_>> {
    let (name, rest) = name(text)?;
    Some(Body::Resumed(name, rest.strip_prefix(b" resumed>")?))
}

/// A name in strace's spelling: `ioctl#64` is the x32 call with the number of `x86_64`'s.
fn name(text: &[u8]) -> Option<(&str, &[u8])> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'#');
    let end = text.iter().position(|byte| !is_name(byte))?;
    let name = std::str::from_utf8(&text[..end]).ok()?;
    (!name.is_empty()).then_some((name, &text[end..]))
}

fn end(text: &[u8]) -> Option<Body<'_>> {
    let text = std::str::from_utf8(text.strip_suffix(b" +++")?).ok()?;
    if let Some(code) = text.strip_prefix("exited with ") {
        return Some(Body::Exited(code.parse().ok()?));
    }
    if let Some(signal) = text.strip_prefix("killed by ") {
        return Some(Body::Killed(signal.split(' ').next()?));
    }
    let pid = text.strip_prefix("superseded by execve in pid ")?;
    Some(Body::Superseded(pid.parse().ok()?))
}

fn mode(text: &[u8]) -> Option<Body<'_>> {
    let text = std::str::from_utf8(text)
        .ok()?
        .strip_prefix("[ Process PID=")?;
    let (pid, mode) = text.strip_suffix(" mode. ]")?.split_once(" runs in ")?;
    Some(Body::Mode(pid.parse().ok()?, mode))
}

fn message(text: &[u8]) -> Body<'_> {
    let process = || {
        let text = std::str::from_utf8(text).ok()?.strip_prefix("Process ")?;
        let (pid, what) = text.split_once(' ')?;
        Some((pid.parse().ok()?, what))
    };
    match process() {
        Some((pid, "detached")) => Body::Detached(pid),
        Some((pid, what)) if what.starts_with("attached") => Body::Attached(pid),
        _ => mode(text).unwrap_or(Body::Ignored),
    }
}

/// Splits off the message that strace prints in the middle of a call that creates a task:
/// `clone(child_stack=NULL, flags=SIGCHLDstrace: Process 4568 attached`. The call continues in the next line.
pub(super) fn interrupted(text: &[u8]) -> Option<(&[u8], i32)> {
    let front = text.strip_suffix(b" attached")?;
    let at = memchr::memmem::rfind(front, b"strace: Process ").filter(|&at| at > 0)?;
    let pid = digits(&front[at + "strace: Process ".len()..])?;
    Some((&text[..at], i32::try_from(pid).ok()?))
}

/// The result of a call: the text after the last ` = `, if any.
pub(super) fn result(rest: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::rfind(rest, b" = ")?;
    // Only spaces are between the parenthesis and the result.
    let before = rest[..at].trim_ascii_end();
    before.ends_with(b")").then(|| &rest[at + 3..])
}

/// Whether a call continues in a later line.
pub(super) fn is_unfinished(rest: &[u8]) -> bool {
    rest.ends_with(b"<unfinished ...>")
}

/// The task that a call created: `= 1235`, `= 1235<comm>`, `= 2 /* 1235 in strace's PID NS */`.
pub(super) fn child(result: &[u8]) -> Option<i32> {
    let own = memchr::memmem::find(result, b"/* ").map(|at| &result[at + 3..]);
    let text = own.unwrap_or(result);
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let pid = i32::try_from(digits(&text[..end.unwrap_or(text.len())])?).ok()?;
    (pid > 0).then_some(pid)
}

/// Whether the caller's registers have 64 bits: a hexadecimal first argument or result has more than 32 bits, or the call sets
/// the base of the FS or GS segment, as only 64-bit programs do.
pub(super) fn is_wide(rest: &[u8]) -> bool {
    let wide = |text: &[u8]| {
        let number = text.strip_prefix(b"0x");
        number.is_some_and(|number| number.iter().take_while(|b| b.is_ascii_hexdigit()).count() > 8)
    };
    wide(rest)
        || result(rest).is_some_and(wide)
        || rest.starts_with(b"ARCH_SET_FS")
        || rest.starts_with(b"ARCH_SET_GS")
}

/// A quoted string at the start of the arguments, and the rest. strace escapes as in C.
pub(super) fn string(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut value = Vec::new();
    loop {
        match rest {
            [b'"', after @ ..] => return Some((value, after)),
            [b'\\', b'x', high, low, after @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                value.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
                rest = after;
            }
            [b'\\', b'0'..=b'7', ..] => {
                let digits = rest[1..].iter().take(3);
                let octal = digits
                    .take_while(|byte| (b'0'..=b'7').contains(byte))
                    .count();
                let octal_text = std::str::from_utf8(&rest[1..=octal]).ok()?;
                value.push(u8::from_str_radix(octal_text, 8).ok()?);
                rest = &rest[1 + octal..];
            }
            [b'\\', escaped, after @ ..] => {
                value.push(match escaped {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use itertools::Itertools;

    use super::*;

    #[test]
    fn leaders_with_pids_and_times_and_brackets() {
        let check = |text: &str, expected: &str| {
            let text = format!("{text}read(3, \"\", 0) = 0");
            let (leader, body) = parse(text.as_bytes());
            assert!(matches!(body, Body::Call("read", _)), "{text}");
            let parts = [
                leader.pid.map(|pid| format!("pid={pid}")),
                leader.time.map(|time| format!("{time:?}")),
                leader.since.map(|since| format!("since={since:?}")),
                leader.number.map(|number| format!("number={number}")),
                leader.wide.map(|wide| format!("wide={wide}")),
            ];
            assert_eq!(parts.into_iter().flatten().join(" "), expected, "{text}");
        };
        check("", "");
        check("4580  ", "pid=4580");
        check("[pid  4580] ", "pid=4580");
        check("4580<calls> ", "pid=4580");
        check("[pid  4580<a b>] ", "pid=4580");
        check("00:26:30 ", "OfDay(1590s)");
        check("4580  00:26:30.574346 ", "pid=4580 OfDay(1590.574346s)");
        check("4580  1795307191 ", "pid=4580 Unix(1795307191s)");
        check("1795307191.000042 ", "Unix(1795307191.000042s)");
        check("     0.000042 ", "since=42µs");
        check("4580       0.000042 ", "pid=4580 since=42µs");
        let both = "4580  00:26:30 (+     0.000042) ";
        check(both, "pid=4580 OfDay(1590s) since=42µs");
        check("[ 257] ", "number=257");
        check(
            "[pid  4580] 00:26:30 [18446744073709551611] [00435ef9] ",
            "pid=4580 OfDay(1590s) number=18446744073709551611 wide=false",
        );
        check("[00007f0f26ac8ad7] ", "wide=true");
        check("[????????????????] ", "wide=true");
        let with_label = "4580 [unconfined_u:unconfined_r] [   0] ";
        check(with_label, "pid=4580 number=0");
    }

    #[test]
    fn bodies_of_every_kind() {
        let check = |text: &str, expected: Body<'_>| {
            assert_eq!(parse(text.as_bytes()).1, expected, "{text}");
            let text = format!("[pid  7] {text}");
            assert_eq!(parse(text.as_bytes()).1, expected, "{text}");
        };
        check("ioctl#64(0) = 0", Body::Call("ioctl#64", b"0) = 0"));
        for rest in ["NULL) = 7", " ) = 7"] {
            let resumed = Body::Resumed("wait4", rest.as_bytes());
            check(&format!("<... wait4 resumed>{rest}"), resumed);
        }
        check("????( <unfinished ...>", Body::Unavailable);
        check("+++ exited with 3 +++", Body::Exited(3));
        let killed = "+++ killed by SIGSEGV (core dumped) +++";
        check(killed, Body::Killed("SIGSEGV"));
        check("+++ superseded by execve in pid 9 +++", Body::Superseded(9));
        check("--- SIGCHLD {si_signo=SIGCHLD} ---", Body::Ignored);
        check("--- stopped by SIGSTOP ---", Body::Ignored);
        check("[ Process PID=7 runs in x32 mode. ]", Body::Mode(7, "x32"));
        let mode = "strace: [ Process PID=7 runs in 32 bit mode. ]";
        check(mode, Body::Mode(7, "32 bit"));
        check("strace: Process 9 attached", Body::Attached(9));
        let attached = "strace: Process 9 attached with 3 threads";
        check(attached, Body::Attached(9));
        check("strace: Process 9 detached", Body::Detached(9));
        check("strace: anything", Body::Ignored);
        check("hello", Body::Unknown);
        check("hello, world (1)", Body::Unknown);
        check("+++ exited with x +++", Body::Unknown);
        check("", Body::Unknown);
        assert_eq!(parse(b" > /lib/x(f+0x1) [0x2]").1, Body::Ignored);
        assert_eq!(parse(b" | 00000  28    (   |").1, Body::Ignored);
    }

    #[test]
    fn results_and_their_parts() {
        let of = |text: &'static str| result(text.as_bytes()).and_then(child);
        assert_eq!(of("child_stack=NULL) = 1235"), Some(1235));
        assert_eq!(of("child_stack=NULL)   = 1235<sh>"), Some(1235));
        assert_eq!(of("NULL) = 2 /* 1235 in strace's PID NS */"), Some(1235));
        let failed = "NULL) = -1 EAGAIN (Resource temporarily unavailable)";
        assert_eq!(of(failed), None);
        assert_eq!(of("NULL) = ?"), None);
        assert_eq!(of("\"a = 7\", 4 <unfinished ...>"), None);
        assert_eq!(result(b"\"x) = 7\", 4) = 0"), Some(&b"0"[..]));
        assert_eq!(
            interrupted(b"clone(flags=SIGCHLDstrace: Process 4568 attached"),
            Some((&b"clone(flags=SIGCHLD"[..], 4568))
        );
        assert_eq!(interrupted(b"strace: Process 4568 attached"), None);
    }

    #[test]
    fn registers_of_64_bits_are_recognised() {
        assert!(is_wide(b"0x7fc9ec034990, FUTEX_WAKE, 1) = 0"));
        assert!(is_wide(b"NULL, 8392704, PROT_NONE) = 0x7fc9eb834000"));
        assert!(is_wide(b"ARCH_SET_FS, 0x78a13c0) = 0"));
        assert!(!is_wide(b"0xf77b5000) = 0xf77b5000"));
        assert!(!is_wide(b"3, {st_ino=0x7fc9ec034990}) = 0"));
    }

    #[test]
    fn strings_are_unescaped() {
        let check = |text: &[u8], expected: Option<(&[u8], &[u8])>| {
            let read = string(text);
            let read = read.as_ref().map(|(value, rest)| (value.as_slice(), *rest));
            assert_eq!(read, expected, "{}", text.escape_ascii());
        };
        check(b"\"/bin/ls\", [", Some((b"/bin/ls", b", [")));
        check(
            br#""a\"b\\c\n\x7f\0z\1779", 1"#,
            Some((b"a\"b\\c\n\x7f\0z\x7f9", b", 1")),
        );
        check(b"\"/bin", None);
        check(b"NULL", None);
        check(br#""\"#, None);
        check(br#""\xz"#, None);
    }
}
