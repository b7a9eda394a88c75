//! What the admin listener's handlers may ask, and who gets as far as a handler.
//!
//! A route says where it is declared which role it takes; [`Guarded`] asks for the key, the tenant and
//! the role, in this order, before the handler runs. What a key must not see looks like what is not
//! there.

mod failed_keys;

use std::sync::Arc;

use http::Method;
use ipnet::IpNet;

use self::failed_keys::FailedKeys;
use super::handlers::health::Health;
use super::limited;
use super::problem::{FieldError, Problem, ProblemCode};
use super::request::Request;
use super::router::{Answer, Routes};
use crate::actors::administration::messages::Messages;
use crate::actors::administration::people::People;
use crate::actors::administration::{Administration, Holder, Refusal, Tenant};
use crate::clock::Clock;
use crate::domain::fault::escape;
use crate::domain::naming;
use crate::domain::role::Role;
use crate::domain::time::Timestamp;
use crate::limits::Limits;
use crate::secret::SecretString;

/// What the limit on keys that are not good is called in header fields.
const FAILED_KEYS: &str = "failed-keys";

/// The doors that admin handlers knock on.
pub struct Desk {
    /// Tenants, settings, keys, apps.
    pub administration: Administration,
    /// People, locks and the audit log.
    pub people: People,
    /// The delivery log, and tests of senders.
    pub messages: Messages,
    /// Limits in force.
    pub limits: Limits,
    /// What this node knows of itself.
    pub health: Arc<dyn Health>,
    /// The time.
    pub clock: Clock,
    failed_keys: FailedKeys,
}

/// A request of somebody who may ask about this tenant.
pub struct Visit {
    /// Who.
    pub holder: Holder,
    /// About which tenant.
    pub tenant: Tenant,
}

impl Desk {
    /// Over these doors.
    #[must_use]
    pub fn new(people: People, messages: Messages, limits: Limits, health: Arc<dyn Health>, clock: Clock) -> Self {
        let administration = messages.administration.clone();
        Self { administration, people, messages, limits, health, clock, failed_keys: FailedKeys::default() }
    }

    /// Who sends this, if the key is good.
    async fn holder(&self, request: &Request) -> Result<Holder, Problem> {
        let missing = || Problem::from(ProblemCode::MissingToken).with_message("An admin key is required.");
        let key = request.bearer()?.ok_or_else(missing)?;
        // A proxy that names no client is one client, unlike at the public listener: those behind it are few
        // here, and whoever guesses among them must not do so without end.
        let client = request.client().key();
        let guess =
            self.failed_keys.reserve(client, &self.clock).await.map_err(|until| self.failed_too_often(until))?;
        if let Some(holder) = self.administration.holder_of(key).await? {
            return Ok(holder);
        }
        guess.failed(self.clock.now());
        metrics::counter!(crate::telemetry::ADMIN_KEYS_REFUSED).increment(1);
        tracing::warn!(request.id = request.id().as_str(), "authz_fail: an admin key is not good");
        Err(Problem::from(ProblemCode::InvalidToken).with_message("The admin key is not valid."))
    }

    /// No key of this client's is looked at until then.
    fn failed_too_often(&self, until: Timestamp) -> Problem {
        let wait = self.clock.now().until(until);
        limited::used_up(FAILED_KEYS, failed_keys::MOST, failed_keys::WINDOW, wait)
    }

    /// The holder, and the tenant that the path names. What a key does not see is not there, before
    /// its role is asked for.
    async fn admit(&self, request: &Request, role: Role) -> Result<(Holder, Option<Tenant>), Problem> {
        let holder = self.holder(request).await?;
        let tenant = match request.param("slug") {
            None => None,
            // No text that storage is asked for may hold U+0000.
            Some(slug) if !naming::is_slug(slug) => return Err(ProblemCode::TenantNotFound.into()),
            Some(slug) => match self.administration.tenant(&holder, slug).await {
                Err(Refusal::NotFound) if holder.tenant.is_none() => None,
                Err(Refusal::NotFound) => return Err(ProblemCode::TenantNotFound.into()),
                found => Some(found?),
            },
        };
        if holder.role < role {
            self.administration.overreached(&holder);
            return Err(ProblemCode::Forbidden.into());
        }
        refuse_unstorable(request)?;
        Ok((holder, tenant))
    }
}

/// A query with U+0000 in it asks for nothing that could be stored, and PostgreSQL cannot even be asked.
fn refuse_unstorable(request: &Request) -> Result<(), Problem> {
    const WHY: &str = "The query parameter must not hold the character U+0000.";
    let members = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let bad = members.filter(|(_, value)| value.contains('\0'));
    let errors: Vec<_> = bad.map(|(name, _)| FieldError::new(format!("/{}", escape(&name)), "invalid", WHY)).collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::validation(errors)) }
}

impl Health for Desk {
    fn waiting_for(&self) -> Vec<&'static str> {
        self.health.waiting_for()
    }

    fn render_metrics(&self) -> String {
        self.health.render_metrics()
    }

    fn metrics_allow(&self) -> &[IpNet] {
        self.health.metrics_allow()
    }

    fn root_key(&self) -> &SecretString {
        self.health.root_key()
    }
}

/// Rows that only a key opens.
pub trait Guarded: Sized {
    /// A row for holders of `role` or above.
    #[must_use]
    fn guarded<H, F>(self, role: Role, method: Method, pattern: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<Desk>, Holder, Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static;

    /// A row below `/admin/v1/tenants/{slug}`, for holders of `role` or above who may see that tenant.
    #[must_use]
    fn of_tenant<H, F>(self, role: Role, method: Method, pattern: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<Desk>, Visit, Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static;
}

impl Guarded for Routes<Desk> {
    fn guarded<H, F>(self, role: Role, method: Method, pattern: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<Desk>, Holder, Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.route(method, pattern, move |desk: Arc<Desk>, request| {
            let handler = handler.clone();
            async move {
                let (holder, _) = desk.admit(&request, role).await?;
                handler(desk, holder, request).await
            }
        })
        .role(role)
    }

    fn of_tenant<H, F>(self, role: Role, method: Method, pattern: &'static str, handler: H) -> Self
    where
        H: Fn(Arc<Desk>, Visit, Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.route(method, pattern, move |desk: Arc<Desk>, request| {
            let handler = handler.clone();
            async move {
                let (holder, tenant) = desk.admit(&request, role).await?;
                let tenant = tenant.ok_or(ProblemCode::TenantNotFound)?;
                handler(desk, Visit { holder, tenant }, request).await
            }
        })
        .role(role)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => ProblemCode::NotFound.into(),
            Refusal::Forbidden => ProblemCode::Forbidden.into(),
            Refusal::SlugTaken => ProblemCode::TenantExists.into(),
            Refusal::DomainTaken => ProblemCode::DomainTaken.into(),
            Refusal::AudienceTaken => ProblemCode::AudienceTaken.into(),
            Refusal::Full => ProblemCode::LimitReached.into(),
            Refusal::IsDefault => ProblemCode::DefaultTenant.into(),
            Refusal::Outdated => ProblemCode::PreconditionFailed.into(),
            Refusal::Failed(failure) => failure.into(),
            Refusal::Invalid(faults) => {
                let code = if faults.iter().all(|fault| fault.code == ProblemCode::CredentialRequired.code()) {
                    ProblemCode::CredentialRequired
                } else {
                    ProblemCode::Validation
                };
                Problem::from(code).with_errors(faults.into_iter().map(FieldError::from).collect())
            }
        }
    }
}
