//! Small cores, made here byte by byte: nothing is shared with the reader.

/// Bytes that grow.
#[derive(Default, Clone)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn u16(mut self, n: u16) -> Bytes {
        self.0.extend(n.to_le_bytes());
        self
    }

    pub fn u32(mut self, n: u32) -> Bytes {
        self.0.extend(n.to_le_bytes());
        self
    }

    pub fn u64(mut self, n: u64) -> Bytes {
        self.0.extend(n.to_le_bytes());
        self
    }

    pub fn all(mut self, bytes: &[u8]) -> Bytes {
        self.0.extend(bytes);
        self
    }

    pub fn upto(mut self, size: usize) -> Bytes {
        assert!(self.0.len() <= size, "{} > {size}", self.0.len());
        self.0.resize(size, 0);
        self
    }
}

pub const X86_64: u16 = 62;
pub const AARCH64: u16 = 183;

pub const IMAGE: u64 = 0x40_0000;
pub const LIBRARY: u64 = 0x7000_0000_0000;
pub const LINKER: u64 = 0x60_0000;
pub const STACK: u64 = 0x7fff_0000_0000;
pub const BUILD_ID: [u8; 20] = [0xab; 20];

/// Where the program's function with an unwind table lies.
pub const FUNCTION: u64 = IMAGE + 0x800;

fn header(kind: u32, flags: u32, offset: u64, address: u64, file: u64, memory: u64) -> Bytes {
    Bytes::default()
        .u32(kind)
        .u32(flags)
        .u64(offset)
        .u64(address)
        .u64(address)
        .u64(file)
        .u64(memory)
        .u64(0x1000)
}

fn elf(kind: u16, machine: u16, entry: u64, headers: &[Bytes]) -> Bytes {
    let mut bytes = Bytes::default()
        .all(b"\x7fELF\x02\x01\x01")
        .upto(16)
        .u16(kind)
        .u16(machine)
        .u32(1)
        .u64(entry)
        .u64(64)
        .u64(0)
        .u32(0)
        .u16(64)
        .u16(56)
        .u16(headers.len() as u16)
        .u16(64)
        .u16(0)
        .u16(0);
    for header in headers {
        bytes = bytes.all(&header.0);
    }
    bytes
}

fn note(owner: &[u8], kind: u32, content: &[u8]) -> Bytes {
    let bytes = Bytes::default()
        .u32(owner.len() as u32 + 1)
        .u32(content.len() as u32)
        .u32(kind)
        .all(owner)
        .all(&[0]);
    let size = bytes.0.len().next_multiple_of(4);
    let bytes = bytes.upto(size).all(content);
    let size = bytes.0.len().next_multiple_of(4);
    bytes.upto(size)
}

/// A page: an executable, or a library, with a build-id, a dynamic section that leads to the linker's list, and an unwind
/// table for [`FUNCTION`], whose frame is 32 bytes above the stack pointer.
fn image(machine: u16, base: u64, is_program: bool) -> Vec<u8> {
    let own = if is_program { base } else { 0 };
    let headers = [
        header(1, 5, 0, own, 0x1000, 0x1000),
        header(4, 4, 0x200, own + 0x200, 36, 36),
        header(2, 6, 0x300, own + 0x300, 32, 32),
        header(0x6474_e550, 4, 0x400, own + 0x400, 20, 20),
    ];
    let return_column = if machine == X86_64 { 16 } else { 30 };
    let stack_column = if machine == X86_64 { 7 } else { 31 };
    let cie = Bytes::default()
        .u32(20)
        .u32(0)
        .all(&[1, b'z', b'R', 0, 1, 0x78, return_column, 1, 0x1b])
        // DW_CFA_def_cfa stack pointer, 32; DW_CFA_offset return address, 1
        .all(&[0x0c, stack_column, 32, 0x80 | return_column, 1])
        .upto(24);
    let fde_at = 0x500 + cie.0.len();
    let fde = Bytes::default()
        .u32(20)
        .u32(fde_at as u32 + 4 - 0x500)
        .u32((0x800 - (fde_at as i32 + 8)) as u32)
        .u32(0x100)
        .upto(24)
        .u32(0);
    Bytes::default()
        .all(
            &elf(
                if is_program { 2 } else { 3 },
                machine,
                own + 0x800,
                &headers,
            )
            .0,
        )
        .upto(0x200)
        .all(&note(b"GNU", 3, &BUILD_ID).0)
        .upto(0x300)
        // DT_DEBUG, DT_NULL
        .u64(21)
        .u64(LINKER)
        .u64(0)
        .u64(0)
        .upto(0x400)
        // Version 1; a pointer relative to its place; a count; a table relative to this section.
        .all(&[1, 0x1b, 3, 0x3b])
        .u32(0x500 - 0x404)
        .u32(1)
        .u32(0x800 - 0x400)
        .u32(fde_at as u32 - 0x400)
        .upto(0x500)
        .all(&cie.0)
        .all(&fde.0)
        .upto(0x1000)
        .0
}

/// A core of one thread in [`FUNCTION`], called from code without a table in the program, which keeps frame pointers, called
/// from the library.
pub fn core(machine: u16) -> Vec<u8> {
    let (pc, sp, fp) = (FUNCTION + 4, STACK + 0x100, STACK + 0x200);
    let mut status = Bytes::default()
        .u32(11)
        .u32(0)
        .u32(0)
        .u16(11)
        .u16(0)
        .u64(0)
        .u64(0);
    status = status.u32(4242).u32(1).u32(4242).u32(4242).upto(112);
    if machine == X86_64 {
        let mut registers = [0_u64; 27];
        (registers[4], registers[16], registers[19]) = (fp, pc, sp);
        registers[21] = 0xf5;
        for register in registers {
            status = status.u64(register);
        }
        status = status.upto(336);
    } else {
        for number in 0..31 {
            status = status.u64(if number == 29 { fp } else { 0x100 + number });
        }
        status = status.u64(sp).u64(pc).u64(0).upto(392);
    }
    let person = Bytes::default()
        .upto(16)
        .u32(1000)
        .u32(1001)
        .u32(4242)
        .u32(1)
        .upto(40)
        .all(b"synthetic")
        .upto(56)
        .all(b"synthetic --now")
        .upto(136);
    let signal = Bytes::default()
        .u32(11)
        .u32(0)
        .u32(1)
        .u32(0)
        .u64(0xdead)
        .upto(128);
    let auxiliary = Bytes::default()
        .u64(3)
        .u64(IMAGE + 64)
        .u64(9)
        .u64(FUNCTION)
        .u64(0)
        .u64(0);
    let files = Bytes::default()
        .u64(1)
        .u64(4096)
        .u64(IMAGE)
        .u64(IMAGE + 0x1000)
        .u64(0)
        .all(b"/opt/synthetic (deleted)\0");
    let vendor = br#"{"tool":"stillcore","method":"direct","pid":4242,"threads":[{"tid":4242,"name":"chief"}]}"#;
    let notes = [
        note(b"CORE", 1, &status.0),
        note(b"CORE", 3, &person.0),
        note(b"CORE", 0x5349_4749, &signal.0),
        note(b"CORE", 6, &auxiliary.0),
        note(b"CORE", 0x4649_4c45, &files.0),
        note(b"CORE", 2, &[0; 512]),
        note(b"stillcore", 1, vendor),
    ]
    .map(|note| note.0)
    .concat();

    // r_debug, then two entries of the list: the program without a name, and the library.
    let linker = Bytes::default()
        .u32(1)
        .u32(0)
        .u64(LINKER + 0x100)
        .upto(0x100)
        .u64(0)
        .u64(LINKER + 0x300)
        .u64(IMAGE + 0x300)
        .u64(LINKER + 0x200)
        .upto(0x200)
        .u64(LIBRARY)
        .u64(LINKER + 0x301)
        .u64(LIBRARY + 0x300)
        .u64(0)
        .upto(0x300)
        .all(b"\0./plugin.so\0")
        .upto(0x1000);
    // The function's return address, 8 below its frame's end; then the frame pointer's pair; then the end.
    let stack = Bytes::default()
        .upto(0x118)
        .u64(IMAGE + 0xa00)
        .upto(0x200)
        .u64(STACK + 0x300)
        .u64(LIBRARY + 0xa00)
        .upto(0x300)
        .u64(0)
        .u64(0)
        .upto(0x1000);
    let segments = [
        (5, IMAGE, image(machine, IMAGE, true)),
        (5, LIBRARY, image(machine, LIBRARY, false)),
        (6, LINKER, linker.0),
        (6, STACK, stack.0),
    ];
    let notes_at = 0x400;
    let mut headers = vec![header(4, 0, notes_at, 0, notes.len() as u64, 0)];
    let mut at = 0x2000;
    for (flags, address, bytes) in &segments {
        headers.push(header(
            1,
            *flags,
            at,
            *address,
            bytes.len() as u64,
            bytes.len() as u64,
        ));
        at += bytes.len() as u64;
    }
    let mut core = elf(4, machine, 0, &headers)
        .upto(notes_at as usize)
        .all(&notes)
        .upto(0x2000);
    for (_, _, bytes) in segments {
        core = core.all(&bytes);
    }
    core.0
}
