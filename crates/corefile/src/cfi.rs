//! Unwind tables (`.eh_frame`, `.debug_frame`): from a frame's registers to its caller's.
//!
//! gimli reads the tables and this file applies them to all registers: framehop, which does the same for program counter,
//! stack and frame pointer only, falls back to frame pointers without saying so, and cannot follow code whose frame
//! address is in another register (the dynamic linker's trampolines, for one).

use std::ops::Range;
use std::sync::OnceLock;

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, EhFrameHdr, Encoding, EndianSlice,
    EvaluationResult, Expression, LittleEndian, Location, Piece, Register, RegisterRule,
    UnwindContext, UnwindExpression, UnwindSection, Value,
};

use crate::elf_file::ElfFile;
use crate::image::Image;
use crate::{Arch, Memory, Registers};

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// Longest table that is read.
const MAX_TABLE: u64 = 512 << 20;

/// Most steps of one expression.
const MAX_STEPS: u32 = 10_000;

/// The unwind tables of a module, in the order in which they are asked.
pub(crate) struct Cfi {
    tables: Vec<Table>,
}

struct Table {
    data: Vec<u8>,
    is_eh: bool,
    /// `.eh_frame_hdr`: a sorted table of where functions begin.
    header: Option<Vec<u8>>,
    bases: BaseAddresses,
    /// The same made here, where there is no such table: function and place of its entry.
    index: OnceLock<Vec<(Range<u64>, usize)>>,
}

/// A caller's frame.
pub(crate) struct Caller {
    /// The canonical frame address of the callee.
    pub(crate) cfa: u64,
    /// The caller's registers; `None` where the table says that there is no caller.
    pub(crate) registers: Option<Registers>,
    /// Whether the callee was entered by a signal: the caller's program counter is no return address.
    pub(crate) is_signal: bool,
}

/// Why a table gave no caller.
pub(crate) enum NoCaller {
    /// No table covers the address.
    Uncovered,
    /// It does, and what it refers to is not there or not sound.
    Broken,
}

impl Cfi {
    /// The tables of a module: those of its file, those in the dumped memory where there is no file, and those of the debug
    /// file.
    pub(crate) fn of(
        file: Option<&ElfFile>,
        image: Option<&Image>,
        debug: Option<&ElfFile>,
        memory: &Memory,
    ) -> Cfi {
        let mut tables = Vec::new();
        if let Some(file) = file
            && let Some(section) = file.section(".eh_frame")
            && let Ok(data) = file.data(section)
        {
            let header = file.section(".eh_frame_hdr");
            tables.push(Table {
                data,
                is_eh: true,
                bases: BaseAddresses::default()
                    .set_eh_frame(section.sh_addr)
                    .set_eh_frame_hdr(header.map_or(0, |header| header.sh_addr))
                    .set_text(file.section(".text").map_or(0, |text| text.sh_addr))
                    .set_got(file.section(".got").map_or(0, |got| got.sh_addr)),
                header: header.and_then(|header| file.data(header).ok()),
                index: OnceLock::new(),
            });
        } else if let Some(image) = image {
            tables.extend(in_memory(image, memory));
        }
        for file in [file, debug].into_iter().flatten() {
            if let Some(data) = file.named(".debug_frame") {
                tables.push(Table {
                    data,
                    is_eh: false,
                    header: None,
                    bases: BaseAddresses::default(),
                    index: OnceLock::new(),
                });
            }
        }
        Cfi { tables }
    }

    /// Whether any table covers an address of the file.
    pub(crate) fn caller(
        &self,
        address: u64,
        registers: &Registers,
        memory: &Memory,
    ) -> Result<Caller, NoCaller> {
        let mut answer = Err(NoCaller::Uncovered);
        for table in &self.tables {
            let result = if table.is_eh {
                let mut section = EhFrame::new(&table.data, LittleEndian);
                section.set_address_size(8);
                table.caller(&section, address, registers, memory)
            } else {
                let mut section = DebugFrame::new(&table.data, LittleEndian);
                section.set_address_size(8);
                table.caller(&section, address, registers, memory)
            };
            match result {
                Ok(caller) => return Ok(caller),
                Err(NoCaller::Uncovered) => {}
                Err(NoCaller::Broken) => answer = Err(NoCaller::Broken),
            }
        }
        answer
    }
}

/// The table that `PT_GNU_EH_FRAME` leads to. Its end is not said: it has an end mark, or ends with its segment.
fn in_memory(image: &Image, memory: &Memory) -> Option<Table> {
    let header = image.eh_frame_header()?;
    let address = |place: u64| place.wrapping_sub(image.bias);
    let header_bytes = memory_bytes(memory, &header)?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(address(header.start));
    let parsed = EhFrameHdr::new(&header_bytes, LittleEndian)
        .parse(&bases, 8)
        .ok()?;
    let start = parsed.eh_frame_ptr().direct().ok()?;
    let place = image.bias.wrapping_add(start);
    let segment = image
        .load()
        .filter_map(|load| image.place(load))
        .find(|segment| segment.contains(&place))?;
    Some(Table {
        data: memory_bytes(memory, &(place..segment.end))?,
        is_eh: true,
        bases: bases.set_eh_frame(start),
        header: Some(header_bytes),
        index: OnceLock::new(),
    })
}

fn memory_bytes(memory: &Memory, range: &Range<u64>) -> Option<Vec<u8>> {
    let share = memory.share(range);
    let held = share.core + share.file + share.zero;
    let size = range.end.checked_sub(range.start)?.min(held);
    if size == 0 || size > MAX_TABLE {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    let got = memory.read_some(range.start, &mut bytes).ok()?;
    bytes.truncate(got);
    (!bytes.is_empty()).then_some(bytes)
}

impl Table {
    fn caller<'a, S>(
        &'a self,
        section: &S,
        address: u64,
        registers: &Registers,
        memory: &Memory,
    ) -> Result<Caller, NoCaller>
    where
        S: UnwindSection<Reader<'a>>,
        S::Offset: From<usize>,
    {
        let offset = self.offset(section, address).ok_or(NoCaller::Uncovered)?;
        let fde = section
            .fde_from_offset(&self.bases, offset.into(), S::cie_from_offset)
            .map_err(|_| NoCaller::Broken)?;
        if !fde.contains(address) {
            return Err(NoCaller::Uncovered);
        }
        let mut context = UnwindContext::new();
        let row = fde
            .unwind_info_for_address(section, &self.bases, &mut context, address)
            .map_err(|_| NoCaller::Broken)?;
        let frame = Evaluator {
            section,
            encoding: fde.cie().encoding(),
            registers,
            memory,
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => registers
                .number(usize::from(register.0))
                .ok_or(NoCaller::Broken)?
                .wrapping_add_signed(*offset),
            CfaRule::Expression(expression) => {
                frame.expression(expression, None).ok_or(NoCaller::Broken)?
            }
        };
        let return_column = fde.cie().return_address_register();
        let is_signal = fde.is_signal_trampoline();
        let mut caller = Registers::new(registers.arch());
        for number in 0..registers.arch().unwound() {
            let rule = row.register(Register(number as u16));
            let value = match &rule {
                None => kept(registers.arch(), number)
                    .then(|| registers.number(number))
                    .flatten(),
                Some(rule) => frame.rule(rule, number, cfa),
            };
            caller.set(number, value);
        }
        // A register without a rule is as it was; but only the innermost frame may still have its return address in one.
        let pc = match row.register(return_column) {
            Some(RegisterRule::Undefined) => None,
            Some(rule) => Some(
                frame
                    .rule(&rule, usize::from(return_column.0), cfa)
                    .ok_or(NoCaller::Broken)?,
            ),
            None if registers.arch() == Arch::Aarch64 => {
                registers.number(usize::from(return_column.0))
            }
            None => None,
        };
        let Some(pc) = pc else {
            return Ok(Caller {
                cfa,
                registers: None,
                is_signal,
            });
        };
        let stack = row
            .register(Register(registers.arch().stack_column()))
            .and_then(|rule| frame.rule(&rule, usize::from(registers.arch().stack_column()), cfa))
            .unwrap_or(cfa);
        caller.set_frame(pc, stack, caller.fp());
        caller.keep_thread_pointer(registers);
        Ok(Caller {
            cfa,
            registers: Some(caller),
            is_signal,
        })
    }

    /// Where the entry of the function at `address` stands in the table.
    fn offset<'a, S>(&'a self, section: &S, address: u64) -> Option<usize>
    where
        S: UnwindSection<Reader<'a>>,
        S::Offset: From<usize>,
    {
        if let Some(header) = &self.header
            && let Ok(parsed) = EhFrameHdr::new(header, LittleEndian).parse(&self.bases, 8)
            && let Some(table) = parsed.table()
        {
            let pointer = table.lookup(address, &self.bases).ok()?;
            let start = parsed.eh_frame_ptr().direct().ok()?;
            return usize::try_from(pointer.direct().ok()?.checked_sub(start)?).ok();
        }
        let index = self.index.get_or_init(|| self.build_index(section));
        let upto = index.partition_point(|(range, _)| range.start <= address);
        let (range, offset) = index.get(upto.checked_sub(1)?)?;
        range.contains(&address).then_some(*offset)
    }

    fn build_index<'a, S>(&'a self, section: &S) -> Vec<(Range<u64>, usize)>
    where
        S: UnwindSection<Reader<'a>>,
    {
        let mut index = Vec::new();
        let mut entries = section.entries(&self.bases);
        // Every entry is at least its own length field long.
        while let Ok(Some(entry)) = entries.next() {
            if let CieOrFde::Fde(partial) = entry
                && let Ok(fde) = partial.parse(S::cie_from_offset)
            {
                let start = fde.initial_address();
                let end = start.saturating_add(fde.len());
                index.push((start..end, fde.offset()));
            }
        }
        index.sort_unstable_by_key(|(range, _)| (range.start, range.end));
        index
    }
}

/// Registers that a function without a rule for them has left alone, by the psABI.
fn kept(arch: Arch, number: usize) -> bool {
    match arch {
        Arch::X86_64 => matches!(number, 3 | 6 | 12..=15),
        Arch::Aarch64 => matches!(number, 18..=29),
    }
}

/// What rules are evaluated with.
struct Evaluator<'s, S> {
    section: &'s S,
    encoding: Encoding,
    registers: &'s Registers,
    memory: &'s Memory,
}

impl<'a, S: UnwindSection<Reader<'a>>> Evaluator<'_, S> {
    /// The caller's value of a register.
    fn rule(&self, rule: &RegisterRule<usize>, number: usize, cfa: u64) -> Option<u64> {
        match rule {
            RegisterRule::Undefined => None,
            RegisterRule::SameValue => self.registers.number(number),
            RegisterRule::Offset(offset) => {
                self.memory.read_u64(cfa.wrapping_add_signed(*offset)).ok()
            }
            RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
            RegisterRule::Register(register) => self.registers.number(usize::from(register.0)),
            RegisterRule::Expression(expression) => self
                .memory
                .read_u64(self.expression(expression, Some(cfa))?)
                .ok(),
            RegisterRule::ValExpression(expression) => self.expression(expression, Some(cfa)),
            RegisterRule::Constant(value) => Some(*value),
            _ => None,
        }
    }

    fn expression(
        &self,
        expression: &UnwindExpression<usize>,
        initial: Option<u64>,
    ) -> Option<u64> {
        let expression: Expression<Reader<'a>> = expression.get(self.section).ok()?;
        let mut evaluation = expression.evaluation(self.encoding);
        evaluation.set_max_iterations(MAX_STEPS);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut result = evaluation.evaluate().ok()?;
        // Every answer lets it go on, and it counts its own steps.
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresMemory { address, size, .. } => {
                    let mut bytes = [0; 8];
                    let wanted = bytes.get_mut(..usize::from(size))?;
                    self.memory.read(address, wanted).ok()?;
                    evaluation
                        .resume_with_memory(Value::Generic(u64::from_le_bytes(bytes)))
                        .ok()?
                }
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.registers.number(usize::from(register.0))?;
                    evaluation
                        .resume_with_register(Value::Generic(value))
                        .ok()?
                }
                EvaluationResult::RequiresRelocatedAddress(address) => {
                    evaluation.resume_with_relocated_address(address).ok()?
                }
                _ => return None,
            };
        }
        match evaluation.as_result() {
            [
                Piece {
                    location: Location::Address { address },
                    ..
                },
            ] => Some(*address),
            [
                Piece {
                    location: Location::Value { value },
                    ..
                },
            ] => value.to_u64(u64::MAX).ok(),
            _ => None,
        }
    }
}
