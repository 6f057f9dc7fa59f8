//! The lines of `/proc/PID/maps` and the flags of `/proc/PID/smaps`, as far as a capture needs them.

use std::ops::Range;

/// One mapping of an address space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses.
    pub range: Range<u64>,
    /// `rwxp` as the kernel prints it.
    pub permissions: [u8; 4],
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Device and inode: what makes a file mapping the same one (all zero for anonymous memory).
    pub backing: Backing,
    /// The name the kernel prints, raw; empty for anonymous memory.
    pub name: Vec<u8>,
}

/// What lies under a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backing {
    /// Device as printed, `fe:00`.
    pub device: Vec<u8>,
    /// Inode number, 0 for anonymous memory.
    pub inode: u64,
}

impl Mapping {
    /// Private memory that no file stands behind.
    pub fn is_private_anonymous(&self) -> bool {
        self.permissions[3] == b'p' && self.backing.inode == 0
    }

    /// Whether a path stands behind it (shared anonymous memory has one too, `/dev/zero (deleted)`).
    pub fn has_file(&self) -> bool {
        self.backing.inode != 0 && self.name.first() == Some(&b'/')
    }

    /// Shared with other processes, or shared by fork.
    pub fn is_shared(&self) -> bool {
        self.permissions[3] == b's'
    }

    /// The name as the path that it is: the kernel escapes line feeds in it, and nothing else.
    pub fn path(&self) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.name.len());
        let mut rest = self.name.as_slice();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match after.strip_prefix(b"012") {
                Some(after) if byte == b'\\' => {
                    path.push(b'\n');
                    rest = after;
                }
                _ => path.push(byte),
            }
        }
        path
    }

    fn parse(line: &[u8]) -> Option<Mapping> {
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let range = parse_range(fields.next()?)?;
        let permissions = fields.next()?.try_into().ok()?;
        let offset = u64::from_str_radix(std::str::from_utf8(fields.next()?).ok()?, 16).ok()?;
        let device = fields.next()?.to_vec();
        let inode = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let name = fields
            .next()
            .unwrap_or_default()
            .trim_ascii_start()
            .to_vec();
        Some(Mapping {
            range,
            permissions,
            offset,
            backing: Backing { device, inode },
            name,
        })
    }
}

fn parse_range(field: &[u8]) -> Option<Range<u64>> {
    let (start, end) = std::str::from_utf8(field).ok()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    (start < end).then_some(start..end)
}

/// All mappings in the text of a `maps` file.
pub fn parse(text: &[u8]) -> Vec<Mapping> {
    text.split(|byte| *byte == b'\n')
        .filter_map(Mapping::parse)
        .collect()
}

/// The ranges whose `VmFlags` in the text of a `smaps` file hold `flag` (`b"dc"`: not copied by fork).
pub fn flagged(smaps: &[u8], flag: &[u8; 2]) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.split(|byte| *byte == b'\n') {
        if let Some(flags) = line.strip_prefix(b"VmFlags:") {
            if flags.split(|byte| *byte == b' ').any(|word| word == flag) {
                found.extend(current.take());
            }
        } else if let Some(range) = line
            .split(|byte| *byte == b' ')
            .next()
            .and_then(parse_range)
        {
            current = Some(range);
        }
    }
    found
}

/// By address. One for all: every sort of its own is some 5 kB of code.
pub fn sort(ranges: &mut [Range<u64>]) {
    ranges.sort_unstable_by_key(|range| range.start);
}

/// `from` without `without`. Both sorted and without overlaps, as a maps file lists them; so is the result.
pub fn subtract(from: &[Range<u64>], without: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut others = without.iter().peekable();
    for range in from {
        let mut start = range.start;
        while others.next_if(|other| other.end <= start).is_some() {}
        let mut ahead = others.clone();
        while let Some(other) = ahead.next_if(|other| other.start < range.end) {
            if other.start > start {
                left.push(start..other.start);
            }
            start = start.max(other.end);
        }
        if start < range.end {
            left.push(start..range.end);
        }
    }
    left
}

/// The ranges of `mappings`, those that touch joined into one.
pub fn joined(mappings: &[Mapping]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for mapping in mappings {
        match ranges.last_mut() {
            Some(last) if last.end == mapping.range.start => last.end = mapping.range.end,
            _ => ranges.push(mapping.range.clone()),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind() {
        let text = b"00400000-00401000 r-xp 00000000 fe:00 12 /usr/bin/a b\n\
            7f00-8000 rw-p 00000000 00:00 0 \n\
            9000-a000 rw-s 00000000 00:0f 77 anon_inode:[io_uring]\n\
            garbage\n\
            b000-a000 rw-p 00000000 00:00 0 \n";
        let mappings = parse(text);
        assert_eq!(mappings.len(), 3);
        assert_eq!(mappings[0].name, b"/usr/bin/a b");
        assert!(!mappings[0].is_private_anonymous());
        assert!(mappings[1].is_private_anonymous());
        assert!(!mappings[2].is_private_anonymous());
    }

    #[test]
    fn flags_belong_to_the_mapping_above_them() {
        let text = b"1000-2000 rw-p 00000000 00:00 0 \nSize: 4 kB\nVmFlags: rd wr mr dc ac \n\
            2000-3000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr ac \n\
            3000-4000 rw-p 00000000 00:00 0 \nVmFlags: rd dc\n";
        assert_eq!(flagged(text, b"dc"), [0x1000..0x2000, 0x3000..0x4000]);
    }

    #[test]
    fn subtraction_agrees_with_a_set_of_points() {
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let mut list = |limit: u64| {
                let mut ranges = Vec::new();
                let mut at = 0;
                while at < limit {
                    let start = at + random(6);
                    let end = start + 1 + random(6);
                    ranges.push(start..end);
                    at = end;
                }
                ranges
            };
            let (from, without) = (list(40), list(40));
            let inside = |ranges: &[Range<u64>], point| ranges.iter().any(|r| r.contains(&point));
            let left = subtract(&from, &without);
            for point in 0..60 {
                assert_eq!(
                    inside(&left, point),
                    inside(&from, point) && !inside(&without, point),
                    "{from:?} - {without:?} = {left:?} at {point}"
                );
            }
            assert!(left.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
