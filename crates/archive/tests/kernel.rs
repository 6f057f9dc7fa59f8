//! Crash dumps of the kernel: made here by hand, in each form, of a machine with 34 pages and two modules.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use stillcore_archive::{
    ManifestHead, PackOptions, PackageError, PackageJob, Packaged, package_kernel,
};
use stillcore_corefile::{DumpFormat, FileSource, KernelDump, Source, Sysroot};

const RELEASE: &str = "6.1.0-42-amd64";
const KERNEL_ID: [u8; 20] = [0xab; 20];
const FIRST_ID: [u8; 20] = [0x11; 20];
const PAGE: usize = 4096;
const PAGES: usize = 34;

/// What `VMCOREINFO` says; `modules` was linked a page below where it is.
fn info() -> String {
    format!(
        "OSRELEASE={RELEASE}\nBUILD-ID={}\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff80001000\n\
         KERNELOFFSET=1000\nNUMBER(phys_base)=0\nNUMBER(pgtable_l5_enabled)=0\nCRASHTIME=1700000000\n",
        "ab".repeat(20)
    )
}

/// Physical memory: page tables, the head of the list, two modules, of which one has a build-id and the other a source
/// version.
fn memory() -> Vec<u8> {
    let mut memory = vec![0; PAGES * PAGE];
    let mut word = |at: usize, value: u64| {
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    let present = 0x63;
    word(0x1000 + 511 * 8, 0x2000 | present);
    word(0x2000 + 510 * 8, 0x3000 | present);
    // The kernel's image in one large page; the modules in small ones.
    word(0x3000, present | 0x80);
    word(0x3000 + 256 * 8, 0x4000 | present);
    word(0x4000, 0x20000 | present);
    word(0x4008, 0x21000 | present | 1 << 63);
    let (head, first, second) = (
        0xffff_ffff_8001_0000,
        0xffff_ffff_a000_0100_u64,
        0xffff_ffff_a000_1000_u64,
    );
    word(0x10000, first + 8);
    word(0x10008, second + 8);
    word(0x20100 + 8, second + 8);
    word(0x21000 + 8, head);
    word(0x21000 + 200, second + 0x800);
    memory[0x20100 + 24..][..9].copy_from_slice(b"first_one");
    memory[0x20100 + 80..][..20].copy_from_slice(&FIRST_ID);
    memory[0x21000 + 24..][..6].copy_from_slice(b"second");
    memory[0x21800..][..8].copy_from_slice(b"SRC12345");
    memory
}

fn note(name: &str, kind: u32, content: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [name.len() as u32 + 1, content.len() as u32, kind] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(name.as_bytes());
    note.push(0);
    note.resize(note.len().next_multiple_of(4), 0);
    note.extend_from_slice(content);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

struct Elf {
    kind: u16,
    /// Type, physical address, bytes.
    segments: Vec<(u32, u64, Vec<u8>)>,
    /// Name, type, link, bytes.
    sections: Vec<(&'static str, u32, u32, Vec<u8>)>,
}

impl Elf {
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 64 + 56 * self.segments.len()];
        out[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        let put = |out: &mut Vec<u8>, at: usize, bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(&mut out, 16, &self.kind.to_le_bytes());
        put(&mut out, 18, &62_u16.to_le_bytes());
        put(&mut out, 20, &1_u32.to_le_bytes());
        put(&mut out, 32, &64_u64.to_le_bytes());
        put(&mut out, 52, &64_u16.to_le_bytes());
        put(&mut out, 54, &56_u16.to_le_bytes());
        put(&mut out, 56, &(self.segments.len() as u16).to_le_bytes());
        for (index, (kind, physical, bytes)) in self.segments.iter().enumerate() {
            let (at, offset) = (64 + 56 * index, out.len() as u64);
            put(&mut out, at, &kind.to_le_bytes());
            let size = bytes.len() as u64;
            let words = [offset, 0xffff_ffff_8000_0000, *physical, size, size, 4];
            for (index, word) in words.iter().enumerate() {
                put(&mut out, at + 8 + 8 * index, &word.to_le_bytes());
            }
            out.extend_from_slice(bytes);
        }
        let mut names = vec![0];
        let mut table = vec![0; 64];
        for (name, kind, link, bytes) in &self.sections {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&(names.len() as u32).to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(out.len() as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            header[40..44].copy_from_slice(&link.to_le_bytes());
            header[48] = 4;
            table.extend_from_slice(&header);
            out.extend_from_slice(bytes);
            out.resize(out.len().next_multiple_of(8), 0);
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        if self.sections.is_empty() {
            return out;
        }
        let mut header = [0; 64];
        header[4] = 3;
        header[24..32].copy_from_slice(&(out.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(names.len() as u64).to_le_bytes());
        table.extend_from_slice(&header);
        out.extend_from_slice(&names);
        out.resize(out.len().next_multiple_of(8), 0);
        let at = out.len() as u64;
        put(&mut out, 40, &at.to_le_bytes());
        put(&mut out, 58, &64_u16.to_le_bytes());
        let count = (table.len() / 64) as u16;
        put(&mut out, 60, &count.to_le_bytes());
        put(&mut out, 62, &(count - 1).to_le_bytes());
        out.extend_from_slice(&table);
        out
    }
}

fn elf_dump(memory: &[u8]) -> Vec<u8> {
    Elf {
        kind: 4,
        segments: vec![
            (4, 0, note("VMCOREINFO", 0, info().as_bytes())),
            (1, 0, memory.to_vec()),
        ],
        sections: Vec::new(),
    }
    .bytes()
}

/// makedumpfile's form: page 9 is left out, every third page is packed with zlib, the others lie as they are.
fn compressed_dump(memory: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4 * PAGE];
    out[..8].copy_from_slice(b"KDUMP   ");
    out[8..12].copy_from_slice(&6_u32.to_le_bytes());
    for (index, text) in ["Linux", "node", RELEASE, "#1", "x86_64"]
        .iter()
        .enumerate()
    {
        out[12 + 65 * index..][..text.len()].copy_from_slice(text.as_bytes());
    }
    let header = [0, PAGE as u32, 1, 2, PAGES as u32];
    for (index, word) in header.iter().enumerate() {
        out[424 + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
    }
    let pages: Vec<usize> = (0..PAGES).filter(|page| *page != 9).collect();
    for &page in &pages {
        out[3 * PAGE + page / 8] |= 1 << (page % 8);
    }
    let mut at = (4 * PAGE + 24 * pages.len()) as u64;
    let mut content = Vec::new();
    for &page in &pages {
        let bytes = &memory[page * PAGE..][..PAGE];
        let (flags, packed) = if page % 3 == 0 {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            (1_u32, encoder.finish().unwrap())
        } else {
            (0, bytes.to_vec())
        };
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        at += packed.len() as u64;
        content.extend_from_slice(&packed);
    }
    out.extend_from_slice(&content);
    let (text, end) = (info(), out.len() as u64);
    out[PAGE + 32..][..8].copy_from_slice(&end.to_le_bytes());
    out[PAGE + 40..][..8].copy_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

/// As it is sent over a network: in pieces, the second half first, and the beginning once more.
fn flattened(dump: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4096];
    out[..12].copy_from_slice(b"makedumpfile");
    out[23] = 1;
    out[31] = 1;
    let half = dump.len() / 2;
    let wrong = [0xee; 100];
    for (offset, bytes) in [(half, &dump[half..]), (0, &wrong[..]), (0, &dump[..half])] {
        out.extend_from_slice(&(offset as i64).to_be_bytes());
        out.extend_from_slice(&(bytes.len() as i64).to_be_bytes());
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(&(-1_i64).to_be_bytes());
    out.extend_from_slice(&(-1_i64).to_be_bytes());
    out
}

fn vmlinux(id: &[u8]) -> Vec<u8> {
    let mut symbols = vec![0; 24];
    let mut symbol = [0; 24];
    symbol[0] = 1;
    symbol[4] = 0x11;
    symbol[6..8].copy_from_slice(&0xfff1_u16.to_le_bytes());
    symbol[8..16].copy_from_slice(&0xffff_ffff_8000_f000_u64.to_le_bytes());
    symbols.extend_from_slice(&symbol);
    Elf {
        kind: 2,
        segments: vec![(4, 0, note("GNU", 3, id))],
        sections: vec![
            (".symtab", 2, 2, symbols),
            (".strtab", 3, 0, b"\0modules\0".to_vec()),
        ],
    }
    .bytes()
}

fn module(id: &[u8], version: &str) -> Vec<u8> {
    Elf {
        kind: 1,
        segments: Vec::new(),
        sections: vec![
            (".note.gnu.build-id", 7, 0, note("GNU", 3, id)),
            (
                ".modinfo",
                1,
                0,
                format!("license=GPL\0srcversion={version}\0").into_bytes(),
            ),
        ],
    }
    .bytes()
}

/// A root with the kernel, the two modules, and one that was not loaded.
fn root(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put(
        &format!("usr/lib/debug/boot/vmlinux-{RELEASE}"),
        &vmlinux(&KERNEL_ID),
    );
    let modules = format!("usr/lib/debug/lib/modules/{RELEASE}/kernel");
    put(
        &format!("{modules}/fs/first-one.ko"),
        &module(&FIRST_ID, "OTHER"),
    );
    put(
        &format!("{modules}/net/second.ko"),
        &module(&[0x22; 20], "SRC12345"),
    );
    put(
        &format!("{modules}/net/third.ko"),
        &module(&[0x33; 20], "SRC3"),
    );
    root
}

fn recognise(path: &Path) -> (Arc<dyn Source>, KernelDump) {
    let source: Arc<dyn Source> = Arc::new(FileSource::new(File::open(path).unwrap()).unwrap());
    let dump = KernelDump::recognise(source.clone()).unwrap().unwrap();
    (source, dump)
}

fn pack(dump: &Path, files: &Sysroot) -> Result<(PathBuf, Packaged), PackageError> {
    let (source, parsed) = recognise(dump);
    let output = dump.with_extension("tar.gz");
    let packaged = package_kernel(
        &parsed,
        &source,
        files,
        &PackageJob {
            name: dump.file_name().unwrap().to_str().unwrap(),
            core_file: None,
            core_mtime: SystemTime::now(),
            output: &output,
            manifest: ManifestHead::default(),
            options: PackOptions::default(),
            progress: &|_| true,
        },
    )?;
    Ok((output, packaged))
}

fn host_less(root: &Path) -> Sysroot {
    Sysroot {
        roots: vec![root.to_owned()],
        no_host: true,
        ..Sysroot::default()
    }
}

fn included(packaged: &Packaged) -> Vec<&str> {
    let files = packaged.manifest.files.iter();
    let mut paths: Vec<_> = files
        .filter_map(|file| file.archive_path.as_deref())
        .collect();
    paths.sort_unstable();
    paths
}

#[test]
fn a_dump_of_each_form_goes_with_its_kernel_and_the_modules_that_were_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let memory = memory();
    let forms = [
        ("elf", elf_dump(&memory), DumpFormat::Elf),
        ("kdump", compressed_dump(&memory), DumpFormat::Compressed),
        ("flat-elf", flattened(&elf_dump(&memory)), DumpFormat::Elf),
        (
            "flat-kdump",
            flattened(&compressed_dump(&memory)),
            DumpFormat::Compressed,
        ),
    ];
    for (name, bytes, format) in forms {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let (_, dump) = recognise(&path);
        assert_eq!(dump.format(), format);
        assert_eq!(dump.is_flattened(), name.starts_with("flat"));
        assert_eq!(dump.release(), Some(RELEASE));
        assert_eq!(dump.build_id().as_deref(), Some(&KERNEL_ID[..]));
        let loaded = dump.loaded_modules(0xffff_ffff_8000_f000).unwrap();
        let names: Vec<_> = loaded.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["first_one", "second"]);
        assert!(loaded[0].has_build_id(&FIRST_ID) && !loaded[0].has_build_id(&[0x22; 20]));
        assert!(loaded[1].has_source_version(b"SRC12345"));

        let (archive, packaged) = pack(&path, &host_less(&root)).unwrap();
        assert_eq!(packaged.left_out, [""; 0]);
        let modules = format!("usr/lib/debug/lib/modules/{RELEASE}/kernel");
        assert_eq!(
            included(&packaged),
            [
                format!("usr/lib/debug/boot/vmlinux-{RELEASE}"),
                format!("{modules}/fs/first-one.ko"),
                format!("{modules}/net/second.ko"),
            ]
        );
        assert_eq!(packaged.manifest.core.path, name);
        let flat_is_said = packaged
            .notes
            .iter()
            .any(|note| note.contains("makedumpfile -R"));
        assert_eq!(flat_is_said, name.starts_with("flat"));
        opens(&archive, name, &modules);
    }
}

/// The scripts give the tools these files, wherever they lie, and pass arguments on.
fn opens(archive: &Path, name: &str, modules: &str) {
    let away = tempfile::tempdir().unwrap();
    let away = fs::canonicalize(away.path()).unwrap().join("with space");
    fs::create_dir_all(&away).unwrap();
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(&away)
        .status();
    assert!(unpacked.unwrap().success());
    let top = away.join(format!("archive-{name}"));
    let at = |path: &str| top.join(path).to_str().unwrap().to_owned();
    let vmlinux = at(&format!("usr/lib/debug/boot/vmlinux-{RELEASE}"));
    let folder = at(modules.strip_suffix("/kernel").unwrap());
    let first = at(&format!("{modules}/fs/first-one.ko"));
    let second = at(&format!("{modules}/net/second.ko"));
    let dump = at(name);
    for (tool, expected) in [
        (
            "drgn",
            vec![
                "-c", &dump, "-s", &vmlinux, "-s", &first, "-s", &second, "a b",
            ],
        ),
        ("sdb", vec!["-s", &folder, &vmlinux, &dump, "a b"]),
        (
            "crash",
            vec!["--no_crashrc", "--mod", &folder, &vmlinux, &dump, "a b"],
        ),
    ] {
        let stand_in = away.join(tool);
        fs::write(&stand_in, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&stand_in, executable).unwrap();
        let output = Command::new("sh")
            .arg(top.join(format!("run-{tool}.sh")))
            .arg("a b")
            .env(tool.to_uppercase(), &stand_in)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    }
    fs::remove_dir_all(&away).unwrap();
}

#[test]
fn a_module_of_another_build_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let other = root.join(format!(
        "usr/lib/debug/lib/modules/{RELEASE}/kernel/net/second.ko"
    ));
    fs::write(&other, module(&[0x99; 20], "NEWER")).unwrap();
    let dump = folder.path().join("dump");
    fs::write(&dump, elf_dump(&memory())).unwrap();
    let (archive, packaged) = pack(&dump, &host_less(&root)).unwrap();
    assert_eq!(packaged.left_out.len(), 1);
    assert!(packaged.left_out[0].contains("second.ko"));
    assert_eq!(included(&packaged).len(), 2);
    fs::remove_file(archive).unwrap();
    let forced = Sysroot {
        force: true,
        ..host_less(&root)
    };
    let (_, packaged) = pack(&dump, &forced).unwrap();
    assert_eq!(included(&packaged).len(), 3);
}

#[test]
fn where_the_list_cannot_be_read_all_modules_go_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let mut memory = memory();
    // No page tables.
    memory[0x1000..0x2000].fill(0);
    let dump = folder.path().join("dump");
    fs::write(&dump, compressed_dump(&memory)).unwrap();
    let (_, packaged) = pack(&dump, &host_less(&root)).unwrap();
    assert_eq!(included(&packaged).len(), 4);
    let said = packaged
        .notes
        .iter()
        .any(|note| note.contains("cannot be told") && note.contains("all 3"));
    assert!(said, "{:?}", packaged.notes);
}

#[test]
fn without_its_kernel_there_is_advice_and_no_archive() {
    let folder = tempfile::tempdir().unwrap();
    let root = root(folder.path());
    let dump = folder.path().join("dump");
    fs::write(&dump, compressed_dump(&memory())).unwrap();
    let kernel = root.join(format!("usr/lib/debug/boot/vmlinux-{RELEASE}"));
    fs::write(&kernel, vmlinux(&[0xcd; 20])).unwrap();
    let error = pack(&dump, &host_less(&root)).unwrap_err().to_string();
    for part in [
        RELEASE,
        &"ab".repeat(20),
        &"cd".repeat(20),
        "linux-image-6.1.0-42-amd64-dbg",
        "--sysroot",
        "--debug-dir",
    ] {
        assert!(error.contains(part), "no {part} in {error}");
    }
    assert!(!folder.path().join("dump.tar.gz").exists());

    // A folder of debug files that has it.
    let debug = folder.path().join("debug");
    fs::create_dir(&debug).unwrap();
    fs::write(
        debug.join(format!("vmlinux-{RELEASE}")),
        vmlinux(&KERNEL_ID),
    )
    .unwrap();
    let files = Sysroot {
        debug_dirs: vec![debug],
        ..host_less(&root)
    };
    let (_, packaged) = pack(&dump, &files).unwrap();
    let place = format!("usr/lib/debug/vmlinux-{RELEASE}");
    assert!(included(&packaged).contains(&place.as_str()));
}

#[test]
fn damaged_dumps_are_errors_and_others_are_none() {
    let recognise = |bytes: Vec<u8>| KernelDump::recognise(Arc::new(bytes) as Arc<dyn Source>);
    assert!(recognise(b"KDUM".to_vec()).unwrap().is_none());
    let process = Elf {
        kind: 4,
        segments: vec![(4, 0, note("CORE", 1, &[0; 16]))],
        sections: Vec::new(),
    };
    assert!(recognise(process.bytes()).unwrap().is_none());
    for whole in [
        elf_dump(&memory()),
        compressed_dump(&memory()),
        flattened(&compressed_dump(&memory())),
    ] {
        // Cut off anywhere, and with any byte of the headers changed: an answer, and no panic.
        for cut in (0..whole.len()).step_by(997) {
            if let Ok(Some(dump)) = recognise(whole[..cut].to_vec()) {
                let _ = dump.loaded_modules(0xffff_ffff_8000_f000);
            }
        }
        for at in (0..whole.len().min(5 * PAGE)).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            if let Ok(Some(dump)) = recognise(changed) {
                let _ = dump.loaded_modules(0xffff_ffff_8000_f000);
            }
        }
    }
}
