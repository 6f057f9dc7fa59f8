//! The rules, one by one, on made-up facts.

use std::fs;

use nix::errno::Errno;

use super::*;
use crate::cgroup::Headroom;
use crate::plan;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

type Change = fn(&mut Facts);

/// A process of 1 GB, 800 MB of it V8's, on an ordinary host.
fn facts() -> Facts {
    let unlimited = Limit {
        soft: None,
        hard: None,
    };
    Facts {
        pattern: Some(("core".into(), false)),
        core_limit: Some(Limit {
            soft: Some(0),
            ..unlimited
        }),
        file_limit: Some(unlimited),
        status: Status {
            seccomp: Some(0),
            capabilities: Some(0),
            tracer: Some(0),
            page_tables: Some(30 * MIB),
            data: Some(2 * GIB),
            ..Status::default()
        },
        dumpable: Some(1),
        memory: Some(Memory {
            marked_ranges: 3200,
            marked: 1312 * MIB,
            marked_resident: 800 * MIB,
            anonymous: 974 * MIB,
            files: 90 * MIB,
        }),
        rss: GIB,
        overcommit: Overcommit {
            mode: Some(0),
            free: None,
        },
        directory: Directory {
            path: "/var/tmp".into(),
            problem: None,
            free: Some(100 * GIB),
            free_at_most: Some(100 * GIB),
            file_system: Some("ext4".into()),
        },
        page_files: true,
        executable: 100 * MIB,
        ..Facts::default()
    }
}

fn with(change: impl FnOnce(&mut Facts)) -> Report {
    let mut facts = facts();
    change(&mut facts);
    Report::of(facts)
}

/// Why not, in one string.
fn why(way: &Way) -> String {
    way.against
        .iter()
        .map(|reason| {
            assert!(!reason.change.is_empty(), "{reason:?}");
            reason.why.as_str()
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// What the direct way itself finds, built or not.
fn direct(facts: &Facts) -> Way {
    let mut way = facts.against_any_way();
    facts.against_the_direct_way(&mut way);
    way
}

#[test]
fn an_ordinary_host() {
    let report = with(|_| ());
    assert!(report.ok && report.kernel.works(), "{report:?}");
    assert!(direct(&report.facts).works());
    assert_eq!(report.warnings, [""; 0]);
    let estimates = report.estimates.unwrap();
    assert!((17.0..25.0).contains(&estimates.pause), "{estimates:?}");
    assert_eq!(estimates.core, 1064 * MIB);
    assert!((200 * MIB..400 * MIB).contains(&estimates.archive));
    assert_eq!(estimates.memory_reserve, 94 * MIB);
}

#[test]
fn patterns_that_stop_only_the_kernel_way() {
    for (pattern, words) in [
        (
            "|/usr/lib/systemd/systemd-coredump %P %u",
            "systemd-coredump (list",
        ),
        ("|/usr/share/apport/apport -p%p", "apport, Ubuntu's"),
        ("|/opt/handler %p", "to a program: /opt/handler"),
        ("|/bin/false", "throws them away"),
        ("| /opt/late", "to a program: /opt/late"),
        ("|", "to a program"),
        ("@@/run/dump.sock", "to a socket: /run/dump.sock"),
        ("/var/crash/core.%p", "at a path of its own"),
        ("dumps/core", "a folder of its own"),
        ("", "no core is written"),
    ] {
        let report = with(|facts| facts.pattern = Some((pattern.into(), false)));
        assert!(
            why(&report.kernel).contains(words),
            "{pattern}: {:?}",
            report.kernel
        );
        assert!(why(&report.kernel).contains(&format!("'{pattern}'")));
        assert!(direct(&report.facts).works());
        assert_eq!(report.ok, report.direct.works());
    }
    for pattern in ["core", "core.%p", "./core", "%e"] {
        assert!(with(|facts| facts.pattern = Some((pattern.into(), false))).ok);
        assert_eq!(meaning(pattern, false), "a file in the working folder");
    }
    assert!(with(|facts| facts.pattern = Some((String::new(), true))).ok);
    assert_eq!(meaning("", true), "a file .<pid> in the working folder");
    assert!(!with(|facts| facts.pattern = None).kernel.works());
}

#[test]
fn limits() {
    let limit = |soft, hard| Some(Limit { soft, hard });
    let report = with(|facts| facts.core_limit = limit(Some(0), Some(0)));
    assert!(why(&report.kernel).contains("is 0: no core"));
    assert!(report.warnings[0].contains("Perhaps somebody decided that"));
    let report = with(|facts| facts.core_limit = limit(Some(0), Some(512 * MIB)));
    assert!(
        why(&report.kernel).contains("is 512 MB, and a core of this process has at least 1.0 GB")
    );
    assert!(direct(&report.facts).works());
    // The copy raises its own soft limit; the service does not raise its.
    let report = with(|facts| facts.file_limit = limit(Some(MIB), None));
    assert!(report.kernel.works());
    assert!(why(&direct(&report.facts)).contains("soft limit on file sizes"));
    let report = with(|facts| facts.file_limit = limit(Some(MIB), Some(MIB)));
    assert!(why(&report.kernel).contains("hard limit on file sizes"));
}

#[test]
fn what_stops_every_way() {
    let changes: [(&str, Change); 8] = [
        (
            "(RLIMIT_AS, ulimit -v) leaves 5 MB of 2005 MB, and a capture may need",
            |facts| {
                facts.address_space_limit = Some(Limit {
                    soft: Some(2005 * MIB),
                    hard: None,
                });
                facts.mapped = 2000 * MIB;
            },
        ),
        (
            "(RLIMIT_DATA, ulimit -d) leaves 0 MB of 1024 MB, and a capture may need 64 MB",
            |facts| {
                facts.data_limit = Some(Limit {
                    soft: Some(GIB),
                    hard: Some(GIB),
                });
                facts.written = 2 * GIB;
            },
        ),
        ("EMFILE: too many open files.", |facts| {
            (facts.rss, facts.closed) = (0, Some(Errno::EMFILE));
        }),
        ("no usable /proc", |facts| facts.rss = 0),
        ("EACCES: permission denied.", |facts| {
            facts.directory.problem = Some(Errno::EACCES)
        }),
        ("2.0 MB are free", |facts| {
            facts.directory.free_at_most = Some(2 * MIB)
        }),
        (
            "has 200 MB left of its 2.0 GB, less than the 256 MB",
            |facts| {
                facts.headroom = Some(Headroom {
                    free: 200 * MIB,
                    limit: 2 * GIB,
                    reserve: 256 * MIB,
                });
            },
        ),
        ("1.0 GB are left, and a fork asks for 2.0 GB", |facts| {
            facts.overcommit = Overcommit {
                mode: Some(2),
                free: Some(GIB),
            };
        }),
    ];
    for (words, change) in changes {
        let report = with(change);
        assert!(!report.ok);
        assert!(
            why(&report.kernel).contains(words),
            "{words}: {:?}",
            report.kernel
        );
        assert!(why(&direct(&report.facts)).contains(words));
    }
}

#[test]
fn what_is_only_worth_a_word() {
    let changes: [(&str, Change); 10] = [
        ("(PR_GET_DUMPABLE 0). Captures work", |facts| {
            facts.dumpable = Some(0)
        }),
        ("A seccomp filter is active", |facts| {
            facts.status.seccomp = Some(2);
            facts.status.filters = Some(1);
        }),
        ("ptrace_scope is 2", |facts| facts.yama = Some(2)),
        ("ptrace_scope is 3", |facts| facts.yama = Some(3)),
        ("A debugger", |facts| facts.status.tracer = Some(1)),
        ("no pages out of forks", |facts| {
            facts.memory = Some(Memory::default())
        }),
        ("collectCore about", |facts| {
            facts.directory.free = Some(GIB + 1)
        }),
        ("is in memory", |facts| {
            facts.directory.file_system = Some("tmpfs".into())
        }),
        ("own layer", |facts| {
            facts.directory.file_system = Some("overlay".into())
        }),
        ("remote file system (nfs4)", |facts| {
            facts.directory.file_system = Some("nfs4".into())
        }),
    ];
    for (words, change) in changes {
        let report = with(change);
        assert!(report.ok && report.kernel.works());
        assert!(
            report
                .warnings
                .iter()
                .any(|warning| warning.contains(words)),
            "{:?}",
            report.warnings
        );
    }
    let report = with(|facts| {
        facts.yama = Some(2);
        facts.status.capabilities = Some(1 << CAP_SYS_PTRACE);
    });
    assert_eq!(report.warnings, [""; 0]);
}

#[test]
fn nothing_readable_at_all_is_no_panic() {
    let report = Report::of(Facts::default());
    assert!(!report.ok && report.estimates.is_none());
}

#[test]
fn this_process_is_judged_as_a_capture_would() {
    let folder = tempfile::tempdir().unwrap();
    let report = examine(folder.path());
    let room = report.facts.headroom.is_none_or(|room| room.is_enough());
    let planned = plan::check(folder.path()).is_ok() && room;
    assert_eq!(report.kernel.works(), planned, "{report:?}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    let missing = examine(&folder.path().join("missing"));
    assert!(why(&missing.kernel).contains("ENOENT: no such file or directory."));
}
