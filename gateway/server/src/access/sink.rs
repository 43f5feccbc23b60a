//! Where the access log goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use crate::events::log;

/// A file, or standard output. Failures are told of once, and when they are over.
pub(super) struct Sink {
    /// `None`: standard output.
    path: Option<PathBuf>,
    file: Option<File>,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

impl Sink {
    /// # Errors
    /// When the file cannot be opened for appending.
    pub(super) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let file = path.as_ref().map(appended).transpose()?;
        Ok(Self {
            path,
            file,
            torn: false,
        })
    }

    /// Opens the file anew; where that fails it goes on in the old one.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match appended(path) {
            Ok(file) => {
                (self.file, self.torn) = (Some(file), false);
                log!(AccessLogReopened, path = %path.display(), "the access log goes on in a new file");
            }
            Err(error) => log!(AccessLogFailing,
                path = %path.display(),
                %error,
                "the access log could not be reopened and goes on in the old file"
            ),
        }
    }

    /// Writes whole lines; `Err` where they, or some of them, are lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), ()> {
        let written = match (&mut self.file, &self.path) {
            (Some(file), _) => put(file, self.torn, lines),
            (None, _) => {
                let mut out = io::stdout().lock();
                put(&mut out, self.torn, lines).and_then(|()| out.flush())
            }
        };
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.torn) {
                    log!(AccessLogRecovered, "the access log is written again");
                }
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.torn, true) {
                    log!(AccessLogFailing, %error, "the access log cannot be written: its lines are lost");
                }
                Err(())
            }
        }
    }
}

fn put(out: &mut impl Write, torn: bool, lines: &[u8]) -> io::Result<()> {
    if torn {
        out.write_all(b"\n")?;
    }
    out.write_all(lines)
}

/// A pipe is opened for reading too: so nobody waits for its reader, at the start least of all.
fn appended(path: &PathBuf) -> io::Result<File> {
    let is_pipe = fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    OpenOptions::new()
        .read(is_pipe)
        .append(true)
        .create(!is_pipe)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails once.
    struct Full(Vec<u8>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.1.min(bytes.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 -= room;
            self.0.extend(&bytes[..room]);
            Ok(room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_follows_a_torn_line_is_whole() {
        let mut disk = Full(Vec::new(), 8);
        assert!(put(&mut disk, false, b"one\n").is_ok());
        assert!(put(&mut disk, false, b"two and more\n").is_err());
        disk.1 = 100;
        assert!(put(&mut disk, true, b"three\n").is_ok());
        assert_eq!(disk.0, b"one\ntwo \nthree\n");
    }
}
