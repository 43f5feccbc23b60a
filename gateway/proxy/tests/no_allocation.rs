//! A hit allocates nothing: not the first of a connection that was warm once, not sixteen in a batch.

mod paper;

use paper::World;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: t\r\n\r\n";

#[test]
fn hits_allocate_nothing() {
    for (body, batch) in [(5, 1), (1024, 1), (1024, 16)] {
        let mut world = World::new();
        let client = stored(&mut world, body);
        let requests = GET.repeat(batch);
        for _ in 0..8 {
            world.arrives(client, &requests);
        }
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                world.arrives(client, &requests);
            }
        });
        assert_eq!(counted.count_total, 0, "{batch} hits of {body} bytes");
    }
}

/// A world that holds `/a`, and a client of it; what is sent is not kept, for keeping it would be counted.
fn stored(world: &mut World, body: usize) -> base::SocketId {
    let client = world.client();
    world.arrives(client, GET);
    let origin = world.origin();
    let head =
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {body}\r\n\r\n");
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + body, b'x');
    world.arrives(origin, &answer);
    world.io.keep = false;
    client
}
