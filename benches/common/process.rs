//! What a process has used, as `/proc` tells it.

use std::{path::Path, process::Command, time::Duration};

use super::{Failure, clock};

/// How often a process is looked at while it settles.
const LOOK: Duration = Duration::from_millis(300);
/// CPU time between two looks at which a process has come to rest; timers alone use less.
const RESTING_CPU_S: f64 = 0.015;
/// Looks after which a process that does not come to rest is measured as it is.
const LOOKS_MAX: usize = 50;

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// CPU time in seconds, user and system, of threads that ended too.
    pub(crate) cpu_s: f64,
    /// Resident memory in bytes.
    pub(crate) rss_bytes: u64,
}

/// Reads the usage of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    pid: u32,
    ticks_per_s: f64,
}

impl Meter {
    /// Meters a process.
    ///
    /// # Errors
    /// The system does not tell how long a tick is.
    pub(crate) fn new(pid: u32) -> Result<Self, Failure> {
        let output = Command::new("getconf").arg("CLK_TCK").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let ticks_per_s = text.trim().parse().map_err(|_| {
            Failure::new(format!(
                "getconf CLK_TCK says {text:?}, not ticks in a second"
            ))
        })?;
        Ok(Self { pid, ticks_per_s })
    }

    /// What the process has used when it has come to rest after its last answer: work that it puts off
    /// until then belongs to the requests that caused it.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn settled(self) -> Result<Usage, Failure> {
        let mut usage = self.read()?;
        for _ in 0..LOOKS_MAX {
            clock::rest(LOOK);
            let before = usage;
            usage = self.read()?;
            if usage.cpu_s - before.cpu_s < RESTING_CPU_S {
                break;
            }
        }
        Ok(usage)
    }

    /// What the process has used until now.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn read(self) -> Result<Usage, Failure> {
        let pid = self.pid;
        let gone = || {
            Failure::new(format!(
                "/proc/{pid} cannot be read as stat and status of a process"
            ))
        };
        let stat = read_proc(&format!("/proc/{pid}/stat"))?;
        // The name of the program may hold anything; what follows it are numbers.
        let (_, numbers) = stat.rsplit_once(')').ok_or_else(gone)?;
        let mut numbers = numbers.split_ascii_whitespace().skip(11);
        let mut ticks = || numbers.next()?.parse::<u64>().ok();
        let (user, system) = (ticks().ok_or_else(gone)?, ticks().ok_or_else(gone)?);
        let status = read_proc(&format!("/proc/{pid}/status"))?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        Ok(Usage {
            cpu_s: (user + system) as f64 / self.ticks_per_s,
            rss_bytes: kilobytes.ok_or_else(gone)? << 10,
        })
    }
}

/// Reads a file of the kernel.
///
/// # Errors
/// There is none of that name.
pub(crate) fn read_proc(path: &str) -> Result<String, Failure> {
    read_text(Path::new(path))
}

/// Reads a file.
///
/// # Errors
/// It cannot be read as text.
#[expect(clippy::disallowed_methods, reason = "a bench is no part of the core")]
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// The machine that a figure is from.
pub(crate) fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpuinfo = read_proc("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let load = read_proc("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{cpus} CPUs ({model}), load average {load} at the start")
}
