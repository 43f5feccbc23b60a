//! `cache`: whether what may be stored is stored.

use base::Moment;
use telemetry::health::Component;
#[cfg(test)]
use telemetry::health::Rule;

use super::lately::Growth;
use crate::events::log;

#[cfg(test)]
pub(super) const RULE: Rule = Rule {
    component: "cache",
    degraded: "answers that may be stored passed uncached: the pool had no room for them, or too many waited for the index. \
        One larger than `cache.max_object` is as it was configured, and evictions are a cache's life: neither counts",
    unhealthy: "",
    observed: "objects; such answers of the last minute, where there were any",
    limit: "`cache.capacity`; 0",
};

const POOL_FULL: &str = "answers passed uncached in the last minute: the pool had no room for their bodies; raise \
    api_gateway.memory_pool_size";
const INDEX_BEHIND: &str = "answers passed uncached in the last minute: more came than the index takes up; spread misses \
    over more shards (api_gateway.worker_threads) or instances";

/// What was not stored.
#[derive(Debug, Default)]
pub(super) struct Cache {
    no_room: Growth,
    behind: Growth,
}

impl Cache {
    /// `no_room` and `behind` count since start answers without room, and answers that the index was behind for.
    pub(super) fn look(
        &mut self,
        (objects, capacity): (u64, u64),
        no_room: u64,
        behind: u64,
        now: Moment,
    ) -> Component {
        let (no_room, begins) = self.no_room.look(no_room, now);
        if begins {
            log!(PoolFull, "{POOL_FULL}");
        }
        let (behind, _) = self.behind.look(behind, now);
        let reason = match (no_room, behind) {
            (0, 0) => return super::measured(Component::healthy("cache"), objects, capacity),
            (0, _) => INDEX_BEHIND,
            _ => POOL_FULL,
        };
        super::measured(Component::degraded("cache", reason), no_room + behind, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_passed_uncached_degrade_it_and_say_why() {
        let mut cache = Cache::default();
        let mut at = |second: u64, no_room, behind| {
            let found = cache.look((7, 9), no_room, behind, Moment(second * 1_000_000_000));
            (found.reason, found.observed)
        };
        assert_eq!(at(1, 5, 0), (None, Some(7.0)));
        assert_eq!(at(2, 5, 2), (Some(INDEX_BEHIND.into()), Some(2.0)));
        assert_eq!(at(3, 6, 2), (Some(POOL_FULL.into()), Some(3.0)));
        assert_eq!(at(64, 6, 2), (None, Some(7.0)));
    }
}
