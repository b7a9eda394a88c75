//! Whether a tenant may live by a settings document, asked before it is saved.
//!
//! ```text
//!   floors and ranges of its profile ─┐
//!   public_url on a host of its own ──┼─► every fault with its path, or none
//!   its texts, rendered ──────────────┤
//!   its senders, made ────────────────┤  these two only where the document changes them,
//!   contacts of its test identities ──┘  senders channel by channel
//! ```
//!
//! Where senders may connect to and whose a contact is changes outside the document too; what stands
//! already must not then keep an admin from changing something else.

use super::messages::letterhead;
use super::{Administration, Refusal, Tenant};
use crate::actors::accounts::test_identities_taken;
use crate::actors::failure::Failure;
use crate::domain::fault::Fault;
use crate::domain::message::Channel;
use crate::domain::policy::{Policy, Profile};
use crate::domain::settings::{BadSetting, Settings};

impl Administration {
    /// Whether a tenant may live by these settings instead of those it has.
    pub(super) async fn judge(&self, tenant: &Tenant, settings: &Settings) -> Result<(), Refusal> {
        let mut bad = self.faults(Tenant { settings: settings.clone(), ..tenant.clone() }).await?;
        bad.extend(self.sender_faults(tenant, settings).await?);
        bad.extend(self.identity_faults(tenant, settings).await?);
        if bad.is_empty() { Ok(()) } else { Err(Refusal::Invalid(bad)) }
    }

    /// What is wrong with a tenant's document by itself and with the facts around it.
    pub(super) async fn faults(&self, tenant: Tenant) -> Result<Vec<Fault>, Failure> {
        let this = self.clone();
        // Each text is rendered dozens of times: not on a thread that others wait for.
        let told = tokio::task::spawn_blocking(move || {
            let Tenant { slug, name, profile, domains, settings, .. } = tenant;
            let mut bad = policy_faults(profile, &settings);
            bad.extend(this.public_url_fault(&settings, &domains));
            let base_url = this.link_base(&slug, &settings);
            let worded = this.0.templates.check(&settings.templates, &letterhead(&name, &domains, &base_url));
            bad.extend(worded.into_iter().map(|bad| Fault::from(BadSetting::from(bad))));
            bad
        });
        told.await.map_err(|_| Failure::Internal)
    }

    async fn sender_faults(&self, tenant: &Tenant, settings: &Settings) -> Result<Vec<Fault>, Failure> {
        let before = &tenant.settings;
        let mut changed = Vec::new();
        if settings.email.senders != before.email.senders {
            changed.push(Channel::Email);
        }
        if settings.sms.senders != before.sms.senders {
            changed.push(Channel::Sms);
        }
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let (maker, tenant, settings) = (self.0.maker.clone(), tenant.id, settings.clone());
        let faults_of = move |channel| maker.faults(tenant, &settings, channel);
        let made = tokio::task::spawn_blocking(move || changed.into_iter().flat_map(faults_of).collect());
        made.await.map_err(|_| Failure::Internal)
    }

    async fn identity_faults(&self, tenant: &Tenant, settings: &Settings) -> Result<Vec<Fault>, Failure> {
        if settings.test_identities == tenant.settings.test_identities {
            return Ok(Vec::new());
        }
        // Of settings that are no policy, `faults` has told why.
        let Ok(policy) = Policy::with(tenant.profile, settings) else { return Ok(Vec::new()) };
        let taken = test_identities_taken(&self.0.storage, tenant.id, &policy.test_identities).await?;
        Ok(taken.into_iter().map(Fault::from).collect())
    }

    /// `public_url` leads people to guichet: it stands on one of the tenant's domains or on the
    /// platform's host, and is as safe as the platform's.
    fn public_url_fault(&self, settings: &Settings, domains: &[String]) -> Option<Fault> {
        let text = settings.public_url.as_deref()?;
        let platform = url::Url::parse(&self.0.source.platform_url()).ok();
        let is_good = url::Url::parse(text).is_ok_and(|url| {
            let is_platform = platform.is_some_and(|platform| platform.origin() == url.origin());
            let host = url.host_str().unwrap_or_default();
            let is_own = url.scheme() == "https" && domains.iter().any(|domain| domain == host);
            let is_bare = url.username().is_empty() && url.password().is_none();
            let has_tail = url.query().is_some() || url.fragment().is_some();
            (is_platform || is_own) && is_bare && !has_tail
        });
        let why = "public_url: must be an https URL on one of the tenant's domains or on the platform's own";
        (!is_good).then(|| Fault::new("/public_url", "invalid", why))
    }
}

/// What a profile does not let settings be.
pub(super) fn policy_faults(profile: Profile, settings: &Settings) -> Vec<Fault> {
    Policy::with(profile, settings).err().unwrap_or_default().into_iter().map(Fault::from).collect()
}
