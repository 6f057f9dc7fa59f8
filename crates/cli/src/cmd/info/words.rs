//! The same in words.

use std::io;

use super::super::memory::in_words;
use super::summary::{ModuleCount, Summary};
use crate::output::{Answer, Text};
use crate::size::{readable_time, size};

impl Answer for Summary {
    fn text(&self, out: &mut Text<'_>) -> io::Result<()> {
        match self.how {
            "died" => out.field("died", self.death_in_words())?,
            "captured" => out.field("captured", self.capture_in_words())?,
            _ => out.field(
                "dumped",
                "while it ran (gcore or the like); no signal ended it",
            )?,
        }
        if let Some(command) = &self.command {
            out.field("command", command)?;
        }
        if let Some(executable) = &self.executable {
            out.field("executable", executable)?;
        }
        let ids = [
            ("", self.pid.map(i64::from)),
            ("parent ", self.ppid.map(i64::from)),
            ("user ", self.uid.map(i64::from)),
            ("group ", self.gid.map(i64::from)),
        ];
        let ids: Vec<String> = ids
            .iter()
            .filter_map(|(word, id)| id.map(|id| format!("{word}{id}")))
            .collect();
        if !ids.is_empty() {
            out.field("process", ids.join(", "))?;
        }
        if let Some(time) = &self.time {
            let from = match self.time_from {
                Some("file") => " (when the file was written)",
                Some("archive") => " (as the archive says)",
                _ => "",
            };
            out.field("time", format!("{}{from}", readable_time(time)))?;
        }
        out.field("threads", self.threads_in_words())?;
        if let Some(node) = &self.node {
            let v8 = match &self.v8 {
                Some(v8) => format!(", V8 {v8}"),
                None => String::new(),
            };
            out.field("node", format!("{node}{v8}"))?;
        }
        out.field("machine", self.machine)?;
        out.field("core", self.file_in_words())?;
        out.field("memory", in_words(&self.memory))?;
        let ModuleCount { count, found } = self.modules;
        let files = match count - found {
            0 => "the files of all found".to_owned(),
            _ => format!("the files of {found} found"),
        };
        out.field("modules", format!("{count}, {files}"))?;
        for (index, missing) in self.missing.iter().enumerate() {
            let name = if index == 0 { "missing" } else { "" };
            out.field(name, format!("{}: {}", missing.what, missing.why))?;
            if let Some(change) = &missing.change {
                out.field("", format!("-> {change}"))?;
            }
        }
        Ok(())
    }

    fn is_bad(&self) -> bool {
        self.bad
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Summary {
    /// `of SIGSEGV, SEGV_MAPERR at 0x0: nothing is mapped there`
    fn death_in_words(&self) -> String {
        let Some(signal) = &self.signal else {
            return "of an unknown signal".to_owned();
        };
        let mut words = format!("of {} ({})", signal.name, signal.number);
        match (signal.code_name, signal.code) {
            (Some(name), _) => words.push_str(&format!(", {name}")),
            (None, Some(code)) => words.push_str(&format!(", code {code}")),
            (None, None) => {}
        }
        if let Some(address) = signal.address {
            words.push_str(&format!(" at {address}"));
        }
        if let Some(meaning) = signal.meaning {
            words.push_str(&format!(": {meaning}"));
        }
        if let Some(pid) = signal.sender_pid {
            let whom = if self.pid == Some(pid) {
                "the process itself".to_owned()
            } else {
                format!("process {pid}")
            };
            words.push_str(&format!(", by {whom}"));
        }
        words
    }

    /// `504 MB, in an archive of stillcore (gzip, tar) of 188 MB`
    fn file_in_words(&self) -> String {
        let core = size(self.core.size);
        let layers = self.layers.join(", ");
        let of = self
            .file_size
            .map_or(String::new(), |bytes| format!(" of {}", size(bytes)));
        match self.kind {
            _ if self.layers.is_empty() => core,
            "core" => format!("{core}, compressed ({layers}){of}"),
            "tar" | "zip" => format!("{core}, in an archive ({layers}){of}"),
            kind => format!("{core}, in an archive of {kind} ({layers}){of}"),
        }
    }

    fn capture_in_words(&self) -> String {
        let Some(capture) = &self.capture else {
            return "by stillcore".to_owned();
        };
        let tool = capture.tool.as_deref().unwrap_or("stillcore");
        let version = capture.version.as_deref().unwrap_or("");
        let method = match &capture.method {
            Some(method) => format!(", {method} way"),
            None => String::new(),
        };
        format!("by {tool} {version}{method}, while it ran; nothing crashed")
    }

    fn threads_in_words(&self) -> String {
        let Some(first) = &self.first_thread else {
            return self.threads.to_string();
        };
        let name = match &first.name {
            Some(name) => format!(" {name}"),
            None => String::new(),
        };
        let did = match self.how {
            "died" => "died first",
            "captured" => "asked for the core",
            _ => "is the first",
        };
        format!("{}; {}{name} {did}", self.threads, first.tid)
    }
}
