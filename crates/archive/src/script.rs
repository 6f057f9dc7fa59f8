//! `run-gdb.sh`, `run-lldb.sh` and `run-autopsy.sh`: how a debugger is told to take everything from the unpacked archive, and to run
//! nothing of it.
//!
//! The scripts use nothing but the shell's own commands, so that they work where there is no more than a debugger.
//! What they say was tried with gdb 13 and lldb 14:
//!
//! * gdb looks for a library first below its working folder, the path's leading slash left out: with `/` as working
//!   folder it would take the host's. So gdb goes into the archive while it loads, and back afterwards.
//! * gdb takes `solib-search-path` by the library's recorded path, then by its base name. That finds libraries whose
//!   folder was reached through a link (merged `/usr`), and those with relative paths.
//! * A library whose file is named otherwise than it was asked for (`DT_SONAME`), where the archive has no links, is
//!   named to the debugger together with its address.
//! * Lists of folders are separated by colons. Where the path of the archive has one, the script stays in it and
//!   names everything relatively.

/// What the scripts have to say about an archive. All paths are below the top folder.
#[derive(Debug, Default)]
pub(crate) struct ScriptPlan {
    core: Vec<u8>,
    /// The executable, where it is in the archive.
    pub(crate) executable: Option<Vec<u8>>,
    /// What gdb takes for it instead.
    pub(crate) gdb_executable: Option<Vec<u8>>,
    /// Where libraries are looked for that do not lie where their recorded path says.
    folders: Vec<Vec<u8>>,
    /// Where gdb looks for debug files besides `usr/lib/debug`.
    debug_folders: Vec<Vec<u8>>,
    /// Where lldb looks for packages of split DWARF besides.
    package_folders: Vec<Vec<u8>>,
    /// Libraries that would not be found by name, and what to add to their addresses.
    placed: Vec<(Vec<u8>, u64)>,
}

/// Most libraries that are named one by one: the command line has a limit.
const MAX_PLACED: usize = 200;

impl ScriptPlan {
    /// Of an archive with this core.
    pub(crate) fn new(core: &[u8]) -> ScriptPlan {
        ScriptPlan {
            core: core.to_vec(),
            ..ScriptPlan::default()
        }
    }

    /// Libraries are looked for in this folder too.
    pub(crate) fn search(&mut self, folder: &[u8]) {
        // There is no way to write a colon in such a list.
        if !folder.contains(&b':') && !self.folders.iter().any(|known| known == folder) {
            self.folders.push(folder.to_vec());
        }
    }

    /// Debug files (`.dwo`) are looked for in this folder too.
    #[cfg(feature = "package")]
    pub(crate) fn search_debug(&mut self, folder: &[u8]) {
        if !folder.contains(&b':') && !self.debug_folders.iter().any(|known| known == folder) {
            self.debug_folders.push(folder.to_vec());
        }
    }

    /// lldb looks for packages of split DWARF (`.dwp`) in this folder too.
    #[cfg(feature = "package")]
    pub(crate) fn search_packages(&mut self, folder: &[u8]) {
        if !self.package_folders.iter().any(|known| known == folder) {
            self.package_folders.push(folder.to_vec());
        }
    }

    /// This library is loaded with `offset` added to the addresses that it was linked for.
    pub(crate) fn place(&mut self, path: &[u8], offset: u64) {
        if self.placed.len() < MAX_PLACED {
            self.placed.push((path.to_vec(), offset));
        }
    }

    /// Names and texts of the scripts.
    pub(crate) fn scripts(&self) -> [(&'static str, Vec<u8>); 3] {
        [
            ("run-gdb.sh", self.gdb()),
            ("run-lldb.sh", self.lldb()),
            ("run-autopsy.sh", self.autopsy()),
        ]
    }

    fn gdb(&self) -> Vec<u8> {
        let mut text = self.head("gdb", "-batch -ex bt");
        text.extend_from_slice(
            b"case $here in
.) ;;
*) set -- -ex \"cd $from\" \"$@\" ;;
esac
",
        );
        if !self.placed.is_empty() {
            text.extend_from_slice(b"set -- -ex 'set confirm on' \"$@\"\n");
            for (path, offset) in &self.placed {
                text.extend_from_slice(b"set -- -ex \"add-symbol-file \\\"$here/\"");
                text.extend_from_slice(&quoted(&escaped(path)));
                text.extend_from_slice(format!("'\" -o {offset:#x}' \"$@\"\n").as_bytes());
            }
            text.extend_from_slice(b"set -- -ex 'set confirm off' \"$@\"\n");
        }
        text.extend_from_slice(b"set -- -c \"$here/\"");
        text.extend_from_slice(&quoted(&self.core));
        text.extend_from_slice(b" \"$@\"\n");
        if let Some(executable) = self.gdb_executable.as_ref().or(self.executable.as_ref()) {
            text.extend_from_slice(b"set -- -se \"$here/\"");
            text.extend_from_slice(&quoted(executable));
            text.extend_from_slice(b" \"$@\"\n");
        }
        text.extend_from_slice(
            b"exec \"${GDB:-gdb}\" -nx -iex 'set auto-load off' -iex 'set libthread-db-search-path $sdir' \\
  -iex \"cd $here\" -iex \"set sysroot $here\" -iex \"set solib-search-path $folders\" \\
  -iex \"set debug-file-directory $debug\" \"$@\"
",
        );
        text
    }

    fn lldb(&self) -> Vec<u8> {
        let mut text = self.head("lldb", "-b -o bt");
        for (path, offset) in self.placed.iter().rev() {
            let path = quoted(&escaped(path));
            text.extend_from_slice(b"set -- -o \"target modules add \\\"$here/\"");
            text.extend_from_slice(&path);
            text.extend_from_slice(b"'\"' -o \"target modules load --file \\\"$here/\"");
            text.extend_from_slice(&path);
            text.extend_from_slice(format!("'\" --slide {offset:#x}' \"$@\"\n").as_bytes());
        }
        text.extend_from_slice(b"set -- --core \"$here/\"");
        text.extend_from_slice(&quoted(&self.core));
        text.extend_from_slice(b" \"$@\"\n");
        if let Some(executable) = &self.executable {
            text.extend_from_slice(b"set -- --file \"$here/\"");
            text.extend_from_slice(&quoted(executable));
            text.extend_from_slice(b" \"$@\"\n");
        }
        for folder in self.package_folders.iter().rev() {
            text.extend_from_slice(
                b"set -- -O \"settings append target.debug-file-search-paths \\\"$here/\"",
            );
            text.extend_from_slice(&quoted(&escaped(folder)));
            text.extend_from_slice(b"'\"' \"$@\"\n");
        }
        for folder in self.folders.iter().rev() {
            text.extend_from_slice(
                b"set -- -O \"settings append target.exec-search-paths \\\"$here/\"",
            );
            text.extend_from_slice(&quoted(&escaped(folder)));
            text.extend_from_slice(b"'\"' \"$@\"\n");
        }
        text.extend_from_slice(
            b"exec \"${LLDB:-lldb}\" --no-lldbinit -O 'settings set target.load-script-from-symbol-file false' \\
  -O 'settings set target.load-cwd-lldbinit false' -O \"platform select --sysroot \\\"$here\\\" remote-linux\" \\
  -O \"settings set target.debug-file-search-paths \\\"$here/usr/lib/debug\\\"\" \"$@\"
",
        );
        text
    }

    /// The JavaScript in the core, by the command of this project. Its files are found below the archive.
    fn autopsy(&self) -> Vec<u8> {
        let mut text = here(
            "Reads the JavaScript in this core with the files beside it. Arguments are passed on: sh run-autopsy.sh -e jsstack",
        );
        text.extend_from_slice(
            b"stillcore=${STILLCORE:-stillcore}
command -v \"$stillcore\" >/dev/null 2>&1 || {
  echo 'The command stillcore is not here. Get it with: npm install --global stillcore-cli
or name it: STILLCORE=/path/to/stillcore sh run-autopsy.sh' >&2
  exit 127
}
set -- -c \"$here/\"",
        );
        text.extend_from_slice(&quoted(&self.core));
        text.extend_from_slice(b" \"$@\"\n");
        if let Some(executable) = &self.executable {
            text.extend_from_slice(b"set -- \"$here/\"");
            text.extend_from_slice(&quoted(executable));
            text.extend_from_slice(b" \"$@\"\n");
        }
        text.extend_from_slice(b"exec \"$stillcore\" autopsy --sysroot \"$here\" \"$@\"\n");
        text
    }

    /// The beginning: sets `here`, `from` and `folders`.
    fn head(&self, debugger: &str, example: &str) -> Vec<u8> {
        let mut text = format!(
            "#!/bin/sh
# Opens this core in {debugger} with the files beside it. Arguments are passed on: sh run-{debugger}.sh {example}
# Nothing that came with the archive is run: no init files, no scripts in its files.
case $0 in
*/*) here=${{0%/*}}/ ;;
*) here=. ;;
esac
from=$(pwd)
CDPATH= cd -- \"$here\" || exit
here=$(pwd -P)
case $here in
*[:\\\"\\\\\\`]*) here=. ;;
*) CDPATH= cd -- \"$from\" || exit ;;
esac
folders=$here
"
        )
        .into_bytes();
        for folder in &self.folders {
            text.extend_from_slice(b"folders=$folders:$here/");
            text.extend_from_slice(&quoted(folder));
            text.push(b'\n');
        }
        text.extend_from_slice(b"debug=$here/usr/lib/debug\n");
        for folder in &self.debug_folders {
            text.extend_from_slice(b"debug=$debug:$here/");
            text.extend_from_slice(&quoted(folder));
            text.push(b'\n');
        }
        text
    }
}

/// The beginning of a script, with this comment: sets `here` to the folder of the script.
pub(crate) fn here(comment: &str) -> Vec<u8> {
    format!(
        "#!/bin/sh
# {comment}
case $0 in
*/*) here=${{0%/*}}/ ;;
*) here=. ;;
esac
here=$(CDPATH= cd -- \"$here\" && pwd -P) || exit
"
    )
    .into_bytes()
}

/// A word of the shell that stands for these bytes.
pub(crate) fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut word = vec![b'\''];
    for &byte in bytes {
        match byte {
            b'\'' => word.extend_from_slice(b"'\\''"),
            byte => word.push(byte),
        }
    }
    word.push(b'\'');
    word
}

/// These bytes within double quotes of gdb or lldb.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if matches!(byte, b'"' | b'\\' | b'`') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text
}
