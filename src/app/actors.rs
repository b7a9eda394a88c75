//! The supervision tree and the handles through which the front end and the services reach it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::parts::{Postal, Stores, hasher, maker, post_office};
use super::{StartError, World, internal};
use crate::actors::accounts::{Accounts, Deps, RecordedLocks, Timings};
use crate::actors::auditor::Auditor;
use crate::actors::budget::Budget;
use crate::actors::credentials::Credentials;
use crate::actors::directory::{Bounds, Directory};
use crate::actors::keyring::Keyring;
use crate::actors::senders::{Maker, Postman};
use crate::actors::sessions::Sessions;
use crate::actors::supervision::Tree;
use crate::actors::tokens::{Revocations, Tokens};
use crate::config::Config;
use crate::crypto::digest::{Digests, MasterKey};
use crate::crypto::seal::Sealer;
use crate::domain::ids::NodeId;
use crate::limits::{Ceilings, Limits};
use crate::storage::Birth;
use crate::tenant::Tenants;

/// An attempt's lease outlives its deadline by this.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// Everything that acts, and the tree it is linked to.
pub(super) struct Actors {
    pub(super) tree: Tree,
    pub(super) accounts: Accounts,
    pub(super) sessions: Sessions,
    pub(super) postman: Postman,
    pub(super) maker: Maker,
    pub(super) limits: Limits,
    pub(super) keyring: Keyring,
    pub(super) tokens: Tokens,
    pub(super) revocations: Revocations,
    /// Hears of other nodes' revocations.
    pub(super) hearing: AbortOnDropHandle<()>,
    pub(super) auditor: Auditor,
    /// Ends when the last handle of the auditor is dropped.
    pub(super) audit_writer: JoinHandle<()>,
}

impl Actors {
    pub(super) async fn start(
        config: &Config,
        master: &MasterKey,
        digests: Arc<Digests>,
        world: &World,
        stores: &Stores,
        tenants: &Tenants,
    ) -> Result<Self, StartError> {
        let Stores { storage, ephemeral } = stores;
        let (clock, entropy) = (&world.clock, &world.entropy);
        let tree = Tree::start(config.actors.supervisors.get()).await.map_err(internal)?;
        let (auditor, audit_writer) = Auditor::start(storage.clone());
        let keyring = Keyring::new(storage.clone(), Sealer::new(master), clock.clone(), entropy.clone());
        let node = NodeId::random(entropy.bytes());
        let credentials = Credentials::new(Sealer::new(master), clock.clone(), entropy.clone());
        let maker = maker(config, credentials, clock.clone());
        let budget = Budget {
            ephemeral: Arc::clone(ephemeral),
            digests: Arc::clone(&digests),
            entropy: entropy.clone(),
            clock: clock.clone(),
            auditor: auditor.clone(),
            sms_stopped: config.delivery.sms_stopped,
        };
        let postal = Postal {
            stores,
            tenants,
            digests: &digests,
            maker: maker.clone(),
            budget: budget.clone(),
            node,
            tree: &tree,
        };
        let postman = post_office(config, world, postal)?;
        let limits = Limits::new(Arc::clone(ephemeral), clock.clone(), Ceilings::new(config.limits.by_name()));
        let revocations = Revocations::new(storage.clone(), Arc::clone(ephemeral), clock.clone());
        // Listening first: what ends while storage is read is in one of the two.
        let hearing = revocations.listen();
        revocations.refresh().await?;
        let ask_timeout = config.actors.ask_timeout;
        let tokens = Tokens::new(keyring.clone(), revocations.clone(), clock.clone(), ask_timeout);
        let sessions = Sessions {
            storage: storage.clone(),
            ephemeral: Arc::clone(ephemeral),
            keyring: keyring.clone(),
            tokens: tokens.clone(),
            revocations: revocations.clone(),
            digests: Arc::clone(&digests),
            postman: postman.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            birth: Birth { node, lease: config.delivery.lease },
            deadline: ask_timeout,
        };
        let deps = Deps {
            clock: clock.clone(),
            entropy: entropy.clone(),
            storage: storage.clone(),
            ephemeral: Arc::clone(ephemeral),
            hasher: hasher(config, entropy)?,
            digests,
            keyring: keyring.clone(),
            revocations: revocations.clone(),
            postman: postman.clone(),
            budget,
            auditor: auditor.clone(),
            limits: limits.clone(),
            node,
            recorded_locks: RecordedLocks::default(),
            timings: timings(config),
        };
        let (bounds, supervisors) = (bounds(config), tree.accounts.clone());
        let accounts = Accounts::new(Arc::new(deps), |stories| Directory::new(stories, bounds, supervisors));
        Ok(Self {
            tree,
            accounts,
            sessions,
            postman,
            maker,
            limits,
            keyring,
            tokens,
            revocations,
            hearing,
            auditor,
            audit_writer,
        })
    }
}

fn timings(config: &Config) -> Timings {
    Timings {
        ask: config.actors.ask_timeout,
        lease: config.actors.ask_timeout + LEASE_MARGIN,
        outbox_lease: config.delivery.lease,
    }
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        mailbox: u32::try_from(config.actors.mailbox.get()).unwrap_or(u32::MAX),
        residents: config.actors.max_resident,
        idle: config.actors.idle,
    }
}
