//! Made-up cores: what is read from them, and that nothing in them can do harm.

#[path = "support/synth.rs"]
mod synth;

use std::time::{Duration, Instant};

use stillcore_corefile::{
    Arch, CoreError, CoreFile, End, FrameTrust, ModuleKind, Process, Sysroot,
};
use synth::{AARCH64, BUILD_ID, FUNCTION, IMAGE, LIBRARY, STACK, X86_64};

/// Bytes of the notes.
const NOTES: usize = 1464;

fn files() -> Sysroot {
    Sysroot {
        no_host: true,
        ..Sysroot::default()
    }
}

fn open(bytes: Vec<u8>) -> Result<Process, CoreError> {
    Process::open(CoreFile::open(bytes)?, &files())
}

/// Everything that a command would do.
fn use_all(process: &Process) {
    let _ = process.symbol("main");
    for thread in process.threads.iter().take(4) {
        let trace = process.backtrace(thread);
        let _ = process.main_frame(&trace);
        for frame in &trace.frames {
            let _ = process.symbol_at(frame.lookup);
            let _ = process.locations(frame.lookup);
        }
    }
}

#[test]
fn a_whole_one_tells_everything() {
    for (machine, arch) in [(X86_64, Arch::X86_64), (AARCH64, Arch::Aarch64)] {
        let process = open(synth::core(machine)).unwrap();
        assert_eq!(process.arch, arch);
        let about = &process.about;
        assert_eq!(
            (about.pid, about.uid, about.gid),
            (Some(4242), Some(1000), Some(1001))
        );
        assert_eq!(about.arguments, b"synthetic --now");
        assert_eq!(about.signal.unwrap().address, Some(0xdead));
        assert_eq!(
            about.capture.as_ref().unwrap().method.as_deref(),
            Some("direct")
        );
        assert_eq!(about.unreadable, Vec::<String>::new());

        let [program, library] = &process.modules[..] else {
            panic!("{:?}", process.modules);
        };
        assert_eq!((program.kind, program.bias), (ModuleKind::Executable, 0));
        assert_eq!(
            (program.path.as_slice(), program.deleted),
            (&b"/opt/synthetic"[..], true)
        );
        assert_eq!(program.build_id.as_deref(), Some(&BUILD_ID[..]));
        assert_eq!((library.kind, library.bias), (ModuleKind::Library, LIBRARY));
        assert_eq!(library.path, b"./plugin.so");

        let [thread] = &process.threads[..] else {
            panic!("{:?}", process.threads);
        };
        assert_eq!((thread.tid, thread.signal), (4242, 11));
        assert_eq!(thread.name.as_deref(), Some(&b"chief"[..]));
        assert_eq!(
            (thread.registers.pc(), thread.registers.sp()),
            (FUNCTION + 4, STACK + 0x100)
        );
        assert!(thread.floating.is_some());

        let trace = process.backtrace(thread);
        let frames: Vec<_> = trace
            .frames
            .iter()
            .map(|frame| (frame.pc, frame.trust))
            .collect();
        assert_eq!(
            frames,
            [
                (FUNCTION + 4, FrameTrust::Context),
                (IMAGE + 0xa00, FrameTrust::Cfi),
                (LIBRARY + 0xa00, FrameTrust::FramePointer),
            ]
        );
        assert_eq!(trace.end, End::Outermost);
        assert_eq!(trace.frames[0].cfa, Some(STACK + 0x120));
        assert_eq!(trace.frames[1].registers.sp(), STACK + 0x120);
    }
}

#[test]
fn cut_anywhere_it_is_an_error_or_says_what_is_missing() {
    let whole = synth::core(X86_64);
    let boundaries = [0x400, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000];
    for cut in (0..0x900).chain(boundaries.iter().flat_map(|at| at - 2..at + 2)) {
        let Ok(core) = CoreFile::open(whole[..cut.min(whole.len())].to_vec()) else {
            assert!(cut < 64 + 5 * 56, "{cut:#x}");
            continue;
        };
        assert_eq!(core.check_whole().is_ok(), cut >= whole.len(), "{cut:#x}");
        let process = Process::open(core, &files()).unwrap();
        use_all(&process);
        let missing = process.memory.share(&(0..u64::MAX)).missing;
        assert_eq!(missing, whole.len().saturating_sub(cut.max(0x2000)) as u64);
        // What the notes say that are still there is told, and that the others are not.
        assert_eq!(
            process.about.unreadable.is_empty(),
            cut >= 0x400 + NOTES,
            "{cut:#x}"
        );
        assert_eq!(
            process.threads.len(),
            usize::from(cut >= 0x400 + 20 + 336),
            "{cut:#x}"
        );
    }
}

#[test]
fn every_changed_byte_is_survived() {
    let whole = synth::core(X86_64);
    let start = Instant::now();
    let pages = [0x2000..0x2600, 0x4000..0x4310, 0x5100..0x5310];
    for at in (0..64 + 5 * 56)
        .chain(0x400..0x900)
        .chain(pages.into_iter().flatten())
    {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if let Ok(process) = open(bytes) {
                use_all(&process);
            }
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_list_that_leads_back_to_itself_ends() {
    let mut bytes = synth::core(X86_64);
    // The last entry's next (link_map + 24) is the first entry.
    let next = 0x4000 + 0x200 + 24;
    bytes[next..next + 8].copy_from_slice(&(synth::LINKER + 0x100).to_le_bytes());
    assert_eq!(open(bytes).unwrap().modules.len(), 2);

    // A frame pointer that points at itself, and one that points down.
    for target in [STACK + 0x200, STACK + 0x100] {
        let mut bytes = synth::core(X86_64);
        bytes[0x5200..0x5208].copy_from_slice(&target.to_le_bytes());
        let process = open(bytes).unwrap();
        let trace = process.backtrace(&process.threads[0]);
        assert!(trace.frames.len() < 10, "{}", trace.frames.len());
    }
}

/// Keeps the fuzz targets' first inputs what this builder makes: `STILLCORE_WRITE_SEEDS=1 cargo test` writes them.
#[test]
fn the_fuzz_targets_begin_with_these() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
    for (machine, name) in [(X86_64, "x86_64"), (AARCH64, "aarch64")] {
        for target in ["core", "process"] {
            let path = format!("{folder}/{target}/{name}");
            if std::env::var_os("STILLCORE_WRITE_SEEDS").is_some() {
                std::fs::write(&path, synth::core(machine)).unwrap();
            }
            assert!(
                std::fs::read(&path).unwrap() == synth::core(machine),
                "{path}"
            );
        }
    }
}
