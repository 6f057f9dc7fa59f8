//! Temporal's objects, whose values are in native memory.
//!
//! Each `JSTemporal...` has one field of its own, a Foreign that leads to a `Managed` record; the fourth word of that is a
//! `shared_ptr` to what `temporal_rs` made. How that lies in memory was measured on Node 26.0.0 and 26.10.0, against what
//! `toString` says; where what is there is no date or time, nothing is said of it.

use std::fmt::Write as _;

use crate::tagged::Tagged;

use super::Printer;
use super::text::iso_time;

const SECOND: i128 = 1_000_000_000;

impl Printer<'_> {
    /// A date, time or duration as ISO 8601 has it. None for what is none, or is not understood.
    pub(super) fn temporal(&self, value: Tagged) -> Option<String> {
        let v8 = self.v8;
        let map = v8.map_of(value).ok()?;
        let name = v8.types.name(map.instance_type);
        let kind = name.strip_prefix("JS_TEMPORAL_")?;
        let foreign = v8.field(value.address(), v8.c.object_header).ok()?;
        let foreign_map = v8.map_of(foreign).ok()?;
        if v8.types.name(foreign_map.instance_type) != "FOREIGN" {
            return None;
        }
        let memory = &v8.memory;
        let managed = memory.u64(foreign.address() + 8).ok()?;
        let shared = memory.u64(managed.checked_add(24)?).ok()?;
        let data = memory.u64(shared).ok()?;
        let bytes = memory.bytes(data, 88, 88).ok()?;
        describe(kind, &bytes)
    }
}

fn describe(kind: &str, bytes: &[u8]) -> Option<String> {
    match kind {
        "PLAIN_DATE" => date(bytes, 8),
        "PLAIN_TIME" => time(bytes, 0),
        "PLAIN_DATE_TIME" => Some(format!("{}T{}", date(bytes, 8)?, time(bytes, 16)?)),
        "PLAIN_YEAR_MONTH" => {
            let text = date(bytes, 8)?;
            Some(text[..text.len() - 3].to_owned())
        }
        "PLAIN_MONTH_DAY" => {
            let text = date(bytes, 8)?;
            Some(text[text.len() - 5..].to_owned())
        }
        "INSTANT" => Some(format!("{}Z", moment(wide(bytes, 0)?)?)),
        "ZONED_DATE_TIME" => {
            // The name of the zone is an index into tables of the library; what it means at this moment is noted.
            let offset = i128::from(i64::from_le_bytes(bytes.get(48..56)?.try_into().ok()?));
            if offset.abs() >= 86_400 * SECOND {
                return None;
            }
            let minutes = offset.abs() / (60 * SECOND);
            let sign = if offset < 0 { '-' } else { '+' };
            let local = moment(wide(bytes, 0)?.checked_add(offset)?)?;
            Some(format!(
                "{local}{sign}{:02}:{:02}",
                minutes / 60,
                minutes % 60
            ))
        }
        "DURATION" => duration(bytes),
        _ => None,
    }
}

fn wide(bytes: &[u8], at: usize) -> Option<i128> {
    Some(i128::from_le_bytes(
        bytes.get(at..at + 16)?.try_into().ok()?,
    ))
}

/// A year (32 bits), a month and a day.
fn date(bytes: &[u8], at: usize) -> Option<String> {
    let year = i32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
    let (month, day) = (*bytes.get(at + 4)?, *bytes.get(at + 5)?);
    if year.abs() > 271_821 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(if (0..=9999).contains(&year) {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{year:+07}-{month:02}-{day:02}")
    })
}

/// Milli-, micro- and nanoseconds (16 bits each), then hour, minute and second.
fn time(bytes: &[u8], at: usize) -> Option<String> {
    let part = |n: usize| {
        let pair = bytes.get(at + 2 * n..at + 2 * n + 2)?;
        Some(u32::from(u16::from_le_bytes(pair.try_into().ok()?))).filter(|part| *part < 1000)
    };
    let fraction = part(0)? * 1_000_000 + part(1)? * 1000 + part(2)?;
    let [hour, minute, second] = bytes.get(at + 6..at + 9)? else {
        return None;
    };
    (*hour < 24 && *minute < 60 && *second < 60).then(|| {
        format!(
            "{hour:02}:{minute:02}:{second:02}{}",
            decimals(u64::from(fraction))
        )
    })
}

/// Nanoseconds since 1970, as date and time.
fn moment(nanoseconds: i128) -> Option<String> {
    let seconds = nanoseconds.div_euclid(SECOND);
    if seconds.abs() > 8_640_000_000_000 {
        return None;
    }
    let text = iso_time(seconds as f64 * 1000.0)?;
    let fraction = decimals(nanoseconds.rem_euclid(SECOND) as u64);
    Some(format!("{}{fraction}", text.strip_suffix(".000Z")?))
}

/// Nanoseconds below a second, behind a point.
fn decimals(nanoseconds: u64) -> String {
    if nanoseconds == 0 {
        return String::new();
    }
    format!(".{nanoseconds:09}")
        .trim_end_matches('0')
        .to_owned()
}

/// Microseconds and nanoseconds (128 bits), days to milliseconds (64 bits), years, months and weeks (32 bits), the sign.
fn duration(bytes: &[u8]) -> Option<String> {
    let long = |at: usize| {
        let word = bytes.get(at..at + 8)?;
        Some(i128::from(u64::from_le_bytes(word.try_into().ok()?))).filter(|n| *n < 1 << 53)
    };
    let short = |at: usize| {
        let word = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(word.try_into().ok()?))
    };
    let limit = 1_i128 << 84;
    let (micro, nano) = (wide(bytes, 0)?, wide(bytes, 16)?);
    let sign = *bytes.get(84)? as i8;
    if !(0..limit).contains(&micro) || !(0..limit).contains(&nano) || !(-1..=1).contains(&sign) {
        return None;
    }
    let mut text = if sign < 0 { "-P" } else { "P" }.to_owned();
    for (count, unit) in [(short(72)?, 'Y'), (short(76)?, 'M'), (short(80)?, 'W')] {
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    if long(32)? > 0 {
        let _ = write!(text, "{}D", long(32)?);
    }
    let rest = long(56)? * SECOND + long(64)? * 1_000_000 + micro * 1000 + nano;
    let (hours, minutes) = (long(40)?, long(48)?);
    if sign == 0 {
        return Some("PT0S".to_owned());
    }
    if hours + minutes + rest > 0 {
        text.push('T');
        for (count, unit) in [(hours, 'H'), (minutes, 'M')] {
            if count > 0 {
                let _ = write!(text, "{count}{unit}");
            }
        }
        if rest > 0 {
            let _ = write!(
                text,
                "{}{}S",
                rest / SECOND,
                decimals((rest % SECOND) as u64)
            );
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_a_time_and_nothing_of_what_is_none() {
        let mut bytes = vec![0; 88];
        assert_eq!(describe("PLAIN_DATE", &bytes), None);
        bytes[8..14].copy_from_slice(&[0xe8, 7, 0, 0, 2, 29]);
        assert_eq!(
            describe("PLAIN_DATE", &bytes).as_deref(),
            Some("2024-02-29")
        );
        assert_eq!(
            describe("PLAIN_YEAR_MONTH", &bytes).as_deref(),
            Some("2024-02")
        );
        assert_eq!(
            describe("PLAIN_MONTH_DAY", &bytes).as_deref(),
            Some("02-29")
        );
        assert_eq!(moment(-1).as_deref(), Some("1969-12-31T23:59:59.999999999"));
        assert_eq!(moment(i128::MAX), None);
        assert_eq!(describe("DURATION", &[0; 88]).as_deref(), Some("PT0S"));
        assert_eq!(describe("DURATION", &[0xff; 88]), None);
        assert_eq!(
            describe("ZONED_DATE_TIME", &[0xff; 88]).as_deref(),
            Some("1969-12-31T23:59:59.999999998-00:00")
        );
        assert_eq!(describe("PLAIN_TIME", &bytes[..8]), None);
    }
}
