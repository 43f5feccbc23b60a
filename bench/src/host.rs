//! What of this host decides whether figures can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::record::Host;

/// Reads it from `/proc` and `/sys`. What is not there stays empty.
pub(crate) fn host() -> Host {
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "model name");
    Host {
        cpu: model.map_or("", |(_, model)| model.trim()).to_owned(),
        cpus: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        kernel: read("/proc/sys/kernel/osrelease"),
        governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
        memory_bytes: memory_bytes(&read("/proc/meminfo")),
        hugepages: format!(
            "transparent {}, explicit {}",
            chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
            read("/proc/sys/vm/nr_hugepages")
        ),
        congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
    }
}

/// In a line, for the head of a report.
pub(crate) fn line(host: &Host) -> String {
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{} x {}, Linux {}, {}, load {load}",
        host.cpus, host.cpu, host.kernel, host.congestion_control
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn mitigations(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let words = fs::read_to_string(entry.path()).ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name, words.trim().to_owned()))
        })
        .collect()
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kibibytes.map_or(0, |kibibytes: u64| kibibytes << 10)
}

/// The word in brackets.
fn chosen(words: &str) -> &str {
    words
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("unknown", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_somewhere() {
        let host = host();
        assert!(host.cpus > 0 && host.memory_bytes > 0 && !host.kernel.is_empty());
        assert!(line(&host).contains(&host.kernel));
    }

    #[test]
    fn words_are_read_as_the_kernel_writes_them() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(
            memory_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n"),
            16_384
        );
        assert_eq!((chosen(""), memory_bytes("")), ("unknown", 0));
    }
}
