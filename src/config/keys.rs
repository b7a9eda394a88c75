//! The two keys that a node makes for itself when none is configured, kept in the data directory.
//!
//! `master.key` seals every secret at rest, `root.key` is the platform administrator's. Each is
//! one line, mode 0600, and appears whole or not at all: it is written under another name and then
//! linked, so a crash leaves no half key and of two nodes starting at once both use the first's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use zeroize::Zeroizing;

use super::data::make_folder;
use crate::entropy::Entropy;
use crate::secret::{ExposeSecret as _, SecretString};

/// What a root key begins with, so that secret scanners can find one that leaked.
pub const ROOT_KEY_PREFIX: &str = "gk_root_";

const MASTER_KEY_FILE: &str = "master.key";
const ROOT_KEY_FILE: &str = "root.key";
const OTHERS: u32 = 0o077;

/// A key of the data directory.
#[derive(Debug)]
pub struct StoredKey {
    /// The key as it is written: base64 of 32 bytes, or the root key's text.
    pub key: SecretString,
    /// Where it is kept.
    pub path: PathBuf,
    /// Was it made just now? Then nobody has seen it yet.
    pub made_now: bool,
}

/// Why a key could not be had. The caller can only show it: a person must act.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file or its directory could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Group or others may read it.
    #[error("{} can be read by others (mode {mode:04o}): run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else than a key.
    #[error("{} does not hold {wanted}: restore it from a backup, or remove it to have a new one made", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
}

/// The master key of the data directory, made if there is none.
///
/// # Errors
/// [`KeyFileError`], also if others may read the file.
pub fn load_or_make_master_key(dir: &Path, entropy: &Entropy) -> Result<StoredKey, KeyFileError> {
    load_or_make_master_key_file(&dir.join(MASTER_KEY_FILE), entropy)
}

/// The master key in that file, made if there is no such file.
///
/// # Errors
/// As [`load_or_make_master_key`].
pub fn load_or_make_master_key_file(path: &Path, entropy: &Entropy) -> Result<StoredKey, KeyFileError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(MASTER_KEY_FILE);
    let stored = load_or_make(dir, name, entropy, || BASE64_STANDARD.encode(entropy.bytes::<32>()))?;
    if master_key_bytes(&stored.key).is_some() {
        return Ok(stored);
    }
    Err(KeyFileError::Malformed { path: stored.path, wanted: "base64 of 32 bytes" })
}

/// The master key of the data directory, if one was ever made or put there.
///
/// # Errors
/// [`KeyFileError`], also if others may read the file.
pub fn load_master_key(dir: &Path) -> Result<Option<SecretString>, KeyFileError> {
    let path = dir.join(MASTER_KEY_FILE);
    match read(&path)? {
        Some(key) if master_key_bytes(&key).is_none() => {
            Err(KeyFileError::Malformed { path, wanted: "base64 of 32 bytes" })
        }
        found => Ok(found),
    }
}

/// The root key of the data directory, made if there is none: [`ROOT_KEY_PREFIX`] and 256 random
/// bits in base64url.
///
/// # Errors
/// [`KeyFileError`], also if others may read the file.
pub fn load_or_make_root_key(dir: &Path, entropy: &Entropy) -> Result<StoredKey, KeyFileError> {
    let stored = load_or_make(dir, ROOT_KEY_FILE, entropy, || {
        format!("{ROOT_KEY_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(entropy.bytes::<32>()))
    })?;
    let random = stored.key.expose_secret().strip_prefix(ROOT_KEY_PREFIX).unwrap_or_default();
    if BASE64_URL_SAFE_NO_PAD.decode(random).is_ok_and(|bytes| bytes.len() == 32) {
        return Ok(stored);
    }
    Err(KeyFileError::Malformed { path: stored.path, wanted: "a root key" })
}

/// The 32 bytes of a master key; `None` if it is not base64 of exactly so many.
#[must_use]
pub fn master_key_bytes(key: &SecretString) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(key.expose_secret()).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

fn load_or_make(
    dir: &Path,
    name: &str,
    entropy: &Entropy,
    make: impl FnOnce() -> String,
) -> Result<StoredKey, KeyFileError> {
    let path = dir.join(name);
    if let Some(key) = read(&path)? {
        return Ok(StoredKey { key, path, made_now: false });
    }
    make_folder(dir).map_err(at(dir))?;
    let fresh = Zeroizing::new(make());
    let made_now = write_once(dir, &path, &fresh, entropy)?;
    match read(&path)? {
        Some(key) => Ok(StoredKey { key, path, made_now }),
        None => Err(at(&path)(io::ErrorKind::NotFound.into())),
    }
}

/// The key in the file, without its line end; `None` if there is no file.
fn read(path: &Path) -> Result<Option<SecretString>, KeyFileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    let mode = file.metadata().map_err(at(path))?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(io::read_to_string(file).map_err(at(path))?);
    Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']))))
}

/// Puts `key` at `path` unless something is there by now; says whether it did.
fn write_once(dir: &Path, path: &Path, key: &str, entropy: &Entropy) -> Result<bool, KeyFileError> {
    let draft = dir.join(format!(".draft-{:032x}", u128::from_be_bytes(entropy.bytes())));
    let written = write_draft(&draft, key).and_then(|()| match fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    let removed = fs::remove_file(&draft);
    let made_now = written.map_err(at(path))?;
    removed.map_err(at(&draft))?;
    // The names, too, must survive a power cut: what is sealed with this key will.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))?;
    Ok(made_now)
}

fn write_draft(draft: &Path, key: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(key.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    |source| KeyFileError::Io { path, source }
}
