//! From the registers of a thread to its callers, and how each was found.

use std::collections::HashSet;

use crate::cfi::NoCaller;
use crate::frame::{Backtrace, End, Frame, FrameTrust};
use crate::{Arch, Process, Registers, Thread};

/// Most frames of one thread: endless recursion fills a stack of 8 MiB with 180,000.
const MAX_FRAMES: usize = 1 << 18;

/// How many words of the stack are looked at for one frame, and for one thread.
const MAX_SCAN: u64 = 1024;
const MAX_SCANS: u64 = 64 * 1024;

/// A caller that was found.
#[derive(Clone, Copy)]
struct Caller {
    registers: Registers,
    cfa: u64,
    trust: FrameTrust,
    /// Whether its program counter is where it was interrupted, instead of a return address.
    exact: bool,
}

impl Process {
    /// The frames of a thread, to the outermost that can be found.
    pub fn backtrace(&self, thread: &Thread) -> Backtrace {
        let mut frames = vec![self.frame(thread.registers, FrameTrust::Context, true)];
        if thread.registers.pc() == 0 && thread.registers.sp() == 0 {
            return Backtrace {
                frames,
                end: End::Kernel,
            };
        }
        let mut seen = HashSet::new();
        let mut scans = 0;
        let end = loop {
            let Some(last) = frames.last_mut() else {
                break End::Missing;
            };
            if !seen.insert((last.pc, last.registers.sp())) {
                break End::Broken;
            }
            let caller = match self.caller(last, &mut scans) {
                Ok(caller) => caller,
                Err(end) => break end,
            };
            last.cfa = Some(caller.cfa);
            if caller.registers.pc() == 0 && !caller.exact {
                break End::Outermost;
            }
            // A stack grows downwards: a caller's frame lies above. Signal handlers may have a stack of their own.
            let (below, above) = (last.registers.sp(), caller.registers.sp());
            let leaf = last.trust == FrameTrust::Context || last.is_interrupted();
            if !caller.exact && (above < below || (above == below && !leaf)) {
                break End::Broken;
            }
            if frames.len() >= MAX_FRAMES {
                break End::Limit;
            }
            frames.push(self.frame(caller.registers, caller.trust, caller.exact));
        };
        Backtrace { frames, end }
    }

    fn frame(&self, registers: Registers, trust: FrameTrust, exact: bool) -> Frame {
        let pc = registers.pc();
        let is_signal = self.is_trampoline(pc);
        // A handler returns to the first instruction of the trampoline: nothing called it.
        let lookup = if exact || is_signal {
            pc
        } else {
            pc.saturating_sub(1)
        };
        Frame {
            pc,
            lookup,
            cfa: None,
            registers,
            trust,
            is_signal,
            module: self.module_index(lookup),
        }
    }

    fn caller(&self, frame: &Frame, scans: &mut u64) -> Result<Caller, End> {
        if frame.is_signal {
            return self.interrupted(&frame.registers).ok_or(End::Missing);
        }
        let interrupted = frame.trust == FrameTrust::Context || frame.is_interrupted();
        let mut end = End::Lost;
        if let Some(module) = frame.module.map(|index| &self.modules[index]) {
            let address = frame.lookup.wrapping_sub(module.bias);
            match module
                .cfi(&self.memory)
                .caller(address, &frame.registers, &self.memory)
            {
                Ok(caller) => {
                    let Some(mut registers) = caller.registers else {
                        return Err(End::Outermost);
                    };
                    self.strip(&mut registers);
                    if self.is_plausible(registers.pc()) {
                        return Ok(Caller {
                            registers,
                            cfa: caller.cfa,
                            trust: FrameTrust::Cfi,
                            exact: caller.is_signal,
                        });
                    }
                    end = End::Broken;
                }
                Err(NoCaller::Broken) => end = End::Broken,
                Err(NoCaller::Uncovered) => {}
            }
        } else if interrupted
            && !self.is_code(frame.pc)
            && let Some(caller) = self.bad_call(&frame.registers)
        {
            return Ok(caller);
        }
        let fp = frame.registers.fp();
        let chained = self.by_frame_pointer(&frame.registers);
        if let Some(caller) = chained
            && (caller.registers.pc() != 0 || frame.trust == FrameTrust::FramePointer)
        {
            return Ok(caller);
        }
        if fp == 0 && frame.trust == FrameTrust::FramePointer {
            return Err(End::Outermost);
        }
        // Where the code is not to be had, any pointer into it looks like a return address; and where nothing else is in the
        // frame pointer the ABI lets a program begin with 0 there, as `_start` does.
        if fp == 0 && frame.trust == FrameTrust::Cfi && !self.is_readable(frame.lookup) {
            return Err(End::Outermost);
        }
        match self.by_scan(&frame.registers, scans) {
            Ok(caller) => Ok(caller),
            // Zeros where the frame pointer points, and nothing else that could be a caller.
            Err(_) if chained.is_some() => Err(End::Outermost),
            Err(End::Lost) => Err(match end {
                End::Broken => End::Broken,
                _ => End::Lost,
            }),
            Err(other) => Err(other),
        }
    }

    fn is_readable(&self, address: u64) -> bool {
        self.memory.read(address, &mut [0]).is_ok()
    }

    /// Whether an address may be a frame's program counter: 0 ends a stack.
    fn is_plausible(&self, pc: u64) -> bool {
        pc == 0 || self.is_code(pc.saturating_sub(1)) || self.is_code(pc)
    }

    /// Whether there was code at an address, whether or not it can be read.
    fn is_code(&self, address: u64) -> bool {
        match self.memory.range_at(address) {
            Some(range) => match range.flags {
                Some(flags) => flags & 1 == 1,
                None => self.module_index(address).is_some(),
            },
            None => self.module_index(address).is_some(),
        }
    }

    /// Removes what pointer authentication puts into the upper bits of a return address.
    fn strip(&self, registers: &mut Registers) {
        let pc = registers.pc();
        if self.arch == Arch::Aarch64 && !self.is_plausible(pc) {
            let stripped = pc & ((1 << 48) - 1);
            if self.is_plausible(stripped) {
                registers.set_frame(stripped, registers.sp(), registers.fp());
            }
        }
    }

    /// The chain of frame pointers: where the frame pointer points lie the caller's one and the return address, on both
    /// processors.
    fn by_frame_pointer(&self, registers: &Registers) -> Option<Caller> {
        let fp = registers.fp();
        if fp == 0 || !fp.is_multiple_of(8) || fp < registers.sp() {
            return None;
        }
        let caller_fp = self.memory.read_u64(fp).ok()?;
        let pc = self.memory.read_u64(fp.checked_add(8)?).ok()?;
        let cfa = fp.checked_add(16)?;
        let mut caller = Registers::new(self.arch);
        caller.set_frame(pc, cfa, caller_fp);
        caller.keep_thread_pointer(registers);
        self.strip(&mut caller);
        let code = self.is_code(caller.pc().saturating_sub(1));
        // The outermost frame has zeros there, or whatever its thread began with.
        if !(code || caller.pc() == 0 && caller_fp == 0) {
            return None;
        }
        Some(Caller {
            registers: caller,
            cfa,
            trust: FrameTrust::FramePointer,
            exact: false,
        })
    }

    /// Where a call through a bad pointer came from: nothing of the callee ran, so everything is as the call left it.
    fn bad_call(&self, registers: &Registers) -> Option<Caller> {
        let mut caller = *registers;
        let sp = registers.sp();
        let (pc, cfa) = match self.arch {
            Arch::X86_64 => (self.memory.read_u64(sp).ok()?, sp.checked_add(8)?),
            Arch::Aarch64 => (registers.get("x30")?, sp),
        };
        caller.set_frame(pc, cfa, registers.fp());
        self.strip(&mut caller);
        self.is_code(caller.pc().saturating_sub(1))
            .then_some(Caller {
                registers: caller,
                cfa,
                trust: FrameTrust::BadCall,
                exact: false,
            })
    }

    /// The next word on the stack that a call may have left there.
    fn by_scan(&self, registers: &Registers, scans: &mut u64) -> Result<Caller, End> {
        let start = registers.sp().checked_next_multiple_of(8);
        let start = start.ok_or(End::Lost)?;
        for index in 0..MAX_SCAN {
            if *scans >= MAX_SCANS {
                return Err(End::Lost);
            }
            *scans += 1;
            let slot = start.checked_add(8 * index).ok_or(End::Lost)?;
            let Ok(word) = self.memory.read_u64(slot) else {
                // Above the stack's upper end nothing is missing: nothing is mapped there, or a guard.
                let is_stack = self
                    .memory
                    .range_at(slot)
                    .is_some_and(|range| range.flags.is_none_or(|flags| flags & 6 != 0));
                return Err(match index > 0 && !is_stack {
                    true => End::Lost,
                    false => End::Missing,
                });
            };
            if !self.is_code(word.wrapping_sub(1)) || !self.follows_call(word) {
                continue;
            }
            let sp = slot.checked_add(8).ok_or(End::Lost)?;
            let mut caller = Registers::new(self.arch);
            // Below the return address often lies the frame pointer that the callee saved.
            let fp = match self.memory.read_u64(slot.wrapping_sub(8)) {
                _ if registers.fp() >= sp => registers.fp(),
                Ok(saved) if saved > slot && saved - slot < 1 << 20 => saved,
                _ => 0,
            };
            caller.set_frame(word, sp, fp);
            caller.keep_thread_pointer(registers);
            return Ok(Caller {
                registers: caller,
                cfa: sp,
                trust: FrameTrust::Scan,
                exact: false,
            });
        }
        Err(End::Lost)
    }

    /// Whether the instruction before a return address is a call; true where the code is not to be had.
    fn follows_call(&self, address: u64) -> bool {
        match self.arch {
            Arch::X86_64 => {
                let mut code = [0; 7];
                if self
                    .memory
                    .read(address.wrapping_sub(7), &mut code)
                    .is_err()
                {
                    return self.module_index(address).is_some();
                }
                // call rel32; call r/m64 (ff /2) with each length that it may have.
                code[2] == 0xe8
                    || (2..=7).any(|length| {
                        let at = 7 - length;
                        code[at] == 0xff && code[at + 1] >> 3 & 7 == 2
                    })
            }
            Arch::Aarch64 => match self.memory.read_u32(address.wrapping_sub(4)) {
                // bl; blr and its authenticating forms.
                Ok(code) => {
                    code & 0xfc00_0000 == 0x9400_0000
                        || code & 0xfffe_fc1f == 0xd63e_0000
                        || code & 0xfeff_f800 == 0xd63f_0800
                        || code & 0xffff_fc1f == 0xd63f_0000
                }
                Err(_) => self.module_index(address).is_some(),
            },
        }
    }

    /// Whether this is the code that signal handlers return to: it calls rt_sigreturn.
    fn is_trampoline(&self, pc: u64) -> bool {
        match self.arch {
            // mov $15, %rax or %eax; syscall. glibc and musl have the first, Go the second.
            Arch::X86_64 => {
                matches!(
                    self.memory.read_array(pc),
                    Ok([0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05])
                ) || matches!(
                    self.memory.read_array(pc),
                    Ok([0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05])
                )
            }
            // mov x8, #139; svc #0: in the vdso.
            Arch::Aarch64 => {
                matches!(
                    self.memory.read_array(pc),
                    Ok([0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4])
                )
            }
        }
    }

    /// The registers that a signal interrupted: the kernel put them on the handler's stack (`struct rt_sigframe`), where
    /// the trampoline's stack pointer is.
    fn interrupted(&self, registers: &Registers) -> Option<Caller> {
        /// `uc_mcontext` behind flags, link and stack of `ucontext`.
        const X86_64_CONTEXT: u64 = 40;
        /// The DWARF numbers of `gregs`, in its order: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
        const GREGS: [usize; 17] = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16];
        /// `siginfo` (128), then `uc_mcontext` (176 into `ucontext`, aligned to 16) and its `fault_address` (8).
        const AARCH64_REGISTERS: u64 = 128 + 176 + 8;

        let sp = registers.sp();
        let mut caller = Registers::new(self.arch);
        let (start, numbers): (u64, Vec<usize>) = match self.arch {
            Arch::X86_64 => (sp.checked_add(X86_64_CONTEXT)?, GREGS.to_vec()),
            // x0 to x30, sp, pc
            Arch::Aarch64 => (sp.checked_add(AARCH64_REGISTERS)?, (0..33).collect()),
        };
        for (index, number) in numbers.into_iter().enumerate() {
            let value = self
                .memory
                .read_u64(start.checked_add(8 * index as u64)?)
                .ok()?;
            caller.set(number, Some(value));
        }
        caller.keep_thread_pointer(registers);
        Some(Caller {
            cfa: caller.sp(),
            registers: caller,
            trust: FrameTrust::Signal,
            exact: true,
        })
    }

    /// Which frame is that of `main`: what lies outside of it is the C library's start. `None` in other threads.
    pub fn main_frame(&self, backtrace: &Backtrace) -> Option<usize> {
        /// `main` has at most four frames outside of it.
        const OUTER: usize = 6;
        let frames = &backtrace.frames;
        (frames.len().saturating_sub(OUTER)..frames.len()).find(|&index| {
            let frame = &frames[index];
            frame.module.is_some_and(|module| {
                let module = &self.modules[module];
                module.kind == crate::ModuleKind::Executable
                    && module
                        .symbol_at(frame.lookup)
                        .is_some_and(|symbol| symbol.name == b"main")
            })
        })
    }
}
