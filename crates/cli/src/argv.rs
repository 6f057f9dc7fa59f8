//! The whole command line of a process, from its stack: the notes have only the first 79 bytes of it.

use stillcore_corefile::Process;

const AT_EXECFN: u64 = 31;

/// How far below the strings at the stack's top the auxiliary vector is looked for: arguments and environment may take
/// 2 MB and more (a quarter of the stack's limit), and each has a pointer.
const REACH: u64 = 8 << 20;

/// Most arguments, and most bytes of one, that are read.
const MAX_ARGUMENTS: usize = 4096;
const MAX_LENGTH: usize = 4096;
/// Most variables of the environment that are passed by.
const MAX_VARIABLES: usize = 1 << 16;

/// The arguments, as they are in memory: a process that sets its title has written over them. `None` where the stack
/// does not say.
///
/// The kernel leaves on the stack, upwards (`create_elf_tables` of `fs/binfmt_elf.c`): the number of arguments, their addresses, a
/// zero, the addresses of the environment, a zero, the auxiliary vector; and above that the strings.
pub fn of(process: &Process) -> Option<Vec<Vec<u8>>> {
    let memory = &process.memory;
    let vector: Vec<u8> = process
        .about
        .auxv
        .iter()
        .take(4)
        .flat_map(|(kind, value)| [kind.to_le_bytes(), value.to_le_bytes()])
        .flatten()
        .collect();
    let top = process.about.auxiliary(AT_EXECFN)?;
    if vector.len() < 64 {
        return None;
    }
    let mut at = find(process, &vector, top)?;
    let mut back = || -> Option<u64> {
        at = at.checked_sub(8)?;
        memory.read_u64(at).ok()
    };
    if back()? != 0 {
        return None;
    }
    // The environment ends below at the zero behind the arguments.
    let mut variables = 0;
    while back()? != 0 {
        variables += 1;
        if variables > MAX_VARIABLES {
            return None;
        }
    }
    let mut pointers = Vec::new();
    loop {
        let word = back()?;
        if word == pointers.len() as u64 {
            break;
        }
        pointers.push(word);
        if pointers.len() > MAX_ARGUMENTS {
            return None;
        }
    }
    pointers
        .iter()
        .rev()
        .map(|&pointer| memory.read_string(pointer, MAX_LENGTH).ok())
        .collect()
}

/// The last place below `top` where these bytes are.
fn find(process: &Process, bytes: &[u8], top: u64) -> Option<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = top;
    while end > top.saturating_sub(REACH) {
        let start = end.saturating_sub(STEP) & !7;
        // What reaches over the end of this piece belongs to it.
        let mut piece = vec![0; (end - start) as usize + bytes.len()];
        let got = process.memory.read_some(start, &mut piece).ok()?;
        piece.truncate(got);
        let found = (0..got.saturating_sub(bytes.len()))
            .step_by(8)
            .rev()
            .find(|&at| piece[at..].starts_with(bytes));
        if let Some(at) = found {
            return Some(start + at as u64);
        }
        end = start;
    }
    None
}
