use std::path::PathBuf;

use clap::Args;

use crate::error::Usage;
use crate::host::Report;

/// Says whether a core could be taken on this host, and what to change if not
///
/// The kernel way needs the kernel to leave cores in files; the direct way (method: 'direct' or 'auto') does not. What
/// is said holds for a process that is started from here, with the same user, limits and control group. A service
/// has its own: name it with --pid, or ask it from inside (`node -r stillcore/doctor app.js`, `await doctor()`).
///
///   $ stillcore doctor
///   stillcore doctor: createCore works here
///   Linux x86_64, glibc 2.36; for a process that is started from here.
///
///   no  kernel way          kernel.core_pattern is '|/usr/lib/systemd/systemd-coredump %P': it gives cores
///                           to a program: systemd-coredump (list them with coredumpctl).
///                           -> The administrator of this host, not of the container, can change it for
///                              all: sysctl -w kernel.core_pattern=core
///   ok  direct way          works
///
///   no  core_pattern        |/usr/lib/systemd/systemd-coredump %P: gives cores to a program
///   ok  core size limit     soft 0, hard unlimited (the copy raises its soft limit)
///   ok  directory           /var/tmp, ext4, 41 GB free, writable
///   ...
///
/// Exit code 1 where no way works.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Doctor {
    /// Look at this process, instead of what one started from here could do
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// Where the core would be written [default: the process's working directory]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Doctor {
    #[cfg(target_os = "linux")]
    pub fn run(&self) -> anyhow::Result<Report> {
        use anyhow::Context as _;
        use stillcore_capture::doctor::{examine_host, examine_process};

        let Some(pid) = self.pid else {
            let directory = self
                .directory
                .clone()
                .or_else(|| std::env::var_os("STILLCORE_DIRECTORY").map(PathBuf::from))
                .unwrap_or_else(|| PathBuf::from("."));
            let directory = std::path::absolute(&directory).unwrap_or(directory);
            return Ok(Report::new(None, &examine_host(&directory)));
        };
        if let Some(directory) = self.directory.as_deref().filter(|path| path.is_relative()) {
            return Err(Usage(format!(
                "--directory {}: with --pid it must be an absolute path, as that process sees it",
                directory.display()
            ))
            .into());
        }
        let report = examine_process(pid, self.directory.as_deref())
            .with_context(|| format!("there is no process {pid} here"))?;
        Ok(Report::new(Some(pid), &report))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn run(&self) -> anyhow::Result<Report> {
        if self.pid.is_some() {
            return Err(Usage("--pid works on Linux only".to_owned()).into());
        }
        Ok(Report::elsewhere())
    }
}
