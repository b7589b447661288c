//! The worker's second thread: receives the host's commands, so that they reach a task that is busy.

use std::mem::ManuallyDrop;

use ipc_channel::IpcError;
use ipc_channel::ipc::IpcReceiver;

use crate::keeper::server::CommandServer;
use crate::link::command::Command;
use crate::sys::{fd, signal};

use crate::task::context::cancel;
use crate::task::luggage;

use super::context;

/// Starts the thread. It ends with the process, or when the host closes the channel.
pub(super) fn start(server: ManuallyDrop<CommandServer>, address: String) -> std::io::Result<()> {
    let body = move || {
        signal::block_all_in_this_thread();
        if let Some(receiver) = accept(ManuallyDrop::into_inner(server), &address) {
            while obey(&receiver) {}
        }
        luggage::none_will_come();
    };
    std::thread::Builder::new().name("watertight-control".to_owned()).stack_size(64 * 1024).spawn(body)?;
    Ok(())
}

fn accept(server: CommandServer, address: &str) -> Option<IpcReceiver<Command>> {
    let expected = fd::next_number().ok()?;
    let (receiver, first) = server.accept().ok()?;
    // ipc-channel accepts without close-on-exec; a program that a task starts must not inherit the channel.
    fd::close_on_exec_by_address(address, expected);
    execute(first);
    Some(receiver)
}

/// Receives and executes one command; false if there will be no more.
fn obey(receiver: &IpcReceiver<Command>) -> bool {
    match receiver.recv() {
        Ok(command) => execute(command),
        Err(IpcError::Io(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
        Err(_) => {
            // The host has closed the channel or is gone: finish what is in the lane, and go.
            context::retire();
            return false;
        }
    }
    true
}

fn execute(command: Command) {
    match command {
        Command::Attach => {}
        Command::Luggage(luggage) => luggage::arrived(luggage),
        Command::Cancel { number } => cancel(number),
        Command::Retire => context::retire(),
    }
}
