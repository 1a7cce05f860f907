//! Files with holes: the four ways in which GNU tar has written them.

use ::tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::pax::number;
use super::{BLOCK, bad, damage, without_zero};
use crate::error::Result;

/// A file of more pieces is an attempt to fill the memory.
const MOST_PIECES: usize = 1 << 20;

/// A file with holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::image) struct Sparse {
    /// Its size with its holes.
    pub(in crate::image) size: u64,
    /// Where data is, and how much, in ascending order.
    pub(in crate::image) pieces: Vec<(u64, u64)>,
}

impl Sparse {
    /// Refuses pieces that overlap or do not hold exactly what is stored.
    pub(super) fn check(&self, stored: u64) -> Result<()> {
        let (mut end, mut sum) = (0, 0_u64);
        for (offset, length) in &self.pieces {
            let next = offset.checked_add(*length);
            match next.filter(|next| *offset >= end && *next <= self.size) {
                Some(next) => end = next,
                None => return Err(bad("a sparse file's pieces are out of order")),
            }
            sum += length;
        }
        if sum == stored {
            Ok(())
        } else {
            Err(bad("a sparse file's pieces are not what is stored"))
        }
    }

    fn push(&mut self, offset: u64, length: u64) -> Result<()> {
        if self.pieces.len() == MOST_PIECES {
            return Err(bad("a sparse file has too many pieces"));
        }
        self.pieces.push((offset, length));
        Ok(())
    }
}

/// GNU tar's own format, with the map in the header and in blocks after it.
pub(super) fn of_gnu_header(
    header: &Header,
    mut next_block: impl FnMut() -> Result<[u8; BLOCK]>,
) -> Result<Sparse> {
    let header = header.as_gnu().ok_or_else(|| bad("a sparse file has no GNU header"))?;
    let mut sparse = Sparse { size: header.real_size().map_err(damage)?, pieces: Vec::new() };
    add(&mut sparse, &header.sparse)?;
    let mut goes_on = header.is_extended();
    while goes_on {
        let mut extension = GnuExtSparseHeader::new();
        *extension.as_mut_bytes() = next_block()?;
        add(&mut sparse, &extension.sparse)?;
        goes_on = extension.is_extended();
    }
    Ok(sparse)
}

fn add(sparse: &mut Sparse, pieces: &[GnuSparseHeader]) -> Result<()> {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        sparse.push(piece.offset().map_err(damage)?, piece.length().map_err(damage)?)?;
    }
    Ok(())
}

/// What pax records say of a sparse file.
#[derive(Debug, Clone, Default)]
pub(super) struct Described {
    pub(super) name: Option<Vec<u8>>,
    major: u64,
    size: Option<u64>,
    sparse: Sparse,
    offset: Option<u64>,
}

impl Described {
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"name" => self.name = Some(without_zero(value.to_vec())?),
            b"major" => self.major = number(value)?,
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"offset" => self.offset = Some(number(value)?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or_else(|| bad("a piece has no offset"))?;
                self.sparse.push(offset, number(value)?)?;
            }
            b"map" => {
                let numbers: Vec<u64> =
                    value.split(|byte| *byte == b',').map(number).collect::<Result<_>>()?;
                let (pieces, rest) = numbers.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err(bad("a sparse file's map is damaged"));
                }
                pieces
                    .iter()
                    .try_for_each(|[offset, length]| self.sparse.push(*offset, *length))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The whole map. Since version 1.0 it stands before the content, a number a line.
    pub(super) fn resolve(self, next_block: impl FnMut() -> Result<[u8; BLOCK]>) -> Result<Sparse> {
        let size = self.size.ok_or_else(|| bad("a sparse file has no size"))?;
        let mut sparse = Sparse { size, ..self.sparse };
        match self.major {
            0 => {}
            1 => {
                let mut numbers = Numbers { next_block, block: [0; BLOCK], at: BLOCK };
                for _ in 0..numbers.next()? {
                    sparse.push(numbers.next()?, numbers.next()?)?;
                }
            }
            major => return Err(bad(format!("a sparse file is of format {major}"))),
        }
        Ok(sparse)
    }
}

/// Numbers, a line each, in blocks.
struct Numbers<F> {
    next_block: F,
    block: [u8; BLOCK],
    at: usize,
}

impl<F: FnMut() -> Result<[u8; BLOCK]>> Numbers<F> {
    fn next(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                self.block = (self.next_block)()?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' if !digits.is_empty() => return number(&digits),
                b'0'..=b'9' if digits.len() < 20 => digits.push(byte),
                _ => return Err(bad("a sparse file's map is damaged")),
            }
        }
    }
}
