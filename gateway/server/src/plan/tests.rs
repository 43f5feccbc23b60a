//! Stories of configurations on hosts.

use std::path::PathBuf;

use super::*;
use crate::config::{Backend, Inputs};
use platform::host::cpus::Cpus;
use platform::host::memory::{Hugepages, MemoryFacts};
use platform::host::topology::{Place, Topology};
use platform::host::{CpuList, HostRoot};

/// CPUs that each stand alone.
struct Flat;

impl Topology for Flat {
    fn place(&self, cpu: usize) -> Place {
        Place {
            cpu,
            core: cpu,
            ..Place::default()
        }
    }

    fn source(&self) -> &'static str {
        "a test"
    }
}

fn host(cpus: usize) -> Host {
    Host {
        root: HostRoot::at("/nowhere"),
        cpus: Cpus {
            usable: CpuList((0..cpus).collect()),
            count: cpus,
            reason: format!("{cpus} CPUs: a test"),
        },
        topology: Box::new(Flat),
        memory: MemoryFacts {
            total_bytes: 8 << 30,
            available_bytes: 8 << 30,
            limit: None,
            usage_bytes: None,
            hugepages: Hugepages {
                page_bytes: 0,
                configured: 0,
                free: 0,
                reserved: 0,
                limit: None,
            },
            transparent: None,
            memlock_bytes: None,
        },
        open_files: 100_000,
    }
}

fn plan_on(host: &Host, file: &str) -> Result<Plan, String> {
    let inputs = Inputs {
        file: Some((PathBuf::from("g.toml"), file.to_owned())),
        ..Inputs::default()
    };
    let sheet = Sheet::read(&inputs).expect("well-formed");
    Plan::resolve(&sheet, host).map_err(|faults| faults.to_string())
}

fn refusal(file: &str) -> String {
    plan_on(&host(2), file).expect_err("refused")
}

const ORIGIN: &str = "[[upstream]]\nname = \"api\"\nendpoints = \"127.0.0.1:3005\"\n";

#[test]
fn what_cannot_work_together_is_named_with_its_place() {
    let routed = format!("{ORIGIN}[[route]]\nname = \"r\"\nupstream = \"ap\"\n");
    let twice = format!("{ORIGIN}{ORIGIN}");
    let shadowed = format!(
        "{ORIGIN}[[route]]\nname = \"a\"\nupstream = \"api\"\n[[route]]\nname = \"b\"\nupstream = \"api\"\n"
    );
    let table = [
        (
            routed.as_str(),
            "g.toml:6:1: there is no upstream `ap`; did you mean `api`?",
        ),
        (
            "[[route]]\nname = \"r\"\nupstream = \"api\"\n",
            "g.toml:3:1: there is no upstream `api`: no [[upstream]] is configured",
        ),
        (
            twice.as_str(),
            "g.toml:5:1: a second upstream called `api`; the first stands at g.toml:2:1",
        ),
        (
            shadowed.as_str(),
            "g.toml:7:1: route `b` can never match: `a` has the same host and path",
        ),
        (
            "[listen]\nmetrics = \"127.0.0.1:8080\"\n",
            "g.toml:2:1: listen.metrics: 127.0.0.1:8080 is taken by listen.data (0.0.0.0:8080)",
        ),
        (
            "[[upstream]]\nname = \"me\"\nendpoints = \"127.0.0.1:8080\"\n",
            "g.toml:3:1: upstream `me`: 127.0.0.1:8080 is the gateway's own listen.data",
        ),
        (
            "[api_gateway]\nworker_threads = 2\ncpu_affinity = [0]\n",
            "g.toml:3:1: api_gateway.cpu_affinity names 1 CPUs for 2 worker_threads: one CPU a shard",
        ),
        (
            "[api_gateway]\ncpu_affinity = [0, 7]\n",
            "g.toml:2:1: api_gateway.cpu_affinity names CPU 7, and this process may use 0-1 only",
        ),
        (
            "[api_gateway]\ncpu_affinity = [1, 1]\n",
            "g.toml:2:1: api_gateway.cpu_affinity names CPU 1 twice",
        ),
        (
            "[api_gateway]\nworker_threads = 4\nmemory_pool_size = \"16MiB\"\n",
            "g.toml:3:1: api_gateway.memory_pool_size: 16MiB does not do for 4 shards, which need 32MiB at least",
        ),
        (
            "[api_gateway]\nmemory_pool_size = \"1TiB\"\n",
            "g.toml:2:1: api_gateway.memory_pool_size: the pool's 1024 GiB do not fit into 8 GiB, this machine's memory; \
             set [api_gateway] memory_pool_size to 4 GiB or less, or raise the limit",
        ),
        (
            "[api_gateway]\nhealth_path = \"/x\"\nstatus_path = \"/x\"\n",
            "g.toml:3:1: health_path and status_path are both \"/x\"",
        ),
        (
            "[limits]\nmax_connections = 1000000\n",
            "g.toml:2:1: limits.max_connections: 1000000 connections need 1000288 open files and the limit is \
             100000: raise it with `ulimit -n 1000288` or LimitNOFILE= in the unit",
        ),
        (
            "[admin]\ntoken_file = \"/nowhere\"\n",
            "g.toml:2:1: admin.token_file: /nowhere: No such file or directory (os error 2)",
        ),
    ];
    for (file, message) in table {
        assert_eq!(refusal(file), message, "{file}");
    }
}

#[test]
fn listeners_of_different_addresses_may_share_a_port() {
    let file = "[listen]\ndata = \"127.0.0.1:8080\"\noperator = \"127.0.0.2:8080\"\nmetrics = \"[::1]:8080\"\n";
    assert!(plan_on(&host(2), file).is_ok());
    let free =
        "[listen]\ndata = \"127.0.0.1:0\"\noperator = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\n";
    assert!(plan_on(&host(2), free).is_ok());
}

#[test]
fn what_is_automatic_is_decided_with_a_reason() {
    let plan = plan_on(&host(2), "").expect("defaults work");
    assert_eq!(plan.shards.len(), 2);
    assert_eq!(plan.shards_reason, "2 CPUs: a test");
    assert_eq!(plan.memory.pool_bytes, 2 << 30);
    assert!(plan.memory.reason.contains("a quarter of 8 GiB"));
    assert_eq!(plan.backend, Backend::Auto);
    assert_eq!(plan.clients, 100_000 - 256 - 2 * 16);
    assert_eq!(plan.proxy.limits.clients_max, plan.clients.div_ceil(2));
}

#[test]
fn an_automatic_pool_is_never_too_small_for_its_shards() {
    let plan = plan_on(&host(2), "[api_gateway]\nworker_threads = 512\n").expect("works");
    assert_eq!(plan.memory.pool_bytes, 4 << 30);
    assert_eq!(plan.memory.small_buffers, 256);
}

#[test]
fn more_shards_than_cpus_share_them() {
    let plan = plan_on(&host(2), "[api_gateway]\nworker_threads = 3\n").expect("works");
    let cpus: Vec<usize> = plan.shards.iter().map(|shard| shard.cpu).collect();
    assert_eq!(cpus, [0, 1, 0]);
}

#[test]
fn every_key_of_the_data_plane_arrives() {
    let file = "[limits]\nmax_head = \"64KiB\"\nmax_fields = 64\nmax_target = \"8KiB\"\nmax_body = \"1MiB\"\n\
                max_connections = 10\nheader_timeout = \"1s\"\nbody_min_rate = \"2KiB/s\"\nsend_min_rate = 5\n\
                idle_timeout = \"2s\"\ntunnel_idle_timeout = \"9s\"\n[api_gateway]\nworker_threads = 2\nhealth_path = \"\"\nstatus_path = \"/s\"\n\
                [cache]\nmax_object = \"1KiB\"\ncapacity = 100\n\
                [[upstream]]\nname = \"a\"\nendpoints = \"b:1\"\nmax_connections = 8\nconnection_timeout = \"3s\"\n\
                first_byte_timeout = \"4s\"\nread_timeout = \"5s\"\nidle_timeout = \"6s\"\nmax_lifetime = \"7s\"\nacquire_timeout = \"8s\"\n\
                [[route]]\nname = \"r\"\nupstream = \"a\"\nhost = \"A.test\"\npath = \"/p\"\ncache = false\n";
    let plan = plan_on(&host(2), file).expect("works");
    let limits = plan.proxy.limits;
    assert_eq!(limits.head.head_bytes, 64 << 10);
    assert_eq!(
        (limits.head.fields, limits.head.target_bytes),
        (64, 8 << 10)
    );
    assert_eq!(limits.body_bytes_max, Some(1 << 20));
    assert_eq!(limits.clients_max, 5);
    assert_eq!(limits.header_timeout, Span::from_secs(1));
    assert_eq!((limits.body_min_rate, limits.send_min_rate), (2 << 10, 5));
    assert_eq!(limits.idle_timeout, Span::from_secs(2));
    assert_eq!(limits.tunnel_idle_timeout, Some(Span::from_secs(9)));
    assert_eq!(plan.proxy.health_path, b"");
    assert_eq!(plan.proxy.status_path, b"/s");
    assert_eq!(plan.proxy.object_bytes_max, 1 << 10);
    assert_eq!(plan.proxy.front_objects, 10);
    let upstream = plan.proxy.upstreams.first().expect("one");
    assert_eq!(upstream.connections_max, 8);
    assert_eq!(upstream.connect_timeout, Span::from_secs(3));
    assert_eq!(upstream.first_byte_timeout, Span::from_secs(4));
    assert_eq!(upstream.read_timeout, Span::from_secs(5));
    assert_eq!(upstream.pool_idle_timeout, Span::from_secs(6));
    assert_eq!(upstream.max_lifetime, Span::from_secs(7));
    assert_eq!(upstream.acquire_timeout, Span::from_secs(8));
    assert_eq!(
        plan.upstreams.first().map(|u| u.endpoints.clone()),
        Some(vec!["b:1".to_owned()])
    );
    let routes = format!("{:?}", plan.proxy);
    assert!(routes.contains("cache: false"), "{routes}");
    assert_eq!(plan.route_names, ["r"]);
}

#[test]
fn a_tunnel_may_be_left_without_a_bound() {
    let plan = plan_on(&host(1), "[limits]\ntunnel_idle_timeout = \"off\"\n").expect("works");
    assert_eq!(plan.proxy.limits.tunnel_idle_timeout, None);
}

#[test]
fn a_token_is_one_line_of_some_length() {
    let directory = std::env::temp_dir();
    let path = directory.join(format!("ultragate-token-{}", std::process::id()));
    let file = format!("[admin]\ntoken_file = {:?}\n", path.display().to_string());
    std::fs::write(&path, "0123456789abcdef\n").expect("written");
    let token = plan_on(&host(1), &file)
        .expect("works")
        .token
        .expect("read");
    assert!(token.is(b"0123456789abcdef"));
    assert!(!token.is(b"0123456789abcdeg") && !token.is(b""));
    assert_eq!(format!("{token:?}"), "Token(…)");
    std::fs::write(&path, "short\n").expect("written");
    assert!(refusal(&file).contains("at least 16 printable characters"));
    std::fs::remove_file(&path).expect("removed");
}
