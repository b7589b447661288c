//! Starts workers that are threads, and hears of their ends.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use crate::link::host_end::HostEnd;
use crate::link::lane::Lane;
use crate::pool::machine::Slot;
use crate::pool::state::Ending;
use crate::pool::worker::{Commands, WorkerProcess};
use crate::primitive::Doorbell;
use crate::process::stdio::Capture;
use crate::runtime::thread::Station;

use super::Driver;
use super::start::send_first;

impl Driver {
    /// Both ends of its lane are here; all that follows is as with a process.
    pub(super) fn start_thread(&mut self, slot: Slot, doubtful: bool) -> Result<WorkerProcess, crate::Error> {
        let system = |what| move |error| crate::Error::system(what, error);
        self.next_id = self.next_id.wrapping_add(1);
        let (id, name) = (self.next_id, format!("{}-{}", self.options.name, slot + 1));
        let (mut lane, _) = HostEnd::create(&name, Lane::WIDE, self.options.largest_result)
            .map_err(system("make a lane for a worker"))?;
        let doorbell = lane.doorbell().as_fd().try_clone_to_owned().map_err(system("copy a descriptor"))?;
        let bell = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, u64::from(id));
        self.core.bells.add(lane.doorbell(), bell).map_err(|errno| system("watch a worker")(errno.into()))?;
        let initializer = send_first(&mut lane, self.initializer.as_deref(), doubtful)?;
        let core = Arc::clone(&self.core);
        let station = Station::start(
            name,
            Arc::clone(lane.lane()),
            Doorbell::adopt(doorbell),
            self.options.largest_result,
            Box::new(move |passengers| core.depart(id, passengers)),
        );
        let station = station.map_err(system("start a thread"))?;
        let mut worker = WorkerProcess::new(id, lane, Capture::nothing(), initializer);
        worker.commands = Commands::to_thread(station);
        Ok(worker)
    }

    /// Workers that were threads have ended.
    pub(super) fn bid_farewell(&mut self) {
        for (id, passengers) in self.core.take_departed() {
            let core = Arc::clone(&self.core);
            let mut state = core.lock();
            self.ended(&mut state, id, Ending::Departed, None);
            core.release(state);
            // Their host has them now, or nobody wants them.
            drop(passengers);
        }
    }
}
