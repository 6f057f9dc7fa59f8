//! Reading lines: at a terminal with history and completion, from a pipe, from -e.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustyline::config::BellStyle;
use rustyline::error::ReadlineError;
use rustyline::{CompletionType, Config, Editor};

use super::Autopsy;
use super::complete::Words;
use super::execute::run_line;
use super::pager::{Show, to_shell};
use crate::error::{Closed, DONE, exit_code};
use crate::output;

const PROMPT: &str = "> ";
/// So many times Ctrl-C during one command, and the program ends.
const ENOUGH: u32 = 3;
/// Lines of history that are kept.
const HISTORY: usize = 5000;

/// What a line did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It went well, or with this exit code it did not.
    On(u8),
    /// Leave.
    Quit,
}

/// Runs a line and prints what it found, or why it did not.
///
/// # Errors
/// [`Closed`] when nobody reads the output.
pub fn line(autopsy: &mut Autopsy, text: &str, json: bool, paged: bool) -> anyhow::Result<Done> {
    let outcome = match run_line(autopsy, text, json) {
        Ok(outcome) => outcome,
        Err(error) => {
            if autopsy.stopped() {
                output::complain("stopped");
            } else {
                output::complain(&format!("{error:#}"));
            }
            return Ok(Done::On(exit_code(&error)));
        }
    };
    let mut code = DONE;
    let shown = match &outcome.shell {
        Some(command) => to_shell(command, &outcome.lines),
        None => Show {
            paged,
            color: autopsy.color,
            stop: &autopsy.stop,
        }
        .lines(&outcome.lines),
    };
    match shown {
        Err(error) if error.is::<Closed>() => return Err(error),
        Err(error) => {
            output::complain(&format!("{error:#}"));
            code = exit_code(&error);
        }
        Ok(()) => {}
    }
    for note in &outcome.notes {
        output::warn(note);
    }
    Ok(if outcome.quit {
        Done::Quit
    } else {
        Done::On(code)
    })
}

/// Lines one after the other, also behind one that fails. Gives the exit code of the first that did.
///
/// # Errors
/// [`Closed`] when nobody reads the output; what the reading of lines says.
pub fn lines(
    autopsy: &mut Autopsy,
    lines: impl Iterator<Item = io::Result<String>>,
    json: bool,
) -> anyhow::Result<u8> {
    let mut first = DONE;
    for text in lines {
        let text = text.map_err(|error| anyhow::Error::new(error).context("standard input"))?;
        let text = text.trim();
        // A script may say what it does.
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match line(autopsy, text, json, false)? {
            Done::Quit => break,
            Done::On(code) if first == DONE => first = code,
            Done::On(_) => {}
        }
    }
    Ok(first)
}

/// Lines from standard input: a terminal or a pipe. Gives the exit code.
///
/// # Errors
/// [`Closed`] when nobody reads the output of a pipe; the terminal's own errors.
pub fn prompt(mut autopsy: Autopsy, json: bool) -> anyhow::Result<u8> {
    if !io::stdin().is_terminal() {
        return lines(&mut autopsy, io::stdin().lock().lines(), json);
    }
    let config = Config::builder()
        .history_ignore_space(true)
        .max_history_size(HISTORY)?
        .completion_type(CompletionType::List)
        .bell_style(BellStyle::None)
        .build();
    let mut editor: Editor<Words, _> = Editor::with_config(config)?;
    // The editor has set a handler of its own, and does not need it: while it reads, the key is a character.
    let presses = stops_at_ctrl_c(&autopsy)?;
    let autopsy = Rc::new(RefCell::new(autopsy));
    editor.set_helper(Some(Words {
        autopsy: autopsy.clone(),
    }));
    let history = history_file();
    if let Some(history) = &history {
        let _ = editor.load_history(history);
    }
    output::warn("help lists the commands, quit or Ctrl-D leaves");
    loop {
        let text = match editor.readline(PROMPT) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        if text.trim().is_empty() {
            continue;
        }
        if editor.add_history_entry(text.as_str())?
            && let Some(history) = &history
        {
            // At once, so that it is there whatever happens to the command. That the disk is full is no reason to end.
            let _ = editor.append_history(history);
        }
        let mut autopsy = autopsy.borrow_mut();
        presses.store(0, Ordering::Relaxed);
        autopsy.stop.store(false, Ordering::Relaxed);
        match line(&mut autopsy, text.trim(), json, true) {
            Ok(Done::Quit) => break,
            Ok(Done::On(_)) => {}
            Err(error) if error.is::<Closed>() => break,
            Err(error) => return Err(error),
        }
        autopsy.stop.store(false, Ordering::Relaxed);
    }
    Ok(DONE)
}

/// While a command runs, Ctrl-C stops it; while a line is edited, the editor has the key. Gives the count of presses.
fn stops_at_ctrl_c(autopsy: &Autopsy) -> anyhow::Result<Arc<AtomicU32>> {
    let (stop, presses) = (autopsy.stop.clone(), Arc::new(AtomicU32::new(0)));
    let pressed = presses.clone();
    ctrlc::set_handler(move || {
        stop.store(true, Ordering::Relaxed);
        if pressed.fetch_add(1, Ordering::Relaxed) + 1 >= ENOUGH {
            output::complain("this command does not stop, so the program ends");
            std::process::exit(130);
        }
    })?;
    Ok(presses)
}

/// `$XDG_STATE_HOME/stillcore/history`, as the XDG Base Directory Specification has it, readable by its owner alone. None
/// where it cannot be written: then the history lives as long as the prompt.
fn history_file() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let folder = folder.or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME")?);
        // Users of services have a home that is not there, and it is not made here.
        (home.is_absolute() && home.is_dir()).then(|| home.join(".local/state"))
    })?;
    let folder = folder.join("stillcore");
    std::fs::create_dir_all(&folder).ok()?;
    let file = folder.join("history");
    private(&file).ok()?;
    Some(file)
}

/// Opens or makes a file that its owner alone can read: what was asked of a core may hold its secrets.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
