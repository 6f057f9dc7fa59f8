//! The headers, notes and segments of a core.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stillcore_corefile::{About, CoreFile, Memory, build_id};

fuzz_target!(|data: &[u8]| {
    let bytes = data.to_vec();
    let _ = build_id(&bytes);
    let Ok(core) = CoreFile::open(bytes) else {
        return;
    };
    let _ = core.check_whole();
    let _ = core.missing(&[0..u64::MAX]);
    let _ = core.read_at(0x1000, &mut [0; 8192]);
    let memory = Memory::new(&core);
    for range in memory.ranges().iter().take(64) {
        let _ = memory.read_some(range.start.wrapping_sub(8), &mut [0; 64]);
        let _ = memory.read_string(range.start, 1 << 16);
    }
    if let Ok(notes) = core.notes() {
        let _ = About::read(&core, &notes);
    }
});
