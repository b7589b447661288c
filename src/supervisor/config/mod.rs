//! A specification from a file in TOML: every mistake found at once, each with its line and column.
