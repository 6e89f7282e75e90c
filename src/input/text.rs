//! Numbers in text, and text in messages.

/// Parses a decimal number, which can be negative.
pub(crate) fn number(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => Some(-i64::try_from(self::digits(digits)?).ok()?),
        digits => i64::try_from(self::digits(digits)?).ok(),
    }
}

/// Parses a decimal number of at most 19 digits.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0, |number: u64, &byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

/// A system call number: an `int`, which some programs print as unsigned.
pub(crate) fn nr_of(number: i64) -> Option<i32> {
    let unsigned = || Some(u32::try_from(number).ok()?.cast_signed());
    i32::try_from(number).ok().or_else(unsigned)
}

/// Shortens a value for a message, and escapes what could affect a terminal.
pub(crate) fn lossy(value: &[u8]) -> String {
    const LONGEST: usize = 60;
    let mut text = String::new();
    for byte in &value[..value.len().min(LONGEST)] {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.extend(byte.escape_ascii().map(char::from)),
        }
    }
    if value.len() > LONGEST {
        text.push('…');
    }
    text
}
