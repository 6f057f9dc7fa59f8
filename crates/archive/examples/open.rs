//! Opens a core or an archive, says what it is, and reads a page here and there.
//!
//!     cargo run --release -p stillcore-archive --features open --example open -- FILE

use std::time::Instant;

use stillcore_archive::{OpenOptions, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("which file?")?;
    let began = Instant::now();
    let opened = open(path.as_ref(), &OpenOptions::default())?;
    println!("{opened:?}");
    println!("opened after {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    let mut page = vec![0; 4096];
    for part in 0..100 {
        opened
            .core
            .read_at(opened.core.len() / 100 * part, &mut page)?;
    }
    println!(
        "100 pages after {:.1} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find(|line| line.starts_with("VmHWM")) {
        println!("{peak}");
    }
    for note in &opened.notes {
        println!("{note}");
    }
    Ok(())
}
