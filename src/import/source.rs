//! Opens the text to import: a file or standard input, compressed or not.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::output::ImportError;
use crate::input::is_endless;

/// How many bytes at the start identify the kind of a file.
const MAGIC: usize = 8;

/// Text to import. It is opened when it is read, since `strace -ff` writes one file per task.
pub struct ImportSource {
    name: String,
    input: Input,
}

enum Input {
    Stdin,
    File(PathBuf),
    Reader(Box<dyn Read>),
}

impl ImportSource {
    /// The text of a file, which can be compressed with gzip(1) (with any number of members); `-` is standard input.
    #[must_use]
    pub fn file(path: &Path) -> ImportSource {
        ImportSource {
            name: path.display().to_string(),
            input: if path == Path::new("-") {
                Input::Stdin
            } else {
                Input::File(path.to_owned())
            },
        }
    }

    /// The text of a reader, which can be compressed too.
    pub fn new(name: &str, reader: impl Read + 'static) -> ImportSource {
        ImportSource {
            name: name.to_owned(),
            input: Input::Reader(Box::new(reader)),
        }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn open(self) -> Result<Box<dyn Read>, ImportError> {
        let name = self.name;
        match self.input {
            Input::Stdin => text_of(name, Box::new(io::stdin().lock())),
            Input::Reader(reader) => text_of(name, reader),
            Input::File(path) => match open_file(&path) {
                Ok(file) => text_of(name, Box::new(file)),
                Err(source) => Err(ImportError::Open { name, source }),
            },
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // open(2) opens directories too.
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if is_endless(&file, &metadata) {
        return Err(io::Error::other("it is a device, which may have no end"));
    }
    Ok(file)
}

fn text_of(name: String, mut reader: Box<dyn Read>) -> Result<Box<dyn Read>, ImportError> {
    let mut start = Vec::with_capacity(MAGIC);
    if let Err(source) = (&mut reader).take(MAGIC as u64).read_to_end(&mut start) {
        return Err(ImportError::Read { name, source });
    }
    let (what, with) = match start.as_slice() {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ("compressed", "xzcat"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("compressed", "zstdcat"),
        [b'B', b'Z', b'h', ..] => ("compressed", "bzcat"),
        b"NODE,EVE" => {
            let what = "ausearch's CSV, which lacks the numbers of the calls";
            let with = "ausearch --raw".to_owned();
            return Err(ImportError::NotText { name, what, with });
        }
        b"LPKSHHRH" => ("a journal of systemd", "journalctl -o export --file"),
        _ => {
            let gzip = start.starts_with(&[0x1f, 0x8b]);
            let whole = Cursor::new(start).chain(reader);
            return Ok(if gzip {
                Box::new(MultiGzDecoder::new(BufReader::new(whole)))
            } else {
                Box::new(whole)
            });
        }
    };
    let with = format!("{with} {name}");
    Err(ImportError::NotText { name, what, with })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(bytes: Vec<u8>) -> Result<String, String> {
        let opened = ImportSource::new("x", Cursor::new(bytes)).open();
        let mut text = String::new();
        (opened.map_err(|error| error.to_string())?)
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_whatever_the_name_of_the_file_and_with_several_members() {
        let two = [gzip("one\n"), gzip("two\n")].concat();
        assert_eq!(read(two), Ok("one\ntwo\n".to_owned()));
        assert_eq!(read(gzip("")), Ok(String::new()));
        for plain in ["", "a", "type=SECCOMP\n"] {
            assert_eq!(read(plain.into()), Ok(plain.to_owned()));
        }
    }

    #[test]
    fn a_binary_file_is_refused_with_the_command_that_converts_it() {
        let check = |bytes: &[u8], with: &str| {
            let error = read(bytes.to_vec()).unwrap_err();
            assert!(error.ends_with(&format!("`{with}`")), "{error}");
        };
        check(b"\xfd7zXZ\0...", "xzcat x");
        check(b"\x28\xb5\x2f\xfd...", "zstdcat x");
        check(b"BZh91AY", "bzcat x");
        check(b"LPKSHHRH...", "journalctl -o export --file x");
        check(b"NODE,EVENT,DATE,TIME,...", "ausearch --raw");
    }
}
