//! Runs hits through the sans-I/O core, for callgrind: `hit_cost SHAPE COUNT` with the shape `one` (a curl-like request at
//! a time), `wrk` (wrk's) or `batch` (wrk's, sixteen pipelined). Instructions a hit = the difference of two counts.

#[path = "../tests/paper/mod.rs"]
mod paper;

use paper::World;

const WRK: &[u8] = b"GET /1k HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const CURL: &[u8] =
    b"GET /1k HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let shape = arguments.next().unwrap_or_default();
    let count = arguments
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1000);
    let requests = match shape.as_str() {
        "one" => CURL.to_vec(),
        "batch" => WRK.repeat(16),
        _ => WRK.to_vec(),
    };
    let mut world = World::new();
    let client = world.client();
    world.arrives(client, WRK);
    let origin = world.origin();
    let mut answer =
        b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Fri, 15 Jan 2027 08:00:00 GMT\r\n\
        Content-Type: application/octet-stream\r\nETag: \"abc\"\r\nCache-Control: max-age=3600\r\n\
        Content-Length: 1024\r\n\r\n"
            .to_vec();
    answer.resize(answer.len() + 1024, b'x');
    world.arrives(origin, &answer);
    world.io.keep = false;
    for _ in 0..count {
        world.arrives(client, &requests);
    }
}
