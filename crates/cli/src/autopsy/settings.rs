//! `set`, and llnode's `v8 settings set`: the few things that can be set for a session.

use anstream::ColorChoice;

use super::Autopsy;
use crate::error::Usage;

/// Sets one, or tells what there is.
///
/// # Errors
/// [`Usage`] for what cannot be set.
pub fn set(autopsy: &mut Autopsy, words: &[String]) -> Result<Vec<String>, Usage> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["color" | "colour"] => Ok(vec![format!(
            "color {} (set color on, off or auto)",
            match autopsy.color {
                ColorChoice::Auto => "auto",
                ColorChoice::Never => "off",
                _ => "on",
            }
        )]),
        ["color" | "colour", value] => {
            autopsy.color = match value {
                "on" | "true" | "always" | "1" => ColorChoice::Always,
                "off" | "false" | "never" | "0" => ColorChoice::Never,
                "auto" => ColorChoice::Auto,
                other => {
                    return Err(Usage(format!(
                        "color is on, off or auto, and not {other:?}"
                    )));
                }
            };
            Ok(Vec::new())
        }
        ["tree-padding", ..] => Err(Usage(
            "tree-padding is not here: values are indented as util.inspect does it; jsprint -d N sets how deep"
                .to_owned(),
        )),
        [other, ..] => Err(Usage(format!(
            "{other:?} cannot be set: only color. Depths and lengths are options of jsprint, the isolate is --isolate N"
        ))),
    }
}
