//! Just enough of the ELF format to tell a static binary from one that needs a dynamic loader.

use std::io;

const PT_INTERP: u32 = 3;

/// Where a class of ELF file keeps what is needed here.
struct Layout {
    word: usize,
    table_offset: usize,
    entry_size: usize,
    entry_count: usize,
}

const ELF32: Layout = Layout { word: 4, table_offset: 28, entry_size: 42, entry_count: 44 };
const ELF64: Layout = Layout { word: 8, table_offset: 32, entry_size: 54, entry_count: 56 };

/// Whether the file asks for no loader. A static-pie has a dynamic section all the same.
pub fn is_static(file: &[u8]) -> io::Result<bool> {
    let malformed =
        || io::Error::new(io::ErrorKind::InvalidData, "not an ELF file that this knows");
    let types = segment_types(file).ok_or_else(malformed)?;
    Ok(!types.contains(&PT_INTERP))
}

fn segment_types(file: &[u8]) -> Option<Vec<u32>> {
    let layout = match file.get(..6)? {
        [0x7f, b'E', b'L', b'F', 1, 1] => ELF32,
        [0x7f, b'E', b'L', b'F', 2, 1] => ELF64,
        _ => return None,
    };
    let start = number(file, layout.table_offset, layout.word)?;
    let size = number(file, layout.entry_size, 2)?;
    let count = number(file, layout.entry_count, 2)?;
    (0..count).map(|entry| u32::try_from(number(file, start + entry * size, 4)?).ok()).collect()
}

/// A little-endian number of so many bytes.
fn number(file: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf64(segments: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        (file[32], file[54], file[56]) = (64, 56, u8::try_from(segments.len()).unwrap());
        for segment in segments {
            file.extend(segment.to_le_bytes());
            file.extend([0; 52]);
        }
        file
    }

    #[test]
    fn an_interpreter_makes_it_dynamic() {
        assert!(is_static(&elf64(&[1, 2, 6])).unwrap());
        assert!(!is_static(&elf64(&[6, PT_INTERP, 1])).unwrap());
    }

    #[test]
    fn anything_else_is_an_error() {
        assert!(is_static(b"#!/bin/sh\n").is_err());
        assert!(is_static(b"").is_err());
        let mut cut = elf64(&[1, 2]);
        cut.truncate(100);
        assert!(is_static(&cut).is_err());
    }
}
