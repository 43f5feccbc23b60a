//! Where requests go, and what is answered before they go anywhere.

use e2e::{Backend, Gateway, Origin, Setup, both_drivers, get, ok};

fn named(name: &str) -> Origin {
    Origin::answering(ok("", name))
}

fn of_host(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

both_drivers!(
    host_and_longest_prefix_choose_the_upstream,
    no_route_is_404,
    the_built_in_paths_answer_for_any_host,
    the_built_in_paths_can_be_switched_off,
    admin_is_never_forwarded,
    without_upstreams_the_built_in_paths_are_served,
    endpoints_share_the_work,
    every_answer_says_who_gave_it,
);

fn host_and_longest_prefix_choose_the_upstream(backend: Backend) {
    let (all, api, v2, other) = (named("all"), named("api"), named("v2"), named("other"));
    let gateway = Setup::new(backend)
        .upstream("all", &[all.address()], "")
        .upstream("api", &[api.address()], "")
        .upstream("v2", &[v2.address()], "")
        .upstream("other", &[other.address()], "")
        .route("all", "", "/", "all")
        .route("api", "", "/api/", "api")
        .route("v2", "", "/api/v2/", "v2")
        .route("other", "other.test", "/", "other")
        .start();
    let mut client = gateway.client();
    for (host, target, wanted) in [
        ("test", "/", "all"),
        ("test", "/ap", "all"),
        ("test", "/api/x", "api"),
        ("test", "/api/v2/x?y", "v2"),
        ("other.test", "/", "other"),
        ("OTHER.test:8080", "/x", "other"),
        ("not-other.test", "/", "all"),
        ("other.test.evil", "/", "all"),
    ] {
        assert_eq!(
            client.ask(of_host(host, target)).body,
            wanted.as_bytes(),
            "{host} {target}"
        );
    }
    assert_eq!(
        client
            .ask("GET http://other.test/ HTTP/1.1\r\nHost: test\r\n\r\n")
            .body,
        b"other"
    );
}

fn no_route_is_404(backend: Backend) {
    let origin = named("x");
    let gateway = Setup::new(backend)
        .upstream("x", &[origin.address()], "")
        .route("x", "", "/only/", "x")
        .start();
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/other")).status, 404);
    assert_eq!(client.ask(get("/only/this")).status, 200);
}

fn the_built_in_paths_answer_for_any_host(backend: Backend) {
    let origin = named("x");
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for host in ["test", "elsewhere.example:99"] {
        for target in ["/health", "/api/v1/status"] {
            let response = client.ask(of_host(host, target));
            assert_eq!(response.status, 200, "{target}");
            assert!(
                response.body.starts_with(b"{")
                    && response
                        .field("content-type")
                        .is_some_and(|kind| kind.contains("json")),
                "{response:?}"
            );
        }
    }
    client.send("HEAD /health HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response_to_head().status, 200);
    assert_eq!(origin.count(), 0);
}

fn the_built_in_paths_can_be_switched_off(backend: Backend) {
    let origin = named("the origin's own");
    let setup = Setup::new(backend)
        .set("api_gateway", "health_path", "\"\"")
        .set("api_gateway", "status_path", "\"/up\"");
    let gateway = setup.everything_to(origin.address(), "").start();
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/health")).body, b"the origin's own");
    assert!(client.ask(get("/up")).body.starts_with(b"{"));
}

fn admin_is_never_forwarded(backend: Backend) {
    let origin = named("x");
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for request in [
        get("/admin/stats"),
        "POST /admin/cache/purge HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ] {
        let response = client.ask(request);
        assert_eq!(response.status, 403);
        assert!(
            String::from_utf8_lossy(&response.body).contains("on_data_port"),
            "{response:?}"
        );
    }
    assert_eq!(origin.count(), 0);
}

fn without_upstreams_the_built_in_paths_are_served(backend: Backend) {
    let gateway = Setup::new(backend).start();
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/health")).status, 200);
    assert_eq!(client.ask(get("/anything")).status, 404);
}

fn endpoints_share_the_work(backend: Backend) {
    let (one, two) = (named("one"), named("two"));
    let setup = Setup::new(backend)
        .upstream("pair", &[one.address(), two.address()], "")
        .route("all", "", "/", "pair");
    let gateway = setup.start();
    let mut client = gateway.client();
    for _ in 0..40 {
        client.ask(get("/a"));
    }
    assert!(
        one.count() >= 5 && two.count() >= 5,
        "{} and {}",
        one.count(),
        two.count()
    );
}

fn every_answer_says_who_gave_it(backend: Backend) {
    let origin = Origin::answering(ok(
        "Cache-Control: max-age=60\r\nCache-Status: upstream-cache; hit\r\n",
        "x",
    ));
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for round in ["miss", "hit"] {
        let response = client.ask(get("/a"));
        for name in ["via", "date", "x-request-id"] {
            assert_eq!(response.all(name).count(), 1, "{name} on a {round}");
        }
        let members: Vec<_> = response
            .all("cache-status")
            .flat_map(|value| value.split(", "))
            .collect();
        assert_eq!(members.first(), Some(&"upstream-cache; hit"), "{round}");
        assert!(
            members
                .last()
                .is_some_and(|member| member.starts_with("ultragate;")),
            "{round}: {members:?}"
        );
    }
}
