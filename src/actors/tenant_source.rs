//! Where the tenant snapshot comes from: storage's rows, read anew when something changed.
//!
//! Every node polls the revision; whoever changed a tenant refreshes its own node at once, so that an
//! admin's next request sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;

use crate::storage::{Storage, StorageError};
use crate::tenant::{Directory, Tenants};

/// Builds snapshots from storage. Clones share the memory of what was last shown.
#[derive(Clone)]
pub struct TenantSource(Arc<Inner>);

struct Inner {
    storage: Storage,
    tenants: Tenants,
    default: Option<String>,
    /// What every issuer begins with; known for sure once the public listener is bound.
    platform_url: ArcSwap<String>,
    /// The revision that the snapshot in place was built from.
    shown: AtomicI64,
}

impl TenantSource {
    /// Over the rows of `storage`, for the snapshot in `tenants`.
    #[must_use]
    pub fn new(storage: Storage, tenants: Tenants, default: Option<&str>, platform_url: String) -> Self {
        Self(Arc::new(Inner {
            storage,
            tenants,
            default: default.map(str::to_owned),
            platform_url: ArcSwap::from_pointee(platform_url),
            shown: AtomicI64::default(),
        }))
    }

    /// The slug of the tenant that requests without one belong to.
    #[must_use]
    pub fn default_slug(&self) -> Option<&str> {
        self.0.default.as_deref()
    }

    /// What every issuer begins with.
    #[must_use]
    pub fn platform_url(&self) -> Arc<String> {
        self.0.platform_url.load_full()
    }

    /// The directory.
    #[must_use]
    pub fn tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    /// From now on people reach us under that URL.
    pub async fn move_to(&self, platform_url: String) -> Result<(), StorageError> {
        self.0.platform_url.store(Arc::new(platform_url));
        self.load().await
    }

    /// Builds a new snapshot if a tenant changed.
    pub async fn refresh(&self) -> Result<(), StorageError> {
        let revision = self.0.storage.tenants().revision().await?;
        if self.0.shown.load(Ordering::SeqCst) == revision { Ok(()) } else { self.load().await }
    }

    /// Reads the rows and builds a snapshot.
    ///
    /// Of two at once the older may be put in place last; then it is not the newest revision that is
    /// noted either, and the next poll mends it.
    pub async fn load(&self) -> Result<(), StorageError> {
        // Before the rows: a change that comes between is read twice, never missed.
        let revision = self.0.storage.tenants().revision().await?;
        let rows = self.0.storage.tenants().all().await?;
        self.0.tenants.replace(Directory::new(rows, self.default_slug(), &self.platform_url()));
        self.0.shown.store(revision, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::entropy::Entropy;
    use crate::storage::{PoolSettings, Target};

    #[tokio::test]
    async fn the_directory_is_built_anew_only_when_a_row_changed() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Sqlite(folder.path().join("guichet.db"));
        let patience = Duration::from_secs(5);
        let pool = PoolSettings { max_connections: 1, acquire_timeout: patience, statement_timeout: patience };
        let storage = Storage::open(&target, &pool).await.unwrap();
        storage.migrate().await.unwrap();
        let tenants = Tenants::default();
        let source = TenantSource::new(storage.clone(), tenants.clone(), None, "https://id.test".to_owned());
        source.load().await.unwrap();
        let first = Arc::clone(&tenants.snapshot());

        source.refresh().await.unwrap();
        assert!(Arc::ptr_eq(&first, &tenants.snapshot()));

        let acme = crate::app::default_tenant("acme", &Clock::system(), &Entropy::seeded(1));
        storage.tenants().ensure_default(&acme).await.unwrap();
        source.refresh().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &tenants.snapshot()));
    }
}
