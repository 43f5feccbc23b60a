//! Answers that vary by fields of their requests (RFC 9111 §4.1).

use e2e::{
    Backend, Client, Gate, Gateway, Next, Origin, Request, Setup, both_drivers, eventually,
    get_with, ok,
};

/// Variants of one key that are kept side by side.
const VARIANTS_MAX: usize = 64;

/// Answers with these fields, saying what the request had in the ones named.
fn echo(fields: &'static str, names: &'static [&'static str]) -> Origin {
    Origin::start(move |request, wire| {
        wire.body(request);
        wire.send(ok(
            &format!("Cache-Control: max-age=60\r\n{fields}"),
            said(request, names),
        ));
        Next::Keep
    })
}

fn said(request: &Request, names: &[&str]) -> String {
    let said = names
        .iter()
        .map(|name| request.field(name).unwrap_or("nothing"));
    said.collect::<Vec<_>>().join("|")
}

/// What a GET of `/` with these fields got, and whether it came from the store.
fn ask(client: &mut Client, fields: &str) -> (String, bool) {
    let answer = client.ask(get_with("/", fields));
    (answer.text(), answer.is_hit())
}

/// Whether the second of two requests gets what is stored for the first.
fn is_same(gateway: &Gateway, target: &str, first: &str, second: &str) -> bool {
    let mut client = gateway.client();
    let stored = client.ask(get_with(target, first));
    assert!(stored.is_forwarded(), "{target} {first:?}: {stored:?}");
    client.ask(get_with(target, second)).is_hit()
}

both_drivers!(
    variants_are_kept_side_by_side,
    absent_is_not_empty,
    every_field_of_every_line_counts,
    a_star_anywhere_matches_nothing,
    lists_are_compared_without_their_white_space,
    accept_encoding_is_compared_by_what_it_means,
    accept_language_is_compared_by_what_it_means,
    the_language_liked_best_is_chosen_of_what_is_stored,
    of_many_variants_the_oldest_go,
    an_unsafe_request_ends_all_variants,
    each_variant_is_validated_by_its_own_validators,
    of_those_that_match_the_newest_is_used,
    concurrent_requests_for_two_variants_are_two_fetches,
    a_head_is_answered_from_its_variant,
);

fn variants_are_kept_side_by_side(backend: Backend) {
    let origin = echo("Vary: X-Color\r\n", &["x-color"]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let colors = ["red", "blue", "RED", "green"];
    for color in colors {
        let answer = client.ask(get_with("/", &format!("X-Color: {color}\r\n")));
        let wanted = if color == "red" {
            "uri-miss"
        } else {
            "vary-miss"
        };
        assert_eq!(answer.told("fwd"), Some(wanted), "{color}: {answer:?}");
        assert_eq!(
            (answer.text().as_str(), answer.told("stored")),
            (color, Some(""))
        );
    }
    for color in colors {
        let got = ask(&mut client, &format!("x-COLOR: {color}\r\n"));
        assert_eq!(got, (color.to_owned(), true));
    }
    assert_eq!(origin.count(), colors.len());
}

fn absent_is_not_empty(backend: Backend) {
    let origin = echo("Vary: X-Color\r\n", &["x-color"]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for fields in ["", "X-Color:\r\n", "X-Color: nothing\r\n"] {
        assert!(!ask(&mut client, fields).1, "{fields:?}");
        assert!(ask(&mut client, fields).1, "{fields:?}");
    }
    assert_eq!(origin.count(), 3);
}

fn every_field_of_every_line_counts(backend: Backend) {
    for vary in [
        "Vary: X-A, x-b, X-C\r\n",
        "Vary: X-A\r\nVary: X-B\r\nVary: X-C\r\n",
        "Vary: , x-a ,,X-B\r\nvary:\r\nVARY: X-c,\r\n",
    ] {
        let origin = echo(vary, &["x-a", "x-b", "x-c"]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        let values: Vec<String> = (0..8)
            .map(|bits: u8| {
                let line = |at: u8, name: &str| format!("{name}: {}\r\n", bits >> at & 1);
                line(0, "X-A") + &line(1, "X-B") + &line(2, "X-C")
            })
            .collect();
        let first: Vec<_> = values
            .iter()
            .map(|fields| ask(&mut client, fields))
            .collect();
        let second: Vec<_> = values
            .iter()
            .map(|fields| ask(&mut client, fields))
            .collect();
        for (first, second) in first.iter().zip(&second) {
            assert_eq!((first.1, second.1), (false, true), "{vary:?}");
            assert_eq!(first.0, second.0, "{vary:?}");
        }
        let unasked = format!("X-D: 1\r\n{}", values.first().map_or("", String::as_str));
        assert!(ask(&mut client, &unasked).1, "{vary:?}");
    }
}

fn a_star_anywhere_matches_nothing(backend: Backend) {
    for vary in [
        "Vary: *\r\n",
        "Vary: X-A, *\r\n",
        "Vary: *, X-A\r\n",
        "Vary: X-A\r\nVary: *\r\n",
        "Vary: *\r\nVary: X-A\r\n",
        "Vary: X-A\r\nVary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p\r\n",
        "Vary: X-A, no name\r\n",
    ] {
        let origin = echo(vary, &["x-a"]);
        let gateway = Gateway::before(&origin, backend);
        let mut client = gateway.client();
        for _ in 0..2 {
            let answer = client.ask(get_with("/", "X-A: 1\r\n"));
            assert!(
                !answer.is_hit() && answer.told("detail") == Some("vary"),
                "{vary:?}"
            );
        }
    }
}

fn lists_are_compared_without_their_white_space(backend: Backend) {
    let origin = echo("Vary: X-List\r\n", &["x-list"]);
    let gateway = Gateway::before(&origin, backend);
    for (number, (first, second, same)) in [
        ("X-List: a,b\r\n", "X-List:   a ,  b  \r\n", true),
        ("X-List: a, b\r\n", "X-List: a\r\nX-List: b\r\n", true),
        ("X-List: a, b\r\n", "X-List: b, a\r\n", false),
        ("X-List: a\r\n", "X-List: A\r\n", false),
        ("X-List: \"a,b\"\r\n", "X-List: \"a, b\"\r\n", false),
        (
            "X-List: a\r\nX-Other: 1\r\n",
            "X-Other: 2\r\nX-List: a\r\n",
            true,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{number}");
        assert_eq!(
            is_same(&gateway, &target, first, second),
            same,
            "{first:?} {second:?}"
        );
    }
}

fn accept_encoding_is_compared_by_what_it_means(backend: Backend) {
    let origin = echo("Vary: Accept-Encoding\r\n", &["accept-encoding"]);
    let gateway = Gateway::before(&origin, backend);
    for (number, (first, second, same)) in [
        ("gzip, br", "br,gzip", true),
        ("gzip, br", "BR;q=0.5, GZip;q=1.0", true),
        ("gzip", "x-gzip", true),
        ("gzip", "gzip, deflate;q=0", true),
        ("gzip", "gzip, identity", true),
        ("gzip", "gzip, identity;q=0", false),
        ("gzip", "br", false),
        ("gzip", "gzip, br", false),
        ("gzip", "*", false),
        ("gzip", "gzip;q=0", false),
        ("*", "*, br;q=0", false),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{number}");
        let line = |value: &str| format!("Accept-Encoding: {value}\r\n");
        let found = is_same(&gateway, &target, &line(first), &line(second));
        assert_eq!(found, same, "{first:?} {second:?}");
    }
}

fn accept_language_is_compared_by_what_it_means(backend: Backend) {
    let origin = echo("Vary: Accept-Language\r\n", &["accept-language"]);
    let gateway = Gateway::before(&origin, backend);
    for (number, (first, second, same)) in [
        ("de, en;q=0.5", "en;q=0.5,DE", true),
        ("de, en;q=0.5", "de;q=1.000 , en; q=0.50", true),
        ("de, en;q=0.5", "de, en;q=0.6", false),
        ("de", "en", false),
        ("de", "de-AT", false),
        ("de", "*", false),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{number}");
        let line = |value: &str| format!("Accept-Language: {value}\r\n");
        let found = is_same(&gateway, &target, &line(first), &line(second));
        assert_eq!(found, same, "{first:?} {second:?}");
    }
}

fn the_language_liked_best_is_chosen_of_what_is_stored(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let asked = request.field("accept-language").unwrap_or_default();
        let language = if asked.starts_with("de") { "de" } else { "en" };
        let fields = format!(
            "Cache-Control: max-age=60\r\nVary: Accept-Language\r\nContent-Language: {language}\r\n"
        );
        wire.send(ok(&fields, language));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for language in ["de", "en"] {
        ask(&mut client, &format!("Accept-Language: {language}\r\n"));
    }
    for (asked, wanted) in [
        ("de;q=0.9, en;q=0.5", Some("de")),
        ("en, de;q=0.9", Some("en")),
        ("fr;q=0.1, en;q=0.2", Some("en")),
        ("*;q=0.1, de", Some("de")),
        ("fr, de;q=0.9", None),
        ("de;q=0", None),
    ] {
        let (got, is_hit) = ask(&mut client, &format!("Accept-Language: {asked}\r\n"));
        assert_eq!(is_hit, wanted.is_some(), "{asked}");
        assert!(wanted.is_none_or(|wanted| wanted == got), "{asked}: {got}");
    }
}

fn of_many_variants_the_oldest_go(backend: Backend) {
    let origin = echo("Vary: X-Color\r\n", &["x-color"]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let color = |number: usize| format!("X-Color: {number}\r\n");
    let beyond = 6;
    for number in 0..VARIANTS_MAX + beyond {
        assert!(!ask(&mut client, &color(number)).1);
    }
    for number in beyond..VARIANTS_MAX + beyond {
        assert_eq!(ask(&mut client, &color(number)), (number.to_string(), true));
    }
    assert_eq!(origin.count(), VARIANTS_MAX + beyond);
    for number in 0..beyond {
        assert_eq!(
            ask(&mut client, &color(number)),
            (number.to_string(), false)
        );
    }
}

fn an_unsafe_request_ends_all_variants(backend: Backend) {
    let origin = echo("Vary: X-Color\r\n", &["x-color"]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    let colors = ["", "X-Color: red\r\n", "X-Color: blue\r\n"];
    for color in colors {
        ask(&mut client, color);
        assert!(ask(&mut client, color).1);
    }
    client.ask("POST / HTTP/1.1\r\nHost: test\r\nX-Color: red\r\nContent-Length: 0\r\n\r\n");
    for color in colors {
        assert!(!ask(&mut client, color).1, "{color:?} outlived it");
    }
}

fn each_variant_is_validated_by_its_own_validators(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let color = said(request, &["x-color"]);
        let tag = format!("\"{color}\"");
        let fields =
            format!("Cache-Control: max-age=60\r\nAge: 60\r\nVary: X-Color\r\nETag: {tag}\r\n");
        if request.field("if-none-match") == Some(&tag) {
            wire.send(e2e::answer(304, &fields, ""));
        } else {
            wire.send(ok(&fields, color));
        }
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for color in ["red", "blue"] {
        ask(&mut client, &format!("X-Color: {color}\r\n"));
    }
    for color in ["red", "blue", "red"] {
        let answer = client.ask(get_with("/", &format!("X-Color: {color}\r\n")));
        assert_eq!((answer.status, answer.text().as_str()), (200, color));
        assert_eq!(answer.told("fwd-status"), Some("304"), "{answer:?}");
        let asked = origin.last();
        assert_eq!(
            asked.field("if-none-match"),
            Some(format!("\"{color}\"").as_str())
        );
    }
}

fn of_those_that_match_the_newest_is_used(backend: Backend) {
    let origin = Origin::start(|request, wire| {
        let vary = if request.number == 0 {
            "Vary: X-Color\r\n"
        } else {
            ""
        };
        wire.send(ok(
            &format!("Cache-Control: max-age=60\r\n{vary}"),
            request.number.to_string(),
        ));
        Next::Keep
    });
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    ask(&mut client, "X-Color: red\r\n");
    ask(&mut client, "X-Color: blue\r\n");
    let got = ask(&mut client, "X-Color: red\r\n");
    assert_eq!(got, ("1".to_owned(), true), "it does not vary any more");
}

fn concurrent_requests_for_two_variants_are_two_fetches(backend: Backend) {
    for shards in ["1", "2"] {
        let gate = Gate::new();
        let at_origin = gate.clone();
        let origin = Origin::start(move |request, wire| {
            at_origin.pass();
            let fields = "Cache-Control: max-age=60\r\nVary: X-Color\r\n";
            wire.send(ok(fields, said(request, &["x-color"])));
            Next::Keep
        });
        let gateway = Setup::new(backend)
            .set("api_gateway", "worker_threads", shards)
            .everything_to(origin.address(), "")
            .start();
        let colors = ["red", "blue"];
        let mut clients: Vec<(Client, &str)> = (0..20)
            .map(|number| (gateway.client(), colors[number % 2]))
            .collect();
        for (client, color) in &mut clients {
            client.send(get_with("/", &format!("X-Color: {color}\r\n")));
        }
        eventually("the origin is asked", || origin.count() > 0);
        gate.open();
        for (client, color) in &mut clients {
            assert_eq!(client.response().text(), *color);
        }
        assert_eq!(origin.count(), 2, "with {shards} shards");
    }
}

fn a_head_is_answered_from_its_variant(backend: Backend) {
    let origin = echo("Vary: X-Color\r\n", &["x-color"]);
    let gateway = Gateway::before(&origin, backend);
    let mut client = gateway.client();
    for color in ["red", "green"] {
        ask(&mut client, &format!("X-Color: {color}\r\n"));
    }
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\nX-Color: green\r\n\r\n");
    let head = client.response_to_head();
    assert!(
        head.is_hit() && head.field("content-length") == Some("5"),
        "{head:?}"
    );
}
