//! Splits input into lines of any bytes and any length, in bounded memory.

use std::io::{self, ErrorKind, Read};

use memchr::memchr;

/// The size of a read.
const CHUNK: usize = 256 << 10;

/// Splits input into lines.
pub(crate) struct LineReader<R> {
    reader: R,
    /// Longer lines are cut to this many bytes.
    limit: usize,
    buffer: Vec<u8>,
    /// The unread part of `buffer`.
    start: usize,
    end: usize,
    number: u64,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InputLine<'a> {
    /// The line without its end (`\n` or `\r\n`).
    pub(crate) text: &'a [u8],
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Whether it was cut.
    pub(crate) cut: bool,
    /// Whether it had a line end. The last line of a file may have none.
    pub(crate) ended: bool,
}

impl<R: Read> LineReader<R> {
    pub(crate) fn new(reader: R, limit: usize) -> LineReader<R> {
        LineReader {
            reader,
            limit,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            number: 0,
        }
    }

    /// The next line, or `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<InputLine<'_>>> {
        let mut searched = 0;
        let length = loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.start + searched..self.end]) {
                break searched + at;
            }
            searched = self.end - self.start;
            if searched > self.limit {
                return self.cut_line().map(Some);
            }
            if self.fill()? == 0 {
                if searched == 0 {
                    return Ok(None);
                }
                let from = std::mem::replace(&mut self.start, self.end);
                return Ok(Some(self.line(from, searched, false)));
            }
        };
        let from = self.start;
        self.start += length + 1;
        let limit = self.limit;
        let mut line = self.line(from, length.min(limit), true);
        line.cut = length > limit;
        Ok(Some(line))
    }

    /// The number of the latest line.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Reads a binary number: eight bytes, little-endian. `None` at the end of the input.
    pub(crate) fn number_le(&mut self) -> io::Result<Option<u64>> {
        while self.end - self.start < 8 {
            if self.fill()? == 0 {
                self.start = self.end;
                return Ok(None);
            }
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.buffer[self.start..self.start + 8]);
        self.start += 8;
        Ok(Some(u64::from_le_bytes(bytes)))
    }

    /// Skips bytes, up to the end of the input.
    pub(crate) fn skip(&mut self, mut count: u64) -> io::Result<()> {
        loop {
            let here = self.end - self.start;
            match usize::try_from(count) {
                Ok(count) if count <= here => {
                    self.start += count;
                    return Ok(());
                }
                _ => count -= here as u64,
            }
            self.start = self.end;
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    /// The start of a line that is longer than the limit. The rest is read and dropped.
    fn cut_line(&mut self) -> io::Result<InputLine<'_>> {
        self.compact();
        let (rest, ended) = loop {
            if let Some(at) = memchr(b'\n', &self.buffer[self.limit..self.end]) {
                break (self.limit + at + 1, true);
            }
            self.end = self.limit;
            if self.read()? == 0 {
                break (self.end, false);
            }
        };
        self.start = rest;
        let limit = self.limit;
        let mut line = self.line(0, limit, ended);
        line.cut = true;
        Ok(line)
    }

    fn line(&mut self, from: usize, length: usize, ended: bool) -> InputLine<'_> {
        self.number += 1;
        let text = &self.buffer[from..from + length];
        InputLine {
            text: text.strip_suffix(b"\r").unwrap_or(text),
            number: self.number,
            cut: false,
            ended,
        }
    }

    /// Reads more into the buffer. 0 at the end of the input.
    fn fill(&mut self) -> io::Result<usize> {
        if self.end == self.buffer.len() {
            self.compact();
        }
        self.read()
    }

    fn compact(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    fn read(&mut self) -> io::Result<usize> {
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end + CHUNK, 0);
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns at most this many bytes at once.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let at_once = self.1.min(buffer.len());
            self.0.read(&mut buffer[..at_once])
        }
    }

    fn lines(bytes: &[u8], at_once: usize, limit: usize) -> Vec<(Vec<u8>, bool, bool)> {
        let mut lines = LineReader::new(Slow(bytes, at_once), limit);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            assert_eq!(line.number, all.len() as u64 + 1);
            all.push((line.text.to_vec(), line.cut, line.ended));
        }
        all
    }

    proptest! {
        #[test]
        fn lines_are_the_bytes_between_newlines(
            bytes in prop::collection::vec(prop::sample::select(b"ab\n\r\0\xff".to_vec()), 0..200),
            at_once in 1_usize..20,
            limit in 1_usize..20,
        ) {
            let mut parts: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
            let last = parts.pop().unwrap();
            let parts = parts.into_iter().map(|part| (part, true));
            let last = (!last.is_empty()).then_some((last, false));
            let expected: Vec<_> = parts.chain(last).map(|(part, ended)| {
                let cut = part.len() > limit;
                let part = &part[..part.len().min(limit)];
                (part.strip_suffix(b"\r").unwrap_or(part).to_vec(), cut, ended)
            }).collect();
            prop_assert_eq!(lines(&bytes, at_once, limit), expected);
        }
    }

    #[test]
    fn a_line_of_a_gigabyte_uses_no_more_memory_than_its_limit() {
        let line = io::repeat(b'x').take(1 << 30);
        let mut lines = LineReader::new(line.chain(&b"\nnext"[..]), 1000);
        let first = lines.next().unwrap().unwrap();
        assert_eq!((first.text.len(), first.cut), (1000, true));
        assert_eq!(lines.next().unwrap().unwrap().text, b"next");
        assert!(lines.buffer.len() <= 2 * CHUNK, "{}", lines.buffer.len());
    }

    #[test]
    fn bytes_between_lines_can_be_read_and_skipped() {
        let mut bytes = b"first\n\x03\0\0\0\0\0\0\0\n\n\nnext\n".to_vec();
        bytes.extend([9, 0, 0]);
        let mut lines = LineReader::new(Slow(&bytes, 3), 100);
        assert_eq!(lines.next().unwrap().unwrap().text, b"first");
        assert_eq!(lines.number_le().unwrap(), Some(3));
        lines.skip(3).unwrap();
        assert_eq!(lines.next().unwrap().unwrap().text, b"next");
        assert_eq!(lines.number_le().unwrap(), None);
        lines.skip(u64::MAX).unwrap();
        assert_eq!(lines.next().unwrap(), None);
    }
}
