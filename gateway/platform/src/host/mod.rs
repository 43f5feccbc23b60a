//! What the host is and what it allows: one file for each property, each read through a [`HostRoot`], so that it is
//! tested against fixtures and the same probe serves the start, `doctor` and `/health`.

pub mod cgroup;
pub mod cpus;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(feature = "hwloc")]
mod hwloc;
pub mod interrupt;
pub mod limits;
pub mod memory;
pub mod network;
pub mod pin;
pub mod process;
pub mod topology;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Where `/proc` and `/sys` are looked for.
#[derive(Clone, Debug)]
pub struct HostRoot(PathBuf);

impl HostRoot {
    /// This machine.
    #[must_use]
    pub fn system() -> Self {
        Self::at("/")
    }

    /// A tree that looks like one.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// Where an absolute path of the host lies.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Reads a file whole.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<String> {
        std::fs::read_to_string(self.path(path))
    }

    /// The number that is all a file holds.
    pub(crate) fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.read(path).ok()?.trim().parse().ok()
    }

    /// Names in a directory; none where it cannot be read.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    }
}

/// The number behind `name` at the beginning of a line, as `/proc/meminfo` and its like write it.
pub(crate) fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The same in KiB, as bytes; 0 where there is none.
pub(crate) fn kib_after(text: &str, name: &str) -> u64 {
    number_after(text, name)
        .unwrap_or(0)
        .saturating_mul(1 << 10)
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, and could be better.
    Note,
    /// Works until it matters.
    Warning,
    /// Does not work.
    Refusal,
}

/// A property of the host that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable, for scripts.
    pub id: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// What is wanted and what was found instead.
    pub cause: String,
    /// What to do, with the command.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.cause, self.fix)
    }
}

impl std::error::Error for Finding {}

/// Bytes in the largest binary unit that says them to a tenth: `512 MiB`, `1.5 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let fitting = units.iter().find(|(_, shift)| self.0 >> shift > 0);
        let Some((unit, shift)) = fitting else {
            return write!(f, "{} bytes", self.0);
        };
        let (whole, rest) = (self.0 >> shift, self.0 & ((1 << shift) - 1));
        match (rest * 10) >> shift {
            0 => write!(f, "{whole} {unit}"),
            tenth => write!(f, "{whole}.{tenth} {unit}"),
        }
    }
}

/// CPUs in ascending order, written as the kernel does: `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl CpuList {
    /// CPU numbers above this are refused: no machine has them, and a list could otherwise name billions.
    const CPU_MAX: usize = 65_535;

    /// Reads the kernel's form; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut cpus = Vec::new();
        for range in text.trim().split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            if first > last || last > Self::CPU_MAX {
                return None;
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Some(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.chunk_by(|before, after| before + 1 == *after);
        for (at, range) in ranges.enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match range {
                [only] => write!(f, "{comma}{only}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_read_back_as_written() {
        for text in ["0", "0-3", "0-3,8", "0,2,4-5,64-127"] {
            assert_eq!(CpuList::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(CpuList::parse("3,0-1\n").unwrap().0, [0, 1, 3]);
        assert_eq!(CpuList::parse("\n").unwrap().0, [0; 0]);
    }

    #[test]
    fn what_is_no_cpu_list_is_refused() {
        for text in ["x", "3-1", "1-", "0-4000000000", "-1"] {
            assert_eq!(CpuList::parse(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_are_said_in_a_fitting_unit() {
        let said = [0, 1023, 1 << 10, 3 << 19, 1 << 30, u64::MAX].map(|b| Bytes(b).to_string());
        assert_eq!(
            said,
            [
                "0 bytes",
                "1023 bytes",
                "1 KiB",
                "1.5 MiB",
                "1 GiB",
                "17179869183.9 GiB"
            ]
        );
    }
}
