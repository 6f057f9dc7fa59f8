//! The isolates of the process.

use clap::ArgMatches;
use serde_json::{Value as Json, json};

use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[Spec {
    name: "isolates",
    aliases: &["isolate"],
    about: "The isolates: the main thread's and those of workers",
    manual: "Number, address, thread, pages. --isolate N makes other commands look at one alone.",
    args: |command| command,
    run: isolates,
}];

fn isolates(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let mut answer = Answer::line(
        format!(
            "{:>7} {:>16} {:>8} {:>6} {:>12}  {}",
            "ISOLATE", "ADDRESS", "THREAD", "PAGES", "BYTES", "KIND"
        ),
        Json::Null,
    );
    let mut rows = Vec::new();
    for isolate in v8.isolates() {
        let pages: Vec<_> = v8
            .pages
            .pages()
            .iter()
            .filter(|page| page.heap == isolate.heap)
            .collect();
        let bytes: u64 = pages.iter().map(|page| page.size).sum();
        let kind = if isolate.id == 0 { "main" } else { "worker" };
        answer.lines.push(format!(
            "{:>7} {:>16} {:>8} {:>6} {bytes:>12}  {kind}",
            isolate.id,
            hex(isolate.address),
            isolate.thread.map_or("-".to_owned(), |tid| tid.to_string()),
            pages.len()
        ));
        let environment = v8
            .native_contexts(Some(isolate.id))
            .into_iter()
            .find_map(|context| v8.environment(context).ok());
        rows.push(json!({ "environment": environment.map(hex), "id": isolate.id, "address": hex(isolate.address), "heap": hex(isolate.heap), "thread": isolate.thread, "pages": pages.len(), "bytes": bytes, "kind": kind }));
    }
    answer.json = Json::Array(rows);
    Ok(answer)
}
