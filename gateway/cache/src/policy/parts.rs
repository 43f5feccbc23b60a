//! What of a 206 may be stored (RFC 9111 §3.3).

use http::content_range::ContentRange;
use http::{Name, Response};

use crate::Part;

/// The part that a 206 brings, where it is one part of known length that says where it lies. A part of fewer bytes than
/// its `Content-Range` says, which reaches the end of the whole by that, reaches it with the bytes that came: how long the
/// whole is nobody knows then.
pub(super) fn brought(response: &Response<'_>) -> Option<Part> {
    let fields = &response.fields;
    let text = fields.first(Name::ContentRange)?;
    let ContentRange::Satisfied {
        first,
        last,
        complete,
    } = ContentRange::parse(text)?
    else {
        return None;
    };
    let length = response.content_length()?;
    let said = (last - first).saturating_add(1);
    let reaches_end = complete == last.checked_add(1);
    let part = Part {
        first,
        length,
        complete: complete.filter(|_| length == said),
    };
    let is_clear = length == said && complete.is_some() || length < said && reaches_end;
    (is_clear && length > 0 && !fields.is_repeated(Name::ContentRange)).then_some(part)
}
