//! What a sink was told, in a small file of the data directory.

use std::{
    fmt::Write as _,
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    journal::{Access, Disk, Storage},
    plan::SinkPlan,
};

const VERSION: u32 = 1;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Where it is remembered what a sink was told; without a data directory nowhere.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    file: Option<PathBuf>,
    /// Tells whether the sink is still the same, without its URL: that may hold a secret.
    url_hash: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    version: u32,
    url_sha256: String,
    told: Value,
}

impl Memory {
    /// The directory of the files, in a data directory.
    const DIRECTORY: &'static str = "sinks";

    pub(super) fn new(data_dir: Option<&Path>, sink: &SinkPlan) -> Self {
        Self::of(data_dir, &sink.name, &sink.url.0)
    }

    /// The memory of what is told there, by that name.
    pub(super) fn of(data_dir: Option<&Path>, name: &str, place: &str) -> Self {
        let hash = Sha256::digest(place.as_bytes());
        let url_hash = hash.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes any text");
            text
        });
        let file = data_dir.map(|root| root.join(Self::DIRECTORY).join(format!("{name}.json")));
        Self { file, url_hash }
    }

    /// What the sink was told before the engine was started; `None`: nothing, or it is another sink.
    ///
    /// # Errors
    /// The file cannot be read, or is something else.
    pub(super) fn read(&self) -> io::Result<Option<Value>> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let mut file = match Disk.open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.len()?;
        if len > FILE_BYTES_MAX {
            return Err(io::Error::other("the file is too large"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(read as u64, &mut bytes[read..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        let remembered: Remembered = serde_json::from_slice(&bytes)?;
        let is_same = remembered.version == VERSION && remembered.url_sha256 == self.url_hash;
        Ok(is_same.then_some(remembered.told))
    }

    /// Remembers what the sink was told; it is durable when this returns.
    ///
    /// # Errors
    /// The file cannot be written. Then what was remembered before still is.
    pub(super) fn write(&self, told: Value) -> io::Result<()> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let directory = path.parent().expect("the file lies in a directory");
        Disk.make_directory(directory)?;
        if let Some(root) = directory.parent() {
            Disk.sync_directory(root)?;
        }
        let bytes = serde_json::to_vec(&Remembered {
            version: VERSION,
            url_sha256: self.url_hash.clone(),
            told,
        })?;
        let unfinished = path.with_extension("json.unfinished");
        match Disk.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = Disk.open(&unfinished, Access::Create)?;
        file.write_at(0, &mut [IoSlice::new(&bytes)])?;
        file.sync()?;
        Disk.rename(&unfinished, path)?;
        Disk.sync_directory(directory)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Span;
    use crate::plan::{AlertRules, SinkKind, SinkUrl};

    fn plan(url: &str) -> SinkPlan {
        SinkPlan {
            name: "oncall".to_owned(),
            url: SinkUrl(url.to_owned()),
            token_file: None,
            ca_file: None,
            timeout: Span::from_seconds(1),
            queue: 10,
            kind: SinkKind::GrafanaWebhook {
                max_alerts: 0,
                alerts: AlertRules::default(),
            },
        }
    }

    #[test]
    fn what_is_written_is_read_and_only_by_the_same_sink() {
        let directory = tempfile::tempdir().unwrap();
        let memory = |url| Memory::new(Some(directory.path()), &plan(url));
        let url = "http://h/?token=s3cret";
        assert_eq!(memory(url).read().unwrap(), None);
        for told in [json!({"a": 1}), json!({"b": 2})] {
            memory(url).write(told.clone()).unwrap();
            assert_eq!(memory(url).read().unwrap(), Some(told));
        }
        assert_eq!(memory("http://other/").read().unwrap(), None);
        let path = directory.path().join("sinks/oncall.json");
        let text = crate::source::files::text(&path).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_memory_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::new(Some(directory.path()), &plan("http://h/"));
        memory.write(json!({})).unwrap();
        let path = directory.path().join("sinks/oncall.json");
        std::fs::write(path, b"{").unwrap();
        assert!(memory.read().is_err());
    }

    #[test]
    fn without_a_data_directory_nothing_is_remembered() {
        let memory = Memory::new(None, &plan("http://h/"));
        memory.write(json!({})).unwrap();
        assert_eq!(memory.read().unwrap(), None);
    }
}
