//! Tells the program how it was built (`ultragate -V`). Needs neither network nor a git checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")).join("../..");
    let flags = var("CARGO_ENCODED_RUSTFLAGS");
    say("REVISION", &revision(&root));
    say(
        "RUSTC",
        &output(&var("RUSTC"), &["--version"], &root).unwrap_or_else(unknown),
    );
    say("TARGET", &var("TARGET"));
    say(
        "TARGET_CPU",
        flag(&flags, "target-cpu=").unwrap_or("default"),
    );
    say("OPT_LEVEL", &var("OPT_LEVEL"));
    say("LTO", &lto(&root, &flags));
    say(
        "PGO",
        if flag(&flags, "profile-use").is_some() {
            "yes"
        } else {
            "no"
        },
    );
    say("FEATURES", &features());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ULTRAGATE_BUILD_REVISION");
}

fn say(name: &str, value: &str) {
    println!("cargo::rustc-env=ULTRAGATE_BUILD_{name}={value}");
}

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The revision given by who builds (an image without `.git`), else the checkout's, with `+` for local changes.
fn revision(root: &Path) -> String {
    let given = var("ULTRAGATE_BUILD_REVISION");
    if !given.is_empty() {
        return given;
    }
    checkout(root).unwrap_or_else(unknown)
}

/// `None` outside a checkout of this very project (an archive unpacked inside another repository, say).
fn checkout(root: &Path) -> Option<String> {
    let top = output("git", &["rev-parse", "--show-toplevel"], root)?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let git = PathBuf::from(output("git", &["rev-parse", "--absolute-git-dir"], root)?);
    for file in [git.join("HEAD"), git.join("logs/HEAD"), git.join("index")] {
        if file.exists() {
            println!("cargo::rerun-if-changed={}", file.display());
        }
    }
    let revision = output("git", &["rev-parse", "--short=12", "HEAD"], root)?;
    let changes = output(
        "git",
        &["status", "--porcelain", "--untracked-files=no"],
        root,
    );
    let mark = if changes.is_some_and(|changes| !changes.is_empty()) {
        "+"
    } else {
        ""
    };
    Some(format!("{revision}{mark}"))
}

/// A program's output in one line, if it ends well.
fn output(program: &str, arguments: &[&str], directory: &Path) -> Option<String> {
    let done = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    done.status
        .success()
        .then(|| text.trim().replace('\n', " "))
}

/// The rest of the first compiler flag with this word in it.
fn flag<'a>(flags: &'a str, word: &str) -> Option<&'a str> {
    flags
        .split('\x1f')
        .find_map(|flag| flag.split_once(word).map(|(_, rest)| rest))
}

/// The profile's setting: Cargo tells it to no build script, so it is read from where it stands.
fn lto(root: &Path, flags: &str) -> String {
    if flag(flags, "lto").is_some() {
        return "yes".to_owned();
    }
    let profile = var("PROFILE");
    let given = var(&format!("CARGO_PROFILE_{}_LTO", profile.to_uppercase()));
    if !given.is_empty() {
        return given;
    }
    let manifest = root.join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", manifest.display());
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    let section = text
        .lines()
        .skip_while(|line| line.trim() != format!("[profile.{profile}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    section
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "lto")
        .map_or("no".to_owned(), |(_, value)| {
            value.trim().trim_matches('"').to_owned()
        })
}

fn features() -> String {
    let mut names: Vec<String> = std::env::vars()
        .filter_map(|(name, _)| name.strip_prefix("CARGO_FEATURE_").map(str::to_lowercase))
        .filter(|name| name != "default")
        .collect();
    names.sort();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(",")
}
