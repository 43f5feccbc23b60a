//! The pages that are written from the table of keys: the annotated example and the reference. A test compares them with
//! what lies in the repository, and `make docs` writes them.

use super::fields::Act;
use super::keys::{Change, Key, SECTIONS, Section};
use super::kind::Kind;
use super::sheet::{brackets, default};
use super::units;

/// Width of comments in the example.
const COLUMNS: usize = 100;

/// `config/gateway.toml`: every key at its default with its explanation.
pub(crate) fn example() -> String {
    let mut out = String::from(EXAMPLE_HEAD);
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc);
        if section.repeated {
            comment_out(&mut out, &example_item(section));
        } else {
            out.push_str(&example_section(section));
        }
    }
    out
}

const EXAMPLE_HEAD: &str = "\
# Every key of ultragate at its default. Written from the gateway's own table of keys: change it there, not here.
# Sizes take B, KiB, MiB, GiB, TiB, kB, MB, GB, TB or plain bytes; times take us, ms, s, m, h, d or plain seconds.
# A flag (--set cache.capacity=500000) wins over the environment (ULTRAGATE_CACHE__CAPACITY), that over this file.
# A file with one [[upstream]] and one [[route]] is enough: see minimal.toml. `ultragate -t -c FILE` checks a file.
";

fn example_section(section: &Section) -> String {
    let mut out = format!("{}\n", brackets(section));
    for key in section.keys {
        comment(&mut out, &explained(key));
        let value = default(key).map(|value| value.to_string());
        line_to(
            &mut out,
            &format!("{} = {}", key.name, value.unwrap_or_default()),
        );
    }
    out
}

fn example_item(section: &Section) -> String {
    let mut out = format!("{}\n", brackets(section));
    for key in section.keys {
        comment(&mut out, &explained(key));
        line_to(&mut out, &format!("{} = {}", key.name, example_value(key)));
    }
    out
}

fn example_value(key: &Key) -> String {
    match (default(key), key.name) {
        (Some(value), _) => value.to_string(),
        (None, "endpoints") => "[\"127.0.0.1:3005\", \"127.0.0.1:3006\"]".to_owned(),
        (None, _) => "\"api\"".to_owned(),
    }
}

fn explained(key: &Key) -> String {
    match key.change {
        Change::Reserved => format!(
            "Reserved for a later version: only this value is accepted. {}",
            key.doc
        ),
        Change::Restart | Change::Reload => key.doc.to_owned(),
    }
}

/// `docs/configuration.md`.
pub(crate) fn reference() -> String {
    let mut out = String::from(REFERENCE_HEAD);
    for section in SECTIONS {
        out.push_str(&format!(
            "\n## `{}`\n\n{}\n\n",
            brackets(section),
            section.doc
        ));
        out.push_str(
            "| key | takes | default | change acts | what it decides |\n|---|---|---|---|---|\n",
        );
        for key in section.keys {
            out.push_str(&reference_row(key));
        }
    }
    out
}

const REFERENCE_HEAD: &str = "\
# Configuration

<!-- Written from the gateway's table of keys (gateway/server/src/config/keys.rs) by `make docs`. -->

One TOML file, named by `-c`; without it `/etc/ultragate/gateway.toml` if it is there, else the demo. [`config/gateway.toml`](../config/gateway.toml)
holds every key at its default; [`config/minimal.toml`](../config/minimal.toml) is enough in front of an origin.

- **Precedence**: flag (`--set cache.capacity=500000`), environment (`ULTRAGATE_CACHE__CAPACITY=500000`), file, default.
  `[[upstream]]` and `[[route]]` stand in the file only. Lists in flags and in the environment are separated by commas.
- **Sizes** are text with `B`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB`, `TB`, or plain bytes. **Times** are text with
  `us`, `ms`, `s`, `m`, `h`, `d`, or plain seconds. **Rates** are sizes a second (`\"1KiB/s\"`).
- **What is not known is refused**: an unknown key, section or `ULTRAGATE_…` variable, a value out of its bounds. All faults are
  listed at once, with file, line and column, and the gateway exits with 78. (Variables that Kubernetes and Docker make for a
  service called `ultragate`, such as `ULTRAGATE_SERVICE_HOST`, are passed over.)
- **Reserved keys** are known but not built yet: they accept their default only.
- `ultragate -t -c FILE` checks, `ultragate -T -c FILE` checks and prints what is in force, with the source of each value.
- **A change acts** at the next start. `reload` marks keys that a later version will take on HUP; today HUP only checks the file.
";

fn reference_row(key: &Key) -> String {
    let default = default(key).map_or("(required)".to_owned(), |value| format!("`{value}`"));
    let change = match key.change {
        Change::Restart => "restart",
        Change::Reload => "restart (later: reload)",
        Change::Reserved => "reserved",
    };
    let (name, takes, doc) = (key.name, words(&key.kind), key.doc.replace('|', "\\|"));
    format!("| `{name}` | {takes} | {default} | {change} | {doc} |\n")
}

fn line_to(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

/// Appends text as comment lines, broken between words.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            line_to(out, &line);
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    line_to(out, &line);
}

/// Comments a section's keys out: `# ` begins an explanation, `#` alone what may be uncommented.
fn comment_out(out: &mut String, text: &str) {
    for line in text.lines() {
        let hash = if line.starts_with('#') { "" } else { "#" };
        line_to(out, &format!("{hash}{line}"));
    }
}

/// What the reference says of values of a kind.
fn words(kind: &Kind) -> String {
    match kind {
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Count(min, max) => format!("number, {min} to {max}"),
        Kind::Bytes(min, max) => format!("size, {} to {}", units::size(*min), units::size(*max)),
        Kind::Rate => "rate, bytes a second".to_owned(),
        Kind::Span(min, max) => format!("time, {} to {}", units::span(*min), units::span(*max)),
        Kind::Addresses => "address or list of addresses".to_owned(),
        Kind::Cpus => "list of CPU numbers".to_owned(),
        Kind::FieldName => "field name".to_owned(),
        Kind::Statuses => "status, or list of them".to_owned(),
        Kind::Choice(words, _) => quoted(words),
        Kind::RequestPath => "request path, or `\"\"`".to_owned(),
        Kind::File => "file, or `\"\"`".to_owned(),
        Kind::Name => "name".to_owned(),
        Kind::Host => "host name, or `\"\"`".to_owned(),
        Kind::Endpoints => "`host:port` or list of them".to_owned(),
        Kind::Networks => "address, network, or list of them".to_owned(),
        Kind::Fields(_, Act::Remove) => "list of field names".to_owned(),
        Kind::Fields(..) => "list of `Name: value`".to_owned(),
        Kind::Or(word, inner) => format!("{}, or `\"{word}\"`", words(inner)),
    }
}

fn quoted(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
    quoted.join(", ")
}
