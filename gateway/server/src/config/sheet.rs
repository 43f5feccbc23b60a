//! The configuration as typed: every key's value with where it came from, out of all sources.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::fault::{Fault, Faults, Source};
use super::file;
use super::keys::{self, Change, Key, SECTIONS, Section};
use super::kind::{Raw, Value};
use super::nearest::nearest;

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// The file's path and text, if there is one.
    pub(crate) file: Option<(PathBuf, String)>,
    /// The demo's origin: the one upstream and the one route, whatever the file says of them.
    pub(crate) demo: Option<SocketAddr>,
    /// The environment; variables that do not start with `ULTRAGATE_` are passed over.
    pub(crate) environment: Vec<(String, String)>,
    /// `section.key=value` of the flags `--set`, in order.
    pub(crate) flags: Vec<String>,
}

/// Every key's value. Sections that are not repeated are there exactly once.
#[derive(Clone, Debug)]
pub(crate) struct Sheet {
    items: Vec<Item>,
}

/// One section, or one of a repeated section.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Which.
    pub(crate) section: &'static Section,
    /// Where it begins.
    pub(crate) source: Source,
    /// A value for each key that has one: all of them, once nothing is missing.
    pub(crate) values: Vec<Placed>,
    /// Keys whose value was refused, which are therefore not missing too.
    pub(super) refused: Vec<&'static str>,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// Whose it is.
    pub(crate) key: &'static Key,
    /// The value.
    pub(crate) value: Value,
    /// Who said so.
    pub(crate) source: Source,
}

impl Sheet {
    /// Reads every source; flags win over the environment, that over the file, that over defaults.
    pub(crate) fn read(inputs: &Inputs) -> Result<Self, Faults> {
        let mut sheet = Self::defaults();
        let mut faults = Vec::new();
        if let Some((path, text)) = &inputs.file {
            file::read(&Arc::new(path.clone()), text, &mut sheet, &mut faults);
        }
        if let Some(origin) = inputs.demo {
            sheet.set_demo(origin);
        }
        for (name, value) in &inputs.environment {
            sheet.set_from_environment(name, value, &mut faults);
        }
        for flag in &inputs.flags {
            sheet.set_from_flag(flag, &mut faults);
        }
        sheet.find_missing(&mut faults);
        Faults::none_of(faults)?;
        Ok(sheet)
    }

    /// The items, in the order of the reference, repeated ones as configured.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        SECTIONS.iter().flat_map(|section| self.of(section.name))
    }

    /// The items of one section.
    pub(crate) fn of(&self, section: &str) -> impl Iterator<Item = &Item> {
        self.items
            .iter()
            .filter(move |item| item.section.name == section)
    }

    /// Where the value of a key in a section that is not repeated came from.
    pub(crate) fn source(&self, section: &str, key: &str) -> Source {
        self.of(section)
            .next()
            .map_or(Source::Default, |item| item.source_of(key))
    }

    /// The item of a section that is not repeated; a new one with defaults otherwise. To be filled and put back.
    pub(super) fn take(&mut self, section: &'static Section, source: &Source) -> Item {
        let known = self
            .items
            .iter()
            .position(|item| !section.repeated && item.section.name == section.name);
        match known {
            Some(at) => self.items.remove(at),
            None => Item::defaults(section, source.clone()),
        }
    }

    /// Puts an item in, behind those of its section.
    pub(super) fn put(&mut self, item: Item) {
        self.items.push(item);
    }

    fn defaults() -> Self {
        let items = SECTIONS.iter().filter(|section| !section.repeated);
        Self {
            items: items
                .map(|section| Item::defaults(section, Source::Default))
                .collect(),
        }
    }

    fn set_demo(&mut self, origin: SocketAddr) {
        self.items.retain(|item| !item.section.repeated);
        let source = Source::Flag("--demo".to_owned());
        let origin = origin.to_string();
        let said = [
            ("upstream", vec![("name", "demo"), ("endpoints", &origin)]),
            ("route", vec![("name", "demo"), ("upstream", "demo")]),
        ];
        for (section, keys) in said {
            let Some(section) = keys::section(section) else {
                continue;
            };
            let mut item = Item::defaults(section, source.clone());
            for (name, text) in keys {
                let read = |key: &'static Key| {
                    let value = key.kind.read(&Raw::Bare(text.to_owned())).ok()?;
                    Some(Placed {
                        key,
                        value,
                        source: source.clone(),
                    })
                };
                item.values.extend(section.key(name).and_then(read));
            }
            self.put(item);
        }
    }

    fn set_from_environment(&mut self, name: &str, text: &str, faults: &mut Vec<Fault>) {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            return;
        };
        if is_service_link(rest) {
            return;
        }
        let source = Source::Environment(name.to_owned());
        let (section, key) = rest.split_once("__").unwrap_or((rest, ""));
        match find(&section.to_lowercase(), &key.to_lowercase()) {
            Some((section, key)) => self.set_bare(section, key, text, source, faults),
            None => faults.push(Fault::new(&source, unknown_variable(name))),
        }
    }

    fn set_from_flag(&mut self, flag: &str, faults: &mut Vec<Fault>) {
        let source = Source::Flag(format!("--set {flag}"));
        let Some((path, text)) = flag.split_once('=') else {
            faults.push(Fault::new(&source, "expected section.key=value"));
            return;
        };
        let (section, key) = path.trim().split_once('.').unwrap_or((path, ""));
        match find(section, key) {
            Some((section, key)) => self.set_bare(section, key, text.trim(), source, faults),
            None => faults.push(Fault::new(&source, unknown_path(path))),
        }
    }

    fn set_bare(
        &mut self,
        section: &'static Section,
        key: &'static Key,
        text: &str,
        source: Source,
        faults: &mut Vec<Fault>,
    ) {
        if section.repeated {
            let message = format!("{} stands in the file only", brackets(section));
            faults.push(Fault::new(&source, message));
            return;
        }
        let mut item = self.take(section, &source);
        match key.kind.read(&Raw::Bare(text.to_owned())) {
            Ok(value) => item.set(key, value, source, faults),
            Err(refused) => faults.push(Fault::new(
                &source,
                format!("{}.{}: {}", section.name, key.name, refused.message),
            )),
        }
        self.put(item);
    }

    fn find_missing(&self, faults: &mut Vec<Fault>) {
        for item in &self.items {
            let missing = item.section.keys.iter().filter(|key| {
                key.default.is_none()
                    && item.placed(key.name).is_none()
                    && !item.refused.contains(&key.name)
            });
            faults.extend(missing.map(|key| {
                let message = format!("{} needs `{}`", brackets(item.section), key.name);
                Fault::new(&item.source, message)
            }));
        }
    }
}

impl Item {
    /// A key's value.
    pub(crate) fn placed(&self, key: &str) -> Option<&Placed> {
        self.values.iter().find(|placed| placed.key.name == key)
    }

    /// Where a key's value came from; the item's own place where it has none.
    pub(crate) fn source_of(&self, key: &str) -> Source {
        match self.placed(key) {
            Some(placed) if placed.source != Source::Default => placed.source.clone(),
            _ => self.source.clone(),
        }
    }

    /// Sets a key, refusing what only a later version can do.
    pub(super) fn set(
        &mut self,
        key: &'static Key,
        value: Value,
        source: Source,
        faults: &mut Vec<Fault>,
    ) {
        if key.change == Change::Reserved && Some(&value) != default(key).as_ref() {
            let message = format!(
                "{}.{} = {value} is reserved for a later version; this one accepts {} only",
                self.section.name,
                key.name,
                default(key)
                    .map(|value| value.to_string())
                    .unwrap_or_default(),
            );
            faults.push(Fault::new(&source, message));
            return;
        }
        self.values.retain(|placed| placed.key.name != key.name);
        self.values.push(Placed { key, value, source });
    }

    fn defaults(section: &'static Section, source: Source) -> Self {
        let values = section.keys.iter().filter_map(|key| {
            Some(Placed {
                key,
                value: default(key)?,
                source: Source::Default,
            })
        });
        Self {
            section,
            source,
            values: values.collect(),
            refused: Vec::new(),
        }
    }
}

/// A key's default as a value.
pub(crate) fn default(key: &Key) -> Option<Value> {
    key.kind.read(&Raw::Bare(key.default?.to_owned())).ok()
}

/// What to say of a key that a section does not have.
pub(super) fn unknown_key(section: &Section, typed: &str) -> String {
    let message = format!("unknown key `{typed}` in {}", brackets(section));
    if let Some(near) = nearest(typed, section.keys.iter().map(|key| key.name)) {
        return format!("{message}; did you mean `{near}`?");
    }
    let elsewhere = SECTIONS.iter().find(|section| section.key(typed).is_some());
    if let Some(home) = elsewhere {
        return format!("{message}; `{typed}` belongs in {}", brackets(home));
    }
    let far = SECTIONS.iter().find_map(|home| {
        let near = nearest(typed, home.keys.iter().map(|key| key.name))?;
        Some(format!(
            "{message}; did you mean `{near}` in {}?",
            brackets(home)
        ))
    });
    far.unwrap_or(message)
}

/// What to say of a top-level name that is no section.
pub(super) fn unknown_section(typed: &str) -> String {
    if let Some(home) = SECTIONS.iter().find(|section| section.key(typed).is_some()) {
        return format!(
            "`{typed}` stands outside a section; it belongs in {}",
            brackets(home)
        );
    }
    let message = format!("unknown section [{typed}]");
    match nearest(typed, SECTIONS.iter().map(|section| section.name)) {
        Some(near) => format!(
            "{message}; did you mean {}?",
            keys::section(near).map(brackets).unwrap_or_default()
        ),
        None => message,
    }
}

/// A section's name as it stands in the file.
pub(super) fn brackets(section: &Section) -> String {
    if section.repeated {
        return format!("[[{}]]", section.name);
    }
    format!("[{}]", section.name)
}

const PREFIX: &str = "ULTRAGATE_";

/// Kubernetes and Docker put such variables into every container beside a service called `ultragate…`
/// (`ULTRAGATE_SERVICE_HOST`, `ULTRAGATE_PORT_8080_TCP`). Ours have a double underscore.
fn is_service_link(rest: &str) -> bool {
    let link = |word: &str| rest.starts_with(word) || rest.contains(&format!("_{word}"));
    !rest.contains("__") && (link("SERVICE_HOST") || link("SERVICE_PORT") || is_port_link(rest))
}

fn is_port_link(rest: &str) -> bool {
    rest == "PORT"
        || rest.ends_with("_PORT")
        || rest.ends_with("_TCP")
        || rest.ends_with("_UDP")
        || rest.contains("_TCP_")
        || rest.contains("_UDP_")
        || rest.starts_with("PORT_")
}

fn find(section: &str, key: &str) -> Option<(&'static Section, &'static Key)> {
    let section = keys::section(section)?;
    Some((section, section.key(key)?))
}

fn all_paths() -> Vec<String> {
    let single = SECTIONS.iter().filter(|section| !section.repeated);
    single
        .flat_map(|section| {
            let keys = section.keys.iter();
            keys.map(|key| format!("{}.{}", section.name, key.name))
        })
        .collect()
}

fn unknown_variable(name: &str) -> String {
    let variables: Vec<String> = all_paths()
        .iter()
        .map(|path| format!("{PREFIX}{}", path.replacen('.', "__", 1).to_uppercase()))
        .collect();
    with_nearest("names no key".to_owned(), name, &variables)
}

fn unknown_path(typed: &str) -> String {
    with_nearest(format!("unknown key `{typed}`"), typed, &all_paths())
}

fn with_nearest(message: String, typed: &str, candidates: &[String]) -> String {
    match nearest(typed, candidates.iter().map(String::as_str)) {
        Some(near) => format!("{message}; did you mean {near}?"),
        None => format!("{message}; docs/configuration.md lists them all"),
    }
}
