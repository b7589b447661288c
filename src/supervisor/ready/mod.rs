//! How programs say, or are asked, whether they are ready and alive.

mod target;

pub(crate) use target::{address, url};
