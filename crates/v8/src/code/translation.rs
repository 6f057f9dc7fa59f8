//! Frame translations: how a frame of optimised code would be written as interpreted ones. Every function that was
//! inlined at a safepoint has a frame in it, with the place of each value: a stack slot, a constant, an object that was
//! never made. (V8's `deoptimizer/translation-opcode.h`, `frame-translation-builder.cc`, `translated-state.cc`.)

use self::Op::{
    ArgumentsElements, ArgumentsLength, Begin, Captured, Duplicated, Frame, Literal, Match,
    OptimizedOut, Register, RestLength, Slot, StringConcat, UpdateFeedback,
};
use self::Repr::{
    Bool, Double, Float, HoleyDouble, Int32, Int64, SignedBig, Simd, Tagged as Word, Uint32,
    UnsignedBig,
};
use super::vlq::number;

/// Most instructions of one translation.
const MAX_INSTRUCTIONS: usize = 1 << 16;
/// Most operands of one instruction.
const MAX_OPERANDS: usize = 6;

/// What a frame of a translation is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameOp {
    /// A function, at a bytecode.
    Interpreted,
    /// A builtin that goes on in JavaScript's name, such as the loop of `Array.prototype.map`.
    JsContinuation,
    /// What says that the next function is called with `new`.
    Construct,
    /// What else a builtin leaves on the stack.
    Continuation,
    /// WebAssembly inlined into JavaScript.
    Wasm,
    /// WebAssembly alone.
    Liftoff,
    /// All arguments of the next function, where they are not as many as its parameters.
    ExtraArguments,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr {
    /// A tagged word.
    Tagged,
    /// A number.
    Int32,
    /// A number.
    Uint32,
    /// A number.
    Int64,
    /// A BigInt.
    SignedBig,
    /// A BigInt.
    UnsignedBig,
    /// A truth.
    Bool,
    /// A number.
    Float,
    /// A number.
    Double,
    /// A number, or nothing.
    HoleyDouble,
    /// A vector, of WebAssembly.
    Simd,
}

/// One kind of instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The start of a translation.
    Begin,
    /// A frame follows.
    Frame(FrameOp),
    /// Which feedback the deoptimiser is to change.
    UpdateFeedback,
    /// The elements of an arguments object that was never made.
    ArgumentsElements,
    /// How many arguments there are.
    ArgumentsLength,
    /// How many of them are the rest parameter's.
    RestLength,
    /// An object that was never made; its words follow.
    Captured,
    /// The same object again.
    Duplicated,
    /// Two strings that were never put together follow.
    StringConcat,
    /// A value in a machine register.
    Register(Repr),
    /// A value on the stack.
    Slot(Repr),
    /// A constant.
    Literal,
    /// A value that is needed no more.
    OptimizedOut,
    /// The next instructions are those of another translation.
    Match,
}

type Row = (Op, u8);

/// The instructions by number, with their counts of operands: V8 10.2. Every number is written with a sign, those of the
/// instructions too; what was optimised out is a literal. (The first has moved behind the floats in 10.3.)
const OPS_18: &[Row] = &[
    (Frame(FrameOp::ExtraArguments), 2),
    (ArgumentsElements, 1),
    (ArgumentsLength, 0),
    (Begin, 3),
    (Register(Bool), 1),
    (Slot(Bool), 1),
    (Frame(FrameOp::Continuation), 3),
    (Captured, 1),
    (Frame(FrameOp::Construct), 3),
    (Register(Double), 1),
    (Slot(Double), 1),
    (Duplicated, 1),
    (Register(Float), 1),
    (Slot(Float), 1),
    (Register(Int32), 1),
    (Slot(Int32), 1),
    (Register(Int64), 1),
    (Slot(Int64), 1),
    (Frame(FrameOp::Interpreted), 5),
    (Frame(FrameOp::JsContinuation), 3),
    (Frame(FrameOp::JsContinuation), 3),
    (Frame(FrameOp::Continuation), 4),
    (Literal, 1),
    (Register(Word), 1),
    (Slot(Word), 1),
    (Register(Uint32), 1),
    (Slot(Uint32), 1),
    (UpdateFeedback, 2),
];

/// The instructions by number, with their counts of operands: V8 11.3, which has no holey doubles yet
/// (11.4 has).
const OPS_20: &[Row] = &[
    (ArgumentsElements, 1),
    (ArgumentsLength, 0),
    (Begin, 3),
    (Begin, 3),
    (Register(Bool), 1),
    (Slot(Bool), 1),
    (Frame(FrameOp::Continuation), 3),
    (Captured, 1),
    (Frame(FrameOp::Construct), 3),
    (Register(Double), 1),
    (Slot(Double), 1),
    (Duplicated, 1),
    (Register(Float), 1),
    (Slot(Float), 1),
    (Frame(FrameOp::ExtraArguments), 2),
    (Register(Int32), 1),
    (Slot(Int32), 1),
    (Register(Int64), 1),
    (Slot(Int64), 1),
    (Register(SignedBig), 1),
    (Slot(SignedBig), 1),
    (Register(UnsignedBig), 1),
    (Slot(UnsignedBig), 1),
    (Frame(FrameOp::Interpreted), 5),
    (Frame(FrameOp::Interpreted), 3),
    (Frame(FrameOp::JsContinuation), 3),
    (Frame(FrameOp::JsContinuation), 3),
    (Frame(FrameOp::Continuation), 4),
    (OptimizedOut, 0),
    (Literal, 1),
    (Register(Word), 1),
    (Slot(Word), 1),
    (Register(Uint32), 1),
    (Slot(Uint32), 1),
    (UpdateFeedback, 2),
    (Match, 1),
];

/// The same: V8 12.4.
const OPS_22: &[Row] = &[
    (Frame(FrameOp::Interpreted), 5),
    (Frame(FrameOp::Interpreted), 3),
    (Frame(FrameOp::JsContinuation), 3),
    (Frame(FrameOp::JsContinuation), 3),
    (Frame(FrameOp::Construct), 2),
    (Frame(FrameOp::Construct), 1),
    (Frame(FrameOp::Continuation), 3),
    (Frame(FrameOp::Continuation), 4),
    (Frame(FrameOp::Wasm), 3),
    (Frame(FrameOp::ExtraArguments), 2),
    (ArgumentsElements, 1),
    (ArgumentsLength, 0),
    (Begin, 3),
    (Begin, 3),
    (Register(Bool), 1),
    (Slot(Bool), 1),
    (Captured, 1),
    (Register(Double), 1),
    (Slot(Double), 1),
    (Register(HoleyDouble), 1),
    (Slot(HoleyDouble), 1),
    (Duplicated, 1),
    (Register(Float), 1),
    (Slot(Float), 1),
    (Register(Int32), 1),
    (Slot(Int32), 1),
    (Register(Int64), 1),
    (Slot(Int64), 1),
    (Register(SignedBig), 1),
    (Slot(SignedBig), 1),
    (Register(UnsignedBig), 1),
    (Slot(UnsignedBig), 1),
    (OptimizedOut, 0),
    (Literal, 1),
    (Register(Word), 1),
    (Slot(Word), 1),
    (Register(Uint32), 1),
    (Slot(Uint32), 1),
    (UpdateFeedback, 2),
    (Match, 1),
];

/// The same: V8 13.6 and 14.6.
const OPS_24: &[Row] = &[
    (Frame(FrameOp::Interpreted), 6),
    (Frame(FrameOp::Interpreted), 4),
    (Frame(FrameOp::JsContinuation), 3),
    (Frame(FrameOp::JsContinuation), 3),
    (Frame(FrameOp::Construct), 2),
    (Frame(FrameOp::Construct), 1),
    (Frame(FrameOp::Continuation), 3),
    (Frame(FrameOp::Continuation), 4),
    (Frame(FrameOp::Wasm), 3),
    (Frame(FrameOp::Liftoff), 3),
    (Frame(FrameOp::ExtraArguments), 3),
    (ArgumentsElements, 1),
    (ArgumentsLength, 0),
    (RestLength, 0),
    (Begin, 3),
    (Begin, 3),
    (Register(Bool), 1),
    (Slot(Bool), 1),
    (Captured, 1),
    (StringConcat, 0),
    (Register(Double), 1),
    (Slot(Double), 1),
    (Slot(Simd), 1),
    (Register(HoleyDouble), 1),
    (Slot(HoleyDouble), 1),
    (Register(Simd), 1),
    (Duplicated, 1),
    (Register(Float), 1),
    (Slot(Float), 1),
    (Register(Int32), 1),
    (Slot(Int32), 1),
    (Register(Int64), 1),
    (Slot(Int64), 1),
    (Register(SignedBig), 1),
    (Slot(SignedBig), 1),
    (Register(UnsignedBig), 1),
    (Slot(UnsignedBig), 1),
    (OptimizedOut, 0),
    (Literal, 1),
    (Register(Word), 1),
    (Slot(Word), 1),
    (Register(Uint32), 1),
    (Slot(Uint32), 1),
    (UpdateFeedback, 2),
    (Match, 1),
];

/// The instructions of a column.
fn ops(column: usize) -> &'static [Row] {
    match column {
        0 => OPS_20,
        1 => OPS_22,
        _ => OPS_24,
    }
}

/// One instruction with its operands as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub op: Op,
    raw: [u32; MAX_OPERANDS],
}

impl Instruction {
    /// An operand that is written without a sign.
    pub fn unsigned(&self, index: usize) -> u32 {
        self.raw[index]
    }

    /// An operand that is written with its sign in the lowest bit.
    pub fn signed(&self, index: usize) -> i32 {
        let value = (self.raw[index] >> 1) as i32;
        if self.raw[index] & 1 == 1 {
            -value
        } else {
            value
        }
    }

    /// How many values a frame has besides those that its function tells of. Its sign bit came late.
    pub fn height(&self, column: usize) -> u32 {
        let Frame(frame) = self.op else { return 0 };
        let (index, signed) = match (frame, column) {
            (FrameOp::Interpreted, 0 | 1) => (2, true),
            (FrameOp::Interpreted, _) => (3, false),
            (FrameOp::ExtraArguments, 0 | 1) => (1, true),
            (FrameOp::ExtraArguments, _) => (1, false),
            (FrameOp::Construct, 0) => (2, true),
            // Of the two kinds the shorter has no height, and its operand is 0 here.
            (FrameOp::Construct, 1) => (1, true),
            (FrameOp::Construct, _) => (1, false),
            (FrameOp::Liftoff, _) => (1, false),
            (_, 0 | 1) => (2, true),
            _ => (2, false),
        };
        if signed {
            self.signed(index).max(0) as u32
        } else {
            self.unsigned(index)
        }
    }

    /// The literal that is the frame's SharedFunctionInfo.
    pub fn shared_literal(&self, column: usize) -> Option<usize> {
        let Frame(frame) = self.op else { return None };
        let index = match (frame, column) {
            (FrameOp::Liftoff, _) => return None,
            (FrameOp::ExtraArguments, _) => 0,
            (FrameOp::Construct, 1..) => 0,
            _ => 1,
        };
        usize::try_from(self.signed(index)).ok()
    }
}

/// Reads the instructions from `start` up to the next translation. Those that are said to be the same as before are
/// `basis`'s, at the same place in it.
fn read(
    bytes: &[u8],
    start: usize,
    column: usize,
    basis: &[Instruction],
) -> Option<Vec<Instruction>> {
    let rows = ops(column);
    let mut at = start;
    let mut out: Vec<Instruction> = Vec::new();
    while at < bytes.len() && out.len() < MAX_INSTRUCTIONS {
        let byte = usize::from(bytes[at]);
        at += 1;
        // Numbers beyond the last instruction are a short form of it, with the operand in them.
        let (op, count) = rows.get(byte).copied().unwrap_or((Match, 0));
        if op == Begin && !out.is_empty() {
            break;
        }
        let mut raw = [0; MAX_OPERANDS];
        for operand in raw.iter_mut().take(usize::from(count)) {
            *operand = number(bytes, &mut at)? as u32;
        }
        if op == Match {
            let count = match byte.checked_sub(rows.len()) {
                Some(count) => count,
                None => raw[0] as usize,
            };
            let from = out.len();
            out.extend(basis.get(from..from.checked_add(count)?)?);
            continue;
        }
        out.push(Instruction { op, raw });
    }
    Some(out)
}

/// The same of Node 18, where none borrows from another.
pub fn decode_18(bytes: &[u8], start: usize) -> Option<Vec<Instruction>> {
    let mut at = start;
    let mut out: Vec<Instruction> = Vec::new();
    while at < bytes.len() && out.len() < MAX_INSTRUCTIONS {
        let code = number(bytes, &mut at)?;
        let (op, count) = *OPS_18.get(usize::try_from(code >> 1).ok()?)?;
        match (op, out.is_empty()) {
            (Begin, false) => break,
            (Begin, true) | (_, false) => {}
            (_, true) => return None,
        }
        let mut raw = [0; MAX_OPERANDS];
        for operand in raw.iter_mut().take(usize::from(count)) {
            *operand = number(bytes, &mut at)? as u32;
        }
        out.push(Instruction { op, raw });
    }
    (!out.is_empty()).then_some(out)
}

/// The instructions of the translation that begins at `start`; `None` when none begins there, or it is damaged.
pub fn decode(bytes: &[u8], start: usize, column: usize) -> Option<Vec<Instruction>> {
    // The first operand of each says how far back the one is that it borrows from, or 0. That one borrows nothing.
    let back = |start: usize| -> Option<usize> {
        let first = usize::from(*bytes.get(start)?);
        let begins = ops(column).get(first).is_some_and(|row| row.0 == Begin);
        begins
            .then(|| number(bytes, &mut (start + 1)))?
            .map(|back| back as usize)
    };
    let basis = match back(start)? {
        0 => Vec::new(),
        distance => {
            let at = start.checked_sub(distance)?;
            (back(at)? == 0).then(|| read(bytes, at, column, &[]))??
        }
    };
    read(bytes, start, column, &basis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_borrows_from_the_one_before() {
        // 22: begin (back 0, 1 frame, 1 of JavaScript); interpreted at 5, literal 0, height 1; two slots, a literal.
        let mut bytes = vec![12, 0, 2, 2, 1, 10, 0, 2, 35, 4, 35, 6, 33, 8];
        let second = bytes.len();
        // The same but for its third value: two borrowed, one its own, one borrowed.
        bytes.extend([12, second as u8, 2, 2, 40 + 2, 32, 40 + 1]);
        let first = decode(&bytes, 0, 1).unwrap();
        assert_eq!(first.len(), 5);
        assert_eq!(first[1].op, Op::Frame(FrameOp::Interpreted));
        assert_eq!((first[1].signed(0), first[1].height(1)), (5, 1));
        assert_eq!(first[3].signed(0), 3);
        let other = decode(&bytes, second, 1).unwrap();
        assert_eq!(other[1..3], first[1..3]);
        assert_eq!((other[3].op, other[4]), (Op::OptimizedOut, first[4]));
        assert_eq!(decode(&bytes, 1, 1), None);
        assert_eq!(decode(&bytes, second - 1, 1), None);
    }

    #[test]
    fn node_18_writes_every_number_with_a_sign() {
        // Begin (1 frame, 1 of JavaScript, no feedback); interpreted at 5, literal 0, height 1; slot 3; a literal; begin.
        let bytes = [6, 2, 2, 0, 36, 10, 0, 2, 0, 0, 48, 6, 44, 8, 6, 2, 2, 0];
        let found = decode_18(&bytes, 0).unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!(found[1].op, Op::Frame(FrameOp::Interpreted));
        assert_eq!((found[1].signed(0), found[1].height(0)), (5, 1));
        assert_eq!((found[2].op, found[2].signed(0)), (Op::Slot(Word), 3));
        assert_eq!((found[3].op, found[3].signed(0)), (Op::Literal, 4));
        assert_eq!(decode_18(&bytes, 14).unwrap().len(), 1);
        for (bytes, start) in [
            (&bytes[..], 4),
            (&bytes[..7], 0),
            (&[6, 2, 2, 0, 56][..], 0),
            (&[], 0),
        ] {
            assert_eq!(decode_18(bytes, start), None);
        }
    }

    #[test]
    fn every_version_has_its_instructions_once_each() {
        for (column, count) in [(0, 36), (1, 40), (2, 45), (3, 45)] {
            let rows = ops(column);
            assert_eq!(rows.len(), count);
            assert_eq!(rows.iter().filter(|row| row.0 == Begin).count(), 2);
            assert_eq!(rows.last(), Some(&(Match, 1)));
        }
    }

    #[test]
    fn what_borrows_too_much_is_refused() {
        let bytes = [12, 0, 2, 2, 32, 12, 5, 2, 2, 40 + 9];
        assert_eq!(decode(&bytes, 5, 1), None);
        assert_eq!(decode(&[12, 0x80], 0, 1), None);
        assert_eq!(decode(&[], 0, 1), None);
    }
}
