//! What Node keeps: its environment, handles and requests, the `process` object.
//!
//! Offsets come from `nodedbg_*` symbols, which the process fills in when it starts: they are read from its memory.

use crate::error::{Result, V8Error};
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most handles or requests that are listed.
const MAX_LIST: usize = 1 << 20;

/// A handle or a request of libuv's with the object that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrap {
    /// The JavaScript object.
    pub object: Tagged,
    /// The C++ object (`HandleWrap`, `ReqWrap`).
    pub native: u64,
    /// libuv's type, of handles.
    pub uv_type: Option<&'static str>,
    /// libuv waits for it.
    pub active: Option<bool>,
    /// It keeps the loop alive.
    pub referenced: Option<bool>,
    /// The file descriptor, of streams.
    pub fd: Option<i32>,
}

impl V8 {
    fn node_constant(&self, prefix: &str) -> Option<u64> {
        let symbols = self.memory.target().symbols(prefix);
        // Zero ones may lie in memory that the core left out.
        symbols.first().map(|symbol| {
            self.memory
                .u64(symbol.address)
                .map_or(0, |value| value & 0xffff_ffff)
        })
    }

    /// The native contexts of an isolate, or of all: found by looking through its pages.
    pub fn native_contexts(&self, isolate: Option<usize>) -> Vec<Tagged> {
        let free = self.free_areas();
        let mut found = Vec::new();
        for page in self
            .pages_of(isolate)
            .into_iter()
            .filter(|page| page.heap != 0 && !page.large)
        {
            self.walk_page(page, &free, |object| {
                if object.map.kind == Kind::Context
                    && self.types.is_native_context(object.map.instance_type)
                {
                    found.push(Tagged::of(object.address));
                }
            });
        }
        found
    }

    /// `node::Environment` of a native context.
    pub fn environment(&self, context: Tagged) -> Result<u64> {
        let missing = V8Error::Other("this context has no Node environment".to_owned());
        let index = self
            .node_constant("nodedbg_const_ContextEmbedderIndex__kEnvironment__int")
            .ok_or(missing.clone())?;
        let data = self.field(context.address(), self.c.embedder_data)?;
        self.map_of(data)?;
        if index >= self.array_length(data)? {
            return Err(missing);
        }
        // An aligned pointer as it is.
        let pointer = self.element_of(data, index)?.0;
        if pointer == 0 || pointer & 1 == 1 || self.memory.u64(pointer).is_err() {
            return Err(missing);
        }
        Ok(pointer)
    }

    /// The handles (`true`) or requests of an environment.
    ///
    /// # Errors
    /// When the binary does not tell where they are.
    pub fn wraps(&self, environment: u64, handles: bool) -> Result<Vec<Wrap>> {
        let told = |name: &str| {
            self.node_constant(name)
                .ok_or_else(|| V8Error::Other(format!("the binary does not tell {name}")))
        };
        let (queue, head, link, next) = if handles {
            (
                told("nodedbg_offset_Environment__handle_wrap_queue")?,
                told("nodedbg_offset_Environment_HandleWrapQueue__head")?,
                told("nodedbg_offset_HandleWrap__handle_wrap_queue")?,
                told("nodedbg_offset_ListNode_HandleWrap__next")?,
            )
        } else {
            (
                told("nodedbg_offset_Environment__req_wrap_queue")?,
                told("nodedbg_offset_Environment_ReqWrapQueue__head")?,
                told("nodedbg_offset_ReqWrap__req_wrap_queue")?,
                told("nodedbg_offset_ListNode_ReqWrap__next")?,
            )
        };
        let persistent = told("nodedbg_offset_BaseObject__persistent_handle")?;
        let first = environment.wrapping_add(queue).wrapping_add(head);
        let mut at = self.memory.u64(first.wrapping_add(next))?;
        let mut out = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while at != first && at != 0 && seen.insert(at) && out.len() < MAX_LIST {
            let native = at.wrapping_sub(link);
            let object = self
                .memory
                .u64(native.wrapping_add(persistent))
                .and_then(|slot| self.memory.u64(slot));
            if let Ok(object) = object {
                let mut wrap = Wrap {
                    object: Tagged(object),
                    native,
                    uv_type: None,
                    active: None,
                    referenced: None,
                    fd: None,
                };
                if handles {
                    self.uv_handle(at, native, &mut wrap);
                }
                out.push(wrap);
            }
            at = self.memory.u64(at.wrapping_add(next))?;
        }
        Ok(out)
    }

    /// libuv's side of a handle. `HandleWrap` has its `uv_handle_t*` near its list node; that one's first
    /// field points back. (`uv_handle_t`: data 0, type 16, flags 88; streams: `io_watcher.fd` 184.)
    fn uv_handle(&self, node: u64, native: u64, wrap: &mut Wrap) {
        const TYPES: [&str; 18] = [
            "unknown", "async", "check", "fs_event", "fs_poll", "handle", "idle", "pipe", "poll",
            "prepare", "process", "stream", "tcp", "timer", "tty", "udp", "signal", "file",
        ];
        // The state has moved before and behind the pointer in the course of time.
        let handle = [16, 24].into_iter().find_map(|offset| {
            let handle = self.memory.u64(node.wrapping_add(offset)).ok()?;
            (self.memory.u64(handle).ok() == Some(native)).then_some(handle)
        });
        let Some(handle) = handle else { return };
        let kind = self.memory.u32(handle.wrapping_add(16)).unwrap_or(0) as usize;
        wrap.uv_type = TYPES.get(kind).copied();
        if let Ok(flags) = self.memory.u32(handle.wrapping_add(88)) {
            wrap.active = Some(flags & 4 != 0);
            wrap.referenced = Some(flags & 8 != 0);
        }
        if matches!(wrap.uv_type, Some("tcp" | "pipe" | "tty")) {
            wrap.fd = self
                .memory
                .u32(handle.wrapping_add(184))
                .ok()
                .map(|fd| fd as i32)
                .filter(|fd| (0..1 << 20).contains(fd));
        }
    }

    /// The `process` object of a native context: the global object's property, or what its getter closes over.
    pub fn process_object(&self, context: Tagged) -> Option<Tagged> {
        // NativeContext: scope info, previous, extension (the global object).
        let global = (2..6)
            .filter_map(|slot| self.element_of(context, slot).ok())
            .find(|value| {
                matches!(
                    self.kind_of(*value),
                    Ok(Kind::JsGlobalObject | Kind::JsGlobalProxy)
                )
            })?;
        let property = self
            .properties(global)
            .ok()?
            .into_iter()
            .find(|property| self.name_text(property.key).as_deref() == Some("process"))?;
        match property.slot {
            Slot::Value(value) => Some(value),
            Slot::Accessor(getter, _) => self
                .closure(getter)
                .ok()?
                .into_iter()
                .find(|(_, name, _)| name == "_process" || name == "process")
                .map(|(_, _, value)| value),
            _ => None,
        }
    }
}
