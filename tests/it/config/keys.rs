//! Keys that a node makes for itself: made once, kept from others, never half written.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use guichet::config::keys::{
    KeyFileError, ROOT_KEY_PREFIX, load_or_make_master_key, load_or_make_root_key, master_key_bytes,
};
use guichet::entropy::Entropy;
use guichet::secret::ExposeSecret;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_and_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");

    let made = load_or_make_root_key(&dir, &Entropy::system()).unwrap();
    let found = load_or_make_root_key(&dir, &Entropy::system()).unwrap();

    assert!(made.made_now && !found.made_now);
    assert_eq!(made.key.expose_secret(), found.key.expose_secret());
    assert_eq!(made.key.expose_secret().len(), ROOT_KEY_PREFIX.len() + 43);
    assert_eq!((mode(&dir), mode(&made.path)), (0o700, 0o600));
}

#[test]
fn a_master_key_is_32_bytes() {
    let dir = tempfile::tempdir().unwrap();

    let made = load_or_make_master_key(dir.path(), &Entropy::system()).unwrap();

    assert!(master_key_bytes(&made.key).is_some());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
}

#[test]
fn nodes_that_start_at_once_agree_on_one_key() {
    let dir = tempfile::tempdir().unwrap();

    let keys: Vec<_> = std::thread::scope(|scope| {
        let nodes: Vec<_> =
            (0..8).map(|_| scope.spawn(|| load_or_make_master_key(dir.path(), &Entropy::system()).unwrap())).collect();
        nodes.into_iter().map(|node| node.join().unwrap()).collect()
    });

    assert_eq!(keys.iter().filter(|key| key.made_now).count(), 1);
    assert!(keys.iter().all(|key| key.key.expose_secret() == keys[0].key.expose_secret()));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = load_or_make_master_key(dir.path(), &Entropy::system()).unwrap().path;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();

    let refused = load_or_make_master_key(dir.path(), &Entropy::system()).unwrap_err();

    assert!(matches!(refused, KeyFileError::Exposed { mode: 0o644, .. }));
    assert_eq!(
        refused.to_string(),
        format!("{} can be read by others (mode 0644): run `chmod 600` on it", path.display())
    );
}

#[test]
fn a_file_that_holds_no_key_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.key");
    std::fs::write(&path, "hello\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();

    let refused = load_or_make_root_key(dir.path(), &Entropy::system()).unwrap_err();

    assert!(matches!(refused, KeyFileError::Malformed { .. }));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello\n");
}
