//! A line of the prompt, in any of three tongues.
//!
//! ```text
//! jsprint 0x3bb378441991 -d 3                   plain
//! 3bb378441991::jsprint -d 3 | ::jsprint name   mdb: the address in front, pipes of addresses, ! for the shell
//! v8 inspect 0x3bb378441991                     llnode
//! ```

use super::tongues;
use crate::error::Usage;

/// One command of a line, before clap reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name and arguments; the address, where one stood in front, is the first of these.
    pub words: Vec<String>,
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
    let (address, text) = match text.split_once("::") {
        // Colons behind anything else belong to an argument: strings --grep std::string, help ::jsstack.
        Some((address, rest))
            if address.trim().is_empty() || super::address(address.trim()).is_ok() =>
        {
            (address.trim(), rest.trim())
        }
        _ => ("", text),
    };
    let mut words = words(text)?;
    tongues::translate(&mut words);
    if words.is_empty() {
        return Err(Usage("there is no command".to_owned()));
    }
    if !address.is_empty() {
        words.insert(1, address.to_owned());
    }
    Ok(Step { words })
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
        for (text, expected) in [
            ("jsprint 0x12 -d 3", "jsprint 0x12 -d 3"),
            ("12ab::jsprint -d 3", "jsprint 12ab -d 3"),
            ("0x12ab ::jsprint -d 3", "jsprint 0x12ab -d 3"),
            ("v8 bt", "jsstack"),
            ("v8 bt 5", "jsstack --frames 5"),
            ("v8 source list -l 3", "jssource -l 3"),
            ("v8 settings set color off", "set color off"),
            ("v8 print 0x12", "jsprint 0x12"),
            ("12::walk jsprop", "jsprop 12"),
            ("walk jselement 12", "jselement 12"),
            ("help ::jsstack", "help ::jsstack"),
            ("::walk jsframe", "walk jsframe"),
            ("v8", "help"),
            ("strings --grep 'a | b'", "strings --grep a | b"),
            ("strings --grep std::string", "strings --grep std::string"),
        ] {
            assert_eq!(steps(text), [expected], "{text}");
        }
        assert_eq!(
            steps("::findjsobjects -p method | ::findjsobjects -l | ::jsprint method"),
            [
                "findjsobjects -p method",
                "findjsobjects -l",
                "jsprint method"
            ]
        );
        assert_eq!(
            parse("::jsstack ! grep 'a | b'").unwrap().shell.as_deref(),
            Some("grep 'a | b'")
        );
    }

    #[test]
    fn refuses_what_has_no_end() {
        assert!(parse("jsprint 'x").is_err());
        assert!(parse("jsstack |").is_err());
        assert!(parse("| jsstack").is_err());
        assert_eq!(parse("").unwrap().steps, []);
    }
}
