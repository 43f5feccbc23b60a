//! Hosts that refuse something: io_uring behind a filter or without memory, huge pages that are there or not. What the
//! gateway does then, and whether it says why and what lifts it.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use e2e::{
    Backend, Gateway, Origin, PATIENCE, Setup, Watch, becomes, both_drivers, get, installed, ok,
};

both_drivers!(
    bodies_are_copied_where_pages_may_not_be_lent,
    a_pool_lies_in_huge_pages_where_the_host_gives_them,
    a_pool_larger_than_the_free_huge_pages_says_how_many_are_missing,
);

/// Error numbers of Linux, the same on every architecture that the gateway runs on.
const EPERM: &str = "1";
const ENOSYS: &str = "38";

/// Executes programs under a filter that answers a system call with an error; gone on drop.
struct Filter {
    directory: PathBuf,
}

impl Filter {
    fn build(test: &str) -> Filter {
        let name = format!("ultragate-e2e-refuse-{}-{test}", std::process::id());
        let directory = env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("there is room for a directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/refuse.c");
        let filter = Filter { directory };
        let built = Command::new("cc")
            .args([source, "-o", &filter.program()])
            .status()
            .expect("cc, which linked this test, runs");
        assert!(built.success(), "{source} does not build");
        filter
    }

    fn program(&self) -> String {
        self.directory.join("refuse").display().to_string()
    }

    /// A gateway that is told to use `backend` and finds io_uring refused with `errno`.
    fn setup(&self, errno: &str, backend: &str) -> Setup {
        Setup::new(Backend::IoUring)
            .set("io", "backend", format!("\"{backend}\""))
            .under(&[&self.program(), "io_uring_setup", errno])
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What is said of a refusal: its cause, and what lifts it.
type Words = [&'static str; 2];

/// Of EPERM. The kernel's own switch is named first where it is thrown, whatever a filter does besides.
fn words_of_eperm() -> Words {
    let switch = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match switch.trim() {
        "1" | "2" => [
            "kernel.io_uring_disabled",
            "sysctl -w kernel.io_uring_disabled=0",
        ],
        _ => ["a seccomp profile", "allow io_uring_setup"],
    }
}

fn words_of_enosys() -> Words {
    ["ENOSYS", "allow io_uring_setup"]
}

/// Claims that the gateway runs on epoll and says why in its log, health and metrics.
fn runs_on_epoll(setup: Setup, words: Words) {
    let origin = Origin::answering(ok("", "x"));
    let gateway = setup.everything_to(origin.address(), "").start();
    assert_eq!(gateway.ask(get("/a")).body, b"x");
    let mut watch = Watch::of(&gateway);
    let health = watch.component("io_backend");
    assert!(
        health.contains("\"healthy\"") && health.contains("epoll: "),
        "{health}"
    );
    let output = gateway.output();
    let mut log = output.lines();
    let line = log
        .find(|line| line.contains("event=\"io_backend_fallback\""))
        .unwrap_or_default();
    assert!(
        line.contains("WARN") && line.contains("backend=\"epoll\""),
        "{line}"
    );
    for word in words {
        assert!(health.contains(word), "{word} in {health}");
        assert!(line.contains(word), "{word} in {line}");
        let info = watch.sample("io_backend_info", &["backend=\"epoll\"", word]);
        assert_eq!(info.to_string(), "1", "{word} in the metric's reason");
    }
}

/// Claims that the gateway does not start and says why.
fn refuses_to_start(setup: &Setup, words: Words) {
    let ended = setup.fail();
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let output = ended.output;
    for word in ["io.backend = \"io_uring\"", "likely cause: ", "try: "]
        .iter()
        .chain(&words)
    {
        assert!(output.contains(word), "{word} in {output}");
    }
}

#[test]
fn filtered_io_uring_is_left_for_epoll_with_a_reason() {
    let filter = Filter::build("left");
    runs_on_epoll(filter.setup(EPERM, "auto"), words_of_eperm());
}

#[test]
fn hidden_io_uring_is_left_for_epoll_with_a_reason() {
    let filter = Filter::build("hidden");
    runs_on_epoll(filter.setup(ENOSYS, "auto"), words_of_enosys());
}

#[test]
fn demanded_io_uring_that_is_refused_is_78_with_cause_and_fix() {
    let filter = Filter::build("demanded");
    refuses_to_start(&filter.setup(EPERM, "io_uring"), words_of_eperm());
    refuses_to_start(&filter.setup(ENOSYS, "io_uring"), words_of_enosys());
}

#[test]
fn epoll_by_choice_knows_of_no_refusal() {
    let filter = Filter::build("choice");
    let gateway = filter.setup(EPERM, "epoll").start();
    let health = Watch::of(&gateway).component("io_backend");
    assert!(health.contains("\"reason\":\"epoll\""), "{health}");
    let output = gateway.output();
    assert!(!output.contains("refused"), "{output}");
}

fn bodies_are_copied_where_pages_may_not_be_lent(backend: Backend) {
    let body: Vec<u8> = (0..300_000_usize)
        .map(|at| (at % 251).to_le_bytes()[0])
        .collect();
    let origin = Origin::answering(ok("Cache-Control: max-age=600\r\n", &body));
    let filter = Filter::build(&format!("vmsplice-{}", backend.name()));
    let filtered = Setup::new(backend).under(&[&filter.program(), "vmsplice", EPERM]);
    let switched_off = Setup::new(backend).set("io", "zero_copy", "false");
    for setup in [filtered, switched_off] {
        let gateway = setup.everything_to(origin.address(), "").start();
        gateway.ask(get("/a"));
        for _ in 0..16 {
            let answer = gateway.ask(get("/a"));
            assert!(answer.is_hit() && answer.body == body);
        }
    }
}

/// What has the shell run the gateway so that it may lock no memory. Root needs to lose the capability to do so first.
fn without_locked_memory() -> Vec<&'static str> {
    let shell = ["sh", "-c", "ulimit -l 0 && exec \"$@\"", "sh"];
    let lose = ["setpriv", "--bounding-set", "-ipc_lock"];
    let loses = installed("setpriv").is_some()
        && Command::new("setpriv")
            .args([&lose[1..], &["true"]].concat())
            .status()
            .is_ok_and(|status| status.success());
    let is_root = rustix::process::geteuid().is_root();
    match is_root && loses {
        true => [&lose[..], &shell].concat(),
        false => shell.to_vec(),
    }
}

#[test]
fn a_kernel_that_counts_locked_memory_is_told_from_a_filter() {
    let setup =
        |backend: &str| Setup::new(Backend::IoUring).set("io", "backend", format!("\"{backend}\""));
    let backend_of = |setup: &Setup| Watch::of(&setup.start()).component("io_backend");
    let launcher = without_locked_memory();
    let (free, short) = (setup("auto"), setup("auto").under(&launcher));
    let found = backend_of(&short);
    if found == backend_of(&free) {
        eprintln!("this kernel counts no ring's memory as locked, or has no io_uring in any case");
        return assert!(!found.contains("ENOMEM"), "{found}");
    }
    let words = ["ENOMEM", "LimitMEMLOCK=infinity"];
    runs_on_epoll(short, words);
    refuses_to_start(&setup("io_uring").under(&launcher), words);
}

/// Bytes and control files of the huge pages that the pool is made for.
const PAGE: u64 = 2 << 20;
const PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// The pool's, and some that others who start meanwhile may take instead.
const POOL_PAGES: u64 = 9;
const SPARE_PAGES: u64 = 8;

fn pages(file: &str) -> u64 {
    let text = fs::read_to_string(format!("{PAGES}/{file}")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn set_pages(count: u64) -> std::io::Result<()> {
    fs::write(format!("{PAGES}/nr_hugepages"), count.to_string())
}

/// One story at a time has huge pages to itself. Not where another user's file is in the way; nobody but root can set them.
fn alone() -> Option<File> {
    let file = File::create(env::temp_dir().join("ultragate-e2e-hugepages.lock")).ok()?;
    file.lock().ok()?;
    Some(file)
}

/// Huge pages that the host was made to have; it has as many as before on drop.
struct Reserved {
    before: u64,
}

impl Reserved {
    /// `None`, and the reason printed, where the host does not give them.
    fn take(count: u64) -> Option<Reserved> {
        // Pages that a process which has just ended still holds go by themselves.
        let before = pages("nr_hugepages").saturating_sub(pages("surplus_hugepages"));
        let reserved = Reserved { before };
        if let Err(error) = set_pages(before + count) {
            eprintln!("no huge pages to be had: {PAGES}/nr_hugepages: {error}");
            return None;
        }
        if pages("free_hugepages") < count {
            eprintln!("no huge pages to be had: memory is in pieces");
            return None;
        }
        Some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // Fails where it could not be raised either.
        let _ = set_pages(self.before);
        becomes(PATIENCE, || pages("nr_hugepages") <= self.before);
    }
}

fn with_pool(backend: Backend, pages: u64, origin: &Origin) -> Gateway {
    let bytes = pages * PAGE;
    Setup::new(backend)
        .set("api_gateway", "memory_pool_size", bytes.to_string())
        .everything_to(origin.address(), "")
        .start()
}

fn a_pool_lies_in_huge_pages_where_the_host_gives_them(backend: Backend) {
    let _alone = alone();
    let reserved = Reserved::take(POOL_PAGES + SPARE_PAGES);
    let origin = Origin::answering(ok("Cache-Control: max-age=600\r\n", vec![7; 100_000]));
    let gateway = with_pool(backend, POOL_PAGES, &origin);
    if reserved.is_none() && pages("free_hugepages") < POOL_PAGES {
        return says_what_is_missing(&gateway, POOL_PAGES);
    }
    let mut watch = Watch::of(&gateway);
    let bytes = POOL_PAGES * PAGE;
    assert_eq!(gateway.hugepage_bytes(), bytes, "as the kernel counts them");
    let metric = watch.sample("pool_hugepage_bytes", &[]);
    assert_eq!(metric.to_string(), bytes.to_string());
    let health = watch.component("hugepages");
    assert!(
        health.contains("\"healthy\"") && !health.contains("reason"),
        "{health}"
    );
    let output = gateway.output();
    assert!(output.contains(" in huge pages"), "{output}");
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/a")).body, [7; 100_000]);
    }
    assert!(client.ask(get("/a")).is_hit());
}

fn a_pool_larger_than_the_free_huge_pages_says_how_many_are_missing(backend: Backend) {
    let _alone = alone();
    let origin = Origin::answering(ok("", "x"));
    let pool = pages("free_hugepages").max(POOL_PAGES) + 1;
    let gateway = with_pool(backend, pool, &origin);
    says_what_is_missing(&gateway, pool);
    assert_eq!(gateway.ask(get("/a")).body, b"x");
}

/// Claims that the pool has no huge pages, and that health and metrics say why and what lifts it.
fn says_what_is_missing(gateway: &Gateway, pool: u64) {
    let mut watch = Watch::of(gateway);
    assert_eq!(gateway.hugepage_bytes(), 0, "as the kernel counts them");
    let metric = watch.sample("pool_hugepage_bytes", &[]);
    assert_eq!(metric.to_string(), "0");
    let health = watch.component("hugepages");
    let wanted = format!("{pool} pages of 2 MiB are needed, ");
    for word in [
        "\"healthy\"",
        "no huge pages: ",
        &wanted,
        "sysctl -w vm.nr_hugepages=",
    ] {
        assert!(health.contains(word), "{word} in {health}");
    }
    let output = gateway.output();
    assert!(output.contains(&wanted), "{output}");
}
