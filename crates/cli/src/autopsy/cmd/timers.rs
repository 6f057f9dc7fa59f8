//! Timeouts, intervals and immediates.

use std::collections::HashMap;

use clap::ArgMatches;
use serde_json::{Value as Json, json};
use stillcore_v8::{Kind, PrintOptions, Tagged, V8};

use crate::autopsy::table::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[Spec {
    name: "timers",
    aliases: &[],
    about: "Timeouts, intervals and immediates that wait: what they call, and when",
    manual: "\
Address, when it is due by the clock of the last turn of the event loop, whether it repeats, whether it keeps the process alive,
and the function. One that is long overdue says that the loop is stuck.

  > timers
  0x2cd0221d1a21 in 999.391 s, every 1000 s: [Function: everyMillion /app/busy.cjs:40:52]
  0x2cd0221d2251 in 399.391 s, unreferenced: [Function: unreferencedTimer /app/busy.cjs:42:60]
  0x8075930c251 immediate: [Function: onImmediate /app/busy.cjs:74:53]",
    args: |command| command,
    run: timers,
}];

/// One that waits.
struct Timer {
    object: Tagged,
    class: &'static str,
    /// Milliseconds.
    after: Option<f64>,
    repeat: Option<f64>,
    due: Option<f64>,
    referenced: bool,
    callback: Tagged,
}

impl Timer {
    /// A Timeout or Immediate that was not cleared and has a function.
    fn of(v8: &V8, object: Tagged, class: &'static str, clock: Option<u64>) -> Option<Timer> {
        let own = |name: &str| v8.own_property(object, name);
        let number = |name: &str| own(name).and_then(|value| v8.number(value));
        let is = |value: Tagged, root: &str| v8.root_name(value) == Some(root);
        let callback = own(match class {
            "Timeout" => "_onTimeout",
            _ => "_onImmediate",
        })
        .filter(|value| {
            v8.kind_of(*value)
                .is_ok_and(|kind| kind == Kind::JsFunction)
        })?;
        // A timeout that was cleared or has run has a length of -1.
        let after = number("_idleTimeout");
        if own("_destroyed").is_some_and(|value| is(value, "true_value"))
            || class == "Timeout" && after.is_none_or(|after| after < 0.0)
        {
            return None;
        }
        let due = number("_idleStart")
            .zip(after)
            .zip(clock)
            .map(|((start, after), clock)| start + after - clock as f64);
        // kRefed of lib/internal/timers.js.
        let unreferenced = v8
            .properties(object)
            .unwrap_or_default()
            .iter()
            .any(|property| {
                matches!(
                    v8.key_text(property).as_str(),
                    "Symbol(refed)" | "Symbol(kRefed)"
                ) && matches!(property.slot, stillcore_v8::Slot::Value(value) if is(value, "false_value"))
            });
        Some(Timer {
            object,
            class,
            after,
            repeat: number("_repeat"),
            due,
            referenced: !unreferenced,
            callback,
        })
    }

    /// `in 3.5 s, every 10 s`.
    fn when(&self) -> String {
        let mut words = Vec::new();
        match (self.class, self.due, self.after) {
            ("Immediate", ..) => words.push("immediate".to_owned()),
            (_, Some(due), _) if due < 0.0 => words.push(format!("overdue by {} s", -due / 1000.0)),
            (_, Some(due), _) => words.push(format!("in {} s", due / 1000.0)),
            (_, None, Some(after)) => words.push(format!("{} s after it was set", after / 1000.0)),
            (_, None, None) => {}
        }
        if let Some(repeat) = self.repeat {
            words.push(format!("every {} s", repeat / 1000.0));
        }
        if !self.referenced {
            words.push("unreferenced".to_owned());
        }
        words.join(", ")
    }
}

fn timers(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let mut clocks: HashMap<Option<usize>, Option<u64>> = HashMap::new();
    let mut found = Vec::new();
    for class in ["Timeout", "Immediate"] {
        for instance in graph.instances(class, true) {
            let isolate = v8
                .pages
                .page_of(instance.address())
                .and_then(|page| v8.isolate_of(page))
                .map(|isolate| isolate.id);
            let clock = *clocks.entry(isolate).or_insert_with(|| {
                v8.native_contexts(isolate)
                    .into_iter()
                    .find_map(|context| v8.environment(context).ok())
                    .and_then(|environment| v8.timer_clock(environment))
            });
            found.extend(Timer::of(v8, instance, class, clock));
        }
    }
    // Immediates are next.
    found.sort_by(|a, b| {
        let key = |timer: &Timer| match timer.class {
            "Immediate" => f64::NEG_INFINITY,
            _ => timer.due.unwrap_or(f64::INFINITY),
        };
        key(a).total_cmp(&key(b))
    });
    let options = PrintOptions {
        depth: 0,
        ..PrintOptions::default()
    };
    let mut answer = Answer::default();
    let mut rows = Vec::new();
    for timer in found {
        let callback = v8.print(timer.callback, &options);
        answer.lines.push(format!(
            "{:#x} {}: {}",
            timer.object.0,
            timer.when(),
            callback.text(&options)
        ));
        answer.addresses.push(timer.object.0);
        rows.push(json!({
            "object": hex(timer.object.0), "class": timer.class, "after": timer.after, "repeat": timer.repeat, "due": timer.due,
            "referenced": timer.referenced, "callback": callback,
        }));
    }
    if rows.is_empty() {
        answer.lines.push("none".to_owned());
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}
