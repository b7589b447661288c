//! Where a configuration's supervisor listens, and the lock that makes it the only one.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

/// Another supervisor runs this configuration.
#[derive(Debug, thiserror::Error)]
#[error("another supervisor runs this configuration{}", pid.map_or_else(String::new, |pid| format!(": process {pid}")))]
pub(crate) struct Occupied {
    /// Its process, if it has said.
    pub pid: Option<u32>,
}

/// The folder of one configuration's supervisor, which only its user can enter.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
}

impl Place {
    /// The place of a configuration file: under `XDG_RUNTIME_DIR`, or else in a private folder of the user.
    ///
    /// # Errors
    /// If the folder cannot be made, or is somebody else's.
    pub(crate) fn of(configuration: &Path) -> io::Result<Place> {
        let path = fs::canonicalize(configuration)?;
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let folder = base()?.join(format!("{:016x}", hasher.finish()));
        make_private(&folder)?;
        Ok(Place { folder })
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("control")
    }

    /// Takes the place for this process, for as long as the file that this returns is open.
    pub(crate) fn occupy(&self) -> io::Result<Result<Flock<File>, Occupied>> {
        let path = self.folder.join("lock");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)?;
                lock.rewind()?;
                write!(lock, "{}", std::process::id())?;
                Ok(Ok(lock))
            }
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                Ok(Err(Occupied { pid: text.trim().parse().ok() }))
            }
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

fn base() -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match runtime {
        Some(folder) => folder.join("watertight"),
        // Not the name of a keeper's folder, which other keepers would sweep.
        None => std::env::temp_dir().join(format!("watertight.{}", geteuid())),
    };
    make_private(&base)?;
    Ok(base)
}

/// Makes a folder of mode 0700, or checks that the one that is there is that and ours.
fn make_private(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(folder)?;
    let private = found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0;
    let text = || format!("{} is not a private folder of this user", folder.display());
    if private { Ok(()) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, text())) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let place = folder.path().join("place");
        make_private(&place).unwrap();
        make_private(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(make_private(&place).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(make_private(&link).is_err());
    }

    #[test]
    fn a_place_is_taken_once_and_says_by_whom() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let place = Place { folder: folder.path().to_owned() };
        let held = place.occupy().unwrap().unwrap();
        assert_eq!(place.occupy().unwrap().unwrap_err().pid, Some(std::process::id()));
        drop(held);
        assert!(place.occupy().unwrap().is_ok());
    }
}
