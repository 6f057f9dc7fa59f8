//! Little-endian numbers in bytes that may be too few.

/// The little-endian number of 16 bits at `at`, where there is one.
pub(crate) fn word16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The little-endian number of 32 bits at `at`, where there is one.
pub(crate) fn word32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The little-endian number of 64 bits at `at`, where there is one.
pub(crate) fn word64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
