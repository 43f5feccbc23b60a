//! Where this process's configuration comes from: which file, which environment, which flags. Read again on HUP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::cli::Flags;
use crate::config::{Inputs, Sheet};
use crate::failure::Failure;

/// The file that is read without `-c`, if it is there.
const DEFAULT_FILE: &str = "/etc/ultragate/gateway.toml";

/// The sources of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    file: Option<PathBuf>,
    flags: Vec<String>,
    /// The demo's origin, which replaces what upstreams and routes the file has.
    demo: Option<SocketAddr>,
}

/// Whether the flags ask for the demo, or leave nothing else.
pub(crate) fn is_demo(flags: &Flags) -> bool {
    flags.demo || (flags.config.is_none() && !Path::new(DEFAULT_FILE).exists())
}

impl Sources {
    /// The sources that the flags name.
    pub(crate) fn of(flags: &Flags, demo: Option<SocketAddr>) -> Self {
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|_| demo.is_none());
        Self {
            file: flags.config.clone().or_else(default),
            flags: flags.set.clone(),
            demo,
        }
    }

    /// The file, if one is read.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads them all.
    ///
    /// # Errors
    /// [`Failure::Unreadable`] and [`Failure::Config`].
    pub(crate) fn read(&self) -> Result<Sheet, Failure> {
        let file = match &self.file {
            Some(path) => Some((path.clone(), read_text(path)?)),
            None => None,
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let inputs = Inputs {
            file,
            demo: self.demo,
            environment: environment.collect(),
            flags: self.flags.clone(),
        };
        Ok(Sheet::read(&inputs)?)
    }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::Unreadable(format!(
            "cannot read the configuration {}: {error}\n  try: ultragate --demo, or the -c of another file",
            path.display()
        ))
    })
}
