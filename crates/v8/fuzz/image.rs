//! A small part of a real process: some pages of its heap, the words outside of it that V8 is found by, symbols, registers.
//! It is kept compressed, patched in memory by the fuzzer, and read as any other process is.
#![forbid(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stillcore_v8::{
    FrameValue, HeapGraph, NativeFrame, Options, PrintOptions, Region, Result, Stop, Symbol, Target,
    ThreadState, V8, V8Error,
};

/// A range of memory whose bytes are held.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Stretch {
    pub start: u64,
    pub len: u64,
    /// Where the range ends of which only the beginning is held, of code; else 0.
    pub until: u64,
    pub writable: bool,
    pub executable: bool,
    /// It is of the file that V8 is in.
    pub binary: bool,
    /// It is a page of V8's heap.
    pub heap: bool,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Named {
    pub name: String,
    pub address: u64,
    pub size: u64,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Thread {
    pub tid: u64,
    pub pc: u64,
    pub sp: u64,
    pub fp: u64,
    pub tls: u64,
    pub registers: Vec<u64>,
    /// Program counter, stack pointer, frame pointer of each native frame.
    pub frames: Vec<[u64; 3]>,
    /// Thread-local variables: name, address.
    pub locals: Vec<(String, u64)>,
}

/// All but the bytes, which follow one another in the order of the stretches.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub struct Header {
    pub stretches: Vec<Stretch>,
    pub symbols: Vec<Named>,
    pub threads: Vec<Thread>,
}

/// The process.
pub struct Image {
    pub header: Arc<Header>,
    pub bytes: Vec<u8>,
    /// Where in `bytes` each stretch begins.
    pub places: Arc<Vec<usize>>,
}

impl Image {
    pub fn new(header: Header, bytes: Vec<u8>) -> Image {
        let mut at = 0;
        let places = header
            .stretches
            .iter()
            .map(|stretch| {
                let place = at;
                at += stretch.len as usize;
                place
            })
            .collect();
        Image {
            header: Arc::new(header),
            bytes,
            places: Arc::new(places),
        }
    }

    /// From the file: the length of the header, the header as JSON, the bytes; all of it in zstd.
    pub fn decode(file: &[u8]) -> Image {
        let all = zstd::decode_all(file).expect("the image is kept whole");
        let (len, rest) = all.split_at(8);
        let len = u64::from_le_bytes(len.try_into().expect("eight bytes")) as usize;
        let header = serde_json::from_slice(&rest[..len]).expect("the header is JSON");
        Image::new(header, rest[len..].to_vec())
    }

    pub fn encode(&self) -> Vec<u8> {
        let header = serde_json::to_vec(&*self.header).expect("it can be written");
        let mut all = (header.len() as u64).to_le_bytes().to_vec();
        all.extend(header);
        all.extend(&self.bytes);
        zstd::encode_all(&all[..], 19).expect("it fits into memory")
    }

    /// The same with the bytes changed as the fuzzer says. Each change takes 16 bytes: which stretch, what to do, where,
    /// and a value.
    pub fn patched(&self, data: &[u8]) -> Image {
        let mut bytes = self.bytes.clone();
        let heap: Vec<usize> = (0..self.places.len())
            .filter(|index| self.header.stretches[*index].heap)
            .collect();
        for patch in data.chunks_exact(16).take(256) {
            let word = |at: usize| u32::from_le_bytes(patch[at..at + 4].try_into().unwrap());
            let value = u64::from_le_bytes(patch[8..16].try_into().unwrap());
            // Three of four changes are in the heap.
            let index = match patch[0] & 3 {
                0 => word(0) as usize / 4 % self.places.len(),
                _ => heap[word(0) as usize / 4 % 64 % heap.len()],
            };
            let stretch = &self.header.stretches[index];
            let offset = u64::from(word(4) >> 4) * 8 % stretch.len;
            let at = self.places[index] + offset as usize;
            let Some(old) = bytes.get(at..at + 8) else {
                continue;
            };
            let old = u64::from_le_bytes(old.try_into().unwrap());
            let elsewhere = (value as usize % self.bytes.len()) & !7;
            let new = match patch[4] & 15 {
                0 => old ^ 1 << (value & 63),
                1 => 0,
                2 => u64::MAX,
                3 => 1 << 60,
                4 => 0x7fff_ffff_0000_0000,
                5 => (value & 0xffff) << 32,
                6 => old.wrapping_add(8 * (value & 0xff)),
                7 => old.wrapping_sub(8 * (value & 0xff)),
                // A word from elsewhere: nearly always a pointer that is right in another place.
                8..=12 => bytes
                    .get(elsewhere..elsewhere + 8)
                    .map_or(0, |word| u64::from_le_bytes(word.try_into().unwrap())),
                // Itself.
                13 => (stretch.start + offset) | 1,
                14 => old & !0xffff_ffff | value & 0xffff_ffff,
                _ => value,
            };
            bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
        }
        Image {
            header: self.header.clone(),
            bytes,
            places: self.places.clone(),
        }
    }
}

impl Target for Image {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = address.wrapping_add(done as u64);
            let stretches = &self.header.stretches;
            let index = stretches.partition_point(|stretch| stretch.start <= at);
            let held = index.checked_sub(1).and_then(|index| {
                let stretch = &stretches[index];
                let inside = at - stretch.start;
                (inside < stretch.len).then(|| (self.places[index] + inside as usize, stretch.len - inside))
            });
            let Some((place, left)) = held else {
                return Err(V8Error::Missing { address: at });
            };
            let now = (left as usize).min(buf.len() - done);
            buf[done..done + now].copy_from_slice(&self.bytes[place..place + now]);
            done += now;
        }
        Ok(())
    }

    fn regions(&self) -> Vec<Region> {
        self.header.stretches.iter().map(region).collect()
    }

    fn symbol(&self, name: &str) -> Option<Symbol> {
        self.header.symbols.iter().find(|one| one.name == name).map(symbol)
    }

    fn symbols(&self, prefix: &str) -> Vec<Symbol> {
        let symbols = &self.header.symbols;
        symbols.iter().filter(|one| one.name.starts_with(prefix)).map(symbol).collect()
    }

    fn function_at(&self, _: u64) -> Option<(String, u64)> {
        None
    }

    fn threads(&self) -> Vec<ThreadState> {
        let state = |thread: &Thread| ThreadState {
            tid: thread.tid,
            name: None,
            pc: thread.pc,
            sp: thread.sp,
            fp: thread.fp,
            tls: thread.tls,
            registers: thread.registers.clone(),
        };
        self.header.threads.iter().map(state).collect()
    }

    fn thread_local(&self, tid: u64, name: &str) -> Option<u64> {
        let thread = self.header.threads.iter().find(|thread| thread.tid == tid)?;
        thread.locals.iter().find(|local| local.0 == name).map(|local| local.1)
    }

    fn binary(&self) -> Vec<Region> {
        let stretches = &self.header.stretches;
        stretches.iter().filter(|stretch| stretch.binary).map(region).collect()
    }

    fn unwind(&self, tid: u64) -> Vec<NativeFrame> {
        let thread = self.header.threads.iter().find(|thread| thread.tid == tid);
        let frame = |frame: &[u64; 3]| NativeFrame {
            pc: frame[0],
            sp: frame[1],
            fp: frame[2],
            trust: "cfi",
        };
        thread.map_or(Vec::new(), |thread| thread.frames.iter().map(frame).collect())
    }
}

fn region(stretch: &Stretch) -> Region {
    Region {
        range: stretch.start..stretch.until.max(stretch.start + stretch.len),
        writable: stretch.writable,
        executable: stretch.executable,
        file: stretch.binary.then(|| "node".to_owned()),
        held: stretch.len,
    }
}

fn symbol(named: &Named) -> Symbol {
    Symbol {
        name: named.name.clone(),
        address: named.address,
        size: named.size,
    }
}

/// What the commands do with a core: opening, stacks, the walk, the graph, values. Gives how many objects there were and
/// how many frames of JavaScript.
pub fn exercise(target: Arc<dyn Target>, seed: u64) -> Result<(usize, usize)> {
    let v8 = Arc::new(V8::open(target, &Options::default())?);
    let mut frames = 0;
    for thread in v8.threads.iter().take(4) {
        let stack = v8.stack(thread);
        frames += stack.frames.iter().filter(|frame| frame.location.is_some()).count();
        for frame in stack.frames.iter().take(64) {
            for value in frame.receiver.iter().chain(&frame.arguments).take(8) {
                if let FrameValue::Tagged(value) = value {
                    v8.brief(*value);
                }
            }
        }
    }
    let stop = Stop::new(false);
    let graph = HeapGraph::build(&v8, None, &stop)?;
    graph.mark(&stop)?;
    let _ = graph.groups(true, None).len();
    let mut all = Vec::new();
    graph.each(false, |object| all.push(*object));
    let options = PrintOptions {
        depth: 2,
        entries: 20,
        string: 200,
        ..PrintOptions::default()
    };
    // A part of them, another each time.
    let step = (all.len() / 250).max(1);
    for object in all.iter().skip(seed as usize % step).step_by(step) {
        let value = object.tagged();
        let _ = v8.print(value, &options).text(&options).len();
        let _ = v8.class_name(value);
        let _ = v8.function_name(value);
        let _ = v8.closure(value);
        let _ = v8.error_stack(value);
        let _ = v8.await_chains(value, 4);
        let _ = v8.generator_frame(value);
        if let Ok(shared) = v8.shared_of(value).and_then(|shared| v8.shared(shared)) {
            let _ = v8.function_location(&shared);
            let _ = v8.function_text(&shared);
        }
        let _ = v8.scope_names(value);
        let _ = v8.size_at(object.address, &object.map);
    }
    let wanted: Vec<u64> = all.iter().skip(seed as usize % step).step_by(step * 16).map(|object| object.address).collect();
    let _ = graph.references(&wanted, &stop);
    for context in v8.native_contexts(None).into_iter().take(4) {
        let _ = v8.process_object(context);
        if let Ok(environment) = v8.environment(context) {
            let _ = v8.wraps(environment, true);
            let _ = v8.wraps(environment, false);
        }
    }
    let _ = v8.layout();
    Ok((all.len(), frames))
}
