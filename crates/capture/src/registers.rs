//! The registers of a thread, as an ELF core holds them.

/// General-purpose registers in the order of the kernel's `elf_gregset_t`.
#[cfg(target_arch = "x86_64")]
pub(crate) const GENERAL: usize = 27;
#[cfg(target_arch = "aarch64")]
pub(crate) const GENERAL: usize = 34;

/// Bytes of the kernel's `elf_fpregset_t`.
#[cfg(target_arch = "x86_64")]
pub(crate) const FLOATING: usize = 512;
#[cfg(target_arch = "aarch64")]
pub(crate) const FLOATING: usize = 528;

/// All registers of one thread.
#[repr(C, align(16))]
#[derive(Debug, Clone)]
pub(crate) struct Registers {
    /// In the layout of `elf_fpregset_t`. First, for `fxsave` wants it on a multiple of 16.
    pub(crate) floating: [u8; FLOATING],
    pub(crate) general: [u64; GENERAL],
    /// Whether those are known, not only the stack pointer and the like.
    pub(crate) has_floating: bool,
    /// Of the general ones only stack pointer and program counter are known.
    pub(crate) only_place: bool,
}

impl Default for Registers {
    fn default() -> Self {
        Registers {
            general: [0; GENERAL],
            floating: [0; FLOATING],
            has_floating: false,
            only_place: false,
        }
    }
}

impl Registers {
    /// Those of the calling thread, at the place of the call. They describe the stack as long as the function
    /// that calls this has not returned, hence always inlined.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn here(&mut self) {
        // Order of user_regs_struct: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax
        // rip cs eflags rsp ss fs_base gs_base ds es fs gs.
        // SAFETY: stores into two live buffers of the right size and alignment (fxsave wants 16 bytes); reads
        // nothing but registers and fs:0, where the thread block of glibc and musl has its own address.
        unsafe {
            core::arch::asm!(
                "mov [{g} + 0], r15",
                "mov [{g} + 8], r14",
                "mov [{g} + 16], r13",
                "mov [{g} + 24], r12",
                "mov [{g} + 32], rbp",
                "mov [{g} + 40], rbx",
                "mov qword ptr [{g} + 120], -1",
                "lea {t}, [rip]",
                "mov [{g} + 128], {t}",
                "mov {t:e}, cs",
                "mov [{g} + 136], {t}",
                "pushfq",
                "pop {t}",
                "mov [{g} + 144], {t}",
                "mov [{g} + 152], rsp",
                "mov {t:e}, ss",
                "mov [{g} + 160], {t}",
                "mov {t}, fs:[0]",
                "mov [{g} + 168], {t}",
                "fxsave64 [{f}]",
                g = in(reg) self.general.as_mut_ptr(),
                f = in(reg) self.floating.as_mut_ptr(),
                t = out(reg) _,
            );
        }
        self.has_floating = true;
    }

    /// The same on aarch64: x0-x30, sp, pc, pstate. Compiled, not run on real hardware.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(crate) fn here(&mut self) {
        // SAFETY: stores into two live buffers of the right size; reads nothing but registers.
        unsafe {
            core::arch::asm!(
                "stp x18, x19, [{g}, #144]",
                "stp x20, x21, [{g}, #160]",
                "stp x22, x23, [{g}, #176]",
                "stp x24, x25, [{g}, #192]",
                "stp x26, x27, [{g}, #208]",
                "stp x28, x29, [{g}, #224]",
                "mov {t}, sp",
                "stp x30, {t}, [{g}, #240]",
                "adr {t}, .",
                "stp {t}, xzr, [{g}, #256]",
                "stp q8, q9, [{f}, #128]",
                "stp q10, q11, [{f}, #160]",
                "stp q12, q13, [{f}, #192]",
                "stp q14, q15, [{f}, #224]",
                g = in(reg) self.general.as_mut_ptr(),
                f = in(reg) self.floating.as_mut_ptr(),
                t = out(reg) _,
            );
        }
        self.has_floating = true;
    }

    /// Takes stack pointer and program counter from the text of `/proc/PID/syscall`: number, six arguments, and these
    /// two; for a thread that does not call the kernel, -1 and these two. False for one that runs: nothing is known.
    /// Allocates nothing: the helper of `threads.rs` calls this.
    pub(crate) fn set_by_syscall(&mut self, text: &[u8]) -> bool {
        let mut words = text.trim_ascii().rsplit(|byte| *byte == b' ');
        let (Some(counter), Some(pointer), Some(_)) = (
            words.next().and_then(hexadecimal),
            words.next().and_then(hexadecimal),
            words.next(),
        ) else {
            return false;
        };
        #[cfg(target_arch = "x86_64")]
        {
            self.general[16] = counter;
            self.general[19] = pointer;
            self.general[17] = 0x33;
            self.general[20] = 0x2b;
        }
        #[cfg(target_arch = "aarch64")]
        {
            self.general[31] = pointer;
            self.general[32] = counter;
        }
        self.only_place = true;
        true
    }

    /// The stack pointer.
    pub(crate) fn stack_pointer(&self) -> u64 {
        #[cfg(target_arch = "x86_64")]
        return self.general[19];
        #[cfg(target_arch = "aarch64")]
        return self.general[31];
    }
}

fn hexadecimal(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"0x")?;
    digits.iter().try_fold(0u64, |value, digit| {
        Some(value << 4 | u64::from(char::from(*digit).to_digit(16)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeping_thread() {
        let text = "202 0x7f 0x189 0x0 0x0 0x0 0xffffffff 0x7fbe26d0 0x7fbe2a\n";
        let mut registers = Registers::default();
        assert!(registers.set_by_syscall(text.as_bytes()));
        assert_eq!(registers.stack_pointer(), 0x7fbe26d0);
        assert!(!registers.has_floating);
        assert!(registers.set_by_syscall(b"-1 0x7ffd0010 0x4005d0\n"));
        assert_eq!(registers.stack_pointer(), 0x7ffd0010);
        let counter = if cfg!(target_arch = "x86_64") { 16 } else { 32 };
        assert_eq!(registers.general[counter], 0x4005d0);
        for text in ["running\n", "", "0x1 0x2\n", "7 0x10 0xg\n", "7 10 0x1\n"] {
            assert!(!registers.set_by_syscall(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn the_stack_pointer_points_into_this_very_stack() {
        let mut registers = Registers::default();
        registers.here();
        let local = &raw const registers as u64;
        let pointer = registers.stack_pointer();
        assert!(
            pointer <= local && local - pointer < 64 << 10,
            "{pointer:#x} {local:#x}"
        );
        assert!(registers.has_floating);
    }
}
