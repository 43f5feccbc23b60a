//! Why the process ends otherwise than well: the words for it, and its exit code.

use std::fmt;
use std::process::ExitCode;

use crate::config::Faults;

/// Why the process ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong flags.
    Usage(String),
    /// A configuration that cannot work.
    Config(Faults),
    /// A configuration file that cannot be read.
    Unreadable(String),
    /// Starting failed.
    Start(StartFailure),
    /// Running failed.
    Run(String),
}

/// A failed start.
#[derive(Debug)]
pub(crate) struct StartFailure {
    /// What failed.
    pub(crate) what: String,
    /// The likely cause.
    pub(crate) cause: String,
    /// The command or key that mends it.
    pub(crate) fix: String,
    /// Whether it was the configuration that demanded what the host refuses, so that starting again will not help.
    pub(crate) demanded: bool,
}

impl Failure {
    /// What failed, in one line.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Start(failure) => failure.what.clone(),
            Self::Usage(_) | Self::Config(_) | Self::Unreadable(_) | Self::Run(_) => {
                let whole = self.to_string();
                let first = whole.lines().next().unwrap_or_default();
                first
                    .strip_prefix("ultragate: ")
                    .unwrap_or(first)
                    .to_owned()
            }
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Config(_) | Self::Unreadable(_) => ExitCode::from(78),
            Self::Start(failure) if failure.demanded => ExitCode::from(78),
            Self::Start(_) | Self::Run(_) => ExitCode::from(1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) | Self::Run(why) | Self::Unreadable(why) => {
                write!(f, "ultragate: {why}")
            }
            Self::Config(faults) => write!(f, "{faults}"),
            Self::Start(StartFailure {
                what, cause, fix, ..
            }) => {
                write!(
                    f,
                    "ultragate: {what}\n  likely cause: {cause}\n  try: {fix}"
                )
            }
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Config(faults)
    }
}

impl From<StartFailure> for Failure {
    fn from(failure: StartFailure) -> Self {
        Self::Start(failure)
    }
}
