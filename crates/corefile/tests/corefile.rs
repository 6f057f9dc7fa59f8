//! Small cores, built here by hand, and what is made of them.
#![allow(clippy::single_range_in_vec_init)] // a list of one range is meant

use std::fs::File;
use std::io::Write;

use stillcore_corefile::{CoreError, CoreFile, build_id};

const LOAD: u32 = 1;
const NOTE: u32 = 4;

/// A program header: type, flags, offset, address, size in the file, size in memory.
type Header = (u32, u32, u64, u64, u64, u64);

/// The headers of a 64-bit core. With `xnum` the number of program headers is in the first section header.
fn headers(list: &[Header], e_type: u16, xnum: bool) -> Vec<u8> {
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let put16 = |bytes: &mut Vec<u8>, n: u16| bytes.extend_from_slice(&n.to_le_bytes());
    let put32 = |bytes: &mut Vec<u8>, n: u32| bytes.extend_from_slice(&n.to_le_bytes());
    let put64 = |bytes: &mut Vec<u8>, n: u64| bytes.extend_from_slice(&n.to_le_bytes());
    let end = 64 + 56 * list.len() as u64;
    put16(&mut bytes, e_type);
    put16(&mut bytes, 62);
    put32(&mut bytes, 1);
    put64(&mut bytes, 0);
    put64(&mut bytes, 64);
    put64(&mut bytes, if xnum { end } else { 0 });
    put32(&mut bytes, 0);
    put16(&mut bytes, 64);
    put16(&mut bytes, 56);
    put16(&mut bytes, if xnum { 0xffff } else { list.len() as u16 });
    put16(&mut bytes, 64);
    put16(&mut bytes, u16::from(xnum));
    put16(&mut bytes, 0);
    for &(kind, flags, offset, address, file_size, size) in list {
        put32(&mut bytes, kind);
        put32(&mut bytes, flags);
        for n in [offset, address, 0, file_size, size, 4] {
            put64(&mut bytes, n);
        }
    }
    if xnum {
        let mut section = [0; 64];
        section[44..48].copy_from_slice(&(list.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&section);
    }
    bytes
}

fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in [name.len() as u32, content.len() as u32, kind] {
        bytes.extend_from_slice(&n.to_le_bytes());
    }
    for part in [name, content] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A core with two notes and memory at 0x1000 (a page), 0x3000 (half of two pages in the file), 0x2000 (a page, right
/// behind the first) and 0x9000 (nothing in the file). Where its headers end comes with it.
fn small(xnum: bool) -> (Vec<u8>, usize) {
    let mut notes = note(b"CORE\0", 1, &[7; 10]);
    notes.extend(note(b"LINUX\0", 0x202, b"abc"));
    let notes_at = 1024;
    let list = [
        (NOTE, 0, notes_at, 0, notes.len() as u64, 0),
        (LOAD, 5, 4096, 0x1000, 0x1000, 0x1000),
        (LOAD, 6, 0x3000, 0x3000, 0x1000, 0x2000),
        (LOAD, 4, 0x2000, 0x2000, 0x1000, 0x1000),
        (LOAD, 6, 0x4000, 0x9000, 0, 0x1000),
    ];
    let mut bytes = headers(&list, 4, xnum);
    let end = bytes.len();
    bytes.resize(notes_at as usize, 0);
    bytes.extend_from_slice(&notes);
    for (page, byte) in [(1, b'a'), (2, b'b'), (3, b'c')] {
        bytes.resize(page * 4096, 0);
        bytes.resize((page + 1) * 4096, byte);
    }
    (bytes, end)
}

#[test]
fn a_whole_core_tells_what_it_holds() {
    for xnum in [false, true] {
        let core = CoreFile::open(file(&small(xnum).0)).unwrap();
        core.check_whole().unwrap();
        assert_eq!(core.expected_size(), 0x4000);
        let starts: Vec<_> = core
            .segments()
            .iter()
            .map(|segment| (segment.start, segment.flags))
            .collect();
        assert_eq!(starts, [(0x1000, 5), (0x2000, 4), (0x3000, 6), (0x9000, 6)]);
        let notes = core.notes().unwrap();
        assert_eq!(
            (
                notes[0].name.as_str(),
                notes[0].kind,
                notes[0].range.clone()
            ),
            ("CORE", 1, 1044..1054)
        );
        assert_eq!(
            (
                notes[1].name.as_str(),
                notes[1].kind,
                notes[1].range.clone()
            ),
            ("LINUX", 0x202, 1076..1079)
        );
    }
}

#[test]
fn memory_is_read_across_segments_and_absent_memory_is_no_zero() {
    let core = CoreFile::open(file(&small(false).0)).unwrap();
    let mut buf = [0; 0x2800];
    assert_eq!(core.read_at(0x1800, &mut buf).unwrap(), 0x2800);
    assert_eq!(
        (buf[0x7ff], buf[0x800], buf[0x17ff], buf[0x1800]),
        (b'a', b'b', b'b', b'c')
    );
    assert_eq!(core.read_at(0x3ffe, &mut buf).unwrap(), 2);
    for address in [0, 0xfff, 0x4000, 0x9000, u64::MAX] {
        assert!(
            matches!(
                core.read_at(address, &mut buf),
                Err(CoreError::Missing { .. })
            ),
            "{address:#x}"
        );
    }
    assert_eq!(core.read_at(0, &mut []).unwrap(), 0);
}

#[test]
fn missing_ranges_are_what_no_segment_has_bytes_for() {
    let core = CoreFile::open(file(&small(false).0)).unwrap();
    assert_eq!(core.missing(&[]), []);
    assert_eq!(core.missing(&[0x1000..0x4000]), []);
    assert_eq!(
        core.missing(&[0x9800..0x9900, 0..0x5000]),
        [0..0x1000, 0x4000..0x5000, 0x9800..0x9900]
    );
    // Overlapping and touching ranges are joined.
    assert_eq!(
        core.missing(&[0x6000..0x7000, 0x5000..0x6800, 0x7000..0x7001]),
        [0x5000..0x7001]
    );
    assert_eq!(
        core.missing(&[u64::MAX - 1..u64::MAX]),
        [u64::MAX - 1..u64::MAX]
    );
    let (bytes, _) = small(false);
    let cut = CoreFile::open(file(&bytes[..0x2800])).unwrap();
    assert_eq!(cut.missing(&[0x1000..0x4000]), [0x2800..0x4000]);
}

#[test]
fn missing_agrees_with_a_byte_by_byte_count() {
    // Overlapping segments as only a hostile core has them.
    let list = [
        (LOAD, 6, 1000, 10, 30, 30),
        (LOAD, 6, 1000, 12, 4, 9),
        (LOAD, 6, 1000, 12, 0, 0),
        (LOAD, 6, 1000, 38, 10, 20),
        (LOAD, 6, 1000, 70, 1, 1),
    ];
    let mut bytes = headers(&list, 4, false);
    bytes.resize(2000, 0);
    let core = CoreFile::open(file(&bytes)).unwrap();
    let held = |at: u64| list.iter().any(|l| (l.3..l.3 + l.4).contains(&at));
    for start in 0..80 {
        for end in start..80 {
            let ranges = [start..end, 69..75, start + 3..end + 1];
            let missing = core.missing(&ranges);
            for at in 0..85 {
                let wanted = ranges.iter().any(|range| range.contains(&at));
                let told = missing.iter().any(|range| range.contains(&at));
                assert_eq!(told, wanted && !held(at), "{at} of {ranges:?}: {missing:?}");
            }
        }
    }
}

#[test]
fn cut_at_every_byte_it_is_truncated_and_never_a_panic() {
    for xnum in [false, true] {
        let (bytes, headers_end) = small(xnum);
        for cut in (0..headers_end + 2).chain([1100, 4095, 0x2fff, 0x3fff]) {
            let result = CoreFile::open(file(&bytes[..cut])).and_then(|core| core.check_whole());
            match result {
                Err(CoreError::Truncated { expected, actual }) => {
                    assert!(
                        expected > actual && actual == cut as u64,
                        "{cut}: {expected} {actual}"
                    );
                }
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_changed_header_byte_is_survived() {
    for xnum in [false, true] {
        let (bytes, headers_end) = small(xnum);
        for at in (0..headers_end).chain(1024..1100) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let file = file(&bytes);
                let _ = build_id(&file);
                if let Ok(core) = CoreFile::open(file) {
                    let _ = core.check_whole();
                    let _ = core.notes();
                    let _ = core.missing(&[0..u64::MAX]);
                    let _ = core.read_at(0x1800, &mut [0; 8192]);
                }
            }
        }
    }
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let open = |bytes: &[u8]| CoreFile::open(file(bytes)).unwrap_err();
    assert!(matches!(open(b"#!/bin/sh\nexit 0"), CoreError::NotElf));
    assert!(matches!(
        open(&headers(&[], 3, false)),
        CoreError::NotCore { e_type: 3 }
    ));
    let mut big = small(false).0;
    big[5] = 2;
    assert!(matches!(open(&big), CoreError::Unsupported(_)));
    let overflow = [(LOAD, 6, u64::MAX, 0, 10, 10)];
    assert!(matches!(
        open(&headers(&overflow, 4, false)),
        CoreError::Damaged(_)
    ));
    let empty = CoreFile::open(file(&headers(&[], 4, false))).unwrap();
    assert!(matches!(empty.check_whole(), Err(CoreError::Damaged(_))));
}

#[test]
fn a_claim_of_millions_of_headers_costs_nothing() {
    let mut bytes = headers(&[], 4, true);
    let section = bytes.len() - 64;
    bytes[section + 44..section + 48].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        CoreFile::open(file(&bytes)),
        Err(CoreError::Damaged(_))
    ));
    bytes[section + 44..section + 48].copy_from_slice(&(4_u32 << 20).to_le_bytes());
    assert!(matches!(
        CoreFile::open(file(&bytes)),
        Err(CoreError::Truncated { .. })
    ));
}

#[test]
fn more_headers_than_sixteen_bits_count() {
    let count = 70_000_u64;
    let mut list: Vec<Header> = (0..count)
        .map(|i| (LOAD, 6, 0x1000, 0x1000 * (i + 1), u64::from(i == 0), 0x1000))
        .collect();
    list[1] = (NOTE, 0, 0, 0, 0, 0);
    let mut bytes = headers(&list, 4, true);
    bytes.resize(bytes.len().max(0x1001), 0);
    let core = CoreFile::open(file(&bytes)).unwrap();
    assert_eq!(core.segments().len() as u64, count - 1);
}

#[test]
fn a_build_id_is_found_behind_other_notes() {
    let mut notes = note(b"GNU\0", 1, &[0; 16]);
    notes.extend(note(b"GNU\0", 3, &[0xab; 20]));
    let mut bytes = headers(&[(NOTE, 4, 120, 0, notes.len() as u64, 0)], 3, false);
    bytes.extend_from_slice(&notes);
    assert_eq!(build_id(&file(&bytes)).unwrap(), Some(vec![0xab; 20]));
    assert_eq!(build_id(&file(&headers(&[], 3, false))).unwrap(), None);
    let end = bytes.len();
    for cut in 0..end {
        assert!(build_id(&file(&bytes[..cut])).is_err(), "cut at {cut}");
    }
}

#[test]
fn the_build_id_of_this_program_is_what_readelf_says() {
    let path = std::env::current_exe().unwrap();
    let Ok(output) = std::process::Command::new("readelf")
        .arg("-n")
        .arg(&path)
        .output()
    else {
        eprintln!("skipped: there is no readelf here");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = text
        .split("Build ID: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let id = build_id(&File::open(path).unwrap()).unwrap();
    let id = id.map(|id| {
        id.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    });
    assert_eq!(id.as_deref(), told);
}
