//! The file system as a journal sees it, so that a test can put a failing one in its place.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, IoSlice, Read, Seek, SeekFrom, Write},
    path::Path,
    time::UNIX_EPOCH,
};

use crate::event::Timestamp;

/// A file system.
///
/// Nothing is durable before it is synced: the bytes and the length of a file by
/// [`StoredFile::sync`], that a name stands for a file (or for none any more) by
/// [`Storage::sync_directory`].
pub trait Storage: fmt::Debug + Send + Sync {
    /// Makes a directory and those above it, where they are missing.
    ///
    /// # Errors
    /// The system refuses.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// The files of a directory, in any order.
    ///
    /// # Errors
    /// The system refuses.
    fn list(&self, directory: &Path) -> io::Result<Vec<Listed>>;

    /// Opens a file.
    ///
    /// # Errors
    /// The system refuses; there is no such file, or, for [`Access::Create`], there is one.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn StoredFile>>;

    /// Gives a file another name in the same directory, in the place of the file that had it.
    ///
    /// # Errors
    /// The system refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The system refuses.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Locks a file, which is made if it is missing, for as long as what is given lives. `None`:
    /// somebody else has locked it.
    ///
    /// # Errors
    /// The system refuses.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}

/// A lock that is given back when it is dropped.
pub trait Lock: fmt::Debug + Send + Sync {}

/// An open file.
#[expect(
    clippy::len_without_is_empty,
    reason = "whether a file is empty is nothing that a journal asks"
)]
pub trait StoredFile: fmt::Debug + Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The system refuses.
    fn len(&mut self) -> io::Result<u64>;

    /// Reads bytes from `offset` on; 0 only at the end.
    ///
    /// # Errors
    /// The system refuses.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes of all slices from `offset` on.
    ///
    /// # Errors
    /// The system refuses; some of the bytes may have been written.
    fn write_at(&mut self, offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Cuts the file off, or fills it up with zeros.
    ///
    /// # Errors
    /// The system refuses.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// The system refuses. What was written since the last sync may then be lost even if a later
    /// sync succeeds: the system may have forgotten that it was not written.
    fn sync(&mut self) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be read.
    Read,
    /// To be read and written. It exists.
    Write,
    /// To be read and written. It does not exist yet.
    Create,
}

/// A file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// When it was written last.
    pub modified: Timestamp,
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // It was removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // A name that is no text is none of ours.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if metadata.is_file() {
                let age = metadata.modified()?.duration_since(UNIX_EPOCH);
                let nanos = age.map_or(0, |age| age.as_nanos());
                files.push(Listed {
                    name,
                    len: metadata.len(),
                    modified: Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX)),
                });
            }
        }
        Ok(files)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn StoredFile>> {
        let mut options = OpenOptions::new();
        match access {
            Access::Read => options.read(true),
            Access::Write => options.read(true).write(true),
            Access::Create => options.read(true).write(true).create_new(true),
        };
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        OpenOptions::new().read(true).open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Lock for File {}

impl StoredFile for File {
    fn len(&mut self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.seek(SeekFrom::Start(offset))?;
        self.read(buffer)
    }

    fn write_at(&mut self, offset: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset))?;
        // An empty slice at the front would look like a write that got nowhere.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        // Flushes the length too, where it has changed.
        self.sync_data()
    }
}

/// Reads an open file from an offset to where it ended when it was opened: what a writer adds
/// meanwhile is not seen half.
#[derive(Debug)]
pub(super) struct Bounded {
    file: Box<dyn StoredFile>,
    offset: u64,
    end: u64,
}

impl Bounded {
    /// Starts at `offset`.
    ///
    /// # Errors
    /// The system refuses, or the file ends before (`UnexpectedEof`).
    pub(super) fn new(mut file: Box<dyn StoredFile>, offset: u64) -> io::Result<Self> {
        let end = file.len()?;
        if offset > end {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it has only {end} bytes"),
            ));
        }
        Ok(Self { file, offset, end })
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let len = buffer.len().min(left);
        if len == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(self.offset, &mut buffer[..len])?;
        self.offset += read as u64;
        Ok(read)
    }
}
