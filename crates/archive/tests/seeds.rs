//! The inputs that the fuzz target is given.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use stillcore_archive::{CacheUse, Compression, Limits, OpenOptions, open_source};
use stillcore_corefile::Source;
use support::{Place, run_in, run_with};

/// The inputs of the fuzz target, opened like any other; see its README.
#[test]
fn kept_inputs_of_the_fuzz_target_are_opened_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/open");
    if std::env::var_os("STILLCORE_WRITE_SEEDS").is_some() {
        write_seeds(&folder);
    }
    let mut opened = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let bytes: Arc<dyn Source> = Arc::new(fs::read(file.unwrap().path()).unwrap());
        let options = OpenOptions {
            cache: CacheUse::Never,
            limits: Limits {
                unpacked: 16 << 20,
                ..Limits::default()
            },
            progress: None,
        };
        if let Ok(found) = open_source(Arc::clone(&bytes), &options) {
            opened += 1;
            assert!(found.core.len() > 0);
        }
        let _ = stillcore_archive::verify_source(bytes, &options);
    }
    assert!(opened >= 15, "{opened}");
}

fn write_seeds(folder: &Path) {
    let place = Place::new();
    let core = support::tiny_core();
    let add = |name: &str, bytes: Vec<u8>| {
        let path = folder.join(name);
        if !path.exists() {
            fs::write(path, bytes).unwrap();
        }
    };
    add("core", core.clone());
    let compressors: [(&str, &[&str]); 6] = [
        ("gzip", &["-c"]),
        ("zstd", &["-qc"]),
        ("xz", &["-c", "--block-size=2KiB"]),
        ("lz4", &["-qc"]),
        ("lz4", &["-qc", "-l"]),
        ("lz4", &["-qc", "-BD", "-B4"]),
    ];
    for (number, (program, args)) in compressors.into_iter().enumerate() {
        if let Some(packed) = run_with(program, args, &core) {
            add(&format!("core-{number}.{program}"), packed);
        }
    }
    let file = File::create(place.path("core")).unwrap();
    (&file).write_all(&core).unwrap();
    let file = File::open(place.path("core")).unwrap();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let archive = support::ours_with(&file, compression, "core_x", &[]);
        add(&format!("ours.{}", compression.extension()), archive);
    }
    let t = place.path("t");
    fs::create_dir_all(t.join("sub")).unwrap();
    let sparse = File::create(t.join("core")).unwrap();
    (&sparse).write_all(&core).unwrap();
    sparse.set_len(1 << 20).unwrap();
    symlink("../core", t.join("sub/link")).unwrap();
    fs::hard_link(t.join("core"), t.join("same")).unwrap();
    fs::write(t.join("sub").join("n".repeat(120)), b"long name").unwrap();
    let tars: [(&str, &[&str]); 5] = [
        ("gnu", &["-S", "--format=gnu"]),
        ("pax10", &["-S", "--format=pax", "--sparse-version=1.0"]),
        ("pax01", &["-S", "--format=pax", "--sparse-version=0.1"]),
        ("pax00", &["-S", "--format=pax", "--sparse-version=0.0"]),
        ("gnu-gzip", &["-S", "-z"]),
    ];
    for (name, args) in tars {
        if run_in(
            place.folder.path(),
            "tar",
            &[args, &["-cf", "x.tar", "t"]].concat(),
        ) {
            add(
                &format!("{name}.tar"),
                fs::read(place.path("x.tar")).unwrap(),
            );
        }
    }
    fs::remove_file(t.join("same")).unwrap();
    sparse.set_len(core.len() as u64).unwrap();
    for args in ["-qry", "-qr0y"] {
        let _ = fs::remove_file(place.path("x.zip"));
        if run_in(place.folder.path(), "zip", &[args, "x.zip", "t"]) {
            let zip = fs::read(place.path("x.zip")).unwrap();
            add(&format!("x{args}-cut.zip"), zip[..zip.len() - 30].to_vec());
            add(&format!("x{args}-half.zip"), zip[..1500].to_vec());
            add(&format!("x{args}.zip"), zip);
        }
    }
}
