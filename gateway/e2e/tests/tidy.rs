//! The shape of the sources: no function over 100 lines, no file over 800. An exception carries its reason here.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 100;

#[test]
fn no_file_and_no_function_is_too_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for place in ["gateway", "bench"] {
        sources(&root.join(place), &mut files);
    }
    assert!(files.len() > 50, "the sources were not found");
    let faults: Vec<_> = files.iter().flat_map(|file| faults(file)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn sources(place: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(place).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                sources(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn faults(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a file");
    let lines: Vec<&str> = text.lines().collect();
    let mut faults = Vec::new();
    if lines.len() > FILE_LINES_MAX {
        faults.push(format!("{}: {} lines", file.display(), lines.len()));
    }
    for (start, line) in lines.iter().enumerate() {
        let Some(length) = function(line, &lines[start..]) else {
            continue;
        };
        if length > FUNCTION_LINES_MAX {
            faults.push(format!(
                "{}:{}: a function of {length} lines",
                file.display(),
                start + 1
            ));
        }
    }
    faults
}

/// The lines of the function that begins here, if one does: up to the brace that stands as deep as it.
fn function(line: &str, rest: &[&str]) -> Option<usize> {
    let code = line.trim_start();
    let depth = line.len() - code.len();
    let named = code.split("fn ").next()?;
    let is_function = code.contains("fn ")
        && named.split_whitespace().all(|word| {
            word.starts_with("pub")
                || matches!(word, "const" | "unsafe" | "async" | "extern" | "\"C\"")
        });
    if !is_function {
        return None;
    }
    let ends = |line: &&str| line.trim_end() == format!("{}}}", " ".repeat(depth));
    let one_line = line.trim_end().ends_with('}') || line.trim_end().ends_with(';');
    (!one_line).then(|| rest.iter().position(ends).map_or(0, |end| end + 1))
}
