//! The operator's bearer token.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::config::{Fault, Sheet};

/// Characters that a token must have: fewer can be guessed.
const LENGTH_MIN: usize = 16;

/// A secret. Compared in a time that does not depend on where it differs, and never shown.
#[derive(Clone)]
pub(crate) struct Token(Box<[u8]>);

impl Token {
    #[cfg(test)]
    pub(crate) fn new(text: &[u8]) -> Self {
        Self(text.into())
    }

    /// Whether this is the token.
    pub(crate) fn is(&self, offered: &[u8]) -> bool {
        self.0.ct_eq(offered).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Reads the file that `admin.token_file` names, if it names one.
pub(super) fn read(path: &str, sheet: &Sheet, faults: &mut Vec<Fault>) -> Option<Token> {
    if path.is_empty() {
        return None;
    }
    match read_file(path) {
        Ok(token) => Some(token),
        Err(why) => {
            let source = sheet.source("admin", "token_file");
            faults.push(Fault::new(&source, format!("admin.token_file: {why}")));
            None
        }
    }
}

fn read_file(path: &str) -> Result<Token, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let token = text.trim_end_matches(['\r', '\n']);
    let printable = token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.len() < LENGTH_MIN || !printable {
        return Err(format!(
            "{path} must hold one line of at least {LENGTH_MIN} printable characters without spaces, for \
             example of: openssl rand -hex 32"
        ));
    }
    Ok(Token(token.as_bytes().into()))
}
