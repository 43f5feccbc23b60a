//! Bodies put together from parts of others' bodies, whose bytes they share (RFC 9110 §15.3.7.3).

use std::ops::Range;

use base::Memory;

use crate::body::{Body, BodyState, Filled, Piece};

/// What of which bodies follows one another.
pub(crate) struct Joined<M: Memory> {
    members: Box<[Member<M>]>,
}

struct Member<M: Memory> {
    filled: Filled<M>,
    /// Its bytes that count.
    range: Range<u64>,
    /// Where they lie in the joined body.
    start: u64,
    /// The number of its first extent, counted through all members.
    first_extent: usize,
}

impl<M: Memory> Joined<M> {
    /// `ranges` of bodies of known length, in order.
    pub(crate) fn of<'a>(ranges: impl IntoIterator<Item = (&'a Body<M>, Range<u64>)>) -> Self
    where
        M: 'a,
    {
        let mut members: Vec<Member<M>> = Vec::new();
        for (body, range) in ranges {
            for (filled, range) in body.members(range) {
                let (start, first_extent) = members.last().map_or((0, 0), |last| {
                    (last.end(), last.first_extent + last.filled.extents_max())
                });
                members.push(Member {
                    filled,
                    range,
                    start,
                    first_extent,
                });
            }
        }
        Self {
            members: members.into(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    /// What of `range` lies in which member.
    pub(crate) fn members(&self, range: Range<u64>) -> Vec<(Filled<M>, Range<u64>)> {
        let within = self.members.iter().filter_map(|member| {
            let from = range.start.max(member.start);
            let to = range.end.min(member.end());
            let place = |at: u64| at - member.start + member.range.start;
            (from < to).then(|| (member.filled.clone(), place(from)..place(to)))
        });
        within.collect()
    }

    pub(crate) fn length(&self) -> u64 {
        self.members.last().map_or(0, Member::end)
    }

    pub(crate) fn state(&self) -> BodyState {
        let mut all = BodyState::Complete;
        for member in &self.members {
            match member.filled.state() {
                BodyState::Failed => return BodyState::Failed,
                BodyState::Filling => all = BodyState::Filling,
                BodyState::Complete => {}
            }
        }
        all
    }

    /// Bytes published without a gap.
    pub(crate) fn published(&self) -> u64 {
        let missing = self.members.iter().find_map(|member| {
            let published = member.filled.published().min(member.range.end);
            (published < member.range.end)
                .then(|| member.start + published.saturating_sub(member.range.start))
        });
        missing.unwrap_or_else(|| self.length())
    }

    pub(crate) fn extent(&self, index: usize) -> Option<&M::Extent> {
        let member = self.last_where(|member| member.first_extent <= index)?;
        member.filled.extent(index - member.first_extent)
    }

    pub(crate) fn piece(&self, offset: u64) -> Option<Piece> {
        let member = self.last_where(|member| member.start <= offset)?;
        let within = offset - member.start + member.range.start;
        if within >= member.range.end {
            return None;
        }
        let piece = member.filled.piece(within)?;
        let left = u32::try_from(member.range.end - within).unwrap_or(u32::MAX);
        Some(Piece {
            index: member.first_extent + piece.index,
            start: piece.start,
            end: piece.end.min(piece.start.saturating_add(left)),
        })
    }

    pub(crate) fn cost_bytes(&self) -> u64 {
        let mut bodies = 0;
        for (at, member) in self.members.iter().enumerate() {
            let mut before = self.members.iter().take(at);
            let is_counted = before.any(|other| other.filled.is_same(&member.filled));
            bodies += if is_counted {
                0
            } else {
                member.filled.cost_bytes()
            };
        }
        bodies + size_of_val(&*self.members) as u64
    }

    fn last_where(&self, is: impl Fn(&Member<M>) -> bool) -> Option<&Member<M>> {
        let at = self.members.partition_point(is).checked_sub(1)?;
        self.members.get(at)
    }
}

impl<M: Memory> Member<M> {
    fn end(&self) -> u64 {
        self.start + (self.range.end - self.range.start)
    }
}
