//! Decompression, by what the data begins with.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const BUFFER: usize = 128 * 1024;

const GZIP: &[u8] = &[0x1F, 0x8B];
const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
/// Formats that are told apart only to say so.
const OTHERS: [(&[u8], &str); 3] =
    [(b"BZh", "bzip2"), (&[0xFD, b'7', b'z', b'X', b'Z'], "xz"), (b"LZIP", "lzip")];

/// How data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// That of data with this beginning.
    pub(super) fn of(beginning: &[u8]) -> io::Result<Self> {
        if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| beginning.starts_with(magic)) {
            let message = format!("it is compressed with {name}; decompress it first");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(match beginning {
            _ if beginning.starts_with(GZIP) => Self::Gzip,
            _ if beginning.starts_with(ZSTD) || is_skippable(beginning) => Self::Zstd,
            _ => Self::None,
        })
    }
}

/// A zstd frame without data, which some writers begin with: RFC 8878, 3.1.2.
fn is_skippable(beginning: &[u8]) -> bool {
    matches!(beginning, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// What a stream holds, decompressed if need be.
pub(super) fn decompressed<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let beginning = read_up_to(&mut source, 8)?;
    let compression = Compression::of(&beginning)?;
    let whole = Cursor::new(beginning).chain(source);
    Ok(match compression {
        Compression::None => Box::new(BufReader::with_capacity(BUFFER, whole)),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole))),
        Compression::Zstd => Box::new(Frames::new(BufReader::with_capacity(BUFFER, whole))),
    })
}

/// So many bytes, or all if there are fewer.
pub(super) fn read_up_to(source: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.by_ref().take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All frames of a zstd stream, one after the other.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), within: false }
    }

    /// Whether there was another frame to begin.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.within = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(u64::from(length))?,
                Err(error) => return Err(invalid(error)),
            }
        }
        Ok(false)
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        match io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? {
            read if read == length => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn read_frame(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
            let some = BlockDecodingStrategy::UptoBlocks(1);
            self.decoder.decode_blocks(&mut self.source, some).map_err(invalid)?;
        }
        self.decoder.read(buffer)
    }

    fn verify(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(said), Some(found)) if said != found => Err(invalid("wrong checksum")),
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within && !self.begin()? {
                return Ok(0);
            }
            let read = self.read_frame(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.verify()?;
            self.within = false;
        }
    }
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        decompressed(bytes)?.read_to_end(&mut all)?;
        Ok(all)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn every_format_is_known_by_its_beginning() {
        let text = b"some text ".repeat(100_000);
        assert_eq!(read(&text).unwrap(), text);
        assert_eq!(read(&gzip(&text)).unwrap(), text);
        assert_eq!(read(&zstd(&text)).unwrap(), text);
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        assert_eq!(read(&[gzip(b"one"), gzip(b"two")].concat()).unwrap(), b"onetwo");
        let skippable = [0x51, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let frames = [&skippable[..], &zstd(b"one"), &skippable, &zstd(b"two"), &skippable];
        assert_eq!(read(&frames.concat()).unwrap(), b"onetwo");
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let text = b"some text ".repeat(1000);
        for whole in [gzip(&text), zstd(&text)] {
            assert!(read(&whole[..whole.len() - 1]).is_err());
            assert!(read(&whole[..whole.len() / 2]).is_err());
        }
        assert!(read(&[0x51, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn an_unknown_compression_is_named() {
        assert!(read(b"BZh91AY").unwrap_err().to_string().contains("bzip2"));
    }
}
