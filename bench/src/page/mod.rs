//! `benchmark report`: records as a page to read and pictures to show.
//!
//! What does not count (a run that is not certified, or that saw errors) is never drawn as if it did: where a server has
//! runs that count, its figures come from these alone; where it has none, they are grey, dotted and marked ✕.

mod axis;
mod bars;
mod chart;
mod groups;
mod html;
mod markup;
mod paint;
mod percentiles;
mod pictures;
mod series;
mod style;
mod table;
mod target;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::record::{Record, SCHEMA};

use groups::Group;
use target::Target;

#[derive(Args)]
pub(crate) struct ReportArguments {
    /// Records that `benchmark` wrote.
    #[arg(required = true, value_name = "RECORD.json")]
    records: Vec<PathBuf>,
    /// Where to write the page.
    #[arg(long, value_name = "FILE", required_unless_present = "svg")]
    html: Option<PathBuf>,
    /// Where to write latency.svg and cpu.svg.
    #[arg(long, value_name = "DIRECTORY")]
    svg: Option<PathBuf>,
    /// What latencies are to stay below.
    #[arg(long, value_name = "pN=TIME", value_delimiter = ',', default_values = target::DEFAULT)]
    percentile_target: Vec<Target>,
    /// These scenarios alone.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<String>,
}

pub(crate) fn run(arguments: &ReportArguments) -> io::Result<()> {
    let (files, records): (Vec<String>, Vec<Record>) = arguments
        .records
        .iter()
        .map(|path| Ok((path.display().to_string(), read(path)?)))
        .collect::<io::Result<_>>()?;
    for name in &arguments.scenario {
        let mut runs = records.iter().flat_map(|record| &record.runs);
        if !runs.any(|run| run.scenario == *name) {
            return Err(io::Error::other(format!(
                "no run of a scenario named {name:?}"
            )));
        }
    }
    let groups = groups::groups(&records, &arguments.scenario);
    if let Some(path) = &arguments.html {
        let page = html::page(&files, &records, &groups, &arguments.percentile_target);
        fs::write(path, page).map_err(|error| about(path, &error))?;
    }
    match &arguments.svg {
        Some(directory) => draw(directory, &groups, &arguments.percentile_target),
        None => Ok(()),
    }
}

/// Writes the pictures that have something to show.
fn draw(directory: &Path, groups: &[Group<'_>], targets: &[Target]) -> io::Result<()> {
    let pictures = [
        ("latency.svg", pictures::latency(groups, targets)),
        ("cpu.svg", pictures::cpu(groups)),
    ];
    if pictures.iter().all(|(_, picture)| picture.is_none()) {
        return Err(io::Error::other(
            "there is nothing to draw in these records",
        ));
    }
    fs::create_dir_all(directory).map_err(|error| about(directory, &error))?;
    for (name, picture) in pictures {
        let path = directory.join(name);
        match picture {
            Some(picture) => fs::write(&path, picture).map_err(|error| about(&path, &error))?,
            None => eprintln!("benchmark: {name}: nothing to draw, not written"),
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Record> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let text = fs::read_to_string(path).map_err(|error| about(path, &error))?;
    let Version { schema } =
        serde_json::from_str(&text).map_err(|error| not_a_record(path, &error))?;
    if schema != SCHEMA {
        return Err(io::Error::other(format!(
            "{}: a record of schema {schema}; this program reads {SCHEMA}",
            path.display()
        )));
    }
    serde_json::from_str(&text).map_err(|error| not_a_record(path, &error))
}

fn not_a_record(path: &Path, error: &serde_json::Error) -> io::Error {
    io::Error::other(format!("{}: not a record: {error}", path.display()))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
