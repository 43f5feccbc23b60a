//! Stories of the command line: what is said, where, and the exit code.

mod process;

use process::{TempFile, command, finished, run};

#[test]
fn a_good_file_is_said_to_be_good() {
    let file = TempFile::new("good", "[cache]\ncapacity = 5\n");
    let (code, out, err) = run(&["-t", "-c", file.path()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("{}: the configuration is good\n", file.path()));
}

#[test]
fn a_bad_file_is_refused_with_78_and_every_fault_with_its_place() {
    let file = TempFile::new("bad", "[cache]\ncapcity = 5\n[io]\nbackend = \"x\"\n");
    for flag in ["-t", "-T", "-v"] {
        let (code, out, err) = run(&[flag, "-c", file.path()]);
        assert_eq!((code, out.as_str()), (78, ""));
        let path = file.path();
        let faults = format!(
            "{path}:2:1: unknown key `capcity` in [cache]; did you mean `capacity`?\n\
             {path}:4:11: io.backend: found \"x\", expected \"auto\" or \"io_uring\" or \"epoll\"\n"
        );
        assert_eq!(err, faults);
    }
}

#[test]
fn a_configuration_that_the_host_cannot_give_is_refused_too() {
    let (code, _, err) = run(&["-t", "--set", "api_gateway.cpu_affinity=4095"]);
    assert_eq!(code, 78);
    assert!(err.contains("names CPU 4095"), "{err}");
}

#[test]
fn a_file_that_is_not_there_is_bad_configuration() {
    let (code, _, err) = run(&["-t", "-c", "/nowhere/gateway.toml"]);
    assert_eq!(code, 78);
    assert!(
        err.contains("cannot read the configuration /nowhere/gateway.toml"),
        "{err}"
    );
    assert!(err.contains("try: "), "{err}");
}

#[test]
fn what_is_in_force_says_who_said_so_and_reads_back() {
    let file = TempFile::new("force", "[cache]\ncapacity = 5\nmax_object = 100\n");
    let output = command()
        .args(["-T", "-c", file.path(), "--set", "drain.timeout=7"])
        .env("ULTRAGATE_CACHE__CAPACITY", "6")
        .output();
    let (code, out, _) = finished(output.expect("ran"));
    assert_eq!(code, 0);
    let line = |start: &str| {
        out.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or("")
    };
    assert!(
        line("capacity = 6").ends_with("# environment ULTRAGATE_CACHE__CAPACITY"),
        "{out}"
    );
    assert!(
        line("max_object").ends_with(&format!("# {}:3:1", file.path())),
        "{out}"
    );
    assert!(
        line("timeout = \"7s\"").ends_with("# flag --set drain.timeout=7"),
        "{out}"
    );
    let again = TempFile::new("again", &out);
    assert_eq!(run(&["-t", "-c", again.path()]).0, 0);
}

#[test]
fn the_files_that_come_with_it_are_good() {
    for name in ["gateway.toml", "minimal.toml"] {
        let path = format!("{}/../../config/{name}", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(run(&["-t", "-c", &path]).0, 0, "{name}");
    }
}

#[test]
fn wrong_usage_is_2_and_verbs_to_come_say_so() {
    let (code, out, err) = run(&["doctor", "--json"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(
        err,
        "ultragate: `ultragate doctor` is reserved for a later version\n"
    );
    assert_eq!(run(&["--no-such-flag"]).0, 2);
    assert_eq!(run(&["-t", "-T"]).0, 2);
    assert_eq!(run(&["fly"]).0, 2);
}

#[test]
fn how_it_was_built_is_told() {
    let (code, out, _) = run(&["-V"]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with(concat!("ultragate ", env!("CARGO_PKG_VERSION"), "\n")),
        "{out}"
    );
    for fact in [
        "revision",
        "rustc",
        "target-cpu",
        "opt-level",
        "lto",
        "pgo",
        "features",
    ] {
        assert!(
            out.lines().any(|line| line.starts_with(fact)),
            "{fact} in {out}"
        );
    }
}
