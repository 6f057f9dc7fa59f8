//! Instance types: which number is what, and how the size of an object of that type is told.
//!
//! Numbers come from `v8dbg_type_*` symbols, which cover two thirds, and from the maps among the roots, whose names
//! tell nearly all others. Formulas: V8's `objects/*.tq` and `*-inl.h` of 11.3, 12.4, 13.6 and 14.6; a wrong one shows
//! at once, as the next word is then no map.

use std::collections::HashMap;

/// How many bytes an object of a type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sizing {
    /// In the map.
    Map,
    SeqOneByte,
    SeqTwoByte,
    /// header + 8 × Smi at 8.
    Words(u8),
    /// 16 + Smi at 8.
    Bytes,
    Bytecode,
    Doubles,
    PropertyArray,
    Descriptors,
    FeedbackVector,
    FeedbackMetadata,
    FreeSpace,
    BigInt,
    PreparseData,
    Coverage,
    Swiss,
    DoubleStringCache,
    WasmTypeInfo,
    InstructionStream,
    ScopeInfo,
    Hole,
    WasmNull,
    Unknown,
}

/// What a type is to a reader of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    String,
    Symbol,
    BigInt,
    HeapNumber,
    Oddball,
    Hole,
    Map,
    Code,
    InstructionStream,
    BytecodeArray,
    SharedFunctionInfo,
    Script,
    ScopeInfo,
    Context,
    FixedArray,
    DoubleArray,
    AccessorPair,
    AccessorInfo,
    Cell,
    ContextCell,
    PropertyCell,
    FeedbackCell,
    PromiseReaction,
    UncompiledData,
    InterpreterData,
    FunctionTemplateInfo,
    SharedWrapper,
    ByteArray,
    ErrorStackData,
    CallSiteInfo,
    SourceTextModule,
    WeakCell,
    Free,
    /// Any other that is not a JavaScript object.
    Internal,
    JsProxy,
    JsGlobalObject,
    JsGlobalProxy,
    JsModuleNamespace,
    JsWrapper,
    JsFunction,
    JsBoundFunction,
    JsTypedArray,
    JsDataView,
    JsArrayBuffer,
    JsPromise,
    JsMap,
    JsSet,
    JsWeakMap,
    JsWeakSet,
    JsWeakRef,
    JsArguments,
    JsArray,
    JsDate,
    JsError,
    JsRegExp,
    JsGenerator,
    JsAsyncFunction,
    JsAsyncGenerator,
    JsMapIterator,
    JsSetIterator,
    JsFinalizationRegistry,
    JsExternal,
    /// An object of no special kind.
    JsObject,
}

impl Kind {
    /// Whether the language calls it an object (functions included).
    pub fn is_js_object(self) -> bool {
        self as u8 >= Kind::JsProxy as u8
    }

    /// Whether it is a value that a program can hold at all, as opposed to V8's own furniture.
    pub fn is_js_value(self) -> bool {
        self.is_js_object() || (self as u8) <= Kind::Oddball as u8
    }
}

/// The types of one process.
#[derive(Debug)]
pub struct Types {
    names: HashMap<u16, String>,
    numbers: HashMap<String, u16>,
    kinds: Vec<Kind>,
    sizings: Vec<Sizing>,
    first_context: u16,
    ephemeron: Option<u16>,
}

/// More than any instance type.
const LIMIT: usize = 4096;

/// Contexts, in the order of their types, which are alphabetical.
const CONTEXTS: [&str; 10] = [
    "AWAIT_CONTEXT",
    "BLOCK_CONTEXT",
    "CATCH_CONTEXT",
    "DEBUG_EVALUATE_CONTEXT",
    "EVAL_CONTEXT",
    "FUNCTION_CONTEXT",
    "MODULE_CONTEXT",
    "NATIVE_CONTEXT",
    "SCRIPT_CONTEXT",
    "WITH_CONTEXT",
];

/// Names of types (as `v8dbg_type_` has them, or a root map's in capitals) whose objects have no size in their map.
const SIZINGS: &[(&str, Sizing)] = &[
    ("FIXED_ARRAY", Sizing::Words(16)),
    ("CLOSURE_FEEDBACK_CELL_ARRAY", Sizing::Words(16)),
    ("EMBEDDER_DATA_ARRAY", Sizing::Words(16)),
    ("EXTERNAL_POINTER_ARRAY", Sizing::Words(16)),
    ("WEAK_FIXED_ARRAY", Sizing::Words(16)),
    ("TRUSTED_FIXED_ARRAY", Sizing::Words(16)),
    ("TRUSTED_WEAK_FIXED_ARRAY", Sizing::Words(16)),
    ("PROTECTED_FIXED_ARRAY", Sizing::Words(16)),
    ("PROTECTED_WEAK_FIXED_ARRAY", Sizing::Words(16)),
    ("TRANSITION_ARRAY", Sizing::Words(16)),
    ("HASH_TABLE", Sizing::Words(16)),
    ("ORDERED_HASH_MAP", Sizing::Words(16)),
    ("ORDERED_HASH_SET", Sizing::Words(16)),
    ("ORDERED_NAME_DICTIONARY", Sizing::Words(16)),
    ("NAME_DICTIONARY", Sizing::Words(16)),
    ("GLOBAL_DICTIONARY", Sizing::Words(16)),
    ("NUMBER_DICTIONARY", Sizing::Words(16)),
    ("SIMPLE_NUMBER_DICTIONARY", Sizing::Words(16)),
    ("NAME_TO_INDEX_HASH_TABLE", Sizing::Words(16)),
    ("REGISTERED_SYMBOL_TABLE", Sizing::Words(16)),
    ("EPHEMERON_HASH_TABLE", Sizing::Words(16)),
    ("SIMPLE_NAME_DICTIONARY", Sizing::Words(16)),
    ("FIXED_DOUBLE_ARRAY", Sizing::Doubles),
    ("BYTE_ARRAY", Sizing::Bytes),
    ("TRUSTED_BYTE_ARRAY", Sizing::Bytes),
    ("BYTECODE_ARRAY", Sizing::Bytecode),
    ("WEAK_ARRAY_LIST", Sizing::Words(24)),
    ("DEPENDENT_CODE", Sizing::Words(24)),
    ("SLOPPY_ARGUMENTS_ELEMENTS", Sizing::Words(32)),
    ("PROPERTY_ARRAY", Sizing::PropertyArray),
    ("DESCRIPTOR_ARRAY", Sizing::Descriptors),
    ("STRONG_DESCRIPTOR_ARRAY", Sizing::Descriptors),
    ("FEEDBACK_VECTOR", Sizing::FeedbackVector),
    ("FEEDBACK_METADATA", Sizing::FeedbackMetadata),
    ("FREE_SPACE", Sizing::FreeSpace),
    ("BIG_INT_BASE", Sizing::BigInt),
    ("PREPARSE_DATA", Sizing::PreparseData),
    ("COVERAGE_INFO", Sizing::Coverage),
    ("SWISS_NAME_DICTIONARY", Sizing::Swiss),
    ("DOUBLE_STRING_CACHE", Sizing::DoubleStringCache),
    ("WASM_TYPE_INFO", Sizing::WasmTypeInfo),
    ("INSTRUCTION_STREAM", Sizing::InstructionStream),
    ("SCOPE_INFO", Sizing::ScopeInfo),
    ("HOLE", Sizing::Hole),
    ("WASM_NULL", Sizing::WasmNull),
];

/// The same where the header depends on the version: (name, in Node 20, since Node 22).
const SIZINGS_BY_AGE: &[(&str, [u8; 4])] = &[
    ("ARRAY_LIST", [16, 24, 24, 24]),
    ("SCRIPT_CONTEXT_TABLE", [16, 32, 32, 32]),
    ("OBJECT_BOILERPLATE_DESCRIPTION", [16, 32, 32, 32]),
    ("REG_EXP_MATCH_INFO", [16, 40, 40, 40]),
    ("CLASS_BOILERPLATE", [16, 0, 0, 0]),
];

const KINDS: &[(&str, Kind)] = &[
    ("SYMBOL", Kind::Symbol),
    ("BIG_INT_BASE", Kind::BigInt),
    ("HEAP_NUMBER", Kind::HeapNumber),
    ("ODDBALL", Kind::Oddball),
    ("HOLE", Kind::Hole),
    ("MAP", Kind::Map),
    ("CODE", Kind::Code),
    ("INSTRUCTION_STREAM", Kind::InstructionStream),
    ("BYTECODE_ARRAY", Kind::BytecodeArray),
    ("SHARED_FUNCTION_INFO", Kind::SharedFunctionInfo),
    ("SCRIPT", Kind::Script),
    ("SCOPE_INFO", Kind::ScopeInfo),
    ("FIXED_DOUBLE_ARRAY", Kind::DoubleArray),
    ("ACCESSOR_PAIR", Kind::AccessorPair),
    ("ACCESSOR_INFO", Kind::AccessorInfo),
    ("CELL", Kind::Cell),
    ("CONTEXT_CELL", Kind::ContextCell),
    ("PROPERTY_CELL", Kind::PropertyCell),
    ("FEEDBACK_CELL", Kind::FeedbackCell),
    ("PROMISE_REACTION", Kind::PromiseReaction),
    ("UNCOMPILED_DATA_WITH_PREPARSE_DATA", Kind::UncompiledData),
    (
        "UNCOMPILED_DATA_WITH_PREPARSE_DATA_AND_JOB",
        Kind::UncompiledData,
    ),
    (
        "UNCOMPILED_DATA_WITHOUT_PREPARSE_DATA",
        Kind::UncompiledData,
    ),
    (
        "UNCOMPILED_DATA_WITHOUT_PREPARSE_DATA_WITH_JOB",
        Kind::UncompiledData,
    ),
    ("INTERPRETER_DATA", Kind::InterpreterData),
    ("FUNCTION_TEMPLATE_INFO", Kind::FunctionTemplateInfo),
    ("SHARED_FUNCTION_INFO_WRAPPER", Kind::SharedWrapper),
    ("BYTE_ARRAY", Kind::ByteArray),
    ("TRUSTED_BYTE_ARRAY", Kind::ByteArray),
    ("ERROR_STACK_DATA", Kind::ErrorStackData),
    ("CALL_SITE_INFO", Kind::CallSiteInfo),
    ("SOURCE_TEXT_MODULE", Kind::SourceTextModule),
    ("WEAK_CELL", Kind::WeakCell),
    ("FREE_SPACE", Kind::Free),
    ("FILLER", Kind::Free),
    ("JS_PROXY", Kind::JsProxy),
    ("JS_GLOBAL_OBJECT", Kind::JsGlobalObject),
    ("JS_GLOBAL_PROXY", Kind::JsGlobalProxy),
    ("JS_MODULE_NAMESPACE", Kind::JsModuleNamespace),
    ("JS_DEFERRED_MODULE_NAMESPACE", Kind::JsModuleNamespace),
    ("JS_PRIMITIVE_WRAPPER", Kind::JsWrapper),
    ("JS_BOUND_FUNCTION", Kind::JsBoundFunction),
    ("JS_TYPED_ARRAY", Kind::JsTypedArray),
    ("JS_DATA_VIEW", Kind::JsDataView),
    ("JS_RAB_GSAB_DATA_VIEW", Kind::JsDataView),
    ("JS_ARRAY_BUFFER", Kind::JsArrayBuffer),
    ("JS_PROMISE", Kind::JsPromise),
    ("JS_MAP", Kind::JsMap),
    ("JS_SET", Kind::JsSet),
    ("JS_WEAK_MAP", Kind::JsWeakMap),
    ("JS_WEAK_SET", Kind::JsWeakSet),
    ("JS_WEAK_REF", Kind::JsWeakRef),
    ("JS_ARGUMENTS_OBJECT", Kind::JsArguments),
    ("JS_ARRAY", Kind::JsArray),
    ("JS_DATE", Kind::JsDate),
    ("JS_ERROR", Kind::JsError),
    ("JS_REG_EXP", Kind::JsRegExp),
    ("JS_GENERATOR_OBJECT", Kind::JsGenerator),
    ("JS_ASYNC_FUNCTION_OBJECT", Kind::JsAsyncFunction),
    ("JS_ASYNC_GENERATOR_OBJECT", Kind::JsAsyncGenerator),
    ("JS_EXTERNAL_OBJECT", Kind::JsExternal),
    ("JS_MAP_KEY_ITERATOR", Kind::JsMapIterator),
    ("JS_MAP_KEY_VALUE_ITERATOR", Kind::JsMapIterator),
    ("JS_MAP_VALUE_ITERATOR", Kind::JsMapIterator),
    ("JS_SET_KEY_VALUE_ITERATOR", Kind::JsSetIterator),
    ("JS_SET_VALUE_ITERATOR", Kind::JsSetIterator),
    ("JS_FINALIZATION_REGISTRY", Kind::JsFinalizationRegistry),
    ("JS_DETACHED_TYPED_ARRAY", Kind::JsTypedArray),
];

/// Everything that V8 calls an array and that is one to a reader of words.
const ARRAYS: &[&str] = &[
    "FIXED_ARRAY",
    "WEAK_FIXED_ARRAY",
    "TRUSTED_FIXED_ARRAY",
    "PROTECTED_FIXED_ARRAY",
    "TRUSTED_WEAK_FIXED_ARRAY",
    "HASH_TABLE",
    "ORDERED_HASH_MAP",
    "ORDERED_HASH_SET",
    "ORDERED_NAME_DICTIONARY",
    "NAME_DICTIONARY",
    "GLOBAL_DICTIONARY",
    "NUMBER_DICTIONARY",
    "SIMPLE_NUMBER_DICTIONARY",
    "NAME_TO_INDEX_HASH_TABLE",
    "REGISTERED_SYMBOL_TABLE",
    "EPHEMERON_HASH_TABLE",
    "OBJECT_BOILERPLATE_DESCRIPTION",
];

/// In the order of their types.
const COLLECTION_ITERATORS: [&str; 5] = [
    "JS_MAP_KEY_ITERATOR",
    "JS_MAP_KEY_VALUE_ITERATOR",
    "JS_MAP_VALUE_ITERATOR",
    "JS_SET_KEY_VALUE_ITERATOR",
    "JS_SET_VALUE_ITERATOR",
];

impl Types {
    /// From (name without `_TYPE`, number) of the metadata, the ends of the context and the function types where they
    /// are told, and (name of the map in capitals, number, whether the map lacks a size) of the roots.
    pub fn new(
        metadata: Vec<(String, u16)>,
        contexts: Option<(u16, u16)>,
        functions: Option<(u16, u16)>,
        roots: &[(String, u16, bool)],
        column: usize,
    ) -> Types {
        let mut types = Types {
            names: HashMap::new(),
            numbers: HashMap::new(),
            kinds: vec![Kind::Internal; LIMIT],
            sizings: vec![Sizing::Unknown; LIMIT],
            first_context: contexts.map_or(u16::MAX, |ends| ends.0),
            ephemeron: None,
        };
        for (name, number) in metadata {
            types.learn(&name, number);
        }
        if let Some((first, last)) = contexts
            && last.wrapping_sub(first) as usize == CONTEXTS.len() - 1
        {
            for (index, name) in CONTEXTS.iter().enumerate() {
                types.learn(name, first + index as u16);
            }
        }
        for (name, number, _) in roots {
            if !types.names.contains_key(number) {
                types.learn(name, *number);
            }
        }
        // BigInt has the number between symbols and numbers in all versions, generators the one below async functions.
        if let Some(&symbol) = types.numbers.get("SYMBOL") {
            types.learn("BIG_INT_BASE", symbol + 1);
        }
        if let Some(&function) = types.numbers.get("JS_ASYNC_FUNCTION_OBJECT") {
            types.learn("JS_GENERATOR_OBJECT", function.wrapping_sub(1));
        }
        // 26 names the deferred module namespaces alone, which come behind the others.
        if let Some(&deferred) = types.numbers.get("JS_DEFERRED_MODULE_NAMESPACE") {
            types.learn("JS_MODULE_NAMESPACE", deferred.wrapping_sub(1));
        }
        // No version names the iterators of collections: five numbers without a name, behind which come the mutexes or
        // the iterator helpers.
        for behind in ["JS_ATOMICS_CONDITION", "JS_ITERATOR_DROP_HELPER"] {
            if let Some(first) = types
                .numbers
                .get(behind)
                .and_then(|behind| behind.checked_sub(5))
                && (first..first + 5).all(|number| !types.names.contains_key(&number))
            {
                for (number, name) in (first..).zip(COLLECTION_ITERATORS) {
                    types.learn(name, number);
                }
            }
        }
        // 20 lacks this one between two that have a name.
        if let Some(&memory) = types.numbers.get("WASM_MEMORY_OBJECT") {
            types.learn("WASM_INSTANCE_OBJECT", memory.wrapping_sub(1));
        }
        types.ephemeron = types.numbers.get("EPHEMERON_HASH_TABLE").copied();
        types.fill(contexts, functions, column);
        types
    }

    fn learn(&mut self, name: &str, number: u16) {
        if usize::from(number) < LIMIT {
            self.names.entry(number).or_insert_with(|| name.to_owned());
            self.numbers.entry(name.to_owned()).or_insert(number);
        }
    }

    fn fill(&mut self, contexts: Option<(u16, u16)>, functions: Option<(u16, u16)>, column: usize) {
        for number in 0..LIMIT as u16 {
            let at = usize::from(number);
            if number < 128 {
                self.kinds[at] = Kind::String;
                self.sizings[at] = match number & 15 {
                    0 => Sizing::SeqTwoByte,
                    8 => Sizing::SeqOneByte,
                    _ => Sizing::Unknown,
                };
            }
            if contexts.is_some_and(|(first, last)| (first..=last).contains(&number)) {
                self.kinds[at] = Kind::Context;
                // A native context has its microtask queue behind its slots.
                self.sizings[at] = Sizing::Words(if self.is_native_context(number) {
                    24
                } else {
                    16
                });
            }
        }
        if let Some(&proxy) = self.numbers.get("JS_PROXY") {
            self.kinds[usize::from(proxy)..].fill(Kind::JsObject);
        }
        // 20 names no ends: functions are JS_FUNCTION and the constructors behind it, up to class constructors.
        let functions = functions.or_else(|| {
            self.numbers
                .get("JS_FUNCTION")
                .map(|&first| (first, first + 16))
        });
        if let Some((first, last)) = functions
            && usize::from(last) < LIMIT
            && first <= last
        {
            self.kinds[usize::from(first)..=usize::from(last)].fill(Kind::JsFunction);
        }
        for name in ARRAYS {
            self.set_kind(name, Kind::FixedArray);
        }
        for (name, kind) in KINDS {
            self.set_kind(name, *kind);
        }
        for (name, sizing) in SIZINGS {
            if let Some(&number) = self.numbers.get(*name) {
                self.sizings[usize::from(number)] = *sizing;
            }
        }
        for (name, headers) in SIZINGS_BY_AGE {
            if let Some(&number) = self.numbers.get(*name)
                && headers[column.min(3)] != 0
            {
                self.sizings[usize::from(number)] = Sizing::Words(headers[column.min(3)]);
            }
        }
    }

    fn set_kind(&mut self, name: &str, kind: Kind) {
        if let Some(&number) = self.numbers.get(name) {
            self.kinds[usize::from(number)] = kind;
        }
    }

    /// What a type is.
    pub fn kind(&self, number: u16) -> Kind {
        self.kinds
            .get(usize::from(number))
            .copied()
            .unwrap_or(Kind::Internal)
    }

    /// How an object of this type is sized when its map does not say.
    pub fn sizing(&self, number: u16) -> Sizing {
        self.sizings
            .get(usize::from(number))
            .copied()
            .unwrap_or(Sizing::Unknown)
    }

    /// V8's name of a type, as `JS_ARRAY`.
    pub fn name(&self, number: u16) -> String {
        self.names
            .get(&number)
            .cloned()
            .unwrap_or_else(|| format!("TYPE_{number}"))
    }

    /// The number of a type by V8's name of it.
    pub fn number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// Whether this is the context of a whole realm: it has a word more than its slots.
    pub fn is_native_context(&self, number: u16) -> bool {
        number.wrapping_sub(self.first_context) == 7
    }

    /// Whether it is the table of a weak collection, whose values live as long as their keys.
    pub fn name_is_ephemeron(&self, number: u16) -> bool {
        self.ephemeron == Some(number)
    }

    /// The names of all types that this crate treats in a way of their own.
    pub fn known() -> Vec<&'static str> {
        let sizings = SIZINGS.iter().map(|(name, _)| *name);
        sizings
            .chain(SIZINGS_BY_AGE.iter().map(|(name, _)| *name))
            .chain(KINDS.iter().map(|(name, _)| *name))
            .chain(ARRAYS.iter().copied())
            .chain(CONTEXTS)
            .collect()
    }

    /// All types that are known by name.
    pub fn all(&self) -> Vec<(u16, String)> {
        let mut all: Vec<_> = self
            .names
            .iter()
            .map(|(number, name)| (*number, name.clone()))
            .collect();
        all.sort();
        all
    }
}
