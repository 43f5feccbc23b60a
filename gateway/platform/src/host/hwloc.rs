//! The topology as hwloc shows it.

use std::collections::BTreeMap;

use hwlocality::Topology as Machine;
use hwlocality::object::TopologyObject;
use hwlocality::object::types::ObjectType;
use hwlocality::topology::builder::{BuildFlags, TopologyBuilder};

use super::CpuList;
use super::topology::{Place, Topology};

/// The topology as hwloc shows it: taken once, whole, and kept without hwloc's own tree.
#[derive(Debug)]
pub(super) struct Hwloc {
    places: BTreeMap<usize, Place>,
}

impl Hwloc {
    /// Asks hwloc for this machine.
    ///
    /// # Errors
    /// Why its answer is not to be used, in words: hwloc fails, the environment (`HWLOC_SYNTHETIC`, `HWLOC_XMLFILE`)
    /// has it describe another machine, or a usable CPU is not in what it shows.
    pub(super) fn new(usable: &CpuList) -> Result<Self, String> {
        let machine = load(Machine::builder())?;
        if !machine.is_this_system() {
            return Err("hwloc is made to describe another machine".to_owned());
        }
        let hwloc = Self::of(&machine);
        match usable.0.iter().find(|cpu| !hwloc.places.contains_key(cpu)) {
            Some(cpu) => Err(format!("hwloc does not show CPU {cpu}")),
            None => Ok(hwloc),
        }
    }

    /// A machine in hwloc's synthetic description.
    #[cfg(test)]
    pub(super) fn described(machine: &str) -> Self {
        let builder = Machine::builder().from_synthetic(machine).unwrap();
        Self::of(&load(builder).unwrap())
    }

    fn of(machine: &Machine) -> Self {
        let units = machine.objects_with_type(ObjectType::PU);
        let places = units.filter_map(place).map(|place| (place.cpu, place));
        Self {
            places: places.collect(),
        }
    }
}

impl Topology for Hwloc {
    fn place(&self, cpu: usize) -> Place {
        let known = self.places.get(&cpu).copied();
        known.unwrap_or(Place::alone(cpu))
    }

    fn source(&self) -> &str {
        "hwloc"
    }
}

/// CPUs outside the cpuset are asked for too: a core is named by its lowest CPU, usable or not. The thread stays where
/// it is: hwloc would otherwise visit every CPU, those included that are kept free for others.
fn load(builder: TopologyBuilder) -> Result<Machine, String> {
    let flags = BuildFlags::INCLUDE_DISALLOWED | BuildFlags::DONT_CHANGE_BINDING;
    let builder = builder.with_flags(flags).map_err(|error| error.to_string());
    builder?.build().map_err(|error| error.to_string())
}

fn place(unit: &TopologyObject) -> Option<Place> {
    let cpu = unit.os_index()?;
    let above = |kind| unit.first_ancestor_with_type(kind);
    let alone = Place::alone(cpu);
    let node = unit.nodeset().and_then(|nodes| nodes.first_set());
    Some(Place {
        cpu,
        node: node.map_or(alone.node, usize::from),
        package: above(ObjectType::Package)
            .and_then(TopologyObject::os_index)
            .unwrap_or(alone.package),
        core: above(ObjectType::Core)
            .and_then(lowest)
            .unwrap_or(alone.core),
        l3: above(ObjectType::L3Cache)
            .and_then(lowest)
            .unwrap_or(alone.l3),
    })
}

fn lowest(object: &TopologyObject) -> Option<usize> {
    object.cpuset()?.first_set().map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_hwloc_does_not_show_is_a_reason_to_ask_elsewhere() {
        let refused = Hwloc::new(&CpuList(vec![0, 60_000])).unwrap_err();
        assert_eq!(refused, "hwloc does not show CPU 60000");
    }

    #[test]
    fn without_cores_and_caches_every_cpu_stands_alone() {
        let flat = Hwloc::described("pu:2");
        assert_eq!(flat.place(1), Place::alone(1));
        assert_eq!(flat.place(7), Place::alone(7));
    }
}
