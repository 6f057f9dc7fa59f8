//! Packs any core with all that belongs to it, as a measurement:
//! `cargo run --release -p stillcore-archive --features package --example package -- CORE OUTPUT`

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

use stillcore_archive::{Compression, ManifestHead, PackOptions, PackageJob, package};
use stillcore_corefile::{CoreFile, Process, Sysroot};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(core), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: package CORE OUTPUT".into());
    };
    let start = Instant::now();
    let file = File::open(&core)?;
    let process = Process::open(CoreFile::open(file.try_clone()?)?, &Sysroot::host())?;
    let job = PackageJob {
        name: Path::new(&core)
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("core"),
        core_file: Some(&file),
        core_mtime: file.metadata()?.modified()?,
        output: Path::new(&output),
        manifest: ManifestHead::default(),
        options: PackOptions {
            compression: if output.ends_with(".zst") {
                Compression::Zstd
            } else {
                Compression::Gzip
            },
            ..PackOptions::default()
        },
        progress: &|_| true,
    };
    let packaged = package(&process, &job)?;
    for note in packaged.left_out.iter().chain(&packaged.notes) {
        println!("{note}");
    }
    println!(
        "{} bytes in {:.2} s",
        packaged.output_bytes,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
