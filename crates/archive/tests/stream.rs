//! The stream writer against the readers of flate2 and zstd.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use stillcore_archive::{
    BLOCK_SIZE, Compression, MIN_ZEROS, PackOptions, StreamWriter, WorkerDied,
};

/// A small generator (xorshift), so that every run sees the same numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Bytes between random and repetitive.
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        match self.below(4) {
            0 => (0..n).map(|_| self.next() as u8).collect(),
            1 => vec![self.next() as u8; n],
            2 => vec![0; n],
            _ => (0..n)
                .map(|i| {
                    if i % 7 == 0 {
                        self.next() as u8 & 3
                    } else {
                        b'a'
                    }
                })
                .collect(),
        }
    }
}

fn options(threads: usize) -> PackOptions {
    PackOptions {
        threads,
        ..PackOptions::default()
    }
}

fn decode_as(compression: Compression, packed: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => decode(packed),
        Compression::Zstd => zstd::decode_all(packed).unwrap(),
        Compression::None => packed.to_vec(),
    }
}

fn decode(packed: &[u8]) -> Vec<u8> {
    let mut first = GzDecoder::new(packed);
    let mut bytes = Vec::new();
    first.read_to_end(&mut bytes).unwrap();
    assert!(
        first.into_inner().is_empty(),
        "the first gzip member is not all there is"
    );
    let mut all = Vec::new();
    MultiGzDecoder::new(packed).read_to_end(&mut all).unwrap();
    assert!(all == bytes);
    bytes
}

#[test]
fn empty_input_is_a_whole_member() {
    let packed = StreamWriter::new(Vec::new(), &options(2)).finish().unwrap();
    assert_eq!(decode(&packed), b"");
    let zstd = PackOptions {
        compression: Compression::Zstd,
        ..options(2)
    };
    let packed = StreamWriter::new(Vec::new(), &zstd).finish().unwrap();
    assert!(!packed.is_empty());
    assert_eq!(decode_as(Compression::Zstd, &packed), b"");
}

#[test]
fn any_mix_of_writes_blocks_and_zeros_comes_back() {
    for seed in 1..=36 {
        let compression =
            [Compression::Gzip, Compression::Zstd, Compression::None][seed as usize % 3];
        let mut random = Random(seed);
        let threads = random.below(4) as usize;
        let level = 1 + random.below(6) as u32;
        let mut gzip = StreamWriter::new(
            Vec::new(),
            &PackOptions {
                compression,
                level: Some(level),
                ..options(threads)
            },
        );
        let mut expected = Vec::new();
        for _ in 0..random.below(16) {
            match random.below(5) {
                0 => {
                    let n = random.below(1 << 20);
                    gzip.zeros(n).unwrap();
                    expected.resize(expected.len() + n as usize, 0);
                }
                1 => {
                    let size = random.below(BLOCK_SIZE as u64 + 1) as usize;
                    let bytes = random.bytes(size);
                    let mut block = gzip.block();
                    block.room()[..size].copy_from_slice(&bytes);
                    block.advance(size);
                    gzip.write_block(Arc::new(block)).unwrap();
                    expected.extend_from_slice(&bytes);
                }
                2 => {
                    let size = random.below(BLOCK_SIZE as u64 * 5 / 4) as usize;
                    let bytes = random.bytes(size);
                    gzip.write_all(&bytes).unwrap();
                    expected.extend_from_slice(&bytes);
                }
                _ => {
                    let size = random.below(5000) as usize;
                    let bytes = random.bytes(size);
                    gzip.write_all(&bytes).unwrap();
                    expected.extend_from_slice(&bytes);
                }
            }
        }
        assert_eq!(gzip.input_bytes(), expected.len() as u64);
        let packed = gzip.finish().unwrap();
        assert!(
            decode_as(compression, &packed) == expected,
            "seed {seed}, {compression:?}"
        );
    }
}

#[test]
fn incompressible_and_zero_blocks_in_turn_keep_their_order() {
    let mut random = Random(7);
    let mut expected = Vec::new();
    let mut gzip = StreamWriter::new(Vec::new(), &options(2));
    for i in 0..14_usize {
        // Compressed sizes around the size up to which pieces are gathered.
        let noise: Vec<u8> = (0..5000 * i).map(|_| random.next() as u8).collect();
        let mut bytes = noise;
        bytes.resize(BLOCK_SIZE, 0);
        gzip.write_all(&bytes).unwrap();
        expected.extend_from_slice(&bytes);
        gzip.write_all(&vec![0; BLOCK_SIZE]).unwrap();
        expected.resize(expected.len() + BLOCK_SIZE, 0);
    }
    assert!(decode(&gzip.finish().unwrap()) == expected);
}

#[test]
fn gigabytes_of_zeros_cost_a_thousandth_and_the_length_wraps() {
    let mut gzip = StreamWriter::new(Vec::new(), &options(1));
    let size = (5_u64 << 30) + 4096 + 17;
    gzip.zeros(size).unwrap();
    gzip.write_all(b"end").unwrap();
    let packed = gzip.finish().unwrap();
    assert!((packed.len() as u64) < size / 900, "{}", packed.len());
    let stored = u32::from_le_bytes(packed[packed.len() - 4..].try_into().unwrap());
    assert_eq!(stored, (size + 3) as u32);

    let mut gzip = StreamWriter::new(Vec::new(), &options(1));
    gzip.zeros(5_000_001).unwrap();
    assert!(decode(&gzip.finish().unwrap()) == vec![0; 5_000_001]);
}

#[test]
fn zstandard_has_checksums_and_zeros_cost_it_nothing() {
    let zstd = PackOptions {
        compression: Compression::Zstd,
        ..options(2)
    };
    let size = (1_u64 << 30) + 4097;
    let mut stream = StreamWriter::new(Vec::new(), &zstd);
    stream.zeros(size).unwrap();
    stream.write_all(&vec![0; 4 * BLOCK_SIZE]).unwrap();
    let packed = stream.finish().unwrap();
    assert!((packed.len() as u64) < size / 10_000, "{}", packed.len());
    let mut sum = 0;
    let mut reader = zstd::Decoder::new(&packed[..]).unwrap();
    let mut buffer = vec![1; 1 << 20];
    loop {
        let n = reader.read(&mut buffer).unwrap();
        assert!(buffer[..n].iter().all(|&byte| byte == 0));
        sum += n as u64;
        if n == 0 {
            break;
        }
    }
    assert_eq!(sum, size + 4 * BLOCK_SIZE as u64);

    let mut random = Random(9);
    let noise: Vec<u8> = (0..BLOCK_SIZE).map(|_| random.next() as u8).collect();
    let mut stream = StreamWriter::new(Vec::new(), &zstd);
    stream.write_all(&noise).unwrap();
    let mut packed = stream.finish().unwrap();
    let middle = packed.len() / 2;
    packed[middle] ^= 1;
    let error = zstd::decode_all(&packed[..]).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn a_blocked_output_holds_everything_up_and_memory_with_it() {
    /// Blocks until it is told to go on, and takes little at a time then; counts what it was given.
    struct Gate(Option<std::sync::mpsc::Receiver<()>>, Arc<AtomicUsize>);
    impl Write for Gate {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            if let Some(gate) = self.0.take() {
                gate.recv().map_err(io::Error::other)?;
            }
            let n = buf.len().min(10_000);
            self.1.fetch_add(n, Ordering::Relaxed);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let (open, gate) = std::sync::mpsc::channel();
        let (taken, written) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, sink) = (Arc::clone(&taken), Gate(Some(gate), Arc::clone(&written)));
        let writer = std::thread::spawn(move || {
            let mut random = Random(5);
            let noise: Vec<u8> = (0..BLOCK_SIZE).map(|_| random.next() as u8).collect();
            let mut stream = StreamWriter::new(
                sink,
                &PackOptions {
                    compression,
                    ..options(2)
                },
            );
            for _ in 0..40 {
                stream.write_all(&noise)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            stream.finish().map(drop)
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(written.load(Ordering::Relaxed), 0);
        assert!(taken.load(Ordering::Relaxed) <= 8, "{compression:?}");
        assert!(!writer.is_finished());
        open.send(()).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(taken.load(Ordering::Relaxed), 40);
        // And one that gives up.
        let (open, gate) = std::sync::mpsc::channel::<()>();
        drop(open);
        let mut stream = StreamWriter::new(Gate(Some(gate), written), &options(2));
        let error = (0..20).find_map(|_| stream.write_all(&vec![7; BLOCK_SIZE]).err());
        assert!(error.is_some() || stream.finish().is_err());
    }
}

#[test]
fn short_runs_of_zeros_are_compressed_with_their_neighbours() {
    let mut gzip = StreamWriter::new(Vec::new(), &options(1));
    for _ in 0..50 {
        gzip.write_all(b"x").unwrap();
        gzip.zeros(MIN_ZEROS - 1).unwrap();
    }
    let packed = gzip.finish().unwrap();
    assert_eq!(decode(&packed).len() as u64, 50 * MIN_ZEROS);
}

/// Counts the threads that live: the hook makes one in each of them.
struct Alive;

static ALIVE: AtomicUsize = AtomicUsize::new(0);

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn dropping_it_unfinished_ends_its_threads() {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static HERE: RefCell<Option<Alive>> = const { RefCell::new(None) });
    let hook = |name: &'static std::ffi::CStr| {
        assert_eq!(name, c"stillcore-pack");
        STARTED.fetch_add(1, Ordering::Relaxed);
        ALIVE.fetch_add(1, Ordering::Relaxed);
        HERE.set(Some(Alive));
    };
    for _ in 0..20 {
        let mut gzip = StreamWriter::new(
            io::sink(),
            &PackOptions {
                thread_start: hook,
                ..options(2)
            },
        );
        gzip.write_all(&vec![1; 3 * BLOCK_SIZE]).unwrap();
        drop(gzip);
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0, "one outlived its writer");
    }
    // Fewer than 40 where the machine gave no more: then the others do.
    assert!(STARTED.load(Ordering::Relaxed) > 0);
}

/// As on a machine that has nothing left for threads of low priority.
#[test]
fn threads_that_get_no_processor_do_not_hold_it_up() {
    static STARVED: Mutex<()> = Mutex::new(());
    let starved = STARVED.lock().unwrap();
    let mut random = Random(7);
    let input: Vec<u8> = (0..8 * BLOCK_SIZE).map(|_| random.next() as u8).collect();
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let options = PackOptions {
                thread_start: |_| drop(STARVED.lock().unwrap()),
                ..options(2)
            };
            let mut gzip = StreamWriter::new(Told(Vec::new(), tell), &options);
            gzip.write_all(&input).unwrap();
            gzip.finish().unwrap();
        });
        let packed = told.recv_timeout(Duration::from_secs(60));
        // Its threads are waited for.
        drop(starved);
        assert!(decode(&packed.expect("it waited for its threads")) == input);
    });
}

/// Tells what was written at the end.
struct Told(Vec<u8>, mpsc::Sender<Vec<u8>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let all = std::mem::take(&mut self.0);
        self.1.send(all).map_err(io::Error::other)
    }
}

#[test]
fn a_panic_in_a_thread_is_an_error() {
    let hook = |_: &'static std::ffi::CStr| panic!("on purpose");
    let mut gzip = StreamWriter::new(
        Vec::new(),
        &PackOptions {
            thread_start: hook,
            ..options(2)
        },
    );
    // As long as they have not ended this thread does their work.
    let block = vec![1; BLOCK_SIZE];
    let error = (0..10_000)
        .find_map(|_| gzip.write_all(&block).err())
        .unwrap();
    assert!(
        error
            .get_ref()
            .is_some_and(|inner| inner.is::<WorkerDied>()),
        "{error:?}"
    );
}

#[test]
fn a_full_disk_is_reported_with_its_number_and_stays_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut gzip = StreamWriter::new(full, &options(2));
    let mut random = Random(3);
    let noise: Vec<u8> = (0..BLOCK_SIZE).map(|_| random.next() as u8).collect();
    let error = (0..20).find_map(|_| gzip.write_all(&noise).err()).unwrap();
    assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENOSPC as i32));
    assert!(gzip.write_all(&noise).is_err());
    assert!(gzip.finish().is_err());
}
