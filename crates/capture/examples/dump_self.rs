//! A core of this very program by the direct way, with threads that sleep and threads that run.
//! `dump_self DIRECTORY [kernel]`
use std::io::{Seek, SeekFrom, Write};
use std::sync::mpsc;
use std::time::Duration;

use stillcore_capture::{Content, Made, Method, Output, Part, Request, Target, Wanted};

fn main() {
    let directory = std::env::args().nth(1).expect("a directory");
    let method = if std::env::args().nth(2).is_some() {
        Method::Kernel
    } else {
        Method::Direct
    };
    for _ in 0..5 {
        std::thread::spawn(|| std::thread::sleep(Duration::from_secs(100)));
    }
    for _ in 0..2 {
        std::thread::spawn(spin);
    }
    std::thread::sleep(Duration::from_millis(100));
    let (tell, told) = mpsc::channel();
    let request = Request {
        target: Target::Directory(directory.into()),
        owner: 0,
        timeout: Duration::from_secs(60),
        stall_timeout: Duration::from_secs(60),
        method: Some(method),
        wanted: Wanted::default(),
        all_threads: true,
        instead_of: None,
        watch: None,
        describe: Box::new(|method, time, names| format!("{method:?} {time} {names:?}")),
        finish: Box::new(|core| {
            if let Content::Dump(dump) = &core.content {
                let path = dump.wait()?;
                core.add_threads(&path).unwrap();
            } else if let Content::Live(live) = &core.content {
                let Output::Folder(folder) = &core.output else {
                    unreachable!()
                };
                let path = folder.path().join("core");
                let mut out = std::fs::File::create(path).unwrap();
                for part in live.parts() {
                    match part {
                        Part::Bytes(bytes) => out.write_all(bytes).unwrap(),
                        Part::Zeros(n) => drop(out.seek(SeekFrom::Current(n as i64)).unwrap()),
                        Part::Memory(range) => {
                            let mut bytes = vec![0; (range.end - range.start) as usize];
                            assert_eq!(live.read(range.start, &mut bytes).unwrap(), bytes.len());
                            out.write_all(&bytes).unwrap();
                        }
                    }
                }
                out.set_len(live.size()).unwrap();
                live.done();
            }
            println!(
                "{} threads by {:?}",
                core.threads.count(),
                core.threads.how()
            );
            let Output::Folder(folder) = core.output else {
                unreachable!()
            };
            let path = folder.publish()?;
            Ok(Made {
                path,
                ..Made::default()
            })
        }),
        done: Box::new(move |outcome| tell.send((outcome.result, outcome.steps)).unwrap()),
    };
    let begun = stillcore_capture::begin(request, || {
        std::thread::spawn(stillcore_capture::drain);
        Ok(())
    });
    println!("pause {:?}", begun.unwrap().pause);
    println!("{:?}", told.recv().unwrap());
}

fn spin() {
    let mut x = 1u64;
    loop {
        x = std::hint::black_box(x.wrapping_mul(3));
    }
}
