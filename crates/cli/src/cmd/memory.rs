use std::io;

use clap::Args;
use serde::Serialize;
use stillcore_corefile::Process;

use crate::address::Address;
use crate::args::CoreArgs;
use crate::escape::lossy;
use crate::output::{Answer, BOLD, DIM, RED, Text};
use crate::problems::Problems;
use crate::session::Session;
use crate::size::{size, size_or_dash};
use crate::table::{Align, Table};

/// Lists the mappings of the process, and where the bytes of each are: in the core, in a file, zero, or missing
///
/// What a core leaves out of a mapped file is read from the file, if it is found and is the right one (FILE). MISSING
/// bytes are nowhere: the kernel left them out (coredump_filter, MADV_DONTDUMP), the core is cut off, or the file
/// was not found. They never read as zeros; and what may have been written is never read from a file. ZERO is memory that
/// was never touched (a hole of a sparse core), or lies behind the end of a file.
///
///   $ stillcore memory core.1234
///            START             END  PERM    SIZE    CORE    FILE  ZERO  MISSING  WHAT
///   0x55ad11efd000  0x55ad11efe000  r--   4.0 KB  4.0 KB       -     -        -  /srv/crash
///   0x55ad11efe000  0x55ad11eff000  r-x   4.0 KB       -  4.0 KB     -        -  /srv/crash
///   0x55ad36d92000  0x55ad36db3000  rw-   132 KB  132 KB       -     -        -  -
///   0x7f5e6b218000  0x7f5e6b219000  ---   4.0 KB       -       -     -   4.0 KB  -
///   0x7f5e6b219000  0x7f5e6ba19000  rw-   8.0 MB  8.0 MB       -     -        -  [stack of 25278]
///   ...
///                -               -  -      18 MB   16 MB  2.0 MB     -   8.0 KB  28 mappings
///
/// Anonymous memory is told by what lies in it, where that is known: [stack], [stack of 1235], [vdso].
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Memory {
    #[command(flatten)]
    pub core: CoreArgs,
}

/// The mappings in the order of their addresses.
#[derive(Debug, Serialize)]
pub struct Mappings {
    /// The mappings.
    pub mappings: Vec<Mapping>,
    /// All of them together.
    pub total: Share,
    /// What should be known beside it.
    pub warnings: Vec<String>,
    #[serde(skip)]
    bad: bool,
}

/// A mapping.
#[derive(Debug, Serialize)]
pub struct Mapping {
    /// First address.
    pub start: Address,
    /// First address behind it.
    pub end: Address,
    /// `r-x`; null where only the list of mapped files tells of the mapping.
    pub permissions: Option<String>,
    /// Its file's path as the core records it; `[stack]`, `[stack of TID]`, `[vdso]`; null for other anonymous memory.
    pub path: Option<String>,
    /// Where in the file it begins, in bytes; null without a file.
    pub offset: Option<u64>,
    /// Where its bytes are.
    #[serde(flatten)]
    pub share: Share,
}

/// Bytes by where they are.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Share {
    /// In all.
    pub size: u64,
    /// In the core.
    pub core: u64,
    /// In a file that was found, and is the one that was mapped.
    pub file: u64,
    /// Zero: never touched (a hole of a sparse core), or behind the end of a file.
    pub zero: u64,
    /// Nowhere.
    pub missing: u64,
    /// How many of those nobody could access (`---`): reserved address space and guard pages, in which nothing was.
    pub reserved: u64,
}

impl Memory {
    pub fn run(&self) -> anyhow::Result<Mappings> {
        let Session {
            process, problems, ..
        } = Session::open(&self.core)?;
        Ok(Mappings::of(&process, problems))
    }
}

impl Mappings {
    /// The segments of the core, and what only the list of mapped files has.
    pub fn of(process: &Process, problems: Problems) -> Mappings {
        let mut files: Vec<_> = process.about.files.iter().collect();
        files.sort_by_key(|file| file.range.start);
        let file_at = |address: u64| {
            let upto = files.partition_point(|file| file.range.start <= address);
            let file = files[upto.checked_sub(1)?];
            file.range.contains(&address).then_some(file)
        };
        let mut mappings = Vec::new();
        let mut add = |start: u64, end: u64, flags: Option<u32>| {
            let file = file_at(start);
            mappings.push(Mapping {
                start: Address(start),
                end: Address(end),
                permissions: flags.map(permissions),
                path: file.map(|file| lossy(&file.path)),
                offset: file.map(|file| file.offset.saturating_add(start - file.range.start)),
                share: Share::of(process, start, end, flags),
            });
        };
        let segments = process.core.segments();
        for segment in segments
            .iter()
            .filter(|segment| segment.end > segment.start)
        {
            add(segment.start, segment.end, Some(segment.flags));
        }
        for file in &files {
            let after = segments.partition_point(|segment| segment.start < file.range.end);
            let covered = after
                .checked_sub(1)
                .is_some_and(|last| segments[last].end > file.range.start);
            if !covered {
                add(file.range.start, file.range.end, None);
            }
        }
        mappings.sort_by_key(|mapping| mapping.start);
        name_anonymous(process, &mut mappings);
        let mut total = Share::default();
        for Mapping { share, .. } in &mappings {
            total.size += share.size;
            total.core += share.core;
            total.file += share.file;
            total.zero += share.zero;
            total.missing += share.missing;
            total.reserved += share.reserved;
        }
        Mappings {
            mappings,
            total,
            warnings: problems.warnings,
            bad: problems.bad,
        }
    }
}

impl Share {
    fn of(process: &Process, start: u64, end: u64, flags: Option<u32>) -> Share {
        let share = process.memory.share(&(start..end));
        Share {
            size: end - start,
            core: share.core,
            file: share.file,
            zero: share.zero,
            missing: share.missing,
            reserved: if flags.is_some_and(|flags| flags & 7 == 0) {
                share.missing
            } else {
                0
            },
        }
    }
}

/// `r-x`.
pub fn permissions(flags: u32) -> String {
    let letter = |bit: u32, letter: char| if flags & bit != 0 { letter } else { '-' };
    [letter(4, 'r'), letter(2, 'w'), letter(1, 'x')]
        .iter()
        .collect()
}

/// The stack of a thread is where its stack pointer points, the vdso where the kernel says it is.
fn name_anonymous(process: &Process, mappings: &mut [Mapping]) {
    const AT_SYSINFO_EHDR: u64 = 33;
    let mut name = |address: u64, name: String| {
        let upto = mappings.partition_point(|mapping| mapping.start.0 <= address);
        if let Some(mapping) = upto.checked_sub(1).map(|last| &mut mappings[last])
            && mapping.end.0 > address
            && mapping.path.is_none()
        {
            mapping.path = Some(name);
        }
    };
    for thread in &process.threads {
        let first = process.about.pid == Some(thread.tid);
        name(
            thread.registers.sp(),
            match first {
                true => "[stack]".to_owned(),
                false => format!("[stack of {}]", thread.tid),
            },
        );
    }
    if let Some(address) = process.about.auxiliary(AT_SYSINFO_EHDR) {
        name(address, "[vdso]".to_owned());
    }
}

impl Answer for Mappings {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        let mut table = Table::new(&[
            ("START", Align::Right),
            ("END", Align::Right),
            ("PERM", Align::Left),
            ("SIZE", Align::Right),
            ("CORE", Align::Right),
            ("FILE", Align::Right),
            ("ZERO", Align::Right),
            ("MISSING", Align::Right),
            ("WHAT", Align::Left),
        ]);
        let row = |share: &Share| {
            [
                share.size,
                share.core,
                share.file,
                share.zero,
                share.missing,
            ]
            .map(size_or_dash)
        };
        for mapping in &self.mappings {
            let [size, core, file, zero, missing] = row(&mapping.share);
            // Guard pages are missing by their nature.
            let style = match mapping.permissions.as_deref() {
                Some("---") => Some(DIM),
                _ => (mapping.share.missing > 0).then_some(RED),
            };
            table.styled_row(
                style,
                [
                    mapping.start.to_string(),
                    mapping.end.to_string(),
                    mapping.permissions.clone().unwrap_or_default(),
                    size,
                    core,
                    file,
                    zero,
                    missing,
                    mapping.path.clone().unwrap_or_default(),
                ],
            );
        }
        let [all, core, file, zero, missing] = row(&self.total);
        let what = crate::size::count(self.mappings.len(), "mapping");
        table.styled_row(
            Some(BOLD),
            [
                String::new(),
                String::new(),
                String::new(),
                all,
                core,
                file,
                zero,
                missing,
                what,
            ],
        );
        table.print(out)
    }

    fn is_bad(&self) -> bool {
        self.bad
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// For `info`: the sums in words.
pub fn in_words(total: &Share) -> String {
    let mut words = vec![format!("{} in the core", size(total.core))];
    for (bytes, word) in [
        (total.file, "in files"),
        (total.zero, "zero"),
        (total.missing - total.reserved, "missing"),
        (total.reserved, "reserved without access"),
    ] {
        if bytes > 0 {
            words.push(format!("{} {word}", size(bytes)));
        }
    }
    format!("{} mapped: {}", size(total.size), words.join(", "))
}
