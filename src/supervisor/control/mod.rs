//! The control socket: who may connect, what may be said, and that a client which hangs or babbles costs nobody
//! but itself.

mod client;
mod listener;
mod place;
pub(crate) mod protocol;

pub(crate) use client::{Client, Heard};
pub(crate) use listener::Listener;
pub(crate) use place::Place;
