//! How this program was built.

/// The version of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision, with `+` for local changes, or `unknown`.
pub(crate) const REVISION: &str = env!("ULTRAGATE_BUILD_REVISION");

/// Name and value of every fact, for `-V` and `build_info`.
pub(crate) const FACTS: [(&str, &str); 9] = [
    ("version", VERSION),
    ("revision", REVISION),
    ("rustc", env!("ULTRAGATE_BUILD_RUSTC")),
    ("target", env!("ULTRAGATE_BUILD_TARGET")),
    ("target_cpu", env!("ULTRAGATE_BUILD_TARGET_CPU")),
    ("opt_level", env!("ULTRAGATE_BUILD_OPT_LEVEL")),
    ("lto", env!("ULTRAGATE_BUILD_LTO")),
    ("pgo", env!("ULTRAGATE_BUILD_PGO")),
    ("features", env!("ULTRAGATE_BUILD_FEATURES")),
];

/// What `-V` prints: the name and version, then a line a fact.
pub(crate) fn details() -> String {
    let facts = FACTS.iter().skip(1);
    let lines: Vec<String> = facts
        .map(|(name, value)| format!("{:<12}{value}", name.replace('_', "-")))
        .collect();
    format!("ultragate {VERSION}\n{}", lines.join("\n"))
}
