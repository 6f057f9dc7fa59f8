//! What tells of a module where it lies, where its headers are not in the core.

use crate::image::Image;

/// What is known of a module whose headers are not in the core.
#[derive(Debug, Clone)]
pub(crate) enum Anchor {
    /// What the kernel told the program of itself: where its program headers are, how many, and its entry point.
    Program {
        headers: u64,
        count: Option<u64>,
        entry: Option<u64>,
    },
    /// What the dynamic linker knows: the bias, where the dynamic section lies, and its entries.
    Linked {
        bias: u64,
        dynamic: u64,
        entries: Vec<(u64, u64)>,
    },
}

impl Anchor {
    /// The bias, if this can be the file: its headers, and the entries of its dynamic section.
    pub(crate) fn fits(&self, file: &Image, file_entries: &[(u64, u64)]) -> Option<u64> {
        match self {
            Anchor::Program {
                headers,
                count,
                entry,
            } => {
                let bias = headers.wrapping_sub(file.headers_address()?);
                let fits = count.is_none_or(|count| count == file.headers.len() as u64)
                    && entry.is_none_or(|entry| entry == bias.wrapping_add(file.entry));
                (fits && bias.is_multiple_of(4096)).then_some(bias)
            }
            Anchor::Linked {
                bias,
                dynamic,
                entries,
            } => {
                /// Sizes and counts, which nobody relocates: DT_PLTRELSZ, DT_RELASZ, DT_STRSZ, DT_INIT_ARRAYSZ,
                /// DT_FINI_ARRAYSZ, DT_RELACOUNT, DT_VERDEFNUM, DT_VERNEEDNUM.
                const SIZES: [u64; 8] = [2, 8, 10, 27, 28, 0x6fff_fff9, 0x6fff_fffd, 0x6fff_ffff];
                let sizes = |entries: &[(u64, u64)]| {
                    let sizes = entries.iter().filter(|(kind, _)| SIZES.contains(kind));
                    sizes.copied().collect::<Vec<_>>()
                };
                let place = bias.wrapping_add(file.dynamic_address()?);
                let ours = sizes(entries);
                (place == *dynamic && !ours.is_empty() && ours == sizes(file_entries))
                    .then_some(*bias)
            }
        }
    }
}
