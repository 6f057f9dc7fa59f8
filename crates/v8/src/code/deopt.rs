//! Deoptimisation data: the frames that a frame of optimised code stands for at a safepoint, with all their values.
//! (V8's `objects/deoptimization-data.h`, `deoptimizer/translated-state.cc`.)

use std::sync::Arc;

use super::translation::{FrameOp, Instruction, Op, Repr, decode, decode_18};
use super::value::{FrameValue, Unmade};
use crate::tagged::Tagged;
use crate::types::Kind;
use crate::v8::V8;

/// Most values of one frame of machine code.
const MAX_VALUES: usize = 1 << 16;
/// A hole in place of a double.
const HOLE_NAN: u64 = 0xfff7_ffff_fff7_ffff;
/// Words of an entry: bytecode offset, where its translation begins, pc.
const ENTRY_WORDS: u64 = 3;

/// One frame of those that a frame of optimised code stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct TranslatedFrame {
    /// What it is of.
    pub kind: FrameOp,
    /// The SharedFunctionInfo.
    pub shared: Option<Tagged>,
    /// Offset in the bytecode; of a builtin's continuation something else.
    pub offset: i32,
    /// The function, `this` and parameters, context, registers, accumulator; of other kinds fewer.
    pub values: Vec<FrameValue>,
    /// How many of them are `this` and parameters.
    pub parameters: usize,
}

/// The physical frame that values are read from.
#[derive(Debug, Clone, Copy)]
pub struct Physical {
    /// Its frame pointer.
    pub fp: u64,
    /// Parameters of its function, without `this`.
    pub formal: u64,
    /// Arguments that it was called with, without `this`.
    pub actual: u64,
}

/// Values that are being put together: of an object the words so far.
struct Open {
    id: usize,
    string: bool,
    left: usize,
    words: Vec<FrameValue>,
}

/// The values of a frame, one instruction after the other.
struct Reader<'a> {
    v8: &'a V8,
    literals: Tagged,
    physical: Physical,
    /// Objects by number; those that are not complete yet are none.
    objects: Vec<FrameValue>,
    total: usize,
}

impl V8 {
    /// The frames, outermost first, that a frame of optimised code stands for; `None` when the data is damaged or absent.
    pub fn translated_frames(
        &self,
        code: u64,
        deopt: usize,
        physical: Physical,
    ) -> Option<Vec<TranslatedFrame>> {
        let data = self.field(code, self.c.code_deopt).ok()?;
        if self.kind_of(data).ok()? != Kind::FixedArray {
            return None;
        }
        let length = self.array_length(data).ok()?;
        let entry =
            (self.c.deopt_first as u64).checked_add((deopt as u64).checked_mul(ENTRY_WORDS)?)?;
        if entry.checked_add(ENTRY_WORDS)? > length {
            return None;
        }
        let start = self.element_of(data, entry + 1).ok()?.as_smi()?;
        let bytes = self.byte_array(
            self.element_of(data, self.c.deopt_translation as u64)
                .ok()?,
        )?;
        let literals = self.element_of(data, self.c.deopt_literals as u64).ok()?;
        let protected = match self.has(self.c.deopt_protected) {
            true => Some(self.element_of(data, self.c.deopt_protected as u64).ok()?),
            false => None,
        };
        let start = usize::try_from(start).ok()?;
        let instructions = match self.version.is_node_18() {
            true => decode_18(&bytes, start)?,
            false => decode(&bytes, start, self.column)?,
        };
        let mut reader = Reader {
            v8: self,
            literals,
            physical,
            objects: Vec::new(),
            total: 0,
        };
        let mut rest = instructions.get(1..)?;
        while let [
            Instruction {
                op: Op::UpdateFeedback,
                ..
            },
            more @ ..,
        ] = rest
        {
            rest = more;
        }
        let mut frames = Vec::new();
        while let [head, more @ ..] = rest {
            let Op::Frame(kind) = head.op else {
                return None;
            };
            let shared = head
                .shared_literal(self.column)
                .and_then(|index| self.element_of(literals, index as u64).ok())
                .map(|shared| self.unwrapped(shared.strong()));
            let height = head.height(self.column) as usize;
            let (parameters, count) = match kind {
                FrameOp::Interpreted => {
                    let parameters = self.parameter_count(head, shared?, protected)?;
                    (parameters, height + parameters + 3)
                }
                FrameOp::ExtraArguments => (height, height + 1),
                FrameOp::Liftoff => (0, height),
                _ => (height, height + 2),
            };
            if count > MAX_VALUES {
                return None;
            }
            let (values, left) = reader.values(more, count)?;
            rest = left;
            frames.push(TranslatedFrame {
                kind,
                shared,
                offset: head.signed(0),
                values,
                parameters,
            });
        }
        Some(frames)
    }

    /// The SharedFunctionInfo in its wrapper, where it has one.
    fn unwrapped(&self, value: Tagged) -> Tagged {
        match self.kind_of(value) {
            Ok(Kind::SharedWrapper) => self.field(value.address(), 8).unwrap_or(value),
            _ => value,
        }
    }

    /// `this` and the parameters of a function, as its bytecode declares them.
    fn parameter_count(
        &self,
        head: &Instruction,
        shared: Tagged,
        protected: Option<Tagged>,
    ) -> Option<usize> {
        match protected {
            Some(protected) => {
                let bytecode = self
                    .element_of(protected, u64::try_from(head.signed(2)).ok()?)
                    .ok()?;
                if self.kind_of(bytecode).ok()? != Kind::BytecodeArray {
                    return None;
                }
                let at = self.at(bytecode.address(), self.c.bytecode_parameters);
                Some(usize::from(self.memory.u16(at).ok()?))
            }
            None => {
                if self.kind_of(shared).ok()? != Kind::SharedFunctionInfo {
                    return None;
                }
                let at = self.at(shared.address(), self.c.shared_parameters);
                Some(usize::from(self.memory.u16(at).ok()?))
            }
        }
    }
}

impl Reader<'_> {
    /// So many values, and the instructions behind them. Objects in objects are followed without recursion.
    fn values<'i>(
        &mut self,
        instructions: &'i [Instruction],
        count: usize,
    ) -> Option<(Vec<FrameValue>, &'i [Instruction])> {
        let mut rest = instructions;
        let mut out = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        while out.len() < count {
            let [instruction, more @ ..] = rest else {
                return None;
            };
            rest = more;
            self.total += 1;
            if self.total > MAX_VALUES {
                return None;
            }
            let begun = match instruction.op {
                Op::Captured => Some((false, usize::try_from(instruction.signed(0)).ok()?)),
                Op::StringConcat => Some((true, 2)),
                _ => None,
            };
            let mut value = match begun {
                Some((string, left)) => {
                    let id = self.objects.len();
                    self.objects.push(FrameValue::Unknown);
                    open.push(Open {
                        id,
                        string,
                        left,
                        words: Vec::new(),
                    });
                    None
                }
                None => Some(self.value(instruction)?),
            };
            // Whatever is complete now goes into what it is part of.
            loop {
                match (value.take(), open.last_mut()) {
                    (Some(done), None) => {
                        out.push(done);
                        break;
                    }
                    (Some(done), Some(into)) => {
                        into.words.push(done);
                        into.left = into.left.checked_sub(1)?;
                    }
                    (None, _) => {}
                }
                if open.last().is_none_or(|last| last.left > 0) {
                    break;
                }
                let done = open.pop()?;
                let unmade = FrameValue::Unmade(Arc::new(Unmade {
                    string: done.string,
                    words: done.words,
                }));
                self.objects[done.id] = unmade.clone();
                value = Some(unmade);
            }
        }
        Some((out, rest))
    }

    /// One value that is complete in itself.
    fn value(&mut self, instruction: &Instruction) -> Option<FrameValue> {
        Some(match instruction.op {
            Op::OptimizedOut => FrameValue::OptimizedOut,
            Op::Literal => {
                let index = u64::try_from(instruction.signed(0)).ok()?;
                match self.v8.element_of(self.literals, index) {
                    // Node 18 has no instruction for it.
                    Ok(value) if self.v8.root_name(value) == Some("optimized_out") => {
                        FrameValue::OptimizedOut
                    }
                    Ok(value) if !value.is_cleared() => FrameValue::Tagged(value.strong()),
                    _ => FrameValue::Unknown,
                }
            }
            Op::Duplicated => {
                let index = usize::try_from(instruction.signed(0)).ok()?;
                let value = self.objects.get(index)?.clone();
                self.objects.push(value.clone());
                value
            }
            Op::ArgumentsLength => FrameValue::Number(self.physical.actual as f64),
            Op::RestLength => {
                FrameValue::Number(self.physical.actual.saturating_sub(self.physical.formal) as f64)
            }
            Op::ArgumentsElements => {
                let value = self.arguments(instruction.signed(0));
                self.objects.push(value.clone());
                value
            }
            // V8 itself reads no registers here: at a safepoint all values are on the stack.
            Op::Register(_) => FrameValue::Unknown,
            Op::Slot(repr) => self.slot(instruction.signed(0), repr),
            _ => return None,
        })
    }

    /// The elements of an arguments object: 0 is for one that follows the parameters, 2 for a rest parameter.
    fn arguments(&mut self, kind: i32) -> FrameValue {
        let Physical { fp, formal, actual } = self.physical;
        let first = if kind == 2 { formal } else { 0 };
        let holes = if kind == 0 { formal.min(actual) } else { 0 };
        let mut words = vec![
            self.v8
                .root("fixed_array_map")
                .map_or(FrameValue::Unknown, FrameValue::Tagged),
            FrameValue::Number(actual.saturating_sub(first) as f64),
        ];
        for index in first..actual.min(MAX_VALUES as u64) {
            words.push(if index < holes {
                self.v8
                    .root("the_hole_value")
                    .map_or(FrameValue::Unknown, FrameValue::Tagged)
            } else {
                let at = self.v8.at(fp, self.v8.c.fp_receiver + 8 + 8 * index as i64);
                self.v8
                    .memory
                    .u64(at)
                    .map_or(FrameValue::Unknown, |word| FrameValue::Tagged(Tagged(word)))
            });
        }
        self.total += words.len();
        FrameValue::Unmade(Arc::new(Unmade {
            string: false,
            words,
        }))
    }

    /// A value on the stack. Slots are counted down from the caller's stack pointer.
    fn slot(&self, index: i32, repr: Repr) -> FrameValue {
        let offset = 8 * (1 - i64::from(index));
        let Ok(word) = self.v8.memory.u64(self.v8.at(self.physical.fp, offset)) else {
            return FrameValue::Unknown;
        };
        match repr {
            Repr::Tagged => FrameValue::Tagged(Tagged(word)),
            Repr::Int32 => FrameValue::Number(f64::from(word as u32 as i32)),
            Repr::Uint32 => FrameValue::Number(f64::from(word as u32)),
            Repr::Int64 => FrameValue::Number(word as i64 as f64),
            Repr::SignedBig => FrameValue::BigInt(i128::from(word as i64)),
            Repr::UnsignedBig => FrameValue::BigInt(i128::from(word)),
            Repr::Bool => FrameValue::Boolean(word as u32 != 0),
            Repr::Float => FrameValue::Number(f64::from(f32::from_bits(word as u32))),
            Repr::HoleyDouble if word == HOLE_NAN => self
                .v8
                .root("undefined_value")
                .map_or(FrameValue::Unknown, FrameValue::Tagged),
            Repr::Double | Repr::HoleyDouble => FrameValue::Number(f64::from_bits(word)),
            Repr::Simd => FrameValue::Unknown,
        }
    }
}
