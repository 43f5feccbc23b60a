//! Connections beside the load: idle ones, and clients that read slowly. They are not part of its figures.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use platform::host::pin::pin;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::reader::{Expected, Reader};
use crate::record::Beside;

/// Connections from one source address: the kernel has some 28,000 ports for each.
const PER_SOURCE: u32 = 20_000;
/// What a slow client reads at once and how often: 4 KiB a second.
const SLOW_BYTES: usize = 256;
const SLOW_EVERY: Duration = Duration::from_micros(62_500);
/// A small one, so that the server feels it: the kernel doubles it and keeps it above its own least.
const SLOW_BUFFER_BYTES: usize = 4096;

/// What is asked for, and of whom.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) address: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) bodiless: bool,
    pub(crate) patience: Duration,
}

/// Idle connections and slow clients of a run.
pub(crate) struct Company {
    idle: Vec<TcpStream>,
    slow: u32,
    reading: Option<Reading>,
}

/// The slow clients' thread; it ends when nobody can tell it anything any more.
struct Reading {
    going: Sender<()>,
    thread: JoinHandle<Sum>,
}

/// What the slow clients came to.
#[derive(Default)]
struct Sum {
    answers: u64,
    bytes: u64,
    lost: u64,
}

impl Company {
    /// Opens them all. Each idle connection asks once, so that the server has it as one that was used.
    pub(crate) fn open(
        asked: &Asked,
        idle: u32,
        slow: u32,
        cpu: Option<usize>,
    ) -> io::Result<Self> {
        let idle = (0..idle)
            .map(|number| {
                let mut stream = asked.open(number, None)?;
                asked.ask_once(&mut stream)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let reading = match slow {
            0 => None,
            _ => Some(read_slowly(asked.clone(), slow, cpu)?),
        };
        Ok(Self {
            idle,
            slow,
            reading,
        })
    }

    /// The run is over: what became of them.
    pub(crate) fn close(self) -> Option<Beside> {
        let sum = self.reading.map_or(Sum::default(), |reading| {
            drop(reading.going);
            // A thread that panicked has lost them all.
            reading.thread.join().unwrap_or(Sum {
                lost: u64::from(self.slow),
                ..Sum::default()
            })
        });
        let stands = |stream: &&TcpStream| {
            let mut byte = [0];
            matches!(stream.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
        };
        let beside = Beside {
            idle: self.idle.len() as u64,
            idle_lost: (self.idle.len() - self.idle.iter().filter(stands).count()) as u64,
            slow: u64::from(self.slow),
            slow_lost: sum.lost,
            slow_answers: sum.answers,
            slow_bytes: sum.bytes,
        };
        (beside.idle + beside.slow > 0).then_some(beside)
    }
}

impl Asked {
    fn open(&self, number: u32, receive_bytes: Option<usize>) -> io::Result<TcpStream> {
        let family = match self.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let descriptor = socket(family, SocketType::STREAM, None)?;
        if let Some(bytes) = receive_bytes {
            set_socket_recv_buffer_size(&descriptor, bytes)?;
        }
        let source = number / PER_SOURCE;
        if source > 0 && self.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let source = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + source);
            bind(&descriptor, &SocketAddr::from((source, 0)))?;
        }
        connect(&descriptor, &self.address)?;
        let stream = TcpStream::from(descriptor);
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(stream)
    }

    fn ask_once(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&self.request)?;
        let mut reader = Reader::new(self.bodiless);
        let mut part = vec![0; 16 << 10];
        loop {
            match stream.read(&mut part)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => match reader.feed(&part[..count], &Expected::default()) {
                    Ok(Some(_)) => return Ok(()),
                    Ok(None) => {}
                    Err(fault) => return Err(io::Error::other(fault.to_string())),
                },
            }
        }
    }
}

/// One thread for all slow clients, on the generator's own CPU.
fn read_slowly(asked: Asked, slow: u32, cpu: Option<usize>) -> io::Result<Reading> {
    let (going, over): (_, Receiver<()>) = mpsc::channel();
    let mut clients = (0..slow)
        .map(|_| Client::open(&asked))
        .collect::<io::Result<Vec<_>>>()?;
    let run = move || {
        if let Some(cpu) = cpu {
            // Elsewhere it reads as slowly.
            let _ = pin(cpu);
        }
        let mut sum = Sum::default();
        while over.recv_timeout(SLOW_EVERY) == Err(RecvTimeoutError::Timeout) {
            for client in &mut clients {
                let next = client.read(&asked, &mut sum);
                if next == Next::Reading {
                    continue;
                }
                let new = Client::open(&asked);
                sum.lost += u64::from(next == Next::Lost || new.is_err());
                if let Ok(new) = new {
                    *client = new;
                }
            }
        }
        sum
    };
    let thread = thread::Builder::new().name("slow".to_owned()).spawn(run)?;
    Ok(Reading { going, thread })
}

/// What comes next on a slow client's connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Reading,
    /// It was for one answer.
    Over,
    Lost,
}

/// A client that reads slowly and asks again.
struct Client {
    stream: TcpStream,
    reader: Reader,
}

impl Client {
    fn open(asked: &Asked) -> io::Result<Self> {
        let mut stream = asked.open(0, Some(SLOW_BUFFER_BYTES))?;
        stream.write_all(&asked.request)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            reader: Reader::new(asked.bodiless),
        })
    }

    /// Reads a little.
    fn read(&mut self, asked: &Asked, sum: &mut Sum) -> Next {
        let mut part = [0; SLOW_BYTES];
        let count = match self.stream.read(&mut part) {
            Ok(0) => return Next::Lost,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Reading,
            Err(_) => return Next::Lost,
        };
        sum.bytes += count as u64;
        match self.reader.feed(&part[..count], &Expected::default()) {
            Ok(Some(answer)) => {
                sum.answers += 1;
                match (answer.persists, self.stream.write_all(&asked.request)) {
                    (false, _) => Next::Over,
                    (true, Ok(())) => Next::Reading,
                    (true, Err(_)) => Next::Lost,
                }
            }
            Ok(None) => Next::Reading,
            Err(_) => Next::Lost,
        }
    }
}
