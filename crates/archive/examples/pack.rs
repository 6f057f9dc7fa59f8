//! Packs a core with this program's own libraries, as a measurement:
//! `cargo run --release -p stillcore-archive --example pack -- CORE OUTPUT [LEVEL] [THREADS]`
//! It is compressed as the output's name says: .tar.gz, .tar.zst or .tar.

use std::error::Error;
use std::fs::File;
use std::time::Instant;

use stillcore_archive::{
    Compression, ManifestHead, PackJob, PackOptions, default_threads, mapped_files, pack,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(core), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: pack CORE OUTPUT [LEVEL] [THREADS]".into());
    };
    let compression = [Compression::Gzip, Compression::Zstd]
        .into_iter()
        .find(|compression| output.ends_with(compression.extension()))
        .unwrap_or(Compression::None);
    let level = args
        .next()
        .map_or(Ok(*compression.levels().start()), |level| level.parse())?;
    let threads = args
        .next()
        .map_or(Ok(default_threads()), |threads| threads.parse())?;
    let core = File::open(core)?;
    let job = PackJob {
        top: "core_measured",
        core: &core,
        core_mtime: core.metadata()?.modified()?,
        files: &mapped_files(&std::fs::read("/proc/self/maps")?),
        executable: None,
        manifest: ManifestHead::default(),
        options: PackOptions {
            compression,
            level: Some(level),
            threads,
            ..PackOptions::default()
        },
        progress: &|_| true,
    };
    let start = Instant::now();
    let packed = pack(File::create(output)?, &job)?;
    let seconds = start.elapsed().as_secs_f64();
    let (read, written) = (
        packed.input_bytes as f64 / 1e6,
        packed.output_bytes as f64 / 1e6,
    );
    let data = packed.manifest.core.data_size as f64 / 1e6;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    println!(
        "level {level}, {threads} threads: {read:.0} MB (core {data:.0} MB without holes) -> {written:.0} MB \
         in {seconds:.2} s, {:.0} MB/s; {peak}",
        read / seconds
    );
    Ok(())
}
