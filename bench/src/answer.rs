//! Whole answers of an exact size.

/// A head that is `head_bytes` long and a body of `body_bytes`; the head is filled up by a field of its own.
///
/// `fields` are whole lines without their ends. A head that cannot be that short gets the shortest that can.
pub(crate) fn exactly(head_bytes: usize, body_bytes: usize, fields: &[&str]) -> Vec<u8> {
    let shortest = head(fields, body_bytes, None);
    let filling = head_bytes.checked_sub(head(fields, body_bytes, Some(0)).len());
    let mut answer = filling
        .map_or(shortest, |fill| head(fields, body_bytes, Some(fill)))
        .into_bytes();
    answer.extend(body(body_bytes));
    answer
}

/// The shortest head: for an origin, whose size nobody compares.
pub(crate) fn plain(body_bytes: usize, fields: &[&str]) -> Vec<u8> {
    exactly(0, body_bytes, fields)
}

/// Printable and without long repeats, so that a body shifted by a few bytes is noticed.
pub(crate) fn body(bytes: usize) -> impl Iterator<Item = u8> {
    (0..bytes).map(|at| b"0123456789abcdefghijklmnopqrstuvwxyz\n"[at % 37])
}

fn head(fields: &[&str], body_bytes: usize, fill: Option<usize>) -> String {
    let mut head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n"
    );
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    if let Some(fill) = fill {
        head.push_str(&format!("X-Fill: {:-<fill$}\r\n", ""));
    }
    head + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_asked_for_is_the_size_made() {
        for head_bytes in [120, 300, 1000] {
            let answer = exactly(head_bytes, 1024, &["Connection: close"]);
            assert_eq!(answer.len(), head_bytes + 1024);
            let head = &answer[..head_bytes];
            assert!(
                head.ends_with(b"\r\n\r\n")
                    && head.windows(4).filter(|four| four == b"\r\n\r\n").count() == 1
            );
        }
    }

    #[test]
    fn a_head_too_short_to_fill_is_plain() {
        assert_eq!(exactly(10, 5, &[]), plain(5, &[]));
        assert!(plain(5, &[]).ends_with(b"\r\n\r\n01234"));
    }
}
