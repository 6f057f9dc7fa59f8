//! Objects of Node's whose getters read one field each: streams, readers, keys, events, decoders, marks.

use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::fetch::boolean;
use super::text::key_text;
use super::value::{Entry, Value};

/// What a getter is called, and where the field is that it reads, by its names in the versions of Node: names of properties,
/// private fields and symbols, one in the other.
type Getter = (&'static str, &'static [&'static str]);

const MARK: &[Getter] = &[
    ("name", &["Symbol(PerformanceEntry.Name)"]),
    ("entryType", &["Symbol(PerformanceEntry.EntryType)"]),
    ("startTime", &["Symbol(PerformanceEntry.StartTime)"]),
    ("duration", &["Symbol(PerformanceEntry.Duration)"]),
    (
        "detail",
        &["Symbol(kDetail)", "Symbol(PerformanceEntry.Detail)"],
    ),
];
const STRATEGY: &[Getter] = &[(
    "highWaterMark",
    &["#state/highWaterMark", "Symbol(kState)/highWaterMark"],
)];
const ENDS: &[Getter] = &[
    (
        "readable",
        &[
            "#transform/Symbol(kState)/readable",
            "Symbol(kTransform)/Symbol(kState)/readable",
            "#transform/readable",
            "Symbol(kTransform)/readable",
        ],
    ),
    (
        "writable",
        &[
            "#transform/Symbol(kState)/writable",
            "Symbol(kTransform)/Symbol(kState)/writable",
            "#transform/writable",
            "Symbol(kTransform)/writable",
        ],
    ),
];

/// Classes whose getters do nothing else.
const GETTERS: &[(&[&str], &[Getter])] = &[
    (
        &["TextDecoder"],
        &[
            ("encoding", &["Symbol(encoding)"]),
            ("fatal", &["Symbol(kFatal)"]),
            ("ignoreBOM", &["Symbol(kIgnoreBOM)"]),
        ],
    ),
    (&["PerformanceMark", "PerformanceMeasure"], MARK),
    (
        &["ByteLengthQueuingStrategy", "CountQueuingStrategy"],
        STRATEGY,
    ),
    (
        &["TransformStream", "InternalTransformStream"],
        &[
            ("readable", &["Symbol(kState)/readable"]),
            ("writable", &["Symbol(kState)/writable"]),
            ("backpressure", &["Symbol(kState)/backpressure"]),
        ],
    ),
    (
        &[
            "CompressionStream",
            "DecompressionStream",
            "TextEncoderStream",
        ],
        ENDS,
    ),
    (&["TextDecoderStream"], ENDS),
    (
        &["SocketAddress"],
        &[
            ("address", &["Symbol(kDetail)/address"]),
            ("port", &["Symbol(kDetail)/port"]),
        ],
    ),
    (
        &["WebSocket"],
        &[
            (
                "[[readyState]]",
                &["#handler/readyState", "Symbol(ready state)"],
            ),
            ("protocol", &["#protocol"]),
            ("extensions", &["#extensions"]),
            ("bufferedAmount", &["#bufferedAmount"]),
        ],
    ),
];

/// What an EventTarget keeps of itself.
const OF_TARGETS: [&str; 4] = [
    "[Symbol(kEvents)]",
    "[Symbol(events.maxEventTargetListeners)]",
    "[Symbol(events.maxEventTargetListenersWarned)]",
    "[Symbol(kHandlers)]",
];

/// Usages of a CryptoKey, by bit.
const USAGES: [&str; 8] = [
    "encrypt",
    "decrypt",
    "sign",
    "verify",
    "deriveKey",
    "deriveBits",
    "wrapKey",
    "unwrapKey",
];

impl Printer<'_> {
    /// Fills in what the getters of such an object say.
    pub(super) fn getters(
        &mut self,
        value: Tagged,
        class: &str,
        depth: usize,
        out: &mut Value,
    ) -> Option<()> {
        let (_, getters) = GETTERS
            .iter()
            .find(|(classes, _)| classes.contains(&class))?;
        let found: Vec<_> = getters
            .iter()
            .filter_map(|(name, paths)| Some((*name, self.of(value, paths)?)))
            .collect();
        if class == "TextDecoderStream" {
            let decoder = self.of(value, &["#handle", "Symbol(kHandle)"])?;
            self.getters(decoder, "TextDecoder", depth, out)?;
        }
        // A class of the program's own may have such a name.
        if found.is_empty() {
            return None;
        }
        if class == "WebSocket" {
            let url = self.of(
                value,
                &[
                    "#url",
                    "Symbol(url)",
                    "#handler/url",
                    "#handler/controller/#url",
                ],
            );
            if let Some(url) = url.and_then(|url| self.href(url)) {
                out.entries.push(Entry::text("[[url]]", &url));
            }
        }
        for (name, content) in found {
            self.named(name, content, depth, out);
        }
        // AF_INET6 and its flow label; AF_INET.
        if class == "SocketAddress" {
            let family = self.of(value, &["Symbol(kDetail)/family"])?;
            let family = if self.v8.number(family) == Some(10.0) {
                "ipv6"
            } else {
                "ipv4"
            };
            out.entries.push(Entry::text("family", family));
            self.named(
                "flowlabel",
                self.of(value, &["Symbol(kDetail)/flowlabel"])?,
                depth,
                out,
            );
        }
        if let Some(plain) = class.strip_prefix("Internal") {
            plain.clone_into(&mut out.text);
        }
        Some(())
    }

    /// A TextEncoder can do UTF-8 alone.
    pub(super) fn text_encoder(&self, value: Tagged, out: &mut Value) -> Option<()> {
        self.of(value, &["Symbol(encoder)", "#encoding"])?;
        out.entries.push(Entry::text("encoding", "utf-8"));
        Some(())
    }

    /// `ReadableStream { locked, state, supportsBYOB }`, `WritableStream { locked, state }`.
    pub(super) fn stream(&mut self, value: Tagged, class: &str, out: &mut Value) -> Option<()> {
        let v8 = self.v8;
        let state = self.of(value, &["Symbol(kState)"])?;
        let plain = class.trim_start_matches("Internal");
        let readable = plain == "ReadableStream";
        let holder = v8.own_property(state, if readable { "reader" } else { "writer" })?;
        let word = v8.own_property(state, "state")?;
        boolean("locked", !v8.is_undefined(holder), out);
        self.named("state", word, 0, out);
        if readable {
            let controller = v8.own_property(state, "controller")?;
            let bytes = v8
                .class_name(controller)
                .is_ok_and(|class| &*class == "ReadableByteStreamController");
            boolean("supportsBYOB", bytes, out);
        }
        plain.clone_into(&mut out.text);
        Some(())
    }

    /// Readers and writers of streams.
    pub(super) fn stream_end(
        &mut self,
        value: Tagged,
        class: &str,
        depth: usize,
        out: &mut Value,
    ) -> Option<()> {
        let v8 = self.v8;
        let state = self.of(value, &["Symbol(kState)"])?;
        let stream = v8.own_property(state, "stream")?;
        self.named("stream", stream, depth, out);
        let requests = match class {
            "ReadableStreamDefaultReader" => Some(("readRequests", "readRequests")),
            "ReadableStreamBYOBReader" => Some(("requests", "readIntoRequests")),
            _ => None,
        };
        if let Some((name, kept)) = requests {
            // An array, or a queue that counts.
            let requests = v8.own_property(state, kept)?;
            let count = match v8.kind_of(requests) {
                Ok(Kind::JsArray) => v8.field(requests.address(), v8.c.js_array_length).ok()?,
                _ => v8.own_property(requests, "length")?,
            };
            self.named(name, count, depth, out);
        }
        // Made when somebody asks for them, in newer versions.
        if let Some(closed) = self.of(state, &["close/promise"]) {
            self.named("close", closed, depth, out);
        }
        if class == "WritableStreamDefaultWriter" {
            if let Some(ready) = self.of(state, &["ready/promise"]) {
                self.named("ready", ready, depth, out);
            }
            if let Some(size) = self.desired_size(stream) {
                out.entries.push(Entry::named("desiredSize", size));
            }
        }
        Some(())
    }

    fn desired_size(&self, stream: Tagged) -> Option<Value> {
        let v8 = self.v8;
        let state = self.of(stream, &["Symbol(kState)"])?;
        let word = v8.name_text(v8.own_property(state, "state")?)?;
        let controller = self.of(state, &["controller/Symbol(kState)"])?;
        let number = |name| v8.number(v8.own_property(controller, name)?);
        Some(match word.as_str() {
            "errored" | "erroring" => Value::plain("null", "null"),
            "closed" => Value::plain("number", "0"),
            _ => {
                let left = number("highWaterMark")? - number("queueTotalSize")?;
                Value::plain("number", super::text::number_text(left))
            }
        })
    }

    /// An Event: what Node shows of it, and what the one who sent it said.
    pub(super) fn event(
        &mut self,
        value: Tagged,
        class: &str,
        depth: usize,
        out: &mut Value,
    ) -> Option<()> {
        let kind = self.of(value, &["Symbol(type)"])?;
        let stamp = self.of(value, &["#timestamp", "Symbol(timestamp)"])?;
        let cancelable = self.of(value, &["#cancelable"])?;
        let prevented = self.of(value, &["#defaultPrevented"])?;
        self.named("type", kind, depth, out);
        boolean(
            "defaultPrevented",
            self.is_true(cancelable) && self.is_true(prevented),
            out,
        );
        self.named("cancelable", cancelable, depth, out);
        self.named("timeStamp", stamp, depth, out);
        for (name, paths) in [
            ("[[detail]]", &["Symbol(detail)"][..]),
            ("[[data]]", &["#eventInit/data", "Symbol(kData)"]),
        ] {
            if let Some(content) = self.of(value, paths) {
                self.named(name, content, depth, out);
            }
        }
        class.clone_into(&mut out.text);
        Some(())
    }

    /// An EventTarget: its own properties, and who listens to what.
    pub(super) fn event_target(
        &mut self,
        value: Tagged,
        kind: Kind,
        depth: usize,
        out: &mut Value,
    ) -> Option<()> {
        let v8 = self.v8;
        let map = v8.map_of(value).ok()?;
        let first = v8.map_keys(&map).ok()?.first()?.0;
        let is_target = v8
            .symbol_description(first)
            .is_ok_and(|name| name.as_deref() == Some("kEvents"));
        if !is_target {
            return None;
        }
        let events = self.of(value, &["Symbol(kEvents)"])?;
        self.fill(value, kind, depth, out).ok()?;
        out.entries.retain(|entry| {
            !entry
                .key
                .as_deref()
                .is_some_and(|key| OF_TARGETS.contains(&key))
        });
        // Made with the first listener, in newer versions.
        let Ok((events, _)) = v8.collection(events, self.limit() as u64) else {
            return Some(());
        };
        let mut all = Value {
            brackets: Some(("{", "}")),
            ..Value::plain("object", "")
        };
        for (name, root) in events {
            let listeners = self.listeners(root);
            if !listeners.is_empty() {
                let items = listeners.len();
                let list = Value {
                    brackets: Some(("[", "]")),
                    entries: listeners.into_iter().map(Entry::item).collect(),
                    items,
                    ..Value::plain("object", "")
                };
                let name = v8.name_text(name).unwrap_or_default();
                all.entries.push(Entry::named(key_text(&name), list));
            }
        }
        if !all.entries.is_empty() {
            out.entries.push(Entry::named("[[listeners]]", all));
        }
        Some(())
    }

    /// The functions of a list of Node's listeners.
    fn listeners(&mut self, root: Tagged) -> Vec<Value> {
        let mut out = Vec::new();
        let mut at = self.v8.own_property(root, "next");
        for _ in 0..self.limit() {
            let Some(listener) = at.filter(|at| self.v8.kind_of(*at).is_ok_and(Kind::is_js_object))
            else {
                break;
            };
            if let Some(callback) = self.of(listener, &["callback", "listener"]) {
                out.push(self.value(callback, 0));
            }
            at = self.v8.own_property(listener, "next");
        }
        out
    }

    pub(super) fn broadcast_channel(
        &mut self,
        value: Tagged,
        depth: usize,
        out: &mut Value,
    ) -> Option<()> {
        self.named("name", self.of(value, &["Symbol(kName)"])?, depth, out);
        let handle = self.of(value, &["Symbol(kHandle)"])?;
        boolean("active", !self.v8.is_undefined(handle), out);
        "BroadcastChannel".clone_into(&mut out.text);
        Some(())
    }

    /// `CryptoKey { type, extractable, algorithm, usages }`: of symbols in 20 and 22; later of a list, once somebody has asked
    /// for any of them: type, extractable, algorithm, usages by bit.
    pub(super) fn crypto_key(
        &mut self,
        value: Tagged,
        depth: usize,
        out: &mut Value,
    ) -> Option<()> {
        let v8 = self.v8;
        if let Some(algorithm) = self.of(value, &["Symbol(kAlgorithm)"]) {
            let kind = self.of(value, &["Symbol(kKeyObject)/Symbol(kKeyType)"])?;
            self.named("type", kind, depth, out);
            self.named(
                "extractable",
                self.of(value, &["Symbol(kExtractable)"])?,
                depth,
                out,
            );
            self.named("algorithm", algorithm, depth, out);
            self.named(
                "usages",
                self.of(value, &["Symbol(kKeyUsages)"])?,
                depth,
                out,
            );
        } else {
            let slots = self.of(value, &["#slots"])?;
            let slot = |index| match v8.element(slots, index)? {
                Slot::Value(value) => Some(value),
                _ => None,
            };
            if !v8.is_undefined(slots) {
                let kind = slot(0)?.as_smi()?;
                let kind = ["secret", "public", "private"].get(usize::try_from(kind).ok()?)?;
                let bits = slot(3)?.as_smi()?;
                out.entries.push(Entry::text("type", kind));
                self.named("extractable", slot(1)?, depth, out);
                // Node shows a copy, which is a plain object.
                let mut algorithm = self.value(slot(2)?, depth);
                algorithm.text.clear();
                out.entries.push(Entry::named("algorithm", algorithm));
                let usages = USAGES.iter().enumerate();
                let usages = usages.filter(|(bit, _)| bits >> bit & 1 == 1);
                let entries: Vec<Entry> = usages
                    .map(|(_, usage)| Entry::item(Value::plain("string", format!("'{usage}'"))))
                    .collect();
                let list = Value {
                    brackets: Some(("[", "]")),
                    items: entries.len(),
                    entries,
                    ..Value::plain("object", "")
                };
                out.entries.push(Entry::named("usages", list));
            }
        }
        "CryptoKey".clone_into(&mut out.text);
        Some(())
    }

    /// Keys are shown by their class alone, as Node does.
    pub(super) fn key_object(
        &mut self,
        value: Tagged,
        kind: Kind,
        depth: usize,
        out: &mut Value,
    ) -> Option<()> {
        self.fill(value, kind, depth, out).ok()?;
        out.entries
            .retain(|entry| entry.key.as_deref() != Some("#slots"));
        Some(())
    }

    /// What the first of these paths leads to that there is: names of properties, symbols and private fields, by `/`.
    pub(super) fn of(&self, value: Tagged, paths: &[&str]) -> Option<Tagged> {
        paths.iter().find_map(|path| {
            path.split('/')
                .try_fold(value, |at, name| self.member(at, &[name]))
        })
    }
}
