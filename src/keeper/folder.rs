//! The private folder in which the sockets of command channels lie.
//!
//! It is locked for as long as its keeper lives. A keeper removes it at its end; the host does so should the
//! keeper be killed; and should both die at one stroke, the next keeper finds it unlocked and sweeps it away.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use ipc_channel::ipc::IpcOneShotServer;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{AccessFlags, access};

use crate::link::command::Command;
use crate::sys::{environment, fd, random};

/// All folders of ours begin so.
const PREFIX: &str = "watertight-";

/// What an executed worker's number and ipc-channel put below the folder, and the room that a socket's address has.
const BELOW: usize = "/ffffffff/.tmpXXXXXX/socket".len();
const LONGEST_ADDRESS: usize = 107;

/// How often a new folder may be swept away between its making and its locking.
const TRIES: usize = 4;

/// The folder, while this process owns it.
pub(super) struct Folder {
    path: PathBuf,
    lock: Option<Flock<File>>,
    owner: u32,
}

/// A command channel that waits for its host, and its descriptor's number, which ipc-channel does not show.
pub(super) struct Server {
    pub(super) server: IpcOneShotServer<Command>,
    pub(super) name: String,
    number: i32,
}

impl Folder {
    /// Makes a folder wherever a socket can be made, and the path is short enough for one. The first channel in
    /// it comes along, as the proof.
    pub(super) fn create() -> io::Result<(Folder, Server)> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no folder for temporary files");
        for base in bases() {
            for _ in 0..TRIES {
                match Folder::create_in(&base) {
                    Ok(made) => return Ok(made),
                    Err(error) => last = io::Error::new(error.kind(), format!("{}: {error}", base.display())),
                }
                // What was swept between its making and its locking is made again; a base that is not there is
                // given up.
                if last.kind() != io::ErrorKind::NotFound || !base.is_dir() {
                    break;
                }
            }
        }
        Err(last)
    }

    fn create_in(base: &Path) -> io::Result<(Folder, Server)> {
        // Two keepers that start in the same moment must not choose one name; nothing depends on its secrecy.
        let path = base.join(format!("{PREFIX}{:08x}", random::number()? as u32));
        if path.as_os_str().as_bytes().len() + BELOW > LONGEST_ADDRESS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket"));
        }
        if path.to_str().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "ipc-channel wants a path in UTF-8"));
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = lock(&path)?.ok_or_else(|| io::Error::other("somebody else has locked the new folder"))?;
        let folder = Folder { path, lock: Some(lock), owner: std::process::id() };
        let server = make_server(&folder.path)?;
        Ok((folder, server))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a command channel, whose temporary folder goes with it.
    pub(super) fn server(&mut self) -> io::Result<Server> {
        self.existing(make_server)
    }

    /// Makes a folder for another process to make a command channel in; `number` is never used twice.
    pub(super) fn for_server(&mut self, number: u64) -> io::Result<ServerFolder> {
        let path = self.path.join(format!("{number:x}"));
        self.existing(|_| DirBuilder::new().mode(0o700).create(&path))?;
        Ok(ServerFolder(path))
    }

    /// Does something in the folder. Should somebody have removed it, as the end of a login does with all that lies
    /// in its runtime folder, it is made again first: under its old name, for the host knows that.
    fn existing<T>(&mut self, act: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        match act(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().mode(0o700).recursive(true).create(&self.path)?;
                self.lock = lock(&self.path)?;
                act(&self.path)
            }
            other => other,
        }
    }

    /// Removes folders of ours whose owners are all dead.
    pub(super) fn sweep(&self) {
        let entries = self.path.parent().and_then(|base| fs::read_dir(base).ok());
        let ours = entries.into_iter().flatten().flatten().filter(|entry| {
            entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) && entry.path() != self.path
        });
        ours.for_each(|entry| remove_if_dead(&entry.path()));
    }
}

impl Drop for Folder {
    /// Only in the process that made it: a forked worker has a copy of this.
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            let _ = fs::remove_dir_all(&self.path);
        } else if let Some(lock) = self.lock.take() {
            // Unlocking would undo the keeper's lock, which the open file shares; closing does not.
            close_without_unlocking(lock);
        }
    }
}

impl Server {
    /// A copy of the socket that listens. Whoever holds it can connect, even if all others are dead.
    pub(super) fn listener(&self) -> io::Result<OwnedFd> {
        fd::copy_by_address(&self.name, self.number)
    }

    /// In a forked worker: gives up a channel that belongs to another worker, without removing its folder.
    pub(super) fn forget_in_child(self) {
        std::mem::forget(self.server);
        fd::close_inherited(self.number);
    }
}

/// A folder below ours for the command channel of an executed worker, who makes it and may die at any moment.
pub(super) struct ServerFolder(PathBuf);

impl ServerFolder {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// In a forked worker: leaves the folder to those whose it is.
    pub(super) fn forget_in_child(self) {
        std::mem::forget(self);
    }
}

impl Drop for ServerFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a command channel in a temporary folder below `folder`.
pub(super) fn make_server(folder: &Path) -> io::Result<Server> {
    const TEMPORARY: &str = "TMPDIR";
    // Where nothing can be made ipc-channel panics, since it takes the error for one of a socket.
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK)?;
    let before = std::env::var_os(TEMPORARY);
    environment::set(TEMPORARY, folder);
    let number = fd::next_number();
    let made = catch_unwind(IpcOneShotServer::new);
    match before {
        Some(before) => environment::set(TEMPORARY, before),
        None => environment::remove(TEMPORARY),
    }
    // It may have become so since, or the disk is full.
    let (server, name) = made.unwrap_or_else(|_| Err(io::Error::from(Errno::ENOENT)))?;
    Ok(Server { server, name, number: number? })
}

/// Removes a folder if nobody holds its lock. For the host of a keeper that was killed, and for the sweep.
pub(super) fn remove_if_dead(path: &Path) {
    let ours = fs::symlink_metadata(path)
        .is_ok_and(|folder| folder.is_dir() && folder.uid() == nix::unistd::geteuid().as_raw());
    // Locked until it is gone: a keeper that has just made it would otherwise lock it in between, and believe in it.
    if ours && let Ok(Some(_lock)) = lock(path) {
        let _ = fs::remove_dir_all(path);
    }
}

/// Locks a folder; `None` if somebody else has.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    lock_opened(File::open(path)?, path)
}

/// Locks what was opened at `path`, if that still leads there: it may have been swept in between.
fn lock_opened(folder: File, path: &Path) -> io::Result<Option<Flock<File>>> {
    let lock = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let (own, there) = (lock.metadata()?, fs::symlink_metadata(path)?);
    let same = (own.dev(), own.ino()) == (there.dev(), there.ino());
    if same { Ok(Some(lock)) } else { Err(Errno::ENOENT.into()) }
}

fn close_without_unlocking(lock: Flock<File>) {
    use std::os::fd::AsRawFd;
    let number = lock.as_raw_fd();
    std::mem::forget(lock);
    fd::close_inherited(number);
}

/// Where such a folder may lie, the best first.
fn bases() -> Vec<PathBuf> {
    let variables = ["XDG_RUNTIME_DIR", "TMPDIR"].into_iter().filter_map(std::env::var_os);
    // In memory before on a disk: making and removing a socket's folder is a third of what a worker's start costs
    // the keeper on a journalled file system.
    let fixed = ["/dev/shm", "/tmp", "/var/tmp"].map(PathBuf::from);
    variables.map(PathBuf::from).filter(|path| path.is_absolute()).chain(fixed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Making a channel changes `TMPDIR` for a moment, so tests beside these must not look at it.
    fn base() -> tempfile::TempDir {
        tempfile::tempdir_in("/tmp").unwrap()
    }

    #[test]
    fn a_channel_where_there_is_no_folder_is_an_error() {
        let missing = base().path().join("missing");
        assert_eq!(make_server(&missing).map(drop).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn a_folder_that_is_swept_before_it_is_locked_is_not_believed_in() {
        let base = base();
        let path = base.path().join("folder");
        fs::create_dir(&path).unwrap();
        let opened = File::open(&path).unwrap();
        remove_if_dead(&path);
        assert_eq!(lock_opened(opened, &path).map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
        let opened = File::open(base.path()).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(lock_opened(opened, &path).is_err(), "it is another one by now");
    }

    #[test]
    fn a_folder_that_somebody_removes_is_made_again_and_locked() {
        let base = base();
        let (mut folder, server) = Folder::create_in(base.path()).unwrap();
        drop(server);
        fs::remove_dir_all(folder.path()).unwrap();
        drop(folder.server().unwrap());
        remove_if_dead(folder.path());
        assert!(folder.path().is_dir(), "it is locked");
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
