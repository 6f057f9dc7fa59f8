//! Numbers of variable length: seven bits in each byte, the lowest first; bit 7 says that more follow. (V8's `base/vlq.h`.)

/// The number at `at`, which moves behind it; `None` at the end of the bytes, or when it is longer than a word.
pub(crate) fn number(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_stops_at_the_end() {
        let mut at = 0;
        assert_eq!(number(&[0x85, 0x01, 7], &mut at), Some(133));
        assert_eq!((number(&[0x85, 0x01, 7], &mut at), at), (Some(7), 3));
        assert_eq!(number(&[0x80], &mut 0), None);
        assert_eq!(number(&[0xff; 20], &mut 0), None);
    }
}
