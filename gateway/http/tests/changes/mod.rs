//! Kept examples of every grammar (`corpus/GRAMMAR/EXAMPLE`; of fields, a file's lines are the field's lines), and changes of
//! them at random from a fixed seed.

#![allow(dead_code, unreachable_pub)] // each test uses its part

use std::fs;
use std::path::{Path, PathBuf};

const EXAMPLE_BYTES_MAX: usize = 4096;

/// xorshift64 (Marsaglia 2003).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("below a bound")
    }

    fn span(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(16) + 1)
    }

    /// One change of `text`, with parts of `other` in it.
    fn change(&mut self, text: &mut Vec<u8>, other: &[u8]) {
        const TELLING: &[u8] = b"\0\t\n\r \"%'()*+,-./0189:;<=>?@AQWZ[\\]_aqwz{|}~\x7f\x80\xc3\xff";
        let at = self.below(text.len() + 1);
        let byte = TELLING[self.below(TELLING.len())];
        match self.below(7) {
            0 => text.insert(at, byte),
            1 if at < text.len() => text[at] = byte,
            2 if at < text.len() => text[at] ^= 1 << self.below(8),
            3 => drop(text.drain(self.span(text.len()))),
            4 => {
                let part = text[self.span(text.len())].to_vec();
                text.splice(at..at, part.repeat(1 + self.below(20)));
            }
            5 => drop(text.splice(at..at, other[self.span(other.len())].to_vec())),
            _ => text.truncate(at),
        }
        text.truncate(EXAMPLE_BYTES_MAX);
    }
}

/// Hands every example to `read` as it is, and `count` times changed.
pub fn each_changed(examples: &[Vec<u8>], count: usize, mut read: impl FnMut(&[u8])) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for example in examples {
        read(example);
        for _ in 0..count {
            let mut text = example.clone();
            for _ in 0..=random.below(4) {
                let other = &examples[random.below(examples.len())];
                random.change(&mut text, other);
            }
            read(&text);
        }
    }
}

/// All grammars' examples.
pub fn corpus() -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    for grammar in fs::read_dir(root()).expect("the corpus").flatten() {
        paths.extend(files(&grammar.path()));
    }
    assert!(paths.len() > 40, "the corpus was not found");
    contents(paths)
}

/// The examples of one grammar.
pub fn corpus_of(grammar: &str) -> Vec<Vec<u8>> {
    let paths = files(&root().join(grammar));
    assert!(!paths.is_empty(), "no examples of {grammar}");
    contents(paths)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../http/tests/corpus")
}

fn files(grammar: &Path) -> Vec<PathBuf> {
    let examples = fs::read_dir(grammar).expect("a grammar");
    examples.flatten().map(|example| example.path()).collect()
}

/// In the order of their names, so that every run is the same.
fn contents(mut paths: Vec<PathBuf>) -> Vec<Vec<u8>> {
    paths.sort();
    let read = |path: &PathBuf| fs::read(path).expect("an example");
    paths.iter().map(read).collect()
}
