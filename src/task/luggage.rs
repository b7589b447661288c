//! Ends of ipc-channels among the arguments of a process.
//!
//! Such an end is a descriptor, so it cannot stand in a lane. ipc-channel's own serialization writes a number in
//! its place and lays the end into a list of the thread, for the message that is being sent. Here that message
//! is the luggage: it goes into a fresh channel, and that channel's receiver goes to the worker with a command.
//! Whoever drops the luggage, or dies with it, closes the ends: the kernel holds them, and nobody else.
//!
//! The list is ipc-channel's secret. What tells its length is the number that one more end gets, so a *tag* is
//! packed behind the user's ends, and taken out again behind them.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use bytes::Bytes as Buffer;
use ipc_channel::ipc::{self, IpcSender, OpaqueIpcReceiver, OpaqueIpcSender};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sys::socket;

use super::codec::{self, DecodeError};

/// A message of ipc-channel carries no more than 64 descriptors; one is the tag.
pub(crate) const MOST_ENDS: usize = 63;

/// Stands among the buffers beside the arguments if luggage comes with them.
const MARK: &[u8; 16] = b"WT luggage 1   \0";

/// Ends on their way, in the order in which they were encoded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Luggage(OpaqueIpcReceiver);

/// Why ends cannot travel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("they hold {0} ends of ipc-channels, and {MOST_ENDS} is the most")]
    TooMany(usize),
    #[error("cannot send an end of an ipc-channel: {0}")]
    Send(io::Error),
}

/// A value with ends, where none can travel.
#[derive(Debug, thiserror::Error)]
#[error("it holds an end of an ipc-channel, and only the arguments of a `Process` can")]
pub(crate) struct HoldsEnds;

/// Whether a type shows that it holds ends. One that hides them in a structure is found out later.
pub(crate) fn shows_ends<T: 'static>() -> bool {
    std::mem::needs_drop::<T>() && std::any::type_name::<T>().contains("ipc_channel::")
}

/// Runs `encode`, and packs the ends that it came across.
pub(crate) fn pack<T>(encode: impl FnOnce() -> T) -> Result<(T, Option<Luggage>), PackError> {
    let list = List::take().map_err(PackError::Send)?;
    let value = encode();
    let count = list.len();
    if count > MOST_ENDS {
        return Err(PackError::TooMany(count));
    }
    if count == 0 {
        return Ok((value, None));
    }
    let (sender, receiver) = ipc::channel::<usize>().map_err(PackError::Send)?;
    // The tag lies behind the ends already, and this number is where.
    sender.send(count).map_err(|error| PackError::Send(io::Error::other(error)))?;
    Ok((value, Some(Luggage(receiver.to_opaque()))))
}

/// Runs `encode`, and refuses what holds ends. Without descriptors to look for them, they are not looked for.
pub(crate) fn without_ends<T>(encode: impl FnOnce() -> T) -> Result<T, HoldsEnds> {
    let Ok(list) = List::take() else { return Ok(encode()) };
    let value = encode();
    if list.len() == 0 { Ok(value) } else { Err(HoldsEnds) }
}

/// Has ipc-channel find out how much a socket holds. It does that with its first message, and panics if it gets
/// no descriptors for it: so it does it where that can still be an error.
pub(crate) fn prepare_to_send() -> io::Result<()> {
    static PREPARED: OnceLock<()> = OnceLock::new();
    if PREPARED.get().is_some() {
        return Ok(());
    }
    let room = socket::pair()?;
    let (sender, _receiver) = ipc::channel::<()>()?;
    // What this gives up is what the message needs.
    drop(room);
    sender.send(()).map_err(io::Error::other)?;
    let _ = PREPARED.set(());
    Ok(())
}

/// The list of this thread, empty before and after.
struct List {
    /// Nobody receives, so what is sent is let go of.
    tag: IpcSender<()>,
}

impl List {
    fn take() -> io::Result<List> {
        prepare_to_send()?;
        let (tag, _) = ipc::channel::<()>()?;
        let list = List { tag };
        // A message that could not be written leaves its ends behind.
        list.clear();
        Ok(list)
    }

    /// How many ends there were before this lays the tag behind them.
    fn len(&self) -> usize {
        let number = serde_json::to_value(&self.tag).ok().and_then(|number| number.as_u64());
        number.map_or(0, |number| number as usize)
    }

    fn clear(&self) {
        // ipc-channel panics if the list is longer than a message, and has emptied it by then.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(self.tag.send(()))));
    }
}

impl Drop for List {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The buffer that says that luggage comes.
pub(crate) fn mark() -> Buffer {
    Buffer::from_static(MARK)
}

/// Whether luggage comes with these buffers.
pub(crate) fn is_announced(parts: &[Buffer]) -> bool {
    parts.last().is_some_and(|part| part[..] == MARK[..])
}

/// Worker: what has come of the luggage.
enum Delivery {
    Awaited,
    Here(Luggage),
    /// It was claimed, or the host is gone.
    Over,
}

static DELIVERY: (Mutex<Delivery>, Condvar) = (Mutex::new(Delivery::Awaited), Condvar::new());

fn deliver(delivery: Delivery) {
    *DELIVERY.0.lock().unwrap_or_else(PoisonError::into_inner) = delivery;
    DELIVERY.1.notify_all();
}

/// Worker: the luggage is here.
pub(crate) fn arrived(luggage: Luggage) {
    deliver(Delivery::Here(luggage));
}

/// Worker: nothing more will come. What is here can still be claimed.
pub(crate) fn none_will_come() {
    let (delivery, changed) = &DELIVERY;
    let mut delivery = delivery.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*delivery, Delivery::Awaited) {
        *delivery = Delivery::Over;
        changed.notify_all();
    }
}

/// Worker: waits for the luggage.
pub(crate) fn claim() -> Option<Luggage> {
    let (delivery, changed) = &DELIVERY;
    let delivery = delivery.lock().unwrap_or_else(PoisonError::into_inner);
    let here = changed.wait_while(delivery, |delivery| matches!(delivery, Delivery::Awaited));
    let mut here = here.unwrap_or_else(PoisonError::into_inner);
    match std::mem::replace(&mut *here, Delivery::Over) {
        Delivery::Here(luggage) => Some(luggage),
        Delivery::Awaited | Delivery::Over => None,
    }
}

impl Luggage {
    /// Decodes a value whose ends are in here.
    pub(crate) fn decode<T>(self, line: &[u8], parts: Vec<Buffer>) -> Result<T, DecodeError>
    where
        T: DeserializeOwned + 'static,
    {
        WRITTEN.set(Some((line.to_vec(), parts)));
        let unpacked = self.0.to::<Unpacked<T>>().try_recv();
        WRITTEN.take();
        unpacked.map_err(|error| DecodeError::Serde(error.to_string()))?.0
    }
}

thread_local! {
    /// What an `Unpacked` reads its value from: ipc-channel hands its ends out only while it reads a message.
    static WRITTEN: RefCell<Option<(Vec<u8>, Vec<Buffer>)>> = const { RefCell::new(None) };
}

/// A value that is read while the ends lie ready.
struct Unpacked<T>(Result<T, DecodeError>);

impl<'de, T: DeserializeOwned + 'static> Deserialize<'de> for Unpacked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unpacked<T>, D::Error> {
        let (line, parts) = WRITTEN.take().unwrap_or_default();
        let value = codec::decode(&line, parts);
        // The message is the number of the tag.
        OpaqueIpcSender::deserialize(deserializer)?;
        Ok(Unpacked(value))
    }
}

/// Asked for by the type of a receiver; none is ever sent.
impl<T> Serialize for Unpacked<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}
