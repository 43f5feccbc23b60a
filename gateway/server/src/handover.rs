//! Turning new connections away at the end of a process's life, so that nobody who got one loses it.
//!
//! Other sockets may listen on the address: an instance that joined with `listen.share_port`, or the one that this joined.
//! Then new connections are steered to those. Whatever steering misses, and everything where there is nobody to steer to, is
//! held off: a SYN gets no answer, and the client's next one, a second later, meets whoever listens by then. A connection
//! that the kernel has completed is never given up: the listeners close once all of them have been taken.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use base::Span;
use platform::group::{self, Targets};
use platform::host::HostRoot;

use crate::events::log;
use crate::listen::AcceptQueues;
use crate::running::Running;

/// From holding SYNs off to the end of every handshake that was begun: one whose client says nothing is held by the kernel for
/// a second (`io.defer_accept`), and every one needs a round trip.
pub(crate) const HANDSHAKES: Span = Span::from_millis(1_500);

/// Where our sockets stand among those of their group, as far as it matters: sockets stand in the order in which they began
/// to listen, and the last takes the place of one that is closed (socket(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In front of all others.
    First,
    /// Right behind these (inodes), and nobody behind us.
    Behind(BTreeSet<u64>),
    /// Among others.
    Unknown,
}

impl Place {
    /// Of sockets that began to listen behind these, if that is known.
    pub(crate) fn behind(before: Option<Vec<u64>>) -> Self {
        match before {
            Some(before) if before.is_empty() => Self::First,
            Some(before) => Self::Behind(before.into_iter().collect()),
            None => Self::Unknown,
        }
    }

    /// These listen beside us now.
    fn see(&mut self, others: &BTreeSet<u64>) {
        match self {
            // Whoever comes later stands behind us, and so does whoever takes a place there.
            Self::First => {}
            _ if others.is_empty() => *self = Self::First,
            Self::Behind(before) if before == others => {}
            Self::Behind(_) => *self = Self::Unknown,
            Self::Unknown => {}
        }
    }

    /// All others and none of ours.
    fn others(&self, ours: u32, others: u32) -> Option<Targets> {
        let first = match self {
            Self::First => ours,
            Self::Behind(_) => 0,
            Self::Unknown => return None,
        };
        (others > 0).then_some(Targets::Among {
            first,
            count: others,
        })
    }

    /// The same while ours are closed one after the other. Nobody takes this back, so it must be harmless afterwards: either a
    /// number that nobody has then, or all that there are then.
    fn others_at_last(&self, ours: u32, others: u32) -> Option<Targets> {
        match self {
            Self::First => (others > 0).then_some(Targets::One(ours.max(others))),
            Self::Behind(_) | Self::Unknown => self.others(ours, others),
        }
    }
}

/// Whoever shares a port takes its part of new connections from now on, whatever a former process told the group.
pub(crate) fn come_in(queues: &AcceptQueues, doors: &[(SocketAddr, Place)]) {
    for (number, (address, _)) in doors.iter().enumerate() {
        if let Err(why) = queues.of_one(number, group::choose_by_hash) {
            log!(ListenerNote, %address, %why, "what was said of who gets new connections stays");
        }
    }
}

/// What becomes of new connections to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// They come to us.
    Taken,
    /// Nobody else is there: they wait.
    Alone,
    /// They go to so many sockets of others.
    Steered(u32),
    /// They cannot be steered: why. The kernel hands on what we have not accepted when we close.
    Migrated(String),
    /// They cannot be steered: why. Those that would come to us wait.
    Unsteered(String),
    /// Nor can they be held off: why.
    Open(String),
}

/// An address that clients come to.
struct Door {
    address: SocketAddr,
    place: Place,
    way: Way,
    /// Packets that its sockets had dropped when they began to be held off.
    dropped: u64,
}

/// All of them.
pub(crate) struct Handover {
    doors: Vec<Door>,
    root: HostRoot,
}

impl Handover {
    /// Of what was bound.
    pub(crate) fn new(running: &Running) -> Self {
        let doors = running.data_places.iter().map(|(address, place)| Door {
            address: *address,
            place: place.clone(),
            way: Way::Taken,
            dropped: 0,
        });
        Self {
            doors: doors.collect(),
            root: HostRoot::system(),
        }
    }

    /// The second's look at who listens beside us, where that has to be followed.
    pub(crate) fn watch(&mut self, running: &Running) {
        for (number, door) in self.doors.iter_mut().enumerate() {
            if door.place != Place::First {
                // Where nobody can tell, the place stays as unsure as it is.
                let _ = door.look(&self.root, running, number);
            }
        }
    }

    /// Has new connections go elsewhere, or wait. To be said again and again: others come and go.
    pub(crate) fn turn_away(&mut self, running: &Running) {
        for (number, door) in self.doors.iter_mut().enumerate() {
            let way = door.turn_away(&self.root, running, number);
            if way != door.way {
                way.tell(door.address);
                door.way = way;
            }
        }
    }

    /// How long to go on accepting from the beginning of turning away on.
    pub(crate) fn patience(&self) -> Span {
        let migrated = |door: &Door| matches!(door.way, Way::Migrated(_));
        match self.doors.iter().all(migrated) {
            true => Span::ZERO,
            false => HANDSHAKES,
        }
    }

    /// Our sockets are about to close.
    pub(crate) fn leave(&self, running: &Running) {
        let doors = self.doors.iter().enumerate();
        let held_off = doors.map(|(number, door)| {
            let dropped = door.dropped(running, number);
            dropped.saturating_sub(door.dropped)
        });
        let held_off: u64 = held_off.sum();
        self.give_up(running);
        log!(
            ListenersClosed,
            held_off,
            "nobody new is accepted; connections under way finish"
        );
    }

    /// Leaves nothing behind that could harm whoever goes on listening.
    pub(crate) fn give_up(&self, running: &Running) {
        let ours = running.plan.shards.len() as u32;
        for (number, door) in self.doors.iter().enumerate() {
            if let Way::Steered(others) = door.way
                && let Some(targets) = door.place.others_at_last(ours, others)
            {
                // The same was said with success a moment ago.
                let _ = door.steer(running, number, targets);
            }
        }
    }
}

impl Door {
    /// How many sockets of others there are.
    fn look(&mut self, root: &HostRoot, running: &Running, number: usize) -> io::Result<u32> {
        let own = running.accept_queues.of_address(number, group::inode)?;
        let all = group::members(root, self.address)?;
        let others = all.into_iter().filter(|inode| !own.contains(inode));
        let others: BTreeSet<u64> = others.collect();
        self.place.see(&others);
        Ok(u32::try_from(others.len()).unwrap_or(u32::MAX))
    }

    fn turn_away(&mut self, root: &HostRoot, running: &Running, number: usize) -> Way {
        let steered = match self.look(root, running, number) {
            Ok(0) => Ok(0),
            Ok(others) => self.steer_to(running, number, others),
            Err(why) => Err(format!("who else listens there cannot be found out: {why}")),
        };
        if let Err(why) = &steered
            && group::migrates(root)
        {
            return Way::Migrated(why.clone());
        }
        let held = self.hold_off(running, number);
        match (steered, held) {
            (Ok(0) | Err(_), Err(why)) => {
                Way::Open(format!("SYNs cannot be left without an answer: {why}"))
            }
            (Err(why), Ok(())) => Way::Unsteered(why),
            (Ok(0), Ok(())) => Way::Alone,
            (Ok(others), _) => Way::Steered(others),
        }
    }

    fn steer_to(&self, running: &Running, number: usize, others: u32) -> Result<u32, String> {
        let ours = running.plan.shards.len() as u32;
        let targets = self.place.others(ours, others);
        let targets = targets.ok_or(
            "more than two instances came and went, and in which order \
                                     is not known",
        )?;
        let steered = self.steer(running, number, targets);
        steered.map_err(|why| format!("SO_ATTACH_REUSEPORT_CBPF: {why}"))?;
        Ok(others)
    }

    fn steer(&self, running: &Running, number: usize, targets: Targets) -> io::Result<()> {
        running
            .accept_queues
            .of_one(number, |socket| group::steer(socket, targets))
    }

    fn hold_off(&mut self, running: &Running, number: usize) -> io::Result<()> {
        if matches!(self.way, Way::Alone | Way::Steered(_) | Way::Unsteered(_)) {
            return Ok(());
        }
        self.dropped = self.dropped(running, number);
        let held = running.accept_queues.of_address(number, group::hold_off)?;
        match held.len() == running.plan.shards.len() {
            true => Ok(()),
            false => Err(io::Error::other(
                "no descriptor was left for it at the start",
            )),
        }
    }

    fn dropped(&self, running: &Running, number: usize) -> u64 {
        let dropped = running.accept_queues.of_address(number, group::dropped);
        let dropped = dropped.unwrap_or_default().into_iter();
        dropped.map(u64::from).sum()
    }
}

impl Way {
    fn tell(&self, address: SocketAddr) {
        match self {
            Self::Taken => {}
            Self::Alone => log!(
                DrainHoldsOff,
                %address,
                "nobody else listens here: SYNs get no answer until the listeners are closed"
            ),
            Self::Steered(others) => log!(
                DrainSteers,
                %address,
                others,
                "new connections go to the other sockets of this address"
            ),
            Self::Migrated(why) => log!(
                DrainUnsteered,
                %address,
                %why,
                "new connections cannot be steered: the kernel hands on those not accepted here (net.ipv4.tcp_migrate_req)"
            ),
            Self::Unsteered(why) => log!(
                DrainUnsteered,
                %address,
                %why,
                "new connections cannot be steered: of those that come here, each waits a second for its next SYN; \
                 sysctl -w net.ipv4.tcp_migrate_req=1 has the kernel hand them on"
            ),
            Self::Open(why) => log!(
                DrainUnsteered,
                %address,
                %why,
                "new connections are neither steered nor held off: what comes in the moment of closing is reset; \
                 sysctl -w net.ipv4.tcp_migrate_req=1 has the kernel hand it on where another instance listens"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(inodes: &[u64]) -> BTreeSet<u64> {
        inodes.iter().copied().collect()
    }

    #[test]
    fn whoever_was_first_stays_in_front_whoever_comes_and_goes() {
        let mut place = Place::behind(Some(Vec::new()));
        for others in [&[7, 8][..], &[8, 9, 10], &[], &[11]] {
            place.see(&set(others));
            assert_eq!(place, Place::First);
        }
        let among = Targets::Among { first: 2, count: 3 };
        assert_eq!(place.others(2, 3), Some(among));
        assert_eq!(place.others(2, 0), None);
    }

    #[test]
    fn whoever_joined_stands_behind_until_the_others_have_gone_and_first_from_then_on() {
        let mut place = Place::behind(Some(vec![1, 2]));
        place.see(&set(&[1, 2]));
        let front = Targets::Among { first: 0, count: 2 };
        assert_eq!(place.others(3, 2), Some(front));
        assert_eq!(place.others_at_last(3, 2), Some(front));
        // While they close, numbers change hands.
        place.see(&set(&[2]));
        assert_eq!(place.others(3, 1), None);
        place.see(&set(&[]));
        assert_eq!(place, Place::First);
    }

    #[test]
    fn a_third_instance_beside_the_first_two_makes_places_unknown() {
        let mut place = Place::behind(Some(vec![1, 2]));
        place.see(&set(&[1, 2, 5]));
        assert_eq!(place, Place::Unknown);
        place.see(&set(&[5]));
        assert_eq!(place.others(2, 1), None);
        assert_eq!(Place::behind(None), Place::Unknown);
    }

    #[test]
    fn the_last_word_names_a_number_that_is_nobodys_afterwards() {
        for (ours, others) in [(1, 1), (2, 2), (2, 5), (5, 2)] {
            let last = Place::First.others_at_last(ours, others);
            let Some(Targets::One(number)) = last else {
                panic!("{last:?}");
            };
            assert!(number >= others && number >= ours);
        }
    }
}
