//! Serving a router on a port of the control plane, with bounds: so many connections, and a time for each head.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::events::log;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of one port; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// From the first byte of a head, or the end of the answer before, to a head's last byte. It bounds idle connections too.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Rest after a failed accept (no descriptors left), so that it is not a busy loop.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Who asks, for handlers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Places for the connections of one port.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Semaphore>);

impl Places {
    /// How many there are.
    pub(crate) const MAX: u64 = CONNECTIONS_MAX as u64;

    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(CONNECTIONS_MAX)))
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> u64 {
        Self::MAX.saturating_sub(self.0.available_permits() as u64)
    }
}

/// Serves until the process ends. Runs on the control thread.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    Places(permits): Places,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        // Nobody else takes places: the one that is free now is free when somebody comes.
        let Ok(free) = permits.acquire().await else {
            return Ok(());
        };
        drop(free);
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                    continue;
                };
                let router = router.clone().layer(Extension(Peer(peer)));
                tokio::spawn(connection(stream, router, permit));
            }
            Err(why) => {
                log!(ControlAcceptFailed, %why, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, permit: OwnedSemaphorePermit) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(why) = served {
        log!(ControlConnectionFailed, %why, "a connection broke");
    }
    drop(permit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_taken_by_a_connection_and_by_nothing_else() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let places = Places::new();
        tokio::spawn(serve(listener, Router::new(), places.clone()));
        let becomes = async |count| {
            while places.taken() != count {
                tokio::task::yield_now().await;
            }
        };
        let one = TcpStream::connect(address).await.expect("connected");
        becomes(1).await;
        let other = TcpStream::connect(address).await.expect("connected");
        becomes(2).await;
        drop((one, other));
        becomes(0).await;
    }
}
