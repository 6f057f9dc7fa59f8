//! A small real heap with some of its words changed: everything that the commands do with a core. The input is a list of
//! changes (see `Image::patched`).
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use stillcore_v8_fuzz::{Image, exercise};

static IMAGE: OnceLock<Image> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let image = IMAGE.get_or_init(|| Image::decode(include_bytes!("../heap.image")));
    let seed = data.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let _ = exercise(Arc::new(image.patched(data)), seed);
});
