//! excerpt CORE IMAGE: makes the small process of the fuzz target from a core of Node: the read-only pages, the pages that
//! its stack leads to, and of everything else the 4 KiB pages that opening it and printing its stack read.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use stillcore_corefile::{CoreFile, Process, Sysroot};
use stillcore_v8::{
    CoreTarget, FrameValue, NativeFrame, Options, Page, Region, Result, Symbol, Target, ThreadState, V8, V8Error,
};
use stillcore_v8_fuzz::{Header, Image, Named, Stretch, Thread, exercise};

const PAGE: u64 = 4096;
/// Heap pages beside the read-only ones.
const HEAP_PAGES: usize = 6;

/// The core, with a list of what is read of it; and when heap pages are chosen, with no others.
struct Recorder {
    core: CoreTarget,
    read: Mutex<BTreeSet<u64>>,
    symbols: Mutex<BTreeMap<String, Symbol>>,
    locals: Mutex<BTreeMap<(u64, String), u64>>,
    /// Heap pages that are not there.
    hidden: Vec<(u64, u64)>,
}

impl Target for Recorder {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<()> {
        let end = address.saturating_add(buf.len() as u64);
        if self.hidden.iter().any(|(start, until)| *start < end && address < *until) {
            return Err(V8Error::Missing { address });
        }
        self.core.read(address, buf)?;
        let mut read = self.read.lock().unwrap();
        let mut at = address & !(PAGE - 1);
        while at < end {
            read.insert(at);
            at += PAGE;
        }
        Ok(())
    }
    fn regions(&self) -> Vec<Region> {
        self.core.regions()
    }
    fn symbol(&self, name: &str) -> Option<Symbol> {
        let symbol = self.core.symbol(name)?;
        self.symbols.lock().unwrap().insert(name.to_owned(), symbol.clone());
        Some(symbol)
    }
    fn symbols(&self, prefix: &str) -> Vec<Symbol> {
        let found = self.core.symbols(prefix);
        let mut symbols = self.symbols.lock().unwrap();
        for symbol in &found {
            symbols.insert(symbol.name.clone(), symbol.clone());
        }
        found
    }
    fn function_at(&self, address: u64) -> Option<(String, u64)> {
        self.core.function_at(address)
    }
    fn threads(&self) -> Vec<ThreadState> {
        self.core.threads()
    }
    fn thread_local(&self, tid: u64, name: &str) -> Option<u64> {
        let address = self.core.thread_local(tid, name)?;
        self.locals.lock().unwrap().insert((tid, name.to_owned()), address);
        Some(address)
    }
    fn binary(&self) -> Vec<Region> {
        self.core.binary()
    }
    fn unwind(&self, tid: u64) -> Vec<NativeFrame> {
        self.core.unwind(tid)
    }
}

fn recorder(path: &str, hidden: Vec<(u64, u64)>) -> Recorder {
    let core = CoreFile::open(std::fs::File::open(path).expect("a core")).expect("a core");
    let process = Process::open(core, &Sysroot::default()).expect("a process");
    Recorder {
        core: CoreTarget::new(process),
        read: Mutex::default(),
        symbols: Mutex::default(),
        locals: Mutex::default(),
        hidden,
    }
}

/// What the image must have the memory for.
fn look(target: Arc<Recorder>) -> V8 {
    let v8 = V8::open(target, &Options::default()).expect("a Node of a known version");
    let main = v8.threads.iter().find(|thread| Some(thread.tid) == v8.isolates()[0].thread);
    let stack = v8.stack(main.expect("a thread with an isolate"));
    for frame in &stack.frames {
        for value in frame.receiver.iter().chain(&frame.arguments) {
            if let FrameValue::Tagged(value) = value {
                v8.brief(*value);
            }
        }
    }
    let _ = v8.layout();
    v8
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, out] = &arguments[..] else {
        panic!("excerpt CORE IMAGE");
    };
    // First: which pages of the heap are read most.
    let first = Arc::new(recorder(path, Vec::new()));
    let v8 = look(first.clone());
    let pages = v8.pages.pages().to_vec();
    let reads = first.read.lock().unwrap().clone();
    let heap = v8.isolates()[0].heap;
    let mut chosen: Vec<_> = pages.iter().filter(|page| page.heap == heap && !page.large).collect();
    let main = v8.threads.iter().find(|thread| Some(thread.tid) == v8.isolates()[0].thread);
    let mut asked = Vec::new();
    for frame in v8.stack(main.expect("a thread")).frames.iter().take(16) {
        if let (Some(function), Some(shared)) = (frame.function, frame.shared) {
            let field = |object, field| v8.field(object, field).map_or(0, |value| value.0);
            let map = field(function.0 & !3, 0);
            let script = field(shared, v8.c.shared_script);
            asked.extend([function.0, map, shared, field(shared, v8.c.shared_data), field(shared, v8.c.shared_name), script]);
            asked.push(field(script & !3, v8.c.script_name));
        }
    }
    let score = |page: &Page| asked.iter().filter(|at| (page.base..page.base + page.size).contains(at)).count();
    chosen.sort_by_key(|page| std::cmp::Reverse(score(page)));
    chosen[HEAP_PAGES - 1..].sort_by_key(|page| std::cmp::Reverse(reads.range(page.base..page.base + page.size).count()));
    chosen.truncate(HEAP_PAGES);
    let kept: BTreeSet<u64> = chosen
        .iter()
        .copied()
        .chain(pages.iter().filter(|page| page.heap == 0))
        .map(|page| page.base)
        .collect();
    let hidden = pages
        .iter()
        .filter(|page| !kept.contains(&page.base))
        .map(|page| (page.base, page.base + page.size))
        .collect();
    drop(v8);
    // Then: what is read when there are no others.
    let second = Arc::new(recorder(path, hidden));
    let v8 = look(second.clone());
    let mut read = second.read.lock().unwrap().clone();
    for page in pages.iter().filter(|page| kept.contains(&page.base)) {
        read.extend((page.base..page.base + page.size).step_by(PAGE as usize));
    }
    let regions = second.core.regions();
    // A block of the reader's cache is larger than what is needed of it, and every 256 KiB of the process is looked at for a
    // page: what is left out here is of no meaning.
    let mut needed: Vec<(u64, u64)> = vec![(v8.isolates()[0].address & !(PAGE - 1), heap + 0x2000)];
    for page in pages.iter().filter(|page| kept.contains(&page.base)) {
        needed.push((page.base, page.base + page.size));
        let metadata = v8.memory.u64(page.base + 8).unwrap_or(0);
        let owner = v8.memory.u64(metadata + 80).unwrap_or(0);
        needed.extend([(metadata, metadata + 128), (owner, owner + 64)]);
    }
    for thread in v8.threads.iter().filter(|thread| Some(thread.tid) == v8.isolates()[0].thread) {
        needed.extend([(thread.sp, thread.sp + 0x4000), (thread.tls - 0x1000, thread.tls + 0x1000)]);
    }
    let blob = v8.blob().map_or(0, |blob| blob.0);
    let begins_blob = |at: u64| {
        let (mut here, mut there) = ([0; 64], [1; 64]);
        second.core.read(at, &mut here).is_ok() && second.core.read(blob, &mut there).is_ok() && here == there
    };
    for symbol in second.symbols.lock().unwrap().values() {
        // Of a builtin only the address matters.
        if symbol.name.starts_with("Builtins_") || symbol.name.contains("blob_code_") {
            continue;
        }
        needed.push((symbol.address, symbol.address + symbol.size.max(8)));
        if symbol.name.contains("root_names_") || symbol.name.contains("version_string_") {
            for at in (0..symbol.size.max(8)).step_by(8) {
                let text = v8.memory.u64(symbol.address + at).unwrap_or(0);
                needed.push((text, text + 64));
            }
        }
    }
    let size = v8.memory.target().symbol("v8_Default_embedded_blob_code_size_");
    needed.extend(size.map(|size| (size.address, size.address + 4)));
    read.retain(|at| {
        let region = regions.iter().find(|region| region.range.contains(at));
        let code = region.is_some_and(|region| region.executable) && begins_blob(*at);
        code || needed.iter().any(|(start, end)| *start < at + PAGE && at < end)
    });
    let binary: BTreeSet<u64> = second.core.binary().iter().map(|region| region.range.start).collect();
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut bytes = Vec::new();
    for at in read {
        let mut page = [0; PAGE as usize];
        if second.core.read(at, &mut page).is_err() {
            continue;
        }
        let Some(region) = regions.iter().find(|region| region.range.contains(&at)) else {
            continue;
        };
        let heap = pages.iter().any(|page| kept.contains(&page.base) && (page.base..page.base + page.size).contains(&at));
        let stretch = Stretch {
            start: at,
            len: PAGE,
            until: if region.executable && !heap { region.range.end } else { 0 },
            writable: region.writable,
            executable: region.executable,
            binary: binary.contains(&region.range.start),
            heap,
        };
        bytes.extend(page);
        match stretches.last_mut() {
            Some(last) if last.start + last.len == at && last.heap == heap && last.until == stretch.until && at % (1 << 18) != 0 && last.writable == stretch.writable => {
                last.len += PAGE;
            }
            _ => stretches.push(stretch),
        }
    }
    let locals = second.locals.lock().unwrap().clone();
    let main = v8.isolates()[0].thread;
    let threads = second.core.threads().into_iter().filter(|thread| Some(thread.tid) == main).map(|thread| Thread {
        tid: thread.tid,
        pc: thread.pc,
        sp: thread.sp,
        fp: thread.fp,
        tls: thread.tls,
        frames: second.core.unwind(thread.tid).iter().map(|frame| [frame.pc, frame.sp, frame.fp]).collect(),
        locals: locals.iter().filter(|((tid, _), _)| *tid == thread.tid).map(|((_, name), at)| (name.clone(), *at)).collect(),
        registers: thread.registers,
    });
    let header = Header {
        stretches,
        threads: threads.collect(),
        symbols: second.symbols.lock().unwrap().values().map(|symbol| Named {
            name: symbol.name.clone(),
            address: symbol.address,
            size: symbol.size,
        }).collect(),
    };
    let image = Image::new(header, bytes);
    let file = image.encode();
    println!("{} stretches, {} bytes, {} compressed", image.header.stretches.len(), image.bytes.len(), file.len());
    for (name, which) in [("heap", true), ("others", false)] {
        let stretches = image.header.stretches.iter().filter(|stretch| stretch.heap == which);
        println!("{name}: {} bytes", stretches.map(|stretch| stretch.len).sum::<u64>());
    }
    let binary = image.header.stretches.iter().filter(|stretch| stretch.binary);
    println!("of them of the binary: {} bytes", binary.map(|stretch| stretch.len).sum::<u64>());
    std::fs::write(out, &file).expect("the image can be written");
    let small = V8::open(Arc::new(Image::decode(&file)), &Options::default()).expect("the image can be opened");
    for thread in &small.threads {
        for frame in small.stack(thread).frames {
            println!("{:?} {} {:x} {:?}", frame.kind, frame.name, frame.pc, frame.location.map(|place| place.to_string()));
        }
    }
    println!("{:?}", exercise(Arc::new(Image::decode(&file)), 0));
}
