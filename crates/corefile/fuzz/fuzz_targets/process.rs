//! A whole process: modules, threads, unwinding, symbols, lines. The input is the core and every file that it names.
#![no_main]

use std::path::PathBuf;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use stillcore_corefile::{CoreFile, FileProvider, Process, Source, Sysroot};

struct Same(Arc<dyn Source>);

impl FileProvider for Same {
    fn open(&self, _: &[u8]) -> Option<(PathBuf, Arc<dyn Source>)> {
        Some(("same".into(), self.0.clone()))
    }
}

fuzz_target!(|data: &[u8]| {
    let source: Arc<dyn Source> = Arc::new(data.to_vec());
    let files = Sysroot {
        force: data.len() % 2 == 0,
        no_host: true,
        providers: vec![Arc::new(Same(source.clone()))],
        ..Sysroot::default()
    };
    let Ok(core) = CoreFile::open(source) else {
        return;
    };
    let Ok(process) = Process::open(core, &files) else {
        return;
    };
    let _ = process.symbol("main");
    for thread in process.threads.iter().take(4) {
        let trace = process.backtrace(thread);
        let _ = process.main_frame(&trace);
        for frame in trace.frames.iter().take(64) {
            let _ = process.symbol_at(frame.lookup).map(|(_, symbol)| symbol.demangled());
            let _ = process.locations(frame.lookup);
        }
    }
});
