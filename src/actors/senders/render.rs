//! From a message's ids to its words: derives the code or the link's token at send time.

use std::sync::Arc;

use crate::actors::accounts::link_token;
use crate::crypto::digest::{CodeSubject, Digests};
use crate::delivery::template::{Facts, Own, TemplateError, Templates};
use crate::delivery::{Envelope, Rendered};
use crate::domain::message::{Content, Message};
use crate::domain::otp::CodePurpose;
use crate::domain::time::Timestamp;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::storage::LinkPurpose;
use crate::tenant::{TenantContext, Tenants};

/// Why a message has no words; none of these passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The tenant is gone.
    #[error("unknown tenant")]
    UnknownTenant,
    /// The code's key is not this master key's.
    #[error("unknown code key")]
    UnknownKey,
    /// The template is at fault.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Turns messages into envelopes.
pub struct Renderer {
    /// Derives codes and tokens.
    pub digests: Arc<Digests>,
    /// The words.
    pub templates: Templates,
    /// Names, domains and addresses of the tenants.
    pub tenants: Tenants,
}

impl Renderer {
    /// The message in words, for now.
    ///
    /// # Errors
    /// [`RenderError`]; the message can then never be sent.
    pub fn envelope(&self, message: &Message, now: Timestamp) -> Result<Envelope, RenderError> {
        let tenants = self.tenants.snapshot();
        let tenant = tenants.by_id(message.tenant).ok_or(RenderError::UnknownTenant)?;
        let code = self.code(message)?;
        let rendered = self.words(message, tenant, code.as_ref(), now)?;
        Ok(Envelope { id: message.id, to: message.to.clone(), rendered, code, not_after: Some(message.not_after) })
    }

    fn words(
        &self,
        message: &Message,
        tenant: &TenantContext,
        code: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<Rendered, TemplateError> {
        let link = self.link(message, tenant);
        let until = match message.content {
            Content::AccountLocked { until, .. } => Some(until),
            _ => None,
        };
        let (device, network) = match &message.content {
            Content::NewDevice { device, network } => (device.as_deref(), network.as_deref()),
            _ => (None, None),
        };
        let facts = Facts {
            template: message.content.template(),
            channel: message.channel(),
            locale: message.locale,
            tenant_name: tenant.name(),
            domain: tenant.domain(),
            code: code.map(SecretString::expose_secret),
            link: link.as_ref().map(SecretString::expose_secret),
            valid_for: Some(now.until(message.not_after)),
            until,
            at: message.id.written_at(),
            device,
            network,
            changed: None,
        };
        let own = Own { tenant: tenant.id(), version: tenant.version(), settings: &tenant.settings().templates };
        self.templates.render(&facts, Some(own))
    }

    fn code(&self, message: &Message) -> Result<Option<SecretString>, RenderError> {
        let (code, purpose) = match &message.content {
            Content::SignInCode(code) => (code, CodePurpose::PhoneSignIn),
            Content::DeviceCode(code) => (code, CodePurpose::NewDevice),
            Content::ContactChangeCode { code, .. } => (code, CodePurpose::ContactChange),
            _ => return Ok(None),
        };
        let subject = CodeSubject {
            tenant: message.tenant,
            purpose: purpose.as_str(),
            contact: message.to.as_str(),
            challenge: code.challenge,
            length: code.length,
        };
        self.digests.code(&code.key_id, &subject).map(Some).ok_or(RenderError::UnknownKey)
    }

    /// Links begin with what the tenant or the operator configured: what a request's `Host` says never
    /// gets into a mail.
    fn link(&self, message: &Message, tenant: &TenantContext) -> Option<SecretString> {
        let (purpose, link, path) = match &message.content {
            Content::Verification(link) => (LinkPurpose::Verification, link, "api/auth/verify"),
            Content::PasswordReset(link) => (LinkPurpose::Reset, link, "api/auth/password/reset"),
            Content::Invitation(link) => (LinkPurpose::Invitation, link, "api/auth/invitation"),
            Content::AccountLocked { unlock: Some(link), .. } => (LinkPurpose::Unlock, link, "api/auth/unlock"),
            _ => return None,
        };
        let token = link_token(&self.digests, tenant, purpose, link);
        Some(format!("{}/{path}/{}", tenant.link_base(), token.expose_secret()).into())
    }
}
