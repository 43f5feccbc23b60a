//! Child processes: started on a CPU, measured from `/proc`, ended with all they started.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock;

/// `/proc/PID/stat` counts time in these, whatever the kernel's tick is.
const TICK_NS: u64 = 10_000_000;
/// How long a process may take to end when asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// A process and its descendants; all ended on drop.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` pinned to `cpu`, its output going to the file `log`.
    pub(crate) fn start(
        command: &[String],
        cpu: usize,
        log: &std::path::Path,
    ) -> io::Result<Process> {
        let output = fs::File::create(log)?;
        let errors = output.try_clone()?;
        let child = pinned(command, cpu).stdout(output).stderr(errors).spawn()?;
        Ok(Process { child })
    }

    /// Starts `command` pinned to `cpu` and reads the first line it prints.
    pub(crate) fn start_saying(command: &[String], cpu: usize) -> io::Result<(Process, String)> {
        let mut child = pinned(command, cpu).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take();
        let process = Process { child };
        let mut line = String::new();
        BufReader::new(output.ok_or_else(|| io::Error::other("no pipe"))?).read_line(&mut line)?;
        Ok((process, line.trim_end().to_owned()))
    }

    /// False once the process has ended by itself.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The process and its descendants as they are now: to find them takes a look at every process of the host.
    pub(crate) fn family(&self) -> Family {
        Family(family(self.child.id()))
    }

    /// The most memory each was resident with at any time, added up, in bytes.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        family(self.child.id())
            .iter()
            .filter_map(|&id| status_bytes(id, "VmHWM:"))
            .sum()
    }
}

/// Processes that belong together.
pub(crate) struct Family(Vec<u32>);

impl Family {
    /// These and their descendants, each once.
    pub(crate) fn of(roots: &[u32]) -> Family {
        let mut all: Vec<u32> = roots.iter().flat_map(|&root| family(root)).collect();
        all.sort_unstable();
        all.dedup();
        Family(all)
    }

    /// User and system time of those that run, in microseconds.
    pub(crate) fn cpu_us(&self) -> u64 {
        self.0.iter().map(|&id| cpu_ns(id)).sum::<u64>() / 1_000
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let family = family(self.child.id());
        signal(self.child.id(), Signal::TERM);
        clock::wait(PATIENCE, || !self.runs());
        for id in family.into_iter().filter(|&id| id != self.child.id()) {
            signal(id, Signal::KILL);
        }
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory of one process in bytes.
pub(crate) fn rss_bytes(id: u32) -> Option<u64> {
    status_bytes(id, "VmRSS:")
}

fn pinned(command: &[String], cpu: usize) -> Command {
    let mut pinned = Command::new("taskset");
    pinned
        .arg("-c")
        .arg(cpu.to_string())
        .args(command)
        .stdin(Stdio::null());
    pinned
}

fn signal(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // Fails only if it has ended already.
        let _ = kill_process(id, signal);
    }
}

/// A process and all its descendants.
fn family(root: u32) -> Vec<u32> {
    let parents: HashMap<u32, u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, stat_field(id, 1)? as u32)))
        .collect();
    let mut family = vec![root];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(
            parents
                .iter()
                .filter(|&(_, &of)| of == parent)
                .map(|(&id, _)| id),
        );
        at += 1;
    }
    family
}

/// By the scheduler's clock, of the threads that run, where the kernel tells (`CONFIG_SCHED_INFO`); else in ticks.
fn cpu_ns(id: u32) -> u64 {
    threads_ns(id).unwrap_or_else(|| {
        let ticks = stat_field(id, 11).unwrap_or(0) + stat_field(id, 12).unwrap_or(0);
        ticks * TICK_NS
    })
}

fn threads_ns(id: u32) -> Option<u64> {
    let mut sum = None;
    for thread in fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten() {
        // A thread may have ended since.
        let Ok(times) = fs::read_to_string(thread.path().join("schedstat")) else {
            continue;
        };
        *sum.get_or_insert(0) += times.split(' ').next()?.parse::<u64>().ok()?;
    }
    sum
}

/// A field of `/proc/ID/stat`, counted from the one after the name in parentheses.
fn stat_field(id: u32, index: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(index)?
        .parse()
        .ok()
}

fn status_bytes(id: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kibibytes| kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let command = ["sh", "-c", script].map(str::to_owned);
        Process::start_saying(&command, 0).unwrap().0
    }

    #[test]
    fn work_of_a_child_is_counted() {
        let process = shell("echo up; (while :; do :; done) & wait");
        assert!(clock::wait(Duration::from_secs(20), || process
            .family()
            .cpu_us()
            >= 50_000));
    }

    #[test]
    fn the_end_takes_the_children_along() {
        let process = shell("sleep 600 & echo up; wait");
        let family = family(process.child.id());
        assert_eq!(family.len(), 2);
        drop(process);
        let gone = |id: &u32| stat_field(*id, 1).is_none_or(|parent| parent <= 1);
        assert!(clock::wait(Duration::from_secs(5), || family
            .iter()
            .all(gone)));
    }

    #[test]
    fn resident_memory_is_read() {
        assert!(rss_bytes(std::process::id()).unwrap() > 100_000);
    }
}
