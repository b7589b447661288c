//! How programs say, or are asked, whether they are ready and alive.
