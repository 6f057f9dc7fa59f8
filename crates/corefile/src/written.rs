//! What a mapped file cannot tell: memory that the process may have written, and that the core lacks.
//!
//! A core does not say why it has no bytes of a mapping. The kernel and gcore leave out what is as in its file, but also
//! what they were told to leave out (`coredump_filter` without private memory, MADV_DONTDUMP), and what came behind the
//! place where a core was cut off. The file has the values from before the program ran, relocations not applied: whoever
//! believed them would read what never was. So memory that could be written, by its mapping or when its module was
//! loaded (RELRO), stays missing.
//!
//! Our own copies by the direct way are made page by page: there a page that the core lacks is the one in the file, but
//! for those that the vendor note lists as left out.

use std::ops::Range;

use crate::CoreFile;
use crate::about::About;
use crate::module::Module;

/// What must not be filled in from files.
pub(crate) struct Written {
    /// Whatever the module: sorted, without overlaps.
    everywhere: Vec<Range<u64>>,
    /// For copies by the direct way: what the headers promise and the file does not have, sorted.
    cut_off: Option<Vec<Range<u64>>>,
}

impl Written {
    /// From a core's headers, and what its notes say.
    pub(crate) fn of(core: &CoreFile, about: &About) -> Written {
        let segments = || core.segments().iter();
        let writable = || segments().filter(|segment| segment.flags & 2 != 0);
        let capture = about.capture.as_ref();
        let direct = capture.filter(|capture| capture.method.as_deref() == Some("direct"));
        let Some(direct) = direct else {
            let all = writable().map(|segment| segment.start..segment.end);
            return Written {
                everywhere: joined(all.collect()),
                cut_off: None,
            };
        };
        let cut_off = |segment: &crate::Segment| {
            core.held(segment).end..segment.start.saturating_add(segment.file_size)
        };
        let mut everywhere = direct.left_out.clone();
        everywhere.extend(writable().map(cut_off));
        Written {
            everywhere: joined(everywhere),
            cut_off: Some(joined(segments().map(cut_off).collect())),
        }
    }

    /// What must not be filled in, whatever the module; sorted, without overlaps.
    pub(crate) fn everywhere(&self) -> &[Range<u64>] {
        &self.everywhere
    }

    /// What else must not be filled in from this module's file; sorted, without overlaps.
    pub(crate) fn of_module(&self, module: &Module) -> Vec<Range<u64>> {
        let image = module.image.iter();
        let loaded = image.flat_map(|image| {
            let writable = image.load().filter(|load| load.flags & 2 != 0);
            // The linker fills whole pages.
            writable.filter_map(|load| {
                let place = image.place(load)?;
                let end = place.end.checked_next_multiple_of(4096)?;
                Some(place.start / 4096 * 4096..end)
            })
        });
        let Some(cut_off) = &self.cut_off else {
            return joined(loaded.collect());
        };
        let overlap = |loaded: Range<u64>| {
            let first = cut_off.partition_point(|cut| cut.end <= loaded.start);
            cut_off[first..]
                .iter()
                .take_while(move |cut| cut.start < loaded.end)
                .map(move |cut| cut.start.max(loaded.start)..cut.end.min(loaded.end))
        };
        joined(loaded.flat_map(overlap).collect())
    }
}

/// Sorted, without what is empty and without overlaps.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::about::CaptureNote;
    use crate::memory::{Backing, Memory};

    const W: u32 = 6;
    const R: u32 = 4;

    /// A core of these segments: flags, first address, pages in the file, pages; it ends where `has` says.
    fn core(segments: &[(u32, u64, u64, u64)], has: u64) -> CoreFile {
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend([4, 0, 62, 0, 1, 0, 0, 0]);
        bytes.extend([0_u64, 64, 0].map(u64::to_le_bytes).concat());
        bytes.extend([
            0,
            0,
            0,
            0,
            64,
            0,
            56,
            0,
            segments.len() as u8,
            0,
            64,
            0,
            0,
            0,
            0,
            0,
        ]);
        let mut offset = 4096_u64;
        for (flags, start, held, pages) in segments {
            bytes.extend([1, *flags].map(u32::to_le_bytes).concat());
            let words = [offset, *start, 0, held * 4096, pages * 4096, 4096];
            bytes.extend(words.map(u64::to_le_bytes).concat());
            offset += held * 4096;
        }
        bytes.resize(4096 + has as usize * 4096, 0);
        CoreFile::open(bytes).unwrap()
    }

    #[test]
    fn what_could_be_written_is_not_told_by_files() {
        // Written and there, writable and not there, read-only.
        let core = core(
            &[(W, 0x10000, 2, 2), (W, 0x20000, 0, 3), (R, 0x30000, 0, 1)],
            2,
        );
        let written = Written::of(&core, &About::default());
        assert_eq!(written.everywhere, [0x10000..0x12000, 0x20000..0x23000]);
    }

    #[test]
    fn what_was_never_touched_is_zero_and_the_rest_is_missing() {
        let core = core(&[(W, 0x10000, 1, 3), (W, 0x20000, 0, 3)], 1);
        let mut memory = Memory::new(&core);
        memory.zero(&[0x21000..0x22000, 0x10000..0x11000, 0x30000..0x31000]);
        memory.settle();
        let backing = |at| memory.range_at(at).map(|range| range.backing);
        assert_eq!(memory.read_u32(0x21ffc).unwrap(), 0);
        assert!(matches!(backing(0x10000), Some(Backing::Core { .. })));
        for at in [0x11000, 0x20ffc, 0x22000] {
            assert_eq!(backing(at), Some(Backing::Missing), "{at:#x}");
        }
        assert_eq!(backing(0x30000), None);
    }

    #[test]
    fn a_copy_page_by_page_says_what_it_lacks() {
        let capture = CaptureNote {
            method: Some("direct".to_owned()),
            left_out: vec![0x21000..0x22000, 0x9000..0x9000],
            ..CaptureNote::default()
        };
        let about = About {
            capture: Some(capture),
            ..About::default()
        };
        let segments = [(W, 0x10000, 2, 2), (W, 0x20000, 0, 3), (R, 0x30000, 1, 2)];
        let written = Written::of(&core(&segments, 3), &about);
        assert_eq!(written.everywhere, [0x21000..0x22000]);
        assert_eq!(written.cut_off, Some(vec![]));
        // Cut off behind the first page.
        let written = Written::of(&core(&segments, 1), &about);
        assert_eq!(written.everywhere, [0x11000..0x12000, 0x21000..0x22000]);
        assert_eq!(
            written.cut_off,
            Some(vec![0x11000..0x12000, 0x30000..0x31000])
        );
    }
}
