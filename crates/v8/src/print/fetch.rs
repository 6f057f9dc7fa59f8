//! Responses, requests and forms of undici, from what they keep of themselves.

use crate::tagged::Tagged;
use crate::types::Kind;

use super::Printer;
use super::text::key_text;
use super::value::{Entry, Value};

impl Printer<'_> {
    pub(super) fn response(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let state = self.inner_state(value)?;
        let own = |name: &str| self.v8.own_property(state, name);
        let status = self.v8.number(own("status")?)?;
        let urls = self.v8.elements(own("urlList")?, 1 << 10).ok()?;
        let disturbed =
            own("body").and_then(|body| self.of(body, &["stream/Symbol(kState)/disturbed"]));
        self.state_members(state, &["status", "statusText"], depth, out);
        self.headers_of(value, depth, out);
        self.body(state, depth, out);
        let used = disturbed.is_some_and(|used| self.is_true(used));
        boolean("bodyUsed", used, out);
        boolean("ok", (200.0..300.0).contains(&status), out);
        boolean("redirected", urls.length > 1, out);
        self.state_members(state, &["type"], depth, out);
        let url = self.last_url(state).unwrap_or_default();
        // Without its fragment, as the standard has it.
        let url = url.split('#').next().unwrap_or_default();
        out.entries.push(Entry::text("url", url));
        "Response".clone_into(&mut out.text);
        Some(())
    }

    pub(super) fn request(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let v8 = self.v8;
        let state = self.inner_state(value)?;
        self.state_members(state, &["method"], depth, out);
        out.entries.push(Entry::text("url", &self.last_url(state)?));
        self.headers_of(value, depth, out);
        self.state_members(state, &["destination"], depth, out);
        let referrer = v8.own_property(state, "referrer")?;
        let referrer = match v8.name_text(referrer).as_deref() {
            Some("client") => "about:client".to_owned(),
            Some("no-referrer") => String::new(),
            Some(other) => other.to_owned(),
            None => self.href(referrer)?,
        };
        out.entries.push(Entry::text("referrer", &referrer));
        let names = [
            "referrerPolicy",
            "mode",
            "credentials",
            "cache",
            "redirect",
            "integrity",
            "keepalive",
        ];
        self.state_members(state, &names, depth, out);
        for (name, kept) in [
            ("isReloadNavigation", "reloadNavigation"),
            ("isHistoryNavigation", "historyNavigation"),
        ] {
            if let Some(content) = v8.own_property(state, kept) {
                self.named(name, content, depth, out);
            }
        }
        if let Some(signal) = self.of(value, &["#signal", "Symbol(signal)"]) {
            self.named("signal", signal, depth, out);
        }
        "Request".clone_into(&mut out.text);
        Some(())
    }

    /// A form: each name with its value, or with the list of its values.
    pub(super) fn form(&mut self, value: Tagged, depth: usize, out: &mut Value) -> Option<()> {
        let v8 = self.v8;
        let list = self.of(value, &["#state", "Symbol(state)"])?;
        let elements = v8.elements(list, self.limit() as u64).ok()?;
        let mut all: Vec<(String, Vec<Value>)> = Vec::new();
        for (_, slot) in &elements.entries {
            let crate::object::Slot::Value(entry) = slot else {
                continue;
            };
            let name = v8.name_text(v8.own_property(*entry, "name")?)?;
            let content = self.value(v8.own_property(*entry, "value")?, depth);
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(content),
                None => all.push((name, vec![content])),
            }
        }
        for (name, mut values) in all {
            let content = if values.len() == 1 {
                values.remove(0)
            } else {
                let items = values.len();
                Value {
                    brackets: Some(("[", "]")),
                    entries: values.into_iter().map(Entry::item).collect(),
                    items,
                    ..Value::plain("object", "")
                }
            };
            out.entries.push(Entry::named(key_text(&name), content));
        }
        out.more_properties = elements
            .length
            .saturating_sub(elements.entries.len() as u64);
        "FormData".clone_into(&mut out.text);
        Some(())
    }

    /// What a Response or a Request keeps. That of a fetched response is a Proxy around the response as it came.
    fn inner_state(&self, value: Tagged) -> Option<Tagged> {
        let v8 = self.v8;
        let state = self.of(value, &["#state", "Symbol(state)"])?;
        match v8.kind_of(state).ok()? {
            Kind::JsProxy => v8.field(state.address(), v8.c.js_proxy_target).ok(),
            _ => Some(state),
        }
    }

    fn state_members(&mut self, state: Tagged, names: &[&str], depth: usize, out: &mut Value) {
        for name in names {
            if let Some(content) = self.v8.own_property(state, name) {
                self.named(name, content, depth, out);
            }
        }
    }

    fn headers_of(&mut self, value: Tagged, depth: usize, out: &mut Value) {
        if let Some(headers) = self.of(value, &["#headers", "Symbol(headers)"]) {
            self.named("headers", headers, depth, out);
        }
    }

    fn body(&mut self, state: Tagged, depth: usize, out: &mut Value) {
        let body = self.v8.own_property(state, "body");
        let stream = body.and_then(|body| self.v8.own_property(body, "stream"));
        match stream {
            Some(stream) => self.named("body", stream, depth, out),
            None => out
                .entries
                .push(Entry::named("body", Value::plain("null", "null"))),
        }
    }

    /// The last of the URLs that led here.
    fn last_url(&self, state: Tagged) -> Option<String> {
        let list = self.v8.own_property(state, "urlList")?;
        let urls = self.v8.elements(list, 1 << 10).ok()?;
        let crate::object::Slot::Value(url) = urls.entries.last()?.1 else {
            return None;
        };
        self.href(url)
    }

    /// The whole text of a URL.
    pub(super) fn href(&self, url: Tagged) -> Option<String> {
        let href = self.of(url, &["#context/href", "Symbol(context)/href"])?;
        Some(self.v8.text(href, 1 << 16).ok()?.text)
    }

    pub(super) fn is_true(&self, value: Tagged) -> bool {
        self.v8.root_name(value) == Some("true_value")
    }
}

pub(super) fn boolean(name: &str, value: bool, out: &mut Value) {
    let content = Value::plain("boolean", value.to_string());
    out.entries.push(Entry::named(name, content));
}
