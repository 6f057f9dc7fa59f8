//! Objects of Node's that `util.inspect` shows by what their getters say, and not by what is in them: told here from the
//! private fields that those getters read. With `hidden`, or where the fields are not as expected, they are printed as any
//! other object.

use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::text::key_text;
use super::value::{Entry, Value};

/// In place of a part that a URL does not have.
const OMITTED: f64 = 4_294_967_295.0;

impl Printer<'_> {
    /// Fills in what such an object is; false when it is none.
    pub(super) fn web(
        &mut self,
        value: Tagged,
        kind: Kind,
        class: &str,
        depth: usize,
        out: &mut Value,
    ) -> bool {
        if self.options.hidden {
            return false;
        }
        let shown = match class {
            "URL" => self.url(value, depth, out),
            "URLSearchParams" => self.search_params(value, depth, out),
            "Headers" | "_Headers" => self.headers(value, depth, out),
            "Blob" | "File" => self.blob(value, depth, out),
            "AbortSignal" | "EventTarget" => self
                .abort_signal(value, depth, out)
                .or_else(|| self.event_target(value, kind, depth, out)),
            "AbortController" => self.abort_controller(value, depth, out),
            // As the bundle of Node 20.9 calls them.
            "Response" | "_Response" => self.response(value, depth, out),
            "Request" | "_Request" => self.request(value, depth, out),
            "FormData" | "_FormData" => self.form(value, depth, out),
            "ReadableStream"
            | "InternalReadableStream"
            | "WritableStream"
            | "InternalWritableStream" => self.stream(value, class, out),
            "ReadableStreamDefaultReader"
            | "ReadableStreamBYOBReader"
            | "WritableStreamDefaultWriter" => self.stream_end(value, class, depth, out),
            "TextEncoder" => self.text_encoder(value, out),
            "BroadcastChannel" => self.broadcast_channel(value, depth, out),
            "CryptoKey" | "InternalCryptoKey" => self.crypto_key(value, depth, out),
            "SecretKeyObject" | "PublicKeyObject" | "PrivateKeyObject" => {
                self.key_object(value, kind, depth, out)
            }
            // Node shows these as they are.
            "MessagePort" => None,
            _ if class.ends_with("Event") => self.event(value, class, depth, out),
            _ => self
                .getters(value, class, depth, out)
                .or_else(|| self.event_target(value, kind, depth, out)),
        };
        if shown.is_none() {
            out.entries.clear();
            out.more = 0;
        }
        shown.is_some()
    }

    /// The value of the first of these properties, private fields and symbols among them, that an object has.
    pub(super) fn member(&self, value: Tagged, names: &[&str]) -> Option<Tagged> {
        let v8 = self.v8;
        let properties = v8.properties(value).ok()?;
        properties.iter().find_map(|property| match property.slot {
            Slot::Value(content) if names.contains(&v8.key_text(property).as_str()) => {
                Some(content)
            }
            _ => None,
        })
    }

    fn url(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let v8 = self.v8;
        let context = self.member(value, &["#context", "Symbol(context)"])?;
        let href = v8.own_property(context, "href")?;
        // Offsets are in UTF-16 code units; an href is ASCII.
        let text = v8
            .text(href, 1 << 16)
            .ok()
            .filter(|text| !text.truncated)?
            .text;
        let number = |name: &str| {
            v8.own_property(context, name)
                .and_then(|value| v8.number(value))
        };
        let part = |from: f64, to: f64| text.get(from as usize..to as usize);
        let length = text.len() as f64;
        let protocol_end = number("protocol_end")?;
        let username_end = number("username_end")?;
        let (host_start, host_end) = (number("host_start")?, number("host_end")?);
        let path_start = number("pathname_start")?;
        let (search_start, hash_start) = (number("search_start")?, number("hash_start")?);
        let port = number("port")?;
        let search_end = if hash_start == OMITTED {
            length
        } else {
            hash_start
        };
        let path_end = if search_start == OMITTED {
            search_end
        } else {
            search_start
        };
        let user_start = (protocol_end + 2.0).min(username_end);
        let at = part(host_start, host_start + 1.0) == Some("@");
        let host_start = host_start + f64::from(u8::from(at));
        let protocol = part(0.0, protocol_end)?;
        let host = part(host_start, path_start.max(host_start))?;
        let origin = match protocol {
            "http:" | "https:" | "ws:" | "wss:" | "ftp:" => Some(format!("{protocol}//{host}")),
            // A blob's is that of the URL inside of it.
            "blob:" => None,
            _ => Some("null".to_owned()),
        };
        let password_start = (username_end + 1.0).min(host_start);
        let password_end = if at { host_start - 1.0 } else { password_start };
        let rest = |start: f64, end: f64| {
            if start == OMITTED || end - start <= 1.0 {
                Some("")
            } else {
                part(start, end)
            }
        };
        let parts = [
            ("href", Some(text.as_str())),
            ("origin", origin.as_deref()),
            ("protocol", Some(protocol)),
            ("username", Some(part(user_start, username_end)?)),
            (
                "password",
                Some(part(password_start, password_end.max(password_start))?),
            ),
            ("host", Some(host)),
            (
                "hostname",
                Some(part(host_start, host_end.max(host_start))?),
            ),
        ];
        for (name, text) in parts {
            if let Some(text) = text {
                out.entries.push(Entry::text(name, text));
            }
        }
        let port = if port == OMITTED {
            String::new()
        } else {
            port.to_string()
        };
        out.entries.push(Entry::text("port", &port));
        out.entries
            .push(Entry::text("pathname", part(path_start, path_end)?));
        out.entries
            .push(Entry::text("search", rest(search_start, search_end)?));
        // Made when somebody asks for it.
        if let Some(params) = self.member(value, &["#searchParams", "Symbol(query)"])
            && !v8.is_undefined(params)
        {
            self.named("searchParams", params, depth, out);
        }
        out.entries
            .push(Entry::text("hash", rest(hash_start, length)?));
        Some(())
    }

    fn search_params(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let list = self.member(value, &["#searchParams", "Symbol(query)"])?;
        let limit = self.limit() as u64;
        let elements = self.v8.elements(list, 2 * limit).ok()?;
        for pair in elements.entries.chunks_exact(2) {
            let key = self.slot(&pair[0].1, depth);
            let value = self.slot(&pair[1].1, depth);
            out.entries.push(Entry {
                key: None,
                map_key: Some(key),
                value,
            });
        }
        out.items = out.entries.len();
        out.more = (elements.length / 2).saturating_sub(out.items as u64);
        Some(())
    }

    fn headers(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let v8 = self.v8;
        let list = self.member(value, &["#headersList", "Symbol(headers list)"])?;
        let map = self.member(list, &["headersMap", "Symbol(headers map)"])?;
        let (entries, used) = v8.collection(map, self.limit() as u64).ok()?;
        for (key, entry) in entries {
            let name = v8.own_property(entry, "name").unwrap_or(key);
            let content = v8.own_property(entry, "value")?;
            self.named(&key_text(&v8.name_text(name)?), content, depth, out);
        }
        out.more_properties = used.saturating_sub(out.entries.len() as u64);
        "Headers".clone_into(&mut out.text);
        Some(())
    }

    fn blob(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let size = self.member(value, &["Symbol(kLength)"])?;
        let kind = self.member(value, &["Symbol(kType)"])?;
        self.named("size", size, depth, out);
        self.named("type", kind, depth, out);
        let state = self.member(value, &["Symbol(state)"]).unwrap_or(value);
        for (name, names) in [
            ("name", ["#name", "name"]),
            ("lastModified", ["#lastModified", "lastModified"]),
        ] {
            if let Some(content) = self.member(state, &names) {
                self.named(name, content, depth, out);
            }
        }
        Some(())
    }

    fn abort_signal(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let aborted = self.member(value, &["Symbol(kAborted)"])?;
        self.named("aborted", aborted, depth, out);
        if let Some(reason) = self.member(value, &["Symbol(kReason)"])
            && !self.v8.is_undefined(reason)
        {
            self.named("[[reason]]", reason, depth, out);
        }
        "AbortSignal".clone_into(&mut out.text);
        Some(())
    }

    fn abort_controller(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let signal = self.member(value, &["#signal", "Symbol(signal)"])?;
        if self.v8.is_undefined(signal) {
            return None;
        }
        self.named("signal", signal, depth, out);
        Some(())
    }
}
