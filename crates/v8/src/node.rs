//! What Node keeps: its environment, handles and requests, the `process` object.
//!
//! Offsets come from `nodedbg_*` symbols, which the process fills in when it starts: they are read from its memory.

use crate::error::{Result, V8Error};
use crate::object::Slot;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::uv::{LOOP_TIME, Uv};
use crate::v8::{Isolate, V8};

/// Most handles or requests that are listed.
const MAX_LIST: usize = 1 << 20;

/// Where `Environment::timer_base_` is in the newest 20, 22, 24 and 26 (measured), and how many words from there it may be.
const TIMER_BASE: [usize; 4] = [0x5d8, 0x610, 0x650, 0x6e0];
const TIMER_BASE_REACH: usize = 48;
/// How much of an `Environment` is searched.
const ENVIRONMENT_REACH: u64 = 0x1800;
/// `UV_TIMER`.
const UV_TIMER: u32 = 13;

/// How far behind the beginning of a `ReqWrap` its `uv_req_t` is looked for.
const REQUEST_REACH: u64 = 0x400;

/// A handle or a request of libuv's with the object that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrap {
    /// The JavaScript object.
    pub object: Tagged,
    /// The C++ object (`HandleWrap`, `ReqWrap`).
    pub native: u64,
    /// What libuv knows of it.
    pub uv: Uv,
}

/// When a process began and how far its clocks had come.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Clocks {
    /// When it began, in microseconds since 1970: `performance.timeOrigin`.
    pub started: Option<u64>,
    /// Nanoseconds from what `process.uptime()` counts from to the last turn of the main thread's event loop.
    pub last_turn: Option<u64>,
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

    /// The native contexts of an isolate, or of all: the heap has the head of their list (`native_contexts_list_`), and each
    /// of them the next. Where no such list is found, the pages are looked through.
    pub fn native_contexts(&self, isolate: Option<usize>) -> Vec<Tagged> {
        let isolates = match isolate {
            Some(id) => self.isolate(id).map(std::slice::from_ref),
            None => Some(self.isolates()),
        };
        let mut all = Vec::new();
        for own in isolates.unwrap_or_default() {
            let mut found = self.listed_contexts(own);
            if found.is_empty() {
                found = self.walked_contexts(own.id);
            }
            all.extend(found);
        }
        all
    }

    fn is_native_context(&self, value: Tagged) -> bool {
        value.is_pointer()
            && self
                .map_of(value)
                .is_ok_and(|map| self.types.is_native_context(map.instance_type))
    }

    fn listed_contexts(&self, isolate: &Isolate) -> Vec<Tagged> {
        let bytes = isolate.heap.wrapping_sub(isolate.address).min(0x40000) + 0x4000;
        let heads = self.words_at(isolate.address, bytes as usize);
        let mut found: Vec<Tagged> = Vec::new();
        let mut line: Vec<Tagged> = heads.into_iter().map(Tagged).collect();
        while let Some(value) = line.pop() {
            if !self.is_native_context(value) || found.len() >= 4096 {
                continue;
            }
            let value = Tagged::of(self.moved_to(value.address()).unwrap_or(value.address()));
            if found.contains(&value) {
                continue;
            }
            found.push(value);
            let slots = self.array_length(value).unwrap_or(0).min(4096) as usize;
            let fields = self.words_at(value.address(), 8 * (slots + 4));
            line.extend(fields.into_iter().map(Tagged));
        }
        found.sort_unstable_by_key(|context| context.0);
        found
    }

    fn walked_contexts(&self, isolate: usize) -> Vec<Tagged> {
        let free = self.free_areas();
        let mut found = Vec::new();
        for page in self
            .pages_of(Some(isolate))
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
                let uv = if handles {
                    self.handle_of(at, native)
                } else {
                    self.request_of(native)
                };
                out.push(Wrap {
                    object: Tagged(object),
                    native,
                    uv: uv.unwrap_or_default(),
                });
            }
            at = self.memory.u64(at.wrapping_add(next))?;
        }
        Ok(out)
    }

    /// libuv's side of a handle: `HandleWrap` has its `uv_handle_t*` near its list node; that one's first field
    /// points back.
    fn handle_of(&self, node: u64, native: u64) -> Option<Uv> {
        // The state has moved before and behind the pointer in the course of time.
        [16, 24].into_iter().find_map(|offset| {
            let handle = self.memory.u64(node.wrapping_add(offset)).ok()?;
            (self.memory.u64(handle).ok() == Some(native)).then(|| self.uv_handle(handle))
        })
    }

    /// The same of a request: `ReqWrap` holds its `uv_req_t`, whose first field points back once it was dispatched.
    fn request_of(&self, native: u64) -> Option<Uv> {
        (8..REQUEST_REACH).step_by(8).find_map(|offset| {
            let at = native.wrapping_add(offset);
            if self.memory.u64(at).ok()? == native {
                self.uv_request(at)
            } else {
                None
            }
        })
    }

    /// The words of an environment.
    fn environment_words(&self, environment: u64) -> Option<Vec<u64>> {
        let bytes = self
            .memory
            .bytes(environment, ENVIRONMENT_REACH, ENVIRONMENT_REACH)
            .ok()?;
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        Some(bytes.chunks_exact(8).map(word).collect())
    }

    /// The event loop of the main isolate, by its environment.
    fn main_loop(&self) -> Option<u64> {
        let words = self
            .native_contexts(Some(0))
            .into_iter()
            .find_map(|context| self.environment_words(self.environment(context).ok()?))?;
        event_loop(&words)
    }

    /// How far the clock of an environment's timers had come at the last turn of its event loop, in milliseconds: what
    /// `Timeout._idleStart` counts with.
    pub fn timer_clock(&self, environment: u64) -> Option<u64> {
        let words = self.environment_words(environment)?;
        let event_loop = event_loop(&words)?;
        let now = self.memory.u64(event_loop.wrapping_add(LOOP_TIME)).ok()?;
        let start = self
            .memory
            .target()
            .symbol("_ZN4node11per_process15node_start_timeE")?;
        let start = self.memory.u64(start.address).ok()? / 1_000_000;
        // Environment::timer_base_ was the loop's time when the environment was made. Nothing tells where it is, so it is
        // the word that can be a time and lies nearest to where it was measured.
        let expected = TIMER_BASE[self.column.min(3)] / 8;
        let base = words
            .iter()
            .enumerate()
            .filter(|(_, word)| (start..=now).contains(*word))
            .map(|(index, word)| (index.abs_diff(expected), *word))
            .min()
            .filter(|(distance, _)| *distance <= TIMER_BASE_REACH)
            .map(|(_, base)| base)?;
        Some(now - base)
    }

    /// The clocks of the process, from Node's own variables; nothing where the binary has no symbols.
    pub fn clocks(&self) -> Clocks {
        let word = |name: &str, offset: u64| {
            let symbol = self.memory.target().symbol(name)?;
            self.memory.u64(symbol.address.wrapping_add(offset)).ok()
        };
        let started = word(
            "_ZN4node11performance35performance_process_start_timestampE",
            0,
        )
        .map(f64::from_bits)
        // From 2001 to 2286.
        .filter(|at| (1e15..1e16).contains(at));
        let start = word("_ZN4node11per_process15node_start_timeE", 0);
        // Distributions have libuv in a library of its own, and its variable without a name.
        let turn = word("default_loop_struct", LOOP_TIME).or_else(|| {
            let at = self.main_loop()?.checked_add(LOOP_TIME)?;
            self.memory.u64(at).ok()
        });
        Clocks {
            started: started.map(|at| at as u64),
            last_turn: start
                .zip(turn)
                .and_then(|(start, turn)| turn.checked_mul(1_000_000)?.checked_sub(start))
                // A century.
                .filter(|nanoseconds| *nanoseconds < 3_200_000_000_000_000_000),
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

/// The event loop in the words of an environment. The first of its handles is its timer (data, loop, type, ...: 152 bytes);
/// behind it comes one with the same loop.
fn event_loop(words: &[u64]) -> Option<u64> {
    words.windows(21).find_map(|handle| {
        (handle[2] as u32 == UV_TIMER && handle[1] != 0 && handle[1] == handle[20])
            .then_some(handle[1])
    })
}
