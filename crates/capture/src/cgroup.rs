//! How much more memory the control groups of this process allow.
//!
//! Every page that the service writes while a copy lives exists twice. In a container the kernel may then
//! kill the whole group, service included: so the headroom is compared with a reserve before each fork, and
//! while any copy lives.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The least memory that must stay free, however small the group.
const LEAST_RESERVE: u64 = 256 << 20;

/// Environment variable that sets another reserve, in bytes.
const RESERVE: &str = "STILLCORE_MEMORY_RESERVE";

/// What the tightest group of this process leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headroom {
    /// Bytes until the limit, inactive file cache counted as free.
    pub free: u64,
    /// The limit in bytes.
    pub limit: u64,
    /// How many of them captures must leave free.
    pub reserve: u64,
}

impl Headroom {
    /// Whether a copy may be made, or go on living.
    pub fn is_enough(&self) -> bool {
        self.free >= self.reserve
    }
}

/// Where this process's memory is accounted. Reading it again is cheap, so it is looked up for every capture:
/// a process can be moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// Group folders from the process's own up to the root of the mount, innermost first.
    folders: Vec<PathBuf>,
    version: Version,
    /// What must stay free where the default is not wanted.
    reserve: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Version {
    #[default]
    V2,
    V1,
}

impl Groups {
    /// The groups of this process; none where the memory controller is not mounted.
    pub fn of_this_process() -> Groups {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let reserve = std::env::var(RESERVE)
            .ok()
            .and_then(|bytes| bytes.trim().parse().ok());
        Groups {
            reserve,
            ..Groups::find(&groups, mounts())
        }
    }

    /// The groups of another process, as far as they are mounted for this one.
    pub fn of_process(pid: u32) -> Groups {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Groups::find(
            &read(&format!("/proc/{pid}/cgroup")),
            &read("/proc/self/mountinfo"),
        )
    }

    /// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
    fn find(groups: &str, mounts: &str) -> Groups {
        let (folders, version) = folders("memory", groups, mounts);
        Groups {
            folders,
            version,
            reserve: None,
        }
    }

    /// What the tightest of the groups leaves now; None without a limit.
    pub fn headroom(&self) -> Option<Headroom> {
        self.folders
            .iter()
            .filter_map(|folder| self.headroom_of(folder))
            .min_by_key(|room| {
                // The one nearest to trouble, not the one with the smallest number.
                room.free as i128 - room.reserve as i128
            })
    }

    fn headroom_of(&self, folder: &Path) -> Option<Headroom> {
        let number = |name: &str| -> Option<u64> {
            fs::read_to_string(folder.join(name))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        let (limit, used, cache) = match self.version {
            Version::V2 => ("memory.max", "memory.current", "inactive_file "),
            Version::V1 => (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            ),
        };
        // "max" does not parse; version 1 says "no limit" with a number near 2^63.
        let limit = number(limit).filter(|limit| *limit < 1 << 60)?;
        let used = number(used)?;
        let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let cache = statistics
            .lines()
            .find_map(|line| line.strip_prefix(cache))
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let free = limit.saturating_sub(used.saturating_sub(cache));
        let reserve = self
            .reserve
            .unwrap_or_else(|| LEAST_RESERVE.max(limit / 20));
        Some(Headroom {
            free,
            limit,
            reserve,
        })
    }

    /// The version of the hierarchy that accounts this process's memory; None where there is none.
    pub fn version(&self) -> Option<u32> {
        let version = match self.version {
            Version::V1 => 1,
            Version::V2 => 2,
        };
        (!self.folders.is_empty()).then_some(version)
    }

    /// How often the kernel killed something in the own group for want of memory.
    pub fn kills(&self) -> u64 {
        let Some(own) = self.folders.first() else {
            return 0;
        };
        let name = match self.version {
            Version::V2 => "memory.events",
            Version::V1 => "memory.oom_control",
        };
        fs::read_to_string(own.join(name))
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
            .unwrap_or(0)
    }
}

/// Where this process's groups are, for one controller, innermost first. None where it is not mounted.
pub(crate) fn folders_of_this_process(controller: &str) -> Vec<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    folders(controller, &groups, mounts()).0
}

fn mounts() -> &'static str {
    // Where the controllers are mounted does not change under a process, and on a host the list is long.
    static MOUNTS: OnceLock<String> = OnceLock::new();
    MOUNTS.get_or_init(|| fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// The same from the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn folders(controller: &str, groups: &str, mounts: &str) -> (Vec<PathBuf>, Version) {
    let path_of = |wanted: &dyn Fn(&str, &str) -> bool| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers) = (fields.next()?, fields.next()?);
            let path = fields.next()?;
            wanted(id, controllers).then(|| path.to_owned())
        })
    };
    // With both mounted (hybrid) a controller is where version 1 names it.
    let v1 = path_of(&|_, controllers| controllers.split(',').any(|name| name == controller));
    let (path, version) = match v1 {
        Some(path) => (path, Version::V1),
        None => match path_of(&|id, controllers| id == "0" && controllers.is_empty()) {
            Some(path) => (path, Version::V2),
            None => return (Vec::new(), Version::V2),
        },
    };
    for line in mounts.lines() {
        let Some((fixed, rest)) = line.split_once(" - ") else {
            continue;
        };
        let mut rest = rest.split(' ');
        let (kind, options) = (rest.next().unwrap_or(""), rest.nth(1).unwrap_or(""));
        let right = match version {
            Version::V2 => kind == "cgroup2",
            Version::V1 => kind == "cgroup" && options.split(',').any(|name| name == controller),
        };
        let fields: Vec<&str> = fixed.split(' ').collect();
        let (true, Some(root), Some(point)) = (right, fields.get(3), fields.get(4)) else {
            continue;
        };
        // In a container that shares the host's cgroup namespace the mount shows only a part of the tree.
        let inside = match path.strip_prefix(root.trim_end_matches('/')) {
            Some(inside) if inside.is_empty() || inside.starts_with('/') => inside,
            _ => "",
        };
        let top = Path::new(point);
        let own = top.join(inside.trim_start_matches('/'));
        let folders = own
            .ancestors()
            .take_while(|folder| folder.starts_with(top))
            .map(Path::to_owned)
            .collect();
        return (folders, version);
    }
    (Vec::new(), Version::V2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn group(folder: &Path, max: &str, current: u64, inactive: u64) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("memory.max"), max).unwrap();
        fs::write(folder.join("memory.current"), format!("{current}\n")).unwrap();
        fs::write(
            folder.join("memory.stat"),
            format!("anon 5\ninactive_file {inactive}\n"),
        )
        .unwrap();
    }

    #[test]
    fn version_2_takes_the_tightest_of_all_levels() {
        let root = tempfile::tempdir().unwrap();
        let point = root.path().to_str().unwrap();
        group(
            &root.path().join("pod"),
            &format!("{}\n", 1024 * MIB),
            900 * MIB,
            400 * MIB,
        );
        group(&root.path().join("pod/main"), "max\n", 800 * MIB, 0);
        let mounts = format!("31 24 0:27 / {point} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
        let groups = Groups::find("0::/pod/main\n", &mounts);
        assert_eq!(
            groups.headroom(),
            Some(Headroom {
                free: 524 * MIB,
                limit: 1024 * MIB,
                reserve: 256 * MIB
            })
        );
        assert!(groups.headroom().unwrap().is_enough());
        fs::write(
            root.path().join("pod/main/memory.events"),
            "oom 3\noom_kill 2\n",
        )
        .unwrap();
        assert_eq!(groups.kills(), 2);
    }

    #[test]
    fn version_1_of_a_container_that_sees_only_its_own_part() {
        let root = tempfile::tempdir().unwrap();
        let point = root.path().to_str().unwrap();
        fs::write(
            root.path().join("memory.limit_in_bytes"),
            format!("{}\n", 8192 * MIB),
        )
        .unwrap();
        fs::write(
            root.path().join("memory.usage_in_bytes"),
            format!("{}\n", 8000 * MIB),
        )
        .unwrap();
        fs::write(
            root.path().join("memory.stat"),
            format!("total_inactive_file {}\n", 100 * MIB),
        )
        .unwrap();
        let mounts = format!(
            "33 24 0:29 /docker/abc {point} rw - cgroup cgroup rw,memory\n\
             34 24 0:30 / /elsewhere rw - cgroup2 cgroup2 rw\n"
        );
        let groups = Groups::find("4:memory:/docker/abc\n0::/\n", &mounts);
        let room = groups.headroom().unwrap();
        assert_eq!(
            room,
            Headroom {
                free: 292 * MIB,
                limit: 8192 * MIB,
                reserve: 8192 * MIB / 20
            }
        );
        assert!(!room.is_enough());
    }

    #[test]
    fn no_limit_and_no_controller_are_no_headroom() {
        let root = tempfile::tempdir().unwrap();
        let point = root.path().to_str().unwrap();
        group(root.path(), "max\n", 1, 0);
        let mounts = format!("31 24 0:27 / {point} rw - cgroup2 cgroup2 rw\n");
        assert_eq!(Groups::find("0::/\n", &mounts).headroom(), None);
        assert_eq!(Groups::find("", "").headroom(), None);
        assert_eq!(Groups::default().kills(), 0);
    }
}
