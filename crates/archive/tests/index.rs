//! The index of our archives: that it is true, that others need not know of it, and that no lie in it is believed.

mod support;

use std::sync::Arc;

use stillcore_archive::{
    Compression, Files, OpenOptions, Opened, open, open_source, verify_source,
};
use support::{Place, TOP, all, core_bytes, core_file, ours_with, run_with};

const SIZE: u64 = 4 << 20;

/// Where the footer begins.
fn footer_at(archive: &[u8], compression: Compression) -> usize {
    let behind = if compression == Compression::Gzip {
        10
    } else {
        0
    };
    archive.len() - behind - 1024 - 64
}

fn number(archive: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(archive[at..at + 8].try_into().unwrap())
}

/// Where the items are: with the footer in the last stored piece, when they are few, behind the one with the header.
fn items_at(archive: &[u8], compression: Compression) -> std::ops::Range<usize> {
    let footer = footer_at(archive, compression);
    let start = number(archive, footer + 24) as usize;
    let len = number(archive, footer + 16) as usize;
    assert!(len + 64 <= 512, "too many items for this test");
    let head = if compression == Compression::Gzip {
        5
    } else {
        12
    };
    let items = start + 512 + 2 * head;
    items..items + len
}

/// The archive with another footer; its checksum and that of the gzip member are right again.
fn with_footer(archive: &[u8], compression: Compression, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut changed = archive.to_vec();
    let at = footer_at(archive, compression);
    change(&mut changed[at..at + 64]);
    let crc = crc32fast::hash(&changed[at..at + 60]);
    changed[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
    if compression == Compression::Gzip {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(
            &mut flate2::bufread::DeflateDecoder::new(&changed[10..]),
            &mut plain,
        )
        .unwrap();
        let end = changed.len();
        changed[end - 8..end - 4].copy_from_slice(&crc32fast::hash(&plain).to_le_bytes());
    }
    changed
}

/// The archive with other items, all checksums of the index and of the gzip member right again.
fn with_items(archive: &[u8], compression: Compression, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let items = items_at(archive, compression);
    let mut changed = archive.to_vec();
    change(&mut changed[items.clone()]);
    let crc = crc32fast::hash(&changed[items]);
    with_footer(&changed, compression, |footer| {
        footer[52..56].copy_from_slice(&crc.to_le_bytes());
    })
}

/// An archive with nothing in it but the core.
fn ours(core: &std::fs::File, compression: Compression, top: &str) -> Vec<u8> {
    ours_with(core, compression, top, &[])
}

fn open_bytes(archive: &[u8]) -> Opened {
    let options = OpenOptions {
        cache: stillcore_archive::CacheUse::Never,
        ..OpenOptions::default()
    };
    open_source(Arc::new(archive.to_vec()), &options).unwrap()
}

fn names(files: &Files) -> Vec<Vec<u8>> {
    files.iter().map(|file| file.path.to_vec()).collect()
}

#[test]
fn other_programs_need_not_know_of_it() {
    let file = core_file(SIZE);
    let core = core_bytes(SIZE);
    let entry = format!("{TOP}/core");
    for (compression, flag, program) in [
        (Compression::Gzip, "z", "gzip"),
        (Compression::Zstd, "--zstd", "zstd"),
    ] {
        let archive = ours(&file, compression, TOP);
        let extract = match compression {
            Compression::Gzip => vec!["-xzO", "-f", "-", &entry],
            _ => vec![flag, "-xO", "-f", "-", &entry],
        };
        for tar in ["tar", "bsdtar"] {
            if let Some(out) = run_with(tar, &extract, &archive) {
                assert!(out == core, "{tar} {compression:?}");
            }
        }
        run_with(program, &["-tq"], &archive);
        if let Some(out) = run_with(program, &["-dc"], &archive) {
            let mut tar = tar::Archive::new(&out[..]);
            let last = tar.entries().unwrap().last().unwrap().unwrap();
            assert_eq!(
                &*last.path_bytes(),
                format!("{TOP}/stillcore.index").as_bytes()
            );
            assert!(out.ends_with(&[0; 1024]));
        }
    }
    let python = "import sys, tarfile, zlib\n\
        data = sys.stdin.buffer.read()\n\
        d = zlib.decompressobj(31)\n\
        d.decompress(data)\n\
        assert d.eof and not d.unused_data\n\
        import io\n\
        for mode in ('r|gz', 'r:gz'):\n\
        \x20   t = tarfile.open(fileobj=io.BytesIO(data), mode=mode)\n\
        \x20   assert [m.name for m in t][-1].endswith('/stillcore.index')\n";
    run_with(
        "python3",
        &["-c", python],
        &ours(&file, Compression::Gzip, TOP),
    );
}

#[test]
fn a_long_name_of_the_top_folder_changes_nothing() {
    let top = format!("archive-{}", "x".repeat(240));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let opened = open_bytes(&ours(&core_file(SIZE), compression, &top));
        assert!(opened.indexed);
        assert_eq!(opened.files.top(), top.as_bytes());
        assert!(all(&opened.core) == core_bytes(SIZE));
    }
}

#[test]
fn whatever_is_wrong_in_the_index_the_bytes_are_right() {
    let core = core_bytes(SIZE);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let archive = ours(&core_file(SIZE), compression, TOP);
        let true_names = names(&open_bytes(&archive).files);
        let len = items_at(&archive, compression).len();
        let mut count = 0;
        let mut indexed = 0;
        let mut check = |lie: Vec<u8>| {
            count += 1;
            let opened = open_bytes(&lie);
            indexed += usize::from(opened.indexed);
            assert!(all(&opened.core) == core, "{compression:?}, lie {count}");
            let mut seen = names(&opened.files);
            // Only the index itself knows that it is one.
            seen.retain(|name| !name.ends_with(b"/stillcore.index"));
            assert_eq!(seen, true_names, "{compression:?}, lie {count}");
        };
        // Every field of the footer, with a checksum that fits.
        for at in [0, 8, 12, 16, 17, 24, 25, 31, 32, 33, 39, 40, 48, 52] {
            check(with_footer(&archive, compression, |footer| footer[at] ^= 1));
            check(with_footer(&archive, compression, |footer| {
                footer[at] = 0xff
            }));
        }
        // Every byte of the items.
        for at in 0..len {
            check(with_items(&archive, compression, |items| items[at] ^= 1));
            check(with_items(&archive, compression, |items| items[at] ^= 0x84));
        }
        // Gzip's own checksum gives nearly all of them away at once; a frame of zstd only when it is read.
        eprintln!("{compression:?}: {indexed} of {count} lies were believed at first");
    }
}

/// Two blocks whose checksums are changed so that their combination stays right: only reading the block tells.
#[test]
fn a_lie_that_keeps_the_checksum_of_the_whole_is_found_when_the_block_is_read() {
    let core = core_bytes(SIZE);
    let archive = ours(&core_file(SIZE), Compression::Gzip, TOP);
    let items = &archive[items_at(&archive, Compression::Gzip)];
    // The checksums of the first two full blocks: kind 0 in the two lowest bits, a LEB128 number before each.
    let mut at = 0;
    let mut places = Vec::new();
    while at < items.len() && places.len() < 2 {
        let kind = items[at] & 3;
        let mut number = || {
            while items[at] & 0x80 != 0 {
                at += 1;
            }
            at += 1;
        };
        number();
        match kind {
            0 => {
                places.push(at);
                at += 4;
            }
            1 => {
                number();
                at += 4;
                places.clear();
            }
            _ => {
                number();
                number();
                places.clear();
            }
        }
    }
    let [first, second] = places[..] else {
        panic!("the core has no two full blocks in a row");
    };
    let lie = with_items(&archive, Compression::Gzip, |items| {
        // What a change of the first does to the combination, the second takes back.
        let mut change = crc32fast::Hasher::new_with_initial_len(0x1234_5678, 1);
        let block = crc32fast::Hasher::new_with_initial_len(0, 512 * 1024);
        change.combine(&block);
        let shifted = change.finalize();
        for (place, by) in [(first, 0x1234_5678_u32), (second, shifted)] {
            for (byte, by) in items[place..place + 4].iter_mut().zip(by.to_le_bytes()) {
                *byte ^= by;
            }
        }
    });
    let opened = open_bytes(&lie);
    assert!(
        opened.indexed,
        "the sum is right, so it is believed at first"
    );
    assert!(all(&opened.core) == core);
    let verified = verify_source(Arc::new(lie), &OpenOptions::default()).unwrap();
    assert!(!verified.index);
    assert_eq!(verified.problems.len(), 1, "{:?}", verified.problems);
}

#[test]
fn damage_in_a_block_is_an_error_and_never_other_bytes() {
    let core = core_bytes(SIZE);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let archive = ours(&core_file(SIZE), compression, TOP);
        for at in [5000, 100_000, 300_000] {
            let mut damaged = archive.clone();
            damaged[at] ^= 0x10;
            let opened = match open_source(Arc::new(damaged), &OpenOptions::default()) {
                Ok(opened) => opened,
                // In a block that has to be read to open it.
                Err(_) => continue,
            };
            let mut errors = 0;
            for at in (0..SIZE).step_by(4096) {
                let mut page = [0; 4096];
                match opened.core.read_at(at, &mut page) {
                    Ok(n) => assert!(page[..n] == core[at as usize..at as usize + n]),
                    Err(_) => errors += 1,
                }
            }
            assert!(errors > 0, "{compression:?} {at}");
        }
    }
}

#[test]
fn cut_off_anywhere_an_archive_is_damaged() {
    let place = Place::new();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let archive = ours(&core_file(SIZE), compression, TOP);
        let len = archive.len();
        let cuts = (1..40)
            .map(|part| len * part / 40)
            .chain((1..=64).map(|n| len - n * 24));
        for cut in cuts {
            let path = place.write("cut", &archive[..cut]);
            let opened = open(&path, &place.options);
            // A plain tar archive that lost nothing but its end is whole, as far as that can be known.
            let whole = opened.as_ref().is_ok_and(|opened| {
                compression == Compression::None && !opened.notes.is_empty() || cut > len - 1024
            });
            // The manifest tells what zstd's frames cannot: whether one is missing at the end.
            let frames = compression == Compression::Zstd && opened.is_ok();
            let is_said = opened
                .as_ref()
                .map_or(true, |opened| !opened.damage.is_empty());
            assert!(
                is_said || whole || frames,
                "{compression:?} cut at {cut} of {len}"
            );
            if compression == Compression::None && cut > len - 1024 {
                continue;
            }
            let verified = stillcore_archive::verify(&path, &place.options).unwrap();
            assert!(!verified.is_good(), "{compression:?} cut at {cut} of {len}");
        }
    }
}
