//! The report from what was found: about a process, or about the host.

use stillcore_capture::doctor;

use super::{
    Cgroup, Container, CorePattern, Directory, DontFork, Estimates, Libc, Limit, Limits, Memory,
    Overcommit, Report, Seccomp, Way, Ways, platform,
};

impl Report {
    /// From what was found about a process, or about the host.
    pub fn new(pid: Option<u32>, found: &doctor::Report) -> Report {
        let facts = &found.facts;
        let status = &facts.status;
        let of_process = |number: u64| pid.map(|_| number).filter(|&number| number != 0);
        let (libc, version) = doctor::libc_of_this_process();
        Report {
            ok: found.ok,
            platform: platform(),
            pid,
            libc: Some(Libc {
                name: libc.to_owned(),
                version,
            }),
            core_pattern: facts
                .pattern
                .as_ref()
                .map(|(pattern, with_pid)| CorePattern {
                    value: pattern.clone(),
                    meaning: doctor::meaning(pattern, *with_pid),
                    kernel_way: doctor::leaves_core_in_folder(pattern, *with_pid),
                }),
            limits: Limits {
                core: limit(facts.core_limit),
                file_size: limit(facts.file_limit),
                address_space: limit(facts.address_space_limit),
                data: limit(facts.data_limit),
            },
            yama: facts.yama,
            seccomp: status.seccomp.map(|mode| Seccomp {
                mode: ["none", "strict", "filter"][mode.min(2) as usize].to_owned(),
                filters: status.filters,
            }),
            capabilities: status.capabilities.map(|set| {
                let held = doctor::CAPABILITIES
                    .iter()
                    .filter(|(_, bit)| set & (1 << bit) != 0);
                held.map(|(name, _)| (*name).to_owned()).collect()
            }),
            no_new_privs: status.no_new_privs,
            dumpable: facts.dumpable,
            sigsegv: facts.sigsegv.as_ref().map(|sigsegv| {
                match sigsegv.state {
                    doctor::Handling::Default => "default",
                    doctor::Handling::Ignored => "ignored",
                    doctor::Handling::Handled => "handled",
                }
                .to_owned()
            }),
            dont_fork: facts.memory.map(|memory| DontFork {
                ranges: memory.marked_ranges,
                bytes: memory.marked,
                resident: memory.marked_resident,
            }),
            threads: status.threads.and_then(of_process),
            directory: Some(Directory {
                path: facts.directory.path.to_string_lossy().into_owned(),
                writable: facts.directory.problem.is_none(),
                free_bytes: facts.directory.free,
                file_system: facts.directory.file_system.clone(),
            }),
            memory: Some(Memory {
                rss: of_process(facts.rss),
                cgroup: facts.headroom.map(|room| Cgroup {
                    version: facts.groups,
                    limit: room.limit,
                    free: room.free,
                    reserve: room.reserve,
                }),
                overcommit: Overcommit {
                    mode: facts.overcommit.mode,
                    free: facts.overcommit.free,
                },
            }),
            container: Some(Container {
                pid_namespace: facts.container.pid_namespace,
                user_namespace: facts.container.user_namespace,
                mount_namespace: facts.container.mount_namespace,
                cgroup: facts.container.cgroup.clone(),
            }),
            estimates: found.estimates.map(|estimates| Estimates {
                pause_ms: estimates.pause,
                core_bytes: estimates.core,
                archive_bytes: estimates.archive,
                memory_reserve: estimates.memory_reserve,
                free_bytes_needed: estimates.free_needed,
            }),
            ways: Ways {
                kernel: way(&found.kernel),
                direct: way(&found.direct),
            },
            warnings: found.warnings.clone(),
        }
    }
}

fn limit(limit: Option<doctor::Limit>) -> Option<Limit> {
    limit.map(|limit| Limit {
        soft: limit.soft,
        hard: limit.hard,
    })
}

fn way(way: &doctor::Way) -> Way {
    let all = |pick: fn(&doctor::Reason) -> &str| {
        let texts: Vec<&str> = way.against.iter().map(pick).collect();
        (!way.works()).then(|| texts.join(" "))
    };
    Way {
        works: way.works(),
        why: all(|reason| &reason.why),
        change: all(|reason| &reason.change),
    }
}
