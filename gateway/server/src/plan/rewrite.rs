//! What a route changes in requests and answers.

use crate::config::{Route, Settings, split_field};

/// As configured; names and values were checked when they were read.
pub(super) fn of(route: &Route, settings: &Settings) -> proxy::Rewrite {
    let prefix = route.prefix_rewrite.as_str();
    let mut request = proxy::FieldEdits::default();
    let mut response = proxy::FieldEdits::default();
    for (name, _) in route
        .request_set
        .iter()
        .filter_map(|line| split_field(line))
    {
        request.remove(name);
    }
    for name in &route.request_remove {
        request.remove(name);
    }
    let lines = route.request_set.iter().chain(&route.request_add);
    for (name, value) in lines.filter_map(|line| split_field(line)) {
        request.add(name, value);
    }
    for (name, _) in route
        .response_set
        .iter()
        .filter_map(|line| split_field(line))
    {
        response.remove(name);
    }
    for name in &route.response_remove {
        response.remove(name);
    }
    let lines = route.response_set.iter().chain(&route.response_add);
    for (name, value) in lines.filter_map(|line| split_field(line)) {
        response.add_plain(name, value);
    }
    proxy::Rewrite {
        prefix: (!prefix.is_empty()).then(|| prefix.as_bytes().to_vec()),
        host: host(route, settings).map(String::into_bytes),
        request,
        response,
    }
}

/// The host that the origin is asked for; none: the client's.
fn host(route: &Route, settings: &Settings) -> Option<String> {
    match route.origin_host.as_str() {
        "client" | "" => None,
        "upstream" => {
            let mut upstreams = settings.upstream.iter();
            let upstream = upstreams.find(|upstream| upstream.name == route.upstream)?;
            let first = upstream.endpoints.first()?;
            Some(first.strip_suffix(":80").unwrap_or(first).to_owned())
        }
        host => Some(host.to_owned()),
    }
}
