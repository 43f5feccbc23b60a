//! The floor: a server that answers every request with the same bytes and does nothing else.
//!
//! What it costs is what this host's kernel costs; no gateway on the same system calls can be cheaper. It reads no
//! request, it only counts the empty lines that end heads, so a peer that sends bodies is answered wrongly. It is a
//! measuring rod and is never part of a gateway.

mod answers;
mod epoll;
mod listener;
mod receive_ring;
mod uring;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// How the floor asks the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorBackend {
    /// Multishot accept and receive, a ring of provided buffers, task work deferred to the one issuer.
    IoUring,
    /// Level-triggered `epoll_wait`, then `recv` and `send` for each ready connection.
    Epoll,
}

/// What to serve, where and how.
#[derive(Clone, Debug)]
pub struct Floor {
    /// How to ask the kernel.
    pub backend: FloorBackend,
    /// Address to bind; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// CPU to run on; `None` leaves the thread where it is.
    pub cpu: Option<usize>,
    /// The whole answer, head and body, as it goes out. Must not be empty.
    pub answer: Vec<u8>,
    /// A send for each answer instead of one send for all answers of a turn to a connection.
    pub send_each: bool,
    /// End each connection after its first answer, as an answer with `Connection: close` promises.
    pub close: bool,
    /// How long to serve; `None` serves until the process is killed.
    pub duration: Option<Duration>,
}

/// What was served until the time was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloorServed {
    /// Connections accepted.
    pub connections: u64,
    /// Requests counted in what arrived.
    pub requests: u64,
}

/// Serves on the calling thread; `ready` is told the bound address before the first connection is taken.
///
/// # Errors
/// The first refusal of the kernel that concerns the whole server: binding, setting up, out of descriptors. What goes
/// wrong with a single connection closes that connection.
pub fn serve(floor: &Floor, ready: impl FnOnce(SocketAddr)) -> io::Result<FloorServed> {
    if floor.answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an answer of no bytes answers nothing",
        ));
    }
    pin(floor.cpu)?;
    let listener = listener::bind(floor.listen)?;
    ready(listener.local_addr()?);
    let answers = answers::Answers::new(&floor.answer);
    match floor.backend {
        FloorBackend::IoUring => uring::serve(&listener, answers, floor),
        FloorBackend::Epoll => epoll::serve(&listener, &answers, floor),
    }
}

fn pin(cpu: Option<usize>) -> io::Result<()> {
    let Some(id) = cpu else { return Ok(()) };
    if core_affinity::set_for_current(core_affinity::CoreId { id }) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("this process may not run on CPU {id}"),
    ))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";

    fn floor(backend: FloorBackend, send_each: bool, answer: Vec<u8>) -> Floor {
        Floor {
            backend,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cpu: None,
            answer,
            send_each,
            close: false,
            duration: Some(Duration::from_millis(500)),
        }
    }

    fn beside(
        backend: FloorBackend,
        send_each: bool,
        answer: Vec<u8>,
        client: impl FnOnce(SocketAddr),
    ) -> FloorServed {
        run_beside(floor(backend, send_each, answer), client)
    }

    /// Runs the floor for half a second beside `client`, which must be done by then.
    fn run_beside(floor: Floor, client: impl FnOnce(SocketAddr)) -> FloorServed {
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let server = scope.spawn(move || serve(&floor, |address| tell.send(address).unwrap()));
            client(told.recv().unwrap());
            server.join().unwrap().unwrap()
        })
    }

    fn every_way(story: impl Fn(FloorBackend, bool)) {
        for backend in [FloorBackend::IoUring, FloorBackend::Epoll] {
            for send_each in [false, true] {
                story(backend, send_each);
            }
        }
    }

    #[test]
    fn sixteen_pipelined_requests_get_sixteen_answers() {
        every_way(|backend, send_each| {
            let served = beside(backend, send_each, ANSWER.to_vec(), |address| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream
                    .write_all(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(16))
                    .unwrap();
                let mut answers = vec![0; ANSWER.len() * 16];
                stream.read_exact(&mut answers).unwrap();
                assert_eq!(answers, ANSWER.repeat(16));
            });
            assert_eq!(
                served,
                FloorServed {
                    connections: 1,
                    requests: 16
                }
            );
        });
    }

    #[test]
    fn a_head_split_at_every_byte_is_one_request() {
        every_way(|backend, send_each| {
            beside(backend, send_each, ANSWER.to_vec(), |address| {
                let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                for split in 1..head.len() {
                    stream.write_all(&head[..split]).unwrap();
                    stream.write_all(&head[split..]).unwrap();
                    let mut answer = vec![0; ANSWER.len()];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, ANSWER);
                }
            });
        });
    }

    #[test]
    fn a_client_that_ends_its_side_is_answered_and_let_go() {
        every_way(|backend, send_each| {
            beside(backend, send_each, ANSWER.to_vec(), |address| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert_eq!(answer, ANSWER);
            });
        });
    }

    #[test]
    fn told_to_close_it_ends_the_connection_after_the_answer() {
        every_way(|backend, send_each| {
            let floor = Floor {
                close: true,
                ..floor(backend, send_each, ANSWER.to_vec())
            };
            let served = run_beside(floor, |address| {
                for _ in 0..20 {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).unwrap();
                    assert_eq!(answer, ANSWER);
                }
            });
            assert_eq!(
                served,
                FloorServed {
                    connections: 20,
                    requests: 20
                }
            );
        });
    }

    #[test]
    fn an_answer_larger_than_the_socket_holds_arrives_whole() {
        every_way(|backend, send_each| {
            let answer = (0..8_000_000_u32)
                .map(|n| n.to_le_bytes()[0])
                .collect::<Vec<u8>>();
            beside(backend, send_each, answer.clone(), |address| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream
                    .write_all(&b"GET / HTTP/1.1\r\n\r\n".repeat(3))
                    .unwrap();
                let mut got = vec![0; answer.len() * 3];
                stream.read_exact(&mut got).unwrap();
                assert!(got == answer.repeat(3), "the bytes differ");
            });
        });
    }

    #[test]
    fn time_over_with_connections_open_ends_the_server() {
        every_way(|backend, send_each| {
            let mut kept = Vec::new();
            let served = beside(backend, send_each, ANSWER.to_vec(), |address| {
                kept.extend((0..50).map(|_| TcpStream::connect(address).unwrap()));
                for stream in &mut kept {
                    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                    stream.read_exact(&mut [0; ANSWER.len()]).unwrap();
                }
            });
            assert_eq!(served.connections, 50);
        });
    }
}
