//! What a proxy says of a connection before the first request on it (PROXY protocol), and what an upstream is told before
//! ours.

use std::net::SocketAddr;

use base::{Closing, Driver, SocketId};
use cache::NodeStore;
use http::proxy_protocol::{self, Read, Refused, Version};

use crate::Proxy;

/// Why a connection is ended that had to begin with a header.
const UNTRUSTED: &str = "untrusted";
const LATE: &str = "late";
const CUT_OFF: &str = "cut_off";

impl<D: Driver, S: NodeStore<D::Memory>> Proxy<D, S> {
    /// Reads the header that a connection must begin with; true once what follows it may be read.
    pub(crate) fn read_preface(&mut self, io: &mut D, socket: SocketId) -> bool {
        let forwarding = &self.settings.forwarding;
        let Some(client) = self.clients.at(socket) else {
            return false;
        };
        let Some(work) = client.work.as_mut() else {
            return false;
        };
        if forwarding.is_read() {
            let peer = client.source.get(io, socket);
            if !peer.is_some_and(|peer| forwarding.trusts(peer.ip())) {
                self.refuse_preface(io, socket, UNTRUSTED);
                return false;
            }
        }
        while let Some((bytes, at)) = work.input.pop(0) {
            match proxy_protocol::read(bytes.get(at..).unwrap_or_default()) {
                Read::Whole { length, source } => {
                    if let Some(source) = source {
                        client.source.set(source);
                    }
                    client.awaits_preface = false;
                    work.input.put_back(bytes, at + length);
                    return true;
                }
                Read::Partial => {
                    work.input.put_back_partial(&bytes, at);
                    if work.input.buffers() < 2 {
                        return false;
                    }
                }
                Read::Refused(refused) => {
                    self.refuse_preface(io, socket, word(refused));
                    return false;
                }
            }
        }
        false
    }

    /// A connection whose header does not come, or does not come whole, ends without an answer: who is at its other end does
    /// not speak as agreed. One without a byte (a look whether the port is open) is no error.
    pub(crate) fn preface_over(&mut self, io: &mut D, socket: SocketId, is_late: bool) {
        let client = self.clients.at(socket);
        match client.is_some_and(|client| client.work.is_some()) {
            true => self.refuse_preface(io, socket, if is_late { LATE } else { CUT_OFF }),
            false => self.close_client(io, socket, Closing::Orderly),
        }
    }

    fn refuse_preface(&mut self, io: &mut D, socket: SocketId, why: &str) {
        self.cells.proxy_protocol_refused.add(why);
        self.close_client(io, socket, Closing::Orderly);
    }

    /// What a connection to an upstream begins with, where it is told of clients: who asks, as believed, and where it came
    /// to.
    pub(crate) fn preface(&mut self, io: &D, client: SocketId, version: Version) -> Vec<u8> {
        let asker = self.clients.at(client);
        let asker = asker.and_then(|asker| asker.address(io, client));
        let ends: Option<(SocketAddr, SocketAddr)> = asker.zip(io.local(client));
        let mut out = Vec::new();
        proxy_protocol::write(&mut out, version, ends);
        out
    }
}

fn word(refused: Refused) -> &'static str {
    match refused {
        Refused::Missing => "missing",
        Refused::Malformed => "malformed",
        Refused::TooLong => "too_long",
    }
}
