//! What host, keeper and worker say to each other.
//!
//! A lane (`lane.rs`) carries tasks and results between a host and one worker; `README.md` beside this file
//! tells its protocol. Requests and notices pass between host and keeper (`request.rs`), commands from host
//! to worker (`command.rs`).
//!
//! Invariant: nothing here decides what happens to a task, and nothing the peer writes is believed unchecked.

pub(crate) mod bell;
pub(crate) mod black_box;
pub(crate) mod claim;
pub(crate) mod command;
pub(crate) mod frame;
pub(crate) mod host_end;
pub(crate) mod lane;
pub(crate) mod layout;
pub(crate) mod patience;
pub(crate) mod reading;
pub(crate) mod request;
pub(crate) mod ring;
pub(crate) mod stream;
pub(crate) mod token;
pub(crate) mod worker_end;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod test;
