use std::fs::File;
use std::io;

use clap::Args;
use serde::Serialize;
use stillcore_corefile::CoreFile;

use crate::args::CoreArgs;
use crate::error::InFile;
use crate::output::{Answer, Text};
use crate::size::{size, size_or_dash};
use crate::table::{Align, Table};

/// Lists the mappings of the process, and what the core has of each
///
///   $ stillcore memory core.1234
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Memory {
    #[command(flatten)]
    pub core: CoreArgs,
}

/// The mappings in the order of their addresses.
#[derive(Debug, Serialize)]
pub struct Mappings {
    pub mappings: Vec<Mapping>,
}

#[derive(Debug, Serialize)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub permissions: String,
    pub core: u64,
}

impl Memory {
    pub fn run(&self) -> anyhow::Result<Mappings> {
        let file = File::open(&self.core.core).in_file(&self.core.core)?;
        let core = CoreFile::open(file).in_file(&self.core.core)?;
        let mappings = core.segments().iter().map(|segment| Mapping {
            start: segment.start,
            end: segment.end,
            permissions: [(4, 'r'), (2, 'w'), (1, 'x')]
                .map(|(bit, letter)| {
                    if segment.flags & bit != 0 {
                        letter
                    } else {
                        '-'
                    }
                })
                .iter()
                .collect(),
            core: segment.file_size,
        });
        Ok(Mappings {
            mappings: mappings.collect(),
        })
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
        ]);
        for mapping in &self.mappings {
            table.row([
                format!("{:#x}", mapping.start),
                format!("{:#x}", mapping.end),
                mapping.permissions.clone(),
                size(mapping.end - mapping.start),
                size_or_dash(mapping.core),
            ]);
        }
        table.print(out)
    }
}
