//! Appends inputs to a journal.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{Entry, JournalError, MAGIC};

/// Frames above this size do not leave their buffer behind.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Appends entries to the file `inputs.journal` of a directory.
///
/// Each entry is handed to the operating system in one write before [`Writer::append`] returns, so
/// that it outlives a killed process; [`Writer::flush`] makes it outlive the machine.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    /// Length of the file up to the end of the last whole frame.
    whole_len: u64,
    /// False after a failed write that could not be taken back.
    usable: bool,
    buffer: Vec<u8>,
    /// Held as long as the writer lives.
    _lock: File,
}

impl Writer {
    /// Name of the journal in its directory.
    pub const FILE_NAME: &'static str = "inputs.journal";

    /// Starts a journal in `directory`, which is made if it is missing. The journal of an earlier
    /// run is kept under the first free name of `inputs.1.journal`, `inputs.2.journal`, ….
    ///
    /// # Errors
    /// Another process writes there, or the file system refuses.
    pub fn create(directory: &Path) -> Result<Self, JournalError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |error| JournalError::Io {
                path,
                action,
                error,
            }
        };
        fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
        let lock = Self::lock(&directory.join("lock"))?;
        let path = directory.join(Self::FILE_NAME);
        if path.try_exists().map_err(failed("look at", &path))? {
            let kept = free_name(directory).map_err(failed("look into", directory))?;
            fs::rename(&path, &kept).map_err(failed("rename", &path))?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        file.write_all(&MAGIC).map_err(failed("write", &path))?;
        Ok(Self {
            file,
            path,
            whole_len: MAGIC.len() as u64,
            usable: true,
            buffer: Vec::new(),
            _lock: lock,
        })
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes written so far.
    pub fn len_bytes(&self) -> u64 {
        self.whole_len
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// The entry is too large, or the file system refuses. What was written of the entry is taken
    /// back; where even that fails, every later call fails too.
    pub fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        if !self.usable {
            return Err(JournalError::Closed {
                path: self.path.clone(),
            });
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        entry
            .frame(&mut self.buffer)
            .map_err(|problem| JournalError::BadEntry {
                path: self.path.clone(),
                problem,
            })?;
        if let Err(error) = self.file.write_all(&self.buffer) {
            self.usable = self.take_back().is_ok();
            return Err(self.failed("write", error));
        }
        self.whole_len += self.buffer.len() as u64;
        Ok(())
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.file
            .sync_data()
            .map_err(|error| self.failed("flush", error))
    }

    /// A writer that never finds room.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn on_a_full_disk() -> Self {
        let path = PathBuf::from("/dev/full");
        let open = || {
            OpenOptions::new()
                .write(true)
                .open(&path)
                .expect("linux has /dev/full")
        };
        Self {
            file: open(),
            whole_len: 0,
            usable: true,
            buffer: Vec::new(),
            _lock: open(),
            path,
        }
    }

    fn lock(path: &Path) -> Result<File, JournalError> {
        let failed = |error| JournalError::Io {
            path: path.to_owned(),
            action: "lock",
            error,
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(JournalError::Locked {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.whole_len)?;
        self.file.seek(SeekFrom::Start(self.whole_len)).map(|_| ())
    }

    fn failed(&self, action: &'static str, error: io::Error) -> JournalError {
        JournalError::Io {
            path: self.path.clone(),
            action,
            error,
        }
    }
}

fn free_name(directory: &Path) -> io::Result<PathBuf> {
    let mut number = 1_u64;
    loop {
        let name = directory.join(format!("inputs.{number}.journal"));
        if !name.try_exists()? {
            return Ok(name);
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_failed_write_closes_the_journal_when_it_cannot_be_taken_back() {
        use super::*;
        use crate::event::Timestamp;

        let mut writer = Writer::on_a_full_disk();
        let tick = Entry::Tick(Timestamp::MIN);
        assert!(matches!(
            writer.append(&tick),
            Err(JournalError::Io {
                action: "write",
                ..
            })
        ));
        assert!(matches!(
            writer.append(&tick),
            Err(JournalError::Closed { .. })
        ));
        assert_eq!(writer.len_bytes(), 0);
    }
}
