//! Timeouts, intervals and immediates.

use std::collections::HashMap;
use std::rc::Rc;

use clap::ArgMatches;
use serde_json::{Value as Json, json};
use stillcore_v8::{Kind, PrintOptions, Tagged, V8, Value};

use super::arguments::flag;
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[Spec {
    name: "timers",
    aliases: &[],
    about: "Timeouts, intervals and immediates that wait: what they call, and when",
    manual: "\
Address, when it is due by the clock of the last turn of the event loop, whether it repeats, whether it keeps the process alive,
and the function. One that is long overdue says that the loop is stuck. More than five that call the same function are told in
one line, with the first of them; -a lists each, as do a pipe and --json.

  > timers
  0x2cd0221d1a21 in 999.391 s, every 1000 s: [Function: everyMillion /app/busy.cjs:40:52]
  0x2cd0221d2251 in 399.391 s, unreferenced: [Function: unreferencedTimer /app/busy.cjs:42:60]
  0x8075930c251 immediate: [Function: onImmediate /app/busy.cjs:74:53]
  4000 of them, in 0.512 s to 29.998 s, the first 0x8075934a1e9: [Function: onTimeout /app/busy.cjs:80:18]",
    args: |command| command.arg(flag('a', "all", "Each of them, also those that call the same function")),
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

    /// `in 3.5 s`, `overdue by 2 s`.
    fn due(&self) -> Option<String> {
        Some(match (self.class, self.due, self.after) {
            ("Immediate", ..) => "immediate".to_owned(),
            (_, Some(due), _) if due < 0.0 => format!("overdue by {} s", -due / 1000.0),
            (_, Some(due), _) => format!("in {} s", due / 1000.0),
            (_, None, Some(after)) => format!("{} s after it was set", after / 1000.0),
            (_, None, None) => return None,
        })
    }

    /// `in 3.5 s, every 10 s`.
    fn when(&self) -> String {
        let mut words: Vec<String> = self.due().into_iter().collect();
        if let Some(repeat) = self.repeat {
            words.push(format!("every {} s", repeat / 1000.0));
        }
        if !self.referenced {
            words.push("unreferenced".to_owned());
        }
        words.join(", ")
    }
}

/// Most timers that call the same function and are told one by one.
const FEW: usize = 5;

/// Timers that call the same function in the same way, each group with its places in the list.
fn grouped(timers: &[Timer], callbacks: &[Value]) -> Vec<Rc<[usize]>> {
    let mut groups: HashMap<_, Vec<usize>> = HashMap::new();
    for (place, (timer, callback)) in timers.iter().zip(callbacks).enumerate() {
        let repeat = timer.repeat.map(f64::to_bits);
        let key = (timer.class, timer.referenced, repeat, &callback.text);
        groups.entry(key).or_default().push(place);
    }
    let mut group_of = vec![Rc::from([]); timers.len()];
    for group in groups.into_values() {
        let group: Rc<[usize]> = group.into();
        for &place in group.iter() {
            group_of[place] = group.clone();
        }
    }
    group_of
}

/// The line of a group: `4000 of them, in 0.5 s to in 30 s, every 60 s, the first 0x…: [Function: …]`.
fn summary(count: usize, first: &Timer, last: &Timer) -> String {
    let mut words = vec![format!("{count} of them")];
    let until = last
        .due()
        .filter(|until| first.due().as_ref() != Some(until));
    let when = first.when();
    words.push(match (until, first.due()) {
        (Some(until), Some(from)) => when.replacen(&from, &format!("{from} to {until}"), 1),
        _ => when,
    });
    words.push(format!("the first {:#x}", first.object.0));
    words.join(", ")
}

fn timers(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    let mut clocks: HashMap<Option<usize>, Option<u64>> = HashMap::new();
    let mut found = Vec::new();
    for class in ["Timeout", "Immediate"] {
        for instance in graph.instances(class, true) {
            let isolate = v8
                .pages
                .page_of(instance.address())
                .and_then(|page| v8.isolate_of(&page))
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
    // Thousands of closures of one function are printed once.
    let mut printed: HashMap<Tagged, Value> = HashMap::new();
    let callbacks: Vec<Value> = found
        .iter()
        .map(|timer| {
            let shared = v8.shared_of(timer.callback).unwrap_or_default();
            let known = printed
                .entry(shared)
                .or_insert_with(|| v8.print(timer.callback, &options));
            Value {
                address: Some(timer.callback.0),
                ..known.clone()
            }
        })
        .collect();
    let mut answer = Answer::default();
    let groups = grouped(&found, &callbacks);
    for (place, (timer, callback)) in found.iter().zip(&callbacks).enumerate() {
        let group = &groups[place];
        let few = group.len() <= FEW || matches.get_flag("all");
        let told = match (group.first(), group.last()) {
            _ if few => format!("{:#x} {}", timer.object.0, timer.when()),
            (Some(first), Some(last)) if *first == place => {
                summary(group.len(), timer, &found[*last])
            }
            _ => continue,
        };
        answer
            .lines
            .push(format!("{told}: {}", callback.text(&options)));
    }
    let rows: Vec<Json> = found
        .iter()
        .zip(&callbacks)
        .map(|(timer, callback)| {
            json!({
                "object": hex(timer.object.0), "class": timer.class, "after": timer.after, "repeat": timer.repeat, "due": timer.due,
                "referenced": timer.referenced, "callback": callback,
            })
        })
        .collect();
    answer
        .addresses
        .extend(found.iter().map(|timer| timer.object.0));
    if rows.is_empty() {
        answer.lines.push("none".to_owned());
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}
