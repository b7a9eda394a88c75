//! The actors' machinery with toy residents: nothing lost, nothing twice, nobody starved or left waiting.

mod directory;
mod hasher;
mod keyring;
mod passivation;
mod supervision;

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::time::Duration;

use guichet::actors::directory::{AccountKey, Bounds, Directory, Resident, Who};
use guichet::actors::supervision::Tree;
use guichet::actors::ticker;
use guichet::domain::ids::{AccountId, TenantId};

/// The `n`th account of one tenant.
fn account(n: u32) -> AccountKey {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    AccountKey { tenant: TenantId::random([1; 16]), who: Who::Account(AccountId::random(bytes)) }
}

fn shadow(n: u32) -> AccountKey {
    AccountKey { who: Who::Shadow(n), ..account(0) }
}

fn bounds(mailbox: u32, residents: usize, idle: Duration) -> Bounds {
    Bounds { mailbox, residents: NonZeroUsize::new(residents).unwrap(), idle }
}

/// A directory under a tree of its own.
async fn directory<R: Resident>(resident: R, bounds: Bounds) -> (Directory<R>, Tree) {
    let tree = Tree::start(16).await.unwrap();
    (Directory::new(resident, bounds, tree.accounts.clone()), tree)
}

/// As a node does: lets the idle go again and again.
async fn passivate_always<R: Resident>(directory: &Directory<R>, tree: &Tree) {
    let (directory, pause) = (directory.clone(), directory.passivation_pause());
    let rounds = ticker::every(&tree.services, "passivation", pause, move || {
        let directory = directory.clone();
        async move {
            directory.passivate().await;
            Ok::<_, Infallible>(())
        }
    });
    rounds.await.unwrap();
}

/// Waits for what another task brings about.
async fn until(mut happened: impl FnMut() -> bool) {
    let waited = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited).await.expect("it never happens");
}
