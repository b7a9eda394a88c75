//! The settings document: read, changed by merge patch, rolled back.
//!
//! The document in force is replaced only by one that was made from it: a change under way on another
//! node is read and changed again, or, if the admin said which version was looked at, refused.

use serde_json::Value;

use super::{Administration, Expected, Holder, Refusal, TRIES, Tenant};
use crate::actors::credentials::Place;
use crate::actors::failure::Failure;
use crate::domain::event::EventKind;
use crate::domain::settings::{Settings, document};
use crate::secret::ExposeSecret as _;
use crate::storage::NewSettings;

pub use crate::storage::SettingsVersion;

/// What the settings are to become.
#[derive(Clone, Copy)]
enum Wish<'w> {
    /// What this merge patch makes of them.
    Patch(&'w Value),
    /// What they were at this version.
    Version(u64),
}

impl Wish<'_> {
    /// The audit log's word for it.
    const fn cause(self) -> &'static str {
        match self {
            Self::Patch(_) => "settings_changed",
            Self::Version(_) => "settings_rolled_back",
        }
    }
}

impl Administration {
    /// Changes the settings by a JSON merge patch (RFC 7396); credentials in it are sealed at once. The
    /// tenant as it is then.
    ///
    /// # Errors
    /// [`Refusal::Invalid`], [`Refusal::Outdated`], [`Refusal::NotFound`].
    pub async fn change_settings(
        &self,
        holder: &Holder,
        tenant: Tenant,
        patch: &Value,
        expected: &Expected,
    ) -> Result<Tenant, Refusal> {
        self.replace_settings(holder, tenant, expected, Wish::Patch(patch)).await
    }

    /// Makes the document of an earlier version the one in force, as a new version; its credentials
    /// come back with it.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] if there is no such version; [`Refusal::Invalid`] if it breaks a rule that
    /// came since; [`Refusal::Outdated`].
    pub async fn roll_back(
        &self,
        holder: &Holder,
        tenant: Tenant,
        version: u64,
        expected: &Expected,
    ) -> Result<Tenant, Refusal> {
        self.replace_settings(holder, tenant, expected, Wish::Version(version)).await
    }

    /// The documents a tenant had, newest first, from just before the version `before`.
    ///
    /// # Errors
    /// What storage may give.
    pub async fn versions(
        &self,
        tenant: &Tenant,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<SettingsVersion>, Refusal> {
        Ok(self.0.storage.tenants().versions(tenant.id, before, limit).await?)
    }

    /// The settings as a patch would make them, checked and saved nowhere.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub async fn draft(&self, tenant: &Tenant, patch: &Value) -> Result<Settings, Refusal> {
        let changed = document::merged(document::shown(&tenant.settings), patch.clone());
        let seal = |place: document::Place<'_>, plain: &str| {
            self.0.maker.credentials.seal(&at(tenant, place), &plain.to_owned().into()).ok()
        };
        let settings = document::taken_in(&tenant.settings, changed, seal).map_err(Refusal::Invalid)?;
        self.judge(tenant, &settings).await?;
        Ok(settings)
    }

    /// The settings as a whole document would make them, saved nowhere. A credential that is the one
    /// there is stays as it was sealed, so that the same document twice is no change.
    ///
    /// For those alone who hold the master key anyway: others could try what a credential is.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub(super) async fn planned(&self, tenant: &Tenant, document: &Value) -> Result<Settings, Refusal> {
        let mut known = Vec::new();
        let _same = document::resealed(&tenant.settings, |place, sealed| {
            let plain = self.0.maker.credentials.open(&at(tenant, place), sealed).ok()?;
            known.push((place.channel, place.sender.to_owned(), place.member.to_owned(), plain, sealed.clone()));
            Some(sealed.clone())
        });
        let seal = |place: document::Place<'_>, plain: &str| {
            let same = known.iter().find(|(channel, sender, member, known, _)| {
                (*channel, sender.as_str(), member.as_str()) == (place.channel, place.sender, place.member)
                    && known.expose_secret() == plain
            });
            match same {
                Some((.., sealed)) => Some(sealed.clone()),
                None => self.0.maker.credentials.seal(&at(tenant, place), &plain.to_owned().into()).ok(),
            }
        };
        let settings = document::taken_in(&tenant.settings, document.clone(), seal).map_err(Refusal::Invalid)?;
        self.judge(tenant, &settings).await?;
        Ok(settings)
    }

    async fn wished(&self, tenant: &Tenant, wish: Wish<'_>) -> Result<Settings, Refusal> {
        match wish {
            Wish::Patch(patch) => self.draft(tenant, patch).await,
            Wish::Version(version) => {
                let found = self.0.storage.tenants().version(tenant.id, version).await?.ok_or(Refusal::NotFound)?;
                self.judge(tenant, &found).await?;
                Ok(found)
            }
        }
    }

    async fn replace_settings(
        &self,
        holder: &Holder,
        mut tenant: Tenant,
        expected: &Expected,
        wish: Wish<'_>,
    ) -> Result<Tenant, Refusal> {
        for _ in 0..TRIES {
            if !expected.is_met_by(tenant.version) {
                return Err(Refusal::Outdated);
            }
            let settings = self.wished(&tenant, wish).await?;
            if settings == tenant.settings {
                return Ok(tenant);
            }
            let new = NewSettings {
                tenant: tenant.id,
                replaces: tenant.version,
                profile: tenant.profile,
                settings: &settings,
                key: holder.key,
                saved_at: self.0.clock.now(),
            };
            let event = self.event(holder, tenant.id, EventKind::AuthzAdmin, wish.cause());
            let is_saved = self.0.storage.tenants().save_settings(&new, &event).await?;
            if is_saved {
                self.show_change().await;
            }
            tenant = self.0.storage.tenants().find(tenant.id).await?.ok_or(Refusal::NotFound)?;
            if is_saved {
                return Ok(tenant);
            }
        }
        Err(Failure::Overloaded.into())
    }
}

fn at<'p>(tenant: &Tenant, place: document::Place<'p>) -> Place<'p> {
    Place { tenant: tenant.id, channel: place.channel, sender: place.sender, member: place.member }
}
