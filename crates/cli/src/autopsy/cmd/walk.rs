//! mdb's walkers that are no commands of their own: `::walk jsframe`.

use clap::{Arg, ArgMatches};
use serde_json::json;
use stillcore_v8::FrameKind;

use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[Spec {
    name: "walk",
    aliases: &[],
    about: "The addresses of JavaScript frames (walk jsframe), for jsframe behind a pipe; jsprop and jselement",
    manual: "\
mdb's walkers. jsframe needs no address: the frame pointers of the threads that run JavaScript. ADDR::walk jsprop and
ADDR::walk jselement are the commands jsprop and jselement.

  > walk jsframe | jsframe -n 0
  js:     leaveCore /app/scenario.cjs:238:10
  ...",
    args: |command| {
        command.arg(
            Arg::new("walker")
                .value_name("WALKER")
                .required(true)
                .value_parser(["jsframe"])
                .help("What to walk"),
        )
    },
    run: frames,
}];

fn frames(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let mut answer = Answer::default();
    for thread in &v8.threads {
        let runs = v8
            .isolate_in(thread.tid)
            .is_some_and(|isolate| autopsy.isolate.is_none_or(|id| id == isolate.id));
        if !runs {
            continue;
        }
        for frame in v8.stack(thread).frames {
            // Inlined callees share the frame of their caller.
            if matches!(frame.kind, FrameKind::Js(_)) && answer.addresses.last() != Some(&frame.fp)
            {
                answer.addresses.push(frame.fp);
            }
        }
    }
    answer.lines = answer.addresses.iter().map(|fp| hex(*fp)).collect();
    answer.json = json!(answer.lines);
    Ok(answer)
}
