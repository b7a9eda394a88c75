//! What an admin may ask about messages: the delivery log, *send test*, and texts as people will
//! read them.

use std::sync::Arc;

use super::{Administration, Holder, Refusal, Tenant};
use crate::actors::failure::Failure;
use crate::actors::senders::Postman;
use crate::crypto::digest::Digests;
use crate::delivery::template::{self, Letterhead};
use crate::domain::contact::Contact;
use crate::domain::event::EventKind;
use crate::domain::fault::Fault;
use crate::domain::ids::DeliveryId;
use crate::domain::locale::Locale;
use crate::domain::message::Channel;
use crate::domain::policy::Policy;
use crate::domain::settings::templates::{TemplateName, Texts};
use crate::domain::settings::{BadSetting, Settings};
use crate::storage::Storage;

pub use crate::actors::senders::{TESTS_PER_HOUR, TestOutcome, Tested};
pub use crate::delivery::template::{BuiltIn, Preview, SmsCost, built_in_texts};
pub use crate::storage::Delivery;

/// What admins may ask about messages. Clones share everything.
#[derive(Clone)]
pub struct Messages {
    /// The delivery log.
    pub storage: Storage,
    /// Sends tests.
    pub postman: Postman,
    /// Names recipients as the log does.
    pub digests: Arc<Digests>,
    /// Who writes the audit log, and judges drafts.
    pub administration: Administration,
}

/// A text to be shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Which message.
    pub name: TemplateName,
    /// In which language.
    pub locale: Locale,
    /// How it would travel.
    pub channel: Channel,
    /// Texts that need not be saved; those in force if not given.
    pub texts: Option<Texts>,
}

impl Messages {
    /// Attempts at messages, newest first, from just before `before`; with `recipient`, those to that
    /// contact alone.
    ///
    /// # Errors
    /// [`Refusal::Failed`] if storage is away.
    pub async fn page(
        &self,
        tenant: &Tenant,
        recipient: Option<&Contact>,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, Refusal> {
        let recipient = recipient.map(|contact| *self.digests.contact(tenant.id, contact).as_bytes());
        Ok(self.storage.deliveries().page(tenant.id, recipient, before, limit).await?)
    }

    /// Sends a test message through every sender that `draft` names for its kind of contact. That it
    /// was asked for is on record whatever becomes of it.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a number where the draft lets no text message go, as with codes through
    /// whichever sender; [`Refusal::Failed`] if it could not be counted or noted.
    pub async fn test(
        &self,
        holder: &Holder,
        tenant: &Tenant,
        draft: &Settings,
        to: Contact,
    ) -> Result<Tested, Refusal> {
        let policy = Policy::with(tenant.profile, draft);
        let policy = policy.map_err(|bad| Refusal::Invalid(bad.into_iter().map(Fault::from).collect()))?;
        if let Some(fault) = region_fault(&policy, &to) {
            return Err(Refusal::Invalid(vec![fault]));
        }
        let context = self.administration.context(tenant.id).await?;
        let event = self.administration.event(holder, tenant.id, EventKind::AuthzAdmin, "senders_tested");
        self.storage.audit().record(&[event]).await?;
        Ok(self.postman.test(&context, draft, &policy, to).await?)
    }
}

impl Administration {
    /// What a message would look like, with sample values.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] with what is wrong with its texts, by where they stand in what was asked: `/texts`
    /// for those that came with it, `/name` for those in force.
    pub async fn preview(&self, tenant: &Tenant, shown: Shown) -> Result<Preview, Refusal> {
        if !shown.name.channels().contains(&shown.channel) {
            let why = format!("{} never goes by this channel", shown.name.as_str());
            return Err(Refusal::Invalid(vec![Fault::new("/channel", "invalid", why)]));
        }
        let saved_at = format!("/templates/{}/{}", shown.name.as_str(), shown.locale.tag());
        let came_with_it = shown.texts.is_some();
        let (this, tenant) = (self.clone(), tenant.clone());
        let rendered = tokio::task::spawn_blocking(move || {
            let Shown { name, locale, channel, texts } = shown;
            let own = &tenant.settings.templates;
            let base_url = this.link_base(&tenant.slug, &tenant.settings);
            let draft = template::Draft {
                head: letterhead(&tenant.name, &tenant.domains, &base_url),
                name,
                locale,
                channel,
                texts: texts.as_ref().or_else(|| own.get(name, locale)),
                max_parts: own.max_parts(),
            };
            this.0.templates.preview(&draft)
        });
        let preview = rendered.await.map_err(|_| Failure::Internal)?;
        let fault = |bad| {
            let fault = Fault::from(BadSetting::from(bad));
            let part = fault.pointer.strip_prefix(&saved_at).unwrap_or_default();
            let pointer = if came_with_it { format!("/texts{part}") } else { "/name".to_owned() };
            Fault { pointer, ..fault }
        };
        preview.map_err(|bad| Refusal::Invalid(bad.into_iter().map(fault).collect()))
    }

    /// What the links of a tenant with such settings begin with.
    pub(super) fn link_base(&self, slug: &str, settings: &Settings) -> String {
        let own = settings.public_url.clone();
        own.unwrap_or_else(|| format!("{}/t/{slug}", self.0.source.platform_url()))
    }
}

fn region_fault(policy: &Policy, to: &Contact) -> Option<Fault> {
    let Contact::Phone(number) = to else { return None };
    let why = "sms.regions: the region of this number is not among those that text messages may go to";
    (!policy.sms.regions.allow(number)).then(|| Fault::new("/to", "region_refused", why))
}

/// In whose name a tenant's messages are sent.
pub(super) fn letterhead<'a>(name: &'a str, domains: &'a [String], base_url: &'a str) -> Letterhead<'a> {
    Letterhead { tenant_name: name, domain: domains.first().map(String::as_str), base_url }
}
