//! Random layouts of memory, planned and written out, read back by a small reader of ELF that shares nothing with the
//! writer.

use std::collections::BTreeMap;
use std::io::Write;

use super::*;

/// What the machine that the tests run on has.
static PAGE: std::sync::LazyLock<u64> = std::sync::LazyLock::new(page_size);

/// xorshift: the same layouts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A made-up process: what its maps, pagemap and mem would say.
struct Process {
    maps: String,
    pages: File,
    memory: File,
    /// The pages that were written, by address: each is filled with one byte.
    written: BTreeMap<u64, u8>,
}

impl Process {
    fn new() -> Process {
        Process {
            maps: String::new(),
            pages: tempfile::tempfile().unwrap(),
            memory: tempfile::tempfile().unwrap(),
            written: BTreeMap::new(),
        }
    }

    fn map(&mut self, start: u64, pages: u64, permissions: &str, rest: &str) {
        let end = start + pages * *PAGE;
        self.maps += &format!("{start:x}-{end:x} {permissions} {rest}\n");
    }

    /// Entry bits as the kernel has them: present 63, swapped 62, of a file 61.
    fn entry(&self, address: u64, bits: u64) {
        self.pages
            .write_all_at(&bits.to_ne_bytes(), address / *PAGE * 8)
            .unwrap();
    }

    fn write(&mut self, address: u64, byte: u8) {
        self.entry(
            address,
            if byte.is_multiple_of(5) {
                1 << 62
            } else {
                1 << 63
            },
        );
        self.memory
            .write_all_at(&vec![byte; *PAGE as usize], address)
            .unwrap();
        self.written.insert(address, byte);
    }

    fn plan(&self, wanted: &Wanted, heap: &[Range<u64>], threads: &[Thread]) -> Image {
        // As the kernel ends both files: with the address space.
        self.pages.set_len(1 << 36).unwrap();
        Image::plan(&Sources {
            mappings: &crate::maps::parse(self.maps.as_bytes()),
            dont_dump: &[],
            not_told: Some(&[]),
            pages: &self.pages,
            own_pages: None,
            memory: &self.memory,
            about: &About::default(),
            threads,
            made_by: "{}",
            heap,
            wanted,
        })
        .unwrap()
    }

    fn dump(&self, image: &Image) -> Vec<u8> {
        let mut out = Vec::new();
        for part in image.parts() {
            match part {
                Part::Bytes(bytes) => out.write_all(bytes).unwrap(),
                Part::Zeros(length) => out.resize(out.len() + length as usize, 0),
                Part::Memory(range) => {
                    let at = out.len();
                    out.resize(at + (range.end - range.start) as usize, 0);
                    self.memory
                        .read_exact_at(&mut out[at..], range.start)
                        .unwrap();
                }
            }
        }
        assert_eq!(out.len() as u64, image.size());
        out
    }
}

/// (type, flags, offset, address, bytes in the file, bytes in memory) of every program header.
fn headers(core: &[u8]) -> Vec<(u32, u32, u64, u64, u64, u64)> {
    let half = |at: usize| u16::from_le_bytes(core[at..at + 2].try_into().unwrap());
    let word = |at: usize| u32::from_le_bytes(core[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_le_bytes(core[at..at + 8].try_into().unwrap());
    assert_eq!(&core[..4], b"\x7fELF");
    assert_eq!(half(16), 4, "ET_CORE");
    assert_eq!(half(54), 56);
    let count = match half(56) {
        0xffff => {
            assert_eq!((half(58), half(60)), (64, 1), "one section header");
            word(long(40) as usize + 44) as usize
        }
        count => {
            assert_eq!(long(40), 0, "no section headers");
            usize::from(count)
        }
    };
    (0..count)
        .map(|index| long(32) as usize + index * 56)
        .map(|at| {
            (
                word(at),
                word(at + 4),
                long(at + 8),
                long(at + 16),
                long(at + 32),
                long(at + 40),
            )
        })
        .collect()
}

/// The page at an address, as a debugger would find it; None where the core has no bytes of it.
fn page<'a>(
    core: &'a [u8],
    headers: &[(u32, u32, u64, u64, u64, u64)],
    at: u64,
) -> Option<&'a [u8]> {
    let index = headers.partition_point(|header| header.0 == PT_NOTE || header.3 <= at) - 1;
    let (_, _, offset, start, size, _) = headers[index];
    (start <= at && at < start + size)
        .then(|| &core[(offset + at - start) as usize..][..*PAGE as usize])
}

const FILE_PAGE: u64 = 1 << 63 | 1 << 61;

/// Private memory, with and without a file, holes, stretches that were written, and what is left out.
fn random_process(random: &mut Random) -> (Process, Vec<(u64, u64, &'static str)>) {
    let mut process = Process::new();
    let mut mappings = Vec::new();
    let mut at = 0x10000 + random.below(64) * *PAGE;
    for _ in 0..1 + random.below(40) {
        at += random.below(3) * random.below(1000) * *PAGE;
        let pages = 1 + random.below(60);
        let kind = match random.below(6) {
            0 => "file",
            1 => "guard",
            2 => "device",
            _ => "anonymous",
        };
        let (permissions, rest) = match kind {
            "file" => ("r-xp", "00002000 fe:00 12 /lib/a.so"),
            "guard" => ("---p", "00000000 00:00 0"),
            "device" => ("rw-s", "00000000 00:05 7 /dev/dri/card0"),
            _ => ("rw-p", "00000000 00:00 0"),
        };
        process.map(at, pages, permissions, rest);
        let density = random.below(4);
        for page in 0..pages {
            let address = at + page * *PAGE;
            if random.below(4) < density && kind != "device" {
                process.write(address, 1 + random.below(255) as u8);
            } else if kind == "file" {
                process.entry(address, FILE_PAGE);
            }
        }
        mappings.push((at, pages, kind));
        at += pages * *PAGE;
    }
    (process, mappings)
}

#[test]
fn random_layouts_are_read_back_equal() {
    let mut random = Random(0x5eed_5eed);
    for round in 0..200 {
        let (process, mappings) = random_process(&mut random);
        let image = process.plan(&Wanted::default(), &[], &[Thread::default()]);
        let core = process.dump(&image);
        let headers = headers(&core);
        assert_eq!(headers[0].0, PT_NOTE);
        // Every byte of every mapping is in one segment, and in one only.
        let loads = &headers[1..];
        let spans: Vec<_> = loads.iter().map(|load| load.3..load.3 + load.5).collect();
        assert!(
            spans.windows(2).all(|two| two[0].end <= two[1].start),
            "round {round}"
        );
        let total: u64 = spans.iter().map(|span| span.end - span.start).sum();
        assert_eq!(
            total,
            mappings
                .iter()
                .map(|(_, pages, _)| pages * *PAGE)
                .sum::<u64>()
        );
        assert!(
            loads
                .iter()
                .all(|load| load.2.is_multiple_of(*PAGE) && load.4 <= load.5)
        );
        for (start, pages, kind) in mappings {
            for address in (start..start + pages * *PAGE).step_by(*PAGE as usize) {
                let found = page(&core, &headers, address);
                match (process.written.get(&address), kind) {
                    (Some(byte), _) => assert!(
                        found.is_some_and(|page| page.iter().all(|other| other == byte)),
                        "round {round}: {kind} at {address:#x}"
                    ),
                    // As in the file: zeros would be believed.
                    (None, "file" | "device") => assert_eq!(found, None, "{address:#x}"),
                    (None, _) => {
                        assert!(found.is_none_or(|page| page.iter().all(|byte| *byte == 0)))
                    }
                }
            }
        }
        let data = process.written.len() as u64 * *PAGE;
        assert_eq!(image.data_size(), data);
    }
}

#[test]
fn a_size_limit_is_kept_and_what_went_is_listed() {
    let mut random = Random(0xabcd_ef01);
    for _ in 0..100 {
        let (process, mappings) = random_process(&mut random);
        let whole = process.plan(&Wanted::default(), &[], &[Thread::default()]);
        let most = 1 + random.below(whole.size());
        let heap: Vec<_> = mappings
            .iter()
            .filter(|(start, ..)| (start / *PAGE).is_multiple_of(3))
            .map(|(start, pages, _)| *start..start + pages * *PAGE)
            .collect();
        let wanted = Wanted {
            max_size: Some(most),
            ..Wanted::default()
        };
        let image = process.plan(&wanted, &heap, &[Thread::default()]);
        let core = process.dump(&image);
        let headers = headers(&core);
        let in_file: u64 = headers[1..].iter().map(|load| load.4).sum();
        assert!(
            image.size() <= most || in_file == 0,
            "{} of {most}",
            image.size()
        );
        let gone: Vec<_> = image
            .skipped
            .iter()
            .filter(|one| one.reason.starts_with("maxSize"))
            .collect();
        let is_gone = |at: u64| gone.iter().any(|one| one.range.contains(&at));
        for (address, byte) in &process.written {
            match page(&core, &headers, *address) {
                Some(page) => assert!(!is_gone(*address) && page.iter().all(|other| other == byte)),
                None => assert!(is_gone(*address), "{address:#x} went without a word"),
            }
        }
        // What went of files and was written is in the vendor note, lest it is taken from the files.
        let of_file = |at: u64| {
            let (_, _, kind) = mappings[mappings.partition_point(|one| one.0 <= at) - 1];
            kind == "file"
        };
        let gone_of_files = process
            .written
            .keys()
            .filter(|at| of_file(**at) && is_gone(**at));
        let noted = |at: u64| image.not_as_in_file.iter().any(|range| range.contains(&at));
        let mut count = 0;
        for at in gone_of_files {
            assert!(noted(*at), "{at:#x} of a file went without a note");
            count += 1;
        }
        let note = core[..headers[1].2 as usize]
            .windows(7)
            .any(|bytes| bytes == b"leftOut");
        assert!(count == 0 || note);
        // Other native memory goes before V8's pages, and those before what belongs to files.
        let rank = |at: u64| {
            let (start, _, kind) = *mappings[..mappings.partition_point(|one| one.0 <= at)]
                .last()
                .unwrap();
            match kind {
                "file" => 2,
                _ if heap.iter().any(|range| range.contains(&start)) => 1,
                _ => 0,
            }
        };
        let worst = process
            .written
            .keys()
            .filter(|at| is_gone(**at))
            .map(|at| rank(*at));
        if let Some(worst) = worst.max() {
            assert!(
                process
                    .written
                    .keys()
                    .all(|at| rank(*at) >= worst || is_gone(*at))
            );
        }
        let bytes = process.written.keys().filter(|at| is_gone(**at)).count() as u64 * *PAGE;
        assert_eq!(image.left_out, bytes);
    }
}

/// Pages of a process that are there, from page to page of one mapping.
fn fill(process: &mut Process, pages: Range<u64>, byte: u8) {
    for page in pages {
        process.write(page * *PAGE, byte);
    }
}

#[test]
fn of_a_mapping_with_large_buffers_and_more_only_buffers_go_and_no_more_than_needed() {
    let mib = (1 << 20) / *PAGE;
    let mut process = Process::new();
    let start = 0x1000;
    process.map(start * *PAGE, 100 * mib, "rw-p", "00000000 00:00 0");
    // What is of use, two blocks that malloc got for one buffer each, and more of use; no gap between.
    fill(&mut process, start..start + 3 * mib, 1);
    let small = start + 3 * mib;
    let large = small + 10 * mib;
    let after = large + 20 * mib;
    for (at, end) in [(small, large), (large, after)] {
        fill(&mut process, at..end, 2);
        let header = [0, ((end - at) * *PAGE) | 2];
        for (word, place) in header.into_iter().zip([0, 8]) {
            process
                .memory
                .write_all_at(&word.to_ne_bytes(), at * *PAGE + place)
                .unwrap();
        }
    }
    fill(&mut process, after..after + 4 * mib, 3);

    let whole = process.plan(&Wanted::default(), &[], &[Thread::default()]);
    assert_eq!((whole.left_out, whole.skipped.len()), (0, 0));
    let plan = |most| {
        let wanted = Wanted {
            max_size: Some(most),
            ..Wanted::default()
        };
        let image = process.plan(&wanted, &[], &[Thread::default()]);
        assert!(image.size() <= most, "{} of {most}", image.size());
        let went: Vec<_> = image
            .skipped
            .iter()
            .map(|one| {
                (
                    one.range.start / *PAGE,
                    (one.range.end - one.range.start) / *PAGE,
                )
            })
            .collect();
        (went, image.left_out)
    };
    // The room behind was never touched: nothing is lost with it.
    let (went, lost) = plan(whole.size() - (60 << 20));
    assert_eq!((went, lost), (vec![(after + 4 * mib, 60 * mib)], 0));
    let (went, lost) = plan(whole.size() - (63 << 20) - (15 << 20));
    // The larger one first, of that the lower part.
    assert_eq!(went[1], (large, 15 * mib));
    assert_eq!(lost, 15 << 20);
    let (went, _) = plan(whole.size() - (63 << 20) - (25 << 20));
    assert_eq!(went[1..], [(small, 5 * mib), (large, 20 * mib)]);
    // Of use is what goes then.
    let (went, lost) = plan(whole.size() - (95 << 20));
    assert_eq!(
        went.iter().map(|(_, pages)| pages).sum::<u64>() * *PAGE,
        95 << 20
    );
    assert_eq!(lost, 32 << 20);
}

#[test]
fn of_the_heap_of_brk_large_chunks_go_before_all_others() {
    let mib = (1 << 20) / *PAGE;
    let mut process = Process::new();
    process.map(0x1000 * *PAGE, 30 * mib, "rw-p", "00000000 00:00 0 [heap]");
    fill(&mut process, 0x1000..0x1000 + 30 * mib, 6);
    // Small ones of 48 bytes, large ones among them, up to the end; none begins where a page does.
    let end = 0x1000 * *PAGE + (30 << 20);
    let (mut at, mut large) = (0x1000 * *PAGE, Vec::new());
    for round in 0u64.. {
        let size = match round % 1000 {
            999 => (3 << 20) + 0x30,
            _ => 0x30,
        };
        let size = if at + size + 0x1000 > end {
            end - at
        } else {
            size
        };
        if size >= 3 << 20 {
            large.push(at..at + size);
        }
        let header = (size | 1).to_ne_bytes();
        process.memory.write_all_at(&header, at + 8).unwrap();
        at += size;
        if at == end {
            break;
        }
    }
    let whole = process.plan(&Wanted::default(), &[], &[Thread::default()]);
    let wanted = Wanted {
        max_size: Some(whole.size() - (20 << 20)),
        ..Wanted::default()
    };
    let image = process.plan(&wanted, &[], &[Thread::default()]);
    assert!(image.left_out >= 20 << 20);
    for one in &image.skipped {
        let inside =
            |chunk: &Range<u64>| chunk.start < one.range.start && one.range.end <= chunk.end;
        assert!(large.iter().any(inside), "{one:?} of {large:x?}");
    }
}

#[test]
fn of_a_mapping_with_a_stack_in_it_the_stack_stays() {
    let mib = (1 << 20) / *PAGE;
    let mut process = Process::new();
    process.map(0x1000 * *PAGE, 40 * mib, "rw-p", "00000000 00:00 0");
    fill(&mut process, 0x1000..0x1000 + 40 * mib, 5);
    let mut thread = Thread::default();
    let pointer = if cfg!(target_arch = "x86_64") { 19 } else { 31 };
    let top = (0x1000 + 12 * mib) * *PAGE;
    thread.registers.general[pointer] = top - 64;
    let wanted = Wanted {
        max_size: Some(1),
        ..Wanted::default()
    };
    let core = process.dump(&process.plan(&wanted, &[], &[thread]));
    let headers = headers(&core);
    for (at, stays) in [
        (top - *PAGE, true),
        (top + (4 << 20), true),
        (top - (1 << 20), false),
        (top + (20 << 20), false),
    ] {
        assert_eq!(page(&core, &headers, at).is_some(), stays, "{at:#x}");
    }
}

#[test]
fn headers_of_elf_files_never_go_and_what_went_of_files_is_noted() {
    let mut process = Process::new();
    process.map(0x10000, 4, "rw-p", "00000000 fe:00 12 /lib/a.so");
    process.write(0x11000, 7);
    process.memory.write_all_at(b"\x7fELF", 0x10000).unwrap();
    let wanted = Wanted {
        max_size: Some(1),
        ..Wanted::default()
    };
    let image = process.plan(&wanted, &[], &[Thread::default()]);
    let core = process.dump(&image);
    let headers = headers(&core);
    assert!(page(&core, &headers, 0x10000).is_some_and(|page| page.starts_with(b"\x7fELF")));
    assert_eq!(page(&core, &headers, 0x11000), None);
    let note = br#"{"leftOut":[["0x11000","0x12000"]]}"#;
    assert!(core.windows(note.len()).any(|bytes| bytes == note));
}

#[test]
fn stacks_never_go() {
    let mut process = Process::new();
    process.map(0x10000, 16, "rw-p", "00000000 00:00 0");
    process.map(0x40000, 16, "rw-p", "00000000 00:00 0 [stack]");
    process.write(0x11000, 7);
    process.write(0x41000, 9);
    let mut thread = Thread::default();
    let pointer = if cfg!(target_arch = "x86_64") { 19 } else { 31 };
    thread.registers.general[pointer] = 0x41080;
    let wanted = Wanted {
        max_size: Some(1),
        ..Wanted::default()
    };
    let core = process.dump(&process.plan(&wanted, &[], &[thread]));
    let headers = headers(&core);
    assert_eq!(page(&core, &headers, 0x11000), None);
    assert!(page(&core, &headers, 0x41000).is_some_and(|page| page[0] == 9));
}

#[test]
fn more_segments_than_the_header_can_count() {
    for count in [65_533, 65_534, 65_535, 70_000_u64] {
        let mut process = Process::new();
        for index in 0..count {
            process.map(0x10000 + 2 * index * *PAGE, 1, "rw-p", "00000000 00:00 0");
        }
        let last = 0x10000 + 2 * (count - 1) * *PAGE;
        process.write(0x10000, 3);
        process.write(last, 4);
        let core = process.dump(&process.plan(&Wanted::default(), &[], &[Thread::default()]));
        let headers = headers(&core);
        assert_eq!(headers.len() as u64, count + 1);
        assert_eq!(
            u16::from_le_bytes([core[56], core[57]]) == 0xffff,
            count + 1 >= 0xffff
        );
        assert_eq!(page(&core, &headers, 0x10000).unwrap()[0], 3);
        assert_eq!(page(&core, &headers, last).unwrap()[*PAGE as usize - 1], 4);
    }
}

#[test]
fn private_memory_that_was_never_touched_is_in_the_note() {
    let page = *PAGE;
    let mut process = Process::new();
    // Touched at its beginning, and the rest are holes of the core; never touched; not to be read; shared; of a file.
    process.map(0x10000, 4, "rw-p", "00000000 00:00 0");
    process.write(0x10000, 7);
    process.map(0x20000, 2, "rw-p", "00000000 00:00 0");
    process.map(0x20000 + 2 * page, 2, "r--p", "00000000 00:00 0");
    process.map(0x40000, 2, "---p", "00000000 00:00 0");
    process.map(0x50000, 2, "rw-s", "00000000 00:00 9 /dev/zero (deleted)");
    process.map(0x60000, 2, "rw-p", "00000000 08:01 9 /a/file");
    let image = process.plan(&Wanted::default(), &[], &[]);
    let never = 0x20000..0x20000 + 4 * page;
    assert_eq!(image.untouched, std::slice::from_ref(&never));
    let told = format!(r#""untouched":[["{:#x}","{:#x}"]]"#, never.start, never.end);
    let core = process.dump(&image);
    assert!(
        core.windows(told.len())
            .any(|bytes| bytes == told.as_bytes())
    );
}

#[test]
fn what_the_fork_wiped_is_not_said_to_be_untouched() {
    let mapping = &crate::maps::parse(b"10000-20000 rw-p 00000000 00:00 0 \n")[0];
    assert!(is_told(mapping, Some(&[0..0x10000, 0x20000..0x30000])));
    assert!(!is_told(mapping, Some(&[0x1f000..0x30000])));
    assert!(!is_told(mapping, None));
}
