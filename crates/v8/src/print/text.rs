//! Strings, numbers, keys and times in the language's own spelling.

use std::fmt::Write as _;

/// A string in quotes, as [`quoted_units`].
pub fn quoted(text: &str) -> String {
    quoted_units(&text.encode_utf16().collect::<Vec<_>>())
}

/// UTF-16 code units as a string in quotes, its awkward characters escaped as `util.inspect` does: single quotes unless
/// it has those, then double ones, then backticks.
pub fn quoted_units(units: &[u16]) -> String {
    let has = |c: char| units.contains(&(c as u16));
    let quote = if !has('\'') {
        '\''
    } else if !has('"') {
        '"'
    } else if !has('`')
        && !units
            .windows(2)
            .any(|pair| pair == [u16::from(b'$'), u16::from(b'{')])
    {
        '`'
    } else {
        '\''
    };
    let mut out = String::with_capacity(units.len() + 2);
    out.push(quote);
    for c in char::decode_utf16(units.iter().copied()) {
        match c {
            Err(lone) => {
                let _ = write!(out, "\\u{:04x}", lone.unpaired_surrogate());
            }
            Ok('\n') => out.push_str("\\n"),
            Ok('\r') => out.push_str("\\r"),
            Ok('\t') => out.push_str("\\t"),
            Ok('\u{8}') => out.push_str("\\b"),
            Ok('\u{c}') => out.push_str("\\f"),
            Ok('\\') => out.push_str("\\\\"),
            Ok(c) if c == quote => {
                out.push('\\');
                out.push(c);
            }
            Ok(c) if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => {
                let _ = write!(out, "\\x{:02X}", c as u32);
            }
            Ok(c) => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Control characters of a text escaped as in [`quoted`], its quotes left as they are.
pub(super) fn escaped(text: &str) -> String {
    if !text.contains(|c: char| c.is_control()) {
        return text.to_owned();
    }
    let parts = text.split_inclusive(|c: char| c.is_control());
    parts
        .map(|part| match part.chars().last() {
            Some(c) if c.is_control() => {
                let control = quoted(&c.to_string());
                format!(
                    "{}{}",
                    &part[..part.len() - c.len_utf8()],
                    control.trim_matches('\'')
                )
            }
            _ => part.to_owned(),
        })
        .collect()
}

/// How much is not shown: `... 1 more item`, `... 7 more items`.
pub(super) fn more(count: u64, one: &str, many: &str) -> String {
    format!("... {count} more {}", if count == 1 { one } else { many })
}

/// A number as JavaScript prints it.
pub fn number_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let size = value.abs();
    if (1e-6..1e21).contains(&size) {
        return format!("{value}");
    }
    // Rust's shortest digits, with JavaScript's sign of the exponent.
    let text = format!("{value:e}");
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}

/// A key as it is written in an object: plain when it is an identifier.
pub fn key_text(key: &str) -> String {
    let mut chars = key.chars();
    let plain = chars
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_' || c == '$')
        && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    if plain { key.to_owned() } else { quoted(key) }
}

/// Milliseconds since 1970 as an ISO time, for years of four digits and beyond, as `Date.prototype.toISOString`.
pub(super) fn iso_time(value: f64) -> Option<String> {
    if !value.is_finite() || value.abs() > 8.64e15 {
        return None;
    }
    let ms = value as i64;
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Howard Hinnant's days-to-civil: eras of 400 years that begin in March.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds, ms) = (
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1000 % 60,
        rest % 1000,
    );
    let year = if (0..=9999).contains(&year) {
        format!("{year:04}")
    } else {
        format!("{year:+07}")
    };
    Some(format!(
        "{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z"
    ))
}

/// A number of 16 bits. (IEEE 754 binary16.)
pub(super) fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_javascript_does() {
        for (value, text) in [
            (3.25, "3.25"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1e21, "1e+21"),
            (123456789012345680000.0, "123456789012345680000"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(number_text(value), text);
        }
    }

    #[test]
    fn quotes_as_node_does() {
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("it's \"x\"\n\0"), "`it's \"x\"\\n\\x00`");
        assert_eq!(quoted("it's \"${x}\""), "'it\\'s \"${x}\"'");
        assert_eq!(quoted_units(&[0xd83d, 0x61]), "'\\ud83da'");
        assert_eq!(key_text("a-b"), "'a-b'");
    }

    #[test]
    fn writes_times() {
        assert_eq!(
            iso_time(1_700_000_000_123.0).as_deref(),
            Some("2023-11-14T22:13:20.123Z")
        );
        assert_eq!(iso_time(-1.0).as_deref(), Some("1969-12-31T23:59:59.999Z"));
        assert_eq!(
            iso_time(8.64e15).as_deref(),
            Some("+275760-09-13T00:00:00.000Z")
        );
        assert_eq!(iso_time(f64::NAN), None);
        assert_eq!(half(0x3c00), 1.0);
    }
}
