//! What V8's traces call a script: its `sourceURL`, its name, or for code of an `eval` where that was.

use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most evals in evals.
const MAX_NESTED: usize = 16;

impl V8 {
    /// Whether a script is the text of an `eval`, or of `new Function`.
    pub fn is_eval(&self, script: u64) -> bool {
        self.field(script, self.c.script_flags)
            .is_ok_and(|flags| flags.as_smi().is_some_and(|flags| flags & 1 == 1))
    }

    /// The script as traces name it: `file.js`, or `eval at f (file.js:1:2), <anonymous>`; empty when there is nothing to
    /// say. (`AppendFileLocation` in `objects/call-site-info.cc`.)
    pub fn script_title(&self, script: u64) -> String {
        if let Some(name) = self.own_script_name(script) {
            return name;
        }
        if !self.is_eval(script) {
            return String::new();
        }
        // `eval at f (eval at g (file:1:2))`: from the inside to the outside, then put together.
        let mut heads = Vec::new();
        let mut at = script;
        let mut tail = String::new();
        for _ in 0..MAX_NESTED {
            if heads.len() + 1 == MAX_NESTED {
                break;
            }
            if !heads.is_empty()
                && let Some(name) = self.source_url(at)
            {
                tail = name;
                break;
            }
            let Some(shared) = self
                .field(at, self.c.script_eval_shared)
                .ok()
                .filter(|shared| {
                    self.kind_of(*shared)
                        .is_ok_and(|kind| kind == Kind::SharedFunctionInfo)
                })
                .and_then(|shared| self.shared(shared).ok())
            else {
                heads.push("eval at <anonymous>".to_owned());
                break;
            };
            heads.push(match shared.name.is_empty() {
                true => "eval at <anonymous>".to_owned(),
                false => format!("eval at {}", shared.name),
            });
            let Some(outer) = shared.script else { break };
            if self.is_eval(outer) {
                at = outer;
                continue;
            }
            tail = match self.text_field(outer, self.c.script_name) {
                Some(name) => {
                    let position = self.eval_position(at, shared.bytecode);
                    match position.and_then(|position| self.plain_location(outer, position)) {
                        Some((line, column)) => format!("{name}:{line}:{column}"),
                        None => name,
                    }
                }
                None => "unknown source".to_owned(),
            };
            break;
        }
        let mut text = tail;
        for head in heads.iter().rev() {
            text = match text.is_empty() {
                true => head.clone(),
                false => format!("{head} ({text})"),
            };
        }
        format!("{text}, <anonymous>")
    }

    /// `sourceURL`, or the name.
    fn own_script_name(&self, script: u64) -> Option<String> {
        self.source_url(script)
            .or_else(|| self.text_field(script, self.c.script_name))
    }

    fn source_url(&self, script: u64) -> Option<String> {
        // It follows the flags.
        self.text_field(script, self.c.script_flags + 8)
    }

    fn text_field(&self, object: u64, field: i64) -> Option<String> {
        let value = self.field(object, field).ok()?;
        (self.kind_of(value).ok()? == Kind::String).then(|| self.name_text(value))?
    }

    /// Where in its caller's script an eval was. Until somebody asks V8, the field has the offset in the caller's
    /// bytecode, negated.
    fn eval_position(&self, script: u64, bytecode: Option<u64>) -> Option<u32> {
        let position = self
            .field(script, self.c.script_eval_position)
            .ok()
            .and_then(Tagged::as_smi)?;
        if position < 0 {
            return self.bytecode_position(bytecode?, -i64::from(position));
        }
        u32::try_from(position).ok()
    }

    /// Line and column in a script's own text, without what comes before it in its file.
    fn plain_location(&self, script: u64, position: u32) -> Option<(i64, i64)> {
        let place = self.location(script, position).ok()?;
        let about = self.script(script).ok()?;
        let line = i64::from(place.line) - i64::from(about.line_offset);
        let first = line == 1;
        let column = i64::from(place.column)
            - if first {
                i64::from(about.column_offset)
            } else {
                0
            };
        Some((line, column))
    }
}
