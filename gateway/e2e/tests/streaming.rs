//! Bodies larger than anybody holds: bounded memory and back-pressure. `ULTRAGATE_E2E_LARGE=1` makes them 10 GiB.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Wire, becomes, both_drivers, eventually, get,
};

const BLOCK: usize = 64 << 10;
/// How much the gateway may grow while a body passes.
const GROWTH_BYTES_MAX: u64 = 2 << 20;

fn body_bytes() -> u64 {
    if std::env::var("ULTRAGATE_E2E_LARGE").is_ok_and(|value| value == "1") {
        10 << 30
    } else {
        160 << 20
    }
}

/// What may lie between the two ends: both connections' buffers as far as the kernel lets them grow, and our window.
fn between_bytes_max() -> u64 {
    let most = |name: &str| -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        text.split_whitespace()
            .nth(2)
            .and_then(|most| most.parse().ok())
            .unwrap_or(6 << 20)
    };
    2 * (most("tcp_rmem") + most("tcp_wmem")) + (4 << 20)
}

/// A block whose bytes tell their place, so that a lost or doubled piece shows.
fn block() -> Vec<u8> {
    (0..BLOCK).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

/// Writes `length` bytes of blocks, counting; false when the other side is gone.
fn pour(stream: &mut impl Write, length: u64, poured: &AtomicU64) -> bool {
    let block = block();
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        if stream.write_all(&block[..part]).is_err() {
            return false;
        }
        left -= part as u64;
        poured.fetch_add(part as u64, Ordering::Relaxed);
    }
    true
}

/// Reads `length` bytes and compares each block; the number of bytes that were right.
fn drink(stream: &mut impl Read, length: u64) -> u64 {
    let expected = block();
    let mut got = vec![0; BLOCK];
    let mut done = 0;
    while done < length {
        let part = usize::try_from(length - done).map_or(BLOCK, |left| left.min(BLOCK));
        if stream.read_exact(&mut got[..part]).is_err() || got[..part] != expected[..part] {
            break;
        }
        done += part as u64;
    }
    done
}

/// Waits until nothing moves any more.
fn stands_still(poured: &AtomicU64) -> u64 {
    loop {
        let before = poured.load(Ordering::Relaxed);
        if !becomes(Duration::from_millis(400), || {
            poured.load(Ordering::Relaxed) != before
        }) {
            return before;
        }
    }
}

/// What passes first, so that memory which is taken once, buffers that are touched for the first time, is not counted.
const WARM_BYTES: u64 = 20 << 20;

/// An origin that pours as many bytes as the target says on GET, drinks as many on PUT and gives as many back on POST.
/// Targets that begin with `/late` wait for the gate.
fn origin(poured: &Arc<AtomicU64>, gate: &Gate) -> Origin {
    let (poured, gate) = (Arc::clone(poured), gate.clone());
    Origin::start(move |request, wire| {
        if request.target.starts_with("/late") {
            gate.pass();
        }
        let length = request
            .target
            .rsplit('/')
            .next()
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let storable = if request.target.contains("/fresh/") {
            "max-age=60"
        } else {
            "no-store"
        };
        let whole = match request.method.as_str() {
            "GET" => answer(wire, length, storable) && pour(&mut wire.socket(), length, &poured),
            "PUT" => drink(wire, length) == length && answer(wire, 0, storable),
            _ => answer(wire, length, storable) && give_back(wire, length),
        };
        if whole { Next::Keep } else { Next::Close }
    })
}

fn answer(wire: &mut Wire, length: u64, storable: &str) -> bool {
    wire.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nCache-Control: {storable}\r\n\r\n"
    ))
}

fn give_back(wire: &mut Wire, length: u64) -> bool {
    let mut writer = wire.socket();
    std::io::copy(&mut wire.take(length), &mut writer).is_ok_and(|copied| copied == length)
}

/// A gateway through which a body has passed in each way.
fn warmed(origin: &Origin, backend: Backend) -> Gateway {
    let gateway = Gateway::before(origin, backend);
    download(&gateway, "/warm", WARM_BYTES);
    let (mut client, pourer) = upload(&gateway, "PUT", "/warm", WARM_BYTES, &Arc::default());
    assert_eq!(client.response().status, 200);
    assert!(pourer.join().is_ok_and(|whole| whole));
    give_and_take(&gateway, WARM_BYTES);
    gateway
}

fn download(gateway: &Gateway, target: &str, length: u64) {
    let mut client = gateway.client();
    client.send(get(&format!("{target}/{length}")));
    assert_eq!(client.head().map(|head| head.status), Ok(200));
    assert_eq!(
        drink(&mut client, length),
        length,
        "a byte differs or is missing"
    );
}

/// Begins to send a body; the thread that goes on with it says whether all of it was taken.
fn upload(
    gateway: &Gateway,
    method: &str,
    target: &str,
    length: u64,
    poured: &Arc<AtomicU64>,
) -> (Client, JoinHandle<bool>) {
    let mut client = gateway.client();
    client.send(format!(
        "{method} {target}/{length} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
    ));
    let (mut stream, counter) = (client.socket(), Arc::clone(poured));
    let work = move || pour(&mut stream, length, &counter);
    (
        client,
        thread::Builder::new()
            .spawn(work)
            .expect("a thread is left"),
    )
}

fn give_and_take(gateway: &Gateway, length: u64) {
    let (mut client, pourer) = upload(gateway, "POST", "/back", length, &Arc::default());
    assert_eq!(client.head().map(|head| head.status), Ok(200));
    assert_eq!(
        drink(&mut client, length),
        length,
        "a byte differs or is missing"
    );
    assert!(pourer.join().is_ok_and(|whole| whole));
}

fn expect_no_growth(gateway: &Gateway, before: u64) {
    let now = gateway.rss_bytes();
    assert!(
        now < before + GROWTH_BYTES_MAX,
        "grew from {before} to {now} bytes"
    );
}

both_drivers!(
    a_slow_client_holds_the_origin_back,
    a_slow_origin_holds_the_client_back,
    both_directions_at_once_pass_in_bounded_memory,
    what_is_too_large_to_store_passes_whole_and_is_asked_for_again,
    a_client_that_goes_away_lets_the_origin_go,
);

fn a_slow_client_holds_the_origin_back(backend: Backend) {
    let poured = Arc::default();
    let origin = origin(&poured, &Gate::new());
    let gateway = warmed(&origin, backend);
    poured.store(0, Ordering::Relaxed);
    let before = gateway.rss_bytes();
    let mut client = gateway.client();
    client.send(get(&format!("/slow/{}", body_bytes())));
    assert_eq!(client.head().map(|head| head.status), Ok(200));
    let ahead = stands_still(&poured);
    assert!(
        ahead < between_bytes_max(),
        "{ahead} bytes are between the two ends"
    );
    expect_no_growth(&gateway, before);
    assert_eq!(
        drink(&mut client, body_bytes()),
        body_bytes(),
        "a byte differs or is missing"
    );
    expect_no_growth(&gateway, before);
}

fn a_slow_origin_holds_the_client_back(backend: Backend) {
    let (poured, gate) = (Arc::default(), Gate::new());
    let origin = origin(&poured, &gate);
    let gateway = warmed(&origin, backend);
    poured.store(0, Ordering::Relaxed);
    let before = gateway.rss_bytes();
    let (mut client, pourer) = upload(&gateway, "PUT", "/late", body_bytes(), &poured);
    let ahead = stands_still(&poured);
    assert!(
        ahead < between_bytes_max(),
        "{ahead} bytes are between the two ends"
    );
    expect_no_growth(&gateway, before);
    gate.open();
    assert!(pourer.join().is_ok_and(|whole| whole));
    assert_eq!(client.response().status, 200);
    expect_no_growth(&gateway, before);
}

fn both_directions_at_once_pass_in_bounded_memory(backend: Backend) {
    let origin = origin(&Arc::default(), &Gate::new());
    let gateway = warmed(&origin, backend);
    let before = gateway.rss_bytes();
    give_and_take(&gateway, body_bytes());
    expect_no_growth(&gateway, before);
}

fn what_is_too_large_to_store_passes_whole_and_is_asked_for_again(backend: Backend) {
    let origin = origin(&Arc::default(), &Gate::new());
    let gateway = Gateway::before(&origin, backend);
    download(&gateway, "/fresh", body_bytes());
    download(&gateway, "/fresh", body_bytes());
    assert_eq!(origin.count(), 2);
}

fn a_client_that_goes_away_lets_the_origin_go(backend: Backend) {
    let poured = Arc::default();
    let origin = origin(&poured, &Gate::new());
    let gateway = Gateway::before(&origin, backend);
    let before = gateway.settled_descriptors();
    let mut client = gateway.client();
    client.send(get(&format!("/gone/{}", body_bytes())));
    assert!(client.head().is_ok());
    let ahead = stands_still(&poured);
    drop(client);
    eventually("both connections are closed", || {
        gateway.descriptors() <= before
    });
    assert!(
        stands_still(&poured) < ahead + between_bytes_max(),
        "the rest was fetched for nobody"
    );
    download(&gateway, "/next", WARM_BYTES);
}
