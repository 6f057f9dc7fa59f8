//! `help`: the commands by what they are about, and the manual of one.

use super::cmd::GROUPS;
use super::{table, tongues};
use crate::error::Usage;

/// All commands, or the manual of the one that is named in any of the tongues.
///
/// # Errors
/// [`Usage`] when there is none of this name.
pub fn help(words: &[String]) -> Result<Vec<String>, Usage> {
    let mut words: Vec<String> = words
        .iter()
        .map(|word| word.trim_start_matches("::").to_owned())
        .collect();
    if words.is_empty() || words == ["v8"] {
        return Ok(overview());
    }
    tongues::translate(&mut words);
    let name = words[0].as_str();
    let text = match name {
        "help" | "?" | "dcmds" | "walkers" => "help lists the commands; help COMMAND is the manual of one".to_owned(),
        "quit" | "exit" | "q" => "quit leaves the prompt, as Ctrl-D does".to_owned(),
        "set" => "set color on|off|auto: colours of this session; auto is on a terminal, and not with NO_COLOR".to_owned(),
        _ => match table::find(name) {
            Some(spec) => {
                let others: Vec<&str> = spec.aliases.iter().copied().filter(|alias| !alias.starts_with("v8-")).collect();
                let mut text = spec.command().render_long_help().to_string();
                if !others.is_empty() {
                    text.push_str(&format!("\nAlso called {}.\n", others.join(", ")));
                }
                text
            }
            None => match tongues::instead(name) {
                Some(instead) => format!("{name} is not here. {instead}"),
                None => return Err(Usage(format!("there is no command {name:?}; help lists them"))),
            },
        },
    };
    Ok(text.lines().map(str::to_owned).collect())
}

fn overview() -> Vec<String> {
    let mut lines = Vec::new();
    for (about, tables) in GROUPS {
        lines.push((*about).to_owned());
        lines.extend(
            tables
                .iter()
                .flat_map(|table| table.iter())
                .map(|spec| format!("  {:<16} {}", spec.name, spec.about)),
        );
    }
    lines.push("the prompt".to_owned());
    for (name, about) in [
        ("help COMMAND", "Its manual"),
        ("set color", "on, off or auto"),
        ("quit", "Leaves, as Ctrl-D does; Ctrl-C stops a command"),
    ] {
        lines.push(format!("  {name:<16} {about}"));
    }
    lines.extend(
        [
            "Each is also a command of the program: stillcore COMMAND CORE ... All take --json and --isolate N.",
            "mdb's form: ADDR::jsprint -d 3, ::findjsobjects -c Request | ::jsprint url, ::jsstack ! grep app",
            "llnode's:   v8 bt, v8 inspect ADDR, v8 findjsinstances Request",
        ]
        .map(str::to_owned),
    );
    lines
}
