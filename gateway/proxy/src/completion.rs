//! What a stored part lacked, on its way to be put together with it (RFC 9110 §15.3.7.3).

use std::sync::Arc;

use base::{Driver, Memory};
use cache::policy;
use cache::{Brought, Head, NodeStore};
use http::{Name, Response};

use crate::Proxy;
use crate::fetch::{Filling, Missing};
use crate::origin_answer::Reserved;
use crate::table::Ticket;

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Takes what a stored part lacks; the client is served from both. An answer that is neither that nor one to the whole
    /// request ends the use of the parts, and those who wait are decided on again.
    pub(crate) fn completed(
        &mut self,
        io: &mut D,
        ticket: Ticket,
        response: &Response<'_>,
    ) -> bool {
        let missing = self
            .fetches
            .at(ticket)
            .and_then(|fetch| fetch.missing.take());
        let Some(missing) = missing.filter(|_| matches!(response.status, 206 | 416)) else {
            return false;
        };
        if !fits(response, &missing) {
            self.start_over(io, ticket, &missing.part.key);
            return true;
        }
        match self.put_together(io, ticket, response, &missing) {
            Some((object, writer)) => {
                let object = Arc::new(object);
                self.publish(io, ticket, response, &object, Brought::Completed);
                if let Some(fetch) = self.fetches.at(ticket) {
                    fetch.filling = Some(Filling { object, writer });
                }
            }
            None => self.give_up(io, ticket),
        }
        true
    }

    /// There is no room for it, or it may not be stored: those who wait ask for all they want.
    fn give_up(&mut self, io: &mut D, ticket: Ticket) {
        self.drop_conn(io, ticket);
        let fetch = self.fetches.remove(ticket);
        if let Some(leader) = fetch.and_then(|fetch| fetch.leader) {
            self.lead_ends(&leader);
            leader.pass();
        }
    }

    fn put_together(
        &mut self,
        io: &D,
        ticket: Ticket,
        response: &Response<'_>,
        missing: &Missing<D::Memory>,
    ) -> Option<Reserved<D::Memory>> {
        let now = io.now().wall;
        let fetch = self.fetches.at(ticket)?;
        let ((asked, route), rules, requested) = (
            (fetch.order.asked.clone(), fetch.order.route),
            fetch.order.rules,
            fetch.requested,
        );
        let facts = fetch.order.facts;
        let part = policy::part(response)?;
        // What the part has already need not come again (RFC 9110 §15.3.7, RFC 9111 §3.4).
        let stored = (200, &*missing.part.head.fields);
        let times = (requested, now);
        let (fields, terms) = policy::freshened(&facts, stored, response, times, &rules);
        let terms = terms.ok()?;
        let variant = self.variant_for((&asked, route), response)?;
        let head = Head {
            status: response.status,
            fields: fields.into_boxed_slice(),
        };
        let key = missing.part.key.clone();
        let (object, writer) = self.reserve(io, key, head, terms, variant, Some(part.length))?;
        let object = object.of_part(Some(part)).joined(&missing.part)?;
        Some((object, writer))
    }
}

/// Whether an answer is the range that was missing, of the same representation by its own word: what it leaves out it has
/// not said (RFC 9110 §15.3.7.3).
fn fits<M: Memory>(response: &Response<'_>, missing: &Missing<M>) -> bool {
    let Some(part) = policy::part(response) else {
        return false;
    };
    let is_range = (part.first, part.end()) == (missing.range.start, missing.range.end);
    let tag = response.fields.first(Name::ETag);
    is_range && tag.is_some_and(|tag| missing.part.has_tag(tag))
}
