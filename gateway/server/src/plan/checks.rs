//! What a configuration may get wrong although every value of it is well-formed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::config::{Fault, Settings, Sheet, nearest};

/// Two listeners of one address.
pub(super) fn listeners(settings: &Settings, sheet: &Sheet, faults: &mut Vec<Fault>) {
    let listen = &settings.listen;
    let named = [
        ("data", &listen.data),
        ("operator", &listen.operator),
        ("metrics", &listen.metrics),
    ];
    let all: Vec<(&str, SocketAddr)> = named
        .iter()
        .flat_map(|(key, list)| list.iter().map(|address| (*key, *address)))
        .collect();
    for (at, (key, address)) in all.iter().enumerate() {
        let taken = all
            .iter()
            .take(at)
            .find(|(_, other)| collide(address, other));
        if let Some((owner, other)) = taken {
            let source = sheet.source("listen", key);
            let message = format!("listen.{key}: {address} is taken by listen.{owner} ({other})");
            faults.push(Fault::new(&source, message));
        }
    }
}

/// Whether both cannot be bound: one port, and one address or one of them is every address.
fn collide(a: &SocketAddr, b: &SocketAddr) -> bool {
    let every = |address: &SocketAddr| address.ip().is_unspecified();
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip()
            || (a.is_ipv4() == b.is_ipv4() && (every(a) || every(b)))
            || (a.is_ipv6() && every(a))
            || (b.is_ipv6() && every(b)))
}

/// Names that stand twice.
pub(super) fn names(settings: &Settings, sheet: &Sheet, faults: &mut Vec<Fault>) {
    let upstreams = settings.upstream.iter().map(|upstream| &upstream.name);
    let routes = settings.route.iter().map(|route| &route.name);
    twice("upstream", upstreams, sheet, faults);
    twice("route", routes, sheet, faults);
}

fn twice<'a>(
    section: &str,
    names: impl Iterator<Item = &'a String>,
    sheet: &Sheet,
    faults: &mut Vec<Fault>,
) {
    let mut seen = HashMap::new();
    for (name, item) in names.zip(sheet.of(section)) {
        let source = item.source_of("name");
        if let Some(first) = seen.get(name) {
            let message =
                format!("a second {section} called `{name}`; the first stands at {first}");
            faults.push(Fault::new(&source, message));
        } else {
            seen.insert(name, source);
        }
    }
}

/// Routes that lead nowhere or can never match.
pub(super) fn routes(settings: &Settings, sheet: &Sheet, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<(String, &str), &str> = HashMap::new();
    for (route, item) in settings.route.iter().zip(sheet.of("route")) {
        let names = || {
            settings
                .upstream
                .iter()
                .map(|upstream| upstream.name.as_str())
        };
        if !names().any(|name| name == route.upstream) {
            let message = unknown_upstream(&route.upstream, names());
            faults.push(Fault::new(&item.source_of("upstream"), message));
        }
        let matches = (route.host.to_ascii_lowercase(), route.path.as_str());
        if let Some(first) = seen.insert(matches, &route.name) {
            let message = format!(
                "route `{}` can never match: `{first}` has the same host and path",
                route.name
            );
            faults.push(Fault::new(&item.source_of("path"), message));
        }
    }
    let (health, status) = (
        &settings.api_gateway.health_path,
        &settings.api_gateway.status_path,
    );
    if !health.is_empty() && health == status {
        let source = sheet.source("api_gateway", "status_path");
        let message = format!("health_path and status_path are both {health:?}");
        faults.push(Fault::new(&source, message));
    }
}

fn unknown_upstream<'a>(typed: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(typed, names.clone()) {
        return format!("there is no upstream `{typed}`; did you mean `{near}`?");
    }
    let known: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match known.is_empty() {
        true => format!("there is no upstream `{typed}`: no [[upstream]] is configured"),
        false => format!(
            "there is no upstream `{typed}`; there is {}",
            known.join(", ")
        ),
    }
}

/// Endpoints that are this gateway itself.
pub(super) fn own_address(settings: &Settings, sheet: &Sheet, faults: &mut Vec<Fault>) {
    for (upstream, item) in settings.upstream.iter().zip(sheet.of("upstream")) {
        for endpoint in &upstream.endpoints {
            let Ok(address) = endpoint.parse::<SocketAddr>() else {
                continue;
            };
            if settings
                .listen
                .data
                .iter()
                .any(|data| reaches(&address, data))
            {
                let message = format!(
                    "upstream `{}`: {endpoint} is the gateway's own listen.data",
                    upstream.name
                );
                faults.push(Fault::new(&item.source_of("endpoints"), message));
            }
        }
    }
}

fn reaches(endpoint: &SocketAddr, listener: &SocketAddr) -> bool {
    let local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    endpoint.port() == listener.port()
        && (endpoint.ip() == listener.ip()
            || (listener.ip().is_unspecified() && local(endpoint.ip())))
}
