//! Whether a process is in a container.

use std::fs;
use std::path::Path;

use super::whom::Whom;

/// Inode of the first PID namespace of every Linux host, a constant of the kernel. A process that sees
/// another one is in a container.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// The same of user namespaces.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// Whether this process has namespaces other than the host's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    pub pid_namespace: Option<bool>,
    pub user_namespace: Option<bool>,
    pub mount_namespace: Option<bool>,
    /// Path of the control group that accounts memory.
    pub cgroup: Option<String>,
}

impl Container {
    /// By its namespaces and control groups.
    pub(super) fn of(whom: Whom) -> Container {
        let own = |name: &str| fs::read_link(whom.file(&format!("ns/{name}"))).ok();
        let of_init = |name: &str| fs::read_link(format!("/proc/1/ns/{name}")).ok();
        let pid_namespace = own("pid").map(|own| own != Path::new(FIRST_PID_NAMESPACE));
        let mount_namespace = match (own("mnt"), of_init("mnt")) {
            (Some(own), Some(first)) if own != first => Some(true),
            // In a PID namespace of its own process 1 is the container's, and being like it says nothing.
            (Some(_), Some(_)) if pid_namespace == Some(false) => Some(false),
            _ => None,
        };
        let groups = fs::read_to_string(whom.file("cgroup")).unwrap_or_default();
        let path_of = |wanted: &dyn Fn(&str) -> bool| {
            groups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                wanted(controllers).then(|| path.to_owned())
            })
        };
        Container {
            pid_namespace,
            user_namespace: own("user").map(|own| own != Path::new(FIRST_USER_NAMESPACE)),
            mount_namespace,
            cgroup: path_of(&|controllers| controllers.split(',').any(|name| name == "memory"))
                .or_else(|| path_of(&str::is_empty)),
        }
    }
}
