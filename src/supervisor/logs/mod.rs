//! What programs print: pipes that outlive a restart, lines with tags, files with rotation.
//!
//! The supervisor holds both ends of each pipe, so a program's end is not the pipe's, and what one generation
//! left in it is read before the next one starts. Bytes are cut into [`Chunk`]s at ends of lines, because
//! several pipes share a file. Nothing here waits, but for a disk, and nothing grows: an endless line goes
//! out in pieces, and whoever cannot write is told to stop reading.

mod file;
mod recent;
mod source;
mod splitter;
mod tail;
mod terminal;

pub(crate) use file::{LogFile, Trouble};
pub(crate) use recent::Recent;
pub(crate) use source::{Source, Stream};
pub(crate) use splitter::Chunk;
pub(crate) use terminal::Terminal;
