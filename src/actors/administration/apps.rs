//! Applications: audiences for tokens, origins for browsers, secrets for introspection.

use super::tenants::is_label;
use super::{Administration, Holder, Refusal, Tenant};
use crate::crypto::digest;
use crate::domain::app::App;
use crate::domain::event::EventKind;
use crate::domain::fault::Fault;
use crate::domain::ids::AppId;
use crate::domain::naming;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::StorageError;

/// Apps that a tenant may have: every node keeps all of them in memory.
pub(super) const MOST_APPS: usize = 100;

/// Origins that an app may have.
const MOST_ORIGINS: usize = 20;

/// What an app is called and what it is for.
#[derive(Debug, Clone)]
pub struct AppFacts {
    /// What people call it.
    pub name: String,
    /// `aud` of its tokens.
    pub audience: String,
    /// Origins whose pages may call guichet.
    pub origins: Vec<String>,
}

impl Administration {
    /// Makes an app; its secret is shown this once.
    ///
    /// # Errors
    /// [`Refusal::Invalid`], [`Refusal::AudienceTaken`], [`Refusal::Full`], [`Refusal::NotFound`].
    pub async fn make_app(
        &self,
        holder: &Holder,
        tenant: &Tenant,
        facts: AppFacts,
    ) -> Result<(App, SecretString), Refusal> {
        let AppFacts { name, audience, origins } = checked(facts).map_err(Refusal::Invalid)?;
        if tenant.apps.len() >= MOST_APPS {
            return Err(Refusal::Full);
        }
        let now = self.0.clock.now();
        let secret = digest::fresh_token(&self.0.entropy);
        let app = App {
            id: AppId::at(now, self.0.entropy.bytes()),
            name,
            audience,
            origins,
            secret_digest: digest::token_digest(secret.expose_secret()),
            created_at: now,
        };
        let event = self.event(holder, tenant.id, EventKind::AuthzChange, "app_made");
        match self.0.storage.apps().create(tenant.id, &app, &event).await {
            // The tenant went meanwhile.
            Err(StorageError::Conflict(_)) => Err(Refusal::NotFound),
            Ok(false) => Err(Refusal::AudienceTaken),
            Ok(true) => {
                self.show_change().await;
                Ok((app, secret))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Changes what an app is called and what it is for.
    ///
    /// # Errors
    /// [`Refusal::Invalid`], [`Refusal::AudienceTaken`], [`Refusal::NotFound`].
    pub async fn change_app(
        &self,
        holder: &Holder,
        tenant: &Tenant,
        app: App,
        facts: AppFacts,
    ) -> Result<App, Refusal> {
        let AppFacts { name, audience, origins } = checked(facts).map_err(Refusal::Invalid)?;
        self.write_app(holder, tenant, App { name, audience, origins, ..app }, "app_changed").await
    }

    /// Gives an app another secret, shown this once; the old one is worth nothing from now on.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub async fn renew_secret(
        &self,
        holder: &Holder,
        tenant: &Tenant,
        app: App,
    ) -> Result<(App, SecretString), Refusal> {
        let secret = digest::fresh_token(&self.0.entropy);
        let app = App { secret_digest: digest::token_digest(secret.expose_secret()), ..app };
        Ok((self.write_app(holder, tenant, app, "app_secret_renewed").await?, secret))
    }

    /// Forgets an app. Tokens for its audience live out their time; nothing renews them.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub async fn forget_app(&self, holder: &Holder, tenant: &Tenant, app: AppId) -> Result<(), Refusal> {
        let event = self.event(holder, tenant.id, EventKind::AuthzChange, "app_forgotten");
        if !self.0.storage.apps().delete(tenant.id, app, &event).await? {
            return Err(Refusal::NotFound);
        }
        self.show_change().await;
        Ok(())
    }

    async fn write_app(&self, holder: &Holder, tenant: &Tenant, app: App, cause: &'static str) -> Result<App, Refusal> {
        let event = self.event(holder, tenant.id, EventKind::AuthzChange, cause);
        match self.0.storage.apps().update(tenant.id, &app, &event).await {
            Err(StorageError::Conflict(_)) => Err(Refusal::AudienceTaken),
            Ok(false) => Err(Refusal::NotFound),
            Ok(true) => {
                self.show_change().await;
                Ok(app)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The same in one spelling, or what of it cannot be.
pub(super) fn checked(facts: AppFacts) -> Result<AppFacts, Vec<Fault>> {
    let mut bad = Vec::new();
    let name = facts.name.trim().to_owned();
    if !is_label(&name) {
        bad.push(Fault::new("/name", "invalid", "1 to 100 printable characters."));
    }
    let audience = facts.audience;
    if audience.is_empty() || audience.len() > 255 || audience.chars().any(char::is_control) {
        bad.push(Fault::new("/audience", "invalid", "1 to 255 printable characters."));
    }
    if facts.origins.len() > MOST_ORIGINS {
        bad.push(Fault::new("/origins", "too_many", format!("At most {MOST_ORIGINS}.")));
    }
    for (at, origin) in facts.origins.iter().enumerate() {
        if !naming::is_origin(origin) {
            let why = "An exact origin: https://host[:port], or http on this machine.";
            bad.push(Fault::new(format!("/origins/{at}"), "invalid", why));
        }
    }
    if bad.is_empty() { Ok(AppFacts { name, audience, origins: facts.origins }) } else { Err(bad) }
}
