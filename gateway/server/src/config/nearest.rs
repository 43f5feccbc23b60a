//! The nearest known word to a mistyped one.

/// The candidate with the fewest typing errors, when they are few for its length; the first of equal ones.
pub(crate) fn nearest<'a>(
    typed: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let bound = (typed.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (errors(typed, candidate), candidate))
        .filter(|(errors, _)| *errors <= bound)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (restricted Damerau-Levenshtein).
fn errors(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_counted() {
        assert_eq!(errors("capacity", "capacity"), 0);
        assert_eq!(errors("capcity", "capacity"), 1);
        assert_eq!(errors("cpaacity", "capacity"), 1);
        assert_eq!(errors("", "abc"), 3);
    }

    #[test]
    fn a_far_word_is_not_offered() {
        assert_eq!(
            nearest("capcity", ["max_object", "capacity"]),
            Some("capacity")
        );
        assert_eq!(nearest("banana", ["max_object", "capacity"]), None);
        assert_eq!(nearest("xy", ["io"]), None);
    }
}
