//! The command line: flags, verbs, and what is said of them in `--help` and `docs/cli.md`.

use std::path::PathBuf;

#[cfg(test)]
use clap::CommandFactory;
use clap::{ArgAction, Parser};

use crate::config::nearest;

/// Flags as typed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "ultragate",
    about = "An HTTP caching gateway for services that need sub-millisecond tails",
    after_help = "Without -c: /etc/ultragate/gateway.toml if it is there, else as with --demo.",
    disable_version_flag = true
)]
pub(crate) struct Flags {
    /// `serve` (or nothing) runs the gateway.
    #[arg(value_name = "VERB")]
    pub(crate) verb: Option<String>,

    /// Read the configuration from FILE.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Check the configuration, say what is wrong with it, and exit.
    #[arg(short = 't', long = "test", conflicts_with = "dump")]
    pub(crate) test: bool,

    /// Check the configuration, print what is in force as TOML, and exit.
    #[arg(short = 'T', long = "dump")]
    pub(crate) dump: bool,

    /// Set one key, over the environment and the file.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", action = ArgAction::Append)]
    pub(crate) set: Vec<String>,

    /// Run in front of a small origin of its own, whatever upstreams and routes a file has, and print addresses to try.
    #[arg(long = "demo")]
    pub(crate) demo: bool,

    /// Log debug events too.
    #[arg(short = 'v', long = "verbose")]
    pub(crate) verbose: bool,

    /// Print how this program was built, and exit.
    #[arg(short = 'V', long = "version")]
    pub(crate) version: bool,
}

/// Verbs that later versions will have.
pub(crate) const RESERVED_VERBS: [&str; 12] = [
    "check",
    "doctor",
    "top",
    "slow",
    "ps",
    "trace",
    "profile",
    "warm",
    "purge",
    "explain",
    "recommend",
    "report",
];

/// Reads the process's arguments.
///
/// # Errors
/// What to say on standard error before exiting with 2; `--help` and faults of flags exit by themselves.
pub(crate) fn parse() -> Result<Flags, String> {
    let mut arguments = std::env::args().skip(1);
    if let Some(verb) = arguments.next().filter(|word| !word.starts_with('-')) {
        refuse_verb(&verb)?;
    }
    let flags = Flags::parse();
    match &flags.verb {
        Some(verb) => refuse_verb(verb).map(|()| flags),
        None => Ok(flags),
    }
}

fn refuse_verb(verb: &str) -> Result<(), String> {
    if verb == "serve" {
        return Ok(());
    }
    if RESERVED_VERBS.contains(&verb) {
        return Err(format!(
            "`ultragate {verb}` is reserved for a later version"
        ));
    }
    let known = RESERVED_VERBS.iter().copied().chain(["serve"]);
    let hint =
        nearest(verb, known).map_or(".".to_owned(), |near| format!("; did you mean `{near}`?"));
    Err(format!(
        "unknown verb `{verb}`{hint} See `ultragate --help`."
    ))
}

/// `docs/cli.md`.
#[cfg(test)]
fn reference() -> String {
    let mut out = String::from(REFERENCE_HEAD);
    for argument in Flags::command()
        .get_arguments()
        .filter(|a| !a.is_positional())
    {
        let short = argument
            .get_short()
            .map(|c| format!("`-{c}`, "))
            .unwrap_or_default();
        let long = argument.get_long().unwrap_or_default();
        let value = argument
            .get_value_names()
            .filter(|_| argument.get_action().takes_values())
            .map(|names| format!(" {}", names.join(" ")))
            .unwrap_or_default();
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        out.push_str(&format!("| {short}`--{long}{value}` | {help} |\n"));
    }
    out.push_str("| `-h`, `--help` | Print the flags, and exit |\n");
    let verbs: Vec<String> = RESERVED_VERBS
        .iter()
        .map(|verb| format!("`{verb}`"))
        .collect();
    out.push_str(&REFERENCE_TAIL.replace("{verbs}", &verbs.join(", ")));
    out
}

#[cfg(test)]
const REFERENCE_HEAD: &str = "\
# The command line

<!-- Written from the gateway's own flags (gateway/server/src/cli.rs) by `make docs`. -->

`ultragate [serve] [flags]` runs the gateway. Without `-c` it reads `/etc/ultragate/gateway.toml` if that is there, else it
runs as with `--demo`. Keys are described in [configuration.md](configuration.md).

| flag | what it does |
|---|---|
";

#[cfg(test)]
const REFERENCE_TAIL: &str = "
Reserved for later versions, and refused with exit code 2: {verbs}.

## Exit codes

| code | meaning |
|---|---|
| 0 | success; a drain that ended, in time or at its timeout |
| 1 | failed at run time: a port taken, memory refused, a shard lost for good |
| 2 | wrong usage |
| 78 | bad configuration (or io_uring demanded and refused): restarting will not help, so let systemd not try (`RestartPreventExitStatus=78`) |

## Signals

| signal | here | nginx | HAProxy |
|---|---|---|---|
| TERM | drain ([what that is](deploys.md)), then exit 0; a second one stops at once | stop at once | stop at once |
| QUIT | as TERM | drain | – |
| INT | stop at once, exit 0 | stop at once | stop at once |
| HUP | check the file and log what is found; taking it comes in a later version | reload | reload (master) |
| USR1 | reopen the access log; events go to standard error | reopen logs | drain |
| USR2 | logged and ignored; upgrading in place comes in a later version | upgrade | reload (master) |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn the_reference_is_fresh() {
        crate::config::assert_fresh("docs/cli.md", &reference());
    }

    #[test]
    fn verbs_to_come_and_mistyped_ones_are_refused() {
        assert_eq!(refuse_verb("serve"), Ok(()));
        assert_eq!(
            refuse_verb("doctor"),
            Err("`ultragate doctor` is reserved for a later version".to_owned())
        );
        assert_eq!(
            refuse_verb("server"),
            Err("unknown verb `server`; did you mean `serve`? See `ultragate --help`.".to_owned())
        );
        assert_eq!(
            refuse_verb("fly"),
            Err("unknown verb `fly`. See `ultragate --help`.".to_owned())
        );
    }
}
