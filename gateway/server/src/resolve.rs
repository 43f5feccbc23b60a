//! Endpoints as text to addresses: names are looked up once, at start.

use std::net::{SocketAddr, ToSocketAddrs};

use proxy::Member;

use crate::events::log;
use crate::failure::StartFailure;
use crate::plan::{Plan, UpstreamPlan};

/// Fills in the addresses of every upstream.
///
/// # Errors
/// The first name that leads nowhere.
pub(crate) fn endpoints(plan: &mut Plan) -> Result<(), StartFailure> {
    for (upstream, data) in plan.upstreams.iter().zip(&mut plan.proxy.upstreams) {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for endpoint in &upstream.endpoints {
            let found = look_up(upstream, endpoint)?;
            addresses.extend(
                found
                    .into_iter()
                    .filter(|a| !addresses.contains(a))
                    .collect::<Vec<_>>(),
            );
        }
        data.endpoints = addresses.into_iter().map(Member::new).collect();
    }
    Ok(())
}

fn look_up(upstream: &UpstreamPlan, endpoint: &str) -> Result<Vec<SocketAddr>, StartFailure> {
    if let Ok(address) = endpoint.parse() {
        return Ok(vec![address]);
    }
    let cause = match endpoint.to_socket_addrs() {
        Ok(found) => {
            let found = one_family(found.collect());
            if !found.is_empty() {
                log!(
                    EndpointResolved, upstream = upstream.name, endpoint, addresses = ?found,
                    "a name was looked up; it is not looked up again before the next start"
                );
                return Ok(found);
            }
            "the name has no address".to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(StartFailure {
        what: format!(
            "{}: the endpoint {endpoint} of upstream `{}` leads nowhere",
            upstream.source, upstream.name
        ),
        cause,
        fix: format!(
            "getent hosts {}",
            endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host)
        ),
        demanded: false,
    })
}

/// The IPv4 addresses where there are both kinds: origins that listen on one kind only listen on that one.
fn one_family(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (mut v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
    if v4.is_empty() {
        v4 = v6;
    }
    v4.sort_unstable();
    v4.dedup();
    v4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream() -> UpstreamPlan {
        UpstreamPlan {
            name: "api".to_owned(),
            endpoints: Vec::new(),
            source: crate::config::Source::Default,
        }
    }

    #[test]
    fn an_address_is_taken_as_it_is() {
        let found = look_up(&upstream(), "127.0.0.1:80").expect("an address");
        assert_eq!(found, ["127.0.0.1:80".parse().expect("an address")]);
    }

    #[test]
    fn ipv4_is_preferred_and_ipv6_taken_where_it_is_all() {
        let [v4, v6] = ["127.0.0.1:80", "[::1]:80"].map(|a| a.parse::<SocketAddr>().expect("one"));
        assert_eq!(one_family(vec![v6, v4, v4]), [v4]);
        assert_eq!(one_family(vec![v6]), [v6]);
    }

    #[test]
    fn a_name_that_leads_nowhere_is_named_with_the_command_that_shows_it() {
        let failure = look_up(&upstream(), "nowhere.invalid:80").expect_err("no such name");
        assert!(
            failure
                .what
                .contains("nowhere.invalid:80 of upstream `api`")
        );
        assert_eq!(failure.fix, "getent hosts nowhere.invalid");
    }
}
