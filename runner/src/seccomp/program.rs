//! From a table of verdicts to BPF, by functions that run in the compiler.

/// An instruction of classic BPF, `struct sock_filter`.
pub type Instruction = libc::sock_filter;

/// What becomes of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `ENOSYS`: not known here.
    Unknown,
    /// It is made.
    Allow,
    /// `EPERM`.
    Refuse,
    /// Made if argument 0 has none of these bits, otherwise `EPERM`.
    Without(u32),
    /// Made if argument 0 is one of these, otherwise the error.
    OneOf(&'static [u32], u32),
    /// `EPERM` if argument 1 is one of these, otherwise made.
    NoneOf(&'static [u32]),
}

/// Numbers from here on have no entry in the table, and x32's begin at 0x4000_0000.
pub const NUMBERS: usize = 512;

/// The verdict on each number.
pub type Table = [Verdict; NUMBERS];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

// linux/filter.h: class, size or comparison, and where the operand is.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`. Of an argument only the low half is looked at, as the kernel
// does with what is an `int` to it: a flag in the high half would otherwise hide the low one.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT_0: u32 = 16;
const ARGUMENT_1: u32 = 24;

// linux/seccomp.h
const KILL: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const fn errno(number: i32) -> u32 {
    0x0005_0000 | number.cast_unsigned()
}

/// A program while it grows. Longer ones do not compile.
pub struct Program {
    instructions: [Instruction; 1024],
    length: usize,
}

impl Program {
    /// The program that gives the table's verdicts.
    pub const fn of(table: &Table) -> Self {
        let nothing = Instruction { code: 0, jt: 0, jf: 0, k: 0 };
        let mut program = Self { instructions: [nothing; 1024], length: 0 };
        program.push(LOAD, ARCH, 0, 0);
        program.push(JUMP_IF_EQUAL, ARCHITECTURE, 1, 0);
        program.push(RETURN, KILL, 0, 0);
        program.push(LOAD, NUMBER, 0, 0);
        let runs = Runs::of(table);
        program.decide(table, &runs, 0, runs.count);
        program
    }

    /// How many instructions it has.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Its instructions; `N` is its [`len`](Self::len).
    pub const fn instructions<const N: usize>(&self) -> [Instruction; N] {
        assert!(N == self.length);
        let mut all = [self.instructions[0]; N];
        let mut at = 0;
        while at < N {
            all[at] = self.instructions[at];
            at += 1;
        }
        all
    }

    const fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.instructions[self.length] = Instruction { code, jt, jf, k };
        self.length += 1;
    }

    /// The verdict on a number that is known to be in the runs `first..end`, by halving them.
    const fn decide(&mut self, table: &Table, runs: &Runs, first: usize, end: usize) {
        if end - first == 1 {
            return self.give(table[runs.starts[first]]);
        }
        let middle = usize::midpoint(first, end);
        let jump = self.length;
        self.push(JUMP_IF_AT_LEAST, runs.starts[middle] as u32, 0, 0);
        self.decide(table, runs, first, middle);
        let distance = self.length - jump - 1;
        assert!(distance <= u8::MAX as usize, "a conditional jump has eight bits");
        self.instructions[jump].jt = distance as u8;
        self.decide(table, runs, middle, end);
    }

    const fn give(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Unknown => self.push(RETURN, errno(libc::ENOSYS), 0, 0),
            Verdict::Allow => self.push(RETURN, ALLOW, 0, 0),
            Verdict::Refuse => self.push(RETURN, errno(libc::EPERM), 0, 0),
            Verdict::Without(bits) => {
                self.push(LOAD, ARGUMENT_0, 0, 0);
                self.push(JUMP_IF_ANY_BIT, bits, 1, 0);
                self.push(RETURN, ALLOW, 0, 0);
                self.push(RETURN, errno(libc::EPERM), 0, 0);
            }
            Verdict::OneOf(values, otherwise) => {
                self.compare(ARGUMENT_0, values, ALLOW, errno(otherwise.cast_signed()));
            }
            Verdict::NoneOf(values) => {
                self.compare(ARGUMENT_1, values, errno(libc::EPERM), ALLOW);
            }
        }
    }

    const fn compare(&mut self, argument: u32, values: &[u32], equal: u32, otherwise: u32) {
        self.push(LOAD, argument, 0, 0);
        let mut at = 0;
        while at < values.len() {
            // Past the comparisons that are left and the answer after them.
            self.push(JUMP_IF_EQUAL, values[at], (values.len() - at) as u8, 0);
            at += 1;
        }
        self.push(RETURN, otherwise, 0, 0);
        self.push(RETURN, equal, 0, 0);
    }
}

/// Where in the table another verdict begins. What lies behind the table belongs to the last run,
/// which is of unknown calls.
struct Runs {
    starts: [usize; NUMBERS],
    count: usize,
}

impl Runs {
    const fn of(table: &Table) -> Self {
        assert!(matches!(table[NUMBERS - 1], Verdict::Unknown));
        let mut runs = Self { starts: [0; NUMBERS], count: 1 };
        let mut number = 1;
        while number < NUMBERS {
            if !same(table[number - 1], table[number]) {
                runs.starts[runs.count] = number;
                runs.count += 1;
            }
            number += 1;
        }
        runs
    }
}

/// Whether two verdicts can share a leaf. Those that look at arguments stand alone.
const fn same(one: Verdict, other: Verdict) -> bool {
    matches!(
        (one, other),
        (Verdict::Unknown, Verdict::Unknown)
            | (Verdict::Allow, Verdict::Allow)
            | (Verdict::Refuse, Verdict::Refuse)
    )
}
