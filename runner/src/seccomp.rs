//! The system-call filter: what a container may ask of the kernel.
//!
//! An allowlist (`calls.rs`) becomes BPF (`program.rs`) while this crate is compiled, so that starting a
//! container costs one system call. It is one decision tree over ranges of numbers: the kernel runs a
//! filter once for each number when it is installed (seccomp's action cache, Linux 5.11), so that the
//! usual chain of comparisons, one for each call, costs 1.4 ms there and the tree 0.08 ms.
//!
//! | answer | to what |
//! |---|---|
//! | the call | what programs need and the container's other limits hold |
//! | `EPERM` | what is refused by policy |
//! | `ENOSYS` | what is not known here (newer calls, `clone3`, x32): C libraries then do it the older way |
//! | `EAFNOSUPPORT` | sockets of rare families, each a driver that would be loaded on demand |
//! | the process is killed | calls by another architecture's convention (`int 0x80`) |
//!
//! `clone3` passes its flags in memory, where no filter sees them; `clone` does the same with flags
//! in a register. The filter does not follow `--cap-add`: what a capability would allow beyond it
//! takes `--no-seccomp`.

mod calls;
mod program;

pub use program::Instruction;
use program::Program;

const DEFAULT: Program = Program::of(&calls::table(false));
const NESTED_USERS: Program = Program::of(&calls::table(true));

static FOR_MOST: [Instruction; DEFAULT.len()] = DEFAULT.instructions();
static FOR_NESTED_USERS: [Instruction; NESTED_USERS.len()] = NESTED_USERS.instructions();

/// The program for a container that may not, or may, make user namespaces of its own.
#[must_use]
pub fn program(nested_users: bool) -> &'static [Instruction] {
    if nested_users { &FOR_NESTED_USERS } else { &FOR_MOST }
}

#[cfg(test)]
mod tests;
