//! What a completion's 64 bits of user data mean: the operation, and the slot it was for.

use base::{Room, SocketId};

/// An operation in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The multishot poll of the doorbell.
    Bell,
    /// A multishot accept; the index is the listener's.
    Accept,
    /// A multishot receive into buffers of this size.
    Receive(Room),
    /// A send.
    Send,
    /// A connect.
    Connect,
    /// The cancelling of a socket's receive; completes only when it found nothing.
    CancelReceive,
    /// The cancelling of a socket's send or connect; completes only when it found nothing.
    CancelSend,
    /// The cancelling of a listener's accept; completes only when it found nothing.
    CancelAccept,
    /// Something whose result nobody waits for.
    Silent,
}

const KIND_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;

impl Op {
    /// The user data of this operation on a slot.
    #[inline]
    pub(super) fn token(self, slot: SocketId) -> u64 {
        u64::from(self.kind()) << KIND_SHIFT
            | u64::from(slot.generation) << GENERATION_SHIFT
            | u64::from(slot.index)
    }

    /// The user data of this operation on something that is no socket.
    pub(super) fn token_at(self, index: u32) -> u64 {
        let generation = 0;
        self.token(SocketId { index, generation })
    }

    /// The operation and slot behind user data. What no operation of ours has is [`Op::Silent`].
    #[inline]
    pub(super) fn decode(token: u64) -> (Self, SocketId) {
        let bytes = token.to_le_bytes();
        let slot = SocketId {
            index: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            generation: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], 0]),
        };
        (Self::of(bytes[7]), slot)
    }

    #[inline]
    fn kind(self) -> u8 {
        match self {
            Self::Silent => 0,
            Self::Bell => 1,
            Self::Accept => 2,
            Self::Receive(Room::Small) => 3,
            Self::Receive(Room::Large) => 4,
            Self::Send => 5,
            Self::Connect => 6,
            Self::CancelReceive => 7,
            Self::CancelSend => 8,
            Self::CancelAccept => 9,
        }
    }

    #[inline]
    fn of(kind: u8) -> Self {
        match kind {
            1 => Self::Bell,
            2 => Self::Accept,
            3 => Self::Receive(Room::Small),
            4 => Self::Receive(Room::Large),
            5 => Self::Send,
            6 => Self::Connect,
            7 => Self::CancelReceive,
            8 => Self::CancelSend,
            9 => Self::CancelAccept,
            _ => Self::Silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_comes_back_with_its_slot() {
        let slot = SocketId {
            index: u32::MAX - 5,
            generation: (1 << 24) - 1,
        };
        for kind in 0..=10 {
            let op = Op::of(kind);
            assert_eq!(Op::decode(op.token(slot)), (op, slot));
        }
    }
}
