//! Colours and type, on a light and on a dark ground. Paper is light.

use super::paint;

const PICTURE: &str = include_str!("picture.css");
const PAGE: &str = include_str!("page.css");
/// The same selectors in the colours of a dark ground.
const PICTURE_DARK: &str = include_str!("picture-dark.css");
const PAGE_DARK: &str = include_str!("page-dark.css");

/// For a picture in a file of its own.
pub(crate) fn of_picture() -> String {
    with_dark(PICTURE, PICTURE_DARK)
}

/// For the page and the pictures in it.
pub(crate) fn of_page() -> String {
    with_dark(
        &[PICTURE, PAGE].concat(),
        &[PICTURE_DARK, PAGE_DARK].concat(),
    )
}

fn with_dark(light: &str, dark: &str) -> String {
    format!(
        "{light}{}@media screen and (prefers-color-scheme: dark){{\n{dark}{}}}\n",
        paint::rules(false),
        paint::rules(true)
    )
}
