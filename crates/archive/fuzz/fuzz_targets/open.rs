//! Everything between bytes and a core: told what they are, opened, read, verified, unpacked.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use stillcore_archive::{
    CacheUse, Limits, OpenOptions, UnpackOptions, open_source, unpack_source, verify_source,
};
use stillcore_corefile::Source;

fuzz_target!(|data: &[u8]| {
    let source: Arc<dyn Source> = Arc::new(data.to_vec());
    let limits = Limits {
        unpacked: 4 << 20,
        entries: 200,
        ..Limits::default()
    };
    let options = OpenOptions {
        cache: CacheUse::Never,
        limits: limits.clone(),
        progress: None,
    };
    if let Ok(opened) = open_source(Arc::clone(&source), &options) {
        let mut page = [0; 4096];
        for at in [0, 1, 4095, 70_000, opened.core.len().saturating_sub(5), u64::MAX] {
            if let Ok(n) = opened.core.read_at(at, &mut page) {
                assert!(n as u64 <= opened.core.len().saturating_sub(at));
            }
        }
        for file in opened.files.iter().take(20) {
            let _ = opened.files.open(file.path);
            let _ = opened.files.find(file.path);
        }
        // What is read by an index is what is read without it.
        if opened.indexed {
            let verified = verify_source(Arc::clone(&source), &options);
            assert!(verified.is_ok());
        }
    }
    let _ = verify_source(Arc::clone(&source), &options);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let into = folder.path().join("into");
    let unpack = UnpackOptions {
        limits,
        ..UnpackOptions::default()
    };
    let _ = unpack_source(source, b"core", &into, &unpack);
    for entry in std::fs::read_dir(folder.path()).expect("it is still there") {
        let name = entry.expect("it can be read").file_name();
        assert_eq!(name, "into", "something got out");
    }
});
