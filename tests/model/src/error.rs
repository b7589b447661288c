//! The library's error, as far as locks can have it.

#[derive(Debug)]
pub(crate) struct Error(#[expect(dead_code, reason = "for a panic's message")] String);

pub(crate) enum Kind {
    Option(String),
}

impl Error {
    pub(crate) fn shared(text: impl Into<String>) -> Error {
        Error(text.into())
    }
}

impl From<Kind> for Error {
    fn from(Kind::Option(text): Kind) -> Error {
        Error(text)
    }
}
