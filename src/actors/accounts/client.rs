//! What is known of the client that makes a request: where it is and which device it claims.

use std::fmt;

use crate::crypto::digest;
use crate::domain::app::FIRST_PARTY;
use crate::domain::device::{DeviceProof, Standing, standing};
use crate::domain::ids::{AccountId, AppId, TenantId};
use crate::domain::limits::LimitSubject;
use crate::domain::locale::Locale;
use crate::domain::lockout::Lane;

use super::Deps;
use crate::actors::failure::Failure;
use crate::secret::{ExposeSecret as _, SecretString};
use crate::tenant::TenantContext;

/// The client of one request, as the front end saw it.
#[derive(Clone, Default)]
pub struct Client {
    /// Its address as limits key it (IPv6 by /64).
    pub address_key: Option<String>,
    /// The same for limits that a story asks.
    pub limited_as: Option<LimitSubject>,
    /// Its address prefix (/24 or /48), the home of a `User-Agent` device.
    pub address_prefix: Option<String>,
    /// Its `User-Agent`, if it sent one.
    pub user_agent: Option<String>,
    /// Its device token, from `X-Device-Id` or the device cookie, known or not.
    pub device_token: Option<SecretString>,
    /// The language it asked for.
    pub locale: Option<Locale>,
    /// The app it signs in for; none means the tenant itself.
    pub app: Option<AppId>,
}

impl Client {
    /// The first device proof that is *present*; a weaker one never makes up for an unknown
    /// stronger one.
    fn proof(&self, deps: &Deps, tenant: TenantId, account: AccountId) -> Option<DeviceProof> {
        match (&self.device_token, &self.user_agent) {
            (Some(token), _) => Some(DeviceProof::Token(digest::token_digest(token.expose_secret()))),
            (None, Some(agent)) => Some(DeviceProof::UserAgent(deps.digests.user_agent(tenant, account, agent))),
            (None, None) => None,
        }
    }

    /// What its device is worth to `account`. Asks storage even where nothing can be found, so
    /// that an unknown account takes as long as a known one.
    ///
    /// # Errors
    /// [`Failure`] if storage is away.
    pub(super) async fn standing(
        &self,
        deps: &Deps,
        tenant: &TenantContext,
        account: AccountId,
    ) -> Result<Standing, Failure> {
        let Some(proof) = self.proof(deps, tenant.id(), account) else { return Ok(Standing::STRANGER) };
        let found = deps.storage.devices().find(tenant.id(), account, proof).await?;
        let trusts_user_agent = tenant.policy().trusts_user_agent;
        Ok(standing(found.as_ref(), deps.clock.now(), trusts_user_agent, self.address_prefix.as_deref()))
    }

    /// The lane of codes: only a device *token* the account knows has tries and sends of its own.
    ///
    /// # Errors
    /// [`Failure`] if storage is away.
    pub(super) async fn code_lane(
        &self,
        deps: &Deps,
        tenant: &TenantContext,
        account: AccountId,
    ) -> Result<Lane, Failure> {
        let token_only = Self { user_agent: None, device_token: self.device_token.clone(), ..Self::default() };
        Ok(token_only.standing(deps, tenant, account).await?.lane)
    }

    /// The `client_id` its tokens are given to.
    pub(super) fn client_id(&self) -> String {
        self.app.map_or_else(|| FIRST_PARTY.to_owned(), |app| app.to_string())
    }

    /// What a person may recognise the client by later: the `User-Agent`, shortened.
    pub(super) fn label(&self) -> Option<String> {
        const LONGEST: usize = 120;
        let agent = self.user_agent.as_deref()?;
        Some(agent.chars().filter(|c| !c.is_control()).take(LONGEST).collect())
    }
}

/// An address and a `User-Agent` are nobody's business in a log.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(…)")
    }
}
