//! A line of the prompt, in any of three tongues.
//!
//! ```text
//! jsprint 0x3bb378441991 -d 3                   plain
//! 3bb378441991::jsprint -d 3 | ::jsprint name   mdb: the address in front, pipes of addresses, ! for the shell
//! v8 inspect 0x3bb378441991                     llnode
//! ```

use crate::error::Usage;

/// One command of a line, before clap reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name and arguments; the address, where one stood in front, is the first of these.
    pub words: Vec<String>,
    /// It stood in mdb's form.
    pub mdb: bool,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// The commands of its pipe.
    pub steps: Vec<Step>,
    /// What the shell is given the output with: behind `!`.
    pub shell: Option<String>,
}

/// Reads a line.
///
/// # Errors
/// [`Usage`] for a quote without its end or an empty command.
pub fn parse(text: &str) -> Result<Line, Usage> {
    let (text, shell) = match split_outside_quotes(text, '!') {
        (commands, Some(shell)) => (commands, Some(shell.trim().to_owned())),
        (commands, None) => (commands, None),
    };
    let mut line = Line {
        steps: Vec::new(),
        shell,
    };
    let mut rest = text;
    loop {
        let (step, more) = split_outside_quotes(rest, '|');
        if !step.trim().is_empty() {
            line.steps.push(parse_step(step.trim())?);
        } else if more.is_some() || !line.steps.is_empty() {
            return Err(Usage(
                "a pipe needs a command on both of its sides".to_owned(),
            ));
        }
        match more {
            Some(more) => rest = more,
            None => return Ok(line),
        }
    }
}

/// The text up to a character that stands in no quotes, and what is behind it.
fn split_outside_quotes(text: &str, at: char) -> (&str, Option<&str>) {
    let mut quote = None;
    for (index, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == at => return (&text[..index], Some(&text[index + c.len_utf8()..])),
            None => {}
        }
    }
    (text, None)
}

fn parse_step(text: &str) -> Result<Step, Usage> {
    let (address, text, mdb) = match text.split_once("::") {
        Some((address, rest))
            if !address.contains(' ')
                || address.trim().len() == address.len()
                    && address.chars().all(|c| c.is_ascii_hexdigit() || c == 'x') =>
        {
            (address.trim(), rest.trim(), true)
        }
        _ => ("", text, false),
    };
    let mut words = words(text)?;
    // llnode's: v8 bt, v8 inspect, v8 source list, v8 findjsobjects.
    if words.first().is_some_and(|word| word == "v8") && words.len() > 1 {
        words.remove(0);
        let short = match words[0].as_str() {
            "bt" => Some("jsstack"),
            "print" | "inspect" => Some("inspect"),
            "source" => {
                if words.get(1).is_some_and(|word| word == "list") {
                    words.remove(1);
                }
                Some("jssource")
            }
            "getactivehandles" => Some("handles"),
            "getactiverequests" => Some("requests"),
            _ => None,
        };
        if let Some(short) = short {
            words[0] = short.to_owned();
        }
    }
    // llnode's findrefs has -v for its default.
    if words.first().is_some_and(|word| word == "findrefs")
        && words.get(1).is_some_and(|word| word == "-v")
    {
        words.remove(1);
    }
    // mdb's walkers: ADDR::walk jsprop.
    if words.first().is_some_and(|word| word == "walk") && words.len() > 1 {
        words.remove(0);
    }
    if words.is_empty() {
        return Err(Usage("there is no command".to_owned()));
    }
    if !address.is_empty() {
        words.insert(1, address.to_owned());
    }
    Ok(Step { words, mdb })
}

/// Words, in which quotes hold blanks together.
fn words(text: &str) -> Result<Vec<String>, Usage> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => out.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Usage("a quote has no end".to_owned()));
    }
    out.extend(word);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<String> {
        parse(text)
            .unwrap()
            .steps
            .iter()
            .map(|step| step.words.join(" "))
            .collect()
    }

    #[test]
    fn reads_three_tongues() {
        assert_eq!(steps("jsprint 0x12 -d 3"), ["jsprint 0x12 -d 3"]);
        assert_eq!(steps("12ab::jsprint -d 3"), ["jsprint 12ab -d 3"]);
        assert_eq!(
            steps("::findjsobjects -p method | ::findjsobjects -l | ::jsprint method"),
            [
                "findjsobjects -p method",
                "findjsobjects -l",
                "jsprint method"
            ]
        );
        assert_eq!(steps("v8 bt"), ["jsstack"]);
        assert_eq!(steps("v8 source list"), ["jssource"]);
        assert_eq!(steps("12::walk jsprop"), ["jsprop 12"]);
        assert_eq!(
            parse("::jsstack ! grep 'a | b'").unwrap().shell.as_deref(),
            Some("grep 'a | b'")
        );
        assert_eq!(steps("strings --grep 'a | b'"), ["strings --grep a | b"]);
    }

    #[test]
    fn refuses_what_has_no_end() {
        assert!(parse("jsprint 'x").is_err());
        assert!(parse("jsstack |").is_err());
        assert_eq!(parse("").unwrap().steps, []);
    }
}
