//! Times in other forms than the kernel's.

use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Parses the time in a header of `ausearch -i`: the date in the user's locale (strftime(3) `%x %T`), local time, milliseconds.
/// A date such as `1/2/26` is ambiguous, and read as in the C locale.
pub(crate) fn of_locale(text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?;
    let (date, time) = text.split_once(' ')?;
    let separator = date.find(['/', '.', '-']).map(|at| &date[at..=at])?;
    let mut parts = date.trim_end_matches('.').splitn(3, separator);
    let mut part = || parts.next()?.parse::<i16>().ok();
    let (first, second, third) = (part()?, part()?, part()?);
    let (year, month, day) = match separator {
        // 2026-11-21, 21-11-26
        _ if first > 31 => (first, second, third),
        // 21.11.2026
        "." | "-" => (third, second, first),
        _ if first > 12 => (third, second, first),
        _ => (third, first, second),
    };
    let year = if year < 100 { year + 2000 } else { year };
    let mut clock = time.splitn(3, ':');
    let hour = clock.next()?.parse().ok()?;
    let minute = clock.next()?.parse().ok()?;
    let (second, ms) = clock.next()?.split_once('.')?;
    let ms: i32 = ms.parse().ok().filter(|ms| (0..1000).contains(ms))?;
    let civil = DateTime::new(
        year,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
        hour,
        minute,
        second.parse().ok()?,
        ms * 1_000_000,
    )
    .ok()?;
    let zoned = civil.to_zoned_datetime(TimeZone::system()).ok()?;
    zoned.timestamp().try_into().ok()
}

/// Parses the time at the start of a line: seconds since 1970, RFC 3339, or ISO 8601. `None` for dates without a year or a time
/// zone, as in traditional syslog.
pub(crate) fn of_prefix(line: &[u8]) -> Option<SystemTime> {
    let word = line.split(|&byte| byte == b' ').next()?;
    let word = std::str::from_utf8(word.get(..word.len().min(40))?).ok()?;
    if word.as_bytes().get(4) == Some(&b'-') {
        let time: jiff::Timestamp = word.replace(',', ".").parse().ok()?;
        return time.try_into().ok();
    }
    let (secs, fraction) = word.split_once('.')?;
    if secs.len() < 9 {
        return None;
    }
    of_micros(&format!("{secs}{fraction:0<6.6}"))
}

/// Parses microseconds since 1970, as in journals.
pub(crate) fn of_micros(text: &str) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As UTC, where the time zone is not that of the machine.
    fn utc(time: Option<SystemTime>) -> String {
        time.map_or_else(String::new, |time| {
            format!("{:.3}", jiff::Timestamp::try_from(time).unwrap())
        })
    }

    #[test]
    fn complete_times_before_a_line_are_read() {
        let check = |line: &str, expected: &str| {
            assert_eq!(utc(of_prefix(line.as_bytes())), expected, "{line}");
        };
        let utc = "2026-11-21T23:48:11.595123+00:00 host x";
        check(utc, "2026-11-21T23:48:11.595Z");
        let zone = "2026-11-21T23:48:11,595123+01:00 x";
        check(zone, "2026-11-21T22:48:11.595Z");
        let whole = "2026-11-21T23:48:16+0000 host x";
        check(whole, "2026-11-21T23:48:16.000Z");
        check("1795304896.693000 host x", "2026-11-21T23:48:16.693Z");
        check("Nov 21 23:48:16 host x", "");
        check("12.345 x", "");
        check("\u{fffd}", "");
        check("", "");
    }

    #[test]
    fn unambiguous_dates_of_locales_are_read() {
        let day = |text: &str| {
            let time = jiff::Timestamp::try_from(of_locale(text.as_bytes())?).ok()?;
            let local = time.to_zoned_datetime(TimeZone::system());
            Some(local.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
        };
        let expected = Some("2026-11-21 23:46:11.029".to_owned());
        let dates = "11/21/26 11/21/2026 21/11/26 21.11.2026 2026-11-21 2026/11/21";
        for date in dates.split(' ') {
            assert_eq!(day(&format!("{date} 23:46:11.029")), expected, "{date}");
        }
        assert_eq!(day("1/2/3"), None);
        assert_eq!(day("13/13/26 00:00:00.000"), None);
        assert_eq!(day("11/21/26 23:46:11"), None);
    }
}
