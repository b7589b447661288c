//! The socket that takes clients.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;

/// A listening socket; its file goes with it.
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`, in a folder that nobody else can enter: so its mode matters to nobody before it is set.
    pub(crate) fn bind(path: &Path) -> io::Result<Listener> {
        // Whoever left one is gone: the place is ours.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, path: path.to_owned() })
    }

    /// The next client of this user or of root, if one is there.
    pub(crate) fn accept(&self) -> Option<UnixStream> {
        loop {
            let (stream, _) = match self.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            let user = getsockopt(&stream, PeerCredentials).map(|credentials| credentials.uid());
            let allowed = user.is_ok_and(|user| user == 0 || user == geteuid().as_raw());
            if allowed && stream.set_nonblocking(true).is_ok() {
                return Some(stream);
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
