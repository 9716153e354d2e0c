//! A file system in memory that fails on demand and loses power.
//!
//! What is not synced may be lost in a loss of power, each block and each name for itself: wholly, in
//! part, or not at all. After a failed sync nobody sees a difference, but what it should have made
//! durable is only partly on the disk, and no later sync brings it there: the system takes it for
//! written.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::storage::{Access, Listed, Lock, Storage, StoredFile};
use crate::event::Timestamp;

/// Bytes that come to the disk together, or in part.
const BLOCK_BYTES: usize = 24;

/// The file system; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Model(Arc<Mutex<World>>);

/// What is asked of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Write,
    Sync,
    SetLen,
    Rename,
    Remove,
    SyncDirectory,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    NoSpace,
    Error,
    PowerCut,
}

/// Something that will go wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) operation: Operation,
    /// How many operations of this kind go well before.
    pub(super) after: u32,
    /// How many go wrong then.
    pub(super) times: u32,
    pub(super) effect: Effect,
}

#[derive(Debug)]
struct World {
    files: Vec<Content>,
    names: Names,
    durable_names: Names,
    changed_names: Vec<NameChange>,
    locked: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    /// Whether a fault has struck since the last look.
    struck: bool,
    is_off: bool,
    /// Files that were opened before do not work any more.
    generation: u64,
    noise: u64,
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What was done since the last sync.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Block(usize, Vec<u8>),
    Len(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Put(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

#[derive(Debug)]
struct Handle {
    model: Model,
    file: usize,
    generation: u64,
}

#[derive(Debug)]
struct Held(Model, PathBuf, u64);

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            files: Vec::new(),
            names: Names::new(),
            durable_names: Names::new(),
            changed_names: Vec::new(),
            locked: BTreeSet::new(),
            faults: Vec::new(),
            struck: false,
            is_off: false,
            generation: 0,
            noise: seed | 1,
        })))
    }

    pub(super) fn arm(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    pub(super) fn disarm(&self) {
        self.world().faults.clear();
    }

    /// Whether something went wrong since this was asked last.
    pub(super) fn struck(&self) -> bool {
        std::mem::take(&mut self.world().struck)
    }

    pub(super) fn is_off(&self) -> bool {
        self.world().is_off
    }

    /// The process dies; the machine goes on.
    pub(super) fn kill(&self) {
        let mut world = self.world();
        world.generation += 1;
        world.locked.clear();
    }

    /// The machine loses power and comes back.
    pub(super) fn lose_power(&self) {
        self.kill();
        let mut world = self.world();
        world.is_off = false;
        let all_or_none = match world.random(4) {
            0 => Some(true),
            1 => Some(false),
            _ => None,
        };
        for file in 0..world.files.len() {
            for change in std::mem::take(&mut world.files[file].changes) {
                world.maybe_apply(file, change, all_or_none);
            }
            let content = &mut world.files[file];
            content.seen = content.durable.clone();
        }
        for change in std::mem::take(&mut world.changed_names) {
            if all_or_none.unwrap_or(world.random(2) == 0) {
                apply_name(&mut world.durable_names, change);
            }
        }
        world.names = world.durable_names.clone();
    }

    /// Spoils a byte of a file, durably.
    pub(super) fn spoil(&self, path: &Path, offset: usize) {
        let mut world = self.world();
        let file = world.names[path];
        let content = &mut world.files[file];
        content.seen[offset] ^= 0x10;
        content.durable[offset] ^= 0x10;
    }

    /// Cuts a file off, or adds bytes to it, durably.
    pub(super) fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let file = world.names[path];
        let content = &mut world.files[file];
        change(&mut content.seen);
        content.durable = content.seen.clone();
        content.changes.clear();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("a test has one thread")
    }
}

impl World {
    fn random(&mut self, below: u64) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        (self.noise >> 11) % below
    }

    /// What goes wrong with this operation, if anything.
    fn strike(&mut self, operation: Operation) -> io::Result<Option<Effect>> {
        if self.is_off {
            return Err(error(Effect::PowerCut));
        }
        for fault in &mut self.faults {
            if fault.operation != operation || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            let effect = fault.effect;
            self.struck = true;
            self.is_off = effect == Effect::PowerCut;
            return Ok(Some(effect));
        }
        Ok(None)
    }

    fn maybe_apply(&mut self, file: usize, change: Change, all_or_none: Option<bool>) {
        let change = match (all_or_none.unwrap_or(self.random(2) == 0), change) {
            (true, Change::Block(at, bytes)) if all_or_none.is_none() && self.random(4) == 0 => {
                let len = self.random(bytes.len() as u64 + 1) as usize;
                Change::Block(at, bytes[..len].to_vec())
            }
            (true, change) => change,
            // A file system may have given the file its length, but not its bytes.
            (false, Change::Block(at, bytes)) if all_or_none.is_none() && self.random(3) == 0 => {
                let durable = &self.files[file].durable;
                Change::Len(durable.len().max(at + bytes.len()))
            }
            (false, _) => return,
        };
        apply(&mut self.files[file].durable, change);
    }
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    match change {
        Change::Block(at, block) => {
            if bytes.len() < at + block.len() {
                bytes.resize(at + block.len(), 0);
            }
            bytes[at..at + block.len()].copy_from_slice(&block);
        }
        Change::Len(len) => bytes.resize(len, 0),
    }
}

fn apply_name(names: &mut Names, change: NameChange) {
    match change {
        NameChange::Put(path, file) => {
            names.insert(path, file);
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
        NameChange::Rename(from, to, file) => {
            if names.get(&from) == Some(&file) {
                names.remove(&from);
            }
            names.insert(to, file);
        }
    }
}

fn error(effect: Effect) -> io::Error {
    match effect {
        Effect::NoSpace => io::ErrorKind::StorageFull.into(),
        Effect::Error => io::Error::other("input/output error"),
        Effect::PowerCut => io::Error::other("the power is off"),
    }
}

impl Storage for Model {
    fn make_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Listed>> {
        let world = self.world();
        let inside = |path: &&PathBuf| path.parent() == Some(directory);
        let listed = |path: &PathBuf| Listed {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            len: world.files[world.names[path]].seen.len() as u64,
            modified: Timestamp::from_nanos(0),
        };
        Ok(world.names.keys().filter(inside).map(listed).collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn StoredFile>> {
        let mut world = self.world();
        let file = match (access, world.names.get(path)) {
            (Access::Read | Access::Write, Some(file)) => *file,
            (Access::Read | Access::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Access::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Access::Create, None) => {
                let effect = world.strike(Operation::Create)?;
                if effect.is_none() || world.random(2) == 0 {
                    let file = world.files.len();
                    world.files.push(Content::default());
                    world.names.insert(path.to_owned(), file);
                    let put = NameChange::Put(path.to_owned(), file);
                    world.changed_names.push(put);
                }
                if let Some(effect) = effect {
                    return Err(error(effect));
                }
                world.names[path]
            }
        };
        Ok(Box::new(Handle {
            model: self.clone(),
            file,
            generation: world.generation,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        if let Some(effect) = world.strike(Operation::Rename)? {
            return Err(error(effect));
        }
        let file = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), file);
        apply_name(&mut world.names, change.clone());
        world.changed_names.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(effect) = world.strike(Operation::Remove)? {
            return Err(error(effect));
        }
        let change = NameChange::Remove(path.to_owned());
        apply_name(&mut world.names, change.clone());
        world.changed_names.push(change);
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.world();
        if let Some(effect) = world.strike(Operation::SyncDirectory)? {
            return Err(error(effect));
        }
        for change in std::mem::take(&mut world.changed_names) {
            let (NameChange::Put(path, _)
            | NameChange::Rename(path, _, _)
            | NameChange::Remove(path)) = &change;
            if path.parent() == Some(directory) {
                apply_name(&mut world.durable_names, change);
            } else {
                world.changed_names.push(change);
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut world = self.world();
        let generation = world.generation;
        let is_free = world.locked.insert(path.to_owned());
        Ok(is_free.then(|| -> Box<dyn Lock> {
            Box::new(Held(self.clone(), path.to_owned(), generation))
        }))
    }
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        let Self(model, path, generation) = self;
        let mut world = model.world();
        if world.generation == *generation {
            world.locked.remove(path);
        }
    }
}

impl Handle {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.model.world();
        if world.generation == self.generation {
            Ok(world)
        } else {
            Err(error(Effect::PowerCut))
        }
    }
}

impl StoredFile for Handle {
    fn len(&mut self) -> io::Result<u64> {
        Ok(self.world()?.files[self.file].seen.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let world = self.world()?;
        let seen = &world.files[self.file].seen;
        let rest = seen.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&mut self, offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut world = self.world()?;
        let effect = world.strike(Operation::Write)?;
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        if effect.is_some() {
            let len = world.random(bytes.len() as u64 + 1) as usize;
            bytes.truncate(len);
        }
        let content = &mut world.files[self.file];
        let mut at = offset as usize;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = (BLOCK_BYTES - at % BLOCK_BYTES).min(rest.len());
            let change = Change::Block(at, rest[..len].to_vec());
            apply(&mut content.seen, change.clone());
            content.changes.push(change);
            (at, rest) = (at + len, &rest[len..]);
        }
        effect.map_or(Ok(()), |effect| Err(error(effect)))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut world = self.world()?;
        if let Some(effect) = world.strike(Operation::SetLen)? {
            return Err(error(effect));
        }
        let content = &mut world.files[self.file];
        let change = Change::Len(len as usize);
        apply(&mut content.seen, change.clone());
        content.changes.push(change);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.world()?;
        let effect = world.strike(Operation::Sync)?;
        if effect == Some(Effect::PowerCut) {
            return Err(error(Effect::PowerCut));
        }
        let all_or_none = effect.is_none().then_some(true);
        for change in std::mem::take(&mut world.files[self.file].changes) {
            world.maybe_apply(self.file, change, all_or_none);
        }
        effect.map_or(Ok(()), |effect| Err(error(effect)))
    }
}
