//! What Node waits for: handles of libuv, files, workers; and the requests that are not finished.

use std::collections::BTreeMap;

use clap::ArgMatches;
use serde_json::{Map, Value as Json, json};
use stillcore_v8::{Kind, Slot, Tagged, Uv, V8, Wrap};

use super::arguments::flag;
use crate::autopsy::spec::Spec;
use crate::autopsy::{Answer, Autopsy, hex};

pub const TABLE: &[Spec] = &[
    Spec {
        name: "handles",
        aliases: &["getactivehandles", "v8-getactivehandles"],
        about: "What keeps the process alive: sockets, servers, pipes, child processes, watchers, files, workers",
        manual: "\
The address of the JavaScript object, what it is, in the words of process.getActiveResourcesInfo(), and what is known of it:
addresses of sockets where the program or Node asked for them (the kernel's tables are not in a core), descriptors, the
HTTP request that a socket is busy with, the object that the program knows it by. One that libuv does not wait for at the moment
is idle. Handles that do not keep the event loop alive only with -a. Timers are in timers.

  > handles
  0x1a8c39d1b9 TCPServerWrap 127.0.0.1:36663, fd 22, Server 0x1a8c3851f1
  0x1a8c3a2f09 TCPSocketWrap 127.0.0.1:42320 to 127.0.0.1:36663, fd 23, Socket 0x1a8c3a2ce1
  0x1a8c367a41 ProcessWrap pid 23760: sleep 600, ChildProcess 0x1a8c367771",
        args: |command| command.arg(flag('a', "all", "Also those that do not keep the event loop alive")),
        run: handles,
    },
    Spec {
        name: "requests",
        aliases: &["getactiverequests", "v8-getactiverequests"],
        about: "What was begun and is not finished: file system, DNS, connects, writes",
        manual: "\
The address of the JavaScript object, its class, what is done with what, and the function that is called at the end.

  > requests
  0x5fd0a7f1 FSReqCallback open /var/run/app.fifo, then onOpen /app/index.js:12:7
  0x5fd0b2c9 GetAddrInfoReqWrap db.internal",
        args: |command| command,
        run: requests,
    },
];

/// Most environments of Node's that are looked at: one for each isolate, and few more.
const MAX_ENVIRONMENTS: usize = 4096;

/// The handles or requests of all environments in question.
fn wraps(autopsy: &Autopsy, handles: bool) -> anyhow::Result<Vec<Wrap>> {
    let v8 = &autopsy.v8;
    let mut environments = Vec::new();
    for context in v8.native_contexts(autopsy.isolate) {
        if let Ok(environment) = v8.environment(context)
            && !environments.contains(&environment)
            && environments.len() < MAX_ENVIRONMENTS
        {
            environments.push(environment);
        }
    }
    if environments.is_empty() {
        anyhow::bail!(
            "no Node environment was found: the binary lacks its nodedbg_* symbols, or no context is Node's"
        );
    }
    let mut all = Vec::new();
    for environment in environments {
        all.extend(v8.wraps(environment, handles)?);
    }
    Ok(all)
}

/// One line of an answer, and its JSON.
struct Row {
    object: Tagged,
    what: String,
    details: Vec<String>,
    json: Map<String, Json>,
}

impl Row {
    fn new(object: Tagged, class: &str, what: &str) -> Row {
        let mut json = Map::new();
        json.insert("object".to_owned(), json!(hex(object.0)));
        json.insert("class".to_owned(), json!(class));
        json.insert("resource".to_owned(), json!(what));
        Row {
            object,
            what: what.to_owned(),
            details: Vec::new(),
            json,
        }
    }

    /// Something to be read, and its value.
    fn add(&mut self, name: &str, value: impl Into<Json>, text: impl Into<String>) {
        self.details.push(text.into());
        self.json.insert(name.to_owned(), value.into());
    }

    /// A value alone.
    fn set(&mut self, name: &str, value: impl Into<Json>) {
        self.json.insert(name.to_owned(), value.into());
    }
}

fn answer(rows: Vec<Row>) -> Answer {
    let mut answer = Answer::default();
    let mut values = Vec::new();
    for row in rows {
        let details = row.details.join(", ");
        answer
            .lines
            .push(format!("{:#x} {} {details}", row.object.0, row.what));
        answer.addresses.push(row.object.0);
        values.push(Json::Object(row.json));
    }
    if values.is_empty() {
        answer.lines.push("none".to_owned());
    }
    answer.json = Json::Array(values);
    answer
}

/// What a JavaScript object says of itself, as far as it is plain.
struct Js<'a> {
    v8: &'a V8,
    object: Tagged,
}

impl<'a> Js<'a> {
    fn get(&self, name: &str) -> Option<Tagged> {
        self.v8
            .own_property(self.object, name)
            .or_else(|| self.symbol(name))
    }

    /// The value under a symbol of this description.
    fn symbol(&self, name: &str) -> Option<Tagged> {
        let name = format!("Symbol({name})");
        self.v8
            .properties(self.object)
            .ok()?
            .into_iter()
            .find(|property| self.v8.key_text(property) == name)
            .and_then(|property| match property.slot {
                Slot::Value(value) => Some(value),
                _ => None,
            })
    }

    fn text(&self, name: &str) -> Option<String> {
        self.v8
            .name_text(self.get(name)?)
            .filter(|text| !text.is_empty())
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.v8.number(self.get(name)?).map(|value| value as i64)
    }

    fn object(&self, name: &str) -> Option<Js<'a>> {
        let object = self.get(name)?;
        self.v8
            .kind_of(object)
            .is_ok_and(Kind::is_js_object)
            .then_some(Js {
                v8: self.v8,
                object,
            })
    }

    /// `127.0.0.1:80` of `{ address, port }`.
    fn place(&self) -> Option<String> {
        let (address, port) = (self.text("address")?, self.number("port")?);
        Some(if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        })
    }

    fn class(&self) -> String {
        self.v8
            .class_name(self.object)
            .map_or_else(|_| "?".to_owned(), |class| class.to_string())
    }
}

/// The object by which a program knows a handle: Socket, Server.
fn owner_of<'a>(js: &Js<'a>) -> Option<Js<'a>> {
    ["owner_symbol", "owner", "node:owner_symbol"]
        .iter()
        .find_map(|name| js.symbol(name))
        .or_else(|| js.v8.own_property(js.object, "owner"))
        .filter(|value| js.v8.kind_of(*value).is_ok_and(Kind::is_js_object))
        .map(|object| Js { v8: js.v8, object })
}

/// The word of `process.getActiveResourcesInfo()` for a handle.
fn resource(class: &str, owner: &str) -> String {
    match class {
        "TCP" if owner.ends_with("Server") => "TCPServerWrap".to_owned(),
        "TCP" => "TCPSocketWrap".to_owned(),
        "Pipe" | "Process" | "FSEvent" | "UDP" | "TTY" | "Signal" | "StatWatcher" => {
            format!("{class}Wrap")
        }
        other => other.to_owned(),
    }
}

fn handles(autopsy: &Autopsy, matches: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let all = matches.get_flag("all");
    let mut rows = Vec::new();
    for Wrap { object, native, uv } in wraps(autopsy, true)? {
        if !all && uv.referenced == Some(false) {
            continue;
        }
        let js = Js { v8, object };
        let class = js.class();
        let owner = owner_of(&js);
        let owner_class = owner.as_ref().map_or(String::new(), Js::class);
        let mut row = Row::new(object, &class, &resource(&class, &owner_class));
        row.set("native", hex(native));
        row.set("type", uv.kind);
        row.set("active", uv.active);
        row.set("referenced", uv.referenced);
        if let Some(owner) = &owner {
            endpoints(owner, &mut row);
        }
        of_uv(&uv, &mut row);
        if let Some(owner) = &owner {
            child(owner, &mut row);
            http(owner, &mut row);
            row.add(
                "owner",
                hex(owner.object.0),
                format!("{owner_class} {:#x}", owner.object.0),
            );
        }
        if uv.active == Some(false) {
            row.details.push("idle".to_owned());
        }
        if uv.referenced == Some(false) {
            row.details.push("unreferenced".to_owned());
        }
        rows.push(row);
    }
    beyond_libuv(autopsy, &mut rows)?;
    Ok(answer(rows))
}

/// Where a socket or server is: what Node keeps once somebody asked, or what it was told.
fn endpoints(owner: &Js<'_>, row: &mut Row) {
    let local = owner
        .object("_sockname")
        .and_then(|name| name.place())
        .or_else(|| owner.text("_pipeName"))
        .or_else(|| listens_on(&owner.text("_connectionKey")?));
    let remote = owner
        .object("_peername")
        .and_then(|name| name.place())
        .or_else(|| owner.text("_host"));
    match (&local, &remote) {
        (Some(local), Some(remote)) => row.details.push(format!("{local} to {remote}")),
        (Some(local), None) => row.details.push(local.clone()),
        (None, Some(remote)) => row.details.push(format!("to {remote}")),
        (None, None) => {}
    }
    if let Some(local) = local {
        row.set("local", local);
    }
    if let Some(remote) = remote {
        row.set("remote", remote);
    }
}

/// `4:127.0.0.1:80`, as `net.Server` keeps what it was told: the family, the address, the port.
fn listens_on(key: &str) -> Option<String> {
    let (family, rest) = key.split_once(':')?;
    let (address, port) = rest.rsplit_once(':')?;
    if family == "-1" {
        // A pipe: its name stands here, and in _pipeName.
        return Some(address.to_owned());
    }
    let address = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    Some(match port {
        "0" => format!("{address}, a port that the system chose"),
        port => format!("{address}:{port}"),
    })
}

fn of_uv(uv: &Uv, row: &mut Row) {
    if let Some(fd) = uv.fd {
        row.add("fd", fd, format!("fd {fd}"));
    }
    if let Some(pid) = uv.pid {
        row.set("pid", pid);
    }
    if let Some(signal) = uv.signal {
        row.add("signal", signal, crate::signal::name(signal));
    }
    let what: Vec<&str> = [uv.operation, uv.name.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    if !what.is_empty() {
        row.details.push(what.join(" "));
    }
    if let Some(operation) = uv.operation {
        row.set("operation", operation);
    }
    if let Some(name) = &uv.name {
        row.set("name", name.clone());
    }
}

/// A child process: what was started.
fn child(owner: &Js<'_>, row: &mut Row) {
    let Some(pid) = row.json.get("pid").and_then(Json::as_i64) else {
        return;
    };
    let command: Vec<String> = owner
        .get("spawnargs")
        .and_then(|list| owner.v8.elements(list, 64).ok())
        .map(|list| {
            list.entries
                .into_iter()
                .filter_map(|(_, slot)| match slot {
                    Slot::Value(value) => owner.v8.name_text(value),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default();
    row.details
        .push(format!("pid {pid}: {}", command.join(" ")));
    row.set("command", command);
}

/// The HTTP request that a socket is busy with: its own, or the one that it answers.
fn http(owner: &Js<'_>, row: &mut Row) {
    let message = owner.object("_httpMessage");
    let request = message
        .as_ref()
        .and_then(|message| message.object("req"))
        .or_else(|| owner.object("parser")?.object("incoming"));
    let found = match (&message, &request) {
        // An answer, and what is answered; or a request of this process's own.
        (_, Some(request)) => Some((request.object, request.text("method"), request.text("url"))),
        // Node 26 has an accessor for path.
        (Some(own), None) => Some((
            own.object,
            own.text("method"),
            own.text("path").or_else(|| own.text("kPath")),
        )),
        (None, None) => None,
    };
    if let Some((object, Some(method), Some(url))) = found {
        row.add(
            "request",
            hex(object.0),
            format!("{method} {url} {:#x}", object.0),
        );
        row.set("method", method);
        row.set("url", url);
    }
}

/// Open files and running workers: Node has no handle of libuv for them.
fn beyond_libuv(autopsy: &Autopsy, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let v8 = &autopsy.v8;
    let graph = autopsy.reachable()?;
    for (class, descriptor) in [
        ("FileHandle", "kFd"),
        ("ReadStream", "fd"),
        ("WriteStream", "fd"),
    ] {
        for instance in graph.instances(class, true) {
            let js = Js {
                v8,
                object: instance,
            };
            // The FileHandle of the C++ side has no such property, a stream of a terminal no path.
            let Some(fd) = js.number(descriptor).filter(|fd| *fd >= 0) else {
                continue;
            };
            let path = js.text("path");
            if class != "FileHandle" && path.is_none() {
                continue;
            }
            let mut row = Row::new(js.object, class, class);
            row.add("fd", fd, format!("fd {fd}"));
            if let Some(path) = path {
                row.add("name", path.clone(), path);
            }
            rows.push(row);
        }
    }
    for instance in graph.instances("Worker", true) {
        let js = Js {
            v8,
            object: instance,
        };
        // The C++ side has the number. A worker that has ended has given it back.
        let handle = js.object("kHandle");
        let Some(id) = handle.and_then(|handle| handle.number("threadId")) else {
            continue;
        };
        let mut row = Row::new(js.object, "Worker", "Worker");
        row.add("threadId", id, format!("thread {id} of Node"));
        rows.push(row);
    }
    Ok(())
}

fn requests(autopsy: &Autopsy, _: &ArgMatches) -> anyhow::Result<Answer> {
    let v8 = &autopsy.v8;
    let mut rows = Vec::new();
    for Wrap { object, native, uv } in wraps(autopsy, false)? {
        let js = Js { v8, object };
        let class = js.class();
        let mut row = Row::new(object, &class, &class);
        row.set("native", hex(native));
        row.set("type", uv.kind);
        of_uv(&uv, &mut row);
        // What the C++ side keeps no copy of is in the object.
        let asked: BTreeMap<&str, String> = ["hostname", "bindingName", "address", "port"]
            .into_iter()
            .filter_map(|name| {
                let value = js
                    .text(name)
                    .or_else(|| js.number(name).map(|number| number.to_string()))?;
                Some((name, value))
            })
            .collect();
        for (name, value) in &asked {
            row.set(name, value.clone());
        }
        let told = match (asked.get("address"), asked.get("port")) {
            (Some(address), Some(port)) => Some(format!("{address}:{port}")),
            _ => asked.get("address").or(asked.get("hostname")).cloned(),
        };
        if let Some(told) = told.filter(|told| uv.name.as_ref() != Some(told)) {
            row.details.push(told);
        }
        if let Some(binding) = asked.get("bindingName") {
            row.details.push(binding.clone());
        }
        if let Some(end) = then(&js) {
            row.add("then", end.clone(), format!("then {end}"));
        }
        rows.push(row);
    }
    Ok(answer(rows))
}

/// The function that is called at the end of a request: the program's, where Node's own closes over it.
fn then(js: &Js<'_>) -> Option<String> {
    let v8 = js.v8;
    let function = |value: &Tagged| {
        v8.kind_of(*value)
            .is_ok_and(|kind| kind == Kind::JsFunction)
    };
    let outer = ["callback", "oncomplete"]
        .iter()
        .find_map(|name| js.get(name).filter(function))?;
    let inner = v8
        .closure(outer)
        .ok()
        .into_iter()
        .flatten()
        .find(|(_, name, value)| matches!(name.as_str(), "cb" | "callback") && function(value))
        .map(|(_, _, value)| value);
    let shared = v8.shared(v8.shared_of(inner.unwrap_or(outer)).ok()?).ok()?;
    let name = if shared.name.is_empty() {
        "<anonymous>".to_owned()
    } else {
        shared.name.clone()
    };
    Some(match v8.function_location(&shared) {
        Some(place) => format!("{name} {place}"),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_was_told_is_told() {
        for (key, text) in [
            ("4:127.0.0.1:80", "127.0.0.1:80"),
            ("6::::443", "[::]:443"),
            ("4:0.0.0.0:0", "0.0.0.0, a port that the system chose"),
            ("-1:/run/app.sock:-1", "/run/app.sock"),
        ] {
            assert_eq!(listens_on(key).as_deref(), Some(text));
        }
        assert_eq!(resource("TCP", "Server"), "TCPServerWrap");
        assert_eq!(resource("TCP", "Socket"), "TCPSocketWrap");
        assert_eq!(resource("MessagePort", ""), "MessagePort");
    }
}
