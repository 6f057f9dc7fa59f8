//! Which class an object is of.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Result;
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::{MapInfo, V8};

use super::MAX_CHAIN;

impl V8 {
    /// The function that a map says made its objects.
    pub fn map_constructor(&self, map: &MapInfo) -> Option<Tagged> {
        let mut at = self.field(map.address, self.c.map_constructor).ok()?;
        for _ in 0..MAX_CHAIN * 8 {
            match self.kind_of(at).ok()? {
                Kind::Map => at = self.field(at.address(), self.c.map_constructor).ok()?,
                // Tuple2 of the constructor and a value: the constructor is first.
                Kind::Internal
                    if self.types.name(self.map_of(at).ok()?.instance_type) == "TUPLE2" =>
                {
                    at = self.field(at.address(), 8).ok()?
                }
                Kind::JsFunction => return Some(at),
                _ => return None,
            }
        }
        None
    }

    /// The function that an object's class is called after: its prototype's `constructor`, as the program has it. What the
    /// map says made it is the base of all where a class extends a function.
    pub fn class_function(&self, object: Tagged) -> Option<Tagged> {
        let map = self.map_of(object).ok()?;
        let named = self.class_name(object).ok()?;
        let mut at = object;
        let mut seen = HashSet::new();
        while seen.len() < MAX_CHAIN && seen.insert(at.0) {
            let map = self.map_of(at).ok().filter(|map| map.kind.is_js_object());
            let Some(map) = map else { break };
            at = self.field(map.address, self.c.map_prototype).ok()?;
            if let Some(constructor) = self.own_property(at, "constructor")
                && self
                    .function_name(constructor)
                    .is_ok_and(|name| name == *named)
            {
                return Some(constructor);
            }
        }
        self.map_constructor(&map)
    }

    /// The name of an object's class as a developer would say it. V8's rule (`JSReceiver::GetConstructorName`) without
    /// its step for `Symbol.toStringTag`, by which a class that extends Map would be called Map.
    ///
    /// # Errors
    /// When it is no object.
    pub fn class_name(&self, object: Tagged) -> Result<Arc<str>> {
        let map = self.map_of(object)?;
        if let Ok(classes) = self.classes.read()
            && let Some(known) = classes.get(&map.address)
        {
            return Ok(known.clone());
        }
        let name: Arc<str> = self.find_class(&map).into();
        if let Ok(mut classes) = self.classes.write() {
            if classes.len() > 1 << 20 {
                classes.clear();
            }
            // What a dictionary says is of one object and not of all that share its map; prototypes own their maps.
            classes.insert(map.address, name.clone());
        }
        Ok(name)
    }

    fn find_class(&self, map: &MapInfo) -> String {
        if map.kind == Kind::JsFunction || map.kind == Kind::JsBoundFunction {
            return "Function".to_owned();
        }
        let is_prototype = map.bits3 >> 20 & 1 == 1;
        let constructor = self.map_constructor(map);
        let name_of = |function: Tagged| {
            self.function_name(function)
                .ok()
                .filter(|name| !name.is_empty())
        };
        // An error that was given another prototype, as DOMException does it, is of that one's class.
        if map.bits2 & 1 == 1
            && !is_prototype
            && map.kind != Kind::JsError
            && let Some(name) = constructor.and_then(name_of)
            && name != "Object"
        {
            return name;
        }
        let mut at = self
            .field(map.address, self.c.map_prototype)
            .unwrap_or_default();
        let mut seen = HashSet::new();
        while seen.len() < MAX_CHAIN && seen.insert(at.0) {
            let Ok(map) = self.map_of(at) else { break };
            if !map.kind.is_js_object() {
                break;
            }
            if let Some(constructor) = self.own_property(at, "constructor")
                && self
                    .kind_of(constructor)
                    .is_ok_and(|kind| kind == Kind::JsFunction)
                && let Some(name) = name_of(constructor)
                && name != "Object"
            {
                return name;
            }
            at = self
                .field(map.address, self.c.map_prototype)
                .unwrap_or_default();
        }
        match constructor.and_then(name_of) {
            Some(name) if !is_prototype => name,
            _ => self.kind_class(map).to_owned(),
        }
    }

    /// The class of an object that nothing else names.
    fn kind_class(&self, map: &MapInfo) -> &'static str {
        match map.kind {
            Kind::JsArray => "Array",
            Kind::JsArguments => "Arguments",
            Kind::JsMap => "Map",
            Kind::JsSet => "Set",
            Kind::JsPromise => "Promise",
            Kind::JsProxy => "Proxy",
            Kind::JsError => "Error",
            Kind::JsModuleNamespace => "Module",
            Kind::JsGlobalObject | Kind::JsGlobalProxy => "global",
            _ => "Object",
        }
    }
}
