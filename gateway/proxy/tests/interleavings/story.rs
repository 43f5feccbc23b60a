//! A story: two shards, their clients, their origin, and what happens next.

use std::collections::BTreeMap;

use base::{Fault, SocketId, Span};
use cache::policy::{Rules, SetCookie};
use proxy::Settings;

use crate::chance::Chance;
use crate::claims::{Held, Known, claim, hold, is_hit, says_why_stale};
use crate::client::{Ask, Client, request_length};
use crate::log::Log;
use crate::origin::{Connection, Origin, TARGETS};
use crate::paper::World;
use crate::wire::Answer;

const CLIENTS_MAX: usize = 8;
/// Rounds in which everything that is under way must have come to its end.
const LAST_ROUNDS_MAX: usize = 400;

pub(crate) struct Story {
    chance: Chance,
    shards: [World; 2],
    clients: Vec<Client>,
    origin: Origin,
    connections: Vec<Connection>,
    /// Counts what happens: the story's own time.
    now: u64,
    asked: u64,
    /// When each target was last changed by an unsafe request.
    purged: [u64; TARGETS],
    /// Something may break, or there is little room.
    faults: bool,
    pub(crate) log: Log,
    /// How often each kind of answer came.
    pub(crate) met: BTreeMap<&'static str, u64>,
}

impl Story {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let rules = Rules {
            fetch_whole: chance.one_in(2),
            set_cookie: SetCookie::Strip,
            ..Rules::default()
        };
        let stamp_step = chance.pick(&[0, 0, 30_000, 60_000]);
        let object_bytes_max = chance.pick(&[100_000, 64 << 20]);
        let memory = chance.pick(&[0, 200 << 10, 64 << 20, 64 << 20]);
        let connections_max = chance.pick(&[1, 2, 100]);
        let little = memory < 1 << 20 || object_bytes_max < 1 << 20;
        let faults = chance.one_in(2) || little;
        let adjust = |settings: &mut Settings| {
            settings.object_bytes_max = object_bytes_max;
            settings.upstreams[0].connections_max = connections_max;
            without_timeouts(settings);
        };
        let (first, second) = World::pair_by(rules, adjust, memory);
        let mut shards = [first, second];
        for shard in &mut shards {
            shard.io.stamp_step = stamp_step;
            shard.io.hold_clients_only = true;
        }
        let whole = rules.fetch_whole;
        Self {
            chance,
            log: Log::new(format!(
                "objects of {object_bytes_max} bytes, {memory} bytes of memory, {connections_max} connections, stamps {stamp_step} apart, faults {faults}, fetch whole {whole}"
            )),
            shards,
            clients: Vec::new(),
            origin: Origin::default(),
            connections: Vec::new(),
            now: 1,
            asked: 0,
            purged: [0; TARGETS],
            faults,
            met: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, steps: usize) -> Held {
        for _ in 0..steps {
            self.step()?;
        }
        self.end()
    }

    fn meet(&mut self, kind: &'static str) {
        *self.met.entry(kind).or_default() += 1;
    }

    fn step(&mut self) -> Held {
        self.now += 1;
        match self.chance.below(24) {
            0..=6 => self.somebody_asks(),
            7..=9 => self.origin_accepts(),
            10..=16 => self.some_answer_comes(),
            17 => self.time_passes(),
            18 => self.sends_finish_or_wait(),
            19 => self.a_client_leaves(),
            20 => self.a_connection_breaks(),
            _ => self.packets_come(),
        }
        if let Some(shard) = self.chance.pick(&[Some(0), Some(1), None]) {
            self.shards[shard].settle();
        }
        if self.chance.one_in(3) {
            self.settle();
        }
        self.look()
    }

    /// Each shard turns, and hears the other.
    fn settle(&mut self) {
        for _ in 0..3 {
            for shard in &mut self.shards {
                shard.settle();
            }
        }
    }

    fn somebody_asks(&mut self) {
        let here = self.clients.iter().filter(|client| !client.ended).count();
        if here == 0 || here < CLIENTS_MAX && self.chance.one_in(2) {
            let shard = self.chance.below(self.shards.len());
            let socket = self.shards[shard].client();
            self.clients.push(Client::new(shard, socket));
        }
        let here = (0..self.clients.len()).filter(|&at| !self.clients[at].ended);
        let at = self.chance.pick(&here.collect::<Vec<_>>());
        let tags = self.origin.tags();
        let mut asks = Vec::new();
        for _ in 0..self.chance.pick(&[1, 1, 1, 1, 2, 3]) {
            self.asked += 1;
            let id = format!("r{}", self.asked);
            let ask = Ask::any(&mut self.chance, id, &tags, self.now);
            let shard = self.clients[at].shard;
            self.log.note(
                self.now,
                &format!("client {at} of shard {shard} asks {}", ask.text()),
            );
            asks.push(ask);
        }
        self.clients[at].send(&mut self.chance, asks);
        self.packet_comes(at);
    }

    fn packets_come(&mut self) {
        for at in 0..self.clients.len() {
            self.packet_comes(at);
        }
    }

    fn packet_comes(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let shard = &mut self.shards[client.shard];
        if receives(shard, client.socket)
            && let Some(packet) = client.going.pop_front()
        {
            shard.arrives(client.socket, &packet);
        }
    }

    fn origin_accepts(&mut self) {
        for (at, shard) in self.shards.iter_mut().enumerate() {
            while let Some(&socket) = shard.io.connects.front() {
                if shard.closed(socket).is_some() {
                    shard.io.connects.pop_front();
                } else {
                    shard.origin();
                    self.connections.push(Connection::new(at, socket));
                }
            }
        }
    }

    fn some_answer_comes(&mut self) {
        let busy = (0..self.connections.len()).filter(|&at| self.connections[at].answer.is_some());
        let busy: Vec<_> = busy.collect();
        if !busy.is_empty() {
            let at = self.chance.pick(&busy);
            let most = self.chance.pick(&[1, 60, 400, 5_000, 60_000, 1 << 20]);
            self.answer_comes(at, most);
        }
    }

    /// At most so many bytes of the answer on a connection.
    fn answer_comes(&mut self, at: usize, most: usize) {
        let connection = &mut self.connections[at];
        let origin = connection.to_string();
        let (shard, socket) = (&mut self.shards[connection.shard], connection.socket);
        let Some(going) = connection
            .answer
            .as_mut()
            .filter(|_| receives(shard, socket))
        else {
            return;
        };
        let count = going.bytes.len().min(most);
        let bytes: Vec<u8> = going.bytes.drain(..count).collect();
        self.log
            .note(self.now, &format!("{count} bytes come from {origin}"));
        shard.arrives(socket, &bytes);
        if !going.bytes.is_empty() {
            return;
        }
        let (closes, purges) = (going.closes, going.purges);
        connection.answer = None;
        if closes && shard.closed(socket).is_none() {
            shard.ends(socket);
        }
        if let Some(target) = purges {
            self.now += 1;
            self.purged[target] = self.now;
            self.log.note(self.now, &format!("/{target} is changed"));
            self.meet("a purge");
            self.now += 1;
        }
    }

    fn time_passes(&mut self) {
        let seconds = self.chance.below(3) as u64;
        self.log.note(self.now, &format!("{seconds} s pass"));
        for shard in &mut self.shards {
            shard.passes(Span::from_secs(seconds));
        }
    }

    fn sends_finish_or_wait(&mut self) {
        let shard = self.chance.below(self.shards.len());
        let io = &mut self.shards[shard].io;
        io.hold_sends = self.chance.one_in(2);
        let finish = !io.hold_sends || self.chance.one_in(2);
        let waits = io.hold_sends;
        let line = format!("sends of shard {shard}: finished now {finish}, wait from now {waits}");
        self.log.note(self.now, &line);
        if finish {
            io.release();
        }
    }

    fn a_client_leaves(&mut self) {
        if self.clients.is_empty() || !self.chance.one_in(3) {
            return;
        }
        let at = self.chance.below(self.clients.len());
        let client = &mut self.clients[at];
        let (shard, socket) = (&mut self.shards[client.shard], client.socket);
        if !client.ended && shard.closed(socket).is_none() {
            client.ended = true;
            client.waits.clear();
            self.log.note(self.now, &format!("client {at} leaves"));
            shard.fails(socket, Fault::Reset);
        }
    }

    /// An idle connection breaks without anybody's notice; a busy one is a fault.
    fn a_connection_breaks(&mut self) {
        if self.connections.is_empty() || !self.chance.one_in(6) {
            return;
        }
        let at = self.chance.below(self.connections.len());
        let connection = &self.connections[at];
        let (shard, socket) = (&mut self.shards[connection.shard], connection.socket);
        let idle = connection.answer.is_none() && connection.came.is_empty();
        if shard.closed(socket).is_none() && (idle || self.faults) {
            self.log.note(self.now, &format!("{connection} breaks"));
            shard.fails(socket, Fault::Reset);
        }
    }

    /// Reads what the shards sent.
    fn look(&mut self) -> Held {
        let shards = &self.shards;
        let stands = |one: &Connection| shards[one.shard].closed(one.socket).is_none();
        self.connections.retain(stands);
        for at in 0..self.connections.len() {
            self.origin_reads(at)?;
        }
        for at in 0..self.clients.len() {
            self.client_reads(at)?;
        }
        Ok(())
    }

    fn origin_reads(&mut self, at: usize) -> Held {
        let connection = &mut self.connections[at];
        connection.came += &self.shards[connection.shard].sent(connection.socket);
        if connection.answer.is_some() {
            return claim(connection.came.is_empty(), "a request behind another");
        }
        let Some(length) = request_length(&connection.came) else {
            return Ok(());
        };
        let request: String = connection.came.drain(..length).collect();
        self.now += 1;
        let said = self.origin.answer(&mut self.chance, &request, self.now);
        let said = said.ok_or_else(|| format!("no request of ours: {request}"))?;
        let line = format!("{connection} is asked {request}: {}", said.head());
        connection.answer = Some(said.into());
        self.log.note(self.now, &line);
        Ok(())
    }

    fn client_reads(&mut self, at: usize) -> Held {
        let client = &mut self.clients[at];
        let (shard, socket) = (&mut self.shards[client.shard], client.socket);
        let came = shard.sent(socket);
        if client.ended {
            return Ok(());
        }
        client.came += &came;
        client.ended = shard.closed(socket).is_some();
        while self.client_reads_one(at)? {}
        let client = &self.clients[at];
        let cut = !client.waits.is_empty() || !client.came.is_empty();
        if client.ended && cut {
            self.log.note(self.now, &format!("client {at} is cut"));
            self.meet("a cut");
            return claim(self.faults, "a client is cut, and nothing broke");
        }
        Ok(())
    }

    /// Takes one whole answer and holds it against what was asked.
    fn client_reads_one(&mut self, at: usize) -> Result<bool, String> {
        let client = &mut self.clients[at];
        if client.came.is_empty() {
            return Ok(false);
        }
        let ask = client.waits.front().ok_or("an answer to nothing")?;
        let Some((answer, length)) = Answer::first_of(&client.came, ask.method == "HEAD")? else {
            return Ok(false);
        };
        let ask = ask.clone();
        client.waits.pop_front();
        client.came.drain(..length);
        self.log
            .note(self.now, &format!("client {at} gets {}", answer.head));
        let known = Known {
            faults: self.faults,
            purged: self.purged[ask.target],
        };
        let kind = hold(&ask, &answer, &known)?;
        self.meet(kind);
        if is_hit(&answer) {
            self.meet(if says_why_stale(&answer) {
                "a stale hit"
            } else {
                "a hit"
            });
        }
        Ok(true)
    }

    /// Everything that is under way comes to its end.
    fn end(&mut self) -> Held {
        for shard in &mut self.shards {
            shard.io.hold_sends = false;
            shard.io.stamp_step = 0;
        }
        for _ in 0..LAST_ROUNDS_MAX {
            for shard in &mut self.shards {
                shard.io.release();
            }
            self.settle();
            self.look()?;
            if self.is_quiet() {
                break;
            }
            self.origin_accepts();
            self.packets_come();
            for at in 0..self.connections.len() {
                self.answer_comes(at, 60_000);
            }
        }
        self.nothing_is_left()
    }

    fn is_quiet(&self) -> bool {
        let fetches = self.shards.iter().map(|shard| shard.proxy.fetches());
        fetches.sum::<usize>() == 0 && self.clients.iter().all(Client::is_content)
    }

    fn nothing_is_left(&mut self) -> Held {
        for (at, client) in self.clients.iter().enumerate() {
            let waits: Vec<_> = client.waits.iter().map(|ask| &ask.id).collect();
            let (came, going) = (client.came.len(), client.going.len());
            let hangs = format!(
                "client {at} waits for {waits:?} with {came} bytes of an answer, {going} packets unsent"
            );
            claim(client.is_content(), &hangs)?;
        }
        for shard in &self.shards {
            claim(shard.proxy.fetches() == 0, "a fetch is left")?;
        }
        for client in &self.clients {
            let shard = &mut self.shards[client.shard];
            if shard.closed(client.socket).is_none() {
                shard.fails(client.socket, Fault::Reset);
            }
        }
        for shard in &self.shards {
            claim(shard.io.lent.get() == 0, "a receive buffer is left")?;
        }
        Ok(())
    }
}

/// Nothing ends because it takes long: what hangs is found at the end.
fn without_timeouts(settings: &mut Settings) {
    let long = Span::from_secs(100_000);
    let upstream = &mut settings.upstreams[0];
    upstream.acquire_timeout = long;
    upstream.connect_timeout = long;
    upstream.first_byte_timeout = long;
    upstream.read_timeout = long;
    let limits = &mut settings.limits;
    limits.header_timeout = long;
    limits.idle_timeout = long;
    limits.rate_grace = long;
}

fn receives(shard: &World, socket: SocketId) -> bool {
    shard.closed(socket).is_none() && shard.socket(socket).receiving
}
