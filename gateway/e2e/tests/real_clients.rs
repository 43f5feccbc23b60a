//! Programs that others wrote, on both sides.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::{Backend, Gateway, Next, Origin, Setup, both_drivers, eventually, get, installed, ok};

/// Runs a program; what it printed.
fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn page_and_echo() -> Origin {
    Origin::start(|request, wire| {
        let body = wire.body(request).unwrap_or_default();
        let body = if request.method == "GET" {
            b"page".to_vec()
        } else {
            body
        };
        wire.send(ok(
            "Cache-Control: max-age=60\r\n",
            if request.method == "HEAD" {
                Vec::new()
            } else {
                body
            },
        ));
        Next::Keep
    })
}

const NGINX: &str = "
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
    server {
        listen @ADDRESS@;
        root @AT@/files;
        expires 1h;
        location /packed/ {
            alias @AT@/files/;
            gzip on;
            gzip_vary on;
            gzip_proxied any;
            gzip_min_length 1;
            gzip_types *;
        }
    }
}
";

/// nginx on a port and in a directory of its own; ended on drop.
struct Nginx {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Nginx {
    fn start(program: &Path, name: &str) -> Nginx {
        let directory =
            std::env::temp_dir().join(format!("ultragate-e2e-nginx-{name}-{}", std::process::id()));
        fs::create_dir_all(directory.join("files")).expect("there is room for a directory");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        drop(listener);
        fs::write(directory.join("files/large"), large()).expect("the directory takes a file");
        let config = NGINX
            .replace("@AT@", &directory.display().to_string())
            .replace("@ADDRESS@", &address.to_string());
        fs::write(directory.join("nginx.conf"), config).expect("the directory takes a file");
        let child = Command::new(program)
            .arg("-c")
            .arg(directory.join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        eventually("nginx listens", || TcpStream::connect(address).is_ok());
        Nginx {
            child,
            directory,
            address,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn large() -> Vec<u8> {
    (0..3_000_000_usize)
        .map(|at| (at % 249).to_le_bytes()[0])
        .collect()
}

both_drivers!(curl_is_served, wrk_sees_no_error, nginx_is_an_origin,);

fn curl_is_served(backend: Backend) {
    let Some(curl) = installed("curl") else {
        return;
    };
    let origin = page_and_echo();
    let gateway = Gateway::before(&origin, backend);
    let url = format!("http://{}/page", gateway.data);
    assert_eq!(run(&curl, &["-sS", "--fail", &url, &url]), "pagepage");
    assert!(run(&curl, &["-sS", "--fail", "-I", &url]).contains("ultragate; hit"));
    assert_eq!(run(&curl, &["-sS", "--fail", "--http1.0", &url]), "page");
    assert_eq!(
        run(
            &curl,
            &["-sS", "--fail", "-X", "POST", "-d", "form=1", &url]
        ),
        "form=1"
    );
    assert_eq!(
        run(
            &curl,
            &[
                "-sS",
                "--fail",
                "-H",
                "Transfer-Encoding: chunked",
                "-d",
                "in chunks",
                &url
            ]
        ),
        "in chunks"
    );
    assert_eq!(
        run(
            &curl,
            &[
                "-sS",
                "--fail",
                "-H",
                "Expect: 100-continue",
                "-d",
                "after a while",
                &url
            ]
        ),
        "after a while"
    );
}

fn wrk_sees_no_error(backend: Backend) {
    let Some(wrk) = installed("wrk") else { return };
    let origin = page_and_echo();
    let gateway = Gateway::before(&origin, backend);
    gateway.ask(get("/page"));
    let report = run(
        &wrk,
        &[
            "-t1",
            "-c64",
            "-d1s",
            &format!("http://{}/page", gateway.data),
        ],
    );
    assert!(
        report.contains("requests in")
            && !report.contains("Socket errors")
            && !report.contains("Non-2xx"),
        "{report}"
    );
}

fn nginx_is_an_origin(backend: Backend) {
    let Some(program) = installed("nginx") else {
        return;
    };
    let nginx = Nginx::start(&program, backend.name());
    let gateway = Setup::new(backend).everything_to(nginx.address, "").start();
    let mut client = gateway.client();
    for round in 1..=3 {
        let response = client.ask(get("/large"));
        assert!(
            response.status == 200 && response.body == large(),
            "round {round} differs"
        );
        assert_eq!(
            response.is_hit(),
            round > 1,
            "{:?}",
            response.field("cache-status")
        );
    }
    assert_eq!(client.ask(get("/missing")).status, 404);
    let packed =
        client.ask("GET /packed/large HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(
        (packed.status, packed.field("content-encoding")),
        (200, Some("gzip"))
    );
    assert!(
        client.ask(get("/packed/large")).body == large(),
        "a client that reads no gzip got some"
    );
    assert_eq!(
        client
            .ask("POST /large HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx")
            .status,
        405
    );
}
