//! An address as people write and read it.

use crate::error::Usage;

/// A hexadecimal address with or without 0x.
///
/// # Errors
/// When it is none.
pub fn address(text: &str) -> anyhow::Result<u64> {
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    u64::from_str_radix(digits, 16).map_err(|_| Usage(format!("{text:?} is not an address")).into())
}

/// An address as all commands print it.
pub fn hex(address: u64) -> String {
    format!("{address:#x}")
}
