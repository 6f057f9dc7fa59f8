//! How the size of an object is told whose map does not have it.
//!
//! From V8's `objects/*.tq` and `*-inl.h` of 11.3, 12.4, 13.6 and 14.6; a wrong formula shows at once, as the next word is
//! then no map.

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
    WasmDispatchTable,
    WasmImportTable,
    InstructionStream,
    ScopeInfo,
    Hole,
    WasmNull,
    Unknown,
}

/// Names of types (as `v8dbg_type_` has them, or a root map's in capitals) whose objects have no size in their map.
pub(super) const SIZINGS: &[(&str, Sizing)] = &[
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
    ("WASM_DISPATCH_TABLE", Sizing::WasmDispatchTable),
    ("WASM_DISPATCH_TABLE_FOR_IMPORTS", Sizing::WasmImportTable),
    ("INSTRUCTION_STREAM", Sizing::InstructionStream),
    ("SCOPE_INFO", Sizing::ScopeInfo),
    ("HOLE", Sizing::Hole),
    ("WASM_NULL", Sizing::WasmNull),
];

/// The same where the header depends on the version: (name, in Node 20, since Node 22).
pub(super) const SIZINGS_BY_AGE: &[(&str, [u8; 4])] = &[
    ("ARRAY_LIST", [16, 24, 24, 24]),
    ("SCRIPT_CONTEXT_TABLE", [16, 32, 32, 32]),
    ("OBJECT_BOILERPLATE_DESCRIPTION", [16, 32, 32, 32]),
    ("REG_EXP_MATCH_INFO", [16, 40, 40, 40]),
    ("CLASS_BOILERPLATE", [16, 0, 0, 0]),
];
