//! `memory`: whether the process comes near what it may have; `hugepages`: what pages the pool got.

use platform::host::Bytes;
use telemetry::health::Component;
#[cfg(test)]
use telemetry::health::Rule;

use crate::running::MemoryInUse;

#[cfg(test)]
pub(super) const RULE: Rule = Rule {
    component: "memory",
    degraded: "resident memory is at 90 % of the limit or above",
    unhealthy: "",
    observed: "resident bytes of the process",
    limit: "the cgroup's limit, or the machine's memory",
};

#[cfg(test)]
pub(super) const HUGEPAGES_RULE: Rule = Rule {
    component: "hugepages",
    degraded: "",
    unhealthy: "",
    observed: "bytes of the pool in explicit huge pages; other pages are healthy, with the reason",
    limit: "bytes of the pool",
};

/// Share of the limit, in percent.
const PERCENT_MAX: u64 = 90;

/// Bytes resident, if the host tells, and bytes that may be.
pub(super) fn look(resident: Option<u64>, limit: u64) -> Component {
    let component = Component::healthy("memory");
    let Some(used) = resident else {
        return component;
    };
    let component = match used.saturating_mul(100) / limit.max(1) {
        ..PERCENT_MAX => component,
        percent => Component::degraded(
            "memory",
            format!(
                "{percent} % of {}: lower api_gateway.memory_pool_size or cache.capacity, or raise the limit",
                Bytes(limit)
            ),
        ),
    };
    super::measured(component, used, limit)
}

pub(super) fn hugepages(memory: &MemoryInUse) -> Component {
    let component = Component::healthy("hugepages");
    let component = match &memory.fallback {
        Some(reason) => component.because(reason.clone()),
        None => component,
    };
    super::measured(component, memory.huge_bytes, memory.pool_bytes)
}

#[cfg(test)]
mod tests {
    use telemetry::health::Status;

    use super::*;

    #[test]
    fn memory_degrades_at_nine_tenths() {
        assert_eq!(look(Some(899), 1_000).status, Status::Healthy);
        let high = look(Some(900), 1_000);
        assert_eq!(high.status, Status::Degraded);
        assert_eq!((high.observed, high.limit), (Some(900.0), Some(1_000.0)));
        assert_eq!(look(None, 1_000), Component::healthy("memory"));
    }
}
