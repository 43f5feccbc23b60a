//! Where CPUs are, and which of them shards take first.

use std::collections::BTreeMap;

use super::{CpuList, HostRoot};

/// Where a CPU is. Cores and caches are named by the lowest CPU that shares them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The CPU.
    pub cpu: usize,
    /// Its NUMA node.
    pub node: usize,
    /// Its socket.
    pub package: usize,
    /// Its core.
    pub core: usize,
    /// Its last-level cache.
    pub l3: usize,
}

impl Place {
    /// A CPU of which nothing is known: as if it stood alone in node and package 0.
    #[must_use]
    pub fn alone(cpu: usize) -> Self {
        Self {
            cpu,
            core: cpu,
            l3: cpu,
            ..Self::default()
        }
    }
}

/// A source of places.
pub trait Topology {
    /// Where a CPU is; what the source does not know is as [`Place::alone`] has it.
    fn place(&self, cpu: usize) -> Place;

    /// What the answers come from, for the line printed at start; with the reason where it is the second choice.
    fn source(&self) -> &str;
}

/// This machine's topology: hwloc's, where that is built in (feature `hwloc`) and shows every usable CPU, else what sysfs
/// shows below `root`.
#[must_use]
pub fn detect(root: &HostRoot, usable: &CpuList) -> Box<dyn Topology + Send + Sync> {
    let sysfs = Sysfs::new(root);
    #[cfg(feature = "hwloc")]
    let sysfs = match super::hwloc::Hwloc::new(usable) {
        Ok(hwloc) => return Box::new(hwloc),
        Err(reason) => sysfs.because(&reason),
    };
    #[cfg(not(feature = "hwloc"))]
    let _ = usable;
    Box::new(sysfs)
}

/// The topology as `/sys/devices/system` shows it.
#[derive(Debug)]
pub struct Sysfs {
    root: HostRoot,
    nodes: BTreeMap<usize, usize>,
    source: String,
}

impl Sysfs {
    /// Reads the nodes; the rest is read as it is asked for.
    #[must_use]
    pub fn new(root: &HostRoot) -> Self {
        let mut nodes = BTreeMap::new();
        for name in root.names("/sys/devices/system/node") {
            let number = name.strip_prefix("node").and_then(|n| n.parse().ok());
            let list = root.read(format!("/sys/devices/system/node/{name}/cpulist"));
            let list = list.ok().and_then(|list| CpuList::parse(&list));
            if let (Some(node), Some(cpus)) = (number, list) {
                nodes.extend(cpus.0.into_iter().map(|cpu| (cpu, node)));
            }
        }
        Self {
            root: root.clone(),
            nodes,
            source: "sysfs".to_owned(),
        }
    }

    /// The same, as the second choice.
    #[cfg(feature = "hwloc")]
    fn because(self, reason: &str) -> Self {
        Self {
            source: format!("sysfs ({reason})"),
            ..self
        }
    }

    fn number(&self, cpu: usize, file: &str) -> Option<usize> {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/{file}");
        usize::try_from(self.root.number(path)?).ok()
    }

    /// The lowest CPU of a list in the CPU's directory.
    fn lowest(&self, cpu: usize, file: &str) -> Option<usize> {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/{file}");
        let list = CpuList::parse(&self.root.read(path).ok()?)?;
        list.0.first().copied()
    }

    fn l3(&self, cpu: usize) -> Option<usize> {
        let level = |index: &usize| self.number(cpu, &format!("cache/index{index}/level"));
        let index = (0..8).find(|index| level(index) == Some(3))?;
        self.lowest(cpu, &format!("cache/index{index}/shared_cpu_list"))
    }
}

impl Topology for Sysfs {
    fn place(&self, cpu: usize) -> Place {
        let alone = Place::alone(cpu);
        let node = self.nodes.get(&cpu).copied();
        let package = self.number(cpu, "topology/physical_package_id");
        let core = self
            .lowest(cpu, "topology/core_cpus_list")
            .or_else(|| self.lowest(cpu, "topology/thread_siblings_list"));
        Place {
            cpu,
            node: node.unwrap_or(alone.node),
            package: package.unwrap_or(alone.package),
            core: core.unwrap_or(alone.core),
            l3: self.l3(cpu).unwrap_or(alone.l3),
        }
    }

    fn source(&self) -> &str {
        &self.source
    }
}

/// Which CPUs the shards take and which they leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// One place a shard, in the order of the shards.
    pub shards: Vec<Place>,
    /// CPUs without a shard, for the control threads: those of untouched cores first.
    pub spare: Vec<usize>,
}

impl Assignment {
    /// Gives `count` shards a CPU each: one thread of every core before any second one, and close together (node, then
    /// cache), so that few shards share a cache and a memory. With more shards than CPUs, CPUs are shared.
    #[must_use]
    pub fn choose(topology: &dyn Topology, usable: &CpuList, count: usize) -> Self {
        let mut threads_of_core = BTreeMap::new();
        let mut ranked: Vec<_> = usable
            .0
            .iter()
            .map(|cpu| {
                let place = topology.place(*cpu);
                let rank = threads_of_core.entry((place.package, place.core));
                let rank: &mut usize = rank.and_modify(|rank| *rank += 1).or_default();
                (*rank, place)
            })
            .collect();
        ranked.sort_by_key(|(rank, place)| (*rank, place.node, place.l3, place.core, place.cpu));
        let order = ranked.iter().map(|(_, place)| *place);
        let shards: Vec<_> = order.cycle().take(count).collect();
        Self::with(topology, usable, shards)
    }

    /// Gives shards the CPUs listed, in that order.
    ///
    /// # Errors
    /// The first CPU listed that this process may not use.
    pub fn listed(
        topology: &dyn Topology,
        usable: &CpuList,
        cpus: &[usize],
    ) -> Result<Self, usize> {
        match cpus.iter().find(|cpu| !usable.0.contains(cpu)) {
            Some(cpu) => Err(*cpu),
            None => {
                let places = cpus.iter().map(|cpu| topology.place(*cpu)).collect();
                Ok(Self::with(topology, usable, places))
            }
        }
    }

    fn with(topology: &dyn Topology, usable: &CpuList, shards: Vec<Place>) -> Self {
        let free = |cpu: &usize| shards.iter().all(|place| place.cpu != *cpu);
        let mut spare: Vec<_> = usable.0.iter().copied().filter(free).collect();
        spare.sort_by_key(|cpu| {
            let place = topology.place(*cpu);
            let core = (place.package, place.core);
            let shared = shards.iter().any(|s| (s.package, s.core) == core);
            (shared, *cpu)
        });
        Self { shards, spare }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    /// Two nodes of two cores with two threads each, siblings four apart: node 0 has 0, 1, 4, 5.
    fn two_nodes() -> Fixture {
        let host = Fixture::new(&[
            ("/sys/devices/system/node/node0/cpulist", "0-1,4-5\n"),
            ("/sys/devices/system/node/node1/cpulist", "2-3,6-7\n"),
            ("/sys/devices/system/node/online", "0-1\n"),
        ]);
        for cpu in 0..8 {
            let base = format!("/sys/devices/system/cpu/cpu{cpu}");
            let package = cpu % 4 / 2;
            let (core, cache) = (cpu % 4, package * 2);
            host.write(
                &format!("{base}/topology/physical_package_id"),
                &format!("{package}\n"),
            );
            let siblings = format!("{core},{}\n", core + 4);
            host.write(&format!("{base}/topology/core_cpus_list"), &siblings);
            host.write(&format!("{base}/cache/index0/level"), "1\n");
            host.write(&format!("{base}/cache/index3/level"), "3\n");
            let shared = format!("{cache}-{},{}-{}\n", cache + 1, cache + 4, cache + 5);
            host.write(&format!("{base}/cache/index3/shared_cpu_list"), &shared);
        }
        host
    }

    /// Every reader, of that machine.
    fn readers(host: &Fixture) -> Vec<Box<dyn Topology>> {
        vec![
            Box::new(Sysfs::new(&host.root())),
            #[cfg(feature = "hwloc")]
            Box::new(crate::host::hwloc::Hwloc::described(
                "package:2 [numa] l3:1 core:2 pu:2(indexes=0,4,1,5,2,6,3,7)",
            )),
        ]
    }

    fn chosen(topology: &dyn Topology, count: usize) -> (Vec<usize>, Vec<usize>) {
        let all = CpuList((0..8).collect());
        let assignment = Assignment::choose(topology, &all, count);
        let shards = assignment.shards.iter().map(|place| place.cpu);
        (shards.collect(), assignment.spare)
    }

    #[test]
    fn every_reader_tells_the_same_places() {
        let host = two_nodes();
        for topology in readers(&host) {
            for cpu in 0..8 {
                let (package, core) = (cpu % 4 / 2, cpu % 4);
                let expected = Place {
                    cpu,
                    node: package,
                    package,
                    core,
                    l3: package * 2,
                };
                assert_eq!(topology.place(cpu), expected, "{}", topology.source());
            }
            assert_eq!(topology.place(8), Place::alone(8), "{}", topology.source());
        }
    }

    #[test]
    fn cores_are_taken_before_siblings_and_a_node_is_filled_first() {
        let host = two_nodes();
        for topology in readers(&host) {
            let chosen = |count| chosen(topology.as_ref(), count);
            assert_eq!(chosen(2), (vec![0, 1], vec![2, 3, 6, 7, 4, 5]));
            assert_eq!(chosen(4), (vec![0, 1, 2, 3], vec![4, 5, 6, 7]));
            assert_eq!(chosen(8), (vec![0, 1, 2, 3, 4, 5, 6, 7], vec![]));
        }
    }

    #[test]
    fn on_this_host_the_choice_and_sysfs_agree() {
        let root = HostRoot::system();
        let usable = crate::host::cpus::affinity().unwrap();
        let (chosen, sysfs) = (detect(&root, &usable), Sysfs::new(&root));
        for cpu in usable.0 {
            assert_eq!(chosen.place(cpu), sysfs.place(cpu));
        }
        let first = if cfg!(feature = "hwloc") {
            "hwloc"
        } else {
            "sysfs"
        };
        assert_eq!(chosen.source(), first);
    }

    #[cfg(feature = "hwloc")]
    #[test]
    fn where_hwloc_does_not_show_a_cpu_sysfs_is_read_and_says_why() {
        let (host, usable) = (two_nodes(), CpuList(vec![0, 60_000]));
        let topology = detect(&host.root(), &usable);
        assert_eq!(topology.source(), "sysfs (hwloc does not show CPU 60000)");
        assert_eq!(topology.place(7), Sysfs::new(&host.root()).place(7));
    }

    #[test]
    fn more_shards_than_cpus_share() {
        let host = two_nodes();
        let (shards, spare) = chosen(&Sysfs::new(&host.root()), 10);
        assert_eq!(shards.len(), 10);
        assert_eq!((shards[8], shards[9]), (0, 1));
        assert!(spare.is_empty());
    }

    #[test]
    fn a_list_is_taken_as_it_stands() {
        let host = two_nodes();
        let topology = Sysfs::new(&host.root());
        let usable = CpuList(vec![0, 1, 4, 5]);
        let assignment = Assignment::listed(&topology, &usable, &[5, 0]).unwrap();
        assert_eq!(assignment.shards[0].cpu, 5);
        assert_eq!(assignment.spare, [1, 4]);
        assert_eq!(Assignment::listed(&topology, &usable, &[0, 2]), Err(2));
    }

    #[test]
    fn a_host_that_tells_nothing_has_cores_side_by_side() {
        let topology = Sysfs::new(&Fixture::new(&[]).root());
        let usable = CpuList(vec![3, 5]);
        let assignment = Assignment::choose(&topology, &usable, 1);
        assert_eq!((assignment.shards[0].cpu, assignment.spare), (3, vec![5]));
    }
}
