//! The data directory: who owns it, the online secret, and where the server is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::RngCore;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::authority::secrets::{SecretError, Secrets};
use crate::config::{SecretConfig, credentials_dir};

/// The name of the secret in the data directory, and as a systemd credential.
const SECRET: &str = "secret.key";
const NEXT_SECRET: &str = "secret.key.next";
const CREDENTIAL: &str = "hardtack-secret";
const SERVER: &str = "server.json";
const LOCK: &str = "hardtack.lock";
const RUNNING: &str = "running.lock";
const SEEN: &str = "seen.json";

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system refused.
    #[error("{path}: {error}")]
    File {
        /// The file or directory.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Somebody else owns it.
    #[error(
        "{path} belongs to user {owner}, this runs as user {user}: files made now would lock the owner out"
    )]
    Foreign {
        /// The directory.
        path: String,
        /// The owner's user id.
        owner: u32,
        /// The user id of this process.
        user: u32,
    },
    /// The secret does not read.
    #[error("{from}: {error}")]
    Secret {
        /// Where it came from.
        from: String,
        /// What is wrong.
        error: SecretError,
    },
    /// The command that prints the secret failed.
    #[error("the command for the secret failed: {0}")]
    Command(String),
    /// The database is there and its secret is not.
    #[error(
        "{0} is gone, and the database was made with it: put it back (backups do not hold it), or name a copy with --secret-key-file"
    )]
    SecretGone(String),
    /// There is no secret where one was expected.
    #[error("there is no {0}: this is not an initialised data directory")]
    NoSecret(String),
}

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// `server.json`: where the server of this data directory listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerFile {
    /// The URL of the API.
    pub url: String,
    /// The URL of the gateway.
    pub gateway_url: String,
    /// The URL for OpenClaw's clients, where they are let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openclaw_url: Option<String>,
    /// The certificate of the listeners, where they are encrypted: this machine's
    /// command line trusts it for this server, whatever name it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The server's process.
    pub pid: u32,
    /// Which install it serves.
    pub instance_id: String,
}

/// `seen.json`: the newest row of the audit log that a server of this directory
/// has seen. A database that ends before it, or has another row there, is an
/// older one, and has forgotten what was revoked since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Which install.
    pub instance_id: String,
    /// The number of the row.
    pub audit_seq: i64,
    /// Its hash, in hex.
    pub audit_hash: String,
}

impl DataDir {
    /// Names a directory. Nothing is touched yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory as people see it, with `~` for the home directory.
    #[must_use]
    pub fn shown(&self) -> String {
        let home = crate::config::home();
        match home.and_then(|home| self.0.strip_prefix(home).ok().map(Path::to_owned)) {
            Some(below) => format!("~/{}", below.display()),
            None => self.0.display().to_string(),
        }
    }

    /// Makes the directory if it is not there, for its owner alone; refuses one
    /// that somebody else owns.
    pub fn prepare(&self) -> Result<(), DataDirError> {
        // Also for a directory that is open to others: the database's files are
        // made by a library that takes the process's default.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|e| self.failed("", e))?;
        self.check_owner()
    }

    /// Refuses a directory that somebody else owns: a database file made by
    /// root could not be opened by the server afterwards.
    pub fn check_owner(&self) -> Result<(), DataDirError> {
        let owner = match fs::metadata(&self.0) {
            Ok(directory) => directory.uid(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(DataDirError::NoSecret(self.shown()));
            }
            Err(error) => return Err(self.failed("", error)),
        };
        let user = rustix::process::geteuid().as_raw();
        if owner == user {
            return Ok(());
        }
        Err(DataDirError::Foreign {
            path: self.shown(),
            owner,
            user,
        })
    }

    /// The online secret for a new database, from where the settings say; a new
    /// `secret.key` if they say nothing and there is none yet.
    pub fn secret_or_new(
        &self,
        config: &SecretConfig,
        rng: &mut dyn RngCore,
    ) -> Result<Secrets, DataDirError> {
        match self.secret(config) {
            // A file that was named is the operator's to make.
            Err(DataDirError::NoSecret(_)) if config.secret_key_file.is_none() => {}
            other => return other,
        }
        // Of processes that start at once one makes it, the others wait and read it.
        let _made_by_one = self.lock()?;
        match self.secret(config) {
            Err(DataDirError::NoSecret(_)) => {
                let text = Zeroizing::new(format!("{}\n", *Secrets::generate(rng)));
                self.write_whole(SECRET, &text)?;
                self.secret(config)
            }
            other => other,
        }
    }

    /// The online secret with a check value: the present one or, when a rotation
    /// was cut off before its last step, the next one, which then takes its place.
    pub fn secret_of(&self, config: &SecretConfig, check: &[u8]) -> Result<Secrets, DataDirError> {
        let present = match self.secret(config) {
            // Never a new one beside a database that it could not open.
            Err(DataDirError::NoSecret(path)) => return Err(DataDirError::SecretGone(path)),
            read => read?,
        };
        if present.check() == check {
            return Ok(present);
        }
        let next = SecretConfig {
            secret_key_file: Some(self.0.join(NEXT_SECRET)),
            secret_key_command: None,
        };
        match self.secret(&next) {
            Ok(next) if next.check() == check => {
                self.finish_rotation()?;
                Ok(next)
            }
            // It does not fit, as whoever asked will see.
            Ok(_) | Err(_) => Ok(present),
        }
    }

    /// Writes the secret that a rotation will put in force.
    pub fn prepare_rotation(&self, text: &str) -> Result<(), DataDirError> {
        self.write_whole(NEXT_SECRET, text)
    }

    /// Puts the next secret in the place of the present one.
    pub fn finish_rotation(&self) -> Result<(), DataDirError> {
        let (from, to) = (self.0.join(NEXT_SECRET), self.0.join(SECRET));
        let moved = match fs::rename(from, to) {
            // A running node and the command that rotates both do this: the
            // other one was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            moved => moved,
        };
        moved
            .and_then(|()| self.sync())
            .map_err(|e| self.failed(SECRET, e))
    }

    /// Brings the names in the directory down to the disk.
    fn sync(&self) -> std::io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    /// The online secret from where the settings say: a file, a command, a
    /// systemd credential, or `secret.key`.
    pub fn secret(&self, config: &SecretConfig) -> Result<Secrets, DataDirError> {
        let credential = credentials_dir().map(|dir| dir.join(CREDENTIAL));
        let own = self.0.join(SECRET);
        let (from, text) = if let Some(command) = &config.secret_key_command {
            ("the command for the secret".to_owned(), run(command)?)
        } else if let Some(file) = &config.secret_key_file {
            read(file)?
        } else if let Some(file) = credential.filter(|file| file.exists()) {
            read(&file)?
        } else {
            read(&own)?
        };
        Secrets::from_text(&text).map_err(|error| DataDirError::Secret { from, error })
    }

    /// Held by each server that runs on this directory; `lock_alone` waits for none.
    pub fn lock_running(&self) -> Result<File, DataDirError> {
        let file = self.lock_file(RUNNING)?;
        file.lock_shared().map_err(|e| self.failed(RUNNING, e))?;
        Ok(file)
    }

    /// Held by a command that no server may run beside; fails if one does.
    pub fn lock_alone(&self) -> Result<File, DataDirError> {
        let file = self.lock_file(RUNNING)?;
        file.try_lock()
            .map_err(|e| self.failed(RUNNING, std::io::Error::other(e)))?;
        Ok(file)
    }

    /// How far this directory's servers have seen the audit log, if they have.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        let text = fs::read_to_string(self.0.join(SEEN)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Notes how far the audit log was seen.
    pub fn write_seen(&self, seen: &Seen) -> Result<(), DataDirError> {
        let text = serde_json::to_string(seen).unwrap_or_default();
        self.write_whole(SEEN, &text)
    }

    /// Forgets how far the audit log was seen: an older database is in place on purpose.
    pub fn forget_seen(&self) {
        fs::remove_file(self.0.join(SEEN)).ok();
    }

    /// Writes `server.json`.
    pub fn write_server(&self, server: &ServerFile) -> Result<(), DataDirError> {
        self.write_whole(SERVER, &serde_json::to_string(server).unwrap_or_default())
    }

    /// Takes `server.json` away, if it is this process's.
    pub fn remove_server(&self) {
        if self.server().is_some_and(|s| s.pid == std::process::id()) {
            // A file that stays names a dead process; nothing worse.
            drop(fs::remove_file(self.0.join(SERVER)));
        }
    }

    /// Where the server of this directory listens, if it says so.
    #[must_use]
    pub fn server(&self) -> Option<ServerFile> {
        let text = fs::read_to_string(self.0.join(SERVER)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes a file and renames it into place: a reader sees the old one or
    /// the new one whole.
    fn write_whole(&self, name: &str, text: &str) -> Result<(), DataDirError> {
        let next = self.0.join(format!("{name}.{}", std::process::id()));
        // One that a crash left; in a container the process ids are always the same.
        fs::remove_file(&next).ok();
        write_private(&next, text)
            .and_then(|()| fs::rename(&next, self.0.join(name)))
            .and_then(|()| self.sync())
            .map_err(|e| self.failed(name, e))
    }

    /// Waits for the lock that a first start holds.
    fn lock(&self) -> Result<File, DataDirError> {
        let file = self.lock_file(LOCK)?;
        file.lock().map_err(|e| self.failed(LOCK, e))?;
        Ok(file)
    }

    fn lock_file(&self, name: &str) -> Result<File, DataDirError> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true);
        let file = file.mode(0o600).open(self.0.join(name));
        file.map_err(|e| self.failed(name, e))
    }

    fn failed(&self, name: &str, error: std::io::Error) -> DataDirError {
        failed(&self.0.join(name), error)
    }
}

/// Writes a new file that only its owner can read, down to the disk.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn read(path: &Path) -> Result<(String, Zeroizing<String>), DataDirError> {
    let shown = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Ok((shown, Zeroizing::new(text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(DataDirError::NoSecret(shown)),
        Err(error) => Err(failed(path, error)),
    }
}

fn run(command: &str) -> Result<Zeroizing<String>, DataDirError> {
    let output = Command::new("/bin/sh").arg("-c").arg(command).output();
    let output = output.map_err(|e| DataDirError::Command(e.to_string()))?;
    if !output.status.success() {
        return Err(DataDirError::Command(output.status.to_string()));
    }
    String::from_utf8(output.stdout)
        .map(Zeroizing::new)
        .map_err(|_| DataDirError::Command("it printed something else than text".to_owned()))
}

fn failed(path: &Path, error: std::io::Error) -> DataDirError {
    DataDirError::File {
        path: path.display().to_string(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_new_secret_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path().join("data"));
        data.prepare().unwrap();
        let config = SecretConfig::default();
        assert!(matches!(
            data.secret(&config),
            Err(DataDirError::NoSecret(_))
        ));
        let mut rng = StdRng::seed_from_u64(1);
        assert!(matches!(
            data.secret_of(&config, &[0; 16]),
            Err(DataDirError::SecretGone(_))
        ));
        let first = data.secret_or_new(&config, &mut rng).unwrap();
        let again = data.secret_or_new(&config, &mut rng).unwrap();
        assert_eq!(first.check(), again.check());
        let mode = fs::metadata(data.path().join(SECRET)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_rotation_that_was_cut_off_is_finished_by_whoever_needs_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path().to_owned());
        let config = SecretConfig::default();
        let mut rng = StdRng::seed_from_u64(1);
        let old = data.secret_or_new(&config, &mut rng).unwrap();
        data.prepare_rotation(&"cd".repeat(32)).unwrap();
        // The database is still under the old one, then under the new one.
        assert_eq!(
            data.secret_of(&config, old.check()).unwrap().check(),
            old.check()
        );
        let new = Secrets::from_text(&"cd".repeat(32)).unwrap();
        assert_eq!(
            data.secret_of(&config, new.check()).unwrap().check(),
            new.check()
        );
        assert_eq!(data.secret(&config).unwrap().check(), new.check());
    }

    #[test]
    fn a_secret_can_come_from_a_file_or_a_command() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::new(dir.path().to_owned());
        let file = dir.path().join("elsewhere");
        fs::write(&file, "ab".repeat(32)).unwrap();
        let from_file = SecretConfig {
            secret_key_file: Some(file.clone()),
            secret_key_command: None,
        };
        let from_command = SecretConfig {
            secret_key_file: None,
            secret_key_command: Some(format!("cat {}", file.display())),
        };
        let one = data.secret(&from_file).unwrap();
        let two = data.secret(&from_command).unwrap();
        assert_eq!(one.check(), two.check());
        let failing = SecretConfig {
            secret_key_file: None,
            secret_key_command: Some("exit 3".to_owned()),
        };
        assert!(matches!(
            data.secret(&failing),
            Err(DataDirError::Command(_))
        ));
    }
}
