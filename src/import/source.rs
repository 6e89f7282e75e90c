//! Where text comes from: a file, standard input, compressed or not.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::Error;

/// How many first bytes tell what a file is.
const MAGIC: usize = 8;

/// Text to import, by its name in messages.
pub struct Source {
    pub(super) name: String,
    pub(super) reader: Box<dyn Read>,
}

impl Source {
    /// Opens a file; `-` is standard input. What gzip(1) wrote (of any number of members) is unpacked.
    pub fn open(path: &Path) -> Result<Source, Error> {
        if path == Path::new("-") {
            return Source::new("-", io::stdin().lock());
        }
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| {
            // open(2) opens a directory.
            if file.metadata()?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(file)
        });
        match opened {
            Ok(file) => Source::new(&name, file),
            Err(source) => Err(Error::Open { name, source }),
        }
    }

    /// Takes the text of a reader, which may be compressed as that of a file.
    pub fn new(name: &str, mut reader: impl Read + 'static) -> Result<Source, Error> {
        let name = name.to_owned();
        let mut start = Vec::with_capacity(MAGIC);
        if let Err(source) = (&mut reader).take(MAGIC as u64).read_to_end(&mut start) {
            return Err(Error::Read { name, source });
        }
        let not_text = |what, with: &str| {
            Err(Error::NotText {
                what,
                with: with.replace("FILE", &name),
                name: name.clone(),
            })
        };
        match start.as_slice() {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => not_text("compressed", "xzcat FILE"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => not_text("compressed", "zstdcat FILE"),
            [b'B', b'Z', b'h', ..] => not_text("compressed", "bzcat FILE"),
            b"LPKSHHRH" => not_text(
                "a journal of systemd",
                "journalctl --file FILE --output export",
            ),
            _ => {
                let gzip = start.starts_with(&[0x1f, 0x8b]);
                let whole = Cursor::new(start).chain(reader);
                let reader: Box<dyn Read> = if gzip {
                    Box::new(MultiGzDecoder::new(BufReader::new(whole)))
                } else {
                    Box::new(whole)
                };
                Ok(Source { name, reader })
            }
        }
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(bytes: Vec<u8>) -> Result<String, String> {
        let mut source = Source::new("x", Cursor::new(bytes)).map_err(|error| error.to_string())?;
        let mut text = String::new();
        (source.reader.read_to_string(&mut text)).map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_whatever_the_file_is_called_and_in_several_members() {
        let two = [gzip("one\n"), gzip("two\n")].concat();
        assert_eq!(read(two), Ok("one\ntwo\n".to_owned()));
        assert_eq!(read(gzip("")), Ok(String::new()));
        for plain in ["", "a", "type=SECCOMP\n"] {
            assert_eq!(read(plain.into()), Ok(plain.to_owned()));
        }
    }

    #[test]
    fn what_is_not_text_is_refused_with_what_to_do() {
        let check = |bytes: &[u8], with: &str| {
            let error = read(bytes.to_vec()).unwrap_err();
            assert!(error.ends_with(&format!("`{with}`")), "{error}");
        };
        check(b"\xfd7zXZ\0...", "xzcat x");
        check(b"\x28\xb5\x2f\xfd...", "zstdcat x");
        check(b"BZh91AY", "bzcat x");
        check(b"LPKSHHRH...", "journalctl --file x --output export");
    }
}
