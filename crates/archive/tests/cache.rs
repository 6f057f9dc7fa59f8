//! The cache: shared, bounded, private, and never believed when half done.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant, SystemTime};

use stillcore_archive::{Cache, CacheUse, OpenError, OpenOptions, open};
use support::{Place, all, core_bytes, noise, run_with};

const SIZE: u64 = 6 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    run_with("gzip", &["-1"], bytes).expect("gzip is part of every system")
}

fn options(cache: Cache) -> OpenOptions {
    OpenOptions {
        cache: CacheUse::At(cache),
        ..OpenOptions::default()
    }
}

/// A core that takes about this much on the disk.
fn full_core(bytes: usize, seed: u64) -> Vec<u8> {
    let mut core = core_bytes(SIZE);
    core.truncate(4096);
    core.extend(noise(bytes - 4096, seed));
    core
}

#[test]
fn many_at_once_share_one() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let path = place.write("core.gz", &gzip(&core));
    let reads = Arc::new(AtomicU64::new(0));
    let barrier = Barrier::new(8);
    let inodes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut options = place.options.clone();
                    let seen = Arc::clone(&reads);
                    let first = AtomicU64::new(0);
                    options.progress = Some(Arc::new(move |step| {
                        // Waiting has no total; unpacking has.
                        if step.total.is_some() && first.swap(1, Ordering::Relaxed) == 0 {
                            seen.fetch_add(1, Ordering::Relaxed);
                        }
                        true
                    }));
                    barrier.wait();
                    let opened = open(&path, &options).unwrap();
                    assert!(all(&opened.core) == core);
                    fs::metadata(&opened.cached[0]).unwrap().ino()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    assert_eq!(
        reads.load(Ordering::Relaxed),
        1,
        "one unpacked, seven waited"
    );
    let entries = place.cache().entries().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].len, SIZE);
    let origin = entries[0].origin.as_deref().unwrap();
    assert_eq!(
        origin,
        format!("{}: gzip", fs::canonicalize(&path).unwrap().display())
    );
}

/// The child is this very test, told by the environment; it is killed while it unpacks.
#[test]
fn killed_half_way_leaves_nothing_that_is_believed() {
    const CHILD: &str = "STILLCORE_TEST_CACHE_CHILD";
    if let Some(folder) = std::env::var_os(CHILD) {
        let folder = std::path::PathBuf::from(folder);
        let mut options = options(Cache::at(folder.join("cache"), 1 << 30));
        options.progress = Some(Arc::new(|step| {
            if step.done > 2 << 20 {
                println!("half way");
                std::thread::sleep(Duration::from_secs(60));
            }
            true
        }));
        let _ = open(&folder.join("core.gz"), &options);
        panic!("it was not killed");
    }
    let place = Place::new();
    let core = full_core(20 << 20, 5);
    let path = place.write("core.gz", &gzip(&core));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killed_half_way_leaves_nothing_that_is_believed",
            "--nocapture",
        ])
        .env(CHILD, place.folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let mut out = child.stdout.take().unwrap();
    let began = Instant::now();
    while !String::from_utf8_lossy(&said).contains("half way") {
        let mut byte = [0; 64];
        let n = out.read(&mut byte).unwrap();
        assert!(
            n > 0 && began.elapsed().as_secs() < 50,
            "{}",
            String::from_utf8_lossy(&said)
        );
        said.extend_from_slice(&byte[..n]);
    }
    let cache = place.cache();
    let entries = cache.entries().unwrap();
    assert!(entries.len() == 1 && entries[0].partial, "{entries:?}");
    // Somebody is at work on it.
    let cleared = cache.clear().unwrap();
    assert_eq!((cleared.files, cleared.busy), (0, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(entries[0].path.exists());
    let opened = open(&path, &place.options).unwrap();
    assert!(all(&opened.core) == core);
    let entries = cache.entries().unwrap();
    assert!(entries.len() == 1 && !entries[0].partial, "{entries:?}");
    let cleared = cache.clear().unwrap();
    assert_eq!((cleared.files, cleared.busy), (1, 0));
    assert!(cleared.bytes >= 20 << 20, "{cleared:?}");
    assert_eq!(
        fs::read_dir(cache.folder()).unwrap().count(),
        0,
        "not even the notes are left"
    );
    assert!(all(&opened.core) == core, "who has it open can go on");
}

#[test]
fn what_was_changed_or_left_there_by_others_is_not_believed() {
    let place = Place::new();
    let core = core_bytes(SIZE);
    let path = place.write("core.gz", &gzip(&core));
    let cached = open(&path, &place.options).unwrap().cached.remove(0);
    // The same name, other content.
    let other = full_core(SIZE as usize, 9);
    fs::write(&path, gzip(&other)).unwrap();
    let opened = open(&path, &place.options).unwrap();
    assert!(all(&opened.core) == other && opened.cached[0] != cached);
    // Garbage in place of the one that was begun.
    let partial = opened.cached[0].with_extension("partial");
    fs::remove_file(&opened.cached[0]).unwrap();
    fs::write(&partial, vec![0x55; 50 << 20]).unwrap();
    assert!(all(&open(&path, &place.options).unwrap().core) == other);
    assert!(!partial.exists());
    // One that others may write to.
    fs::set_permissions(&opened.cached[0], fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(&opened.cached[0], vec![0x55; SIZE as usize]).unwrap();
    assert!(all(&open(&path, &place.options).unwrap().core) == other);
    // The folder is made private again.
    fs::set_permissions(place.cache().folder(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::remove_file(&opened.cached[0]).unwrap();
    open(&path, &place.options).unwrap();
    assert_eq!(
        fs::metadata(place.cache().folder()).unwrap().mode() & 0o777,
        0o700
    );
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let place = Place::new();
    let cache = Cache::at(place.path("cache"), 25 << 20);
    let options = options(cache.clone());
    let paths: Vec<_> = (0..3)
        .map(|number| {
            let core = full_core(10 << 20, number + 1);
            place.write(&format!("{number}.gz"), &gzip(&core))
        })
        .collect();
    let age = |path: &std::path::Path, seconds| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    };
    let zero = open(&paths[0], &options).unwrap().cached.remove(0);
    let one = open(&paths[1], &options).unwrap().cached.remove(0);
    age(&zero, 200);
    age(&one, 100);
    // Used again.
    open(&paths[0], &options).unwrap();
    let two = open(&paths[2], &options).unwrap();
    assert!(zero.exists() && !one.exists() && two.cached[0].exists());
    let sum: u64 = cache
        .entries()
        .unwrap()
        .iter()
        .map(|entry| entry.bytes)
        .sum();
    assert!(sum <= cache.size());
    // One that is larger than the cache is read all the same, and not kept.
    let large = full_core(30 << 20, 7);
    let opened = open(&place.write("large.gz", &gzip(&large)), &options).unwrap();
    assert!(all(&opened.core) == large);
    assert!(opened.cached.is_empty());
    let sum: u64 = cache
        .entries()
        .unwrap()
        .iter()
        .map(|entry| entry.bytes)
        .sum();
    assert!(sum <= cache.size());
}

#[test]
fn what_is_stopped_or_fails_leaves_nothing() {
    let place = Place::new();
    let path = place.write("core.gz", &gzip(&core_bytes(SIZE)));
    let mut options = place.options.clone();
    options.progress = Some(Arc::new(|_| false));
    assert!(matches!(open(&path, &options), Err(OpenError::Stopped)));
    assert_eq!(place.cache().entries().unwrap(), []);
    // A folder that cannot be made: it goes without.
    let file = place.write("file", b"");
    let without = self::options(Cache::at(file.join("cache"), 1 << 30));
    let opened = open(&path, &without).unwrap();
    assert!(all(&opened.core) == core_bytes(SIZE));
    assert!(opened.cached.is_empty());
}
