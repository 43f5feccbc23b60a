//! The PROXY protocol: what a proxy in front says of a connection, and what an upstream is told.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::{
    Backend, Client, Ending, Origin, Setup, Watch, both_drivers, eventually, get, get_with,
    installed, ok,
};

both_drivers!(
    a_header_names_the_client,
    a_header_may_come_in_any_pieces,
    a_proxy_that_speaks_for_itself_is_the_client,
    who_brings_no_header_is_cut_off,
    only_trusted_proxies_bring_one,
    a_header_that_does_not_come_in_time_ends_its_connection,
    the_client_of_a_header_is_trusted_as_itself,
    an_upstream_is_told_of_each_client_on_a_connection_of_its_own,
    a_tunnel_begins_with_a_header,
    curl_haproxy_and_nginx_agree,
    gateways_agree,
);

const V1: &str = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, from 203.0.113.9, with a TLV behind the addresses.
fn v2(what: u8) -> Vec<u8> {
    let block = [
        203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x67, 0, 80, 4, 0, 2, b'\r', b'\n',
    ];
    [SIGNATURE, &[what, 0x11, 0, 17], &block].concat()
}

fn requiring(backend: Backend, origin: SocketAddr) -> Setup {
    Setup::new(backend)
        .set("listen", "proxy_protocol", "\"require\"")
        .everything_to(origin, "")
}

fn refused(watch: &mut Watch, reason: &str) -> f64 {
    watch.sample("proxy_protocol_errors_total", &[&format!("\"{reason}\"")])
}

fn forwarded_for(origin: &Origin) -> String {
    origin
        .last()
        .field("x-forwarded-for")
        .unwrap_or_default()
        .to_owned()
}

fn a_header_names_the_client(backend: Backend) {
    let origin = Origin::answering(ok("Cache-Control: max-age=60\r\n", "x"));
    let gateway = requiring(backend, origin.address()).start();
    for (number, header) in [V1.as_bytes().to_vec(), v2(0x21)].into_iter().enumerate() {
        let mut client = gateway.client();
        client.send([&header[..], get(&format!("/{number}")).as_bytes()].concat());
        assert_eq!(client.response().status, 200);
        assert_eq!(forwarded_for(&origin), "203.0.113.9");
        // It holds for all that the connection carries.
        assert!(client.ask(get(&format!("/{number}"))).is_hit());
        client.ask(get(&format!("/{number}/more")));
        assert_eq!(forwarded_for(&origin), "203.0.113.9");
    }
}

fn a_header_may_come_in_any_pieces(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = requiring(backend, origin.address()).start();
    for header in [V1.as_bytes().to_vec(), v2(0x21)] {
        let bytes = [&header[..], get("/a").as_bytes()].concat();
        let mut client = gateway.client();
        for byte in bytes.chunks(1) {
            client.send(byte);
        }
        assert_eq!(client.response().status, 200);
        assert_eq!(forwarded_for(&origin), "203.0.113.9");
        let mut client = gateway.client();
        client.send(&header);
        client.send(get("/a"));
        client.send(get("/b"));
        assert_eq!(
            (client.response().status, client.response().status),
            (200, 200)
        );
    }
}

fn a_proxy_that_speaks_for_itself_is_the_client(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = requiring(backend, origin.address()).start();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20)] {
        let mut client = gateway.client();
        client.send([&header[..], get("/a").as_bytes()].concat());
        assert_eq!(client.response().status, 200);
        assert_eq!(forwarded_for(&origin), "127.0.0.1");
    }
}

fn who_brings_no_header_is_cut_off(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = requiring(backend, origin.address()).start();
    let mut watch = Watch::of(&gateway);
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200));
    let mut longer = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    longer.resize(9_000, 0);
    for (bytes, reason) in [
        (get("/a").into_bytes(), "missing"),
        (
            b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            "malformed",
        ),
        (
            b"PROXY TCP4 203.0.113.9\r\nX: 127.0.0.1 4711 80\r\n".to_vec(),
            "malformed",
        ),
        (v2(0x11), "malformed"),
        (long.into_bytes(), "too_long"),
        (longer, "too_long"),
    ] {
        let before = refused(&mut watch, reason);
        let mut client = gateway.client();
        client.send(&bytes);
        let (answer, ending) = client.until_end();
        assert!(answer.is_empty() && ending != Ending::Open, "{bytes:?}");
        eventually("it is counted", || {
            refused(&mut watch, reason) == before + 1.0
        });
    }
    let mut client = gateway.client();
    client.send("PROXY TCP4 203");
    client.end_sending();
    assert!(client.until_end().0.is_empty());
    eventually("it is counted", || refused(&mut watch, "cut_off") == 1.0);
    assert_eq!(origin.count(), 0);
}

fn only_trusted_proxies_bring_one(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let setup = requiring(backend, origin.address());
    let gateway = setup
        .clone()
        .set("forwarded", "trusted_proxies", "\"10.0.0.0/8\"")
        .start();
    let mut watch = Watch::of(&gateway);
    let mut client = gateway.client();
    client.send(format!("{V1}{}", get("/a")));
    assert!(client.until_end().0.is_empty());
    eventually("it is counted", || refused(&mut watch, "untrusted") == 1.0);
    assert_eq!(origin.count(), 0);
    let gateway = setup
        .set("forwarded", "trusted_proxies", "\"127.0.0.1\"")
        .start();
    let mut client = gateway.client();
    client.send(format!("{V1}{}", get("/a")));
    assert_eq!(client.response().status, 200);
}

fn a_header_that_does_not_come_in_time_ends_its_connection(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = requiring(backend, origin.address())
        .set("limits", "header_timeout", "\"300ms\"")
        .start();
    let mut watch = Watch::of(&gateway);
    let mut silent = gateway.client();
    let mut slow = gateway.client();
    slow.send("PROXY TCP4");
    for client in [&mut silent, &mut slow] {
        let (answer, ending) = client.until_end();
        assert!(answer.is_empty() && ending != Ending::Open);
    }
    assert_eq!(refused(&mut watch, "late"), 1.0);
}

fn the_client_of_a_header_is_trusted_as_itself(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    for (trusted, wanted) in [
        (
            "[\"127.0.0.1\", \"203.0.113.0/24\"]",
            "198.51.100.7, 203.0.113.9",
        ),
        ("[\"127.0.0.1\"]", "203.0.113.9"),
    ] {
        let gateway = requiring(backend, origin.address())
            .set("forwarded", "trusted_proxies", trusted)
            .start();
        let mut client = gateway.client();
        client.send(format!(
            "{V1}{}",
            get_with("/a", "X-Forwarded-For: 198.51.100.7\r\n")
        ));
        assert_eq!(client.response().status, 200);
        assert_eq!(forwarded_for(&origin), wanted);
    }
}

fn an_upstream_is_told_of_each_client_on_a_connection_of_its_own(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "send_proxy_protocol = \"v1\"")
        .start();
    let mut clients = [gateway.client(), gateway.client()];
    let mut wanted = Vec::new();
    for round in 0..2 {
        for client in &mut clients {
            let response = client.ask(format!(
                "POST /{round} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody"
            ));
            assert_eq!(response.status, 200);
            let own = client.socket().local_addr().expect("it is connected");
            let (port, to) = (own.port(), gateway.data.port());
            wanted.push(format!(
                "PROXY TCP4 127.0.0.1 127.0.0.1 {port} {to}\r\nPOST /{round} HTTP/1.1\r\n"
            ));
        }
    }
    let received = origin.received();
    let connections: Vec<String> = received
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .filter(|bytes| !bytes.is_empty())
        .collect();
    assert_eq!(connections.len(), wanted.len());
    for (connection, wanted) in connections.iter().zip(&wanted) {
        assert!(connection.starts_with(wanted), "{connection}");
        assert!(
            connection.contains("\r\nConnection: close\r\n") && connection.ends_with("body"),
            "{connection}"
        );
    }
    let mut watch = Watch::of(&gateway);
    eventually("no connection is kept", || {
        watch.sample("connection_pool_active", &["\"origin\""]) == 0.0
            && watch.sample("connection_pool_idle", &["\"origin\""]) == 0.0
    });
}

fn a_tunnel_begins_with_a_header(backend: Backend) {
    let origin = Origin::start(|_, wire| {
        wire.send("HTTP/1.1 101 It\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        while let Some(bytes) = wire.some() {
            wire.send(bytes);
        }
        e2e::Next::Close
    });
    let gateway = Setup::new(backend)
        .everything_to(origin.address(), "send_proxy_protocol = \"v1\"")
        .start();
    let mut client = gateway.client();
    client.send(get_with("/a", "Connection: upgrade\r\nUpgrade: echo\r\n"));
    assert_eq!(client.head().expect("an answer").status, 101);
    client.send("hello");
    assert_eq!(client.bytes(5).expect("an echo"), b"hello");
    let received = origin.received();
    assert!(
        received
            .iter()
            .any(|bytes| bytes.starts_with(b"PROXY TCP4 127.0.0.1 "))
    );
}

/// A program of somebody else's with a configuration of its own; ended on drop.
struct Peer {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Peer {
    /// `@AT@` in the configuration stands for its directory, `@ADDRESS@` for where it is to listen.
    fn start(program: &Path, name: &str, config: &str, option: &str) -> Peer {
        let directory =
            std::env::temp_dir().join(format!("ultragate-e2e-proxy-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("there is room for a directory");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        drop(listener);
        let config = config
            .replace("@AT@", &directory.display().to_string())
            .replace("@ADDRESS@", &address.to_string());
        let file = directory.join("config");
        fs::write(&file, config).expect("the directory takes a file");
        let child = Command::new(program)
            .arg(option)
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        eventually("it listens", || TcpStream::connect(address).is_ok());
        Peer {
            child,
            directory,
            address,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const HAPROXY_ORIGIN: &str = "
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend told
    bind @ADDRESS@ accept-proxy
    http-request return status 200 content-type text/plain lf-string \"%[src] %[src_port]\"
";

const HAPROXY_FRONT: &str = "
defaults
    mode tcp
    timeout connect 5s
    timeout client 5s
    timeout server 5s
listen front
    bind @ADDRESS@
    server gateway @GATEWAY@ @SEND@
";

const NGINX_ORIGIN: &str = "
daemon off;
master_process off;
pid @AT@/pid;
error_log @AT@/error.log;
events {}
http {
    access_log off;
    client_body_temp_path @AT@/temp;
    proxy_temp_path @AT@/temp;
    fastcgi_temp_path @AT@/temp;
    uwsgi_temp_path @AT@/temp;
    scgi_temp_path @AT@/temp;
    default_type text/plain;
    server {
        listen @ADDRESS@ proxy_protocol;
        location / { return 200 \"$proxy_protocol_addr $proxy_protocol_port\"; }
    }
}
";

fn curl_haproxy_and_nginx_agree(backend: Backend) {
    let (Some(curl), Some(haproxy), Some(nginx)) =
        (installed("curl"), installed("haproxy"), installed("nginx"))
    else {
        return;
    };
    let name = backend.name();
    // As the origin: both versions, to both of them.
    let to_haproxy = Peer::start(&haproxy, &format!("haproxy-{name}"), HAPROXY_ORIGIN, "-f");
    let to_nginx = Peer::start(&nginx, &format!("nginx-{name}"), NGINX_ORIGIN, "-c");
    for peer in [&to_haproxy, &to_nginx] {
        for version in ["v1", "v2"] {
            let more = format!("send_proxy_protocol = \"{version}\"");
            let gateway = Setup::new(backend)
                .everything_to(peer.address, &more)
                .start();
            let mut client = gateway.client();
            let port = client
                .socket()
                .local_addr()
                .expect("it is connected")
                .port();
            for _ in 0..2 {
                let response = client.ask(get("/a"));
                assert_eq!(
                    (response.status, response.text()),
                    (200, format!("127.0.0.1 {port}")),
                    "{version}"
                );
            }
        }
    }
    // In front.
    let origin = Origin::answering(ok("", "x"));
    let gateway = requiring(backend, origin.address())
        .set("forwarded", "fields", "\"forwarded\"")
        .start();
    let url = format!("http://{}/a", gateway.data);
    let status = Command::new(&curl)
        .args(["-sS", "--fail", "--haproxy-protocol", &url])
        .stdout(Stdio::null())
        .status()
        .expect("curl runs");
    assert!(status.success());
    for send in ["send-proxy", "send-proxy-v2"] {
        let config = HAPROXY_FRONT
            .replace("@GATEWAY@", &gateway.data.to_string())
            .replace("@SEND@", send);
        let front = Peer::start(&haproxy, &format!("{send}-{name}"), &config, "-f");
        let mut client = Client::connect(front.address);
        assert_eq!(client.ask(get("/b")).status, 200, "{send}");
        let told = origin.last();
        let told = told.field("forwarded").unwrap_or_default();
        assert!(told.starts_with("for=127.0.0.1;"), "{told}");
    }
}

fn gateways_agree(backend: Backend) {
    let origin = Origin::answering(ok("", "x"));
    let inner = requiring(backend, origin.address()).start();
    for version in ["v1", "v2"] {
        let more = format!("send_proxy_protocol = \"{version}\"");
        let outer = Setup::new(backend)
            .set("listen", "proxy_protocol", "\"require\"")
            .everything_to(inner.data, &more)
            .start();
        for header in [
            V1,
            "PROXY TCP6 2001:db8::1 ::1 4711 80\r\n",
            "PROXY UNKNOWN\r\n",
        ] {
            let mut client = outer.client();
            client.send(format!("{header}{}", get("/a")));
            assert_eq!(client.response().status, 200);
            let wanted = match header {
                V1 => "203.0.113.9",
                "PROXY UNKNOWN\r\n" => "127.0.0.1",
                _ => "2001:db8::1",
            };
            assert_eq!(forwarded_for(&origin), wanted, "{version} {header}");
        }
    }
}
