//! Sizes, numbers and times for people. JSON has exact bytes and RFC 3339.

use chrono::{DateTime, SecondsFormat, Utc};

/// `504 MB`, in units of 1024; fewer than that as `17 bytes`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let (mut number, mut unit) = (bytes as f64 / 1024.0, 0);
    // What would round to 1000 is the next unit already.
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    // Never "10.0".
    let digits = usize::from(number < 9.95);
    format!("{number:.digits$} {}", UNITS[unit])
}

/// The same, with `-` for nothing: in a table the columns that matter stand out.
pub fn size_or_dash(bytes: u64) -> String {
    if bytes == 0 {
        "-".to_owned()
    } else {
        size(bytes)
    }
}

/// `1 thread`, `5 threads`: for words that take an s.
pub fn count(number: usize, word: &str) -> String {
    match number {
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

/// RFC 3339 in UTC, for JSON.
pub fn rfc3339(time: std::time::SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `2026-11-21 13:36:09 UTC` for a time in RFC 3339; what is not one is given back as it is.
pub fn readable_time(rfc3339: &str) -> String {
    DateTime::parse_from_rfc3339(rfc3339).map_or_else(
        |_| rfc3339.to_owned(),
        |time| {
            time.with_timezone(&Utc)
                .format("%Y-%m-%d %H:%M:%S UTC")
                .to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KB"),
            (4096, "4.0 KB"),
            (10_188, "9.9 KB"),
            (10_200, "10 KB"),
            (135_168, "132 KB"),
            (1_047_552, "1.0 MB"),
            (20 << 30, "20 GB"),
            (u64::MAX, "16 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size_or_dash(0), "-");
        assert_eq!(count(1, "thread") + &count(2, "file"), "1 thread2 files");
    }

    #[test]
    fn times_are_in_utc() {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.123Z");
        assert_eq!(
            readable_time("2023-11-14T23:13:20+01:00"),
            "2023-11-14 22:13:20 UTC"
        );
        assert_eq!(readable_time("soon"), "soon");
    }
}
