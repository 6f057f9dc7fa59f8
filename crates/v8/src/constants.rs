//! Every number of V8's layout: the names under which the process itself tells it (`v8dbg_*`), and what it is in each
//! version where the process does not.
//!
//! A row is `field: [names] [Node 20, 22, 24, 26]`. A name is matched as a prefix: the type at its end changes with
//! each release. The four columns are V8 11.3, 12.4, 13.6 and 14.6; `NO` where the version has no such thing. All
//! offsets count from the untagged start of the object. Where the figures come from: V8's own sources of these
//! versions, checked against cores of the official binaries.

use std::ops::RangeInclusive;

use crate::error::{Result, V8Error};
use crate::memory::Memory;
use crate::version::Version;

/// Not in this version.
pub const NO: i64 = i64::MIN;

/// Where the value in use came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// From a `v8dbg_*` symbol of the binary.
    Metadata,
    /// From the table of this version.
    Table,
    /// Computed from other values or from roots.
    Derived,
    /// Found by searching the memory for a pattern.
    Searched,
    /// Not known; what needs it is not available.
    Missing,
}

impl Provenance {
    /// Of a table that symbols name, or that was found without them, or neither.
    pub(crate) fn of_search(told: bool, found: bool) -> Provenance {
        match (told, found) {
            (true, _) => Provenance::Metadata,
            (false, true) => Provenance::Searched,
            (false, false) => Provenance::Missing,
        }
    }

    /// The word that `layout` prints.
    pub fn word(self) -> &'static str {
        match self {
            Provenance::Metadata => "metadata",
            Provenance::Table => "table",
            Provenance::Derived => "derived",
            Provenance::Searched => "searched",
            Provenance::Missing => "missing",
        }
    }
}

/// One constant: its field, the prefixes of its names, the value in each version.
pub struct Row {
    /// The field in [`Constants`].
    pub field: &'static str,
    /// `v8dbg_` names without that prefix, tried in turn.
    pub names: &'static [&'static str],
    /// Fallbacks for Node 20, 22, 24, 26.
    pub table: [i64; 4],
    /// Nothing can be read without it.
    pub required: bool,
}

macro_rules! rows {
    ($($field:ident: [$($name:literal),*] [$a:expr, $b:expr, $c:expr, $d:expr] $($need:ident)?;)*) => {
        /// The constants of one process; `NO` where it has none. The names are those of V8's fields.
        #[allow(missing_docs)]
        #[derive(Debug, Clone)]
        pub struct Constants { $(pub $field: i64,)* }

        /// All rows, in the order of the fields.
        pub const ROWS: &[Row] = &[$(Row {
            field: stringify!($field), names: &[$($name),*], table: [$a, $b, $c, $d], required: rows!(@need $($need)?),
        },)*];

        impl Constants {
            fn from_values(values: &[i64]) -> Constants {
                let mut values = values.iter().copied();
                let mut next = || values.next().unwrap_or(NO);
                Constants { $($field: next(),)* }
            }

            /// All values, in the order of [`ROWS`].
            pub fn values(&self) -> Vec<i64> {
                vec![$(self.$field,)*]
            }
        }
    };
    (@need) => { false };
    (@need required) => { true };
}

rows! {
    // Map
    map_size: ["class_Map__instance_size_in_words__"] [8, 8, 8, 8] required;
    map_inobject: ["class_Map__inobject_properties_start_or_constructor_function_index__"] [9, 9, 9, 9];
    map_type: ["class_Map__instance_type__"] [12, 12, 12, 12] required;
    map_bits: ["class_Map__bit_field__"] [14, 14, 14, 14];
    map_bits2: ["class_Map__bit_field2__"] [15, 15, 15, 15];
    map_bits3: ["class_Map__bit_field3__"] [16, 16, 16, 16] required;
    map_prototype: ["class_Map__prototype__"] [24, 24, 24, 24];
    map_constructor: ["class_Map__constructor_or_back_pointer__"] [32, 32, 32, 32];
    map_descriptors: ["class_Map__instance_descriptors__", "class_Map__instance_descriptors_offset"] [40, 40, 40, 40] required;
    elements_kind_mask: ["bit_field2_elements_kind_mask"] [252, 252, 252, 252];
    elements_kind_shift: ["bit_field2_elements_kind_shift"] [2, 2, 2, 2];
    own_descriptors_mask: ["bit_field3_number_of_own_descriptors_mask"] [1_047_552, 1_047_552, 1_047_552, 1_047_552];
    own_descriptors_shift: ["bit_field3_number_of_own_descriptors_shift"] [10, 10, 10, 10];
    dictionary_shift: ["bit_field3_is_dictionary_map_shift"] [21, 21, 21, 21];
    // Strings, numbers, symbols
    string_length: ["class_String__length__"] [12, 12, 12, 12];
    string_chars: ["class_SeqOneByteString__chars__"] [16, 16, 16, 16];
    cons_first: ["class_ConsString__first__"] [16, 16, 16, 16];
    cons_second: ["class_ConsString__second__"] [24, 24, 24, 24];
    sliced_parent: ["class_SlicedString__parent__"] [16, 16, 16, 16];
    sliced_offset: ["class_SlicedString__offset__"] [24, 24, 24, 24];
    thin_actual: ["class_ThinString__actual__"] [16, 16, 16, 16];
    external_resource: ["class_ExternalString__resource__"] [16, 16, 16, 16];
    external_data: [] [24, 24, 24, 24];
    heap_number: ["class_HeapNumber__value__"] [8, 8, 8, 8];
    oddball_kind: ["class_Oddball__kind_offset__", "class_Oddball__kind__"] [40, 40, 40, 40];
    symbol_flags: [] [12, 12, 12, 12];
    symbol_name: ["class_Symbol__name__"] [16, 16, 16, 16];
    bigint_bits: [] [8, 8, 8, 8];
    bigint_digits: [] [16, 16, 16, 16];
    // Arrays and dictionaries
    array_length: ["class_FixedArrayBase__length__"] [8, 8, 8, 8] required;
    array_data: ["class_FixedArray__data__"] [16, 16, 16, 16] required;
    descriptor_header: ["class_DescriptorArray__header_size__"] [24, 24, 24, 32];
    descriptor_count: [] [8, 8, 8, 8];
    prop_desc_key: ["prop_desc_key"] [0, 0, 0, 0];
    prop_desc_details: ["prop_desc_details"] [1, 1, 1, 1];
    prop_desc_value: ["prop_desc_value"] [2, 2, 2, 2];
    prop_desc_size: ["prop_desc_size"] [3, 3, 3, 3];
    prop_index_mask: ["prop_index_mask"] [536_346_624, 536_346_624, 536_346_624, 536_346_624];
    prop_index_shift: ["prop_index_shift"] [19, 19, 19, 19];
    prop_kind_mask: ["prop_kind_mask"] [1, 1, 1, 1];
    prop_location_mask: ["prop_location_mask"] [32, 32, 32, 32];
    prop_attributes_mask: ["prop_attributes_mask"] [28, 28, 28, 28];
    prop_attributes_shift: ["prop_attributes_shift"] [2, 2, 2, 2];
    dictionary_prefix: ["namedictionary_prefix_start_index"] [3, 3, 3, 3];
    name_dictionary_prefix: ["namedictionaryshape_prefix_size"] [3, 3, 3, 3];
    name_dictionary_entry: ["namedictionaryshape_entry_size"] [3, 3, 3, 3];
    number_dictionary_prefix: ["numberdictionaryshape_prefix_size"] [1, 1, 1, 1];
    number_dictionary_entry: ["numberdictionaryshape_entry_size"] [3, 3, 3, 3];
    property_cell_name: [] [8, 8, 8, 8];
    property_cell_details: [] [16, 16, 16, 16];
    property_cell_value: [] [24, 24, 24, 24];
    accessor_getter: ["class_AccessorPair__getter__"] [8, 8, 8, 8];
    accessor_setter: ["class_AccessorPair__setter__"] [16, 16, 16, 16];
    // Objects
    properties: ["class_JSReceiver__raw_properties_or_hash__"] [8, 8, 8, 8] required;
    elements: ["class_JSObject__elements__"] [16, 16, 16, 16] required;
    object_header: ["class_JSObject__internal_fields__"] [24, 24, 24, 24];
    js_array_length: [] [24, 24, 24, 24];
    js_date_value: ["class_JSDate__value__"] [24, 24, 24, 24];
    js_regexp_source: ["class_JSRegExp__source__"] [32, 32, 32, 32];
    js_regexp_flags: [] [40, 40, 40, 40];
    js_wrapper_value: [] [24, 24, 24, 24];
    js_weak_ref_target: [] [24, 24, 24, 24];
    js_collection_table: [] [24, 24, 24, 24];
    js_promise_result: [] [24, 24, 24, 24];
    js_promise_flags: [] [32, 32, 32, 32];
    reaction_next: [] [8, 16, 16, 16];
    reaction_reject: [] [16, 24, 24, 24];
    reaction_fulfill: [] [24, 32, 32, 32];
    reaction_promise: [] [32, 40, 40, 40];
    task_handler: [] [24, 32, 32, 32];
    task_promise: [] [32, 40, 40, 40];
    thenable_promise: [] [16, 24, 24, 24];
    js_proxy_target: [] [16, 16, 16, 16];
    js_proxy_handler: [] [24, 24, 24, 24];
    js_bound_target: [] [24, 24, 24, 24];
    js_bound_this: [] [32, 32, 32, 32];
    js_bound_arguments: [] [40, 40, 40, 40];
    generator_function: [] [24, 24, 24, 24];
    generator_context: [] [32, 32, 32, 32];
    generator_receiver: [] [40, 40, 40, 40];
    generator_position: [] [48, 48, 48, 48];
    generator_continuation: [] [64, 64, 64, 64];
    generator_registers: [] [72, 72, 72, 72];
    async_function_promise: [] [80, 80, 80, 80];
    buffer_length: ["class_JSArrayBuffer__byte_length__"] [32, 32, 40, 40];
    buffer_store: ["class_JSArrayBuffer__backing_store__"] [48, 48, 56, 56];
    view_buffer: [] [24, 24, 32, 32];
    view_offset: ["class_JSArrayBufferView__byte_offset__"] [32, 32, 48, 48];
    view_length: ["class_JSArrayBufferView__byte_length__"] [40, 40, 56, 56];
    typed_external: ["class_JSTypedArray__external_pointer__"] [64, 64, 72, 72];
    typed_base: ["class_JSTypedArray__base_pointer__"] [72, 72, 80, 80];
    typed_length: ["class_JSTypedArray__length__"] [56, 56, 64, 64];
    // Functions, scripts, code
    function_shared: ["class_JSFunction__shared__"] [24, 32, 32, 32] required;
    function_context: ["class_JSFunction__context__"] [32, 40, 40, 40] required;
    function_feedback: ["class_JSFunction__raw_feedback_cell__"] [40, 48, 48, 48];
    function_code: ["class_JSFunction__code__"] [48, 24, NO, NO];
    function_prototype: ["class_JSFunction__prototype_or_initial_map__"] [56, 56, 56, 56];
    shared_data: ["class_SharedFunctionInfo__function_data__"] [8, 8, 8, 8];
    shared_untrusted: [] [NO, NO, 16, 16];
    shared_name: ["class_SharedFunctionInfo__name_or_scope_info__"] [16, 16, 24, 24];
    shared_script: ["class_SharedFunctionInfo__script_or_debug_info__", "class_SharedFunctionInfo__raw_script__"] [32, 32, 40, 40];
    shared_token: ["class_SharedFunctionInfo__raw_function_token_offset__"] [44, 44, 52, 52];
    shared_parameters: ["class_SharedFunctionInfo__internal_formal_parameter_count__"] [42, 42, 50, 50];
    shared_flags: ["class_SharedFunctionInfo__flags__"] [48, 48, 56, 56];
    uncompiled_name: ["class_UncompiledData__inferred_name__"] [8, 8, 8, 8];
    uncompiled_start: ["class_UncompiledData__start_position__"] [16, 16, 16, 16];
    uncompiled_end: ["class_UncompiledData__end_position__"] [20, 20, 20, 20];
    script_source: ["class_Script__source__"] [8, 8, 8, 8];
    script_name: ["class_Script__name__"] [16, 16, 16, 16];
    script_line_offset: [] [24, 24, 24, 24];
    script_column_offset: [] [32, 32, 32, 32];
    script_type: [] [48, 48, 48, 48];
    script_eval_shared: ["class_Script__eval_from_shared_or_wrapped_arguments__"] [72, 72, 72, 72];
    script_eval_position: ["class_Script__eval_from_position__"] [80, 80, 80, 80];
    script_flags: [] [104, 104, 104, 104];
    script_id: [] [64, 64, 64, 64];
    bytecode_data: ["class_BytecodeArray__data__"] [54, 64, 64, 64];
    bytecode_positions: [] [32, 24, 24, 24];
    bytecode_frame_size: [] [40, 48, 48, 48];
    bytecode_parameters: [] [44, 52, 52, 52];
    interpreter_bytecode: [] [8, 8, 8, 8];
    // 20 labels these fields of Code otherwise than it uses them, so no names.
    code_deopt: [] [16, 8, 8, 8];
    code_positions: [] [24, 16, 16, 16];
    code_start: ["class_Code__instruction_start__"] [40, 40, 40, 40];
    code_flags: ["class_Code__flags__"] [48, 48, 52, 52];
    code_size: ["class_Code__instruction_size__"] [56, 52, 56, 56];
    code_metadata_size: [] [60, NO, NO, NO];
    stream_code: [] [8, 8, 8, 8];
    stream_start: ["class_InstructionStream__instruction_start__"] [16, 32, 32, 32];
    stream_size: [] [NO, 24, 24, 24];
    kind_mask: ["CodeKindFieldMask"] [15, 15, 15, 15];
    kind_interpreted: ["CodeKindInterpretedFunction"] [10, 9, 9, 10];
    kind_baseline: ["CodeKindBaseline"] [11, 10, 10, 11];
    deopt_translation: [] [0, 0, 0, 0];
    deopt_protected: [] [NO, NO, 2, 2];
    deopt_first: [] [11, 11, 12, 12];
    deopt_inlined_count: ["DeoptimizationDataInlinedFunctionCountIndex"] [1, 1, 1, 1];
    deopt_literals: ["DeoptimizationDataLiteralArrayIndex"] [2, 2, 3, 3];
    deopt_shared: ["DeoptimizationDataSharedFunctionInfoIndex", "DeoptimizationDataWrappedSharedFunctionInfoIndex"] [6, 6, 7, 7];
    deopt_positions: ["DeoptimizationDataInliningPositionsIndex"] [7, 7, 8, 8];
    // ScopeInfo, contexts
    scope_flags: [] [8, 8, 8, 8];
    scope_parameters: [] [16, 16, 16, 16];
    scope_locals: [] [24, 24, 24, 24];
    scope_first: [] [32, 32, 32, 32];
    context_min_slots: ["context_min_slots"] [2, 2, 2, 2];
    context_previous: ["context_idx_prev"] [1, 1, 1, 1];
    context_cell_value: [] [NO, NO, NO, 8];
    embedder_data: ["native_context_embedder_data_offset"] [48, 48, 48, 48];
    // Frames
    fp_context: ["off_fp_context_or_frame_type"] [-8, -8, -8, -8];
    fp_function: ["off_fp_function"] [-16, -16, -16, -16];
    fp_argc: [] [-24, -24, -24, -24];
    fp_bytecode: ["off_fp_bytecode_array"] [-32, -32, -32, -32];
    fp_bytecode_offset: ["off_fp_bytecode_offset"] [-40, -40, -40, -40];
    fp_registers: [] [-48, -56, -56, -56];
    fp_receiver: ["off_fp_args"] [16, 16, 16, 16];
    exit_receiver: [] [48, 48, 48, 40];
    // The exit frame of a function of an embedder's template (`ApiCallbackExitFrameConstants`); 20 has that of a builtin.
    api_exit_count: [] [NO, 24, -24, -24];
    api_exit_function: [] [NO, 16, 48, 40];
    api_exit_receiver: [] [NO, 88, 64, 48];
    frame_entry: ["frametype_EntryFrame"] [1, 1, 1, 1];
    frame_construct_entry: ["frametype_ConstructEntryFrame"] [2, 2, 2, 2];
    frame_exit: ["frametype_ExitFrame"] [3, 3, 3, 3];
    frame_construct: ["frametype_ConstructFrame"] [23, 23, 24, 14];
    entry_outer_exit_fp: [] [-64, -64, -64, -64];
    // WebAssembly: V8's `WasmCode`, which is malloc'ed, and what leads to it
    fp_wasm_instance: [] [-16, -16, -16, -16];
    managed_pointer: [] [24, 24, 24, 24];
    wasm_code_start: [] [8, 8, 8, 8];
    wasm_code_data: [] [16, 16, 24, 24];
    wasm_code_size: [] [24, 24, 32, 32];
    wasm_code_relocations: [] [28, 28, 36, 36];
    wasm_code_positions: [] [32, 32, 40, 40];
    wasm_code_inlining: [] [36, 36, 44, 44];
    wasm_code_protected: [] [40, 40, 52, 52];
    wasm_code_index: [] [44, 44, 56, 56];
    wasm_code_flags: [] [80, 80, 96, 120];
    wasm_inlining_size: [] [12, 13, 13, 13];
    wasm_kind_bits: [] [2, 2, 2, 3];
    // The isolate
    heap_in_isolate: [] [0xd2c0, 0xdea0, 0xeff8, 0xf3c0];
    roots_in_isolate: [] [0x1f0, 0x250, 0x280, 0x2b0];
    c_entry_fp: [] [0x180, 0x110, 0x140, 0x148];
    new_lab: [] [0xb8, 0xc0, 0xc8, 0xc8];
    old_lab: [] [0xd0, 0xd8, 0xe0, 0xe0];
}

/// A row's value where a patch release, or Node 18, differs from its column.
pub struct Drift {
    /// The row.
    pub field: &'static str,
    /// V8's versions, the first and the last.
    pub versions: RangeInclusive<[u32; 4]>,
    /// The value in these.
    pub value: i64,
}

/// All of them.
pub const DRIFT: &[Drift] = &[
    // `compiled_lazy_function_positions` came in between.
    Drift {
        field: "script_flags",
        versions: NODE_18,
        value: 96,
    },
];

/// Every V8 of Node 18.
const NODE_18: RangeInclusive<[u32; 4]> = [10, 2, 0, 0]..=[10, 2, u32::MAX, u32::MAX];

impl Constants {
    /// Loads every row: by name from the process, else by its exact version ([`DRIFT`]), else from the column (0 to 3).
    ///
    /// # Errors
    /// [`V8Error::Layout`] names the required rows that nothing tells.
    pub fn load(
        memory: &Memory,
        version: &Version,
        column: usize,
    ) -> Result<(Constants, Vec<Provenance>)> {
        let symbols = memory.target().symbols("v8dbg_");
        let mut values = Vec::with_capacity(ROWS.len());
        let mut provenance = Vec::with_capacity(ROWS.len());
        let mut missing = Vec::new();
        for row in ROWS {
            let told = row.names.iter().find_map(|name| {
                let symbol = symbols
                    .iter()
                    .find(|symbol| symbol.name["v8dbg_".len()..].starts_with(name))?;
                // Those that are zero lie in .bss, of which a core may hold nothing.
                Some(
                    memory
                        .u32(symbol.address)
                        .map_or(0, |value| i64::from(value as i32)),
                )
            });
            let drifted = DRIFT
                .iter()
                .find(|drift| drift.field == row.field && drift.versions.contains(&version.parts));
            let value = told
                .or(drifted.map(|drift| drift.value))
                .unwrap_or(row.table[column.min(3)]);
            values.push(value);
            provenance.push(match told {
                Some(_) => Provenance::Metadata,
                None if value == NO => Provenance::Missing,
                None => Provenance::Table,
            });
            if value == NO && row.required {
                missing.push(row.field);
            }
        }
        if !missing.is_empty() {
            return Err(V8Error::Layout(missing.join(", ")));
        }
        Ok((Constants::from_values(&values), provenance))
    }

    /// The constants of a column alone, without a process.
    pub fn of_table(column: usize) -> Constants {
        Constants::from_values(
            &ROWS
                .iter()
                .map(|row| row.table[column.min(3)])
                .collect::<Vec<_>>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_own_field_and_required_ones_a_value() {
        let mut fields: Vec<_> = ROWS.iter().map(|row| row.field).collect();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(fields.len(), ROWS.len());
        for row in ROWS {
            assert!(
                !row.required || row.table.iter().all(|&value| value != NO),
                "{}",
                row.field
            );
        }
        assert_eq!(Constants::of_table(3).descriptor_header, 32);
        assert_eq!(Constants::of_table(0).function_shared, 24);
    }
}
