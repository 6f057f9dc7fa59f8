//! Baseline code: each bytecode has its stretch of machine code. (V8's `baseline/bytecode-offset-iterator.h`.)

use super::vlq::number;
use crate::types::Kind;
use crate::v8::V8;

impl V8 {
    /// The offset in bytecode of a return address in baseline code: the table has the length of the machine code of
    /// each bytecode, the first of the prologue.
    pub fn baseline_offset(&self, code: u64, pc_offset: u64) -> Option<(u64, i64)> {
        let bytecode = {
            let data = self.field(code, self.c.code_deopt).ok()?;
            match self.kind_of(data).ok()? {
                Kind::BytecodeArray => data.address(),
                Kind::InterpreterData => self
                    .field(data.address(), self.c.interpreter_bytecode)
                    .ok()?
                    .address(),
                _ => return None,
            }
        };
        let table = self.byte_array(self.field(code, self.c.code_positions).ok()?)?;
        let sizes = self.bytecode_sizes();
        let length = self.field(bytecode, self.c.array_length).ok()?.as_smi()? as i64;
        let mut at = 0;
        let mut pc_end = number(&table, &mut at)?;
        let mut offset = 0;
        if pc_offset <= pc_end {
            return Some((bytecode, 0));
        }
        while offset < length {
            pc_end += number(&table, &mut at)?;
            if pc_offset <= pc_end {
                return Some((bytecode, offset));
            }
            offset += self.bytecode_length(bytecode, offset, sizes)?;
        }
        None
    }

    /// `Bytecodes::kBytecodeSizes`: the length of each bytecode at each of three operand scales.
    fn bytecode_sizes(&self) -> &[u8] {
        self.bytecode_sizes.get_or_init(|| {
            let symbols = self
                .memory
                .target()
                .symbols("_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizes");
            symbols
                .first()
                .and_then(|symbol| self.memory.bytes(symbol.address, symbol.size, 4096).ok())
                .unwrap_or_else(|| crate::stripped::bytecode_sizes(&self.memory))
        })
    }

    fn bytecode_length(&self, bytecode: u64, offset: i64, sizes: &[u8]) -> Option<i64> {
        let count = sizes.len() / 3;
        if count == 0 {
            return None;
        }
        let data = self
            .at(bytecode, self.c.bytecode_data)
            .wrapping_add_signed(offset);
        let first = self.memory.u8(data).ok()?;
        // 0 and 2 are Wide and DebugBreakWide, 1 and 3 ExtraWide and DebugBreakExtraWide: prefixes of one byte.
        let (scale, op, prefix) = match first {
            0 | 2 => (1, self.memory.u8(data + 1).ok()?, 1),
            1 | 3 => (2, self.memory.u8(data + 1).ok()?, 1),
            op => (0, op, 0),
        };
        let size = *sizes.get(scale * count + usize::from(op))?;
        (size > 0).then_some(i64::from(size) + prefix)
    }
}
