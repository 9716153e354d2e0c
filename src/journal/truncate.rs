//! Cuts a damaged journal off, and keeps what was cut off beside it.

use std::{
    io::IoSlice,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    DataDir, JournalError, Position,
    chain::{self, Opener},
    error::failed,
    frame::Found,
    snapshot::Snapshots,
    storage::{Access, Storage},
};

/// What a cut off part of a file is called.
const CUT_END: &str = "cut";
/// Bytes that are copied at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What was cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Whole entries that were given up.
    pub entries: u64,
    /// The files that hold what was cut off.
    pub kept: Vec<PathBuf>,
    /// Snapshots that were taken after the cut, now set aside under these names.
    pub snapshots: Vec<PathBuf>,
}

/// Cuts the journal of a data directory off at a place where a frame starts, or should.
///
/// # Errors
/// No frame starts there, the engine does not need what stands there, or the file system refuses.
/// What was done until then may be done again.
pub fn truncate(data: &DataDir, at: Position) -> Result<Cut, JournalError> {
    let storage = data.storage();
    let directory = data.journal();
    let files = chain::numbered(&**storage, &directory)?;
    let refused = |problem: String| JournalError::NoCut {
        path: directory.clone(),
        position: at,
        problem,
    };
    let opener = Opener::of(storage);
    let later: Vec<(u64, PathBuf)> = files
        .range(at.segment..)
        .filter(|(number, _)| at.segment < **number || at.offset == 0)
        .map(|(number, path)| (*number, path.clone()))
        .collect();
    let cut_segment = files.get(&at.segment).filter(|_| at.offset > 0);
    match cut_segment {
        Some(path) => check_boundary(&opener, path, at.offset).map_err(|error| match error {
            Ok(problem) => refused(problem),
            Err(error) => error,
        })?,
        None if later.is_empty() || at.offset > 0 => {
            return Err(refused("there is no such segment".to_owned()));
        }
        None => {}
    }
    let late = late_snapshots(data, at)?.map_err(refused)?;
    let mut cut = Cut::default();
    for path in late {
        cut.snapshots.push(set_aside(storage, &path)?);
    }
    sync(storage, &data.snapshots())?;
    // From the last one on: wherever this is interrupted, the journal has no gap.
    for (_, path) in later.iter().rev() {
        cut.entries += opener.entries_from(path, 0)?;
        cut.kept.push(set_aside(storage, path)?);
        sync(storage, &directory)?;
    }
    if let Some(path) = cut_segment {
        cut.entries += opener.entries_from(path, at.offset)?;
        cut.kept.push(cut_file(storage, path, at.offset)?);
        sync(storage, &directory)?;
    }
    cut.kept.reverse();
    Ok(cut)
}

/// Holds that whole frames lead up to the offset. `Ok` in the error says why they do not.
fn check_boundary(
    opener: &Opener,
    path: &Path,
    offset: u64,
) -> Result<(), Result<String, JournalError>> {
    let failed = |error| Err(failed("read", path)(error));
    let mut frames = opener.open(path, 0).map_err(failed)?;
    if frames.magic().map_err(failed)?.is_err() {
        return Err(Ok(
            "the segment is damaged from its start: cut at its byte 0".to_owned(),
        ));
    }
    while frames.offset < offset {
        let before = frames.offset;
        match frames.next().map_err(failed)? {
            Found::Frame(_) => {}
            Found::End => return Err(Ok(format!("the segment ends at byte {before}"))),
            Found::Bad(_) => {
                return Err(Ok(format!(
                    "the segment is damaged before, at byte {before}"
                )));
            }
        }
    }
    if offset < frames.offset {
        let end = frames.offset;
        return Err(Ok(format!(
            "no entry starts there, the next one does at byte {end}"
        )));
    }
    Ok(())
}

/// The snapshots that were taken after the cut. `Err` inside says why the cut is of no use.
fn late_snapshots(
    data: &DataDir,
    at: Position,
) -> Result<Result<Vec<PathBuf>, String>, JournalError> {
    let heads = Snapshots::heads(data.storage(), &data.snapshots())?;
    if let Some((path, head)) = heads.last()
        && at < head.resume_from
    {
        return Ok(Err(format!(
            "an engine resumes from {} on, by {}, and needs nothing before: only recordings of that \
             time are damaged",
            head.resume_from,
            path.display()
        )));
    }
    let is_late =
        |(path, head): (PathBuf, super::SnapshotHead)| (at < head.taken_at).then_some(path);
    Ok(Ok(heads.into_iter().filter_map(is_late).collect()))
}

/// Copies the end of a file beside it, and cuts it off.
fn cut_file(storage: &Arc<dyn Storage>, path: &Path, offset: u64) -> Result<PathBuf, JournalError> {
    let kept = free_name(storage, path)?;
    let mut source = storage
        .open(path, Access::Write)
        .map_err(failed("open", path))?;
    let mut copy = storage
        .open(&kept, Access::Create)
        .map_err(failed("create", &kept))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut copied = 0;
    loop {
        let read = source
            .read_at(offset + copied, &mut chunk)
            .map_err(failed("read", path))?;
        if read == 0 {
            break;
        }
        copy.write_at(copied, &mut [IoSlice::new(&chunk[..read])])
            .map_err(failed("write", &kept))?;
        copied += read as u64;
    }
    copy.sync().map_err(failed("sync", &kept))?;
    if let Some(directory) = path.parent() {
        sync(storage, directory)?;
    }
    source
        .set_len(offset)
        .and_then(|()| source.sync())
        .map_err(failed("cut off", path))?;
    Ok(kept)
}

fn set_aside(storage: &Arc<dyn Storage>, path: &Path) -> Result<PathBuf, JournalError> {
    let kept = free_name(storage, path)?;
    storage
        .rename(path, &kept)
        .map_err(failed("rename", path))?;
    Ok(kept)
}

/// The first name after that of the file that nothing has: `….cut`, `….2.cut`, ….
fn free_name(storage: &Arc<dyn Storage>, path: &Path) -> Result<PathBuf, JournalError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let files = storage
        .list(directory)
        .map_err(failed("look into", directory))?;
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut free = format!("{name}.{CUT_END}");
    let mut number = 2_u64;
    while files.iter().any(|file| file.name == free) {
        free = format!("{name}.{number}.{CUT_END}");
        number += 1;
    }
    Ok(directory.join(free))
}

fn sync(storage: &Arc<dyn Storage>, directory: &Path) -> Result<(), JournalError> {
    storage
        .sync_directory(directory)
        .map_err(failed("sync", directory))
}
